//! Every server option, by its effect: what a client, a directory or the file system sees of it, on Debian's
//! Jamulus 3.9.1 and on ours alike. Options that 3.9.1 lacks are tested on ours alone.
//!
//! The table in `docs/hosting/README.md` names the test of each option.

#![cfg(target_os = "linux")]
#![expect(clippy::disallowed_methods, reason = "real servers are asked through real sockets")]

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jamulet::protocol::{
    ConnlessMessage, Datagram, Message, Os, RecorderState, RegistrationResult, ServerRegistration, classify,
};
use jamulet::units::{FrameSize, Layout};
use jamulet_testkit::child;
use jamulet_testkit::pace;
use jamulet_testkit::probe::{self, PATIENCE, Probe, USUAL};
use jamulet_testkit::stock::{Process, free_port, require};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long nothing must come for "nothing comes".
const QUIET: Duration = Duration::from_millis(1500);

/// Whose server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Debian's Jamulus.
    Stock,
    Ours,
}

const BOTH: [Kind; 2] = [Kind::Stock, Kind::Ours];
const LOOPBACK: [&str; 2] = ["--serverbindip", "127.0.0.1"];

/// A running server and its folder.
struct Server {
    process: Process,
    address: SocketAddr,
}

impl Kind {
    fn command(self) -> Result<Command> {
        let mut command = match self {
            Self::Stock => {
                require("Jamulus", "jamulus")?;
                Command::new("Jamulus")
            }
            Self::Ours => Command::new(env!("CARGO_BIN_EXE_jamulet-server")),
        };
        // Exactly what stands in unit files.
        command.args(["-s", "-n", "-t"]).env_remove("DISPLAY").env("TZ", "UTC");
        Ok(command)
    }

    /// A server on the loopback with `options`, once it answers.
    fn start<S: AsRef<OsStr>>(self, options: &[S]) -> Result<Server> {
        let port = free_port().to_string();
        let mut all: Vec<&OsStr> = ["-p", &port].into_iter().chain(LOOPBACK).map(OsStr::new).collect();
        all.extend(options.iter().map(AsRef::as_ref));
        self.start_bare(&all, SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse()?)))
    }

    /// A server with just these options, that answers at `address`.
    fn start_bare(self, options: &[&OsStr], address: SocketAddr) -> Result<Server> {
        let mut command = self.command()?;
        command.args(options);
        let process = Process::start(&format!("{self:?} server"), command)?;
        let server = Server { process, address };
        ensure!(server.answers()?, "{self:?} {options:?} does not answer:\n{}", server.process.log_tail());
        Ok(server)
    }

    /// Runs the program to its end.
    fn run(self, options: &[&str]) -> Result<child::Ended> {
        child::finish(self.command()?.args(options), PATIENCE)
    }
}

impl Server {
    fn join(&self, name: &str) -> Result<Probe> {
        let mut probe = Probe::join(self.address, name, USUAL)?;
        probe.wait_until("joining", |probe| probe.packets.len() > 3)?;
        Ok(probe)
    }

    /// Whether it lives.
    fn answers(&self) -> Result<bool> {
        Ok(self.asks(&PING, 1001)?.is_some())
    }

    fn asks(&self, question: &ConnlessMessage, id: u16) -> Result<Option<ConnlessMessage>> {
        Probe::open(self.address)?.ask(question, id, PATIENCE)
    }
}

const PING: ConnlessMessage = ConnlessMessage::Ping { time_ms: 1 };

/// Whether a server answers at `address`; silence counts only while the server answers elsewhere.
fn answers_soon(address: SocketAddr) -> Result<bool> {
    Ok(Probe::open(address)?.ask(&PING, 1001, QUIET)?.is_some())
}

fn recorder_state(message: &Message) -> Option<RecorderState> {
    match message {
        Message::RecorderState(state) => Some(*state),
        _ => None,
    }
}

