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
/// If all 149 have the longest names and cities in the longest UTF-8 form, the last four do not fit into the
/// longest datagram that clients accept, and are left out of the full list; usual names take a third of that.
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

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::ZERO;
    const PUBLIC_IP: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

    fn v4(text: &str) -> SocketAddrV4 {
        text.parse().unwrap()
    }

    fn server(name: &str, internal: &str) -> ServerRegistration {
        ServerRegistration {
            internal_port: 22199,
            country: 82,
            max_clients: 7,
            permanent: false,
            name: name.into(),
            internal_address: internal.into(),
            city: "Ulm".into(),
        }
    }

    fn directory(rules: OwnDirectory, public_ip: Option<Ipv4Addr>) -> ServerList {
        let own = ServerRegistration { internal_port: 0, permanent: true, ..server("Directory", "") };
        ServerList::new(NOW, &rules, own, public_ip)
    }

    fn open_directory() -> ServerList {
        directory(OwnDirectory::default(), None)
    }

    fn register(list: &mut ServerList, source: &str, internal: &str) -> Option<RegistrationResult> {
        list.register(NOW, v4(source), &server("Jam", internal), Some("4.0.0")).map(|(result, _)| result)
    }

    /// All that a request of `client` draws.
    fn ask(list: &mut ServerList, now: Time, client: &str) -> Vec<(SocketAddr, ConnlessMessage)> {
        let mut sent = Vec::new();
        list.answer(now, v4(client), |to, message| sent.push((to, message.clone())));
        sent
    }

    /// The addresses of the two lists that `client` is told, which are the same in both; the directory's own
    /// aside.
    fn told(list: &mut ServerList, client: &str) -> Vec<SocketAddrV4> {
        let sent = ask(list, NOW, client);
        let [.., (_, ConnlessMessage::ReducedServerList(reduced)), (_, ConnlessMessage::ServerList(full))] =
            &sent[..]
        else {
            panic!("{sent:?}");
        };
        let full = full.iter().map(|entry| SocketAddrV4::new(entry.ip, entry.registration.internal_port));
        let reduced: Vec<_> = reduced.iter().map(|entry| entry.address).collect();
        assert!(full.eq(reduced.iter().copied()));
        assert_eq!(reduced[0], v4("0.0.0.0:0"), "first the directory itself, known by its address");
        reduced[1..].to_vec()
    }

    /// (server, client, what a client there is told): docs/PROTOCOL.md §4, the NAT rules word by word.
    #[test]
    fn who_is_told_which_address() {
        const PUBLIC: &str = "203.0.113.7:40001";
        const BESIDE: &str = "192.168.1.7:22124";
        const INTERNAL: &str = "10.0.0.7:22199";
        for (source, client, expected) in [
            // Both on the internet, apart, or at least behind different NATs.
            (PUBLIC, "203.0.113.8:22134", PUBLIC),
            // Behind the same NAT.
            (PUBLIC, "203.0.113.7:50000", INTERNAL),
            // A server beside the directory, a client on the internet.
            (BESIDE, "203.0.113.8:22134", INTERNAL),
            ("127.0.0.1:22124", "203.0.113.8:22134", INTERNAL),
            ("10.9.9.9:22124", "203.0.113.8:22134", INTERNAL),
            ("172.16.0.1:22124", "203.0.113.8:22134", INTERNAL),
            ("172.31.255.255:22124", "203.0.113.8:22134", INTERNAL),
            // These are not private.
            ("172.15.255.255:22124", "203.0.113.8:22134", "172.15.255.255:22124"),
            ("172.32.0.1:22124", "203.0.113.8:22134", "172.32.0.1:22124"),
            ("192.169.0.1:22124", "203.0.113.8:22134", "192.169.0.1:22124"),
            ("169.254.0.1:22124", "203.0.113.8:22134", "169.254.0.1:22124"),
            // A client beside the directory always gets source addresses, also for the server on its machine.
            (PUBLIC, "192.168.1.8:22134", PUBLIC),
            (BESIDE, "192.168.1.8:22134", BESIDE),
            (BESIDE, "192.168.1.7:22134", BESIDE),
            (BESIDE, "127.0.0.1:22134", BESIDE),
        ] {
            let mut list = open_directory();
            assert_eq!(register(&mut list, source, "10.0.0.7"), Some(RegistrationResult::Registered));
            assert_eq!(told(&mut list, client), [v4(expected)], "{source} as told to {client}");
        }
    }

    #[test]
    fn servers_on_the_internet_are_asked_to_let_the_client_in_before_it_is_told_of_them() {
        for (public_ip, client, let_in) in [
            (None, "203.0.113.8:22134", "203.0.113.8:22134"),
            (Some(PUBLIC_IP), "203.0.113.8:22134", "203.0.113.8:22134"),
            (Some(PUBLIC_IP), "192.168.1.8:22134", "198.51.100.1:22134"),
            (None, "192.168.1.8:22134", "192.168.1.8:22134"),
        ] {
            let mut list = directory(OwnDirectory::default(), public_ip);
            for source in ["203.0.113.7:1", "192.168.1.7:2", "127.0.0.1:3", "203.0.113.9:4"] {
                register(&mut list, source, "10.0.0.7");
            }
            let sent = ask(&mut list, NOW, client);
            let opening = ConnlessMessage::SendEmptyMessage(v4(let_in));
            assert_eq!(sent[0], (v4("203.0.113.7:1").into(), opening.clone()), "{client}");
            assert_eq!(sent[1], (v4("203.0.113.9:4").into(), opening), "{client}");
            assert!(sent[2..].iter().all(|(to, _)| *to == v4(client).into()));
            assert_eq!(sent[2..].iter().map(|(_, message)| message.id()).collect::<Vec<_>>(), [1018, 1006]);
        }
    }

    #[test]
    fn an_entry_says_what_its_server_has_said_last() {
        let mut list = open_directory();
        let mut register = |name: &str, permanent| {
            let server = ServerRegistration { permanent, ..server(name, "10.0.0.7") };
            list.register(NOW, v4("203.0.113.7:1"), &server, None)
        };
        assert_eq!(register("Jam", false), Some((RegistrationResult::Registered, true)));
        assert_eq!(register("Jam", false), Some((RegistrationResult::Registered, false)), "nothing new");
        assert_eq!(register("Session", true), Some((RegistrationResult::Registered, true)));
        assert_eq!(list.len(), 1);
        let sent = ask(&mut list, NOW, "203.0.113.8:5");
        let Some((_, ConnlessMessage::ServerList(entries))) = sent.last() else { panic!("{sent:?}") };
        let expected = ServerRegistration { internal_port: 1, permanent: true, ..server("Session", "") };
        assert_eq!((entries[1].ip, &entries[1].registration), (Ipv4Addr::new(203, 0, 113, 7), &expected));
    }

    #[test]
    fn an_empty_internal_address_is_this_machine_and_nonsense_no_registration() {
        let mut list = open_directory();
        assert_eq!(register(&mut list, "203.0.113.7:1", ""), Some(RegistrationResult::Registered));
        assert_eq!(told(&mut list, "203.0.113.7:5"), [v4("127.0.0.1:22199")]);
        for nonsense in ["nonsense", "1.2.3", "1.2.3.4:5", " 1.2.3.4", "::1", "256.1.1.1"] {
            assert_eq!(register(&mut list, "203.0.113.9:1", nonsense), None, "{nonsense}");
        }
        assert_eq!(list.len(), 1);
    }

    /// The order of the checks is that of Debian's Jamulus 3.9.1 (`-f "127.0.0.2;[3.9.0]"`).
    #[test]
    fn old_versions_and_strangers_are_refused() {
        use RegistrationResult::{Registered, RequirementsNotFulfilled, VersionTooOld};
        let rules = OwnDirectory {
            whitelist: vec![Ipv4Addr::new(203, 0, 113, 7)],
            minimum_version: Some("3.9.0".into()),
        };
        let mut list = directory(rules, None);
        for (source, version, expected) in [
            ("203.0.113.7:1", Some("3.9.0"), Registered),
            ("203.0.113.7:2", Some("3.9.0dev"), Registered),
            ("203.0.113.7:3", Some("3.10.0"), Registered),
            ("203.0.113.7:4", Some("4.0.0-jamulet0.1"), Registered),
            ("203.0.113.7:5", Some("3.8.9"), VersionTooOld),
            ("203.0.113.7:6", Some("junk"), VersionTooOld),
            ("203.0.113.7:7", Some(""), VersionTooOld),
            ("203.0.113.7:8", None, VersionTooOld),
            ("203.0.113.8:1", Some("3.8.9"), VersionTooOld),
            ("203.0.113.8:1", None, VersionTooOld),
            ("203.0.113.8:1", Some("3.9.0"), RequirementsNotFulfilled),
        ] {
            let answer = list.register(NOW, v4(source), &server("Jam", ""), version);
            assert_eq!(answer, Some((expected, expected == Registered)), "{source} {version:?}");
        }
        assert_eq!(list.len(), 4);
        let mut anybody = open_directory();
        let old = anybody.register(NOW, v4("203.0.113.8:1"), &server("Jam", ""), None);
        assert_eq!(old, Some((Registered, true)), "without a minimum, 1004 is as good");
    }

    #[test]
    fn a_new_whitelist_strikes_off_who_is_not_on_it() {
        let mut list = open_directory();
        register(&mut list, "203.0.113.7:1", "");
        register(&mut list, "203.0.113.8:1", "");
        let rules = OwnDirectory { whitelist: vec![Ipv4Addr::new(203, 0, 113, 8)], minimum_version: None };
        assert!(list.set_rules(&rules));
        assert!(!list.set_rules(&rules));
        assert_eq!(told(&mut list, "192.0.2.1:1"), [v4("203.0.113.8:1")]);
    }

    #[test]
    fn servers_are_known_by_source_address_and_port() {
        let mut list = open_directory();
        register(&mut list, "203.0.113.7:1", "10.0.0.7");
        register(&mut list, "203.0.113.7:2", "10.0.0.7");
        assert!(!list.unregister(v4("203.0.113.7:3")));
        assert!(!list.unregister(v4("10.0.0.7:22199")));
        assert!(list.unregister(v4("203.0.113.7:1")));
        assert_eq!(told(&mut list, "192.0.2.1:1"), [v4("203.0.113.7:2")]);
    }

    #[test]
    fn the_150th_is_refused_until_somebody_leaves() {
        let mut list = open_directory();
        let source = |number: usize| format!("203.0.113.7:{}", 1000 + number);
        for number in 0..MAX_LISTED {
            assert_eq!(register(&mut list, &source(number), ""), Some(RegistrationResult::Registered));
        }
        assert_eq!(register(&mut list, &source(MAX_LISTED), ""), Some(RegistrationResult::ListFull));
        assert_eq!(register(&mut list, &source(3), ""), Some(RegistrationResult::Registered), "renewed");
        assert!(list.unregister(v4(&source(5))));
        assert_eq!(register(&mut list, &source(MAX_LISTED), ""), Some(RegistrationResult::Registered));
        assert_eq!(list.len(), MAX_LISTED);
    }

    #[test]
    fn an_entry_lasts_33_minutes_after_its_last_registration() {
        let mut list = open_directory();
        let minutes = |minutes: u64| NOW + Duration::from_secs(60 * minutes);
        register(&mut list, "203.0.113.7:1", "");
        let again = server("Jam", "");
        list.register(minutes(10), v4("203.0.113.8:1"), &again, None);
        list.register(minutes(15), v4("203.0.113.7:1"), &again, None);
        let mut is_other_now = |now| list.handle_timeout(now, |_, _| ());
        assert!(!is_other_now(minutes(43) - Duration::from_micros(1)));
        assert!(is_other_now(minutes(43)));
        assert_eq!(told(&mut list, "192.0.2.1:1"), [v4("203.0.113.7:1")]);
        assert!(list.handle_timeout(minutes(48), |_, _| ()));
        assert_eq!(list.len(), 0);
    }

    #[test]
    fn every_nat_is_kept_open_every_59_seconds() {
        let mut list = open_directory();
        register(&mut list, "203.0.113.7:1", "");
        register(&mut list, "192.168.1.7:2", "");
        let mut sent = Vec::new();
        for round in 1..=3 {
            let due = list.poll_timeout();
            assert_eq!(due, NOW + NAT_KEEP_ALIVE * round);
            list.handle_timeout(due, |to, message| sent.push((due, to, message.clone())));
        }
        let at = |round, to| (NOW + NAT_KEEP_ALIVE * round, v4(to).into(), ConnlessMessage::EmptyMessage);
        let both = |round| [at(round, "203.0.113.7:1"), at(round, "192.168.1.7:2")];
        assert_eq!(sent, [both(1), both(2), both(3)].concat());
    }

    #[test]
    fn the_longest_lists_fit_into_datagrams_that_clients_accept() {
        use crate::units::MAX_DATAGRAM_BYTES;
        let mut list = open_directory();
        for number in 0..MAX_LISTED {
            let longest = ServerRegistration { city: "楽".repeat(20), ..server(&"音".repeat(20), "") };
            let source = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 7), number as u16 + 1);
            list.register(NOW, source, &longest, None).unwrap();
        }
        let sent = ask(&mut list, NOW, "192.0.2.1:1");
        let lengths: Vec<usize> = sent[MAX_LISTED..].iter().map(|(_, m)| m.to_datagram().len()).collect();
        assert!(lengths.iter().all(|length| *length <= MAX_DATAGRAM_BYTES), "{lengths:?}");
        let body = sent[MAX_LISTED + 1].1.to_datagram();
        let parsed = ConnlessMessage::parse(1006, &body[7..body.len() - 2]).unwrap();
        let ConnlessMessage::ServerList(entries) = parsed else { panic!("{parsed:?}") };
        assert_eq!(entries.len(), 1 + MAX_LISTED - 4, "the directory, and all but the last four");
        let ConnlessMessage::ReducedServerList(reduced) = &sent[MAX_LISTED].1 else { panic!() };
        assert_eq!(reduced.len(), 150, "the short list has everybody");
    }

    #[test]
    fn a_flood_of_requests_draws_no_more_than_the_budget() {
        use super::super::super::connless::{MAX_ANSWER_BYTES, MAX_ANSWER_BYTES_PER_IP};
        let mut list = open_directory();
        for number in 0..MAX_LISTED {
            register(&mut list, &format!("203.0.113.7:{}", 1000 + number), "");
        }
        let bytes = |list: &mut ServerList, now, client: &str| {
            let sent = ask(list, now, client);
            sent.iter().map(|(_, message)| message.to_datagram().len()).sum::<usize>()
        };
        let one_answer = bytes(&mut list, NOW, "192.0.2.1:1");
        assert_eq!(one_answer, list.answer_bytes(), "what is booked is what is sent");
        let flood: usize =
            (0..1000).map(|port| bytes(&mut list, NOW, &format!("192.0.2.1:{}", port + 2))).sum();
        assert!(one_answer + flood <= MAX_ANSWER_BYTES_PER_IP);
        assert!(one_answer + flood > MAX_ANSWER_BYTES_PER_IP - one_answer, "the budget can be used");
        let others: usize =
            (0..1000u32).map(|n| bytes(&mut list, NOW, &format!("192.1.{}.{}:1", n / 250, n % 250))).sum();
        assert!(one_answer + flood + others <= MAX_ANSWER_BYTES);
        assert!(bytes(&mut list, NOW + Duration::from_secs(1), "192.0.2.1:1") > 0);
    }
}
