//! The thread behind a listening socket: takes connections, reads, writes, and waits for none of them.
//!
//! What is said is a [`Dialogue`]'s business. Everything is bounded here: connections, bytes read ahead, time that
//! a stranger may stay, time that a slow reader may take, and the time that stopping takes.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use polling::{Event, Events, Poller};
use socket2::{Domain, Protocol, Socket, Type};

use crate::net::clock_now;
use crate::units::Time;

/// Most connections at a time.
const MAX_CONNECTIONS: usize = 32;
/// Most of them that are strangers; the one that has been here longest gives way to a new one.
const MAX_STRANGERS: usize = 16;
/// How long somebody may stay without having proved anything.
const STRANGER_PATIENCE: Duration = Duration::from_secs(20);
/// How long a reader may take nothing of what waits for it.
const READER_PATIENCE: Duration = Duration::from_secs(10);
/// How long we listen to nothing but the end of a connection that we have finished, so that the last answer
/// arrives (closing at once would throw away what the other side has not read yet).
const FAREWELL_PATIENCE: Duration = Duration::from_secs(1);
/// Most bytes that may wait for a reader when there is news; beyond it the reader is dropped. The longest answer
/// is well below.
const MAX_WAITING_BYTES: usize = 4 << 20;
/// Bytes read at once.
const READ_BYTES: usize = 16 << 10;
/// Steps of one dialogue before the others have their turn.
const STEPS_IN_A_ROW: usize = 8;
/// News that may wait for the thread; more are lost.
const NEWS_SLOTS: usize = 1024;
/// Pause after the system refuses a connection (too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// Longest that stopping takes. Only a server that does not answer keeps the thread for longer: then it is left
/// to end by itself.
const STOP_PATIENCE: Duration = Duration::from_millis(900);
/// Connections that the system keeps waiting for us.
const BACKLOG: i32 = 64;
const LISTENER_KEY: usize = 0;

/// What is said on the connections of one listener.
pub(super) trait Dialogue: Send + 'static {
    /// What is known about one connection.
    type Talk: Send;

    /// Somebody has connected; a peer on the local socket has no address.
    fn open(&mut self, now: Time, from: Option<IpAddr>) -> Self::Talk;

    /// Takes at most one request from `input` and appends its answer to `output`.
    fn step(&mut self, now: Time, talk: &mut Self::Talk, input: &mut Vec<u8>, output: &mut Vec<u8>) -> Next;

    /// It may stay for as long as it likes, and hears the news.
    fn is_trusted(&self, talk: &Self::Talk) -> bool;
}

/// How a dialogue goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// There may be another request in the input.
    Again,
    /// Only once more has been read. Never said while the input holds a whole request or too much.
    Read,
    /// Not before then.
    Wait(Time),
    /// After the answer: not at all.
    Close,
}

/// A running listener. Dropping it stops it.
pub(super) struct Door {
    news: Sender<Arc<[u8]>>,
    stop: Arc<AtomicBool>,
    poller: Arc<Poller>,
    ended: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

/// A socket that listens on TCP.
pub(super) fn listen(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A port whose last connections are only just closed may be taken again. Windows needs no such
    // permission, and would let two programs share the port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

impl Door {
    /// Serves `listener`, which listens already, on a thread called `name`.
    pub(super) fn open(name: &str, listener: Socket, dialogue: impl Dialogue) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let poller = Arc::new(Poller::new()?);
        let (news, news_receiver) = bounded(NEWS_SLOTS);
        let (end, ended) = bounded(1);
        let stop = Arc::new(AtomicBool::new(false));
        let mut keeper = Keeper {
            poller: Arc::clone(&poller),
            listener,
            dialogue,
            connections: BTreeMap::new(),
            next_key: LISTENER_KEY + 1,
            accept_after: None,
            news: news_receiver,
            stop: Arc::clone(&stop),
        };
        // SAFETY: the keeper owns the listener and deletes it from the poller before it drops either.
        unsafe { keeper.poller.add(&keeper.listener, Event::readable(LISTENER_KEY))? };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            // Dropped when the thread ends, however it ends.
            let _end: Sender<()> = end;
            keeper.run();
        })?;
        Ok(Self { news, stop, poller, ended, thread: Some(thread) })
    }

    /// Tells `news` to all trusted connections, in the order of the calls. Never blocks.
    pub(super) fn tell(&self, news: Vec<u8>) {
        match self.news.try_send(news.into()) {
            // Only after a thousand pieces of news in a moment; nobody could read them.
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
            Ok(()) => self.wake(),
        }
    }

    fn wake(&self) {
        // An error would mean that the poller is broken, which its thread notices itself.
        let _ = self.poller.notify();
    }
}