/// Waits until `condition` holds, for at most [`PATIENCE`].
fn eventually(what: &str, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = pace::now();
    while !condition()? {
        ensure!(start.elapsed() < PATIENCE, "{what} did not happen");
        pace::sleep(Duration::from_millis(20));
    }
    Ok(())
}

// ---- The network ----

#[test]
fn port_is_where_it_listens() -> Result<()> {
    for kind in BOTH {
        for option in ["-p", "--port"] {
            let port = free_port();
            let text = port.to_string();
            let options = [option, &text, LOOPBACK[0], LOOPBACK[1]].map(OsStr::new);
            kind.start_bare(&options, SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        }
    }
    Ok(())
}

#[test]
fn serverbindip_listens_on_one_address_only() -> Result<()> {
    let alone = |kind: Kind, option: &str| -> Result<()> {
        let port = free_port();
        let text = port.to_string();
        let options = ["-p", &text, option, "127.0.0.2"].map(OsStr::new);
        let server = kind.start_bare(&options, SocketAddr::from(([127, 0, 0, 2], port)))?;
        let elsewhere = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        assert!(!answers_soon(elsewhere)?, "{kind:?} {option} answers on another address");
        ensure!(server.answers()?, "{kind:?} {option} has ended");
        Ok(())
    };
    for kind in BOTH {
        alone(kind, "--serverbindip")?;
    }
    alone(Kind::Ours, "--serverbindip4")?;
    let port = free_port().to_string();
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port.parse()?));
    Kind::Ours.start_bare(&["-p", &port, "--serverbindip6", "::1"].map(OsStr::new), v6)?;
    Ok(())
}

