//! What the program needs, made from what the user typed.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::bail;
use jamulet::protocol::{ServerAddress, utf16_len};
use jamulet::server::{
    Config, DirectoryChoice, Options, OwnDirectory, RecorderOptions, RecordingFormat, ServerProfile,
    ToldFeatures,
};
use jamulet::units::{FrameSize, MAX_CITY_UNITS, MAX_SERVER_NAME_UNITS};

use crate::arguments::{Arguments, LogFormat, Optional, TrackFormat};
use crate::values::country_number;
use crate::welcome::welcome;

/// Everything that the program is to do.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The server.
    pub(crate) options: Options,
    /// What is printed, and written where.
    pub(crate) log: LogPlan,
    /// Where figures for Prometheus are served.
    pub(crate) metrics: Option<SocketAddr>,
    /// Remote control.
    pub(crate) rpc: Option<RpcPlan>,
    /// What was accepted, but has no effect: one sentence each.
    pub(crate) notes: Vec<String>,
}

/// What is printed, and written where.
#[derive(Clone, Debug)]
pub(crate) struct LogPlan {
    /// Written beside what is printed.
    pub(crate) file: Option<PathBuf>,
    /// Of what is printed; a file always has pairs.
    pub(crate) format: LogFormat,
    /// Addresses name the network only.
    pub(crate) mask_addresses: bool,
}

/// Remote control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RpcPlan {
    /// Where to listen (TCP).
    pub(crate) address: SocketAddr,
    /// Holds what clients must know.
    pub(crate) secret_file: PathBuf,
}

/// Works out what to do.
///
/// # Errors
/// One sentence, when it cannot be meant.
pub(crate) fn plan(arguments: &Arguments) -> anyhow::Result<Plan> {
    if let Some(option) = arguments.client_option() {
        bail!("{option} is for clients, and this program is only a server. Leave it out.");
    }
    let mut notes = notes(arguments);
    let rpc = rpc(arguments, &mut notes)?;
    let mut config = config(arguments, &mut notes)?;
    config.told.rpc = rpc.is_some();
    let (bind_ip4, bind_ip6) = match arguments.serverbindip4 {
        Some(Optional(Some(IpAddr::V4(ip)))) => (Some(ip), None),
        Some(Optional(Some(IpAddr::V6(ip)))) => (None, Some(ip)),
        _ => (None, given(&arguments.serverbindip6)),
    };
    Ok(Plan {
        options: Options {
            port: arguments.port,
            bind_ip4,
            bind_ip6,
            ipv6: !arguments.noipv6,
            tos: arguments.qos,
            recorder: Some(recorder(arguments)),
            record_at_start: !arguments.norecord,
            directory_file: path(&arguments.directoryfile),
            config,
            seed: seed(),
        },
        log: LogPlan {
            file: path(&arguments.log),
            format: arguments.logformat,
            mask_addresses: arguments.maskaddresses,
        },
        metrics: given(&arguments.metrics),
        rpc,
        notes,
    })
}

fn config(arguments: &Arguments, notes: &mut Vec<String>) -> anyhow::Result<Config> {
    let (directory, own_directory) = directory(arguments, notes)?;
    Ok(Config {
        max_clients: arguments.numchannels,
        frame: if arguments.fastupdate { FrameSize::Samples64 } else { FrameSize::Samples128 },
        welcome: arguments.welcomemessage.as_deref().map(welcome).transpose()?,
        licence: arguments.licence,
        raw_audio: !arguments.noraw,
        delay_pan: arguments.delaypan,
        disconnect_on_quit: arguments.discononquit,
        profile: profile(arguments.serverinfo.as_deref(), notes),
        directory,
        own_directory,
        public_ip: given(&arguments.serverpublicip),
        told: ToldFeatures {
            multithreading: arguments.multithreading,
            logging: path(&arguments.log).is_some(),
            ..Config::default().told
        },
    })
}

/// `name;city;country`; with fewer fields it is ignored, as in Jamulus.
fn profile(info: Option<&str>, notes: &mut Vec<String>) -> ServerProfile {
    let Some(info) = info.filter(|info| !info.is_empty()) else { return ServerProfile::default() };
    let fields: Vec<&str> = info.split(';').map(str::trim).collect();
    let [name, city, country, ..] = fields[..] else {
        notes.push(format!("--serverinfo {info:?} is ignored: write it as \"name;city;country\"."));
        return ServerProfile::default();
    };
    if utf16_len(name) > MAX_SERVER_NAME_UNITS || utf16_len(city) > MAX_CITY_UNITS {
        notes.push(format!(
            "--serverinfo is cut: a name has at most {MAX_SERVER_NAME_UNITS} characters, a city {MAX_CITY_UNITS}."
        ));
    }
    let number = country_number(country);
    if number.is_none() && !country.is_empty() {
        notes.push(format!(
            "--serverinfo names the unknown country {country:?}, which is left out: write two letters such as DE."
        ));
    }
    ServerProfile { name: name.to_owned(), city: city.to_owned(), country: number.unwrap_or(0) }
}

