//! How other threads talk to a running server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};

use super::command::{Command, CommandError, RecordCommand};
use super::recorder::check_recording_directory;
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
}

impl Handle {
    pub(super) fn new(waker: Waker) -> (Self, Receiver<Request>) {
        let (requests, receiver) = bounded(REQUEST_SLOTS);
        (Self { requests, waker }, receiver)
    }

    /// Has `command` carried out.
    ///
    /// # Errors
    /// When it was refused, or the server has stopped.
    pub fn execute(&self, command: Command) -> Result<(), CommandError> {
        // Here, because a slow disk must not hold up the tick.
        if let Command::Record(RecordCommand::SetDirectory(directory)) = &command {
            check_recording_directory(directory)
                .map_err(|error| CommandError::BadRecordingDirectory(error.to_string()))?;
        }
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
