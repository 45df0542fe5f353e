//! Being listed, and being a directory, as the options say.

use std::net::UdpSocket;

use jamulet::protocol::{ConnlessMessage, RegistrationResult, ServerEntry, ServerRegistration};

use crate::running::{PATIENCE, Running, client, parse, receive, wait_for};

/// What is listed there.
fn list(directory: &Running) -> Vec<ServerEntry> {
    let socket = client(directory.port);
    socket.send(&ConnlessMessage::RequestServerList.to_datagram()).unwrap();
    loop {
        if let Some(ConnlessMessage::ServerList(list)) = parse(&receive(&socket)) {
            return list;
        }
    }
}

fn names(directory: &Running) -> Vec<String> {
    list(directory).into_iter().map(|entry| entry.registration.name).collect()
}

fn directory(more: &[&str]) -> Running {
    Running::start(&[&["-e", "localhost", "-o", "One;Berlin;de"], more].concat())
}

/// A server that wants to be listed by `directory`.
fn listed_by(directory: &Running, option: &str) -> Running {
    let address = format!("127.0.0.1:{}", directory.port);
    Running::start(&[option, &address, "-o", "Two;Paris;74;more", "-u", "5"])
}

#[test]
fn servers_are_listed_with_their_info_and_taken_off_at_the_end() {
    for option in ["-e", "--directoryaddress", "--directoryserver", "--centralserver"] {
        let directory = directory(&["-u", "3"]);
        let mut server = listed_by(&directory, option);
        server.line_with("Listed in");
        let list = list(&directory);
        let found: Vec<_> = list
            .iter()
            .map(|entry| &entry.registration)
            .map(|entry| (entry.name.as_str(), entry.city.as_str(), entry.country, entry.max_clients))
            .collect();
        assert_eq!(found, [("One", "Berlin", 82, 3), ("Two", "Paris", 74, 5)], "{option}");
        assert_eq!(list[1].registration.internal_port, server.port);
        server.stop_by(libc::SIGTERM);
        wait_for("the end of the entry", || names(&directory) == ["One"]);
    }
}

#[test]
fn this_machine_by_name_or_number_is_a_directory_and_with_a_port_is_not() {
    for address in ["LocalHost", "127.0.0.1"] {
        let directory = Running::start(&["-e", address, "-o", "One;Berlin;de"]);
        assert_eq!(names(&directory), ["One"], "{address}");
    }
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = format!("localhost:{}", other.local_addr().unwrap().port());
    let _server = Running::start(&["-e", &address]);
    other.set_read_timeout(Some(PATIENCE)).unwrap();
    let registration = parse(&receive(&other));
    assert!(matches!(registration, Some(ConnlessMessage::RegisterServerEx { .. })), "{registration:?}");
}

#[test]
fn too_few_fields_are_ignored() {
    let directory = Running::start(&["-e", "localhost", "-o", "One;Berlin"]);
    assert!(directory.greeting.contains("--serverinfo"), "{}", directory.greeting);
    assert_eq!(names(&directory), [""]);
}

#[test]
fn filters_let_in_whom_they_name() {
    let open = directory(&["-f", "192.0.2.1;127.0.0.1;3.8.0"]);
    listed_by(&open, "-e").line_with("Listed in");
    let elsewhere = directory(&["--listfilter", "192.0.2.1"]);
    listed_by(&elsewhere, "-e").line_with("does not accept this server");
    let modern = directory(&["-f", "99.0.0"]);
    listed_by(&modern, "-e").line_with("wants a newer server version");
    assert_eq!(names(&elsewhere), ["One"]);
}

#[test]
fn a_directory_remembers_its_list() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list");
    let file = ["--directoryfile", path.to_str().unwrap()];
    let first = directory(&file);
    let mut server = listed_by(&first, "-e");
    server.line_with("Listed in");
    first.stop_by(libc::SIGTERM);
    // It cannot take its leave of a directory that it does not know: the new one has another port.
    let second = directory(&file);
    assert_eq!(names(&second), ["One", "Two"]);
}

#[test]
fn a_registration_tells_the_address_that_was_given() {
    let directory = UdpSocket::bind("127.0.0.1:0").unwrap();
    directory.set_read_timeout(Some(PATIENCE)).unwrap();
    let address = directory.local_addr().unwrap().to_string();
    let server = Running::start(&["-e", &address, "--serverpublicip", "203.0.113.9", "-o", "Two;Paris;FR"]);
    let Some(ConnlessMessage::RegisterServerEx { registration, .. }) = parse(&receive(&directory)) else {
        panic!("no registration came");
    };
    let expected = ServerRegistration {
        internal_port: server.port,
        country: 74,
        max_clients: 10,
        permanent: false,
        name: "Two".to_owned(),
        internal_address: "203.0.113.9".to_owned(),
        city: "Paris".to_owned(),
    };
    assert_eq!(registration, expected);
    let answer = ConnlessMessage::RegistrationResult(RegistrationResult::Registered).to_datagram();
    directory.send_to(&answer, server.address()).unwrap();
    server.stop_by(libc::SIGTERM);
    let farewell = std::iter::repeat_with(|| parse(&receive(&directory)))
        .find(|message| !matches!(message, Some(ConnlessMessage::RegisterServerEx { .. })));
    assert_eq!(farewell, Some(Some(ConnlessMessage::UnregisterServer)));
}
