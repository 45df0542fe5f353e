//! The thread that writes recordings.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use jiff::Timestamp;

use super::scribe::Scribe;
use crate::net::clock_now;

/// How often the scribe works.
const WORK_INTERVAL: Duration = Duration::from_millis(50);
/// Files that are not finished after this long are left to the thread: the disk does not answer.
const MAX_FINISH: Duration = Duration::from_secs(1);

/// A recording thread. Dropping it finishes the files, within a second.
pub struct Recorder {
    /// Dropped to stop the thread.
    running: Option<Sender<()>>,
    /// Disconnected when the thread has ended.
    finished: Receiver<()>,
}

impl Recorder {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(mut scribe: Scribe) -> io::Result<Self> {
        let (running, stopped) = bounded::<()>(0);
        let (alive, finished) = bounded::<()>(0);
        std::thread::Builder::new().name("jamulet-recorder".to_owned()).spawn(move || {
            let _alive = alive;
            // A fault ends recording: the rings close, and the tap tells it.
            let _ = catch_unwind(AssertUnwindSafe(move || {
                while stopped.recv_timeout(WORK_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                    scribe.work(clock_now(), Timestamp::now());
                }
                scribe.work(clock_now(), Timestamp::now());
                scribe.finish();
            }));
        })?;
        Ok(Self { running: Some(running), finished })
    }

    /// Finishes the files, within a second. No ticks may follow: they would not be recorded.
    pub fn stop(mut self) {
        self.end();
    }

    /// Has the files finished; nobody waits for it. No ticks may follow.
    pub(in crate::server) fn finish(&mut self) {
        self.running = None;
    }

    /// Waits until the files are finished, or `patience` has run out.
    pub(in crate::server) fn wait(&self, patience: Duration) {
        // Disconnected when the thread has ended.
        let _ = self.finished.recv_timeout(patience);
    }

    fn end(&mut self) {
        if self.running.is_some() {
            self.finish();
            self.wait(MAX_FINISH);
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.end();
    }
}
