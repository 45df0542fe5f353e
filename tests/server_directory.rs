//! Our server in a directory's list, and as a directory, on real ports of the loopback.
#![expect(clippy::unwrap_used, reason = "a failing test is what a panic is for")]
#![expect(clippy::disallowed_methods, reason = "servers on real ports need real sockets and real time")]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jamulet::protocol::{
    ConnlessMessage, Datagram, RegistrationResult, ServerEntry, ServerRegistration, classify,
};
use jamulet::server::{
    Command, CommandError, Config, DirectoryChoice, Event, Handle, Options, OwnDirectory, RegistrationStatus,
    Server, ServerProfile, Status,
};

/// Fails a broken server's test instead of hanging; no working one comes near it.
const PATIENCE: Duration = Duration::from_secs(30);
const LISTED: RegistrationStatus = RegistrationStatus::Answered(RegistrationResult::Registered);

fn start(name: &str, directory: DirectoryChoice) -> Server {
    start_with(Config { profile: profile(name), directory, ..Config::default() }, None)
}

fn start_directory(directory_file: Option<PathBuf>) -> Server {
    let own_directory = Some(OwnDirectory::default());
    start_with(Config { profile: profile("Directory"), own_directory, ..Config::default() }, directory_file)
}

fn start_with(config: Config, directory_file: Option<PathBuf>) -> Server {
    let bind_ip4 = Some(Ipv4Addr::LOCALHOST);
    Server::start(Options { port: 0, bind_ip4, directory_file, config, ..Options::default() }).unwrap()
}

fn profile(name: &str) -> ServerProfile {
    ServerProfile { name: name.into(), city: "Ulm".into(), country: 82 }
}

fn at(address: SocketAddr) -> DirectoryChoice {
    DirectoryChoice::Address(address.to_string())
}

fn peer() -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn tell(socket: &UdpSocket, to: SocketAddr, message: &ConnlessMessage) {
    socket.send_to(&message.to_datagram(), to).unwrap();
}

fn hear(socket: &UdpSocket) -> (SocketAddr, ConnlessMessage) {
    let mut buffer = [0; 20_000];
    let (length, from) = socket.recv_from(&mut buffer).unwrap();
    let Datagram::Frame(frame) = classify(&buffer[..length]) else { panic!("audio from {from}") };
    (from, ConnlessMessage::parse(frame.id, frame.body).unwrap())
}

