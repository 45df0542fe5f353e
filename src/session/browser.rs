//! Looking for a session: a directory's list of servers, and what each of them says about itself
//! (`docs/PROTOCOL.md` §4, "Registration with a directory").
//!
//! A directory is asked until its full list comes; the reduced one, which survives where long datagrams are lost, is
//! used meanwhile. Every server found is pinged and, while people are on it, asked who they are. Servers that the
//! user has chosen in other ways are pinged beside them. Nobody hears us and no server is joined by any of it.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::ping::Echoes;
use crate::protocol::{
    ClientEntry, ConnlessMessage, Datagram, ReducedServerEntry, ServerEntry, classify, is_connless,
};
use crate::units::Time;

/// Most servers of one list that are looked at: a directory has no more than 150.
pub const MAX_LISTED: usize = 500;
/// Most servers beside the list.
pub const MAX_WATCHED: usize = 100;
/// Servers of a list are pinged this often (`docs/PROTOCOL.md` §4).
pub const LIST_PING_INTERVAL: Duration = Duration::from_millis(2500);

/// The ping shown is the median of this much time; a server that has not answered for longer is not there.
const PING_WINDOW: Duration = Duration::from_millis(7600);
/// The first pings of a list leave one after the other, this far apart: a burst would delay its own echoes.
const PING_SPREAD: Duration = Duration::from_millis(4);
/// A directory that has not sent its full list is asked again this often …
const ASK_INTERVAL: Duration = Duration::from_secs(2);
/// … this many times in a row, and then …
const MAX_ASKED: u32 = 15;
/// … this often.
const SLOW_ASK_INTERVAL: Duration = Duration::from_secs(15);
/// A directory that has said nothing for this long is called silent.
const SILENT_AFTER: Duration = Duration::from_secs(5);
/// Who is on a server is asked again this often, though their number is the same.
const PEOPLE_INTERVAL: Duration = Duration::from_secs(10);
/// Questions that get no answer are put this many times: older servers do not know all of them.
const MAX_QUESTIONS: u32 = 3;

/// How far a directory's list has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListState {
    /// No directory is asked.
    #[default]
    Idle,
    /// Asked, and not answered yet.
    Asked,
    /// It does not answer; it is asked again now and then.
    Silent,
    /// Only the reduced list has come: names and addresses.
    Reduced,
    /// The full list is there.
    Complete,
}

/// What is known about a server.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerFacts {
    /// Where it is.
    pub address: SocketAddr,
    /// In the directory's list; else it is one that the user has chosen.
    pub listed: bool,
    /// As the directory has it; not trusted, maybe empty.
    pub name: String,
    /// As the directory has it; not trusted, maybe empty.
    pub city: String,
    /// Country number of the protocol; 0 if unknown.
    pub country: u16,
    /// Most clients; 0 if unknown.
    pub max_clients: u8,
    /// Up for more than two days, as the directory has it.
    pub permanent: bool,
    /// Round trip; `None` while it does not answer.
    pub ping_ms: Option<f32>,
    /// How many are on it, once it has answered.
    pub clients: Option<u8>,
    /// Who they are; not trusted. May be fewer than `clients`.
    pub people: Vec<ClientEntry>,
    /// Version text, once told.
    pub version: Option<String>,
    /// Welcome text (HTML, not trusted), once told.
    pub welcome: Option<String>,
}

/// A server and what is to be asked of it.
#[derive(Clone, Debug)]
struct Server {
    facts: ServerFacts,
    watched: bool,
    next_ping: Time,
    echoes: Echoes,
    people_asked: Option<Time>,
    version_asked: u32,
    welcome_asked: u32,
}

/// Looks into one directory at a time.
#[derive(Debug, Default)]
pub struct Browser {
    directory: Option<SocketAddr>,
    state: ListState,
    asked: u32,
    asked_since: Time,
    next_ask: Time,
    servers: Vec<Server>,
    /// The server whose welcome text is wanted.
    examined: Option<SocketAddr>,
    outbox: VecDeque<(SocketAddr, ConnlessMessage)>,
}

