//! Directories, both ways: being listed in one, and being one.
//!
//! [`Directories`] is pure: what a server says to directories, or as one, without clock, socket or thread.
//! After any call that may have changed something, drain [`Directories::drain_transmits`] and
//! [`Directories::poll_event`].

mod file;
mod kind;
mod list;
#[cfg(test)]
mod replay;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use crate::protocol::{ConnlessMessage, RegistrationResult, ServerRegistration};
use crate::session::{Announcement, Registration};
use crate::units::Time;

use super::config::{Config, DirectoryChoice};
use super::greeting::{VERSION_TEXT, our_os};
use super::status::{DirectoryStatus, RegistrationStatus};
use list::ServerList;

pub(super) use file::MAX_FILE_BYTES;
pub use kind::DirectoryKind;

/// What a directory's admin writes in place of an address: this server is the directory.
const OWN_ADDRESS: &str = "localhost";
/// A change of the list is told this much later, together with all others until then.
const LIST_CHANGE_DELAY: Duration = Duration::from_secs(2);
/// Datagrams that may wait to be fetched; later ones are lost, as on any network.
const MAX_WAITING: usize = 4096;
/// Events that may wait to be fetched; the oldest are dropped. Look-ups are at most a few a minute.
const MAX_WAITING_EVENTS: usize = 64;
/// The id of 1016.
const REGISTRATION_RESULT_ID: u16 = 1016;

/// How this machine's own network sees the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnAddress {
    /// Our IPv4 address on the way to the internet, if there is one.
    pub ip: Option<Ipv4Addr>,
    /// The UDP port that we are bound to.
    pub port: u16,
}

/// What the owner of [`Directories`] has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DirectoryEvent {
    /// Report this.
    Status(DirectoryStatus),
    /// Look this name up, and answer with [`Directories::resolved`]; without an answer it is asked for again.
    LookUp(String),
    /// The list of our own directory is another one: this is its file.
    ListChanged(String),
}

/// Being listed in a directory, or being one.
pub(super) struct Directories {
    own: OwnAddress,
    up_since: Time,
    choice: DirectoryChoice,
    registration: Option<Registration>,
    list: Option<ServerList>,
    /// When to tell that the list has changed.
    list_change_due: Option<Time>,
    told: DirectoryStatus,
    transmits: VecDeque<(SocketAddr, Vec<u8>)>,
    events: VecDeque<DirectoryEvent>,
}