/// Waits until a server's status is as wanted.
fn wait_for(handle: &Handle, what: &str, wanted: impl Fn(&Status) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = handle.status().unwrap();
        if wanted(&status) {
            return;
        }
        assert!(Instant::now() < deadline, "{what}: {:?} {:?}", status.directory, status.listed_servers);
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn wait_for_registration(server: &Server, wanted: RegistrationStatus) {
    wait_for(&server.handle(), "registration", |status| status.directory.registration == wanted);
}

/// The full list of a directory.
fn list_of(directory: SocketAddr) -> Vec<ServerEntry> {
    let socket = peer();
    tell(&socket, directory, &ConnlessMessage::RequestServerList);
    loop {
        if let (_, ConnlessMessage::ServerList(entries)) = hear(&socket) {
            return entries;
        }
    }
}

fn names(entries: &[ServerEntry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.registration.name.as_str()).collect()
}

#[test]
fn a_server_registers_with_its_directory_obeys_it_and_leaves_it() {
    let directory = peer();
    let server = start("Jam", at(directory.local_addr().unwrap()));
    let (from, message) = hear(&directory);
    assert_eq!(from, server.local_addr());
    let ConnlessMessage::RegisterServerEx { registration, version, .. } = message else {
        panic!("{message:?}");
    };
    let expected = ServerRegistration {
        internal_port: server.local_addr().port(),
        country: 82,
        max_clients: 10,
        permanent: false,
        name: "Jam".into(),
        internal_address: "127.0.0.1".into(),
        city: "Ulm".into(),
    };
    assert_eq!(registration, expected);
    assert!(version.starts_with("4.0.0"), "{version}");
    wait_for_registration(&server, RegistrationStatus::Requested);
    tell(&directory, from, &ConnlessMessage::RegistrationResult(RegistrationResult::Registered));
    wait_for_registration(&server, LISTED);
    let told = server.events().try_iter().filter_map(|event| match event {
        Event::Directory(status) => Some(status.registration),
        _ => None,
    });
    let told: Vec<_> = told.collect();
    assert_eq!(told, [RegistrationStatus::NotRegistered, RegistrationStatus::Requested, LISTED]);

    let (client, stranger) = (peer(), peer());
    let SocketAddr::V4(behind_nat) = client.local_addr().unwrap() else { panic!() };
    tell(&stranger, from, &ConnlessMessage::SendEmptyMessage("127.0.0.1:9".parse().unwrap()));
    tell(&directory, from, &ConnlessMessage::SendEmptyMessage(behind_nat));
    assert_eq!(hear(&client), (from, ConnlessMessage::EmptyMessage));

    server.handle().execute(Command::SetName("Session".into())).unwrap();
    let is_renamed = |message: &ConnlessMessage| match message {
        ConnlessMessage::RegisterServerEx { registration, .. } => registration.name == "Session",
        _ => false,
    };
    while !is_renamed(&hear(&directory).1) {}
    server.stop();
    while hear(&directory).1 != ConnlessMessage::UnregisterServer {}
}

#[test]
fn a_name_that_leads_nowhere_is_told() {
    let server = start("Jam", DirectoryChoice::Address("[::1]:22124".into()));
    wait_for_registration(&server, RegistrationStatus::BadAddress);
    let directory = peer();
    server.handle().execute(Command::SetDirectory(at(directory.local_addr().unwrap()))).unwrap();
    assert!(matches!(hear(&directory).1, ConnlessMessage::RegisterServerEx { .. }));
    server.handle().execute(Command::SetDirectory(DirectoryChoice::None)).unwrap();
    while hear(&directory).1 != ConnlessMessage::UnregisterServer {}
    wait_for_registration(&server, RegistrationStatus::NotRegistered);
}

#[test]
fn our_servers_find_our_directory_and_clients_find_them() {
    let directory = start_directory(None);
    let address = directory.local_addr();
    let one = start("One", at(address));
    wait_for_registration(&one, LISTED);
    let two = start("Two", at(address));
    wait_for_registration(&two, LISTED);
    wait_for(&directory.handle(), "two servers", |status| status.listed_servers == Some(2));
    let entries = list_of(address);
    assert_eq!(names(&entries), ["Directory", "One", "Two"]);
    let listed = |entry: &ServerEntry| SocketAddr::from((entry.ip, entry.registration.internal_port));
    assert_eq!(entries[1..].iter().map(listed).collect::<Vec<_>>(), [one.local_addr(), two.local_addr()]);
    one.stop();
    wait_for(&directory.handle(), "one is gone", |status| status.listed_servers == Some(1));
    assert_eq!(names(&list_of(address)), ["Directory", "Two"]);
}

#[test]
fn a_directory_remembers_its_servers_across_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("directory.txt");
    let directory = start_directory(Some(file.clone()));
    let server = start("Zoë's", at(directory.local_addr()));
    wait_for_registration(&server, LISTED);
    // It is written while the directory runs, and when it stops.
    let deadline = Instant::now() + PATIENCE;
    while std::fs::read_to_string(&file).map_or(0, |text| text.lines().count()) != 1 {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(20));
    }
    std::fs::remove_file(&file).unwrap();
    directory.stop();
    let again = start_directory(Some(file.clone()));
    let entries = list_of(again.local_addr());
    assert_eq!(names(&entries), ["Directory", "Zoë's"]);
    assert_eq!(entries[1].registration.internal_port, server.local_addr().port());
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with(&format!("{};", server.local_addr())), "{text}");
}

#[test]
fn whether_a_server_is_a_directory_does_not_change_while_it_runs() {
    let directory = peer();
    let listed = Config {
        profile: profile("Jam"),
        directory: at(directory.local_addr().unwrap()),
        ..Config::default()
    };
    let server = start_with(listed.clone(), None);
    let (from, _) = hear(&directory);
    tell(&directory, from, &ConnlessMessage::RegistrationResult(RegistrationResult::Registered));
    wait_for_registration(&server, LISTED);
    let own_directory = Some(OwnDirectory::default());
    let being_one = Config { directory: DirectoryChoice::None, own_directory, ..listed.clone() };
    let reload = |before: &Config, after: &Config| Command::Reload {
        before: before.live().into(),
        after: after.live().into(),
    };
    server.handle().execute(reload(&listed, &being_one)).unwrap();
    let status = server.handle().status().unwrap();
    assert_eq!((status.directory.registration, status.listed_servers), (LISTED, None));

    let directory = start_directory(None);
    directory.handle().execute(reload(&being_one, &listed)).unwrap();
    assert_eq!(directory.handle().status().unwrap().listed_servers, Some(0));
    for choice in [DirectoryChoice::None, listed.directory] {
        assert_eq!(directory.handle().execute(Command::SetDirectory(choice)), Err(CommandError::IsDirectory));
    }
}

#[test]
fn a_list_that_cannot_be_written_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gone").join("directory.txt");
    let directory = start_directory(Some(file.clone()));
    let _server = start("Jam", at(directory.local_addr()));
    let told = loop {
        let event = directory.events().recv_timeout(PATIENCE).unwrap();
        if matches!(event, Event::ListNotSaved { .. }) {
            break event.to_string();
        }
    };
    assert!(told.contains(file.to_str().unwrap()), "{told}");
}
