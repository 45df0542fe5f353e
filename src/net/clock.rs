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

/// CPU time that the calling thread has used, in microseconds; 0 where the system is not asked (Windows).
pub fn thread_cpu_micros() -> u64 {
    #[cfg(unix)]
    {
        let mut used = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: plain call with a valid pointer.
        let told = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut used) };
        if told != 0 {
            return 0;
        }
        let (seconds, nanos) = (u64::try_from(used.tv_sec), u64::try_from(used.tv_nsec));
        seconds.unwrap_or(0) * 1_000_000 + nanos.unwrap_or(0) / 1000
    }
    #[cfg(not(unix))]
    {
        0
    }
}
