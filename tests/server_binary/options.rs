//! Option by option, the effect that can be seen from outside.

use std::net::{SocketAddr, UdpSocket};

use jamulet::protocol::{ConnlessMessage, Message};
use jamulet_testkit::probe::{self, Probe, receive_tos};

use crate::running::{Running, ask, client, join, listens, parse, receive};

/// Bits of 1019 (docs/PROTOCOL.md §4).
const FAST_UPDATE: u32 = 1 << 0;
const MULTITHREADING: u32 = 1 << 1;
const RECORDER: u32 = 1 << 2;
const RECORDING: u32 = 1 << 3;
const DELAY_PAN: u32 = 1 << 4;
const IPV6: u32 = 1 << 5;
const RAW_AUDIO: u32 = 1 << 6;
const DISCONNECT_ON_QUIT: u32 = 1 << 7;
const WELCOME: u32 = 1 << 8;
const LOGGING: u32 = 1 << 9;
const LICENCE: u32 = 1 << 10;
const RPC: u32 = 1 << 12;

fn features(arguments: &[&str]) -> u32 {
    let server = Running::start(&[&["--serverbindip4", "127.0.0.1"], arguments].concat());
    match server.ask(&ConnlessMessage::RequestServerFeatures) {
        ConnlessMessage::ServerFeatures(bits) => bits,
        other => panic!("{other:?}"),
    }
}

#[test]
fn features_are_those_that_were_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (log, secret, recordings) = (path("x.log"), path("secret"), path("recordings"));
    std::fs::write(&secret, "sixteen characters\n").unwrap();
    std::fs::create_dir(&recordings).unwrap();
    assert_eq!(features(&[]), RAW_AUDIO);
    let cases: [(&[&str], u32); 16] = [
        (&["-F"], RAW_AUDIO | FAST_UPDATE),
        (&["--fastupdate"], RAW_AUDIO | FAST_UPDATE),
        (&["-T"], RAW_AUDIO | MULTITHREADING),
        (&["-P"], RAW_AUDIO | DELAY_PAN),
        (&["--delaypan"], RAW_AUDIO | DELAY_PAN),
        (&["--noraw"], 0),
        (&["-d"], RAW_AUDIO | DISCONNECT_ON_QUIT),
        (&["--discononquit"], RAW_AUDIO | DISCONNECT_ON_QUIT),
        (&["-w", "Hi"], RAW_AUDIO | WELCOME),
        (&["-l", &log], RAW_AUDIO | LOGGING),
        (&["-L"], RAW_AUDIO | LICENCE),
        (&["--licence"], RAW_AUDIO | LICENCE),
        (&["-R", &recordings], RAW_AUDIO | RECORDER | RECORDING),
        (&["-R", &recordings, "--norecord"], RAW_AUDIO | RECORDER),
        (&["--jsonrpcport", "0", "--jsonrpcsecretfile", &secret], RAW_AUDIO | RPC),
        (&["-w", "", "-R", "", "-l", ""], RAW_AUDIO),
    ];
    for (arguments, expected) in cases {
        assert_eq!(features(arguments), expected, "{arguments:?}");
    }
}

#[test]
fn only_the_named_ipv4_address_is_listened_on() {
    for option in ["--serverbindip", "--serverbindip4"] {
        let server = Running::start(&[option, "127.0.0.2"]);
        assert!(listens(SocketAddr::from(([127, 0, 0, 2], server.port))), "{option}");
        assert!(!listens(SocketAddr::from(([127, 0, 0, 1], server.port))), "{option}");
    }
}

#[test]
fn ipv6_is_on_unless_it_is_refused() {
    if UdpSocket::bind("[::1]:0").is_err() {
        eprintln!("this machine has no IPv6: nothing can be shown");
        return;
    }
    let loopback = |server: &Running| SocketAddr::new("::1".parse().unwrap(), server.port);
    let features = |server: SocketAddr| match ask(server, &ConnlessMessage::RequestServerFeatures) {
        ConnlessMessage::ServerFeatures(bits) => bits & IPV6 != 0,
        other => panic!("{other:?}"),
    };
    let both = Running::start(&[]);
    assert!(listens(loopback(&both)) && listens(both.address()) && features(both.address()));
    let asked_for = Running::start(&["-6"]);
    assert!(listens(loopback(&asked_for)) && listens(asked_for.address()));
    assert!(asked_for.greeting.contains("--enableipv6 has no effect"), "{}", asked_for.greeting);
    let without = Running::start(&["--noipv6"]);
    assert!(!listens(loopback(&without)) && listens(without.address()) && !features(without.address()));
    let only = Running::start(&["--serverbindip6", "::1"]);
    assert!(listens(loopback(&only)) && features(loopback(&only)));
    assert!(!listens(only.address()));
}

#[test]
fn the_port_is_the_one_given() {
    let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for option in ["-p", "--port"] {
        let server = Running::start(&["--serverbindip4", "127.0.0.1", option, &free.to_string()]);
        assert_eq!(server.port, free);
        assert!(listens(server.address()));
    }
}

#[test]
fn a_full_server_says_so() {
    let server = Running::start(&["-u", "2", "--serverbindip4", "127.0.0.1"]);
    let _players = ["Ann", "Ben"].map(|name| join(server.port, name));
    let late = client(server.port);
    late.send(b"x").unwrap();
    assert_eq!(parse(&receive(&late)), Some(ConnlessMessage::ServerFull));
}

#[test]
fn packets_are_marked_as_asked() {
    for (arguments, expected) in [(&[][..], 128), (&["-Q", "0"], 0), (&["--qos", "184"], 184)] {
        let server = Running::start(&[&["--serverbindip4", "127.0.0.1"], arguments].concat());
        let socket = client(server.port);
        socket.send(&ConnlessMessage::Ping { time_ms: 1 }.to_datagram()).unwrap();
        assert_eq!(receive_tos(&socket).unwrap(), expected, "{arguments:?}");
    }
}

#[test]
fn the_welcome_is_the_text() {
    for option in ["-w", "--welcomemessage"] {
        let server = Running::start(&[option, "-Hi <b>you</b>"]);
        let answer = server.ask(&ConnlessMessage::RequestWelcomeMessage);
        assert_eq!(answer, ConnlessMessage::WelcomeMessage("-Hi <b>you</b>".to_owned()));
    }
}

#[test]
fn the_licence_is_shown_to_those_who_join() {
    let server = Running::start(&["-L"]);
    let mut ann = Probe::join(server.address(), "Ann", probe::USUAL).unwrap();
    let licence = |message: &Message| matches!(message, Message::LicenceRequired(_)).then_some(());
    ann.wait_for("the licence", licence).unwrap();
}

#[test]
fn what_has_no_effect_is_said_and_what_everyone_writes_is_not() {
    let server = Running::start(&["-s", "-n", "-t", "--server", "--nogui", "--notranslation"]);
    assert!(server.greeting.starts_with("Jamulet server"), "{}", server.greeting);
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("status.html");
    let words = ["-i", "x.ini", "-m", page.to_str().unwrap(), "-z", "-f", "192.0.2.1", "-o", "Band;Berlin"];
    let server = Running::start(&words);
    for option in ["--inifile", "--htmlstatus", "--startminimized", "--listfilter", "--serverinfo"] {
        assert!(server.greeting.contains(option), "{option}: {}", server.greeting);
    }
    assert!(!page.exists());
}