#[test]
fn ipv6_is_on_unless_refused() -> Result<()> {
    let answers_on_v6 = |kind: Kind, options: &[&str]| -> Result<bool> {
        let port = free_port();
        let text = port.to_string();
        let all: Vec<&OsStr> =
            ["-p", &text].into_iter().chain(options.iter().copied()).map(OsStr::new).collect();
        let server = kind.start_bare(&all, SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        let on_v6 = answers_soon(SocketAddr::from((Ipv6Addr::LOCALHOST, port)))?;
        ensure!(server.answers()?, "{kind:?} {options:?} has ended");
        Ok(on_v6)
    };
    // In 3.9.1 it had to be asked for; since 4.0 it is on, and asking for it changes nothing.
    assert!(answers_on_v6(Kind::Stock, &["--enableipv6"])?);
    assert!(!answers_on_v6(Kind::Stock, &[])?);
    assert!(answers_on_v6(Kind::Ours, &[])?);
    assert!(answers_on_v6(Kind::Ours, &["-6"])?);
    assert!(answers_on_v6(Kind::Ours, &["--enableipv6"])?);
    assert!(!answers_on_v6(Kind::Ours, &["--noipv6"])?);
    Ok(())
}

#[test]
fn qos_is_the_type_of_service_of_what_it_sends() -> Result<()> {
    for kind in BOTH {
        for (options, tos) in [(&[][..], 128), (&["-Q", "184"], 184), (&["--qos", "0"], 0)] {
            let server = kind.start(options)?;
            let socket = UdpSocket::bind("127.0.0.1:0")?;
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.send_to(&ConnlessMessage::Ping { time_ms: 1 }.to_datagram(), server.address)?;
            assert_eq!(probe::receive_tos(&socket)?, tos, "{kind:?} {options:?}");
        }
    }
    Ok(())
}

// ---- Sessions ----

#[test]
fn numchannels_is_how_many_may_join() -> Result<()> {
    for kind in BOTH {
        for option in ["-u", "--numchannels"] {
            let server = kind.start(&[option, "1"])?;
            let _first = server.join("First")?;
            let mut second = Probe::join(server.address, "Second", USUAL)?;
            second.wait_until("being told that it is full", |probe| {
                probe.connless.contains(&ConnlessMessage::ServerFull)
            })?;
            assert_eq!(second.channel(), None);
        }
    }
    Ok(())
}

#[test]
fn welcomemessage_is_a_text_or_a_file() -> Result<()> {
    let folder = TempDir::new()?;
    let file = folder.path().join("welcome.html");
    fs::write(&file, "Grüß <b>Gott</b>")?;
    let file = file.to_str().context("a plain path")?.to_owned();
    for kind in BOTH {
        for (option, value, expected) in [
            ("-w", "Hello & welcome", "<b>Server Welcome Message:</b> Hello & welcome"),
            ("--welcomemessage", &file, "<b>Server Welcome Message:</b> Grüß <b>Gott</b>"),
        ] {
            let server = kind.start(&[option, value])?;
            let mut probe = server.join("Ann")?;
            let told = probe.wait_for("a welcome", |message| match message {
                Message::ChatText(text) => Some(text.clone()),
                _ => None,
            })?;
            assert_eq!(told, expected, "{kind:?}");
        }
    }
    Ok(())
}

#[test]
fn licence_must_be_accepted() -> Result<()> {
    for kind in BOTH {
        for (options, wanted) in [(&[][..], None), (&["-L"], Some(1)), (&["--licence"], Some(1))] {
            let server = kind.start(options)?;
            let mut probe = server.join("Ann")?;
            // The last word of a greeting.
            probe.wait_for("a recorder state", recorder_state)?;
            let told = probe.messages.iter().find_map(|message| match message {
                Message::LicenceRequired(kind) => Some(*kind),
                _ => None,
            });
            assert_eq!(told, wanted, "{kind:?} {options:?}");
        }
    }
    Ok(())
}

#[test]
fn discononquit_sends_everyone_away() -> Result<()> {
    for kind in BOTH {
        for (options, is_sent_away) in [(&[][..], false), (&["-d"], true), (&["--discononquit"], true)] {
            let mut server = kind.start(options)?;
            let mut probe = server.join("Ann")?;
            assert!(server.process.stop(), "{kind:?} does not obey SIGTERM");
            probe.run_for(Duration::from_millis(300))?;
            let told = probe.connless.contains(&ConnlessMessage::Disconnection);
            assert_eq!(told, is_sent_away, "{kind:?} {options:?}");
        }
    }
    Ok(())
}

#[test]
fn fastupdate_mixes_every_64_samples() -> Result<()> {
    // A client with short frames gets two at a time from a server that mixes every 128 samples.
    let pairs = |kind: Kind, options: &[&str]| -> Result<f64> {
        let server = kind.start(options)?;
        server.process.hurry();
        let short = probe::layout(FrameSize::Samples64, Layout::Mono);
        let mut probe = Probe::join(server.address, "Ann", short)?;
        probe.wait_until("hearing 1500 frames", |probe| probe.packets.len() > 1500)?;
        let gaps = probe.packets.windows(2).map(|pair| pair[1].0.duration_since(pair[0].0));
        let close = gaps.filter(|gap| *gap < Duration::from_micros(667)).count();
        Ok(close as f64 / (probe.packets.len() - 1) as f64)
    };
    // A machine that stands still for a moment makes pairs of its own, and pulls others apart; the exact
    // statement about our server is `server_core`'s, on a virtual clock.
    for kind in BOTH {
        let shows = || -> Result<bool> {
            let usual = pairs(kind, &[])?;
            let fast = pairs(kind, &["-F"])?;
            println!("{kind:?}: {:.0} % in pairs, {:.0} % with -F", usual * 100.0, fast * 100.0);
            Ok(usual > 0.4 && fast < 0.3)
        };
        let shown = shows()? || shows()? || shows()?;
        assert!(shown, "{kind:?} does not mix more often with -F");
    }
    Ok(())
}

#[test]
fn noraw_does_not_offer_uncompressed_sound() -> Result<()> {
    for (options, is_offered) in [(&[][..], true), (&["--noraw"], false)] {
        let server = Kind::Ours.start(options)?;
        let mut probe = server.join("Ann")?;
        probe.wait_for("a recorder state", recorder_state)?;
        assert_eq!(probe.messages.contains(&Message::RawAudioSupported), is_offered);
    }
    Ok(())
}

#[test]
fn features_tell_the_options() -> Result<()> {
    let folder = TempDir::new()?;
    let text = |path: PathBuf| path.to_str().map(str::to_owned).context("a plain path");
    let secret = folder.path().join("secret");
    fs::write(&secret, "only-for-this-test\n")?;
    let (log, recordings, secret) =
        (text(folder.path().join("log"))?, text(folder.path().to_path_buf())?, text(secret)?);
    let rpc_port = free_port().to_string();
    let rpc = ["--jsonrpcport", &rpc_port, "--jsonrpcsecretfile", &secret];
    // Bits of docs/PROTOCOL.md §4; raw audio (6) is on unless refused, and IPv6 (5) is off on one IPv4 address.
    let cases: [(&[&str], u32); 15] = [
        (&[], 1 << 6),
        (&["--noraw"], 0),
        (&["-F"], 1 << 6 | 1),
        (&["--fastupdate"], 1 << 6 | 1),
        (&["-T"], 1 << 6 | 1 << 1),
        (&["--multithreading"], 1 << 6 | 1 << 1),
        (&["-R", &recordings], 1 << 6 | 1 << 2 | 1 << 3),
        (&["-R", &recordings, "--norecord"], 1 << 6 | 1 << 2),
        (&["-P"], 1 << 6 | 1 << 4),
        (&["--delaypan"], 1 << 6 | 1 << 4),
        (&["-d"], 1 << 6 | 1 << 7),
        (&["-w", "Hi"], 1 << 6 | 1 << 8),
        (&["-l", &log], 1 << 6 | 1 << 9),
        (&["-L"], 1 << 6 | 1 << 10),
        (&rpc, 1 << 6 | 1 << 12),
    ];
    for (options, bits) in cases {
        let server = Kind::Ours.start(options)?;
        let answer = server.asks(&ConnlessMessage::RequestServerFeatures, 1019)?;
        assert_eq!(answer, Some(ConnlessMessage::ServerFeatures(bits)), "{options:?}");
    }
    Ok(())
}

// ---- Recording ----

#[test]
fn recording_writes_a_folder_a_session_and_norecord_waits_for_a_signal() -> Result<()> {
    for kind in BOTH {
        for option in ["-R", "--recording"] {
            let folder = TempDir::new()?;
            let path = folder.path().to_str().context("a plain path")?;
            let server = kind.start(&[option, path])?;
            let mut probe = server.join("Ann")?;
            assert_eq!(
                probe.wait_for("a recorder state", recorder_state)?,
                RecorderState::Recording,
                "{kind:?}"
            );
            probe.wait_until("a folder", |_| !sessions(folder.path()).is_empty())?;
        }
        let folder = TempDir::new()?;
        let path = folder.path().to_str().context("a plain path")?;
        let server = kind.start(&["-R", path, "--norecord"])?;
        let mut probe = server.join("Ann")?;
        assert_eq!(
            probe.wait_for("a recorder state", recorder_state)?,
            RecorderState::NotEnabled,
            "{kind:?}"
        );
        probe.run_for(QUIET)?;
        assert_eq!(sessions(folder.path()), Vec::<PathBuf>::new(), "{kind:?}");
        let is_told =
            |probe: &Probe, state| probe.messages.iter().rev().find_map(recorder_state) == Some(state);
        // SIGUSR2 toggles, SIGUSR1 begins another session.
        server.process.signal(libc::SIGUSR2);
        probe.wait_until("being told of it", |probe| is_told(probe, RecorderState::Recording))?;
        probe.wait_until("a folder", |_| sessions(folder.path()).len() == 1)?;
        server.process.signal(libc::SIGUSR1);
        probe.wait_until("a second folder", |_| sessions(folder.path()).len() == 2)?;
        server.process.signal(libc::SIGUSR2);
        probe.wait_until("being told of the end", |probe| is_told(probe, RecorderState::NotEnabled))?;
    }
    Ok(())
}

#[test]
fn without_a_folder_nothing_is_recorded() -> Result<()> {
    for kind in BOTH {
        let server = kind.start::<&str>(&[])?;
        let mut probe = server.join("Ann")?;
        let state = probe.wait_for("a recorder state", recorder_state)?;
        assert_eq!(state, RecorderState::NotInitialised, "{kind:?}");
    }
    Ok(())
}

fn sessions(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| {
            path.is_dir() && path.file_name().is_some_and(|name| is_session(&name.to_string_lossy()))
        })
        .collect()
}

