//! What options do that `interop_options` does not show: there every option is compared with Jamulus.

use std::net::{SocketAddr, UdpSocket};

use jamulet::protocol::ConnlessMessage;

use crate::running::{Running, ask, listens};

/// Bits of 1019 (docs/PROTOCOL.md §4).
const IPV6: u32 = 1 << 5;
const RAW_AUDIO: u32 = 1 << 6;

fn features(server: SocketAddr) -> u32 {
    match ask(server, &ConnlessMessage::RequestServerFeatures) {
        ConnlessMessage::ServerFeatures(bits) => bits,
        other => panic!("{other:?}"),
    }
}

#[test]
fn empty_values_are_as_none() {
    let server = Running::start(&["--serverbindip4", "127.0.0.1", "-w", "", "-R", "", "-l", ""]);
    assert_eq!(features(server.address()), RAW_AUDIO);
}

#[test]
fn ipv6_is_on_unless_it_is_refused() {
    UdpSocket::bind("[::1]:0").expect("this test needs a machine with IPv6");
    let loopback = |server: &Running| SocketAddr::new("::1".parse().unwrap(), server.port);
    let tells_ipv6 = |server: SocketAddr| features(server) & IPV6 != 0;
    let both = Running::start(&[]);
    assert!(listens(loopback(&both)) && listens(both.address()) && tells_ipv6(both.address()));
    let asked_for = Running::start(&["-6"]);
    assert!(listens(loopback(&asked_for)) && listens(asked_for.address()));
    assert!(asked_for.greeting.contains("--enableipv6 has no effect"), "{}", asked_for.greeting);
    let without = Running::start(&["--noipv6"]);
    assert!(!listens(loopback(&without)) && listens(without.address()) && !tells_ipv6(without.address()));
    let only = Running::start(&["--serverbindip6", "::1"]);
    assert!(listens(loopback(&only)) && tells_ipv6(loopback(&only)));
    assert!(!listens(only.address()));
}

#[test]
fn a_welcome_may_begin_like_an_option() {
    let server = Running::start(&["-w", "-Hi <b>you</b>"]);
    let answer = server.ask(&ConnlessMessage::RequestWelcomeMessage);
    assert_eq!(answer, ConnlessMessage::WelcomeMessage("-Hi <b>you</b>".to_owned()));
}

#[test]
fn what_has_no_effect_is_said_and_what_everyone_writes_is_not() {
    let server = Running::start(&["-s", "-n", "-t", "--server", "--nogui", "--notranslation"]);
    assert!(server.greeting.starts_with("Jamulet server"), "{}", server.greeting);
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("status.html");
    let words =
        ["-i", "x.ini", "-m", page.to_str().unwrap(), "-z", "-T", "-f", "192.0.2.1", "-o", "Band;Berlin"];
    let server = Running::start(&words);
    for option in
        ["--inifile", "--htmlstatus", "--startminimized", "--listfilter", "--serverinfo", "--multithreading"]
    {
        assert!(server.greeting.contains(option), "{option}: {}", server.greeting);
    }
    assert!(!page.exists());
}