/// Where to be listed, or how to be a directory.
fn directory(
    arguments: &Arguments,
    notes: &mut Vec<String>,
) -> anyhow::Result<(DirectoryChoice, Option<OwnDirectory>)> {
    let address = arguments.directoryaddress.as_deref().unwrap_or_default().trim();
    let filter = arguments.listfilter.as_deref().unwrap_or_default();
    if OwnDirectory::is_meant_by(address) {
        return Ok((DirectoryChoice::None, Some(own_directory(filter)?)));
    }
    if !filter.is_empty() {
        notes.push("--listfilter has an effect only with --directoryaddress localhost.".to_owned());
    }
    if path(&arguments.directoryfile).is_some() {
        notes.push("--directoryfile has an effect only with --directoryaddress localhost.".to_owned());
    }
    if address.is_empty() {
        if given(&arguments.serverpublicip).is_some() {
            notes.push("--serverpublicip has an effect only with --directoryaddress.".to_owned());
        }
        return Ok((DirectoryChoice::None, None));
    }
    if let Err(error) = address.parse::<ServerAddress>() {
        bail!("--directoryaddress: {error}");
    }
    Ok((DirectoryChoice::Address(address.to_owned()), None))
}

/// `ip;ip;[version]`. A typing mistake here would lock servers out or let them in, so it is an error.
fn own_directory(filter: &str) -> anyhow::Result<OwnDirectory> {
    let mut directory = OwnDirectory::default();
    for entry in filter.split(';').map(|entry| entry.trim().trim_start_matches('[').trim_end_matches(']')) {
        if entry.is_empty() {
            continue;
        }
        if let Ok(ip) = entry.parse::<Ipv4Addr>() {
            directory.whitelist.push(ip);
        } else if is_version(entry) && directory.minimum_version.is_none() {
            directory.minimum_version = Some(entry.to_owned());
        } else {
            bail!(
                "--listfilter: {entry:?} is neither an IPv4 address nor the one version. \
                 Write it as \"203.0.113.7;198.51.100.1;3.8.0\"."
            );
        }
    }
    Ok(directory)
}

/// Numbers and dots with at least one dot, then perhaps a suffix: `3.8.0`, `4.0.0beta2`.
fn is_version(text: &str) -> bool {
    let numbers =
        text.trim_end_matches(|character: char| character.is_ascii_alphanumeric() || character == '-');
    let is_numbers = |text: &str| text.split('.').all(|part| part.parse::<u16>().is_ok());
    numbers.ends_with('.')
        && is_numbers(&numbers[..numbers.len() - 1])
        && text[numbers.len()..].starts_with(|character: char| character.is_ascii_digit())
        && text.parse::<Ipv4Addr>().is_err()
        && text.matches('.').count() <= 2
}

/// Without a folder nothing is recorded until remote control names one.
fn recorder(arguments: &Arguments) -> RecorderOptions {
    let format = match arguments.recordingformat {
        TrackFormat::Wav16 => RecordingFormat::Wav16,
        TrackFormat::Wav24 => RecordingFormat::Wav24,
        TrackFormat::Flac => RecordingFormat::Flac,
    };
    let directory = path(&arguments.recording).unwrap_or_default();
    RecorderOptions { directory, format, min_free_bytes: arguments.minfreespace.0 }
}

fn rpc(arguments: &Arguments, notes: &mut Vec<String>) -> anyhow::Result<Option<RpcPlan>> {
    let secret_file = path(&arguments.jsonrpcsecretfile);
    match (arguments.jsonrpcport, secret_file) {
        (Some(port), Some(secret_file)) => {
            let address = SocketAddr::new(arguments.jsonrpcbindip, port);
            Ok(Some(RpcPlan { address, secret_file }))
        }
        (Some(_), None) => bail!(
            "--jsonrpcport needs --jsonrpcsecretfile: a file with a password of at least 16 characters in one line."
        ),
        (None, Some(_)) => {
            notes.push("--jsonrpcsecretfile has an effect only with --jsonrpcport.".to_owned());
            Ok(None)
        }
        (None, None) => Ok(None),
    }
}

/// Options of Jamulus that change nothing here, except those of every unit file (-s -n -t).
fn notes(arguments: &Arguments) -> Vec<String> {
    let compatibility = &arguments.compatibility;
    let both_addresses = matches!(arguments.serverbindip4, Some(Optional(Some(_))))
        && given(&arguments.serverbindip6).is_some();
    let told = [
        (
            compatibility.inifile.is_some(),
            "--inifile has no effect: a server without a window has no such file.",
        ),
        (
            compatibility.htmlstatus.is_some(),
            "--htmlstatus has no effect: see --metrics, and `jamulet-server status`.",
        ),
        (compatibility.startminimized, "--startminimized has no effect: there is no window."),
        (arguments.multithreading, "--multithreading has no effect yet: one core does all the work."),
        (compatibility.enableipv6, "--enableipv6 has no effect: IPv6 is on unless --noipv6 is given."),
        (
            arguments.norecord && path(&arguments.recording).is_none(),
            "--norecord has an effect only with --recording.",
        ),
        (both_addresses, "--serverbindip6 has no effect beside --serverbindip4: one address is listened on."),
    ];
    told.into_iter().filter(|(is_given, _)| *is_given).map(|(_, note)| note.to_owned()).collect()
}

