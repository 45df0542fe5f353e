//! How other threads talk to a running server.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};

use super::command::{Command, CommandError, RecordCommand};
use super::recorder::{Studio, Tap};
use super::status::Status;
use crate::net::Waker;

/// Requests that may wait for the tick thread; whoever sends one more waits.
const REQUEST_SLOTS: usize = 64;
/// The tick thread answers within a tick; one that does not for this long is gone.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the tick thread is asked.
pub(super) enum Request {
    /// To do something, unless whoever asked has given up waiting.
    Command(Command, Answer),
    /// To tell everything.
    Status(Sender<Box<Status>>),
    /// To record into a folder that has been looked at, or to tell why that is impossible. Answers whether the tap
    /// is used.
    Recorder(Box<Result<(Tap, PathBuf), String>>, Sender<bool>),
}

/// Where the answer to a command goes.
pub(super) struct Answer {
    sender: Sender<Result<(), CommandError>>,
    abandoned: Arc<AtomicBool>,
}

impl Answer {
    /// Nobody waits any more and the command has been reported as failed: it must not be carried out.
    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    pub(super) fn give(&self, result: Result<(), CommandError>) {
        // There is room for one, and nobody else sends.
        let _ = self.sender.try_send(result);
    }
}

/// Talks to a running server from any thread. Every call blocks until the tick thread has answered, as a
/// rule for less than a tick.
#[derive(Clone)]
pub struct Handle {
    requests: Sender<Request>,
    waker: Waker,
    studio: Studio,
}

impl Handle {
    pub(super) fn new(waker: Waker, studio: Studio) -> (Self, Receiver<Request>) {
        let (requests, receiver) = bounded(REQUEST_SLOTS);
        (Self { requests, waker, studio }, receiver)
    }

    /// Has `command` carried out.
    ///
    /// # Errors
    /// When it was refused, or the server has stopped.
    pub fn execute(&self, command: Command) -> Result<(), CommandError> {
        match command {
            Command::Record(RecordCommand::SetDirectory(directory)) if !directory.as_os_str().is_empty() => {
                self.record_into(directory)
            }
            command => self.carry_out(command),
        }
    }

    /// Looks at the folder here, because a slow disk must not hold up the tick, and makes a recorder if there is
    /// none.
    fn record_into(&self, directory: PathBuf) -> Result<(), CommandError> {
        if let Err(error) = self.studio.check(&directory) {
            return self.refuse_directory(error.to_string());
        }
        match self.carry_out(Command::Record(RecordCommand::SetDirectory(directory.clone()))) {
            Err(CommandError::NoRecorder) => {}
            outcome => return outcome,
        }
        match self.studio.open(directory.clone()) {
            Ok((tap, recorder)) => {
                let outcome = self.hand_over(Ok((tap, directory)));
                // Who has not answered may still take it.
                if outcome != Ok(false) {
                    self.studio.keep(recorder);
                }
                outcome.map(|_| ())
            }
            Err(error) => self.refuse_directory(format!("The recorder cannot be started: {error}.")),
        }
    }

    /// As in Jamulus, the folder before is not used any more.
    fn refuse_directory(&self, reason: String) -> Result<(), CommandError> {
        self.hand_over(Err(reason.clone()))?;
        Err(CommandError::BadRecordingDirectory(reason))
    }

    fn hand_over(&self, made: Result<(Tap, PathBuf), String>) -> Result<bool, CommandError> {
        let (sender, receiver) = bounded(1);
        self.ask(Request::Recorder(Box::new(made), sender))?;
        receiver.recv_timeout(PATIENCE).map_err(|_| CommandError::Gone)
    }

    fn carry_out(&self, command: Command) -> Result<(), CommandError> {
        let (sender, receiver) = bounded(1);
        let abandoned = Arc::new(AtomicBool::new(false));
        let answer = Answer { sender, abandoned: Arc::clone(&abandoned) };
        self.ask(Request::Command(command, answer))?;
        receiver.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            abandoned.store(true, Ordering::Release);
            Err(CommandError::Gone)
        })
    }

    /// Everything that an admin may know.
    ///
    /// # Errors
    /// [`CommandError::Gone`] when the server has stopped.
    pub fn status(&self) -> Result<Box<Status>, CommandError> {
        let (sender, receiver) = bounded(1);
        self.ask(Request::Status(sender))?;
        receiver.recv_timeout(PATIENCE).map_err(|_| CommandError::Gone)
    }

    fn ask(&self, request: Request) -> Result<(), CommandError> {
        self.requests.send_timeout(request, PATIENCE).map_err(|_| CommandError::Gone)?;
        self.waker.wake();
        Ok(())
    }
}
