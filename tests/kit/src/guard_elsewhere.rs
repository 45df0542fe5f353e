//! Where `process()` cannot be watched (see `guard.rs`): calls run as they are, and asking for
//! a watch is an error, so that no test passes for want of one.

use std::fmt;

use anyhow::{Result, bail};

/// Always an error.
pub fn arm() -> Result<()> {
    bail!("process() can be watched on Linux on x86-64 only")
}

/// Runs `call`.
pub fn watch<R>(call: impl FnOnce() -> R) -> R {
    call()
}

/// A report of nothing, which is not clean.
pub fn report() -> Report {
    Report
}

/// Nothing was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report;

impl Report {
    /// Never: nothing was watched.
    pub fn is_clean(&self) -> bool {
        false
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing was watched")
    }
}
