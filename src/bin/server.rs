//! `jamulet-server`: hosts a Jamulus session.

use std::fs;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow, bail};
use clap::Parser;
use crossbeam::channel::{Receiver, bounded, select};
use jamulet::server::{Config, Event, Options, Server, reachable_addresses};
use jamulet::units::{DEFAULT_PORT, FrameSize, MAX_CHANNELS};

/// Largest welcome file read, in bytes: four times what can be shown.
const MAX_WELCOME_FILE_BYTES: u64 = 20_000;

/// Hosts a Jamulus session: everybody who connects hears a mix of everybody, each with their own faders.
#[derive(Parser)]
#[command(
    name = "jamulet-server",
    version,
    disable_version_flag = true,
    after_help = "Musicians connect with Jamulus 3.6 or later, or with the Jamulet plugin in their DAW."
)]
struct Arguments {
    /// UDP port that musicians connect to; 0 takes any free one
    #[arg(short, long, value_name = "PORT", default_value_t = DEFAULT_PORT, value_parser = port)]
    port: u16,

    /// Most musicians at a time, 1 to 150
    #[arg(short = 'u', long, value_name = "NUMBER", default_value_t = 10, allow_negative_numbers = true, value_parser = number_of_clients)]
    numchannels: usize,

    /// Greeting for everyone who joins: a text (HTML is allowed) or a file that holds it
    #[arg(short, long, value_name = "TEXT|FILE", allow_hyphen_values = true)]
    welcomemessage: Option<String>,

    /// Mix every 64 samples instead of 128: less delay for musicians with small buffers, more work for the CPU
    #[arg(short = 'F', long)]
    fastupdate: bool,

    /// Listen on this IP address of this computer only [default: all of them]
    #[arg(long, alias = "serverbindip", value_name = "ADDRESS", value_parser = bind_address)]
    serverbindip4: Option<IpAddr>,

    /// This program is always a server
    #[arg(short, long, help_heading = COMPATIBILITY)]
    server: bool,

    /// There is no window
    #[arg(short, long, help_heading = COMPATIBILITY)]
    nogui: bool,

    /// There are no translations
    #[arg(short = 't', long, help_heading = COMPATIBILITY)]
    notranslation: bool,

    /// Print the version
    #[arg(short, long, action = clap::ArgAction::Version)]
    version: Option<bool>,
}

const COMPATIBILITY: &str = "Accepted because Jamulus has them, without effect";

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) if error.use_stderr() => {
            eprintln!("{}", sentence(&error));
            return ExitCode::from(2);
        }
        // Help and version.
        Err(error) => error.exit(),
    };
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What was wrong with the arguments, in one line.
fn sentence(error: &clap::Error) -> String {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
    let mut characters = first.chars();
    let capital: String = characters.next().into_iter().flat_map(char::to_uppercase).collect();
    format!("{capital}{}. Try jamulet-server --help.", characters.as_str())
}

fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("a port is a number from 1 to 65535, usually {DEFAULT_PORT}"))
}

fn number_of_clients(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=MAX_CHANNELS).contains(number));
    number.ok_or_else(|| format!("it must be a number from 1 to {MAX_CHANNELS}"))
}

fn bind_address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| "that is not an IP address, such as 192.168.1.20".to_owned())
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let options = options(arguments)?;
    let signals = stop_signals()?;
    let max_clients = options.config.max_clients;
    let server = Server::start(options)?;
    greet(server.local_addr(), max_clients);
    loop {
        select! {
            recv(server.events()) -> event => match event {
                // What follows it tells who it is.
                Ok(Event::Connected { .. }) => {}
                Ok(event) => say(&event.to_string()),
                Err(_) => bail!("The server stopped because of a fault in it. Please start it again, and report this."),
            },
            recv(signals) -> _ => break,
        }
    }
    server.stop();
    say("Stopped.");
    Ok(())
}

