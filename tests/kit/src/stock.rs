//! Real peers: Debian's Jamulus 3.9.1 as server and client, and a JACK server whose sound card is a clock.
//!
//! Every peer is a child process with a scratch home and ports of its own. It dies with its value, and with
//! the test that started it; when the test fails, the last lines of its log are printed.

#![expect(clippy::disallowed_methods, reason = "real peers need real ports, sleeps and deadlines")]
#![expect(clippy::disallowed_types, reason = "libjack and apt allow one user at a time")]

mod process;
mod rpc;
pub mod unity;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use jamulet::units::{BufferSize, Quality};
use tempfile::TempDir;

use crate::window::Screen;

pub use process::Process;
pub use rpc::Rpc;

/// Secret of every peer's JSON-RPC; Jamulus wants at least 16 characters.
pub const RPC_SECRET: &str = "only-for-this-test";

/// Puts a thread (0 = the calling one) before all ordinary programs, where the system allows it: what else
/// runs on this machine is not part of the test. Those that are before them already, like JACK's, stay there.
pub fn hurry(thread: libc::pid_t) {
    let lowest_realtime = libc::sched_param { sched_priority: 1 };
    // SAFETY: plain system calls. Ordinary users are refused, and that is fine.
    unsafe {
        if libc::sched_getscheduler(thread) == libc::SCHED_OTHER {
            libc::sched_setscheduler(thread, libc::SCHED_RR, &lowest_realtime);
        }
    }
}

/// Lets a thread (0 = the calling one) run on one processor only, where there is such a one.
pub fn pin(thread: libc::pid_t, processor: usize) {
    // SAFETY: plain system calls on a set of our own. An impossible processor is refused, and that is fine.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(processor.min(libc::CPU_SETSIZE as usize - 1), &mut set);
        libc::sched_setaffinity(thread, size_of::<libc::cpu_set_t>(), &raw const set);
    }
}

/// A stock server on the loopback.
pub struct StockServer {
    process: Process,
    rpc_port: u16,
    address: SocketAddr,
}

impl StockServer {
    /// Starts `Jamulus -s` on a free port with `options` (`-F`, `-u`, `2`, …) and waits until it answers.
    pub fn start(options: &[&str]) -> Result<Self> {
        require("Jamulus", "jamulus")?;
        let home = scratch()?;
        let (port, rpc_port) = (free_port(), free_port());
        let mut command = jamulus(&home, rpc_port)?;
        command.args(["-s", "-n", "--serverbindip", "127.0.0.1", "-p"]).arg(port.to_string()).args(options);
        let process = Process::start_at_home("stock server", command, home)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut server = Self { process, rpc_port, address };
        server.rpc().context("the stock server did not come up")?;
        Ok(server)
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its JSON-RPC listens, for those who want to say something wrong to it.
    pub fn rpc_address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.rpc_port))
    }

    /// A new JSON-RPC connection: `jamulusserver/getClients` and the like.
    pub fn rpc(&mut self) -> Result<Rpc> {
        Rpc::open(self.rpc_port, RPC_SECRET, &mut self.process)
    }

    /// The child process: signals and log.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The child process, to end it.
    pub fn process_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// A JACK server on the dummy driver: a sound card that is none, in real time.
///
/// libjack knows one server per process, so there is at most one at a time: [`Self::start`] waits
/// for its turn.
pub struct JackServer {
    process: Process,
    period: u32,
    _turn: MutexGuard<'static, ()>,
}

impl JackServer {
    /// Starts `jackd -d dummy` at 48 kHz with blocks of `period` samples.
    pub fn start(period: u32) -> Result<Self> {
        require("jackd", "jackd2")?;
        let turn = take_turn();
        let mut command = Command::new("jackd");
        command.env("JACK_NO_AUDIO_RESERVATION", "1");
        command.args(["-n", jack_name(), "-d", "dummy", "-r", "48000", "-p"]).arg(period.to_string());
        let mut process = Process::start("jackd", command)?;
        process.wait_for_log("JACK server starting", Duration::from_secs(10))?;
        let server = Self { process, period, _turn: turn };
        server.wait_until_open()?;
        Ok(server)
    }

    /// Samples per block.
    pub fn period(&self) -> u32 {
        self.period
    }

    /// `jackd`.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// A connection of this process to the server.
    pub fn open(&self, name: &str) -> Result<jack::Client> {
        let (client, _) = jack::Client::new(name, jack::ClientOptions::NO_START_SERVER)
            .with_context(|| format!("JACK refused the client {name}:\n{}", self.process.log_tail()))?;
        Ok(client)
    }

