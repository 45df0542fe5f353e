//! `jamulet-server` as a child, recording.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use jamulet_testkit::probe::PATIENCE;

/// A server on a port of its own; killed when dropped.
pub(crate) struct Program {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Program {
    /// Starts a server that records into `directory`, and waits until it is ready.
    pub(crate) fn record_into(directory: &Path, more: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jamulet-server"));
        command.args(["--port", "0", "--serverbindip4", "127.0.0.1", "--logformat", "text"]);
        command.arg("--recording").arg(directory).args(more);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut program = Self { child, address: ([127, 0, 0, 1], 0).into() };
        let (sender, ports) = channel();
        // Reads on to the end: a program whose output nobody takes would be stopped by it.
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if let Some((_, port)) = line.split_once("UDP port ") {
                    let digits = port.split(|character: char| !character.is_ascii_digit()).next();
                    let _ = sender.send(digits.unwrap_or_default().to_owned());
                }
            }
        });
        let port = ports.recv_timeout(PATIENCE).expect("the server tells its port");
        program.address.set_port(port.parse().unwrap());
        program
    }

    /// How long its recorder's thread has been ready to run without getting to, as the kernel counts it.
    pub(crate) fn recorder_starved(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let read = |task: &Path, what: &str| std::fs::read_to_string(task.join(what)).unwrap_or_default();
        // The kernel keeps 15 characters of a name.
        let task = tasks
            .map(|task| task.unwrap().path())
            .find(|task| read(task, "comm").starts_with("jamulet-recorde"))
            .expect("a recorder's thread");
        let numbers = read(&task, "schedstat");
        Duration::from_nanos(numbers.split_whitespace().nth(1).expect("a run delay").parse().unwrap())
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
