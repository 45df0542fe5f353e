//! What the user typed: the names, types and limits of every option, and nothing about what they do.
//!
//! The names are Jamulus's (docs/PROTOCOL.md §8), and keys of the configuration file are these names too.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, ValueEnum};
use jamulet::units::{DEFAULT_PORT, MAX_CHANNELS};

use crate::values::{self, Bytes};

const NETWORK: &str = "Network";
const SESSION: &str = "Session";
const DIRECTORY: &str = "Being found: directories";
const RECORDING: &str = "Recording";
const ADMIN: &str = "Operation";
/// Heading of what changes nothing here.
pub(crate) const COMPATIBILITY: &str = "Accepted because Jamulus has them, without effect";

const USAGE: &str = "jamulet-server [OPTIONS]
       jamulet-server config [OPTIONS]  print the configuration as a file
       jamulet-server status [OPTIONS]  show a running server and who plays";

const EXAMPLES: &str = "Examples:
  jamulet-server -w \"Friday band, 20:00\"
  jamulet-server -F -e anygenre1.jamulus.app:22124 -o \"Friday Band;Berlin;DE\"
  jamulet-server --config /etc/jamulet-server.toml

Musicians connect with Jamulus 3.6 or later, or with the Jamulet plugin in their
DAW. Every option may also stand in the --config file, by its long name:
`numchannels = 20`. Signals: SIGHUP reads that file again, SIGUSR1 begins a new
recording, SIGUSR2 turns recording on or off, SIGINT and SIGTERM stop.";

/// Hosts a Jamulus session: everybody who connects hears a mix of everybody, each with their own faders.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "jamulet-server",
    version,
    override_usage = USAGE,
    after_help = EXAMPLES,
    disable_version_flag = true,
    disable_help_flag = true,
    // As in Jamulus, the last of several wins; so does the command line over the file before it.
    args_override_self = true,
    max_term_width = 100
)]
pub(crate) struct Arguments {
    /// UDP port that musicians connect to; 0 takes any free one
    #[arg(short, long, value_name = "PORT", default_value_t = DEFAULT_PORT, value_parser = values::port)]
    #[arg(help_heading = NETWORK, allow_hyphen_values = true)]
    pub(crate) port: u16,

    /// Listen on this IP address of this computer only [default: all of them]
    #[arg(long, alias = "serverbindip", value_name = "ADDRESS", value_parser = values::optional_ip)]
    #[arg(help_heading = NETWORK, allow_hyphen_values = true)]
    pub(crate) serverbindip4: Option<Optional<IpAddr>>,

    /// Listen on this IPv6 address of this computer only, and not on IPv4
    #[arg(long, value_name = "ADDRESS", value_parser = values::optional_ip6)]
    #[arg(help_heading = NETWORK, allow_hyphen_values = true)]
    pub(crate) serverbindip6: Option<Optional<Ipv6Addr>>,

    /// Listen on IPv4 only
    #[arg(long, help_heading = NETWORK)]
    pub(crate) noipv6: bool,

    /// Mark of sent packets (IP type of service byte, 0 to 255), by which networks may prefer them; 0 for none
    #[arg(short = 'Q', long, value_name = "NUMBER", default_value_t = 128, value_parser = values::byte)]
    #[arg(help_heading = NETWORK, allow_hyphen_values = true)]
    pub(crate) qos: u8,

    /// Most musicians at a time, 1 to 150
    #[arg(short = 'u', long, value_name = "NUMBER", default_value_t = 10, value_parser = values::clients)]
    #[arg(help_heading = SESSION, allow_hyphen_values = true)]
    pub(crate) numchannels: usize,

    /// Greeting for everyone who joins: a text (HTML is allowed) or a file that holds it
    #[arg(short, long, value_name = "TEXT|FILE", help_heading = SESSION, allow_hyphen_values = true)]
    pub(crate) welcomemessage: Option<String>,

    /// Everyone must accept the Creative Commons licence before playing
    #[arg(short = 'L', long, help_heading = SESSION)]
    pub(crate) licence: bool,

    /// Mix every 64 samples instead of 128: less delay for musicians with small buffers, more work for the CPU
    #[arg(short = 'F', long, help_heading = SESSION)]
    pub(crate) fastupdate: bool,

    /// Has no effect yet: accepted, and told to clients
    #[arg(short = 'T', long, help_heading = SESSION)]
    pub(crate) multithreading: bool,

