//! `jamulet-server`: hosts a Jamulus session.
//!
//! What the user typed (`arguments`, `config_file`) becomes what the program needs (`effective`); then this file
//! starts the server, tells the log what happens, and obeys signals.

mod arguments;
mod config_file;
mod doors;
mod effective;
mod log;
mod signals;
mod status;
mod systemd;
mod values;
mod welcome;

use std::ffi::OsString;
use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use clap::ArgMatches;
use crossbeam::channel::{RecvTimeoutError, Sender, bounded, select};
use jamulet::server::{Command, Config, LiveConfig, RecordCommand, Server, reachable_addresses};

use self::doors::{DoorPlan, Doors};
use self::effective::Plan;
use self::log::{Level, Log, Record};
use self::signals::Signal;
use self::systemd::ServiceManager;

/// The program ends this long after it was told to, at the latest.
const STOP_PATIENCE: Duration = Duration::from_millis(900);
/// The end of it, for the log's last lines.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// Options that SIGHUP changes in a running server; the others need a restart.
const LIVE: [&str; 9] = [
    "welcomemessage",
    "licence",
    "discononquit",
    "directoryaddress",
    "serverinfo",
    "listfilter",
    "log",
    "logformat",
    "maskaddresses",
];

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let result = match words.split_first() {
        Some((word, rest)) if word == "config" => print_config(rest),
        Some((word, rest)) if word == "status" => status::run(rest),
        _ => run(&words),
    };
    let Err(error) = result else { return ExitCode::SUCCESS };
    match error.downcast_ref::<clap::Error>() {
        // Help and version.
        Some(asked) => asked.exit(),
        None => eprintln!("{}", in_one_line(&error)),
    }
    ExitCode::FAILURE
}

/// With its causes, and an end also where the system's words have none.
fn in_one_line(error: &anyhow::Error) -> String {
    let text = format!("{error:#}").replace('\n', " ");
    if text.ends_with(['.', '?']) { text } else { text + "." }
}

/// What has been read so far, to tell what has changed.
struct Loaded {
    at_start: ArgMatches,
    was_directory: bool,
    last: LiveConfig,
}

/// All options: those typed, and those of the file that they name.
struct Configuration {
    matches: ArgMatches,
    plan: Plan,
}

impl Configuration {
    fn read(words: &[OsString]) -> anyhow::Result<Self> {
        let (typed, _) = arguments::parse(words).map_err(complain)?;
        let mut all = typed.config.as_deref().map(config_file::read).transpose()?.unwrap_or_default();
        all.extend_from_slice(words);
        let (arguments, matches) = arguments::parse(&all).map_err(complain)?;
        Ok(Self { matches, plan: effective::plan(&arguments)? })
    }
}

/// Mistakes become a sentence; help and version stay what they are.
fn complain(error: clap::Error) -> anyhow::Error {
    if error.use_stderr() { anyhow!(arguments::sentence(&error)) } else { error.into() }
}

fn print_config(words: &[OsString]) -> anyhow::Result<()> {
    let file = config_file::print(&Configuration::read(words)?.matches)?;
    std::io::stdout().lock().write_all(file.as_bytes()).context("The configuration cannot be printed")
}

fn run(words: &[OsString]) -> anyhow::Result<()> {
    let Configuration { matches, plan } = Configuration::read(words)?;
    let signals =
        signals::wait_for_signals().context("The system does not let this program react to Ctrl-C")?;
    let log = Log::start(&plan.log)?;
    let max_clients = plan.options.config.max_clients;
    let mut loaded = Loaded::new(matches, &plan.options.config);
    let door_plan = DoorPlan::new(plan.rpc.as_ref(), plan.metrics)?;
    let server = Server::start(plan.options)?;
    for note in plan.notes {
        log.warn("note", note);
    }
    let doors = Doors::open(door_plan, server.local_addr().port(), &server.handle(), &log)?;
    let service_manager = ServiceManager::ready(server.handle())?;
    greet(&log, &server, &doors, max_clients, log::is_for_people(plan.log.format));
    loop {
        select! {
            recv(server.events()) -> event => match event {
                Ok(event) => {
                    doors.notify(&event);
                    log.event(&event);
                }
                Err(_) => {
                    log.finish(deadline());
                    bail!("The server stopped because of a fault in it. Please start it again, and report this.")
                }
            },
            recv(signals.other) -> signal => match signal {
                Ok(Signal::Reload) => service_manager.reloading(|| reload(words, &mut loaded, &server, &log)),
                Ok(Signal::NewRecording) => execute(&server, &log, Command::Record(RecordCommand::Restart)),
                Ok(Signal::ToggleRecording) => execute(&server, &log, Command::Record(RecordCommand::Toggle)),
                Err(_) => break,
            },
            recv(signals.stop) -> _ => break,
        }
    }
    service_manager.stopping();
    end(server, doors, &log)
}

