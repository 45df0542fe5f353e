//! The one place that reads the monotonic clock.

use std::sync::OnceLock;
use std::time::Instant;

use crate::units::Time;

/// Now, on a clock that starts at the first call in this process and never goes back.
///
/// Never called from `process()` or the server's tick.
#[expect(clippy::disallowed_methods, reason = "this is the door through which time enters")]
pub fn clock_now() -> Time {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = *START.get_or_init(Instant::now);
    Time::from_micros(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX))
}