fn given<T: Copy>(value: &Option<Optional<T>>) -> Option<T> {
    value.and_then(|value| value.0)
}

/// An empty path is none.
fn path(path: &Option<PathBuf>) -> Option<PathBuf> {
    path.clone().filter(|path| path != Path::new(""))
}

#[expect(clippy::disallowed_methods, reason = "a seed for what should differ from run to run, not a clock")]
fn seed() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::parse;

    fn planned(words: &[&str]) -> anyhow::Result<Plan> {
        plan(&parse(&words.iter().map(Into::into).collect::<Vec<_>>()).unwrap().0)
    }

    #[test]
    fn a_typical_unit_file_says_nothing() {
        let plan = planned(&["-s", "-n", "-t", "-p", "22130", "-u", "20", "-F", "-e", "", "-R", ""]).unwrap();
        assert_eq!(plan.notes, [""; 0]);
        assert_eq!((plan.options.port, plan.options.config.max_clients), (22130, 20));
        assert_eq!(plan.options.config.directory, DirectoryChoice::None);
        assert_eq!(plan.options.config.own_directory, None);
    }

    #[test]
    fn this_machine_without_a_port_means_being_a_directory() {
        for address in ["localhost", "LocalHost", "127.0.0.1"] {
            let config = planned(&["-e", address]).unwrap().options.config;
            assert_eq!(config.own_directory, Some(OwnDirectory::default()), "{address}");
            assert_eq!(config.directory, DirectoryChoice::None);
        }
        for address in ["localhost:22130", "127.0.0.1:22130", "jam.example.org"] {
            let config = planned(&["--centralserver", address]).unwrap().options.config;
            assert_eq!(config.directory, DirectoryChoice::Address(address.to_owned()));
            assert_eq!(config.own_directory, None);
        }
        assert!(planned(&["-e", "::1"]).unwrap_err().to_string().contains("[::1]"));
    }

    #[test]
    fn filters_are_addresses_and_one_version() {
        let own = |filter: &str| {
            planned(&["-e", "localhost", "-f", filter]).map(|plan| plan.options.config.own_directory)
        };
        let filled = own("192.0.2.1;; 192.0.2.2 ;3.8.0").unwrap().unwrap();
        assert_eq!(filled.whitelist, [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)]);
        assert_eq!(filled.minimum_version.as_deref(), Some("3.8.0"));
        assert_eq!(own("[4.0.0beta2]").unwrap().unwrap().minimum_version.as_deref(), Some("4.0.0beta2"));
        assert_eq!(own("").unwrap().unwrap(), OwnDirectory::default());
        for wrong in ["192.0.2.256", "192.0.2.1.5", "example.org", "3.8.0;3.9.0", "4", "..", "1.2.3.4.5"] {
            assert!(own(wrong).is_err(), "{wrong}");
        }
        assert_eq!(planned(&["-f", "nonsense"]).unwrap().notes.len(), 1);
    }

    #[test]
    fn server_info_has_three_fields_or_is_ignored() {
        let info = |text: &str| {
            let plan = planned(&["-o", text]).unwrap();
            (plan.options.config.profile, plan.notes.len())
        };
        let profile =
            |name: &str, city: &str, country| ServerProfile { name: name.into(), city: city.into(), country };
        assert_eq!(info("Band;Berlin;de"), (profile("Band", "Berlin", 82), 0));
        assert_eq!(info("Band;Berlin;82;more"), (profile("Band", "Berlin", 82), 0));
        assert_eq!(info("Band;;"), (profile("Band", "", 0), 0));
        assert_eq!(info("Band;Berlin"), (ServerProfile::default(), 1));
        assert_eq!(info("Band;Berlin;Germany"), (profile("Band", "Berlin", 0), 1));
        assert_eq!(info(&format!("{};;", "x".repeat(21))).1, 1);
    }

    #[test]
    fn what_has_no_effect_is_said() {
        let words = [
            "-i",
            "x",
            "-m",
            "x",
            "-z",
            "-6",
            "--norecord",
            "--directoryfile",
            "x",
            "--serverpublicip",
            "1.2.3.4",
        ];
        assert_eq!(planned(&words).unwrap().notes.len(), 7);
        let refused = planned(&["-s", "-M"]).unwrap_err().to_string();
        assert!(refused.contains("--mutestream is for clients"), "{refused}");
    }

    #[test]
    fn remote_control_needs_a_secret() {
        assert!(planned(&["--jsonrpcport", "22222"]).is_err());
        let rpc = planned(&["--jsonrpcport", "22222", "--jsonrpcsecretfile", "x"]).unwrap().rpc.unwrap();
        assert_eq!(rpc.address, "127.0.0.1:22222".parse().unwrap());
        assert_eq!(planned(&["--jsonrpcsecretfile", "x"]).unwrap().notes.len(), 1);
    }
}