impl Directories {
    /// Registers a server that starts `now`, or is a directory, as `config` says. A directory is not listed in
    /// another one.
    pub(super) fn new(now: Time, config: &Config, own: OwnAddress) -> Self {
        let rules = config.own_directory.as_ref();
        let list = rules.map(|rules| ServerList::new(now, rules, own_entry(config), config.public_ip));
        let mut directories = Self {
            own,
            up_since: now,
            choice: DirectoryChoice::None,
            registration: None,
            list,
            list_change_due: None,
            told: DirectoryStatus::default(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        };
        directories.apply(now, config);
        directories
    }

    /// Takes over a changed `config`, and tells the directory about it at once. Whether this server is a
    /// directory does not change.
    pub(super) fn apply(&mut self, now: Time, config: &Config) {
        if let Some(list) = &mut self.list {
            list.set_own(own_entry(config));
            if config.own_directory.as_ref().is_some_and(|rules| list.set_rules(rules)) {
                self.list_changed(now);
            }
        } else if self.choice != config.directory {
            self.unregister();
            self.choice = config.directory.clone();
            if matches!(self.choice, DirectoryChoice::Address(_)) {
                let announcement = self.announcement(config);
                self.registration = Some(Registration::new(now, self.up_since, announcement));
            }
        } else {
            let announcement = self.announcement(config);
            if let Some(registration) = &mut self.registration {
                registration.announce(now, announcement);
            }
        }
        self.collect();
    }

    /// Takes up the servers of a [`DirectoryEvent::ListChanged`] from before a restart. They expire like others.
    pub(super) fn restore(&mut self, now: Time, file: &str) {
        if let Some(list) = &mut self.list {
            for server in file::parse(file) {
                list.restore(now, server);
            }
        }
    }

    /// Takes the addresses of `name` from a [`DirectoryEvent::LookUp`], best first; none when it was not found.
    /// Only IPv4 counts, and only of the present directory.
    pub(super) fn resolved(&mut self, now: Time, name: &str, addresses: &[SocketAddr]) {
        if matches!(&self.choice, DirectoryChoice::Address(current) if current == name)
            && let Some(registration) = &mut self.registration
        {
            registration.handle_addresses(now, addresses);
        }
        self.collect();
    }

    /// Takes a message from anyone. `true` if it was for a directory or for one of its servers, whatever
    /// became of it.
    pub(super) fn handle(&mut self, now: Time, from: SocketAddr, message: &ConnlessMessage) -> bool {
        match message {
            ConnlessMessage::RegisterServer(server) => self.register(now, from, server, None),
            ConnlessMessage::RegisterServerEx { registration, version, .. } => {
                self.register(now, from, registration, Some(version));
            }
            ConnlessMessage::UnregisterServer => self.strike_off(now, from),
            ConnlessMessage::RequestServerList => self.tell_list(now, from),
            ConnlessMessage::RegistrationResult(result) => self.handle_result(from, Some(*result)),
            ConnlessMessage::SendEmptyMessage(client) => {
                if let Some(registration) = &mut self.registration {
                    registration.handle_nat_opening(now, from, *client);
                }
            }
            ConnlessMessage::EmptyMessage => {}
            _ => return false,
        }
        self.collect();
        true
    }

    /// Takes a connection-less message that could not be parsed, by its id: an answer of our directory that
    /// makes no sense.
    pub(super) fn handle_malformed(&mut self, from: SocketAddr, id: u16) {
        if id == REGISTRATION_RESULT_ID {
            self.handle_result(from, None);
            self.collect();
        }
    }

    /// Does what is due.
    pub(super) fn handle_timeout(&mut self, now: Time) {
        if let Some(registration) = &mut self.registration {
            registration.handle_timeout(now);
        }
        if let Some(list) = &mut self.list
            && list.handle_timeout(now, |to, message| post(&mut self.transmits, to, message))
        {
            self.list_changed(now);
        }
        if self.list_change_due.is_some_and(|due| due <= now) {
            self.list_change_due = None;
            let file = self.file().unwrap_or_default();
            self.report(DirectoryEvent::ListChanged(file));
        }
        self.collect();
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        let registration = self.registration.as_ref().and_then(Registration::poll_timeout);
        let list = self.list.as_ref().map(ServerList::poll_timeout);
        [registration, list, self.list_change_due].into_iter().flatten().min()
    }

    /// Hands every datagram that is to be sent to `send`, oldest first.
    pub(super) fn drain_transmits(&mut self, mut send: impl FnMut(SocketAddr, &[u8])) {
        for (to, datagram) in self.transmits.drain(..) {
            send(to, &datagram);
        }
    }

    /// The next thing to do.
    pub(super) fn poll_event(&mut self) -> Option<DirectoryEvent> {
        self.events.pop_front()
    }

    /// How far the registration is. A directory is registered with itself.
    pub(super) fn status(&self) -> DirectoryStatus {
        if self.list.is_some() {
            let registration = RegistrationStatus::Answered(RegistrationResult::Registered);
            return DirectoryStatus { address: OWN_ADDRESS.to_owned(), registration };
        }
        DirectoryStatus {
            address: match &self.choice {
                DirectoryChoice::Address(address) => address.clone(),
                DirectoryChoice::None => String::new(),
            },
            registration: self.registration.as_ref().map(Registration::status).unwrap_or_default(),
        }
    }

    /// Servers listed here besides this one; `None` when this is no directory.
    pub(super) fn listed_servers(&self) -> Option<usize> {
        self.list.as_ref().map(ServerList::len)
    }

    /// The file of the list as it is now; `None` when this is no directory.
    pub(super) fn file(&self) -> Option<String> {
        self.list.as_ref().map(|list| file::emit(list.iter()))
    }

    /// Has this server taken off the directory's list: it stops.
    pub(super) fn stop(&mut self) {
        self.unregister();
        self.collect();
    }

    fn register(&mut self, now: Time, from: SocketAddr, server: &ServerRegistration, version: Option<&str>) {
        let (Some(list), Some(source)) = (&mut self.list, ipv4(from)) else { return };
        if let Some((result, changed)) = list.register(now, source, server, version) {
            post(&mut self.transmits, from, &ConnlessMessage::RegistrationResult(result));
            if changed {
                self.list_changed(now);
            }
        }
    }

    fn strike_off(&mut self, now: Time, from: SocketAddr) {
        if let (Some(list), Some(source)) = (&mut self.list, ipv4(from))
            && list.unregister(source)
        {
            self.list_changed(now);
        }
    }

    fn tell_list(&mut self, now: Time, from: SocketAddr) {
        if let (Some(list), Some(client)) = (&mut self.list, ipv4(from)) {
            list.answer(now, client, |to, message| post(&mut self.transmits, to, message));
        }
    }

    fn handle_result(&mut self, from: SocketAddr, result: Option<RegistrationResult>) {
        if let Some(registration) = &mut self.registration {
            registration.handle_result(from, result);
        }
    }

    fn unregister(&mut self) {
        if let Some(mut registration) = self.registration.take() {
            registration.stop();
            self.post_all(&mut registration);
        }
    }

    fn list_changed(&mut self, now: Time) {
        self.list_change_due.get_or_insert(now + LIST_CHANGE_DELAY);
    }

    /// Passes on what the registration has to send, to ask and to tell.
    fn collect(&mut self) {
        if let Some(mut registration) = self.registration.take() {
            self.post_all(&mut registration);
            if registration.poll_look_up()
                && let DirectoryChoice::Address(name) = &self.choice
            {
                self.report(DirectoryEvent::LookUp(name.clone()));
            }
            self.registration = Some(registration);
        }
        let status = self.status();
        if status != self.told {
            self.told = status.clone();
            self.report(DirectoryEvent::Status(status));
        }
    }

    fn post_all(&mut self, registration: &mut Registration) {
        while let Some((to, message)) = registration.poll_transmit() {
            post(&mut self.transmits, to, &message);
        }
    }

    fn report(&mut self, event: DirectoryEvent) {
        if self.events.len() == MAX_WAITING_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    fn announcement(&self, config: &Config) -> Announcement {
        let internal = config.public_ip.or(self.own.ip);
        Announcement {
            server: ServerRegistration {
                internal_port: self.own.port,
                internal_address: internal.map(|ip| ip.to_string()).unwrap_or_default(),
                permanent: false,
                ..own_entry(config)
            },
            os: our_os(),
            version: VERSION_TEXT.to_owned(),
        }
    }
}

/// The directory's entry in its own list: clients know its address.
fn own_entry(config: &Config) -> ServerRegistration {
    ServerRegistration {
        internal_port: 0,
        country: config.profile.country,
        // At most 150.
        max_clients: config.max_clients as u8,
        permanent: true,
        name: config.profile.name.clone(),
        internal_address: String::new(),
        city: config.profile.city.clone(),
    }
}

fn post(transmits: &mut VecDeque<(SocketAddr, Vec<u8>)>, to: SocketAddr, message: &ConnlessMessage) {
    if transmits.len() < MAX_WAITING {
        transmits.push_back((to, message.to_datagram()));
    }
}

/// Registration and lists are IPv4; nobody answers on port 0.
fn ipv4(address: SocketAddr) -> Option<SocketAddrV4> {
    match address {
        SocketAddr::V4(address) if address.port() != 0 => Some(address),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::{OwnDirectory, ServerProfile};
    use super::*;
    use crate::protocol::Os;

    const OWN: OwnAddress = OwnAddress { ip: Some(Ipv4Addr::new(192, 168, 1, 2)), port: 22199 };
    const START: Time = Time::from_micros(5_000_000);
    const LISTED: RegistrationStatus = RegistrationStatus::Answered(RegistrationResult::Registered);

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn profile(name: &str) -> ServerProfile {
        ServerProfile { name: name.into(), city: "Ulm".into(), country: 82 }
    }

    fn choice(name: &str) -> DirectoryChoice {
        DirectoryChoice::Address(name.into())
    }

    fn listed_in(directory: &str) -> Config {
        Config { profile: profile("Jam"), directory: choice(directory), ..Config::default() }
    }

    fn being_a_directory() -> Config {
        let own_directory = Some(OwnDirectory::default());
        Config { profile: profile("Directory"), own_directory, ..Config::default() }
    }

    fn sent(directories: &mut Directories) -> Vec<(SocketAddr, ConnlessMessage)> {
        let mut sent = Vec::new();
        directories.drain_transmits(|to, datagram| {
            let id = u16::from_le_bytes([datagram[2], datagram[3]]);
            sent.push((to, ConnlessMessage::parse(id, &datagram[7..datagram.len() - 2]).unwrap()));
        });
        sent
    }

    fn events(directories: &mut Directories) -> Vec<DirectoryEvent> {
        std::iter::from_fn(|| directories.poll_event()).collect()
    }

    fn status(address: &str, registration: RegistrationStatus) -> DirectoryEvent {
        DirectoryEvent::Status(DirectoryStatus { address: address.into(), registration })
    }

    fn look_up(name: &str) -> DirectoryEvent {
        DirectoryEvent::LookUp(name.into())
    }

    /// What a server that registers with `name` sends.
    fn announced(name: &str, internal_address: &str) -> ConnlessMessage {
        ConnlessMessage::RegisterServerEx {
            registration: ServerRegistration {
                internal_port: OWN.port,
                country: 82,
                max_clients: 10,
                permanent: false,
                name: name.into(),
                internal_address: internal_address.into(),
                city: "Ulm".into(),
            },
            os: our_os(),
            version: VERSION_TEXT.into(),
        }
    }

    fn registered(directories: &mut Directories, from: &str) {
        let result = ConnlessMessage::RegistrationResult(RegistrationResult::Registered);
        assert!(directories.handle(START, address(from), &result));
    }

    #[test]
    fn a_server_looks_its_directory_up_registers_and_unregisters() {
        let mut directories = Directories::new(START, &listed_in("dir.example.org"), OWN);
        let not_yet = status("dir.example.org", RegistrationStatus::NotRegistered);
        assert_eq!(events(&mut directories), [look_up("dir.example.org"), not_yet]);
        assert_eq!(sent(&mut directories), []);

        directories.resolved(
            START,
            "dir.example.org",
            &[address("[2001:db8::1]:22124"), address("198.51.100.1:22124")],
        );
        let directory = address("198.51.100.1:22124");
        assert_eq!(sent(&mut directories), [(directory, announced("Jam", "192.168.1.2"))]);
        assert_eq!(events(&mut directories), [status("dir.example.org", RegistrationStatus::Requested)]);

        registered(&mut directories, "198.51.100.1:22124");
        assert_eq!(events(&mut directories), [status("dir.example.org", LISTED)]);
        assert_eq!(directories.listed_servers(), None);

        directories.stop();
        assert_eq!(sent(&mut directories), [(directory, ConnlessMessage::UnregisterServer)]);
        assert_eq!(directories.poll_timeout(), None);
    }

    #[test]
    fn the_internal_address_is_the_public_one_if_told_and_empty_if_unknown() {
        let public_ip = Some(Ipv4Addr::new(203, 0, 113, 1));
        for (public_ip, ip, expected) in
            [(public_ip, OWN.ip, "203.0.113.1"), (public_ip, None, "203.0.113.1"), (None, None, "")]
        {
            let config = Config { public_ip, ..listed_in("dir.example.org") };
            let mut directories = Directories::new(START, &config, OwnAddress { ip, ..OWN });
            directories.resolved(START, "dir.example.org", &[address("198.51.100.1:22124")]);
            assert_eq!(sent(&mut directories)[0].1, announced("Jam", expected));
        }
    }

    #[test]
    fn a_private_server_is_silent() {
        let mut directories = Directories::new(START, &Config::default(), OWN);
        directories.stop();
        assert_eq!((events(&mut directories), sent(&mut directories)), (vec![], vec![]));
        assert_eq!(directories.poll_timeout(), None);
    }

    #[test]
    fn another_directory_takes_the_place_of_the_first_and_late_addresses_of_it_do_not_count() {
        let mut directories = Directories::new(START, &listed_in("one.example.org"), OWN);
        directories.resolved(START, "one.example.org", &[address("198.51.100.1:1")]);
        registered(&mut directories, "198.51.100.1:1");
        sent(&mut directories);
        events(&mut directories);

        directories.apply(START, &listed_in("two.example.org"));
        assert_eq!(sent(&mut directories), [(address("198.51.100.1:1"), ConnlessMessage::UnregisterServer)]);
        let not_yet = status("two.example.org", RegistrationStatus::NotRegistered);
        assert_eq!(events(&mut directories), [look_up("two.example.org"), not_yet]);
        directories.apply(START, &listed_in("three.example.org"));
        events(&mut directories);
        directories.resolved(START, "two.example.org", &[address("198.51.100.2:2")]);
        assert_eq!(sent(&mut directories), [], "that was the second one's address");
        directories.resolved(START, "three.example.org", &[address("198.51.100.3:3")]);
        let (to, message) = sent(&mut directories).remove(0);
        assert_eq!((to, message), (address("198.51.100.3:3"), announced("Jam", "192.168.1.2")));

        directories.apply(START, &Config { profile: profile("Jam"), ..Config::default() });
        assert_eq!(sent(&mut directories), [(address("198.51.100.3:3"), ConnlessMessage::UnregisterServer)]);
        assert_eq!(directories.status(), DirectoryStatus::default());
        assert_eq!(directories.poll_timeout(), None);
    }

    #[test]
    fn a_new_name_is_told_to_the_directory_at_once() {
        let mut directories = Directories::new(START, &listed_in("dir.example.org"), OWN);
        directories.resolved(START, "dir.example.org", &[address("198.51.100.1:1")]);
        registered(&mut directories, "198.51.100.1:1");
        sent(&mut directories);
        directories.apply(START, &listed_in("dir.example.org"));
        assert_eq!(sent(&mut directories), []);
        let renamed = Config { profile: profile("Session"), ..listed_in("dir.example.org") };
        directories.apply(START, &renamed);
        assert_eq!(
            sent(&mut directories),
            [(address("198.51.100.1:1"), announced("Session", "192.168.1.2"))]
        );
    }

    #[test]
    fn an_answer_that_makes_no_sense_is_told() {
        let mut directories = Directories::new(START, &listed_in("dir.example.org"), OWN);
        directories.resolved(START, "dir.example.org", &[address("198.51.100.1:1")]);
        directories.handle_malformed(address("198.51.100.2:1"), 1016);
        directories.handle_malformed(address("198.51.100.1:1"), 1006);
        assert_eq!(directories.status().registration, RegistrationStatus::Requested);
        directories.handle_malformed(address("198.51.100.1:1"), 1016);
        assert_eq!(directories.status().registration, RegistrationStatus::UnknownResponse);
    }

    /// Registers a server at `from` with a directory.
    fn register(directories: &mut Directories, now: Time, from: &str) {
        assert!(directories.handle(now, address(from), &announced("Jam", "10.0.0.7")));
    }

    #[test]
    fn a_directory_answers_and_obeys_nobody() {
        let mut directories = Directories::new(START, &being_a_directory(), OWN);
        let registered = vec![status("localhost", LISTED)];
        assert_eq!(events(&mut directories), registered, "as a stock directory says it");
        register(&mut directories, START, "203.0.113.7:1");
        let done = ConnlessMessage::RegistrationResult(RegistrationResult::Registered);
        assert_eq!(sent(&mut directories), [(address("203.0.113.7:1"), done)]);
        assert_eq!(directories.listed_servers(), Some(1));

        // A server that it lists is not its directory.
        let opening = ConnlessMessage::SendEmptyMessage("203.0.113.9:5".parse().unwrap());
        for message in [opening, ConnlessMessage::EmptyMessage] {
            assert!(directories.handle(START, address("203.0.113.7:1"), &message));
        }
        assert_eq!(sent(&mut directories), []);

        assert!(directories.handle(START, address("203.0.113.7:1"), &ConnlessMessage::UnregisterServer));
        assert_eq!(directories.listed_servers(), Some(0));
    }

    #[test]
    fn lists_are_ipv4_and_other_messages_are_not_ours() {
        let mut directories = Directories::new(START, &being_a_directory(), OWN);
        for nobody in ["[2001:db8::7]:1", "203.0.113.7:0"] {
            register(&mut directories, START, nobody);
            assert!(directories.handle(START, address(nobody), &ConnlessMessage::RequestServerList));
        }
        assert_eq!((directories.listed_servers(), sent(&mut directories)), (Some(0), vec![]));
        let version = ConnlessMessage::VersionAndOs { os: Os::LINUX, version: "4".into() };
        for other in [ConnlessMessage::RequestClientList, ConnlessMessage::Disconnection, version] {
            assert!(!directories.handle(START, address("203.0.113.7:1"), &other));
        }
    }

    #[test]
    fn servers_that_are_no_directory_list_nobody() {
        let mut directories = Directories::new(START, &listed_in("dir.example.org"), OWN);
        register(&mut directories, START, "203.0.113.7:1");
        assert!(directories.handle(START, address("203.0.113.7:1"), &ConnlessMessage::RequestServerList));
        assert_eq!((directories.file(), sent(&mut directories)), (None, vec![]));
    }

    #[test]
    fn changes_of_the_list_are_told_together() {
        let mut directories = Directories::new(START, &being_a_directory(), OWN);
        events(&mut directories);
        register(&mut directories, START, "203.0.113.7:1");
        register(&mut directories, START + Duration::from_secs(1), "203.0.113.7:2");
        let due = START + LIST_CHANGE_DELAY;
        assert_eq!(directories.poll_timeout(), Some(due));
        directories.handle_timeout(due);
        let [DirectoryEvent::ListChanged(file)] = &events(&mut directories)[..] else { panic!() };
        assert_eq!(file.lines().count(), 2);
        assert_eq!(Some(file), directories.file().as_ref());

        // Renewing an entry changes nothing.
        let mut now = due + Duration::from_secs(60);
        register(&mut directories, now, "203.0.113.7:1");
        directories.handle_timeout(now + LIST_CHANGE_DELAY);
        assert_eq!(events(&mut directories), []);
        // Expiry does.
        while directories.listed_servers() == Some(2) {
            now = directories.poll_timeout().unwrap();
            directories.handle_timeout(now);
        }
        directories.handle_timeout(now + LIST_CHANGE_DELAY);
        let [DirectoryEvent::ListChanged(file)] = &events(&mut directories)[..] else { panic!() };
        assert!(file.starts_with("203.0.113.7:1;") && file.lines().count() == 1, "{file}");
    }

    #[test]
    fn a_restarted_directory_knows_its_servers_and_forgets_them_in_time() {
        let mut before = Directories::new(START, &being_a_directory(), OWN);
        register(&mut before, START, "203.0.113.7:1");
        register(&mut before, START, "203.0.113.8:1");
        let file = before.file().unwrap();

        let mut after = Directories::new(START, &being_a_directory(), OWN);
        after.restore(START, &file);
        assert_eq!((after.listed_servers(), after.file()), (Some(2), Some(file.clone())));
        let expiry = START + Duration::from_secs(33 * 60);
        after.handle_timeout(expiry);
        assert_eq!(after.listed_servers(), Some(0));

        let whitelist = vec![Ipv4Addr::new(203, 0, 113, 8)];
        let own_directory = Some(OwnDirectory { whitelist, minimum_version: None });
        let config = Config { own_directory, ..being_a_directory() };
        let mut strict = Directories::new(START, &config, OWN);
        strict.restore(START, &file);
        assert_eq!(strict.listed_servers(), Some(1));
        let mut none = Directories::new(START, &Config::default(), OWN);
        none.restore(START, &file);
        assert_eq!(none.listed_servers(), None);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut directories = Directories::new(START, &being_a_directory(), OWN);
        for _ in 0..3 * MAX_WAITING {
            register(&mut directories, START, "203.0.113.7:1");
        }
        assert_eq!(sent(&mut directories).len(), MAX_WAITING);
    }
}