    fn wait_until_open(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match self.open("probe") {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }
}

/// `audiochannels` of a stock client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StockLayout {
    /// One channel both ways.
    Mono,
    /// The player's two inputs are mixed to one, sent as stereo; stereo comes back.
    MonoInStereoOut,
    /// Two channels both ways.
    Stereo,
}

/// What a stock client's ini file says.
#[derive(Clone, Copy, Debug)]
pub struct StockSettings {
    /// Channels sent and received.
    pub layout: StockLayout,
    /// Low, normal or high (3.9.1 has no max).
    pub quality: Quality,
    /// "Small network buffers": 64-sample frames where JACK's block is 64.
    pub small_frames: bool,
    /// The client's own jitter buffer, in its frames.
    pub client_buffer: BufferSize,
    /// The buffer that it asks the server for, in frames.
    pub server_buffer: BufferSize,
}

impl Default for StockSettings {
    /// Stereo, normal, 64-sample frames where the block allows, 16 frames of buffer at both ends: a busy
    /// machine is not what is tested.
    fn default() -> Self {
        Self {
            layout: StockLayout::Stereo,
            quality: Quality::Normal,
            small_frames: true,
            client_buffer: BufferSize::Frames(16),
            server_buffer: BufferSize::Frames(16),
        }
    }
}

impl StockSettings {
    fn to_ini(self, period: u32) -> String {
        let layout = match self.layout {
            StockLayout::Mono => 0,
            StockLayout::MonoInStereoOut => 1,
            StockLayout::Stereo => 2,
        };
        let quality = match self.quality {
            Quality::Low => 0,
            Quality::Normal => 1,
            Quality::High | Quality::Max => 2,
        };
        let frames = |size| match size {
            BufferSize::Auto => 6,
            BufferSize::Frames(frames) => frames,
        };
        let automatic = u8::from(self.client_buffer == BufferSize::Auto);
        format!(
            "<client>\n <audiochannels>{layout}</audiochannels>\n <audioquality>{quality}</audioquality>\n \
             <autojitbuf>{automatic}</autojitbuf>\n <jitbuf>{}</jitbuf>\n <jitbufserver>{}</jitbufserver>\n \
             <prefsndcrdbufidx>{}</prefsndcrdbufidx>\n <enableopussmall>{}</enableopussmall>\n</client>\n",
            frames(self.client_buffer),
            frames(self.server_buffer),
            period / 64,
            u8::from(self.small_frames),
        )
    }
}

/// What a stock client does at its start.
enum Goal {
    /// Connects to this server.
    Join(SocketAddr),
    /// Shows the servers of this directory when asked.
    Browse(SocketAddr),
}

/// Where a stock client's window is.
enum Face<'a> {
    None,
    Hidden,
    On(&'a Screen),
}

/// A stock client playing over a [`JackServer`].
pub struct StockClient {
    process: Process,
    rpc_port: u16,
    jack_name: String,
}

impl StockClient {
    /// Starts a client without a window that connects to `server`. `name` is its JACK name and,
    /// once [`Self::rpc`] has set it, its name in the session.
    pub fn start(jack: &JackServer, name: &str, server: SocketAddr, settings: StockSettings) -> Result<Self> {
        Self::launch(jack, name, Goal::Join(server), settings, Face::None)
    }

    /// Starts a client whose window is on `screen`.
    pub fn start_on_screen(
        jack: &JackServer,
        name: &str,
        server: SocketAddr,
        settings: StockSettings,
        screen: &Screen,
    ) -> Result<Self> {
        Self::launch(jack, name, Goal::Join(server), settings, Face::On(screen))
    }

    /// Starts a client with an invisible window whose mixer obeys MIDI: controller 0..=9 moves the fader of
    /// channel 0..=9, 16.. its pan, 32.. its solo button and 48.. its mute button ([`crate::jack::Rig`] sends).
    pub fn start_with_window(
        jack: &JackServer,
        name: &str,
        server: SocketAddr,
        settings: StockSettings,
    ) -> Result<Self> {
        Self::launch(jack, name, Goal::Join(server), settings, Face::Hidden)
    }

    /// Starts a client whose window is on `screen`. It is connected to nothing; its own list of servers is that of
    /// `directory`.
    pub fn start_unconnected(
        jack: &JackServer,
        name: &str,
        directory: SocketAddr,
        screen: &Screen,
    ) -> Result<Self> {
        Self::launch(jack, name, Goal::Browse(directory), StockSettings::default(), Face::On(screen))
    }

