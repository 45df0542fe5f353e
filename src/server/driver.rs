//! The thread that owns the core and the socket: receives, ticks, sends, waits.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};

use crate::net::{
    BindOptions, DEFAULT_TOS, ReceiveBatch, SendBatch, Socket, Waiter, Waker, clock_now,
    raise_thread_priority, thread_cpu_micros,
};
use crate::units::{DEFAULT_PORT, FrameSize, MAX_DATAGRAM_BYTES, Time, WIRE_RATE_HZ};

use super::command::{Command, RecordCommand};
use super::config::Config;
use super::core::{Core, DirectoryTask};
use super::directory_file::DirectoryFile;
use super::event::Event;
use super::handle::{Handle, Request};
use super::lookup::LookUps;
use super::reachable::own_address;
use super::recorder::{Recorder, RecorderOptions, Studio};
use super::status::{Counters, LATENESS_BOUNDS_MICROS};
use super::wall_time::local_now;

/// Datagrams taken from the system at once.
const RECEIVE_SLOTS: usize = 64;
/// Requests of admins served in one turn, so that they cannot hold up the tick either.
const REQUESTS_IN_A_ROW: usize = 8;
/// Batches taken before the deadline is looked at again, so that a flood cannot hold up the tick.
const MAX_BATCHES_IN_A_ROW: usize = 8;
/// Datagrams and bytes given to the system at once.
const SEND_SLOTS: usize = 256;
const SEND_BYTES: usize = 256 << 10;
/// Events that wait for somebody to read them; later ones are dropped until then.
const EVENT_SLOTS: usize = 1024;
/// A server this late makes up for the lost ticks; one that is later starts afresh.
const MAX_CATCH_UP: Duration = Duration::from_millis(60);
/// How often the time of day is looked up for chat lines.
const WALL_TIME_INTERVAL: Duration = Duration::from_secs(1);
/// Files that are not complete this long after the last tick are left as they are: a server stops within a second.
const MAX_FINISH: Duration = Duration::from_millis(800);

/// How to start a server.
#[derive(Clone, Debug)]
pub struct Options {
    /// UDP port; 0 takes any free one.
    pub port: u16,
    /// Listen on this IPv4 address only.
    pub bind_ip4: Option<Ipv4Addr>,
    /// Listen on this IPv6 address only; ignored when `bind_ip4` is given.
    pub bind_ip6: Option<Ipv6Addr>,
    /// Listen on IPv6 as well as on IPv4.
    pub ipv6: bool,
    /// IP type of service / traffic class of what is sent.
    pub tos: u8,
    /// What is recorded, and where. Without it, with an empty folder, or with one that cannot be used, the server
    /// records nothing until an admin names a folder.
    pub recorder: Option<RecorderOptions>,
    /// Recording is on from the start.
    pub record_at_start: bool,
    /// Where a directory keeps its list across restarts.
    pub directory_file: Option<PathBuf>,
    /// What the server does.
    pub config: Config,
    /// Seed of everything random.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: DEFAULT_PORT,
            bind_ip4: None,
            bind_ip6: None,
            ipv6: true,
            tos: DEFAULT_TOS,
            recorder: None,
            record_at_start: true,
            directory_file: None,
            config: Config::default(),
            seed: 0,
        }
    }
}

/// Why a server did not start. `Display` is one sentence with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Somebody else has the port.
    #[error(
        "Port {port} is in use by another program, perhaps another server. Stop that one, or choose another port with --port."
    )]
    PortInUse {
        /// The port.
        port: u16,
    },
    /// Ports below 1024 often need permission.
    #[error("The system does not allow this program to use port {port}. Choose one above 1023 with --port.")]
    PortForbidden {
        /// The port.
        port: u16,
    },
    /// The address to bind to is not one of this machine's.
    #[error(
        "{address} is not an address of this computer. Leave out --serverbindip4 to listen on all of its addresses."
    )]
    NotOurAddress {
        /// The address.
        address: String,
    },
    /// The directory's file.
    #[error(
        "The directory's list cannot be read from {path}: {error}. Choose another file, or remove this one."
    )]
    DirectoryFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Anything else.
    #[error("The network cannot be used: {0}.")]
    System(#[from] io::Error),
}