/// Ends everything at the same time, and waits for no more than [`STOP_PATIENCE`] in all: a disk or a reader
/// that sleeps does not keep the program.
fn end(server: Server, doors: Doors, log: &Log) -> anyhow::Result<()> {
    let deadline = deadline();
    let (ending, ended) = bounded::<()>(0);
    in_background(ending.clone(), move || server.stop())?;
    in_background(ending, move || drop(doors))?;
    if ended.recv_deadline(deadline - LAST_WORDS) == Err(RecvTimeoutError::Timeout) {
        let sentence = "Not everything could be finished in time, perhaps because a disk does not answer.";
        log.warn("unfinished", sentence);
    }
    log.write(Record::told(Level::Info, "stopped", "Stopped."));
    log.finish(deadline);
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a door: the end of a program is real time")]
fn deadline() -> Instant {
    Instant::now() + STOP_PATIENCE
}

/// Does `work` on a thread of its own and drops `ending` after it.
fn in_background(ending: Sender<()>, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    let thread = std::thread::Builder::new().name("jamulet-ending".to_owned());
    thread.spawn(move || {
        work();
        drop(ending);
    })?;
    Ok(())
}

impl Loaded {
    fn new(at_start: ArgMatches, config: &Config) -> Self {
        Self { at_start, was_directory: config.own_directory.is_some(), last: config.live() }
    }

    /// Options that have changed since the start, and have an effect only at the next one: they are told
    /// each time.
    fn waiting_for_restart(&self, new: &ArgMatches, config: &Config) -> Vec<String> {
        let stays_directory = self.was_directory == config.own_directory.is_some();
        let is_live = |name: &str| LIVE.contains(&name) && (name != "directoryaddress" || stays_directory);
        config_file::differences(&self.at_start, new).into_iter().filter(|name| !is_live(name)).collect()
    }
}

/// Takes over what has changed in the files; on a mistake in them everything stays as it is.
fn reload(words: &[OsString], loaded: &mut Loaded, server: &Server, log: &Log) {
    let new = match Configuration::read(words) {
        Ok(new) => new,
        Err(error) => {
            let sentence = format!("The configuration stays as it was. {}", in_one_line(&error));
            return log.write(Record::told(Level::Error, "reload_failed", sentence));
        }
    };
    if let Err(error) = log.reopen(&new.plan.log) {
        log.write(Record::told(Level::Error, "log_failed", in_one_line(&error)));
    }
    for note in new.plan.notes {
        log.warn("note", note);
    }
    for name in loaded.waiting_for_restart(&new.matches, &new.plan.options.config) {
        log.warn(
            "note",
            format!("--{name} has changed, which takes effect when the server is started again."),
        );
    }
    let after = new.plan.options.config.live();
    let before = std::mem::replace(&mut loaded.last, after.clone());
    execute(server, log, Command::Reload { before: Box::new(before), after: Box::new(after) });
    log.write(Record::told(Level::Info, "reloaded", "The configuration has been read again."));
}

fn execute(server: &Server, log: &Log, command: Command) {
    if let Err(error) = server.handle().execute(command) {
        log.write(Record::told(Level::Error, "refused", error.to_string()));
    }
}

/// Tells that the server is ready, and where; to people also what to do.
fn greet(log: &Log, server: &Server, doors: &Doors, max_clients: usize, for_people: bool) {
    let bound = server.local_addr();
    let (version, port) = (env!("CARGO_PKG_VERSION"), bound.port());
    let mut sentence =
        format!("Jamulet server {version} is ready for {max_clients} musicians on UDP port {port}.");
    let addresses = reachable_addresses(bound);
    if for_people {
        sentence += &advice(bound, &addresses, doors);
    }
    let mut ready = Record::new("ready", sentence)
        .with("version", version)
        .with("port", port)
        .with("musicians", max_clients);
    for address in addresses {
        ready = ready.with("address", address);
    }
    for (name, address) in [("rpc", doors.rpc_address()), ("metrics", doors.metrics_address())] {
        if let Some(address) = address {
            ready = ready.with(name, address);
        }
    }
    log.write(ready);
}

fn advice(bound: SocketAddr, addresses: &[SocketAddr], doors: &Doors) -> String {
    let mut advice = String::from("\nMusicians connect to:\n");
    for address in addresses {
        let whom = if address.ip().is_loopback() { "from this computer" } else { "from your network" };
        advice += &format!("  {address}  {whom}\n");
    }
    if !bound.ip().is_loopback() {
        let port = bound.port();
        advice += &format!(
            "From the internet: your router's public address, with UDP port {port} forwarded to this computer.\n"
        );
    }
    if let Some(address) = doors.rpc_address() {
        advice += &format!("Remote control (JSON-RPC) listens on TCP {address}.\n");
    }
    if let Some(address) = doors.metrics_address() {
        advice += &format!("Figures for Prometheus: http://{address}/metrics\n");
    }
    advice + "Press Ctrl-C to stop."
}