fn options(arguments: &Arguments) -> anyhow::Result<Options> {
    let (bind_ip4, bind_ip6) = match arguments.serverbindip4 {
        Some(IpAddr::V4(ip)) => (Some(ip), None),
        Some(IpAddr::V6(ip)) => (None, Some(ip)),
        None => (None, None),
    };
    let config = Config {
        max_clients: arguments.numchannels,
        frame: if arguments.fastupdate { FrameSize::Samples64 } else { FrameSize::Samples128 },
        welcome: arguments.welcomemessage.as_deref().map(welcome).transpose()?,
        ..Config::default()
    };
    Ok(Options { port: arguments.port, bind_ip4, bind_ip6, config, seed: seed(), ..Options::default() })
}

/// The text itself, or the contents of the file that it names.
fn welcome(text_or_file: &str) -> anyhow::Result<String> {
    let path = Path::new(text_or_file);
    // A text may be too long or too odd for a path: then it is just a text.
    let Ok(found) = fs::metadata(path) else {
        if looks_like_a_file(path) {
            bail!("There is no file {text_or_file} to read the welcome message from.");
        }
        return Ok(text_or_file.to_owned());
    };
    if !found.is_file() {
        bail!("{text_or_file} is not a text file. Give --welcomemessage a text or a text file.");
    }
    if found.len() > MAX_WELCOME_FILE_BYTES {
        bail!("{text_or_file} is too long for a welcome message: at most {MAX_WELCOME_FILE_BYTES} bytes.");
    }
    let bytes =
        fs::read(path).with_context(|| format!("The welcome message in {text_or_file} cannot be read"))?;
    String::from_utf8(bytes).map_err(|_| {
        anyhow!("{text_or_file} is not a text in UTF-8. Save it as UTF-8 or give the text itself.")
    })
}

/// One word that ends like the name of a text file: surely no greeting.
fn looks_like_a_file(path: &Path) -> bool {
    let is_one_word = path.to_str().is_some_and(|text| !text.contains(char::is_whitespace));
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    is_one_word && ["txt", "html", "htm", "md"].contains(&extension.to_ascii_lowercase().as_str())
}

/// SIGINT and SIGTERM (Ctrl-C on Windows), as messages.
fn stop_signals() -> anyhow::Result<Receiver<()>> {
    let (sender, receiver) = bounded(1);
    wait_for_signals(sender).context("The system does not let this program react to Ctrl-C")?;
    Ok(receiver)
}

#[cfg(unix)]
fn wait_for_signals(sender: crossbeam::channel::Sender<()>) -> std::io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    std::thread::Builder::new().name("jamulet-signals".to_owned()).spawn(move || {
        for _ in signals.forever() {
            // A second signal while the first is being obeyed changes nothing.
            let _ = sender.try_send(());
        }
    })?;
    Ok(())
}

/// Without signals that can be waited for, the flag that the handler sets is looked at.
#[cfg(not(unix))]
fn wait_for_signals(sender: crossbeam::channel::Sender<()>) -> std::io::Result<()> {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use signal_hook::consts::{SIGINT, SIGTERM};
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    std::thread::Builder::new().name("jamulet-signals".to_owned()).spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            std::thread::park_timeout(Duration::from_millis(200));
        }
        let _ = sender.send(());
    })?;
    Ok(())
}

fn greet(bound: SocketAddr, max_clients: usize) {
    let port = bound.port();
    say(&format!(
        "Jamulet server {} is ready for {max_clients} musicians on UDP port {port}.",
        env!("CARGO_PKG_VERSION")
    ));
    say("Musicians connect to:");
    for address in reachable_addresses(bound) {
        let whom = if address.ip().is_loopback() { "from this computer" } else { "from your network" };
        say(&format!("  {address}  {whom}"));
    }
    if !bound.ip().is_loopback() {
        say(&format!(
            "From the internet: your router's public address, with UDP port {port} forwarded to this computer."
        ));
    }
    say("Press Ctrl-C to stop.");
}

/// One line, at once, also into a pipe; a reader that has gone away is no reason to stop the jam.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

#[expect(clippy::disallowed_methods, reason = "a seed for what should differ from run to run, not a clock")]
fn seed() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}