/// `Jam-YYYYMMDD-HHMMSSmmm`.
fn is_session(name: &str) -> bool {
    let pattern = "Jam-00000000-000000000";
    name.len() == pattern.len()
        && name
            .chars()
            .zip(pattern.chars())
            .all(|(is, should)| is == should || (should == '0' && is.is_ascii_digit()))
}

// ---- Directories ----

/// A directory that is nothing but a socket.
struct Directory {
    socket: UdpSocket,
    address: String,
}

impl Directory {
    fn open() -> Result<Self> {
        let port = free_port();
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, port))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { socket, address: format!("127.0.0.1:{port}") })
    }

    fn next(&self) -> Result<(SocketAddr, ConnlessMessage)> {
        let mut buffer = [0; 2000];
        loop {
            let (length, from) = self.socket.recv_from(&mut buffer).context("no word for the directory")?;
            if let Datagram::Frame(frame) = classify(&buffer[..length]) {
                return Ok((from, ConnlessMessage::parse(frame.id, frame.body)?));
            }
        }
    }

    /// Waits for a registration, and accepts it.
    fn registration(&self) -> Result<(SocketAddr, ServerRegistration)> {
        loop {
            if let (from, ConnlessMessage::RegisterServerEx { registration, .. }) = self.next()? {
                let accepted = ConnlessMessage::RegistrationResult(RegistrationResult::Registered);
                self.socket.send_to(&accepted.to_datagram(), from)?;
                return Ok((from, registration));
            }
        }
    }
}

