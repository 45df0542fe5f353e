//! Every id and direction of `docs/PROTOCOL.md` §2 and §4, by a capture or by a vector from here.
//!
//! The vectors' bytes were put together by hand from the page; their CRCs come from another
//! implementation (Python's `binascii.crc_hqx`).

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};

use jamulet::protocol::{
    ChannelInfo, ClientEntry, ConnlessMessage, Datagram, Frame, JitterBufferSize, Message, Os, PacketLayout,
    PartRef, ReducedServerEntry, RegistrationResult, ServerEntry, ServerRegistration, Skill,
    TransportProperties, classify, is_connless, parse_ack, write_frame,
};
use jamulet::units::{ChannelId, FrameSize, Layout, Quality, StreamFormat};

use crate::captures;
use crate::pcap::{Direction, Role};

const TO_SERVER: Direction = Direction(Role::Client, Role::Server);
const TO_CLIENT: Direction = Direction(Role::Server, Role::Client);
const ASK_DIRECTORY: Direction = Direction(Role::Client, Role::Directory);
const FROM_DIRECTORY: Direction = Direction(Role::Directory, Role::Client);
const REGISTER: Direction = Direction(Role::Server, Role::Directory);
const TO_REGISTERED: Direction = Direction(Role::Directory, Role::Server);

/// Ids of §1, §2 and §4 with the directions in which they travel.
const REQUIRED: &[(u16, &[Direction])] = &[
    (1, &[TO_SERVER, TO_CLIENT]),
    (10, &[TO_SERVER, TO_CLIENT]),
    (11, &[TO_CLIENT]),
    (13, &[TO_SERVER]),
    (16, &[TO_SERVER]),
    (18, &[TO_SERVER, TO_CLIENT]),
    (20, &[TO_SERVER]),
    (21, &[TO_CLIENT]),
    (23, &[TO_CLIENT]),
    (24, &[TO_CLIENT]),
    (25, &[TO_SERVER]),
    (26, &[TO_CLIENT]),
    (27, &[TO_CLIENT]),
    (28, &[TO_SERVER]),
    (29, &[TO_CLIENT]),
    (30, &[TO_SERVER]),
    (31, &[TO_CLIENT]),
    (32, &[TO_CLIENT]),
    (33, &[TO_CLIENT]),
    (34, &[TO_CLIENT]),
    (35, &[TO_SERVER]),
    (36, &[TO_CLIENT]),
    (1001, &[TO_SERVER, TO_CLIENT, ASK_DIRECTORY, FROM_DIRECTORY]),
    (1002, &[TO_SERVER, TO_CLIENT, ASK_DIRECTORY, FROM_DIRECTORY]),
    (1003, &[TO_CLIENT]),
    (1004, &[REGISTER]),
    (1005, &[REGISTER]),
    (1006, &[FROM_DIRECTORY]),
    (1007, &[ASK_DIRECTORY]),
    (1008, &[TO_REGISTERED]),
    (1009, &[TO_CLIENT, REGISTER, TO_REGISTERED]),
    (1010, &[TO_SERVER, TO_CLIENT]),
    (1011, &[TO_CLIENT, FROM_DIRECTORY]),
    (1012, &[TO_SERVER, ASK_DIRECTORY]),
    (1013, &[TO_CLIENT, FROM_DIRECTORY]),
    (1014, &[TO_SERVER, ASK_DIRECTORY]),
    (1015, &[TO_CLIENT]),
    (1016, &[TO_REGISTERED]),
    (1017, &[REGISTER]),
    (1018, &[FROM_DIRECTORY]),
    (1019, &[TO_CLIENT]),
    (1020, &[TO_SERVER, ASK_DIRECTORY]),
    (1021, &[TO_CLIENT]),
    (1022, &[TO_SERVER, ASK_DIRECTORY]),
    (2001, &[TO_SERVER, TO_CLIENT]),
];

/// What a vector's body means.
#[derive(Debug, PartialEq)]
enum Meaning {
    Ack(u16),
    Part { original_id: u16, parts: u8, index: u8, data: Vec<u8> },
    Connected(Message),
    Connless(ConnlessMessage),
}

/// A whole datagram: directions, counter, bytes in hex (tag id counter length body crc), meaning.
struct Vector(&'static [Direction], u8, &'static str, Meaning);

