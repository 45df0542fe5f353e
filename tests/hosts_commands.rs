//! Wrong input to the programs: one clear sentence each, a failing exit code, nothing half-written.

use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use jamulet_testkit::child::{Ended, finish};

fn server(arguments: &[&str]) -> Result<Ended> {
    finish(Command::new(env!("CARGO_BIN_EXE_jamulet-server")).args(arguments), Duration::from_secs(20))
}

/// The program failed by itself, and said so in one sentence that contains `words`.
fn refused(ended: &Ended, words: &str) {
    let said = &ended.text;
    assert!(!ended.passed && !said.contains("killed after"), "accepted: {said}");
    assert!(!said.contains("panicked"), "{said}");
    let lines: Vec<&str> = said.lines().filter(|line| !line.is_empty() && !line.starts_with('[')).collect();
    assert!(lines.len() == 1 && lines[0].contains(words), "not one sentence about {words}: {said}");
}

#[test]
fn the_server_refuses_wrong_input_in_a_sentence() -> Result<()> {
    refused(&server(&["--port", "99999"])?, "99999");
    refused(&server(&["--port", "jam"])?, "jam");
    refused(&server(&["--numchannels", "151"])?, "151");
    refused(&server(&["--serverbindip4", "localhost"])?, "localhost");
    refused(&server(&["--serverbindip4", "192.0.2.1"])?, "192.0.2.1");
    refused(&server(&["--no-such-option"])?, "--no-such-option");
    Ok(())
}

#[test]
fn a_busy_port_is_named() -> Result<()> {
    #[expect(clippy::disallowed_methods, reason = "another program that has the port")]
    let other = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = other.local_addr()?.port().to_string();
    refused(&server(&["--port", &port, "--serverbindip4", "127.0.0.1"])?, &format!("Port {port} is in use"));
    Ok(())
}
