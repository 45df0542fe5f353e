//! A running `jamulet-server`, and the simplest of clients.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use jamulet::protocol::{ChannelInfo, ConnlessMessage, Datagram, Message, classify, write_frame};
use jamulet_testkit::pace;

/// Fails a broken server's test instead of hanging it; no working one comes near it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at something that is awaited.
const POLL: Duration = Duration::from_millis(10);

/// The program, its output piped.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jamulet-server"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for variable in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM"] {
        command.env_remove(variable);
    }
    command
}

/// Runs the program to its end, which must be a refusal in one line and exit code 1, as Jamulus's.
pub(crate) fn refusal<S: AsRef<OsStr>>(arguments: &[S]) -> String {
    let output = command().args(arguments).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let shown: Vec<&OsStr> = arguments.iter().map(AsRef::as_ref).collect();
    assert_eq!(output.status.code(), Some(1), "{shown:?}: {text}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
    assert_eq!(text.trim_end().lines().count(), 1, "{text}");
    assert!(text.trim_end().ends_with(['.', '?']), "{text}");
    text
}

/// A running program on a port of its own; killed when dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    lines: Receiver<String>,
    pub(crate) port: u16,
    /// Everything that it printed until it was ready.
    pub(crate) greeting: String,
}

impl Running {
    /// Printing sentences.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::spawn(command().args(["--port", "0", "--logformat", "text"]).args(arguments))
    }

    /// Prepared by the test; the port must be 0.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::inherit()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut running = Self { child, lines, port: 0, greeting: String::new() };
        let ready = |line: &str| line.contains("Ctrl-C") || line.contains("event=ready");
        while !running.greeting.lines().last().is_some_and(ready) {
            let line = running.next_line();
            running.greeting.push_str(&line);
            running.greeting.push('\n');
        }
        let sentence = running.greeting.split("UDP port ").nth(1);
        let port = sentence.or_else(|| running.greeting.split(" port=").nth(1)).unwrap();
        let port = port.split(|character: char| !character.is_ascii_digit()).next().unwrap();
        running.port = port.parse().unwrap();
        running
    }

    /// On the loopback.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    pub(crate) fn next_line(&mut self) -> String {
        let line = self.lines.recv_timeout(PATIENCE);
        line.unwrap_or_else(|error| panic!("no line was printed after: {} ({error})", self.greeting))
    }

    /// The next line that contains `text`; those before it are skipped.
    pub(crate) fn line_with(&mut self, text: &str) -> String {
        let mut skipped = Vec::new();
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("no line with {text:?}, but {skipped:?}"));
            if line.contains(text) {
                return line;
            }
            skipped.push(line);
        }
    }

    pub(crate) fn signal(&self, signal: libc::c_int) {
        // SAFETY: plain call; the child is ours and not yet waited for.
        unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
    }

    /// How it ends, and everything that it prints until then.
    pub(crate) fn end(&mut self) -> (ExitStatus, String) {
        wait_for("the program's end", || self.child.try_wait().unwrap().is_some());
        let status = self.child.wait().unwrap();
        let mut rest = String::new();
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            rest.push_str(&line);
            rest.push('\n');
        }
        (status, rest)
    }

    /// Ends well, with its last words.
    pub(crate) fn stop_by(mut self, signal: libc::c_int) {
        self.signal(signal);
        let (status, rest) = self.end();
        assert!(status.success(), "{status}");
        assert!(rest.ends_with("Stopped.\n"), "{rest}");
    }

    /// Asks a question that anyone may ask, again if the answer stays away.
    pub(crate) fn ask(&self, question: &ConnlessMessage) -> ConnlessMessage {
        ask(self.address(), question)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something is so.
pub(crate) fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = pace::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what} did not come about");
        pace::sleep(POLL);
    }
}

/// A socket that talks to `server` only, so that a closed port is an error.
pub(crate) fn client_of(server: SocketAddr) -> UdpSocket {
    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

pub(crate) fn client(port: u16) -> UdpSocket {
    client_of(SocketAddr::from(([127, 0, 0, 1], port)))
}

/// Whether a server listens there: on this machine the system itself says when none does.
pub(crate) fn listens(server: SocketAddr) -> bool {
    let socket = client_of(server);
    let ping = ConnlessMessage::Ping { time_ms: 17 }.to_datagram();
    // The refusal of the first may be told by the second call.
    socket.send(&ping).and_then(|_| socket.recv(&mut [0; 100])).is_ok()
}

pub(crate) fn ask(server: SocketAddr, question: &ConnlessMessage) -> ConnlessMessage {
    let socket = client_of(server);
    socket.send(&question.to_datagram()).unwrap();
    parse(&receive(&socket)).unwrap()
}

pub(crate) fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 20_000];
    let length = socket.recv(&mut buffer).unwrap();
    buffer.truncate(length);
    buffer
}

/// A connection-less message, or `None` for anything else.
pub(crate) fn parse(datagram: &[u8]) -> Option<ConnlessMessage> {
    match classify(datagram) {
        Datagram::Frame(frame) => ConnlessMessage::parse(frame.id, frame.body).ok(),
        Datagram::Audio(_) => None,
    }
}

/// Joins with the fewest datagrams possible: sound, then a name.
pub(crate) fn join(port: u16, name: &str) -> UdpSocket {
    let socket = client(port);
    socket.send(b"x").unwrap();
    let info = ChannelInfo { name: name.to_owned(), ..Default::default() };
    let (mut body, mut datagram) = (Vec::new(), Vec::new());
    Message::ChannelInfo(info).write_body(&mut body);
    write_frame(25, 0, &body, &mut datagram);
    socket.send(&datagram).unwrap();
    socket
}