    /// Pan by delaying one ear's sound instead of lowering it
    #[arg(short = 'P', long, help_heading = SESSION)]
    pub(crate) delaypan: bool,

    /// Do not offer uncompressed sound (the quality "max" of Jamulus 4.0)
    #[arg(long, help_heading = SESSION)]
    pub(crate) noraw: bool,

    /// Send everyone away when the server stops; otherwise they come back by themselves when it returns within 30 s
    #[arg(short, long, help_heading = SESSION)]
    pub(crate) discononquit: bool,

    /// Be listed in this directory; `localhost` makes this server a directory for others
    #[arg(short = 'e', long, aliases = ["directoryserver", "centralserver"], value_name = "ADDRESS")]
    #[arg(help_heading = DIRECTORY, allow_hyphen_values = true)]
    pub(crate) directoryaddress: Option<String>,

    /// What the list shows, the country as two letters or Qt number
    #[arg(short = 'o', long, value_name = "NAME;CITY;COUNTRY", help_heading = DIRECTORY)]
    #[arg(allow_hyphen_values = true)]
    pub(crate) serverinfo: Option<String>,

    /// IPv4 address to be listed with when the directory is behind the same router
    #[arg(long, value_name = "ADDRESS", value_parser = values::optional_ip4, help_heading = DIRECTORY)]
    #[arg(allow_hyphen_values = true)]
    pub(crate) serverpublicip: Option<Optional<Ipv4Addr>>,

    /// As a directory: list only servers with these IPv4 addresses and at least this version
    #[arg(short = 'f', long, value_name = "IP;IP;[VERSION]", help_heading = DIRECTORY)]
    #[arg(allow_hyphen_values = true)]
    pub(crate) listfilter: Option<String>,

    /// As a directory: remember the list in this file across restarts
    #[arg(long, value_name = "FILE", value_parser = values::path(), help_heading = DIRECTORY, allow_hyphen_values = true)]
    pub(crate) directoryfile: Option<PathBuf>,

    /// Record every session into a folder of its own below this one
    #[arg(short = 'R', long, value_name = "FOLDER", value_parser = values::path(), help_heading = RECORDING, allow_hyphen_values = true)]
    pub(crate) recording: Option<PathBuf>,

    /// Wait with recording until it is turned on (SIGUSR2, or the remote control)
    #[arg(long, help_heading = RECORDING)]
    pub(crate) norecord: bool,

    /// How tracks are stored: WAV of 16 or 24 bits, or FLAC
    #[arg(long, value_name = "FORMAT", default_value = "wav16", help_heading = RECORDING)]
    pub(crate) recordingformat: TrackFormat,

    /// Stop recording when less than this is free on the disk; K, M and G are understood
    #[arg(long, value_name = "BYTES", default_value = "1G", value_parser = values::bytes)]
    #[arg(help_heading = RECORDING, allow_hyphen_values = true)]
    pub(crate) minfreespace: Bytes,

    /// Read options from this file (TOML); those on the command line win
    #[arg(long, value_name = "FILE", value_parser = values::path(), help_heading = ADMIN, allow_hyphen_values = true)]
    pub(crate) config: Option<PathBuf>,

    /// Also write the log to this file; SIGHUP opens it anew
    #[arg(short, long, value_name = "FILE", value_parser = values::path(), help_heading = ADMIN, allow_hyphen_values = true)]
    pub(crate) log: Option<PathBuf>,

    /// What is printed: sentences (text), one record a line (logfmt), or what suits the reader (auto)
    #[arg(long, value_name = "FORMAT", default_value = "auto", help_heading = ADMIN)]
    pub(crate) logformat: LogFormat,

    /// Hide the last byte of IPv4 and the last ten of IPv6 addresses in the log
    #[arg(long, help_heading = ADMIN)]
    pub(crate) maskaddresses: bool,