impl Browser {
    /// Asks this directory, and forgets what another one has told.
    pub fn ask(&mut self, now: Time, directory: SocketAddr) {
        if self.directory != Some(directory) {
            self.set_list(now, []);
            self.directory = Some(directory);
            self.state = ListState::Asked;
        }
        self.asked = 0;
        self.asked_since = now;
        self.ask_again(now, directory);
    }

    /// Asks no directory any more, and forgets what it has told.
    pub fn ask_nobody(&mut self, now: Time) {
        self.directory = None;
        self.state = ListState::Idle;
        self.set_list(now, []);
    }

    /// Looks at these servers beside the list, and no longer at others; at most [`MAX_WATCHED`].
    pub fn watch(&mut self, now: Time, addresses: &[SocketAddr]) {
        let addresses = &addresses[..addresses.len().min(MAX_WATCHED)];
        self.servers.iter_mut().for_each(|server| server.watched = addresses.contains(&server.facts.address));
        for address in addresses {
            if self.find(*address).is_none() {
                let facts = unknown(*address, false);
                self.servers.push(Server { watched: true, ..Server::new(now, facts) });
            }
        }
        self.forget_unwanted();
    }

    /// Wants to know a server's welcome text, too: the user looks at it.
    pub fn examine(&mut self, address: SocketAddr) {
        self.examined = Some(address);
        if let Some(index) = self.find(address) {
            self.servers[index].welcome_asked = 0;
            self.servers[index].ask_for_welcome(&mut self.outbox);
        }
    }

    /// How far the list is.
    pub fn state(&self) -> ListState {
        self.state
    }

    /// What is known about each server: the list in the directory's order, then the others.
    pub fn servers(&self) -> impl Iterator<Item = &ServerFacts> {
        self.servers.iter().map(|server| &server.facts)
    }

    /// Takes a datagram; whether it told anything.
    pub fn handle_datagram(&mut self, now: Time, from: SocketAddr, datagram: &[u8]) -> bool {
        let Datagram::Frame(frame) = classify(datagram) else { return false };
        if !is_connless(frame.id) {
            return false;
        }
        let Ok(message) = ConnlessMessage::parse(frame.id, frame.body) else { return false };
        match message {
            ConnlessMessage::ServerList(list) if self.is_directory(from) => {
                self.state = ListState::Complete;
                self.set_list(now, list.into_iter().map(|entry| from_entry(entry, from)));
                true
            }
            ConnlessMessage::ReducedServerList(list)
                if self.is_directory(from) && self.state != ListState::Complete =>
            {
                self.state = ListState::Reduced;
                self.set_list(now, list.into_iter().map(|entry| from_reduced(entry, from)));
                true
            }
            other => {
                let server = self.servers.iter_mut().find(|server| is_from(from, server.facts.address));
                let is_examined = self.examined.is_some_and(|address| is_from(from, address));
                server.is_some_and(|server| server.handle(now, other, is_examined, &mut self.outbox))
            }
        }
    }

    /// Does what is due; whether that changed what is known.
    pub fn handle_timeout(&mut self, now: Time) -> bool {
        let mut changed = false;
        if let Some(directory) = self.directory
            && self.state != ListState::Complete
        {
            if now >= self.next_ask {
                self.ask_again(now, directory);
            }
            if self.state == ListState::Asked && now.since(self.asked_since) >= SILENT_AFTER {
                self.state = ListState::Silent;
                changed = true;
            }
        }
        for server in &mut self.servers {
            if now >= server.next_ping {
                changed |= server.ping(now, &mut self.outbox);
            }
        }
        changed
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Time> {
        let asks = self.directory.filter(|_| self.state != ListState::Complete);
        let silent = (self.state == ListState::Asked).then(|| self.asked_since + SILENT_AFTER);
        let pings = self.servers.iter().map(|server| server.next_ping).min();
        [asks.map(|_| self.next_ask), silent, pings].into_iter().flatten().min()
    }

    /// The next datagram, and to whom.
    pub fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.outbox.pop_front().map(|(to, message)| (to, message.to_datagram()))
    }

