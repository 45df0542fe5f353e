//! Asking the system to run the calling thread ahead of ordinary work.

/// Asks for realtime scheduling of the calling thread; `false` when the system does not allow it
/// (then ordinary scheduling goes on). Only Linux is asked so far; macOS and Windows schedule
/// threads that mostly wait well enough by default (untested there).
pub fn raise_thread_priority() -> bool {
    #[cfg(target_os = "linux")]
    {
        /// Above ordinary threads, below the audio threads of hosts and JACK (which use 10 and more).
        const PRIORITY: libc::c_int = 8;
        let parameters = libc::sched_param { sched_priority: PRIORITY };
        // SAFETY: plain call with a valid pointer; pid 0 is the calling thread.
        unsafe {
            libc::sched_setscheduler(0, libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, &raw const parameters)
                == 0
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        false
    }
}
