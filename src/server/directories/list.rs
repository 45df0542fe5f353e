//! The list that a directory keeps: who may be in it, who is, and what a client is told
//! (`docs/PROTOCOL.md` §4, "Directory").

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use super::super::config::OwnDirectory;
use super::super::connless::AnswerBudget;
use crate::protocol::{
    ConnlessMessage, ReducedServerEntry, RegistrationResult, ServerEntry, ServerRegistration,
};
use crate::session::{NAT_KEEP_ALIVE, Version};
use crate::units::Time;

/// Most servers in the list, besides the directory itself.
pub(super) const MAX_LISTED: usize = 149;
/// A server that has not registered again for this long is forgotten.
const EXPIRY: Duration = Duration::from_secs(33 * 60);
/// Bytes of a frame without its body.
const FRAME_BYTES: usize = 9;
/// Bytes of a datagram with message 1008.
const OPENING_BYTES: usize = FRAME_BYTES + 6;
/// Bytes of an entry without its texts, in the short and in the full list.
const REDUCED_BYTES: usize = 7;
const FULL_BYTES: usize = 16;

/// One server of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// From where it registered: it is known by this.
    pub(super) source: SocketAddrV4,
    /// Where it says that it listens, as seen from its own network.
    pub(super) internal: SocketAddrV4,
    /// Server name.
    pub(super) name: String,
    /// City.
    pub(super) city: String,
    /// Qt 5 country number.
    pub(super) country: u16,
    /// Most clients it takes.
    pub(super) max_clients: u8,
    /// Up for more than 48 h.
    pub(super) permanent: bool,
}

/// A directory's list.
///
/// A list request has 9 bytes and may come from a forged address, while the answer, the full list, has up
/// to 20 000 bytes, and each listed server sends a datagram to that address as well. So all that a request
/// draws is booked on an [`AnswerBudget`], which limits it per IP address and in all: a full list of usual
/// names (about 17 kB with everything) can be had twice a second from one address and 15 times a second in all.
/// Beyond it nothing at all is sent; clients ask again every 2 s.
///
/// Of 150 entries with the longest names in the longest UTF-8 form the last five do not fit into a datagram
/// that clients accept, and are left out of the full list (`protocol` cuts it); usual names take a third of that.
pub(super) struct ServerList {
    rules: OwnDirectory,
    minimum_version: Option<Version>,
    /// The directory itself, which stands first.
    own: ServerRegistration,
    public_ip: Option<Ipv4Addr>,
    /// With the moment of the last registration, in the order of the first one.
    listed: Vec<(Listed, Time)>,
    budget: AnswerBudget,
    keep_alive_at: Time,
}

impl ServerList {
    /// An empty list of the directory `own`, whose clients on its own network can be reached at `public_ip`
    /// from outside.
    pub(super) fn new(
        now: Time,
        rules: &OwnDirectory,
        own: ServerRegistration,
        public_ip: Option<Ipv4Addr>,
    ) -> Self {
        let mut list = Self {
            rules: OwnDirectory::default(),
            minimum_version: None,
            own,
            public_ip,
            listed: Vec::new(),
            budget: AnswerBudget::new(now),
            keep_alive_at: now + NAT_KEEP_ALIVE,
        };
        list.set_rules(rules);
        list
    }

    /// Changes who may register. Tells whether somebody was struck off for it.
    pub(super) fn set_rules(&mut self, rules: &OwnDirectory) -> bool {
        self.minimum_version = rules.minimum_version.as_deref().and_then(Version::parse);
        self.rules = rules.clone();
        let before = self.listed.len();
        let whitelist = &rules.whitelist;
        self.listed.retain(|(server, _)| is_welcome(whitelist, *server.source.ip()));
        self.listed.len() != before
    }

    /// Changes what the directory says about itself.
    pub(super) fn set_own(&mut self, own: ServerRegistration) {
        self.own = own;
    }

    /// Servers listed besides the directory.
    pub(super) fn len(&self) -> usize {
        self.listed.len()
    }