impl Drop for Door {
    /// Closes the listener and all connections; takes less than a second.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.wake();
        // Nothing is ever sent: it only ends.
        let timeout = self.ended.recv_timeout(STOP_PATIENCE);
        let has_ended = timeout == Err(crossbeam::channel::RecvTimeoutError::Disconnected);
        if let Some(thread) = self.thread.take().filter(|_| has_ended) {
            let _ = thread.join();
        }
    }
}

/// What the thread owns.
struct Keeper<D: Dialogue> {
    poller: Arc<Poller>,
    listener: Socket,
    dialogue: D,
    /// By key, so the oldest first.
    connections: BTreeMap<usize, Connection<D::Talk>>,
    next_key: usize,
    accept_after: Option<Time>,
    news: Receiver<Arc<[u8]>>,
    stop: Arc<AtomicBool>,
}

struct Connection<T> {
    socket: Socket,
    talk: T,
    input: Vec<u8>,
    output: Vec<u8>,
    opened: Time,
    /// The dialogue's last word.
    next: Next,
    /// Since when the reader has taken nothing of what waits.
    stuck_since: Option<Time>,
    /// We have said our last word and wait for the other side to close.
    farewell_since: Option<Time>,
    /// The system reported something, or there is more to do.
    is_due: bool,
    /// Nobody is on the other side any more.
    is_hung_up: bool,
}

/// A connection that is over.
struct Over;

impl<D: Dialogue> Keeper<D> {
    fn run(&mut self) {
        let mut events = Events::new();
        while !self.stop.load(Ordering::Acquire) {
            let now = clock_now();
            self.deliver_news();
            self.serve(now);
            let timeout = self.next_due().map(|due| due.since(clock_now()));
            events.clear();
            if self.poller.wait(&mut events, timeout).is_err() {
                // Never seen; without a pause it would be a busy loop.
                std::thread::yield_now();
            }
            for event in events.iter() {
                match self.connections.get_mut(&event.key) {
                    Some(connection) => connection.notice(),
                    None if event.key == LISTENER_KEY => self.accept(clock_now()),
                    None => {}
                }
            }
            self.resume_accepting();
        }
        let _ = self.poller.delete(&self.listener);
        for connection in std::mem::take(&mut self.connections).into_values() {
            let _ = self.poller.delete(&connection.socket);
        }
    }

