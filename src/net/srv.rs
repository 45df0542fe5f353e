//! Service records of the domain name system: where the Jamulus server of a domain is.
//!
//! The system's own functions look up addresses only, so the question is put to the system's name servers
//! directly: those of `/etc/resolv.conf` (Linux, macOS and other Unixes). On Windows, which keeps them
//! elsewhere, nobody is asked, and a name means its own addresses at the default port: as if it had no record.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, Question, RCODE, TYPE};

use super::clock_now;
use crate::protocol::{Host, ServerAddress};
use crate::units::Time;

/// Source: docs/PROTOCOL.md §4, "Addresses".
const SERVICE: &str = "_jamulus._udp";
/// An answer that takes longer counts as none. Source: docs/PROTOCOL.md §4, "Addresses".
pub(super) const PATIENCE: Duration = Duration::from_millis(500);
/// The question is repeated once after this, in case a datagram was lost.
const REPEAT_AFTER: Duration = Duration::from_millis(200);
/// How long to listen to one name server before turning to the next one.
const TURN: Duration = Duration::from_millis(10);
/// Most name servers asked, as the system's own resolver does.
const MAX_NAMESERVERS: usize = 3;
/// Longest answer without extensions of the protocol, which we do not ask for.
const MAX_ANSWER_BYTES: usize = 512;
/// Port of name servers.
#[cfg(unix)]
const DNS_PORT: u16 = 53;

/// Where a service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Service {
    /// Name of the machine.
    pub(super) host: String,
    /// UDP port, never 0.
    pub(super) port: u16,
}

/// The Jamulus service of `domain`, if it has exactly one, and one of `nameservers` says so within `patience`.
/// A record whose target is "." counts as none.
pub(super) fn look_up_srv(domain: &str, nameservers: &[SocketAddr], patience: Duration) -> Option<Service> {
    let name = format!("{SERVICE}.{}", domain.trim_end_matches('.'));
    let id = RandomState::new().build_hasher().finish() as u16;
    let question = question(&name, id)?;
    let asked = nameservers.iter().take(MAX_NAMESERVERS);
    let mut lines: Vec<UdpSocket> = asked.filter_map(|nameserver| ask(*nameserver, &question).ok()).collect();
    let start = clock_now();
    let end = start + patience;
    let mut repeated = false;
    while clock_now() < end {
        if !repeated && clock_now() >= start + REPEAT_AFTER {
            // A name server that cannot be reached now is found out when its turn comes.
            lines.iter().for_each(|line| drop(line.send(&question)));
            repeated = true;
        }
        let mut failed = None;
        for (index, line) in lines.iter().enumerate() {
            match listen(line, end, &name, id) {
                Reply::Answer(service) => return service,
                Reply::Nothing => {}
                Reply::Failure => failed = Some(index),
            }
        }
        if let Some(index) = failed {
            lines.remove(index);
        }
        if lines.is_empty() {
            break;
        }
    }
    None
}

/// The system's name servers.
#[cfg(unix)]
pub(super) fn nameservers() -> Vec<SocketAddr> {
    std::fs::read_to_string("/etc/resolv.conf").map(|text| parse_nameservers(&text)).unwrap_or_default()
}

/// None that are known.
#[cfg(not(unix))]
pub(super) fn nameservers() -> Vec<SocketAddr> {
    Vec::new()
}

#[cfg(unix)]
fn parse_nameservers(resolv_conf: &str) -> Vec<SocketAddr> {
    let ip = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()?.parse::<IpAddr>().ok()).flatten()
    };
    resolv_conf.lines().filter_map(ip).take(MAX_NAMESERVERS).map(|ip| SocketAddr::new(ip, DNS_PORT)).collect()
}

/// What became of a question.
enum Reply {
    /// The name server knows: there is this, or nothing that can be used.
    Answer(Option<Service>),
    /// Not yet.
    Nothing,
    /// It cannot be asked, or cannot tell.
    Failure,
}

