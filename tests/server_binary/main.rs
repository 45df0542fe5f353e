//! The `jamulet-server` program: what it says, when it refuses, what each option does, and that it stops.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a failing test is what a panic is for")]
#![expect(clippy::disallowed_methods, reason = "clients of a real program need real sockets and threads")]

mod configuration;
mod directories;
mod documentation;
mod log;
mod options;
mod recording;
mod running;
mod status;
mod stopping;

use std::net::UdpSocket;

use jamulet::protocol::ConnlessMessage;

use self::running::{Running, client, command, join, receive, refusal};

#[test]
fn wrong_input_is_one_sentence_and_exit_code_1() {
    assert!(refusal(&["--port", "65536"]).contains("a number from 1 to 65535"));
    assert!(refusal(&["-p", "abc"]).contains("a number from 1 to 65535"));
    for number in ["0", "151", "-3", "x"] {
        assert!(refusal(&["--numchannels", number]).contains("a number from 1 to 150"));
    }
    for number in ["256", "-1", "x"] {
        assert!(refusal(&["--qos", number]).contains("a number from 0 to 255"));
    }
    assert!(refusal(&["--serverbindip4", "300.1.1.1"]).contains("not an IP address"));
    // Reserved for documentation (RFC 5737).
    assert!(refusal(&["--serverbindip", "203.0.113.9"]).contains("203.0.113.9 is not an address"));
    assert!(refusal(&["--loudness", "11"]).contains("--loudness"));
    assert!(refusal(&["--prot", "11"]).contains("Did you mean --port?"));
    assert!(refusal(&["extra"]).contains("extra"));
    assert!(refusal(&["-e", "2001:db8::1"]).contains("[2001:db8::1]"));
    assert!(refusal(&["-e", "localhost", "-f", "192.0.2.300"]).contains("192.0.2.300"));
    assert!(refusal(&["--minfreespace", "1T"]).contains("500M"));
    assert!(refusal(&["--recordingformat", "mp3"]).contains("flac"));
    assert!(refusal(&["--jsonrpcport", "0"]).contains("--jsonrpcsecretfile"));
    assert!(refusal(&["--log", "/no/such/folder/x.log"]).contains("--log"));
}

#[test]
fn options_of_clients_are_refused_as_such() {
    let with_value = ["-c", "--connect", "--clientname", "--ctrlmidich"];
    for option in with_value {
        assert!(refusal(&["-s", "-n", option, "x"]).contains("is for clients"), "{option}");
    }
    for option in ["-j", "--nojackconnect", "-M", "--mutestream", "--mutemyown"] {
        assert!(refusal(&["-s", "-n", option]).contains("is for clients"), "{option}");
    }
}

#[test]
fn unreadable_welcome_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let latin1 = file("latin1", b"Gr\xfc\xdfe");
    let long = file("long", &[b'x'; 20_001]);
    assert!(refusal(&["-w", folder.path().to_str().unwrap()]).contains("not a text file"));
    assert!(refusal(&["-w", &latin1]).contains("UTF-8"));
    assert!(refusal(&["-w", &long]).contains("too long"));
    assert!(refusal(&["-w", "no-such-file.txt"]).contains("no file no-such-file.txt"));
    let good = Running::start(&["-w", &file("good.txt", "Grüße".as_bytes()), "--serverbindip4", "127.0.0.1"]);
    let answer = good.ask(&ConnlessMessage::RequestWelcomeMessage);
    assert_eq!(answer, ConnlessMessage::WelcomeMessage("Grüße".to_owned()));
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
    assert!(server.greeting.starts_with("Jamulet server "), "{}", server.greeting);
    assert!(server.greeting.contains("ready for 2 musicians"), "{}", server.greeting);
    let own = format!("127.0.0.1:{}  from this computer", server.port);
    assert!(server.greeting.contains(&own), "{}", server.greeting);
    let ann = join(server.port, "Ann\u{1b}[2J");
    let address = ann.local_addr().unwrap();
    assert_eq!(server.next_line(), format!("Ann[2J joined from {address} (channel 0)"));
    ann.send(&ConnlessMessage::Disconnection.to_datagram()).unwrap();
    assert_eq!(server.next_line(), format!("Ann[2J left: {address} (channel 0)"));
    server.stop_by(libc::SIGTERM);
}

#[test]
fn it_answers_on_both_ip_families() {
    let server = Running::start(&[]);
    let ping = ConnlessMessage::Ping { time_ms: 17 }.to_datagram();
    for own in ["127.0.0.1:0", "[::1]:0"] {
        let socket = UdpSocket::bind(own).expect("this test needs a machine with IPv6");
        let ip = socket.local_addr().unwrap().ip();
        socket.send_to(&ping, (ip, server.port)).unwrap();
        assert_eq!(receive(&socket), ping);
    }
}

#[test]
fn help_and_version_are_no_errors() {
    for option in ["--help", "-h", "-?"] {
        let help = command().arg(option).output().unwrap();
        assert!(help.status.success());
        let text = String::from_utf8(help.stdout).unwrap();
        for option in ["--port", "--numchannels", "--welcomemessage", "--fastupdate", "--serverbindip4"] {
            assert!(text.contains(option), "{text}");
        }
    }
    for option in ["-v", "--version"] {
        let version = command().arg(option).output().unwrap();
        let expected = concat!("jamulet-server ", env!("CARGO_PKG_VERSION"), "\n");
        assert_eq!(String::from_utf8(version.stdout).unwrap(), expected);
    }
}

#[test]
fn a_reader_that_goes_away_does_not_stop_the_jam() {
    let mut server = command();
    server.args(["--port", "0", "--serverbindip4", "127.0.0.1", "--logformat", "logfmt"]);
    let mut child = server.spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line)
        .unwrap();
    // The pipe is closed now.
    let port: u16 = line.split(" port=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    let _ann = join(port, "Ann");
    let ben = client(port);
    ben.send(&ConnlessMessage::RequestClientList.to_datagram()).unwrap();
    receive(&ben);
    assert_eq!(child.try_wait().unwrap(), None);
    child.kill().unwrap();
    child.wait().unwrap();
}