    fn accept(&mut self, now: Time) {
        loop {
            match self.listener.accept() {
                Ok((socket, from)) => {
                    let from = from.as_socket().map(|from| from.ip().to_canonical());
                    // A socket that cannot be set up is closed again.
                    let _ = self.admit(now, socket, from);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if is_about_one_peer(&error) => {}
                Err(_) => {
                    self.accept_after = Some(now + ACCEPT_PAUSE);
                    return;
                }
            }
        }
        let _ = self.poller.modify(&self.listener, Event::readable(LISTENER_KEY));
    }

    fn resume_accepting(&mut self) {
        let now = clock_now();
        if self.accept_after.is_some_and(|after| after <= now) {
            self.accept_after = None;
            self.accept(now);
        }
    }

    fn admit(&mut self, now: Time, socket: Socket, from: Option<IpAddr>) -> io::Result<()> {
        if !self.make_room() {
            return Ok(());
        }
        socket.set_nonblocking(true)?;
        // Finds out in the end that a silent peer is gone; answers are whole lines and leave at once.
        let _ = socket.set_keepalive(true);
        let _ = from.is_some().then(|| socket.set_tcp_nodelay(true));
        let key = self.next_key;
        self.next_key += 1;
        // SAFETY: every connection is deleted from the poller before its socket is dropped.
        unsafe { self.poller.add(&socket, Event::none(key))? };
        let connection = Connection {
            socket,
            talk: self.dialogue.open(now, from),
            input: Vec::new(),
            output: Vec::new(),
            opened: now,
            next: Next::Read,
            stuck_since: None,
            farewell_since: None,
            is_due: true,
            is_hung_up: false,
        };
        self.connections.insert(key, connection);
        Ok(())
    }

    /// Sends the oldest stranger away where there are too many, so that nobody can keep others out by just
    /// being there. False when all are trusted.
    fn make_room(&mut self) -> bool {
        let is_stranger = |connection: &Connection<D::Talk>| !self.dialogue.is_trusted(&connection.talk);
        let strangers: Vec<usize> =
            self.connections.iter().filter(|(_, it)| is_stranger(it)).map(|(key, _)| *key).collect();
        if strangers.len() < MAX_STRANGERS && self.connections.len() < MAX_CONNECTIONS {
            return true;
        }
        let Some(oldest) = strangers.first() else { return false };
        self.close(*oldest);
        true
    }

    fn deliver_news(&mut self) {
        while let Ok(news) = self.news.try_recv() {
            for connection in self.connections.values_mut() {
                let hears = self.dialogue.is_trusted(&connection.talk) && connection.farewell_since.is_none();
                if hears {
                    connection.output.extend_from_slice(&news);
                    connection.is_due = true;
                }
            }
        }
    }

    fn serve(&mut self, now: Time) {
        let mut over = Vec::new();
        for (&key, connection) in &mut self.connections {
            let is_trusted = self.dialogue.is_trusted(&connection.talk);
            let is_late = connection.deadline(is_trusted).is_some_and(|deadline| deadline <= now);
            if is_late || connection.is_hung_up || connection.output.len() > MAX_WAITING_BYTES {
                over.push(key);
            } else if connection.is_due || connection.waits_until().is_some_and(|due| due <= now) {
                let outcome = connection.serve(now, &mut self.dialogue);
                let interest = connection.interest(key);
                if outcome.is_err() || self.poller.modify(&connection.socket, interest).is_err() {
                    over.push(key);
                }
            }
        }
        for key in over {
            self.close(key);
        }
    }

    fn close(&mut self, key: usize) {
        if let Some(connection) = self.connections.remove(&key) {
            let _ = self.poller.delete(&connection.socket);
        }
    }

    /// When something has to be done even if nothing happens.
    fn next_due(&self) -> Option<Time> {
        let connections = self.connections.values().flat_map(|connection| {
            let is_trusted = self.dialogue.is_trusted(&connection.talk);
            let due_now = connection.is_due.then_some(Time::ZERO);
            [due_now, connection.deadline(is_trusted), connection.waits_until()]
        });
        connections.chain([self.accept_after]).flatten().min()
    }
}

impl<T: Send> Connection<T> {
    /// The system reported something. Where we have asked for nothing, because the dialogue waits, it reports
    /// only that the other side is gone, and would do so again at once: a peer that hears no answer is let go.
    fn notice(&mut self) {
        let asked = self.interest(0);
        self.is_hung_up = !asked.readable && !asked.writable;
        self.is_due = true;
    }

    fn serve(&mut self, now: Time, dialogue: &mut impl Dialogue<Talk = T>) -> Result<(), Over> {
        self.is_due = false;
        for _ in 0..STEPS_IN_A_ROW {
            self.write(now)?;
            // Whoever does not read is not listened to either.
            if !self.output.is_empty() {
                return Ok(());
            }
            if self.farewell_since.is_some() {
                return self.read_to_the_end();
            }
            if self.next == Next::Read && !self.read()? {
                return Ok(());
            }
            self.next = dialogue.step(now, &mut self.talk, &mut self.input, &mut self.output);
            match self.next {
                Next::Again | Next::Read => {}
                Next::Wait(_) => break,
                Next::Close => {
                    self.farewell_since = Some(now);
                    self.input = Vec::new();
                }
            }
        }
        self.write(now)?;
        self.is_due = self.output.is_empty() && matches!(self.next, Next::Again | Next::Read | Next::Close);
        Ok(())
    }

    /// False when nothing has arrived.
    fn read(&mut self) -> Result<bool, Over> {
        let mut buffer = [0; READ_BYTES];
        match (&self.socket).read(&mut buffer) {
            Ok(0) => Err(Over),
            Ok(length) => {
                self.input.extend_from_slice(&buffer[..length]);
                Ok(true)
            }
            Err(error) if is_for_later(&error) => Ok(false),
            Err(_) => Err(Over),
        }
    }

    /// Everything is said: forgets what still comes until the other side closes.
    fn read_to_the_end(&mut self) -> Result<(), Over> {
        let _ = self.socket.shutdown(Shutdown::Write);
        let mut buffer = [0; READ_BYTES];
        for _ in 0..STEPS_IN_A_ROW {
            match (&self.socket).read(&mut buffer) {
                Ok(0) => return Err(Over),
                Ok(_) => {}
                Err(error) if is_for_later(&error) => return Ok(()),
                Err(_) => return Err(Over),
            }
        }
        self.is_due = true;
        Ok(())
    }

