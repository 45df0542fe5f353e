//! Waiting for a socket, a deadline or a call from another thread, whichever comes first.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use polling::{Event, Events, PollMode, Poller};

use super::Socket;

const SOCKET_KEY: usize = 0;

/// One thread's place to wait.
pub struct Waiter {
    poller: Arc<Poller>,
    events: Events,
    mode: PollMode,
}

impl Waiter {
    /// A place to wait, with nothing watched yet.
    ///
    /// # Errors
    /// What the system says (too many open files).
    pub fn new() -> io::Result<Self> {
        let poller = Poller::new()?;
        let mode = if poller.supports_level() { PollMode::Level } else { PollMode::Oneshot };
        Ok(Self { poller: Arc::new(poller), events: Events::new(), mode })
    }

    /// Also wakes when `socket` has something to read.
    ///
    /// # Errors
    /// What the system says. One socket can be watched at a time.
    pub fn watch(&mut self, socket: &Socket) -> io::Result<()> {
        // SAFETY: callers keep the socket open until `unwatch`; both owners of a pair (the server's tick thread
        // and the client's network thread) drop or unwatch the socket together with the waiter.
        unsafe { self.poller.add_with_mode(&socket.udp, Event::readable(SOCKET_KEY), self.mode) }
    }

    /// Stops watching `socket`: call it before the socket is closed.
    ///
    /// # Errors
    /// What the system says.
    pub fn unwatch(&mut self, socket: &Socket) -> io::Result<()> {
        self.poller.delete(&socket.udp)
    }

    /// Returns when `socket` (the one watched) may have something to read, after `timeout`, after a
    /// [`Waker::wake`], or sometimes for no reason. `None` waits without limit.
    ///
    /// # Errors
    /// What the system says.
    pub fn wait(&mut self, socket: Option<&Socket>, timeout: Option<Duration>) -> io::Result<()> {
        self.events.clear();
        if self.mode == PollMode::Oneshot
            && let Some(socket) = socket
        {
            self.poller.modify(&socket.udp, Event::readable(SOCKET_KEY))?;
        }
        match self.poller.wait(&mut self.events, timeout) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Something that ends this waiter's `wait` from any thread.
    pub fn waker(&self) -> Waker {
        Waker(Some(Arc::clone(&self.poller)))
    }
}

/// Ends a [`Waiter::wait`]; kept until the next one if none is going on.
#[derive(Clone)]
pub struct Waker(Option<Arc<Poller>>);

impl Waker {
    /// One that wakes nobody, for where nobody waits.
    pub fn inert() -> Self {
        Self(None)
    }

    /// Realtime-safe: one small write to the system, or nothing when the waiter is already being woken.
    pub fn wake(&self) {
        if let Some(poller) = &self.0 {
            // An error would mean that the poller is broken, which the thread that waits on it notices itself.
            let _ = poller.notify();
        }
    }
}