    fn ask_again(&mut self, now: Time, directory: SocketAddr) {
        self.asked = self.asked.saturating_add(1);
        self.next_ask = now + if self.asked < MAX_ASKED { ASK_INTERVAL } else { SLOW_ASK_INTERVAL };
        self.outbox.push_back((directory, ConnlessMessage::RequestServerList));
    }

    fn is_directory(&self, from: SocketAddr) -> bool {
        self.directory.is_some_and(|directory| is_from(from, directory))
    }

    fn find(&self, address: SocketAddr) -> Option<usize> {
        self.servers.iter().position(|server| server.facts.address == address)
    }

    /// Takes a list, as far as its servers can be asked; what they have told about themselves stays.
    fn set_list(&mut self, now: Time, list: impl IntoIterator<Item = ServerFacts>) {
        let mut listed: Vec<Server> = Vec::new();
        let list = list.into_iter().filter(|facts| can_be_asked(facts.address));
        for facts in list.take(MAX_LISTED) {
            if listed.iter().any(|server| server.facts.address == facts.address) {
                continue;
            }
            listed.push(match self.find(facts.address) {
                Some(index) => {
                    let mut server = self.servers.swap_remove(index);
                    server.facts.take_listing(facts);
                    server
                }
                None => Server::new(now + PING_SPREAD * listed.len() as u32, facts),
            });
        }
        self.servers.iter_mut().for_each(|server| server.facts.listed = false);
        listed.append(&mut self.servers);
        self.servers = listed;
        self.forget_unwanted();
    }

    fn forget_unwanted(&mut self) {
        self.servers.retain(|server| server.facts.listed || server.watched);
    }
}

impl Server {
    fn new(first_ping: Time, facts: ServerFacts) -> Self {
        Self {
            facts,
            watched: false,
            next_ping: first_ping,
            echoes: Echoes::new(PING_WINDOW),
            people_asked: None,
            version_asked: 0,
            welcome_asked: 0,
        }
    }

    fn ping(&mut self, now: Time, outbox: &mut VecDeque<(SocketAddr, ConnlessMessage)>) -> bool {
        self.next_ping = now + LIST_PING_INTERVAL;
        let time_ms = self.echoes.send(now);
        outbox.push_back((self.facts.address, ConnlessMessage::PingWithClients { time_ms, clients: 0 }));
        self.show_ping()
    }

    fn show_ping(&mut self) -> bool {
        let ping_ms = self.echoes.round_trip().map(|round_trip| round_trip.as_secs_f32() * 1000.0);
        std::mem::replace(&mut self.facts.ping_ms, ping_ms) != ping_ms
    }

    /// Takes what this server says; whether it told anything.
    fn handle(
        &mut self,
        now: Time,
        message: ConnlessMessage,
        is_examined: bool,
        outbox: &mut VecDeque<(SocketAddr, ConnlessMessage)>,
    ) -> bool {
        match message {
            ConnlessMessage::PingWithClients { time_ms, clients } => {
                if self.echoes.receive(now, time_ms).is_none() {
                    return false;
                }
                self.show_ping();
                self.facts.clients = Some(clients);
                self.ask_more(now, clients, is_examined, outbox);
            }
            // Answers to questions that were not put are not believed.
            ConnlessMessage::ClientList(people) if self.people_asked.is_some() => self.facts.people = people,
            ConnlessMessage::VersionAndOs { version, .. } if self.version_asked > 0 => {
                self.facts.version = Some(version);
            }
            ConnlessMessage::WelcomeMessage(text) if self.welcome_asked > 0 => {
                self.facts.welcome = Some(text)
            }
            _ => return false,
        }
        true
    }

    /// It is there: who else is, and what is it?
    fn ask_more(
        &mut self,
        now: Time,
        clients: u8,
        is_examined: bool,
        outbox: &mut VecDeque<(SocketAddr, ConnlessMessage)>,
    ) {
        let address = self.facts.address;
        if clients == 0 {
            self.facts.people.clear();
        } else {
            let differs = usize::from(clients) != self.facts.people.len();
            if differs || self.people_asked.is_none_or(|asked| now.since(asked) >= PEOPLE_INTERVAL) {
                self.people_asked = Some(now);
                outbox.push_back((address, ConnlessMessage::RequestClientList));
            }
        }
        if self.facts.version.is_none() && self.version_asked < MAX_QUESTIONS {
            self.version_asked += 1;
            outbox.push_back((address, ConnlessMessage::RequestVersionAndOs));
        }
        if is_examined {
            self.ask_for_welcome(outbox);
        }
    }

