//! Signals, as messages.

use std::io;

use crossbeam::channel::{Receiver, Sender, bounded};

/// Signals that may wait; one of the same kind more would change nothing.
const WAITING: usize = 8;

/// What a signal asks for, apart from stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(unix), expect(dead_code, reason = "only Unix has these signals"))]
pub(crate) enum Signal {
    /// SIGHUP: read the configuration again, open the log anew.
    Reload,
    /// SIGUSR1.
    NewRecording,
    /// SIGUSR2.
    ToggleRecording,
}

/// Signals as they come.
pub(crate) struct Signals {
    /// SIGINT or SIGTERM (Ctrl-C on Windows): one message, however many come.
    pub(crate) stop: Receiver<()>,
    /// The others, in order.
    pub(crate) other: Receiver<Signal>,
}

/// Waits for signals from now on.
///
/// # Errors
/// The system's.
pub(crate) fn wait_for_signals() -> io::Result<Signals> {
    let (stop_sender, stop) = bounded(1);
    let (other_sender, other) = bounded(WAITING);
    start(stop_sender, other_sender)?;
    Ok(Signals { stop, other })
}

#[cfg(unix)]
fn start(stop: Sender<()>, other: Sender<Signal>) -> io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
    let mut signals = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2])?;
    std::thread::Builder::new().name("jamulet-signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            // A second signal while the first is being obeyed changes nothing.
            let _ = match signal {
                SIGHUP => other.try_send(Signal::Reload).is_ok(),
                SIGUSR1 => other.try_send(Signal::NewRecording).is_ok(),
                SIGUSR2 => other.try_send(Signal::ToggleRecording).is_ok(),
                _ => stop.try_send(()).is_ok(),
            };
        }
    })?;
    Ok(())
}

/// Without signals that can be waited for, the flag that the handler sets is looked at.
#[cfg(not(unix))]
fn start(stop: Sender<()>, other: Sender<Signal>) -> io::Result<()> {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use signal_hook::consts::{SIGINT, SIGTERM};
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
    }
    std::thread::Builder::new().name("jamulet-signals".to_owned()).spawn(move || {
        while !flag.load(Ordering::Relaxed) {
            std::thread::park_timeout(Duration::from_millis(200));
        }
        let _ = stop.send(());
        // A closed channel would look like a message: this one stays open as long as the program runs.
        std::mem::forget(other);
    })?;
    Ok(())
}