    /// Serve figures for Prometheus on this TCP address, such as 127.0.0.1:9124
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = values::optional_socket_address)]
    #[arg(help_heading = ADMIN, allow_hyphen_values = true)]
    pub(crate) metrics: Option<Optional<SocketAddr>>,

    /// Offer remote control (JSON-RPC) on this TCP port; needs --jsonrpcsecretfile
    #[arg(long, value_name = "PORT", value_parser = values::port, help_heading = ADMIN)]
    #[arg(allow_hyphen_values = true)]
    pub(crate) jsonrpcport: Option<u16>,

    /// File with the password for remote control: one line of at least 16 characters
    #[arg(long, value_name = "FILE", value_parser = values::path(), help_heading = ADMIN, allow_hyphen_values = true)]
    pub(crate) jsonrpcsecretfile: Option<PathBuf>,

    /// Offer remote control at this IP address of this computer
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1", value_parser = values::ip)]
    #[arg(help_heading = ADMIN, allow_hyphen_values = true)]
    pub(crate) jsonrpcbindip: IpAddr,

    /// Print this help
    #[arg(short, long, short_alias = '?', action = ArgAction::Help)]
    help: Option<bool>,

    /// Print the version
    #[arg(short, long, action = ArgAction::Version)]
    version: Option<bool>,

    #[command(flatten)]
    pub(crate) compatibility: Compatibility,

    #[command(flatten)]
    client: ClientOptions,
}

/// Options of a Jamulus server that change nothing here.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = COMPATIBILITY)]
pub(crate) struct Compatibility {
    /// This program is always a server
    #[arg(short, long)]
    server: bool,

    /// There is no window
    #[arg(short, long)]
    nogui: bool,

    /// There are no translations
    #[arg(short = 't', long)]
    notranslation: bool,

    /// Without a window Jamulus ignores it, too
    #[arg(short, long, value_name = "FILE", value_parser = values::path(), allow_hyphen_values = true)]
    pub(crate) inifile: Option<PathBuf>,

    /// No HTML page is written: see --metrics, and jamulet-server status
    #[arg(short = 'm', long, value_name = "FILE", value_parser = values::path(), allow_hyphen_values = true)]
    pub(crate) htmlstatus: Option<PathBuf>,

    /// There is no window to start small
    #[arg(short = 'z', long)]
    pub(crate) startminimized: bool,

    /// IPv6 is on unless --noipv6 is given
    #[arg(short = '6', long)]
    pub(crate) enableipv6: bool,
}

/// Options of a Jamulus client: known, to refuse them in words that help.
#[derive(Args, Clone, Debug)]
struct ClientOptions {
    #[arg(short, long, hide = true, value_name = "ADDRESS", allow_hyphen_values = true)]
    connect: Option<String>,
    #[arg(short = 'j', long, hide = true)]
    nojackconnect: bool,
    #[arg(short = 'M', long, hide = true)]
    mutestream: bool,
    #[arg(long, hide = true)]
    mutemyown: bool,
    #[arg(long, hide = true, value_name = "NAME", allow_hyphen_values = true)]
    clientname: Option<String>,
    #[arg(long, hide = true, value_name = "TEXT", allow_hyphen_values = true)]
    ctrlmidich: Option<String>,
}

/// A value that may be given empty, which means none: unit files do that with unset variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Optional<T>(pub(crate) Option<T>);

/// How tracks are stored: 16-bit WAV as Jamulus does, 24-bit WAV, or FLAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TrackFormat {
    Wav16,
    Wav24,
    Flac,
}

/// What the program prints: sentences, records, or what suits the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Auto,
    Text,
    Logfmt,
}

/// Understands `words`, which do not begin with the program's name: option by option, and as a whole.
///
/// # Errors
/// clap's, also for help and version; see [`sentence`].
pub(crate) fn parse(words: &[OsString]) -> Result<(Arguments, ArgMatches), clap::Error> {
    let program = OsString::from("jamulet-server");
    let matches = Arguments::command().try_get_matches_from(std::iter::once(&program).chain(words))?;
    Ok((Arguments::from_arg_matches(&matches)?, matches))
}

/// What was wrong with the arguments, in one line.
pub(crate) fn sentence(error: &clap::Error) -> String {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
    let mut characters = first.chars();
    let capital: String = characters.next().into_iter().flat_map(char::to_uppercase).collect();
    let rest = characters.as_str().trim_end_matches(['.', ':']);
    let remedy = match (error.get(ContextKind::SuggestedArg), error.get(ContextKind::ValidValue)) {
        (Some(ContextValue::String(similar)), _) => format!("Did you mean {similar}?"),
        (_, Some(ContextValue::Strings(valid))) if !valid.is_empty() => {
            format!("Write one of: {}.", valid.join(", "))
        }
        _ => "Try jamulet-server --help.".to_owned(),
    };
    match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::MissingRequiredArgument, Some(ContextValue::Strings(missing))) => {
            format!("This also needs {}. {remedy}", missing.join(" and "))
        }
        _ => format!("{capital}{rest}. {remedy}"),
    }
}