    fn ask_for_welcome(&mut self, outbox: &mut VecDeque<(SocketAddr, ConnlessMessage)>) {
        if self.facts.welcome.is_none() && self.welcome_asked < MAX_QUESTIONS {
            self.welcome_asked += 1;
            outbox.push_back((self.facts.address, ConnlessMessage::RequestWelcomeMessage));
        }
    }
}

impl ServerFacts {
    /// Takes what a list says about this server; a reduced list knows less than we may.
    fn take_listing(&mut self, listing: Self) {
        let is_reduced = listing.max_clients == 0 && self.listed;
        self.listed = true;
        self.name = listing.name;
        if !is_reduced {
            self.city = listing.city;
            self.country = listing.country;
            self.max_clients = listing.max_clients;
            self.permanent = listing.permanent;
        }
    }
}

fn unknown(address: SocketAddr, listed: bool) -> ServerFacts {
    ServerFacts {
        address,
        listed,
        name: String::new(),
        city: String::new(),
        country: 0,
        max_clients: 0,
        permanent: false,
        ping_ms: None,
        clients: None,
        people: Vec::new(),
        version: None,
        welcome: None,
    }
}

fn from_entry(entry: ServerEntry, directory: SocketAddr) -> ServerFacts {
    let ServerEntry { ip, registration } = entry;
    ServerFacts {
        name: registration.name,
        city: registration.city,
        country: registration.country,
        max_clients: registration.max_clients,
        permanent: registration.permanent,
        ..unknown(place(ip, registration.internal_port, directory), true)
    }
}

fn from_reduced(entry: ReducedServerEntry, directory: SocketAddr) -> ServerFacts {
    let ReducedServerEntry { address, name } = entry;
    ServerFacts { name, ..unknown(place(*address.ip(), address.port(), directory), true) }
}

/// A directory does not know its own address: it is the one who sent the list.
fn place(ip: Ipv4Addr, port: u16, directory: SocketAddr) -> SocketAddr {
    if ip.is_unspecified() { directory } else { (ip, port).into() }
}

/// Whether one machine has this address: a directory may write anything.
fn can_be_asked(address: SocketAddr) -> bool {
    let is_one = match address.ip() {
        IpAddr::V4(ip) => !(ip.is_unspecified() || ip.is_broadcast() || ip.is_multicast()),
        IpAddr::V6(ip) => !(ip.is_unspecified() || ip.is_multicast()),
    };
    is_one && address.port() != 0
}

