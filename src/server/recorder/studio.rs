//! Where recorders come from while a server runs: everything that may block is done here, outside the tick.

use std::io;
use std::path::{Path, PathBuf};

use crossbeam::channel::{Receiver, Sender, unbounded};

use super::folder::{DirectoryError, FolderCheck};
use super::{Recorder, RecorderOptions, Tap, recorder};
use crate::units::FrameSize;

/// Makes recorders for one server.
#[derive(Clone)]
pub(in crate::server) struct Studio {
    options: RecorderOptions,
    tick: FrameSize,
    slots: usize,
    folders: FolderCheck,
    /// To whoever stops the server: one as a rule.
    kept: Sender<Recorder>,
}

impl Studio {
    /// For a server of `slots` slots that ticks every `tick` samples; the folder of `options` is ignored. The
    /// receiver gets the recorders that have to be finished when the server ends.
    pub(in crate::server) fn new(
        options: RecorderOptions,
        tick: FrameSize,
        slots: usize,
    ) -> (Self, Receiver<Recorder>) {
        let (kept, recorders) = unbounded();
        (Self { options, tick, slots, folders: FolderCheck::new(), kept }, recorders)
    }

    /// Makes sure that `directory` can take recordings; makes it if need be. Blocks for two seconds at most.
    ///
    /// # Errors
    /// When it cannot.
    pub(in crate::server) fn check(&self, directory: &Path) -> Result<(), DirectoryError> {
        self.folders.run(directory)
    }

    /// A recorder that is off and its tap.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(in crate::server) fn open(&self, directory: PathBuf) -> io::Result<(Tap, Recorder)> {
        let options = RecorderOptions { directory, ..self.options.clone() };
        let (tap, scribe) = recorder(options, self.tick, self.slots);
        Ok((tap, Recorder::start(scribe)?))
    }

    /// Keeps a recorder until the server ends.
    pub(in crate::server) fn keep(&self, recorder: Recorder) {
        // The server has ended: dropping it here finishes its files.
        let _ = self.kept.send(recorder);
    }
}
