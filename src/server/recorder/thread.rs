//! The thread that writes recordings.

use std::fs::{self, OpenOptions};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
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

    fn end(&mut self) {
        if self.running.take().is_some() {
            let _ = self.finished.recv_timeout(MAX_FINISH);
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.end();
    }
}

/// Why a folder cannot take recordings. `Display` is one sentence with the remedy.
#[derive(Debug, thiserror::Error)]
#[error(
    "Recordings cannot be written to {directory}: {error}. Choose a folder that this program may write to."
)]
pub struct DirectoryError {
    directory: PathBuf,
    error: io::Error,
}

/// Makes sure that `directory` exists, is made if need be, and can take recordings. May block: not for the tick's thread.
///
/// # Errors
/// When it cannot.
pub fn check_recording_directory(directory: &Path) -> Result<(), DirectoryError> {
    let probe = directory.join(format!(".jamulet-{}", std::process::id()));
    let check = || {
        fs::create_dir_all(directory)?;
        OpenOptions::new().write(true).create(true).truncate(true).open(&probe)?;
        fs::remove_file(&probe)
    };
    check().map_err(|error| DirectoryError { directory: directory.to_owned(), error })
}
