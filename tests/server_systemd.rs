//! What systemd sees: the unit, and the notifications of the program under it.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a failing test is what a panic is for")]
#![expect(clippy::disallowed_methods, reason = "clients of a real program need real sockets and threads")]

#[path = "server_binary/running.rs"]
#[expect(dead_code, reason = "shared with server_binary, which uses all of it")]
mod running;

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use jamulet_testkit::pace;

use self::running::{PATIENCE, Running, command, join};

const UNIT: &str = include_str!("../docs/hosting/jamulet-server.service");

/// The service manager's end of the notifications.
struct Manager {
    _folder: tempfile::TempDir,
    socket: UnixDatagram,
    path: String,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify").to_str().unwrap().to_owned();
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { _folder: folder, socket, path }
    }

    fn start(&self, watchdog_micros: Option<u64>, arguments: &[&str]) -> Running {
        let mut server = command();
        server.args(["--port", "0", "--serverbindip4", "127.0.0.1", "--logformat", "text"]).args(arguments);
        server.env("NOTIFY_SOCKET", &self.path);
        if let Some(micros) = watchdog_micros {
            server.env("WATCHDOG_USEC", micros.to_string());
        }
        Running::spawn(&mut server)
    }

    fn next(&self) -> String {
        let mut buffer = [0; 1000];
        let length = self.socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    /// The next notification with this line; those before it are skipped.
    fn next_with(&self, line: &str) -> String {
        loop {
            let news = self.next();
            if news.lines().any(|found| found == line) {
                return news;
            }
        }
    }
}

#[test]
fn ready_alive_status_and_stopping_are_told() {
    let manager = Manager::new();
    let mut server = manager.start(Some(200_000), &["-u", "7"]);
    assert_eq!(manager.next(), "READY=1\n");
    assert!(manager.next_with("WATCHDOG=1").contains("STATUS=0 of 7 musicians"));
    let _ann = join(server.port, "Ann");
    manager.next_with("STATUS=1 of 7 musicians");
    server.signal(libc::SIGTERM);
    manager.next_with("STOPPING=1");
    assert!(server.end().0.success());
}

#[test]
fn reloading_is_told_from_begin_to_end() {
    let manager = Manager::new();
    let server = manager.start(None, &[]);
    assert_eq!(manager.next(), "READY=1\n");
    server.signal(libc::SIGHUP);
    let reloading = manager.next_with("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    manager.next_with("READY=1");
    server.stop_by(libc::SIGTERM);
}

/// `SIGSTOP` holds up everything; what must stay away is a watchdog that beats by itself. A server whose thread
/// that mixes hangs cannot be made from outside, so the beat's dependence on its answers is shown by the status
/// in the same notification, which only that thread knows.
#[test]
fn a_stopped_server_does_not_pretend_to_live() {
    let manager = Manager::new();
    let server = manager.start(Some(100_000), &[]);
    manager.next_with("WATCHDOG=1");
    server.signal(libc::SIGSTOP);
    manager.socket.set_nonblocking(true).unwrap();
    // What was told before the signal took effect.
    pace::sleep(Duration::from_millis(300));
    while manager.socket.recv(&mut [0; 1000]).is_ok() {}
    pace::sleep(Duration::from_millis(500));
    assert!(manager.socket.recv(&mut [0; 1000]).is_err());
    manager.socket.set_nonblocking(false).unwrap();
    server.signal(libc::SIGCONT);
    manager.next_with("WATCHDOG=1");
    server.stop_by(libc::SIGTERM);
}

#[test]
fn the_journal_gets_priorities_and_no_times() {
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let journal = std::fs::File::create(&path).unwrap();
    let found = journal.metadata().unwrap();
    let mut server = command();
    server.args(["--port", "0", "--serverbindip4", "127.0.0.1", "-z"]);
    server.env("JOURNAL_STREAM", format!("{}:{}", found.dev(), found.ino()));
    server.stdout(journal.as_fd().try_clone_to_owned().unwrap());
    let mut child = server.spawn().unwrap();
    let read = || std::fs::read_to_string(&path).unwrap();
    running::wait_for("the greeting", || read().contains("event=ready"));
    child.kill().unwrap();
    child.wait().unwrap();
    let text = read();
    let mut lines = text.lines();
    assert!(lines.next().unwrap().starts_with("<4>level=warning event=note "), "{text}");
    assert!(lines.next().unwrap().starts_with("<6>level=info event=ready "), "{text}");
}

#[test]
fn systemd_accepts_the_unit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jamulet-server.service");
    let binary = env!("CARGO_BIN_EXE_jamulet-server");
    assert!(UNIT.contains("ExecStart=/usr/local/bin/jamulet-server "));
    std::fs::write(&path, UNIT.replace("/usr/local/bin/jamulet-server", binary)).unwrap();
    let verified = Command::new("systemd-analyze").arg("verify").arg(&path).output().unwrap();
    let said = String::from_utf8([verified.stdout, verified.stderr].concat()).unwrap();
    assert!(verified.status.success() && said.is_empty(), "{said}");
    // And it does find mistakes.
    std::fs::write(&path, UNIT.replace("Type=notify", "Type=notfy").replace("/usr/local/bin/", "/no/such/"))
        .unwrap();
    let refused = Command::new("systemd-analyze").arg("verify").arg(&path).output().unwrap();
    assert!(!refused.status.success());
}

#[test]
fn the_unit_is_hardened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jamulet-server.service");
    std::fs::write(&path, UNIT).unwrap();
    let mut analyze = Command::new("systemd-analyze");
    // In tenths: 0 exposes nothing, 100 everything.
    let analyze = analyze.args(["security", "--offline=yes", "--threshold=20"]).arg(&path).output().unwrap();
    let said = String::from_utf8([analyze.stdout, analyze.stderr].concat()).unwrap();
    let score = said.lines().find(|line| line.contains("Overall exposure")).unwrap_or(&said);
    println!("{score}");
    assert!(analyze.status.success(), "{said}");
}

#[test]
fn what_the_unit_starts_is_understood() {
    let line = UNIT.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jam.toml");
    // As the unit's first lines say.
    std::fs::write(&path, command().arg("config").output().unwrap().stdout).unwrap();
    let line = line.replace("/etc/jamulet-server.toml", path.to_str().unwrap());
    let arguments: Vec<&str> = line.split_whitespace().skip(1).collect();
    let checked = command().arg("config").args(&arguments).output().unwrap();
    assert!(checked.status.success());
    assert_eq!(checked.stdout, std::fs::read(&path).unwrap());
}