/// Counters of a running server since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerStats {
    /// Ticks mixed.
    pub ticks: u64,
    /// Ticks that began more than one tick late and were made up for.
    pub late_ticks: u64,
    /// Times that the server was so late that it gave up ticks.
    pub resynchronised: u64,
    /// Datagrams that the system refused to send.
    pub refused: u64,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    ticks: AtomicU64,
    late_ticks: AtomicU64,
    resynchronised: AtomicU64,
    refused: AtomicU64,
}

/// A running server. Dropping it stops it.
pub struct Server {
    address: SocketAddr,
    events: Receiver<Event>,
    handle: Handle,
    shared: Arc<Shared>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
    recorders: Receiver<Recorder>,
    /// Disconnected when the directory's file is written.
    directory_written: Option<Receiver<()>>,
}

impl Server {
    /// Opens the port and starts the tick thread.
    ///
    /// # Errors
    /// When the port or the address cannot be used.
    pub fn start(options: Options) -> Result<Self, StartError> {
        let socket = bind(&options)?;
        let address = socket.local_addr()?;
        let mut waiter = Waiter::new()?;
        waiter.watch(&socket)?;
        let waker = waiter.waker();
        let shared = Arc::new(Shared::default());
        let (event_sender, events) = bounded(EVENT_SLOTS);
        let mut config = options.config;
        config.told.ipv6 = address.is_ipv6();
        let mut core = Core::new(clock_now(), config, options.seed);
        let recorder = options.recorder.unwrap_or_else(|| RecorderOptions::new(PathBuf::new()));
        let (studio, recorders) = Studio::new(recorder.clone(), core.frame(), core.slots());
        start_recorder(&mut core, &studio, recorder.directory, options.record_at_start);
        let (handle, requests) = Handle::new(waker.clone(), studio);
        let (directory_file, known) = match &options.directory_file {
            Some(path) => {
                open_directory_file(path, event_sender.clone()).map(|(file, text)| (Some(file), text))?
            }
            None => (None, String::new()),
        };
        let directory_written = directory_file.as_ref().map(DirectoryFile::written);
        core.go_public(clock_now(), own_address(address), &known);
        let mut driver = Driver {
            core,
            requests,
            look_ups: LookUps::start(handle.clone())?,
            directory_file,
            socket,
            waiter,
            received: ReceiveBatch::new(RECEIVE_SLOTS),
            sending: SendBatch::new(SEND_SLOTS, SEND_BYTES),
            events: event_sender,
            shared: Arc::clone(&shared),
            schedule: None,
            punctuality: Punctuality::default(),
            wall_time_due: Time::ZERO,
        };
        let thread = std::thread::Builder::new().name("jamulet-tick".to_owned()).spawn(move || {
            // A fault must not look like silence: the channel closes and the program says so.
            let _ = catch_unwind(AssertUnwindSafe(|| driver.run()));
        })?;
        Ok(Self {
            address,
            events,
            handle,
            shared,
            waker,
            thread: Some(thread),
            recorders,
            directory_written,
        })
    }

    /// The address that the server is bound to, with the port in use.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// What happens; disconnected when the server has stopped.
    pub fn events(&self) -> &Receiver<Event> {
        &self.events
    }