    /// Everyone listed besides the directory.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Listed> {
        self.listed.iter().map(|(server, _)| server)
    }

    /// Takes a registration; `version` is missing in those of 1004. `None` when it deserves no answer. Also
    /// tells whether the list is another one now.
    pub(super) fn register(
        &mut self,
        now: Time,
        source: SocketAddrV4,
        registration: &ServerRegistration,
        version: Option<&str>,
    ) -> Option<(RegistrationResult, bool)> {
        let server = Listed::new(source, registration)?;
        if self.minimum_version.is_some() && version.and_then(Version::parse) < self.minimum_version {
            return Some((RegistrationResult::VersionTooOld, false));
        }
        if !is_welcome(&self.rules.whitelist, *source.ip()) {
            return Some((RegistrationResult::RequirementsNotFulfilled, false));
        }
        Some(match self.insert(now, server) {
            Some(changed) => (RegistrationResult::Registered, changed),
            None => (RegistrationResult::ListFull, false),
        })
    }

    /// Takes up a server that was listed before the directory was restarted. Tells whether it is in the list.
    pub(super) fn restore(&mut self, now: Time, server: Listed) -> bool {
        is_welcome(&self.rules.whitelist, *server.source.ip()) && self.insert(now, server).is_some()
    }

    /// Strikes a server off. Tells whether it was listed.
    pub(super) fn unregister(&mut self, source: SocketAddrV4) -> bool {
        let before = self.listed.len();
        self.listed.retain(|(server, _)| server.source != source);
        self.listed.len() != before
    }

    /// Answers a request for the list: asks the servers to let the client in, then tells it the short list,
    /// which survives where the long one is fragmented away, and then the long one.
    pub(super) fn answer(
        &mut self,
        now: Time,
        client: SocketAddrV4,
        mut send: impl FnMut(SocketAddr, &ConnlessMessage),
    ) {
        // Nothing is made for those who get nothing: a flood of requests must not hold up the tick.
        let bytes = self.answer_bytes();
        if !self.budget.allows(now, client.into(), bytes) {
            return;
        }
        let opening = ConnlessMessage::SendEmptyMessage(self.seen_from_outside(client));
        let servers = self.iter().map(|server| server.source);
        servers.filter(|server| !is_private(*server.ip())).for_each(|server| send(server.into(), &opening));
        let (reduced, full) = self.lists_for(*client.ip());
        send(client.into(), &reduced);
        send(client.into(), &full);
    }

    /// Forgets those who have not registered again, and keeps the NATs of the others open. Tells whether the
    /// list is another one now.
    pub(super) fn handle_timeout(
        &mut self,
        now: Time,
        mut send: impl FnMut(SocketAddr, &ConnlessMessage),
    ) -> bool {
        let before = self.listed.len();
        self.listed.retain(|(_, registered)| now < *registered + EXPIRY);
        if self.keep_alive_at <= now {
            self.iter().for_each(|server| send(server.source.into(), &ConnlessMessage::EmptyMessage));
            self.keep_alive_at = now + NAT_KEEP_ALIVE;
        }
        self.listed.len() != before
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub(super) fn poll_timeout(&self) -> Time {
        let expiries = self.listed.iter().map(|(_, registered)| *registered + EXPIRY);
        expiries.fold(self.keep_alive_at, Time::min)
    }

    /// Whether the list is another one now; `None` when there is no room.
    fn insert(&mut self, now: Time, server: Listed) -> Option<bool> {
        if let Some((known, registered)) =
            self.listed.iter_mut().find(|(known, _)| known.source == server.source)
        {
            *registered = now;
            let changed = *known != server;
            *known = server;
            return Some(changed);
        }
        if self.listed.len() == MAX_LISTED {
            return None;
        }
        self.listed.push((server, now));
        Some(true)
    }

    /// Where servers beyond this network reach a client.
    fn seen_from_outside(&self, client: SocketAddrV4) -> SocketAddrV4 {
        match self.public_ip {
            Some(public_ip) if is_private(*client.ip()) => SocketAddrV4::new(public_ip, client.port()),
            _ => client,
        }
    }

    /// Bytes that a request draws from us, before the longest lists are cut.
    fn answer_bytes(&self) -> usize {
        let own = REDUCED_BYTES + FULL_BYTES + 2 * self.own.name.len() + self.own.city.len();
        let listed = self.iter().map(|server| {
            let opening = if is_private(*server.source.ip()) { 0 } else { OPENING_BYTES };
            opening + REDUCED_BYTES + FULL_BYTES + 2 * server.name.len() + server.city.len()
        });
        own + listed.sum::<usize>() + 2 * FRAME_BYTES
    }

    /// The short and the full list as a client at `client` is told them.
    fn lists_for(&self, client: Ipv4Addr) -> (ConnlessMessage, ConnlessMessage) {
        let own_address = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        let own_name = self.own.name.clone();
        let mut reduced = vec![ReducedServerEntry { address: own_address, name: own_name }];
        let mut full = vec![ServerEntry { ip: *own_address.ip(), registration: self.own.clone() }];
        for server in self.iter() {
            let address = server.address_for(client);
            reduced.push(ReducedServerEntry { address, name: server.name.clone() });
            full.push(ServerEntry { ip: *address.ip(), registration: server.registration(address.port()) });
        }
        (ConnlessMessage::ReducedServerList(reduced), ConnlessMessage::ServerList(full))
    }
}

impl Listed {
    /// `None` when the internal address is nonsense. An empty one means this machine.
    fn new(source: SocketAddrV4, registration: &ServerRegistration) -> Option<Self> {
        let internal_ip = match registration.internal_address.as_str() {
            "" => Ipv4Addr::LOCALHOST,
            text => text.parse().ok()?,
        };
        Some(Self {
            source,
            internal: SocketAddrV4::new(internal_ip, registration.internal_port),
            name: registration.name.clone(),
            city: registration.city.clone(),
            country: registration.country,
            max_clients: registration.max_clients,
            permanent: registration.permanent,
        })
    }

    /// Where `client` reaches the server: at its source address, unless the client is on the internet and
    /// behind the same NAT, or the server is on the directory's own network.
    fn address_for(&self, client: Ipv4Addr) -> SocketAddrV4 {
        let is_inside = *self.source.ip() == client || is_private(*self.source.ip());
        if !is_private(client) && is_inside { self.internal } else { self.source }
    }

    /// What a list says about it.
    fn registration(&self, port: u16) -> ServerRegistration {
        ServerRegistration {
            internal_port: port,
            country: self.country,
            max_clients: self.max_clients,
            permanent: self.permanent,
            name: self.name.clone(),
            internal_address: String::new(),
            city: self.city.clone(),
        }
    }
}

/// 10/8, 127/8, 172.16/12 and 192.168/16.
fn is_private(ip: Ipv4Addr) -> bool {
    ip.is_private() || ip.is_loopback()
}

fn is_welcome(whitelist: &[Ipv4Addr], ip: Ipv4Addr) -> bool {
    whitelist.is_empty() || whitelist.contains(&ip)
}
