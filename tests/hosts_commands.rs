//! Wrong input to the programs: one clear sentence each, a failing exit code, nothing half-written.

use std::net::{Ipv4Addr, UdpSocket};
use std::process::{Command, Output};

use anyhow::{Context, Result};

fn server(arguments: &[&str]) -> Result<Output> {
    Command::new(env!("CARGO_BIN_EXE_jamulet-server")).args(arguments).output().context("the server")
}

/// The program failed, and said so in one sentence that contains `words`.
fn refused(output: &Output, words: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "accepted: {said}");
    assert!(said.contains(words), "{words:?} is not in {said:?}");
    assert!(!said.contains("panicked"), "{said}");
    let sentences = said.lines().filter(|line| line.contains(words)).count();
    assert_eq!(sentences, 1, "{said}");
}

#[test]
fn the_server_refuses_wrong_input_in_a_sentence() -> Result<()> {
    refused(&server(&["--port", "99999"])?, "99999");
    refused(&server(&["--port", "0"])?, "0");
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
