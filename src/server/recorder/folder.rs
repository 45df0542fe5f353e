//! Whether a folder can take recordings, asked without waiting for ever: a mount that hangs answers nobody.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};

/// A folder that takes longer to answer is not used.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why a folder cannot take recordings. `Display` is one sentence with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The system refuses.
    #[error(
        "Recordings cannot be written to {directory}: {error}. Choose a folder that this program may write to."
    )]
    Refused {
        /// The folder.
        directory: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The disk or the network behind it says nothing.
    #[error("The recording folder {directory} does not answer. Choose another one.")]
    Silent {
        /// The folder.
        directory: PathBuf,
    },
}

/// Looks at folders, one at a time, on threads that may get stuck.
#[derive(Clone)]
pub(super) struct FolderCheck {
    /// Full while a thread is at work: a disk that hangs keeps one thread at most.
    busy: Sender<()>,
    done: Receiver<()>,
}

impl FolderCheck {
    pub(super) fn new() -> Self {
        let (busy, done) = bounded(1);
        Self { busy, done }
    }

    /// Makes sure that `directory` exists, is made if need be, and can take recordings. Blocks for two seconds at
    /// most.
    ///
    /// # Errors
    /// When it cannot, or does not answer.
    pub(super) fn run(&self, directory: &Path) -> Result<(), DirectoryError> {
        let silent = || DirectoryError::Silent { directory: directory.to_owned() };
        let refused = |error| DirectoryError::Refused { directory: directory.to_owned(), error };
        self.busy.send_timeout((), PATIENCE).map_err(|_| silent())?;
        let (sender, answer) = bounded(1);
        let (done, checked) = (self.done.clone(), directory.to_owned());
        let thread = std::thread::Builder::new().name("jamulet-folder".to_owned()).spawn(move || {
            // Whoever asked may have given up.
            let _ = sender.try_send(check(&checked));
            let _ = done.try_recv();
        });
        if let Err(error) = thread {
            let _ = self.done.try_recv();
            return Err(refused(error));
        }
        answer.recv_timeout(PATIENCE).map_err(|_| silent())?.map_err(refused)
    }
}

/// Writes a file there and removes it.
fn check(directory: &Path) -> io::Result<()> {
    let probe = directory.join(format!(".jamulet-{}", std::process::id()));
    fs::create_dir_all(directory)?;
    OpenOptions::new().write(true).create(true).truncate(true).open(&probe)?;
    match fs::remove_file(&probe) {
        // Another server of this program has looked at the same time.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