fn vectors() -> Vec<Vector> {
    use Meaning::{Ack, Connected, Connless, Part};
    let channel = ChannelId(5);
    let part = Part { original_id: 18, parts: 3, index: 2, data: b"tail".to_vec() };
    vec![
        Vector(&[TO_SERVER, TO_CLIENT], 200, "0000 0100 c8 0200 1900 fa3a", Ack(25)),
        Vector(
            &[TO_SERVER],
            7,
            "0000 0a00 07 0200 1500 f962",
            Connected(Message::JitterBufferSize(JitterBufferSize::Auto)),
        ),
        Vector(
            &[TO_SERVER],
            255,
            "0000 0d00 ff 0300 050080 b788",
            Connected(Message::ChannelGain { channel, gain: 32768 }),
        ),
        Vector(
            &[TO_SERVER],
            1,
            "0000 1400 01 1300 48000000 0100 02 80bb0000 0200 0100 00000000 8e67",
            Connected(Message::TransportProperties(TransportProperties::new(PacketLayout {
                format: StreamFormat::stock(FrameSize::Samples128, Layout::Stereo, Quality::Normal),
                block_factor: 1,
                counter: true,
            }))),
        ),
        Vector(
            &[TO_CLIENT],
            2,
            "0000 1800 02 2700 \
             00 5200 03000000 03 00000000 0400 5a6fc3ab 0300 556c6d \
             95 0000 00000000 00 00000000 0000 0000 9f04",
            Connected(Message::ClientList(vec![zoe(), nobody(149)])),
        ),
        Vector(&[TO_CLIENT], 9, "0000 1a00 09 0000 54d2", Connected(Message::OpusSupported)),
        Vector(&[TO_CLIENT], 3, "0000 1b00 03 0100 01 2aab", Connected(Message::LicenceRequired(1))),
        Vector(&[TO_SERVER, TO_CLIENT], 4, "0000 d107 04 0800 1200 03 02 7461696c ea1e", part),
        Vector(
            &[TO_CLIENT],
            0,
            "0000 ea03 00 0500 04030201 07 6b2b",
            Connless(ConnlessMessage::PingWithClients { time_ms: 0x0102_0304, clients: 7 }),
        ),
        Vector(
            &[REGISTER],
            0,
            "0000 ec03 00 1a00 6c56 5200 0a 01 0300 4a616d 0800 31302e302e302e35 0300 556c6d ed35",
            Connless(ConnlessMessage::RegisterServer(jam())),
        ),
        Vector(
            &[FROM_DIRECTORY],
            0,
            "0000 ee03 00 2900 \
             00000000 0000 0000 96 01 0300 446972 0000 0000 \
             010200c0 6c56 5200 0a 00 0300 4a616d 0000 0300 556c6d 3997",
            Connless(ConnlessMessage::ServerList(vec![directory_itself(), listed()])),
        ),
        Vector(
            &[TO_REGISTERED],
            0,
            "0000 f003 00 0600 010200c0 7656 d76b",
            Connless(ConnlessMessage::SendEmptyMessage(SocketAddrV4::new(listed().ip, 22134))),
        ),
        Vector(
            &[TO_CLIENT, REGISTER, TO_REGISTERED],
            0,
            "0000 f103 00 0000 ea00",
            Connless(ConnlessMessage::EmptyMessage),
        ),
        Vector(
            &[TO_SERVER, TO_CLIENT],
            0,
            "0000 f203 00 0000 38ee",
            Connless(ConnlessMessage::Disconnection),
        ),
        Vector(
            &[TO_CLIENT],
            0,
            "0000 f703 00 0200 21f3 7218",
            Connless(ConnlessMessage::LevelList(vec![1, 2, 3])),
        ),
        Vector(
            &[TO_REGISTERED],
            0,
            "0000 f803 00 0100 03 bebb",
            Connless(ConnlessMessage::RegistrationResult(RegistrationResult::RequirementsNotFulfilled)),
        ),
        Vector(
            &[REGISTER],
            0,
            "0000 f903 00 2200 6c56 5200 0a 01 0300 4a616d 0800 31302e302e302e35 0300 556c6d \
             02 0500 332e392e31 d28b",
            Connless(ConnlessMessage::RegisterServerEx {
                registration: jam(),
                os: Os::LINUX,
                version: "3.9.1".into(),
            }),
        ),
        Vector(
            &[FROM_DIRECTORY],
            0,
            "0000 fa03 00 0a00 010200c0 6c56 03 4a616d 30f8",
            Connless(ConnlessMessage::ReducedServerList(vec![ReducedServerEntry {
                address: SocketAddrV4::new(listed().ip, 22124),
                name: "Jam".into(),
            }])),
        ),
    ]
}

