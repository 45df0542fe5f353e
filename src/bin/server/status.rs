//! `jamulet-server status`: a running server, once or again and again.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::{ArgAction, Parser};
use jamulet::server::admin::{Secret, Stats, StatusClient, StatusSource, render};
#[cfg(unix)]
use jamulet::server::admin::{default_console_path, find_consoles};
use jiff::Zoned;

/// How often `--watch` looks again.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

const USAGE: &str = "jamulet-server status [OPTIONS]";

const EXAMPLES: &str = "Without options it finds the servers that this user may ask on this machine; as
root also one that systemd has started.";

/// Shows a running server: who plays, since when, how loud, and how well the network does.
#[derive(Parser)]
#[command(
    name = "jamulet-server status",
    override_usage = USAGE,
    after_help = EXAMPLES,
    disable_help_flag = true,
    args_override_self = true,
    max_term_width = 100
)]
struct StatusArguments {
    /// Look again every second until Ctrl-C
    #[arg(short, long)]
    watch: bool,

    /// Print JSON: everything that is known
    #[arg(long)]
    json: bool,

    /// The server on this UDP port of this machine
    #[cfg(unix)]
    #[arg(short, long, value_name = "PORT", value_parser = crate::values::port, conflicts_with = "rpc")]
    port: Option<u16>,

    /// The server with this local socket
    #[cfg(unix)]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["port", "rpc"])]
    console: Option<PathBuf>,

    /// The server with remote control at this TCP address; needs --jsonrpcsecretfile
    #[arg(long, value_name = "ADDRESS:PORT", requires = "jsonrpcsecretfile")]
    rpc: Option<SocketAddr>,

    /// File with the password for remote control
    #[arg(long, alias = "secretfile", value_name = "FILE")]
    jsonrpcsecretfile: Option<PathBuf>,

    /// Print this help
    #[arg(short, long, short_alias = '?', action = ArgAction::Help)]
    help: Option<bool>,
}

/// Does what `words` after `status` ask for.
pub(crate) fn run(words: &[OsString]) -> anyhow::Result<()> {
    let program = OsString::from("jamulet-server status");
    let arguments =
        StatusArguments::try_parse_from(std::iter::once(&program).chain(words)).map_err(crate::complain)?;
    let mut client = connect(&arguments)?;
    let shown = match arguments.watch {
        true => watch(&arguments, client),
        false => print(&format(&client.fetch()?, &arguments)),
    };
    match shown {
        // `status --watch | head` is no mistake.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        shown => Ok(shown?),
    }
}

fn connect(arguments: &StatusArguments) -> anyhow::Result<StatusClient> {
    if let (Some(address), Some(file)) = (arguments.rpc, &arguments.jsonrpcsecretfile) {
        return Ok(StatusClient::connect(&StatusSource::Rpc { address, secret: Secret::from_file(file)? })?);
    }
    connect_locally(arguments)
}

#[cfg(unix)]
fn connect_locally(arguments: &StatusArguments) -> anyhow::Result<StatusClient> {
    if let Some(path) = &arguments.console {
        return Ok(StatusClient::connect(&StatusSource::Console(path.clone()))?);
    }
    if let Some(port) = arguments.port {
        let usual = default_console_path(port);
        let found = find_consoles().into_iter().find(|path| path.file_name() == usual.file_name());
        return Ok(StatusClient::connect(&StatusSource::Console(found.unwrap_or(usual)))?);
    }
    let answering = find_consoles().into_iter().filter_map(|path| {
        StatusClient::connect(&StatusSource::Console(path.clone())).ok().map(|client| (path, client))
    });
    let mut answering: Vec<_> = answering.collect();
    match (answering.pop(), answering.is_empty()) {
        (Some((_, client)), true) => Ok(client),
        (Some((last, _)), false) => {
            let paths = answering.into_iter().map(|(path, _)| path).chain([last]);
            let ports: Vec<String> =
                paths.filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned())).collect();
            bail!("Several servers run here: choose one with --port ({}).", ports.join(", "))
        }
        (None, _) => bail!(
            "No server was found here. Start one, ask as the user that runs it or as root, or use --rpc ADDRESS:PORT."
        ),
    }
}

#[cfg(not(unix))]
fn connect_locally(_arguments: &StatusArguments) -> anyhow::Result<StatusClient> {
    bail!("On this system a server is asked through remote control: use --rpc ADDRESS:PORT.")
}

/// Until Ctrl-C; a server that is started again meanwhile is found again.
fn watch(arguments: &StatusArguments, client: StatusClient) -> io::Result<()> {
    let mut client = Some(client);
    loop {
        let text = match client.as_mut().map(StatusClient::fetch) {
            Some(Ok(stats)) => format(&stats, arguments),
            Some(Err(error)) => {
                client = None;
                format!("{error}\n")
            }
            None => match connect(arguments) {
                Ok(found) => {
                    client = Some(found);
                    continue;
                }
                Err(error) => format!("{error:#}\n"),
            },
        };
        if io::stdout().is_terminal() {
            print(&redrawn(&text))?;
        } else {
            print(&text)?;
        }
        pause();
    }
}

/// From the top left corner, each line clearing what stood there, without the flicker of an empty screen.
fn redrawn(text: &str) -> String {
    format!("\u{1b}[H{}\u{1b}[J", text.replace('\n', "\u{1b}[K\n"))
}

#[expect(clippy::disallowed_methods, reason = "a door: this program waits for nothing else")]
fn pause() {
    std::thread::sleep(WATCH_INTERVAL);
}

fn format(stats: &Stats, arguments: &StatusArguments) -> String {
    if !arguments.json {
        return render(stats, &Zoned::now());
    }
    let json =
        if arguments.watch { serde_json::to_string(stats) } else { serde_json::to_string_pretty(stats) };
    // Plain numbers and texts always are JSON.
    json.unwrap_or_default() + "\n"
}

fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent_and_fits_80_columns() {
        StatusArguments::command().debug_assert();
        let help = StatusArguments::command().term_width(80).render_help().to_string();
        assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
    }

    #[test]
    fn a_screen_is_redrawn_line_by_line() {
        assert_eq!(redrawn("a\nb\n"), "\u{1b}[Ha\u{1b}[K\nb\u{1b}[K\n\u{1b}[J");
    }
}
