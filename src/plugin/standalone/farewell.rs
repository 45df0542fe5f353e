//! The end of the app, which no sound system may hold up.
//!
//! When the window has closed, nice-plug 0.4.2 stops JACK by its callback's answer and by its main thread at the same
//! time. Both then read JACK's one socket, and one of them may wait for ever. So what matters is done beside it, and
//! after a while the process ends whether or not everyone has returned.

#![expect(
    clippy::disallowed_methods,
    reason = "a clock and a sleep beside everything that could be simulated"
)]

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::super::Instance;
use super::state_file::{self, AppState};
use crate::client::ConnectionState;

/// Longest that leaving the session may take.
const LEAVING: Duration = Duration::from_secs(1);
/// After that, how long the sound system may take.
const STOPPING: Duration = Duration::from_secs(1);

/// The app's end: begun by whoever notices first that the window closes.
#[derive(Default)]
pub(super) struct Farewell {
    begun: OnceLock<()>,
    saved: OnceLock<Result<(), String>>,
}

impl Farewell {
    /// From now on the process ends within a few seconds: its state is saved, the session is left.
    pub(super) fn begin(self: &Arc<Self>, instance: &Arc<Instance>) {
        self.begun.get_or_init(|| {
            let (farewell, instance) = (Arc::clone(self), Arc::clone(instance));
            let thread = std::thread::Builder::new().name("farewell".to_owned());
            // Without the thread the end is only as quick as the sound system.
            let _ = thread.spawn(move || farewell.say(instance));
        });
    }

    /// Keeps the app's state for the next run, once.
    ///
    /// # Errors
    /// One sentence.
    pub(super) fn save(&self, instance: &Instance) -> Result<(), String> {
        self.saved.get_or_init(|| state_file::save(&AppState::of(instance))).clone()
    }

    fn say(&self, instance: Arc<Instance>) {
        let saved = self.save(&instance);
        leave(&instance);
        // The last owner of the client waits for its thread: that is to be the main thread, if it comes so far.
        drop(instance);
        std::thread::sleep(STOPPING);
        if let Err(sentence) = &saved {
            eprintln!("{sentence}");
        }
        std::process::exit(i32::from(saved.is_err()));
    }
}

/// Leaves the session, and waits until that is done. May be called by several threads.
pub(super) fn leave(instance: &Instance) {
    let Some(handle) = &instance.handle else { return };
    handle.disconnect();
    let deadline = Instant::now() + LEAVING;
    let is_out = || matches!(handle.snapshot().state, ConnectionState::Idle | ConnectionState::Failed(_));
    while !is_out() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
}