    /// Talks to the server while it runs, from any thread.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Counters since the start.
    pub fn stats(&self) -> ServerStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ServerStats {
            ticks: read(&self.shared.ticks),
            late_ticks: read(&self.shared.late_ticks),
            resynchronised: read(&self.shared.resynchronised),
            refused: read(&self.shared.refused),
        }
    }

    /// Stops the server and waits until its thread has ended and its port is free.
    ///
    /// Clients are sent away only if the configuration says so; else they reconnect by themselves when the
    /// server comes back within 30 s.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        // After the last tick, so that nothing is missing from the files. All at once, and then until one moment.
        let deadline = clock_now() + MAX_FINISH;
        let mut recorders: Vec<Recorder> = self.recorders.try_iter().collect();
        recorders.iter_mut().for_each(Recorder::finish);
        for recorder in recorders {
            recorder.wait(deadline.since(clock_now()));
        }
        if let Some(written) = self.directory_written.take() {
            let _ = written.recv_timeout(deadline.since(clock_now()));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// Gives `core` a recorder with a thread of its own if there is a folder for it. What is wrong with the folder is the
/// recording's trouble, not the jam's.
fn start_recorder(core: &mut Core, studio: &Studio, directory: PathBuf, is_on: bool) {
    let now = clock_now();
    // Without a recorder it is remembered for the day when there is one.
    let _ =
        core.execute(now, Command::Record(if is_on { RecordCommand::Start } else { RecordCommand::Stop }));
    if directory.as_os_str().is_empty() {
        return;
    }
    let opened = studio.check(&directory).map_err(|error| error.to_string()).and_then(|()| {
        let failed = |error| format!("The recorder cannot be started: {error}.");
        studio.open(directory.clone()).map_err(failed)
    });
    let made = opened.map(|(tap, recorder)| {
        studio.keep(recorder);
        (tap, directory)
    });
    core.take_recorder(now, made);
}

fn open_directory_file(path: &Path, events: Sender<Event>) -> Result<(DirectoryFile, String), StartError> {
    DirectoryFile::open(path, events)
        .map_err(|error| StartError::DirectoryFile { path: path.to_owned(), error })
}

fn bind(options: &Options) -> Result<Socket, StartError> {
    let address = BindOptions {
        port: options.port,
        ip4: options.bind_ip4,
        ip6: options.bind_ip6,
        ipv6: options.ipv6,
        tos: options.tos,
    };
    Socket::bind(&address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => StartError::PortInUse { port: options.port },
        io::ErrorKind::PermissionDenied => StartError::PortForbidden { port: options.port },
        io::ErrorKind::AddrNotAvailable => StartError::NotOurAddress { address: wanted_address(options) },
        _ => StartError::System(error),
    })
}

fn wanted_address(options: &Options) -> String {
    match (options.bind_ip4, options.bind_ip6) {
        (Some(ip), _) => ip.to_string(),
        (None, Some(ip)) => ip.to_string(),
        (None, None) => Ipv4Addr::UNSPECIFIED.to_string(),
    }
}

struct Driver {
    core: Core,
    requests: Receiver<Request>,
    look_ups: LookUps,
    directory_file: Option<DirectoryFile>,
    socket: Socket,
    waiter: Waiter,
    received: ReceiveBatch,
    sending: SendBatch,
    events: Sender<Event>,
    shared: Arc<Shared>,
    /// Runs while somebody is connected.
    schedule: Option<Schedule>,
    punctuality: Punctuality,
    wall_time_due: Time,
}

impl Driver {
    fn run(&mut self) {
        // Where it is refused, ordinary scheduling has to do.
        raise_thread_priority();
        while !self.shared.stop.load(Ordering::Acquire) {
            self.receive();
            self.serve_requests();
            self.run_timers();
            self.run_ticks();
            self.flush();
            self.wait();
        }
        self.core.stop();
        self.flush();
        if let (Some(file), Some(text)) = (&self.directory_file, self.core.directory_file()) {
            file.write(text);
        }
        let _ = self.waiter.unwatch(&self.socket);
    }

    /// Takes what has arrived; a flood is left in the system's buffer when it is time to tick.
    fn receive(&mut self) {
        for _ in 0..MAX_BATCHES_IN_A_ROW {
            let now = clock_now();
            // Whatever a UDP socket reports is about some peer, or cured by waiting.
            let count = self.socket.receive(&mut self.received).unwrap_or(0);
            let received = std::mem::replace(&mut self.received, ReceiveBatch::new(0));
            for (from, datagram) in received.iter() {
                self.core.handle_datagram(now, from, datagram);
                // Costly datagrams must not hold up the tick until the last of them is handled.
                if self.is_tick_due() {
                    self.run_ticks();
                }
            }
            self.received = received;
            self.flush();
            if count < RECEIVE_SLOTS || self.is_tick_due() {
                break;
            }
        }
    }