/// Neither an IPv6 flow label nor a scope tells servers apart.
fn is_from(from: SocketAddr, address: SocketAddr) -> bool {
    (from.ip(), from.port()) == (address.ip(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{ChannelInfo, Os, ServerRegistration};
    use crate::units::ChannelId;

    const DIRECTORY: &str = "192.0.2.1:22124";

    fn at_ms(ms: u64) -> Time {
        Time::from_micros(ms * 1000)
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn entry(ip: [u8; 4], port: u16, name: &str) -> ServerEntry {
        ServerEntry {
            ip: ip.into(),
            registration: ServerRegistration {
                internal_port: port,
                country: 82,
                max_clients: 10,
                permanent: true,
                name: name.into(),
                internal_address: String::new(),
                city: "Bonn".into(),
            },
        }
    }

    fn reduced(ip: [u8; 4], port: u16, name: &str) -> ReducedServerEntry {
        ReducedServerEntry { address: std::net::SocketAddrV4::new(ip.into(), port), name: name.into() }
    }

    /// What the browser sends until then, with when.
    fn run(browser: &mut Browser, from_ms: u64, to_ms: u64) -> Vec<(u64, SocketAddr, ConnlessMessage)> {
        let mut sent = Vec::new();
        for ms in from_ms..to_ms {
            browser.handle_timeout(at_ms(ms));
            while let Some((to, datagram)) = browser.poll_transmit() {
                let Datagram::Frame(frame) = classify(&datagram) else { panic!("no frame") };
                sent.push((ms, to, ConnlessMessage::parse(frame.id, frame.body).expect("valid")));
            }
        }
        sent
    }

    fn tell(browser: &mut Browser, ms: u64, from: &str, message: ConnlessMessage) -> bool {
        browser.handle_datagram(at_ms(ms), address(from), &message.to_datagram())
    }

    fn names(browser: &Browser) -> Vec<&str> {
        browser.servers().map(|facts| &*facts.name).collect()
    }

    #[test]
    fn a_directory_is_asked_until_the_full_list_comes() {
        let mut browser = Browser::default();
        browser.ask(at_ms(0), address(DIRECTORY));
        let questions = |sent: Vec<(u64, SocketAddr, ConnlessMessage)>| {
            sent.into_iter()
                .filter(|(_, to, message)| {
                    *to == address(DIRECTORY) && *message == ConnlessMessage::RequestServerList
                })
                .map(|(ms, ..)| ms)
                .collect::<Vec<_>>()
        };
        assert_eq!(questions(run(&mut browser, 0, 4500)), [0, 2000, 4000]);
        assert_eq!(browser.state(), ListState::Asked);
        run(&mut browser, 4500, 5001);
        assert_eq!(browser.state(), ListState::Silent);
        let short = ConnlessMessage::ReducedServerList(vec![reduced([192, 0, 2, 7], 5, "Jam")]);
        assert!(tell(&mut browser, 5100, DIRECTORY, short));
        assert_eq!((browser.state(), names(&browser)), (ListState::Reduced, vec!["Jam"]));
        assert_eq!(questions(run(&mut browser, 5100, 6500)), [6000], "the short list is not enough");
        let full =
            ConnlessMessage::ServerList(vec![entry([0; 4], 0, "Self"), entry([192, 0, 2, 7], 5, "Jam")]);
        assert!(tell(&mut browser, 6500, DIRECTORY, full));
        assert_eq!((browser.state(), names(&browser)), (ListState::Complete, vec!["Self", "Jam"]));
        assert_eq!(browser.servers().next().map(|facts| facts.address), Some(address(DIRECTORY)));
        assert_eq!(questions(run(&mut browser, 6500, 60_000)), [0_u64; 0]);
        let late = ConnlessMessage::ReducedServerList(vec![reduced([192, 0, 2, 9], 5, "Late")]);
        assert!(!tell(&mut browser, 60_000, DIRECTORY, late));
    }

    #[test]
    fn only_the_directory_lists_servers_and_only_ones_that_can_be() {
        let mut browser = Browser::default();
        browser.ask(at_ms(0), address(DIRECTORY));
        let list = || ConnlessMessage::ServerList(vec![entry([192, 0, 2, 7], 5, "Jam")]);
        assert!(!tell(&mut browser, 1, "192.0.2.1:22125", list()));
        let odd = ConnlessMessage::ServerList(vec![
            entry([255; 4], 5, "everybody"),
            entry([224, 0, 0, 1], 5, "many"),
            entry([192, 0, 2, 7], 0, "no port"),
            entry([192, 0, 2, 8], 5, "one"),
            entry([192, 0, 2, 8], 5, "twice"),
        ]);
        assert!(tell(&mut browser, 1, DIRECTORY, odd));
        assert_eq!(names(&browser), ["one"]);
        let many = (0..2000_u16).map(|port| reduced([192, 0, 2, 9], port + 1, "")).collect();
        browser.ask(at_ms(2), address("192.0.2.2:22124"));
        assert_eq!(names(&browser), Vec::<&str>::new(), "another directory, another list");
        assert!(tell(&mut browser, 3, "192.0.2.2:22124", ConnlessMessage::ReducedServerList(many)));
        assert_eq!(browser.servers().count(), MAX_LISTED);
    }

    #[test]
    fn servers_are_pinged_apart_and_those_with_people_are_asked_for_them() {
        let mut browser = Browser::default();
        browser.ask(at_ms(0), address(DIRECTORY));
        let list = vec![entry([192, 0, 2, 7], 5, "Jam"), entry([192, 0, 2, 8], 5, "Empty")];
        tell(&mut browser, 10, DIRECTORY, ConnlessMessage::ServerList(list));
        let sent = run(&mut browser, 10, 2600);
        let pings = |to: &str| {
            let pings = sent.iter().filter_map(|(ms, address, message)| match message {
                ConnlessMessage::PingWithClients { time_ms, .. } if *address == to.parse().unwrap() => {
                    Some((*ms, *time_ms))
                }
                _ => None,
            });
            pings.collect::<Vec<_>>()
        };
        assert_eq!(pings("192.0.2.7:5"), [(10, 10), (2510, 2510)]);
        assert_eq!(pings("192.0.2.8:5"), [(14, 14), (2514, 2514)]);
        let echo = |time_ms, clients| ConnlessMessage::PingWithClients { time_ms, clients };
        assert!(!tell(&mut browser, 2600, "192.0.2.7:5", echo(999, 1)), "no such ping");
        assert!(!tell(&mut browser, 2600, "192.0.2.9:5", echo(2510, 1)), "no such server");
        assert!(tell(&mut browser, 2550, "192.0.2.7:5", echo(2510, 1)));
        assert!(tell(&mut browser, 2554, "192.0.2.8:5", echo(2514, 0)));
        let asked: Vec<_> =
            run(&mut browser, 2560, 2570).into_iter().map(|(_, to, message)| (to, message.id())).collect();
        let (jam, empty) = (address("192.0.2.7:5"), address("192.0.2.8:5"));
        assert_eq!(asked, [(jam, 1014), (jam, 1012), (empty, 1012)]);
        let ann = ClientEntry {
            channel: ChannelId(0),
            info: ChannelInfo { name: "Ann".into(), ..ChannelInfo::default() },
        };
        let people = || ConnlessMessage::ClientList(vec![ann.clone()]);
        assert!(!tell(&mut browser, 2570, "192.0.2.8:5", people()), "not asked");
        assert!(tell(&mut browser, 2570, "192.0.2.7:5", people()));
        let version = ConnlessMessage::VersionAndOs { os: Os(2), version: "3.9.1".into() };
        assert!(tell(&mut browser, 2570, "192.0.2.7:5", version));
        let facts: Vec<_> = browser.servers().collect();
        assert_eq!((facts[0].ping_ms, facts[0].clients, facts[0].people.len()), (Some(40.0), Some(1), 1));
        assert_eq!(facts[0].version.as_deref(), Some("3.9.1"));
        assert_eq!((facts[1].ping_ms, facts[1].clients), (Some(40.0), Some(0)));
        run(&mut browser, 2600, 13_000);
        assert_eq!(browser.servers().next().and_then(|facts| facts.ping_ms), None, "it went away");
    }

    #[test]
    fn a_welcome_is_asked_for_when_looked_at_and_watched_servers_outlive_a_list() {
        let mut browser = Browser::default();
        let (own, jam) = (address("[2001:db8::1]:22124"), address("192.0.2.7:5"));
        browser.watch(at_ms(0), &[own, jam]);
        browser.ask(at_ms(0), address(DIRECTORY));
        tell(&mut browser, 1, DIRECTORY, ConnlessMessage::ServerList(vec![entry([192, 0, 2, 7], 5, "Jam")]));
        assert_eq!(browser.servers().map(|facts| facts.listed).collect::<Vec<_>>(), [true, false]);
        browser.ask_nobody(at_ms(2));
        assert_eq!(browser.servers().count(), 2, "both are watched");
        let hello = || ConnlessMessage::WelcomeMessage("<b>Hi</b>".into());
        assert!(!tell(&mut browser, 3, "192.0.2.7:5", hello()));
        browser.examine(jam);
        assert!(run(&mut browser, 3, 4).iter().any(|(_, to, message)| (*to, message.id()) == (jam, 1022)));
        assert!(tell(&mut browser, 4, "192.0.2.7:5", hello()));
        assert!(browser.servers().any(|facts| facts.welcome.as_deref() == Some("<b>Hi</b>")));
        browser.watch(at_ms(5), &[]);
        assert_eq!(browser.servers().count(), 0);
    }
}
