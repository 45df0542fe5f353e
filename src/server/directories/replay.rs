//! A capture of Debian's Jamulus 3.9.1 as a directory, with servers and clients of 3.9.1 and 4.0: told the same,
//! ours answers the same, byte for byte.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};

use super::super::config::{Config, OwnDirectory, ServerProfile};
use super::{Directories, OwnAddress};
use crate::protocol::{ConnlessMessage, Datagram, classify};
use crate::units::Time;

const CAPTURE: &[u8] =
    include_bytes!("../../../tests/data/captures/directory_391_reg_391_and_head_query.pcap");
const DIRECTORY_PORT: u16 = 22130;
/// Answers to registrations, and the two lists.
const ANSWERS: [u16; 3] = [1016, 1018, 1006];

#[test]
fn the_stock_directorys_answers_are_ours() {
    let config = Config {
        profile: ServerProfile { name: "DirServ".into(), city: "Berlin".into(), country: 0 },
        own_directory: Some(OwnDirectory::default()),
        ..Config::default()
    };
    let own = OwnAddress { ip: Some(Ipv4Addr::LOCALHOST), port: DIRECTORY_PORT };
    let start = captured()[0].at;
    let mut directories = Directories::new(start, &config, own);
    let mut ours = VecDeque::new();
    let (mut answers, mut most_listed) = (0, 0);
    for packet in captured() {
        let Datagram::Frame(frame) = classify(packet.bytes) else { panic!("audio in {:?}", packet.bytes) };
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if packet.to == DIRECTORY_PORT {
            let message = ConnlessMessage::parse(frame.id, frame.body).unwrap();
            directories.handle(packet.at, local(packet.from), &message);
            directories.drain_transmits(|to, datagram| ours.push_back((to, datagram.to_vec())));
            most_listed = most_listed.max(directories.listed_servers().unwrap());
        } else if packet.from == DIRECTORY_PORT && ANSWERS.contains(&frame.id) {
            assert_eq!(
                ours.pop_front(),
                Some((local(packet.to), packet.bytes.to_vec())),
                "at {:?}",
                packet.at
            );
            answers += 1;
        }
    }
    assert_eq!((answers, most_listed), (2 + 3 * 2, 2), "two servers, three requests");
    assert!(ours.is_empty(), "nothing that the stock directory does not say: {ours:?}");
    assert_eq!(directories.listed_servers(), Some(0), "both have left");
}

/// A datagram between two ports of the loopback.
struct Captured {
    at: Time,
    from: u16,
    to: u16,
    bytes: &'static [u8],
}

/// The capture's datagrams in order: little-endian pcap with microseconds, Ethernet, IPv4 without options, UDP.
fn captured() -> Vec<Captured> {
    const PCAP_HEADER: usize = 24;
    const RECORD_HEADER: usize = 16;
    const UDP: usize = 14 + 20;
    let mut rest = &CAPTURE[PCAP_HEADER..];
    let mut all = Vec::new();
    while !rest.is_empty() {
        let le32 = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
        let (packet, after) = rest[RECORD_HEADER..].split_at(le32(8) as usize);
        let be16 = |at: usize| u16::from_be_bytes([packet[UDP + at], packet[UDP + at + 1]]);
        let at = Time::from_micros(u64::from(le32(0)) * 1_000_000 + u64::from(le32(4)));
        let bytes = &packet[UDP + 8..UDP + usize::from(be16(4))];
        all.push(Captured { at, from: be16(0), to: be16(2), bytes });
        rest = after;
    }
    all
}