/// A socket connected to the name server, so that nobody else is heard and its absence is noticed.
#[expect(clippy::disallowed_methods, reason = "a door: a socket for one question, which moves no jam")]
fn ask(nameserver: SocketAddr, question: &[u8]) -> io::Result<UdpSocket> {
    let own: IpAddr = match nameserver {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((own, 0))?;
    socket.connect(nameserver)?;
    socket.send(question)?;
    Ok(socket)
}

fn listen(line: &UdpSocket, end: Time, name: &str, id: u16) -> Reply {
    let left = end.since(clock_now());
    if left.is_zero() {
        return Reply::Nothing;
    }
    let mut answer = [0; MAX_ANSWER_BYTES];
    match line.set_read_timeout(Some(TURN.min(left))).and_then(|()| line.recv(&mut answer)) {
        Ok(length) => parse_answer(&answer[..length], name, id),
        Err(error) if is_timeout(&error) => Reply::Nothing,
        Err(_) => Reply::Failure,
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

fn question(name: &str, id: u16) -> Option<Vec<u8>> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(Question::new(Name::new(name).ok()?, TYPE::SRV.into(), CLASS::IN.into(), false));
    packet.build_bytes_vec().ok()
}

/// Anything may arrive: only an answer to our question counts.
fn parse_answer(datagram: &[u8], name: &str, id: u16) -> Reply {
    let Ok(packet) = Packet::parse(datagram) else { return Reply::Nothing };
    let is_ours = packet.id() == id
        && packet.has_flags(PacketFlag::RESPONSE)
        && packet.questions.iter().all(|question| same_name(&question.qname, name));
    match packet.rcode() {
        _ if !is_ours => Reply::Nothing,
        RCODE::NoError | RCODE::NameError => Reply::Answer(only_service(&packet)),
        _ => Reply::Failure,
    }
}

/// The one service in an answer. One that was cut off has several.
fn only_service(packet: &Packet<'_>) -> Option<Service> {
    let mut records = packet.answers.iter().filter_map(|record| match &record.rdata {
        RData::SRV(service) => Some(service),
        _ => None,
    });
    let (Some(record), None) = (records.next(), records.next()) else { return None };
    if packet.has_flags(PacketFlag::TRUNCATION) || record.port == 0 {
        return None;
    }
    // The root, ".", is no host name, and neither is anything odd that a hostile server may send.
    match record.target.to_string().parse() {
        Ok(ServerAddress { host: Host::Name(host), port: None }) => Some(Service { host, port: record.port }),
        _ => None,
    }
}

fn same_name(name: &Name<'_>, text: &str) -> bool {
    name.to_string().trim_end_matches('.').eq_ignore_ascii_case(text)
}

#[cfg(test)]
pub(super) mod fake {
    //! A name server for tests.

    use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
    use std::sync::{Arc, mpsc};
    use std::thread::JoinHandle;

    use simple_dns::rdata::{RData, SRV};
    use simple_dns::{CLASS, Name, Packet, ResourceRecord};

    /// Answers questions on the loopback until it is dropped.
    pub(in crate::net) struct FakeNameserver {
        socket: Arc<UdpSocket>,
        questions: mpsc::Receiver<String>,
        seen: std::cell::RefCell<Vec<String>>,
        thread: Option<JoinHandle<()>>,
    }

    impl FakeNameserver {
        /// `records` gives target and port of the records of a name.
        pub(in crate::net) fn start(records: impl Fn(&str) -> Vec<(String, u16)> + Send + 'static) -> Self {
            Self::start_raw(move |question| {
                let name = Packet::parse(question).unwrap().questions[0].qname.to_string();
                vec![answer_with(question, &records(&name))]
            })
        }

        /// `answers` gives the datagrams to send back.
        #[expect(clippy::disallowed_methods, reason = "a test peer with a socket and a thread of its own")]
        pub(in crate::net) fn start_raw(answers: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> Self {
            let socket = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
            let (sender, questions) = mpsc::channel();
            let line = Arc::clone(&socket);
            let thread = std::thread::spawn(move || {
                let mut question = [0; 512];
                while let Ok((length @ 1.., from)) = line.recv_from(&mut question) {
                    let asked = Packet::parse(&question[..length]).unwrap().questions[0].qname.to_string();
                    let _ = sender.send(asked);
                    for answer in answers(&question[..length]) {
                        let _ = line.send_to(&answer, from);
                    }
                }
            });
            Self { socket, questions, seen: Default::default(), thread: Some(thread) }
        }

        pub(in crate::net) fn address(&self) -> SocketAddr {
            self.socket.local_addr().unwrap()
        }

        /// The names that it was asked for.
        pub(in crate::net) fn questions(&self) -> Vec<String> {
            self.seen.borrow_mut().extend(self.questions.try_iter());
            self.seen.borrow().clone()
        }
    }

    /// The answer to a question: these targets and ports.
    pub(in crate::net) fn answer_with(question: &[u8], records: &[(String, u16)]) -> Vec<u8> {
        let question = Packet::parse(question).unwrap();
        let mut answer = Packet::new_reply(question.id());
        answer.questions.clone_from(&question.questions);
        for (target, port) in records {
            let service = SRV { priority: 0, weight: 0, port: *port, target: Name::new(target).unwrap() };
            let name = question.questions[0].qname.clone();
            answer.answers.push(ResourceRecord::new(name, CLASS::IN, 60, RData::SRV(service)));
        }
        answer.build_bytes_vec_compressed().unwrap()
    }

    impl Drop for FakeNameserver {
        fn drop(&mut self) {
            // An empty datagram ends the thread.
            let _ = self.socket.send_to(&[], self.address());
            let _ = self.thread.take().map(JoinHandle::join);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::fake::{FakeNameserver, answer_with};
    use super::*;

    /// Longer than any stall of the machine.
    const LONG: Duration = Duration::from_secs(30);

    fn service(host: &str, port: u16) -> Service {
        Service { host: host.into(), port }
    }

    #[test]
    fn one_record_is_used() {
        let nameserver = FakeNameserver::start(|_| vec![("Host.example.org".into(), 22224)]);
        let found = look_up_srv("example.org.", &[nameserver.address()], LONG);
        assert_eq!(found, Some(service("Host.example.org", 22224)));
        assert_eq!(nameserver.questions(), ["_jamulus._udp.example.org"]);
    }

    #[test]
    fn none_several_and_useless_records_are_not() {
        for records in [
            vec![],
            vec![("a.example.org", 1), ("b.example.org", 1)],
            vec![(".", 22124)],
            vec![("a.example.org", 0)],
            vec![("192.0.2.1", 22124)],
        ] {
            let owned: Vec<(String, u16)> =
                records.iter().map(|(host, port)| ((*host).into(), *port)).collect();
            let nameserver = FakeNameserver::start(move |_| owned.clone());
            assert_eq!(look_up_srv("example.org", &[nameserver.address()], LONG), None, "{records:?}");
            assert!(!nameserver.questions().is_empty());
        }
    }

    #[test]
    fn an_answer_that_was_cut_off_has_more_than_one_record() {
        let nameserver = FakeNameserver::start_raw(|question| {
            let mut answer = answer_with(question, &[("host.example.org".into(), 7)]);
            // The flag for truncation in the header.
            answer[2] |= 0x02;
            vec![answer]
        });
        assert_eq!(look_up_srv("example.org", &[nameserver.address()], LONG), None);
    }

    #[test]
    fn forged_and_foreign_answers_are_passed_over() {
        let nameserver = FakeNameserver::start_raw(|question| {
            let forged = |id: u16, name: &str, target: &str| {
                let mut answer = Packet::new_reply(id);
                let name = Name::new_unchecked(name).into_owned();
                answer.questions.push(Question::new(name.clone(), TYPE::SRV.into(), CLASS::IN.into(), false));
                let target = Name::new_unchecked(target).into_owned();
                let record = simple_dns::rdata::SRV { priority: 0, weight: 0, port: 5, target };
                let record = RData::SRV(record);
                answer.answers.push(simple_dns::ResourceRecord::new(name, CLASS::IN, 60, record));
                answer.build_bytes_vec().unwrap()
            };
            let id = Packet::parse(question).unwrap().id();
            let name = "_jamulus._udp.example.org";
            vec![
                question.to_vec(),
                vec![0xFF; 40],
                forged(id.wrapping_add(1), name, "wrong.id"),
                forged(id, "_jamulus._udp.example.net", "wrong.name"),
                forged(id, "_Jamulus._udp.EXAMPLE.org", "right.host"),
            ]
        });
        let found = look_up_srv("example.org", &[nameserver.address()], LONG);
        assert_eq!(found, Some(service("right.host", 5)));
    }

    #[test]
    fn the_next_name_server_helps_out() {
        let dead = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let refusing = FakeNameserver::start_raw(|question| {
            let mut answer = Packet::new_reply(Packet::parse(question).unwrap().id());
            *answer.rcode_mut() = RCODE::ServerFailure;
            vec![answer.build_bytes_vec().unwrap()]
        });
        let good = FakeNameserver::start(|_| vec![("host.example.org".into(), 7)]);
        let asked = [dead, refusing.address(), good.address()];
        assert_eq!(look_up_srv("example.org", &asked, LONG), Some(service("host.example.org", 7)));
        // And when there is nobody at all, the answer is no.
        assert_eq!(look_up_srv("example.org", &[dead, refusing.address()], LONG), None);
        assert_eq!(look_up_srv("example.org", &[], LONG), None);
    }

    #[test]
    fn a_lost_question_is_repeated() {
        let heard = std::cell::Cell::new(0);
        let nameserver = FakeNameserver::start_raw(move |question| {
            heard.set(heard.get() + 1);
            let records = vec![("host.example.org".to_owned(), 7)];
            if heard.get() == 1 { Vec::new() } else { vec![answer_with(question, &records)] }
        });
        let found = look_up_srv("example.org", &[nameserver.address()], LONG);
        assert_eq!(found, Some(service("host.example.org", 7)));
        assert_eq!(nameserver.questions().len(), 2);
    }

    #[test]
    fn a_silent_name_server_costs_no_more_than_the_patience() {
        let silent = FakeNameserver::start_raw(|_| Vec::new());
        let start = clock_now();
        assert_eq!(look_up_srv("example.org", &[silent.address()], PATIENCE), None);
        assert!(clock_now().since(start) >= PATIENCE);
    }

    #[cfg(unix)]
    #[test]
    fn name_servers_stand_in_resolv_conf() {
        let text = "# nameserver 192.0.2.9\nsearch example.org\nnameserver 192.0.2.1\n\tnameserver\t::1 # why\n\
                    nameserver nonsense\nnameserver\nnameserver fe80::1%eth0\nnameserver 192.0.2.2\nnameserver 192.0.2.3";
        let found = parse_nameservers(text);
        assert_eq!(found, ["192.0.2.1:53", "[::1]:53", "192.0.2.2:53"].map(|text| text.parse().unwrap()));
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(
            datagram in proptest::collection::vec(any::<u8>(), 0..MAX_ANSWER_BYTES),
            flips in proptest::collection::vec((0..80usize, any::<u8>()), 0..8),
        ) {
            let name = "_jamulus._udp.example.org";
            parse_answer(&datagram, name, 7);
            let mut answer = question(name, 7).unwrap();
            answer[2] |= 0x80;
            answer.extend_from_slice(&datagram);
            for (position, value) in flips {
                if let Some(byte) = answer.get_mut(position) {
                    *byte = value;
                }
            }
            parse_answer(&answer, name, 7);
        }
    }
}