    fn is_tick_due(&self) -> bool {
        self.schedule.as_ref().is_some_and(|schedule| schedule.deadline() <= clock_now())
    }

    /// Does what other threads ask for. Whoever asked may have given up waiting.
    fn serve_requests(&mut self) {
        let now = clock_now();
        for request in self.requests.try_iter().take(REQUESTS_IN_A_ROW) {
            match request {
                Request::Command(_, answer) if answer.is_abandoned() => {}
                Request::Command(command, answer) => answer.give(self.core.execute(now, command)),
                Request::Recorder(made, answer) => {
                    let _ = answer.try_send(self.core.take_recorder(now, *made));
                }
                Request::Status(answer) => {
                    let mut status = self.core.status(now);
                    self.punctuality.report(&mut status.counters);
                    status.counters.refused = self.shared.refused.load(Ordering::Relaxed);
                    status.counters.cpu_micros = thread_cpu_micros();
                    let _ = answer.try_send(Box::new(status));
                }
            }
        }
    }

    fn run_timers(&mut self) {
        let now = clock_now();
        if now >= self.wall_time_due {
            self.core.set_wall_time(local_now());
            self.wall_time_due = now + WALL_TIME_INTERVAL;
        }
        if self.core.poll_timeout().is_some_and(|due| due <= now) {
            self.core.handle_timeout(now);
            self.flush();
        }
        self.schedule = match (self.core.is_empty(), self.schedule.take()) {
            (true, _) => None,
            (false, Some(schedule)) => Some(schedule),
            (false, None) => Some(Schedule::new(now, self.core.frame())),
        };
    }

    /// Ticks that are due: one as a rule, several after a stall.
    fn run_ticks(&mut self) {
        let Some(schedule) = &mut self.schedule else { return };
        let now = clock_now();
        let mut lateness = now.since(schedule.deadline());
        if schedule.skip_if_hopeless(now) {
            self.punctuality.resynchronised += 1;
            self.shared.resynchronised.fetch_add(1, Ordering::Relaxed);
        }
        let mut count: u64 = 0;
        while schedule.deadline() <= now {
            self.punctuality.count(lateness);
            self.core.tick();
            schedule.advance();
            lateness = now.since(schedule.deadline());
            count += 1;
            // Each tick leaves at once, so that catching up does not need a larger outbox.
            flush(&mut self.core, &self.socket, &mut self.sending, &self.shared);
        }
        self.shared.ticks.fetch_add(count, Ordering::Relaxed);
        let made_up = count.saturating_sub(1);
        self.punctuality.late_ticks += made_up;
        self.shared.late_ticks.fetch_add(made_up, Ordering::Relaxed);
    }

    fn flush(&mut self) {
        flush(&mut self.core, &self.socket, &mut self.sending, &self.shared);
        while let Some(event) = self.core.poll_event() {
            // Nobody reads, or nobody is left to read: the jam goes on.
            let _ = self.events.try_send(event);
        }
        while let Some(task) = self.core.poll_directory_task() {
            match (task, &self.directory_file) {
                (DirectoryTask::LookUp(name), _) => self.look_ups.ask(name),
                (DirectoryTask::Save(text), Some(file)) => file.write(text),
                // Its admin keeps no file.
                (DirectoryTask::Save(_), None) => {}
            }
        }
    }

    fn wait(&mut self) {
        let tick = self.schedule.as_ref().map(Schedule::deadline);
        let next = [tick, self.core.poll_timeout()].into_iter().flatten().min();
        let timeout = next.map(|deadline| deadline.since(clock_now()));
        let is_busy = timeout == Some(Duration::ZERO) || !self.requests.is_empty();
        if is_busy || self.shared.stop.load(Ordering::Acquire) {
            return;
        }
        if self.waiter.wait(Some(&self.socket), timeout).is_err() {
            // Never seen; without a pause it would be a busy loop.
            std::thread::yield_now();
        }
    }
}