    fn launch(
        jack: &JackServer,
        name: &str,
        goal: Goal,
        settings: StockSettings,
        face: Face<'_>,
    ) -> Result<Self> {
        require("Jamulus", "jamulus")?;
        let home = scratch()?;
        let rpc_port = free_port();
        let ini = home.path().join("client.ini");
        let mut command = jamulus(&home, rpc_port)?;
        command.env("JACK_DEFAULT_SERVER", jack_name());
        // Without `-j` the client would also play to and record from the dummy sound card.
        command.args(["-j", "--clientname", name, "-i"]).arg(&ini).arg("-p").arg(free_port().to_string());
        let mut wanted = settings.to_ini(jack.period());
        match goal {
            Goal::Join(server) => {
                command.arg("-c").arg(server.to_string());
            }
            Goal::Browse(directory) => {
                // 7 is the first of the user's own directories.
                let own_directory = format!(
                    "<client>\n <directorytype>7</directorytype>\n <directoryaddress0>{directory}</directoryaddress0>\n"
                );
                wanted = wanted.replacen("<client>\n", &own_directory, 1);
            }
        }
        fs::write(&ini, wanted)?;
        match face {
            Face::None => command.arg("-n"),
            Face::Hidden => command
                .env("QT_QPA_PLATFORM", "offscreen")
                .args(["--ctrlmidich", "1;f0*10;p16*10;s32*10;m48*10"]),
            Face::On(screen) => command.env("QT_QPA_PLATFORM", "xcb").env("DISPLAY", screen.name()),
        };
        let process = Process::start_at_home(name, command, home)?;
        Ok(Self { process, rpc_port, jack_name: format!("Jamulus {name}") })
    }

    /// A new JSON-RPC connection: `jamulusclient/getClientList`, `…/sendChatText` and the like.
    pub fn rpc(&mut self) -> Result<Rpc> {
        Rpc::open(self.rpc_port, RPC_SECRET, &mut self.process)
    }

    /// Name of its JACK client, before the colon of its ports.
    pub fn jack_name(&self) -> &str {
        &self.jack_name
    }

    /// The child process: signals and log.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The child process, to end it.
    pub fn process_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// A port that is free for UDP and TCP on the loopback, and that no other call in this process returns.
///
/// Taken from below the range that systems use for outgoing connections, so nothing takes it by chance.
pub fn free_port() -> u16 {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    let next = NEXT.get_or_init(|| AtomicU16::new((std::process::id() % u32::from(COUNT)) as u16));
    loop {
        let port = FIRST + next.fetch_add(1, Ordering::Relaxed) % COUNT;
        let address = (Ipv4Addr::LOCALHOST, port);
        if UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok() {
            return port;
        }
    }
}

/// Fails with a sentence unless `program` is installed; as root it is installed first, from Debian's `package`.
pub fn require(program: &str, package: &str) -> Result<()> {
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    if is_installed(program) {
        return Ok(());
    }
    // SAFETY: geteuid has no preconditions.
    let root = unsafe { libc::geteuid() } == 0;
    if root {
        eprintln!("{program} is missing: installing Debian's {package}…");
        let done = Command::new("apt-get")
            .args(["install", "-y", "--no-install-recommends", package])
            .env("DEBIAN_FRONTEND", "noninteractive")
            .status();
        if done.is_ok_and(|status| status.success()) && is_installed(program) {
            return Ok(());
        }
    }
    bail!("{program} is not installed. Run `sudo apt-get install {package}` and start the tests again.")
}

fn is_installed(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

/// What server and client have in common on their command line.
fn jamulus(home: &TempDir, rpc_port: u16) -> Result<Command> {
    let secret = home.path().join("secret");
    fs::write(&secret, RPC_SECRET)?;
    let mut command = Command::new("Jamulus");
    command.env_remove("DISPLAY").env("TZ", "UTC");
    command.arg("-t").arg("--jsonrpcport").arg(rpc_port.to_string());
    command.arg("--jsonrpcsecretfile").arg(secret);
    Ok(command)
}

fn scratch() -> Result<TempDir> {
    tempfile::Builder::new().prefix("jamulet-peer-").tempdir().context("no scratch folder for a peer")
}

/// Name of this process's JACK server.
fn jack_name() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let name = format!("jamulet-{}", std::process::id());
        // SAFETY: set once, before this process first calls libjack, which is the only C code here
        // that reads it; Rust's own readers are behind the standard library's lock.
        unsafe { std::env::set_var("JACK_DEFAULT_SERVER", &name) };
        name
    })
}

/// The right to run this process's one JACK server.
fn take_turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
