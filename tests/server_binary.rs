//! The `jamulet-server` program: what it says, when it refuses, and that it stops.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a failing test is what a panic is for")]
#![expect(clippy::disallowed_methods, reason = "clients of a real program need real sockets")]

use std::io::{BufRead, BufReader, Read};
use std::net::UdpSocket;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use jamulet::protocol::{ConnlessMessage, Datagram, classify};

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jamulet-server"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the program to its end, which must be a refusal in one line.
fn refusal(arguments: &[&str]) -> String {
    let output: Output = command().args(arguments).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{arguments:?} was accepted");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
    assert_eq!(text.trim_end().lines().count(), 1, "{text}");
    assert!(text.trim_end().ends_with('.'), "{text}");
    text
}

/// A running program on a port of its own; killed when dropped.
struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
    port: u16,
    greeting: String,
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let mut child = command().args(["--port", "0"]).args(arguments).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut greeting = String::new();
        while !greeting.contains("Ctrl-C") {
            assert_ne!(out.read_line(&mut greeting).unwrap(), 0, "the server ended: {greeting}");
        }
        let port = greeting.split("UDP port ").nth(1).unwrap();
        let port = port.split(|character: char| !character.is_ascii_digit()).next().unwrap().parse().unwrap();
        Self { child, out, port, greeting }
    }

    fn next_line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn stop_by(mut self, signal: libc::c_int) {
        // SAFETY: plain call; the child is ours and not yet waited for.
        unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        assert!(rest.ends_with("Stopped.\n"), "{rest}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn client(port: u16) -> UdpSocket {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    socket.connect(("127.0.0.1", port)).unwrap();
    // Fails a broken server's test instead of hanging; no working one comes near it.
    socket.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    socket
}

fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 20_000];
    let length = socket.recv(&mut buffer).unwrap();
    buffer.truncate(length);
    buffer
}

/// Joins with the fewest datagrams possible: sound, then a name.
fn join(port: u16, name: &str) -> UdpSocket {
    let socket = client(port);
    socket.send(b"x").unwrap();
    let info = jamulet::protocol::ChannelInfo { name: name.to_owned(), ..Default::default() };
    let (mut body, mut datagram) = (Vec::new(), Vec::new());
    jamulet::protocol::Message::ChannelInfo(info).write_body(&mut body);
    jamulet::protocol::write_frame(25, 0, &body, &mut datagram);
    socket.send(&datagram).unwrap();
    socket
}

#[test]
fn wrong_input_is_one_sentence_and_a_failure() {
    assert!(refusal(&["--port", "65536"]).contains("a number from 1 to 65535"));
    assert!(refusal(&["-p", "abc"]).contains("a number from 1 to 65535"));
    for number in ["0", "151", "-3", "x"] {
        assert!(refusal(&["--numchannels", number]).contains("a number from 1 to 150"));
    }
    assert!(refusal(&["--serverbindip4", "300.1.1.1"]).contains("not an IP address"));
    // Reserved for documentation (RFC 5737).
    assert!(refusal(&["--serverbindip", "203.0.113.9"]).contains("203.0.113.9 is not an address"));
    assert!(refusal(&["--loudness", "11"]).contains("--loudness"));
    assert!(refusal(&["extra"]).contains("extra"));
}

#[test]
fn unreadable_welcome_files_are_refused() {
    let folder = std::env::temp_dir().join(format!("jamulet-welcome-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let latin1 = file("latin1", b"Gr\xfc\xdfe");
    let long = file("long", &[b'x'; 20_001]);
    assert!(refusal(&["-w", folder.to_str().unwrap()]).contains("not a text file"));
    assert!(refusal(&["-w", &latin1]).contains("UTF-8"));
    assert!(refusal(&["-w", &long]).contains("too long"));
    assert!(refusal(&["-w", "no-such-file.txt"]).contains("no file no-such-file.txt"));
    let good = Running::start(&["-w", &file("good.txt", "Grüße".as_bytes()), "--serverbindip4", "127.0.0.1"]);
    let socket = client(good.port);
    socket.send(&ConnlessMessage::RequestWelcomeMessage.to_datagram()).unwrap();
    assert_eq!(receive(&socket), ConnlessMessage::WelcomeMessage("Grüße".to_owned()).to_datagram());
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_busy_port_is_told_with_the_remedy() {
    let server = Running::start(&[]);
    let text = refusal(&["--port", &server.port.to_string()]);
    assert!(text.contains(&format!("Port {} is in use", server.port)) && text.contains("--port"), "{text}");
}

#[test]
fn it_tells_where_to_connect_and_who_comes_and_goes() {
    let mut server = Running::start(&["-s", "-n", "-t", "-F", "-u", "2"]);
    assert!(server.greeting.contains("ready for 2 musicians"), "{}", server.greeting);
    assert!(
        server.greeting.contains(&format!("127.0.0.1:{}  from this computer", server.port)),
        "{}",
        server.greeting
    );
    let ann = join(server.port, "Ann\u{1b}[2J");
    let address = ann.local_addr().unwrap();
    assert_eq!(server.next_line(), format!("Ann[2J joined from {address} (channel 0)"));
    ann.send(&ConnlessMessage::Disconnection.to_datagram()).unwrap();
    assert_eq!(server.next_line(), format!("Ann[2J left: {address} (channel 0)"));
    server.stop_by(libc::SIGTERM);
}

#[test]
fn it_stops_on_ctrl_c_while_somebody_plays() {
    let mut server = Running::start(&["--serverbindip4", "127.0.0.1"]);
    assert!(!server.greeting.contains("from your network"), "{}", server.greeting);
    let _ann = join(server.port, "Ann");
    assert!(server.next_line().starts_with("Ann joined"));
    server.stop_by(libc::SIGINT);
}

#[test]
fn it_answers_on_both_ip_families() {
    let server = Running::start(&[]);
    let ping = ConnlessMessage::Ping { time_ms: 17 }.to_datagram();
    for own in ["127.0.0.1:0", "[::1]:0"] {
        // A machine without IPv6 has nothing to prove about it.
        let Ok(socket) = UdpSocket::bind(own) else { continue };
        let ip = socket.local_addr().unwrap().ip();
        socket.send_to(&ping, (ip, server.port)).unwrap();
        let answer = receive(&socket);
        assert!(matches!(classify(&answer), Datagram::Frame(frame) if frame.id == 1001));
        assert_eq!(answer, ping);
    }
}

#[test]
fn help_and_version_are_no_errors() {
    let help = command().arg("--help").output().unwrap();
    assert!(help.status.success());
    let text = String::from_utf8(help.stdout).unwrap();
    for option in ["--port", "--numchannels", "--welcomemessage", "--fastupdate", "--serverbindip4"] {
        assert!(text.contains(option), "{text}");
    }
    let version = command().arg("-v").output().unwrap();
    assert_eq!(
        String::from_utf8(version.stdout).unwrap(),
        concat!("jamulet-server ", env!("CARGO_PKG_VERSION"), "\n")
    );
}
