//! What systemd wants to know (`Type=notify`): ready, alive, how it goes, reloading, stopping.
//!
//! Without systemd (no `NOTIFY_SOCKET`) and elsewhere than on Linux all of it does nothing.

#[cfg(target_os = "linux")]
mod os {
    use std::time::Duration;

    use crossbeam::channel::{RecvTimeoutError, Sender, bounded};
    use jamulet::server::{Handle, Status};
    use sd_notify::NotifyState;

    /// How often systemd is told how it goes.
    const STATUS_INTERVAL: Duration = Duration::from_secs(5);

    /// Keeps systemd informed until it is dropped.
    pub(crate) struct ServiceManager {
        /// Dropping it ends the thread.
        _running: Option<Sender<()>>,
    }

    impl ServiceManager {
        /// Tells that the server is ready, and from now on that it lives and how it goes.
        pub(crate) fn ready(handle: Handle) -> std::io::Result<Self> {
            if std::env::var_os("NOTIFY_SOCKET").is_none() {
                return Ok(Self { _running: None });
            }
            tell(&[NotifyState::Ready]);
            let (running, is_stopped) = bounded::<()>(0);
            // Half of the patience, so that one late message is no reason to be killed.
            let interval = sd_notify::watchdog_enabled().map_or(STATUS_INTERVAL, |patience| patience / 2);
            let interval = interval.min(STATUS_INTERVAL);
            std::thread::Builder::new().name("jamulet-systemd".to_owned()).spawn(move || {
                loop {
                    // Only while the thread that mixes answers: a server that hangs is to be started anew.
                    if let Ok(status) = handle.status() {
                        tell(&[NotifyState::Watchdog, NotifyState::Status(&sentence(&status))]);
                    }
                    if is_stopped.recv_timeout(interval) != Err(RecvTimeoutError::Timeout) {
                        return;
                    }
                }
            })?;
            Ok(Self { _running: Some(running) })
        }

        /// Does `work` between telling that the configuration is being read again and that it is in force.
        pub(crate) fn reloading(&self, work: impl FnOnce()) {
            if let Ok(now) = NotifyState::monotonic_usec_now() {
                tell(&[NotifyState::Reloading, now]);
            }
            work();
            tell(&[NotifyState::Ready]);
        }

        /// Tells that the server is about to end.
        pub(crate) fn stopping(self) {
            tell(&[NotifyState::Stopping]);
        }
    }

    fn tell(news: &[NotifyState<'_>]) {
        // If systemd does not hear it, it will act by itself.
        let _ = sd_notify::notify(news);
    }

    fn sentence(status: &Status) -> String {
        let recording = if status.recorder.is_recording { ", recording" } else { "" };
        format!("{} of {} musicians{recording}", status.clients.len(), status.max_clients)
    }
}

#[cfg(not(target_os = "linux"))]
mod os {
    use jamulet::server::Handle;

    /// There is no systemd.
    pub(crate) struct ServiceManager;

    impl ServiceManager {
        #[expect(clippy::unnecessary_wraps, reason = "as on Linux")]
        pub(crate) fn ready(_handle: Handle) -> std::io::Result<Self> {
            Ok(Self)
        }

        #[expect(clippy::unused_self, reason = "as on Linux")]
        pub(crate) fn reloading(&self, work: impl FnOnce()) {
            work();
        }

        pub(crate) fn stopping(self) {}
    }
}

pub(crate) use os::ServiceManager;
