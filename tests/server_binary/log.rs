//! The log: records, the file, opening it anew, masks.

use std::fs;
use std::path::Path;

use jamulet::protocol::ConnlessMessage;

use crate::running::{Running, command, join, wait_for};

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn line_with(path: &Path, text: &str) -> String {
    wait_for(text, || read(path).lines().any(|line| line.contains(text)));
    read(path).lines().find(|line| line.contains(text)).unwrap().to_owned()
}

#[test]
fn a_pipe_gets_one_record_a_line() {
    let mut server = Running::spawn(command().args(["--port", "0", "--serverbindip4", "127.0.0.1", "-z"]));
    let mut lines = server.greeting.lines();
    assert!(
        lines.next().unwrap().contains(" level=warning event=note message=\"--startminimized has no effect")
    );
    let ready = lines.next().unwrap();
    assert!(ready.starts_with("time=20") && ready.contains("Z level=info event=ready "), "{ready}");
    let ann = join(server.port, "Ann \"B\"");
    let joined = server.next_line();
    let address = ann.local_addr().unwrap();
    let expected = format!(" level=info event=joined channel=0 address={address} name=\"Ann \\\"B\\\"\"");
    assert!(joined.ends_with(&expected), "{joined}");
    ann.send(&ConnlessMessage::Disconnection.to_datagram()).unwrap();
    assert!(server.next_line().ends_with(" reason=left"));
    server.signal(libc::SIGTERM);
    let (status, rest) = server.end();
    assert!(status.success() && rest.ends_with(" level=info event=stopped message=Stopped.\n"), "{rest}");
}

#[test]
fn the_file_has_records_and_is_opened_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("jam.log"), folder.path().join("jam.log.1"));
    fs::write(&path, "an old line\n").unwrap();
    let server = Running::start(&["-l", path.to_str().unwrap()]);
    line_with(&path, "event=ready");
    let _ann = join(server.port, "Ann");
    assert!(line_with(&path, "event=joined").contains(" name=Ann"));
    assert!(read(&path).starts_with("an old line\n"));
    fs::rename(&path, &moved).unwrap();
    let _ben = join(server.port, "Ben");
    line_with(&moved, "name=Ben");
    server.signal(libc::SIGHUP);
    line_with(&path, "event=reloaded");
    let _cid = join(server.port, "Cid");
    line_with(&path, "name=Cid");
    assert!(!read(&moved).contains("Cid"));
    server.stop_by(libc::SIGTERM);
    assert!(read(&path).ends_with("event=stopped message=Stopped.\n"), "{}", read(&path));
}

#[test]
fn masked_addresses_are_nowhere_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jam.log");
    let words = ["--maskaddresses", "--serverbindip4", "127.0.0.1", "-l", path.to_str().unwrap()];
    let mut server = Running::start(&words);
    let ann = join(server.port, "Ann");
    let port = ann.local_addr().unwrap().port();
    assert_eq!(server.next_line(), format!("Ann joined from 127.0.0.0:{port} (channel 0)"));
    ann.send(&ConnlessMessage::Disconnection.to_datagram()).unwrap();
    assert_eq!(server.next_line(), format!("Ann left: 127.0.0.0:{port} (channel 0)"));
    assert!(line_with(&path, "event=left").contains(&format!(" address=127.0.0.0:{port} ")));
    assert!(!read(&path).contains(&format!("127.0.0.1:{port}")), "{}", read(&path));
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_does_not_stop_the_jam() {
    let mut server = Running::start(&["-l", "/dev/full"]);
    assert!(server.line_with("cannot be written").contains("The jam goes on"));
    let _ann = join(server.port, "Ann");
    server.line_with("Ann joined");
    server.stop_by(libc::SIGTERM);
}
