//! What the plugin's library tells about its instances; see `src/plugin/diagnostics.rs`.

use std::ffi::{CString, c_char};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::host::Plugin;
use crate::pace;

/// The look inside a loaded library.
pub struct Diagnostics {
    describe: unsafe extern "C" fn(usize, *mut u8, usize) -> usize,
    chat: unsafe extern "C" fn(usize, *const c_char) -> bool,
}

impl Diagnostics {
    /// Of the library at `path`, which a host has loaded already.
    pub fn of(path: &Path) -> Result<Self> {
        // SAFETY: the library is loaded already, so no initialiser runs; the symbols are called as
        // they are declared. It stays loaded for ever, as the hosts have it.
        unsafe {
            let library = libloading::Library::new(path)?;
            let describe =
                *library.get(b"jamulet_diagnostics").context("the library tells nothing about itself")?;
            let chat = *library.get(b"jamulet_chat").context("the library does not chat")?;
            std::mem::forget(library);
            Ok(Self { describe, chat })
        }
    }

    /// Of the library that cargo built together with this program.
    pub fn of_own_library() -> Result<Self> {
        Self::of(&crate::host::library()?)
    }

    /// The `index`-th living instance, in order of creation in this process.
    pub fn instance(&self, index: usize) -> Result<Snapshot> {
        let mut text = vec![0_u8; 1 << 20];
        // SAFETY: the buffer has the capacity that is given.
        let length = unsafe { (self.describe)(index, text.as_mut_ptr(), text.len()) };
        ensure!((1..=text.len()).contains(&length), "instance {index} tells nothing about itself");
        Ok(Snapshot(serde_json::from_slice(&text[..length])?))
    }

    /// Says something in the session of the `index`-th living instance.
    pub fn chat(&self, index: usize, text: &str) -> Result<()> {
        let text = CString::new(text)?;
        // SAFETY: a string that ends with NUL.
        ensure!(unsafe { (self.chat)(index, text.as_ptr()) }, "there is no instance {index}");
        Ok(())
    }

    /// Waits until `index` satisfies `condition`, playing the host's main thread for `plugin` meanwhile.
    pub fn wait_for(
        &self,
        index: usize,
        plugin: &mut dyn Plugin,
        what: &str,
        limit: Duration,
        condition: impl Fn(&Snapshot) -> bool,
    ) -> Result<Snapshot> {
        let start = pace::now();
        loop {
            plugin.pump();
            let snapshot = self.instance(index)?;
            if condition(&snapshot) {
                return Ok(snapshot);
            }
            if start.elapsed() > limit {
                bail!("{what} did not come within {limit:?}: {}", snapshot.0);
            }
            pace::sleep(Duration::from_millis(5));
        }
    }
}

/// What an instance said about itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot(pub Value);

impl Snapshot {
    /// `idle`, `resolving`, `connecting`, `connected` or `failed`.
    pub fn state(&self) -> &str {
        self.text("state").unwrap_or("unknown")
    }

    /// Whether the instance is in a session.
    pub fn is_connected(&self) -> bool {
        self.state() == "connected"
    }

    /// A text by its key.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(Value::as_str)
    }

    /// A number by its key.
    pub fn number(&self, key: &str) -> Option<f64> {
        self.0.get(key).and_then(Value::as_f64)
    }

    /// A counter by its key; 0 where there is none.
    pub fn count(&self, key: &str) -> u64 {
        self.0.get(key).and_then(Value::as_u64).unwrap_or(0)
    }

    /// Names of the people in the session, in channel order.
    pub fn names(&self) -> Vec<&str> {
        let clients = self.0.get("clients").and_then(Value::as_array);
        clients.into_iter().flatten().filter_map(|client| client.get("name")?.as_str()).collect()
    }

    /// Chat lines as plain text, oldest first.
    pub fn chat(&self) -> Vec<&str> {
        let lines = self.0.get("chat").and_then(Value::as_array);
        lines.into_iter().flatten().filter_map(Value::as_str).collect()
    }
}