    fn write(&mut self, now: Time) -> Result<(), Over> {
        while !self.output.is_empty() {
            match (&self.socket).write(&self.output) {
                Ok(0) => return Err(Over),
                Ok(length) => {
                    self.output.drain(..length);
                    self.stuck_since = Some(now);
                }
                Err(error) if is_for_later(&error) => {
                    self.stuck_since.get_or_insert(now);
                    return Ok(());
                }
                Err(_) => return Err(Over),
            }
        }
        self.stuck_since = None;
        if self.output.capacity() > READ_BYTES {
            self.output = Vec::new();
        }
        Ok(())
    }

    /// When its time is over.
    fn deadline(&self, is_trusted: bool) -> Option<Time> {
        let stranger = (!is_trusted).then(|| self.opened + STRANGER_PATIENCE);
        let reader = self.stuck_since.map(|since| since + READER_PATIENCE);
        let farewell = self.farewell_since.filter(|_| self.output.is_empty());
        let farewell = farewell.map(|since| since + FAREWELL_PATIENCE);
        [stranger, reader, farewell].into_iter().flatten().min()
    }

    /// When the dialogue goes on by itself.
    fn waits_until(&self) -> Option<Time> {
        match self.next {
            Next::Wait(until) if self.output.is_empty() => Some(until),
            _ => None,
        }
    }

    /// What the system shall report.
    fn interest(&self, key: usize) -> Event {
        let is_writing = !self.output.is_empty();
        let is_reading = !is_writing && matches!(self.next, Next::Read | Next::Close);
        Event::new(key, is_reading, is_writing)
    }
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// The peer went away before it was accepted.
fn is_about_one_peer(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted)
}

// Other systems report nothing of a connection that nothing is asked of.
#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::net::{Ipv4Addr, TcpStream};
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// Long enough for any machine.
    const PATIENCE: Duration = Duration::from_secs(30);

    /// Answers each request with a minute's wait.
    struct Sluggish {
        steps: Arc<AtomicUsize>,
        waits: Sender<()>,
        ended: Sender<()>,
    }

    /// Tells that its connection is over by being dropped.
    struct Talk(Sender<()>);

    impl Drop for Talk {
        fn drop(&mut self) {
            self.0.send(()).unwrap();
        }
    }

    impl Dialogue for Sluggish {
        type Talk = Talk;

        fn open(&mut self, _now: Time, _from: Option<IpAddr>) -> Talk {
            Talk(self.ended.clone())
        }

        fn step(&mut self, now: Time, _: &mut Talk, input: &mut Vec<u8>, _: &mut Vec<u8>) -> Next {
            self.steps.fetch_add(1, Ordering::Relaxed);
            if input.is_empty() {
                return Next::Read;
            }
            let _ = self.waits.try_send(());
            Next::Wait(now + Duration::from_secs(60))
        }

        fn is_trusted(&self, _: &Talk) -> bool {
            true
        }
    }

    fn hang_up_while_it_waits(listener: Socket, connect: impl FnOnce() -> Socket) {
        let steps = Arc::new(AtomicUsize::new(0));
        let ((waits, waiting), (ended, end)) = (bounded(1), bounded(8));
        let dialogue = Sluggish { steps: Arc::clone(&steps), waits, ended };
        let door = Door::open("door-test", listener, dialogue).unwrap();
        let mut peer = connect();
        peer.write_all(b"x").unwrap();
        waiting.recv_timeout(PATIENCE).unwrap();
        // More than is read at once, so that some is left when it goes.
        peer.write_all(&[b'x'; 2 * READ_BYTES]).unwrap();
        peer.set_linger(Some(Duration::ZERO)).unwrap();
        drop(peer);
        end.recv_timeout(PATIENCE).expect("the connection should be over");
        assert!(steps.load(Ordering::Relaxed) <= 3, "it is not asked again and again");
        drop(door);
    }

    #[test]
    fn a_peer_that_is_gone_is_let_go_while_its_dialogue_waits() {
        let listener = listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        hang_up_while_it_waits(listener, || TcpStream::connect(address).unwrap().into());
    }

    #[test]
    fn a_local_peer_that_is_gone_as_well() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let connect = || std::os::unix::net::UnixStream::connect(&path).unwrap().into();
        hang_up_while_it_waits(listener.into(), connect);
    }
}
