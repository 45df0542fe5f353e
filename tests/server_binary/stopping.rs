//! Stopping: by which signals, under which load, and what clients are told.

use std::io::Write;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jamulet::protocol::ConnlessMessage;
use jamulet_testkit::pace;
use jamulet_testkit::probe::{self, Probe};

use crate::running::{Running, ask, client, command, join, listens, parse, wait_for};

/// Whether a farewell is among what has arrived, once the server has ended.
fn was_sent_away(socket: &UdpSocket) -> bool {
    socket.set_nonblocking(true).unwrap();
    let mut buffer = [0; 20_000];
    let mut found = false;
    loop {
        match socket.recv(&mut buffer) {
            Ok(length) => found |= parse(&buffer[..length]) == Some(ConnlessMessage::Disconnection),
            // The closed port may be told in between.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {}
            Err(_) => return found,
        }
    }
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
fn clients_are_sent_away_only_with_discononquit() {
    for (arguments, is_sent_away) in [(&["-d"][..], true), (&["--discononquit"], true), (&[], false)] {
        for signal in [libc::SIGTERM, libc::SIGINT] {
            let mut server = Running::start(arguments);
            let ann = join(server.port, "Ann");
            server.line_with("Ann joined");
            server.stop_by(signal);
            assert_eq!(was_sent_away(&ann), is_sent_away, "{arguments:?} {signal}");
        }
    }
}

#[test]
fn a_second_signal_changes_nothing() {
    let mut server = Running::start(&["-d"]);
    let ann = join(server.port, "Ann");
    server.line_with("Ann joined");
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGTERM] {
        server.signal(signal);
    }
    let (status, rest) = server.end();
    assert!(status.success() && rest.ends_with("Stopped.\n"), "{status} {rest}");
    assert!(was_sent_away(&ann));
}

/// The promise is one second; what is asserted leaves room for a machine that does much else.
#[test]
fn it_stops_soon_under_a_flood() {
    let mut server = Running::start(&["-u", "150", "-F"]);
    let stop = Arc::new(AtomicBool::new(false));
    let floods: Vec<_> = (0..2_u8)
        .map(|kind| {
            let (port, stop) = (server.port, Arc::clone(&stop));
            std::thread::spawn(move || {
                let socket = client(port);
                let question = ConnlessMessage::RequestClientList.to_datagram();
                while !stop.load(Ordering::Relaxed) {
                    let _ = socket.send(if kind == 0 { b"noise" } else { &question });
                }
            })
        })
        .collect();
    let _players: Vec<_> = (0..20).map(|number| join(server.port, &format!("P{number}"))).collect();
    server.line_with("joined");
    let start = pace::now();
    server.signal(libc::SIGTERM);
    let (status, _) = server.end();
    let took = start.elapsed();
    stop.store(true, Ordering::Relaxed);
    for flood in floods {
        flood.join().unwrap();
    }
    println!("stopped {took:?} after the signal, under a flood");
    assert!(status.success() && took < Duration::from_secs(5), "{status} after {took:?}");
}

/// As above: the promise is one second.
#[test]
fn it_stops_soon_while_recording_and_watched() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "0123456789abcdef\n").unwrap();
    let (path, secret) = (folder.path().to_str().unwrap(), secret.to_str().unwrap());
    let mut server = Running::start(&["-R", path, "--jsonrpcport", "0", "--jsonrpcsecretfile", secret]);
    let address = server.greeting.split("listens on TCP ").nth(1).unwrap().split(".\n").next().unwrap();
    let watchers: Vec<_> = (0..8).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    let calls = "{\"id\":1,\"method\":\"jamulus/apiAuth\",\"params\":{\"secret\":\"0123456789abcdef\"}}\n\
                 {\"id\":2,\"method\":\"jamulet/stats\",\"params\":{}}\n";
    for mut watcher in &watchers {
        // More than may be asked at once, so that answers are pending at the end.
        watcher.write_all(calls.repeat(200).as_bytes()).unwrap();
    }
    let mut ann = Probe::join_playing(server.address(), "Ann", probe::USUAL, |_| 0.1).unwrap();
    ann.wait_until("a session's folder", |_| {
        let mut entries = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        entries.any(|path| path.is_dir() && std::fs::read_dir(path).unwrap().next().is_some())
    })
    .unwrap();
    let start = pace::now();
    server.signal(libc::SIGTERM);
    let (status, rest) = server.end();
    let took = start.elapsed();
    println!("stopped {took:?} after the signal, while recording and watched");
    assert!(status.success() && rest.ends_with("Stopped.\n"), "{status} {rest}");
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn recording_signals_without_a_folder_are_answered_in_the_log() {
    let mut server = Running::start(&[]);
    for signal in [libc::SIGUSR1, libc::SIGUSR2] {
        server.signal(signal);
        assert!(server.next_line().contains("--recording"));
    }
    server.stop_by(libc::SIGTERM);
}

/// A pipe that holds as much as it can, so that whoever writes into it sleeps.
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    use std::os::fd::AsRawFd;
    let (reader, writer) = std::io::pipe().unwrap();
    let set_flags = |flags: libc::c_int| {
        // SAFETY: plain call on a descriptor that is open.
        assert_eq!(unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETFL, flags) }, 0);
    };
    set_flags(libc::O_NONBLOCK);
    while (&writer).write(&[b'x'; 4096]).is_ok() {}
    set_flags(0);
    (reader, writer)
}

#[test]
fn a_reader_that_sleeps_holds_up_neither_the_jam_nor_its_end() {
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (_reader, writer) = full_pipe();
    let mut server = command();
    server.args(["--serverbindip4", "127.0.0.1", "--port", &port.to_string()]).stdout(writer);
    let mut child = server.spawn().unwrap();
    let address = ([127, 0, 0, 1], port).into();
    wait_for("the server", || listens(address));
    let _ann = join(port, "Ann");
    wait_for(
        "the musician",
        || matches!(ask(address, &ConnlessMessage::RequestClientList), ConnlessMessage::ClientList(list) if list.len() == 1),
    );
    // SAFETY: plain call; the child is ours and not yet waited for.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGTERM) };
    wait_for("the program's end", || child.try_wait().unwrap().is_some());
    assert!(child.wait().unwrap().success());
}