#[test]
fn a_server_registers_with_its_directory_and_says_goodbye() -> Result<()> {
    let register = |kind: Kind, option: &str| -> Result<()> {
        let directory = Directory::open()?;
        let info = "Jam & Co;Ulm;de";
        let mut server = kind.start(&[
            option,
            &directory.address,
            "-o",
            info,
            "-u",
            "7",
            "--serverpublicip",
            "192.0.2.77",
        ])?;
        let (from, told) = directory.registration()?;
        assert_eq!(from, server.address, "{kind:?} {option}");
        let expected = ServerRegistration {
            internal_port: server.address.port(),
            country: 82,
            max_clients: 7,
            permanent: false,
            name: "Jam & Co".into(),
            internal_address: "192.0.2.77".into(),
            city: "Ulm".into(),
        };
        assert_eq!(told, expected, "{kind:?} {option}");
        assert!(server.process.stop());
        while directory.next()?.1 != ConnlessMessage::UnregisterServer {}
        Ok(())
    };
    register(Kind::Stock, "-e")?;
    for option in ["-e", "--directoryaddress", "--directoryserver", "--centralserver"] {
        register(Kind::Ours, option)?;
    }
    Ok(())
}

#[test]
fn serverinfo_takes_a_country_as_code_or_number() -> Result<()> {
    let country = |kind: Kind, info: &str| -> Result<u16> {
        let directory = Directory::open()?;
        let _server = kind.start(&["-e", &directory.address, "--serverinfo", info])?;
        let (_, told) = directory.registration()?;
        assert_eq!((told.name.as_str(), told.city.as_str()), ("A", "B"), "{kind:?} {info}");
        Ok(told.country)
    };
    // 3.9.1 knows codes in lower case only.
    assert_eq!(country(Kind::Ours, "A;B;FR")?, 74);
    for kind in BOTH {
        assert_eq!(country(kind, "A;B;fr")?, 74, "{kind:?}");
        assert_eq!(country(kind, "A;B;74")?, 74, "{kind:?}");
        assert_eq!(country(kind, "A;B;Atlantis")?, 0, "{kind:?}");
        // Fewer than three fields say nothing.
        let directory = Directory::open()?;
        let _server = kind.start(&["-e", &directory.address, "--serverinfo", "A;B"])?;
        assert_eq!(directory.registration()?.1.name, "", "{kind:?}");
    }
    Ok(())
}