impl Arguments {
    /// The first option given that only a client has.
    pub(crate) fn client_option(&self) -> Option<&'static str> {
        let client = &self.client;
        let given = [
            (client.connect.is_some(), "--connect"),
            (client.nojackconnect, "--nojackconnect"),
            (client.mutestream, "--mutestream"),
            (client.mutemyown, "--mutemyown"),
            (client.clientname.is_some(), "--clientname"),
            (client.ctrlmidich.is_some(), "--ctrlmidich"),
        ];
        given.into_iter().find_map(|(is_given, name)| is_given.then_some(name))
    }
}

const _: () = assert!(MAX_CHANNELS == 150, "the help says so");

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_all(words: &[&str]) -> Result<Arguments, clap::Error> {
        Ok(parse(&words.iter().map(OsString::from).collect::<Vec<_>>())?.0)
    }

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_name_of_jamulus_is_known() {
        let with_value: &[(&[&str], &str)] = &[
            (&["-p", "--port"], "22130"),
            (&["-Q", "--qos"], "0"),
            (&["-e", "--directoryaddress", "--directoryserver", "--centralserver"], "localhost"),
            (&["-f", "--listfilter"], "192.0.2.1"),
            (&["-l", "--log"], "x.log"),
            (&["-o", "--serverinfo"], "a;b;DE"),
            (&["-R", "--recording"], "x"),
            (&["-u", "--numchannels"], "150"),
            (&["-w", "--welcomemessage"], "-hello"),
            (&["-i", "--inifile"], "x.ini"),
            (&["-m", "--htmlstatus"], "x.html"),
            (&["--jsonrpcport"], "22222"),
            (&["--jsonrpcsecretfile"], "x"),
            (&["--jsonrpcbindip"], "0.0.0.0"),
            (&["--directoryfile"], "x"),
            (&["--serverpublicip"], "192.0.2.1"),
            (&["--serverbindip", "--serverbindip4"], "127.0.0.1"),
            (&["--serverbindip6"], "::1"),
        ];
        for (names, value) in with_value {
            for name in *names {
                assert!(parse_all(&[name, value]).is_ok(), "{name} {value}");
                assert!(parse_all(&[name]).is_err(), "{name}");
            }
        }
        let flags = "-n --nogui -t --notranslation --noipv6 -6 --enableipv6 -s --server -d --discononquit -F \
                     --fastupdate -L --licence -P --delaypan --norecord --noraw -T --multithreading -z \
                     --startminimized";
        let flags: Vec<&str> = flags.split_whitespace().collect();
        assert!(parse_all(&flags).is_ok());
    }

    #[test]
    fn the_last_of_several_wins() {
        let arguments = parse_all(&["-u", "3", "-F", "-F", "--numchannels", "4"]).unwrap();
        assert_eq!((arguments.numchannels, arguments.fastupdate), (4, true));
    }

    #[test]
    fn options_of_clients_are_told_apart() {
        for name in ["-c", "--connect", "--clientname", "--ctrlmidich"] {
            assert!(parse_all(&[name, "x"]).unwrap().client_option().is_some(), "{name}");
        }
        for name in ["-j", "-M", "--mutestream", "--mutemyown", "--nojackconnect"] {
            assert!(parse_all(&["-s", name]).unwrap().client_option().is_some(), "{name}");
        }
        assert_eq!(parse_all(&["-s", "-n"]).unwrap().client_option(), None);
    }

    #[test]
    fn mistakes_are_one_sentence_with_a_suggestion() {
        let told = |words: &[&str]| sentence(&parse_all(words).unwrap_err());
        assert!(told(&["--prot", "5"]).ends_with("Did you mean --port?"), "{}", told(&["--prot", "5"]));
        assert!(told(&["--loudness"]).ends_with("Try jamulet-server --help."));
        assert_eq!(told(&["-u", "0"]).lines().count(), 1);
    }

    #[test]
    fn the_help_fits_80_columns() {
        let help = Arguments::command().term_width(80).render_help().to_string();
        let widest = help.lines().max_by_key(|line| line.chars().count()).unwrap();
        assert!(widest.chars().count() <= 80, "{widest}");
    }
}
