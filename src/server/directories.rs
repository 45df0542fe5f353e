//! Directories, both ways: being listed in one, and being one.
//!
//! [`Directories`] is pure: what a server says to directories, or as one, without clock, socket or thread.
//! After any call that may have changed something, drain [`Directories::drain_transmits`] and
//! [`Directories::poll_event`].

mod file;
mod kind;
mod list;

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
    /// Look this name up, and answer with [`Directories::resolved`]: exactly once, in the order of asking.
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
    /// Look-ups not yet answered, oldest first: whether the directory is still the one they are about.
    look_ups: VecDeque<bool>,
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
            look_ups: VecDeque::new(),
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

    /// Takes the addresses of the name of the oldest unanswered [`DirectoryEvent::LookUp`], best first; none
    /// when it was not found. Only IPv4 counts.
    pub(super) fn resolved(&mut self, now: Time, addresses: &[SocketAddr]) {
        if self.look_ups.pop_front() == Some(true)
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
        self.look_ups.iter_mut().for_each(|is_current| *is_current = false);
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
                self.look_ups.push_back(true);
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