fn registration(name: &str) -> ServerRegistration {
    ServerRegistration {
        internal_port: 22124,
        country: 82,
        max_clients: 5,
        permanent: false,
        name: name.into(),
        internal_address: "192.0.2.9".into(),
        city: "Bonn".into(),
    }
}

/// Registers with the server as directory, as a server of `version` would.
fn register(server: &Server, name: &str, version: &str) -> Result<(Probe, Option<ConnlessMessage>)> {
    let mut probe = Probe::open(server.address)?;
    let question = ConnlessMessage::RegisterServerEx {
        registration: registration(name),
        os: Os::LINUX,
        version: version.into(),
    };
    let answer = probe.ask(&question, 1016, PATIENCE)?;
    Ok((probe, answer))
}

fn listed_names(server: &Server) -> Result<Vec<String>> {
    let list = server.asks(&ConnlessMessage::RequestServerList, 1006)?;
    let Some(ConnlessMessage::ServerList(entries)) = list else { return Ok(Vec::new()) };
    Ok(entries.into_iter().map(|entry| entry.registration.name).collect())
}

#[test]
fn localhost_is_a_directory() -> Result<()> {
    for kind in BOTH {
        for directory in ["localhost", "LocalHost", "127.0.0.1"] {
            let server = kind.start(&["-e", directory, "-o", "Top;Ulm;DE"])?;
            let (_probe, answer) = register(&server, "Jam", "3.9.1")?;
            let accepted = ConnlessMessage::RegistrationResult(RegistrationResult::Registered);
            assert_eq!(answer, Some(accepted), "{kind:?} {directory}");
            assert_eq!(listed_names(&server)?, ["Top", "Jam"], "{kind:?}");
        }
    }
    Ok(())
}

#[test]
fn listfilter_is_a_whitelist_and_a_minimum_version() -> Result<()> {
    use RegistrationResult::{Registered, RequirementsNotFulfilled, VersionTooOld};
    for kind in BOTH {
        for (option, filter, version, expected) in [
            ("-f", "127.0.0.1", "3.9.1", Registered),
            ("--listfilter", "192.0.2.5;192.0.2.6", "3.9.1", RequirementsNotFulfilled),
            ("-f", "127.0.0.1;[3.9.0]", "3.9.1", Registered),
            ("-f", "127.0.0.1;[3.9.2]", "3.9.1", VersionTooOld),
        ] {
            let server = kind.start(&["-e", "localhost", option, filter])?;
            let (_probe, answer) = register(&server, "Jam", version)?;
            let expected = ConnlessMessage::RegistrationResult(expected);
            assert_eq!(answer, Some(expected), "{kind:?} {filter}");
        }
    }
    Ok(())
}

#[test]
fn directoryfile_survives_a_restart() -> Result<()> {
    for kind in BOTH {
        let folder = TempDir::new()?;
        let file = folder.path().join("list");
        // Jamulus wants the file to be there.
        fs::write(&file, "")?;
        let file = file.to_str().context("a plain path")?;
        let port = free_port().to_string();
        let options = ["-p", &port, LOOPBACK[0], LOOPBACK[1], "-e", "localhost", "--directoryfile", file];
        let options = options.map(OsStr::new);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse()?));
        let mut server = kind.start_bare(&options, address)?;
        let (_probe, _) = register(&server, "Jam", "3.9.1")?;
        assert!(server.process.stop());
        drop(server);
        let server = kind.start_bare(&options, address)?;
        assert!(
            listed_names(&server)?.contains(&"Jam".to_owned()),
            "{kind:?}: {}",
            fs::read_to_string(file)?
        );
    }
    Ok(())
}