/// Sends everything that the core has made.
fn flush(core: &mut Core, socket: &Socket, sending: &mut SendBatch, shared: &Shared) {
    let mut refused = 0;
    core.drain_transmits(|to, datagram| {
        if !sending.push(to, datagram) {
            refused += socket.send(sending);
            // An empty batch has room for the longest datagram.
            let _ = sending.push(to, datagram);
        }
    });
    if !sending.is_empty() {
        refused += socket.send(sending);
    }
    shared.refused.fetch_add(refused as u64, Ordering::Relaxed);
}

const _: () = assert!(SEND_BYTES >= MAX_DATAGRAM_BYTES);

/// How punctual ticks are.
#[derive(Default)]
struct Punctuality {
    late_ticks: u64,
    resynchronised: u64,
    /// As [`Counters::lateness`].
    lateness: [u64; LATENESS_BOUNDS_MICROS.len() + 1],
    sum_micros: u64,
}

impl Punctuality {
    fn count(&mut self, lateness: Duration) {
        let micros = u64::try_from(lateness.as_micros()).unwrap_or(u64::MAX);
        self.lateness[LATENESS_BOUNDS_MICROS.partition_point(|bound| *bound < micros)] += 1;
        self.sum_micros = self.sum_micros.saturating_add(micros);
    }

    fn report(&self, counters: &mut Counters) {
        counters.late_ticks = self.late_ticks;
        counters.resynchronised = self.resynchronised;
        counters.lateness = self.lateness;
        counters.lateness_sum_micros = self.sum_micros;
    }
}

/// Absolute deadlines of ticks. A tick is no whole number of microseconds, so deadlines are computed
/// from the count: they never drift.
struct Schedule {
    start: Time,
    ticks: u64,
    frame: FrameSize,
}

impl Schedule {
    fn new(now: Time, frame: FrameSize) -> Self {
        Self { start: now, ticks: 1, frame }
    }

    fn deadline(&self) -> Time {
        let samples = self.ticks * self.frame.samples() as u64;
        self.start + Duration::from_micros(samples * 1_000_000 / u64::from(WIRE_RATE_HZ))
    }

    fn advance(&mut self) {
        self.ticks += 1;
    }

    /// Later than [`MAX_CATCH_UP`]: the next tick is now, and those in between are lost.
    fn skip_if_hopeless(&mut self, now: Time) -> bool {
        let hopeless = now.since(self.deadline()) > MAX_CATCH_UP;
        if hopeless {
            *self = Self { start: now, ticks: 0, frame: self.frame };
        }
        hopeless
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_is_counted_at_the_first_bound_that_holds_it() {
        let mut punctuality = Punctuality::default();
        for micros in [0, 50, 51, 50_000, 50_001] {
            punctuality.count(Duration::from_micros(micros));
        }
        let mut counters = Counters::default();
        punctuality.report(&mut counters);
        assert_eq!(counters.lateness, [2, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(counters.lateness_sum_micros, 100_102);
    }

    #[test]
    fn deadlines_do_not_drift() {
        let mut schedule = Schedule::new(Time::from_micros(5), FrameSize::Samples128);
        for _ in 0..375 * 3600 - 1 {
            schedule.advance();
        }
        assert_eq!(schedule.deadline(), Time::from_micros(5 + 3600 * 1_000_000));
    }

    #[test]
    fn a_late_server_catches_up_and_a_hopeless_one_starts_afresh() {
        let mut schedule = Schedule::new(Time::ZERO, FrameSize::Samples64);
        let first = schedule.deadline();
        assert!(!schedule.skip_if_hopeless(first + MAX_CATCH_UP));
        assert_eq!(schedule.deadline(), first);
        let late = first + MAX_CATCH_UP + Duration::from_micros(1);
        assert!(schedule.skip_if_hopeless(late));
        assert_eq!(schedule.deadline(), late);
        schedule.advance();
        assert_eq!(schedule.deadline(), late + Duration::from_micros(1333));
    }
}
