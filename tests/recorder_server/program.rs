//! `jamulet-server` as a child, recording.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

/// A server on a port of its own; killed when dropped.
pub(crate) struct Program {
    child: Child,
    /// Kept open: a program whose output nobody takes ends.
    _out: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
}

impl Program {
    /// Starts a server that records into `directory`, and waits until it is ready.
    pub(crate) fn record_into(directory: &Path, more: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jamulet-server"));
        command
            .args(["--port", "0", "--serverbindip4", "127.0.0.1", "--recording"])
            .arg(directory)
            .args(more);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut greeting = String::new();
        while !greeting.contains("Ctrl-C") {
            assert_ne!(out.read_line(&mut greeting).unwrap(), 0, "the server ended: {greeting}");
        }
        let port = greeting.split("UDP port ").nth(1).unwrap();
        let port = port.split(|character: char| !character.is_ascii_digit()).next().unwrap().parse().unwrap();
        Self { child, _out: out, address: SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    /// Ends it by `signal`, and waits until it is gone.
    pub(crate) fn end_by(mut self, signal: libc::c_int) {
        // SAFETY: plain call; the child is ours and not yet waited for.
        unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
        self.child.wait().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