// ---- Administration ----

#[test]
fn jsonrpc_listens_when_port_and_secret_are_given() -> Result<()> {
    let folder = TempDir::new()?;
    let secret = folder.path().join("secret");
    fs::write(&secret, "only-for-this-test\n")?;
    let secret = secret.to_str().context("a plain path")?;
    let mode = |kind: Kind, options: &[&str], ip: Ipv4Addr| -> Result<Value> {
        let port = free_port();
        let text = port.to_string();
        let mut all = vec!["--jsonrpcport", &text, "--jsonrpcsecretfile", secret];
        all.extend(options);
        let _server = kind.start(&all)?;
        // UDP is answered before remote control listens.
        let mut connected = None;
        eventually("listening for JSON-RPC", || {
            connected = TcpStream::connect((ip, port)).ok();
            Ok(connected.is_some())
        })?;
        let mut stream = connected.context("a connection")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut line = String::new();
        for (id, method, params) in [
            (1, "jamulus/apiAuth", json!({ "secret": "only-for-this-test" })),
            (2, "jamulus/getMode", json!({})),
        ] {
            let call = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
            stream.write_all(format!("{call}\n").as_bytes())?;
            line.clear();
            reader.read_line(&mut line)?;
        }
        Ok(serde_json::from_str(&line)?)
    };
    for kind in BOTH {
        assert_eq!(mode(kind, &[], Ipv4Addr::LOCALHOST)?["result"]["mode"], "server", "{kind:?}");
    }
    let bound = mode(Kind::Ours, &["--jsonrpcbindip", "127.0.0.3"], Ipv4Addr::new(127, 0, 0, 3))?;
    assert_eq!(bound["result"]["mode"], "server");
    Ok(())
}

#[test]
fn log_tells_who_comes() -> Result<()> {
    for kind in BOTH {
        for option in ["-l", "--log"] {
            let folder = TempDir::new()?;
            let file = folder.path().join("server.log");
            let server = kind.start(&[option, file.to_str().context("a plain path")?])?;
            let _probe = server.join("Ann")?;
            eventually("a line about the client", || {
                Ok(fs::read_to_string(&file).unwrap_or_default().contains("127.0.0.1"))
            })?;
        }
    }
    Ok(())
}

#[test]
fn what_makes_no_sense_without_a_window_is_accepted() -> Result<()> {
    for kind in BOTH {
        for options in
            [&["--nogui", "--server", "--notranslation"][..], &["-i", "some.ini"], &["-z"], &["-T"]]
        {
            kind.start(options)?;
        }
    }
    // Gone since 4.0; ours says so and goes on.
    kind_says(Kind::Ours, &["-m", "status.html"], "htmlstatus")?;
    kind_says(Kind::Ours, &["-i", "some.ini"], "inifile")?;
    kind_says(Kind::Ours, &["-T"], "multithreading")?;
    kind_says(Kind::Ours, &["--startminimized"], "startminimized")
}

fn kind_says(kind: Kind, options: &[&str], word: &str) -> Result<()> {
    let mut server = kind.start(options)?;
    server.process.wait_for_log(word, PATIENCE)
}

#[test]
fn help_and_version_end_well_and_wrong_options_do_not() -> Result<()> {
    for kind in BOTH {
        for option in ["--help", "-h", "-?", "--version", "-v"] {
            let ended = kind.run(&[option])?;
            assert!(ended.passed, "{kind:?} {option}: {}", ended.text);
        }
        for options in [&["--loudness"][..], &["-c", "jam.example.org"], &["--clientname", "Ann"], &["-j"]] {
            let ended = kind.run(options)?;
            assert!(ended.text.contains("exit status: 1"), "{kind:?} {options:?}: {}", ended.text);
        }
    }
    Ok(())
}