#[test]
fn vectors_mean_what_they_say_and_are_written_alike() {
    for Vector(_, counter, hex, meaning) in vectors() {
        let datagram = bytes(hex);
        let Datagram::Frame(frame) = classify(&datagram) else { panic!("{hex} is no frame") };
        assert_eq!(frame.counter, counter, "{hex}");
        assert_eq!(meant_by(&frame), meaning, "{hex}");
        let mut written = Vec::new();
        write_frame(frame.id, counter, &captures::emitted_again(frame.id, frame.body), &mut written);
        assert_eq!(written, datagram, "{hex}");
        if let Meaning::Connless(message) = meaning {
            assert_eq!(message.to_datagram(), datagram, "{hex}");
        }
    }
}

#[test]
fn every_id_and_direction_is_covered() {
    let mut covered = captures::seen();
    for Vector(directions, _, hex, _) in vectors() {
        let datagram = bytes(hex);
        let Datagram::Frame(frame) = classify(&datagram) else { panic!("{hex} is no frame") };
        covered.extend(directions.iter().map(|direction| (frame.id, *direction)));
    }
    let missing: Vec<_> = REQUIRED
        .iter()
        .flat_map(|(id, directions)| directions.iter().map(|direction| (*id, *direction)))
        .filter(|needed| !covered.contains(needed))
        .collect();
    assert!(missing.is_empty(), "neither captured nor written down: {missing:?}");
}

/// The table above names exactly the ids that the page's tables name, and the parsers know them.
#[test]
fn the_table_has_the_ids_of_the_page() {
    let page = include_str!("../../docs/PROTOCOL.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| "));
    let mut documented: BTreeSet<u16> = rows
        .filter_map(|row| row.split('|').next())
        .flat_map(|ids| ids.split('/').filter_map(|id| id.trim().parse().ok()))
        .collect();
    assert!(documented.insert(2001), "the split container stands in §1, not in a table");
    let required: BTreeSet<u16> = REQUIRED.iter().map(|(id, _)| *id).collect();
    assert_eq!(documented, required);
    for id in required.iter().filter(|id| ![1, 2001].contains(*id)) {
        let unknown = jamulet::protocol::ParseError::UnknownId(*id);
        let parsed = if is_connless(*id) {
            ConnlessMessage::parse(*id, &[]).err()
        } else {
            Message::parse(*id, &[]).err()
        };
        assert_ne!(parsed, Some(unknown));
    }
}

fn meant_by(frame: &Frame<'_>) -> Meaning {
    match frame.id {
        1 => Meaning::Ack(parse_ack(frame.body).expect("an ACK")),
        2001 => {
            let PartRef { original_id, parts, index, data } = PartRef::parse(frame.body).expect("a part");
            Meaning::Part { original_id, parts, index, data: data.to_vec() }
        }
        id if is_connless(id) => {
            Meaning::Connless(ConnlessMessage::parse(id, frame.body).expect("a message"))
        }
        id => Meaning::Connected(Message::parse(id, frame.body).expect("a message")),
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        hex.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    let (pairs, odd) = digits.as_chunks();
    assert!(odd.is_empty(), "half a byte in {hex}");
    pairs.iter().map(|[high, low]| high << 4 | low).collect()
}

fn zoe() -> ClientEntry {
    let info = ChannelInfo {
        country: 82,
        instrument: 3,
        skill: Skill::EXPERT,
        name: "Zoë".into(),
        city: "Ulm".into(),
    };
    ClientEntry { channel: ChannelId(0), info }
}

fn nobody(channel: u8) -> ClientEntry {
    ClientEntry { channel: ChannelId(channel), info: ChannelInfo::default() }
}

fn jam() -> ServerRegistration {
    ServerRegistration {
        internal_port: 22124,
        country: 82,
        max_clients: 10,
        permanent: true,
        name: "Jam".into(),
        internal_address: "10.0.0.5".into(),
        city: "Ulm".into(),
    }
}

fn listed() -> ServerEntry {
    let registration = ServerRegistration { permanent: false, internal_address: String::new(), ..jam() };
    ServerEntry { ip: Ipv4Addr::new(192, 0, 2, 1), registration }
}

fn directory_itself() -> ServerEntry {
    let registration = ServerRegistration {
        internal_port: 0,
        country: 0,
        max_clients: 150,
        permanent: true,
        name: "Dir".into(),
        internal_address: String::new(),
        city: String::new(),
    };
    ServerEntry { ip: Ipv4Addr::UNSPECIFIED, registration }
}
