//! Reads the captures in `tests/data/captures`: UDP over IPv4 over Ethernet, little-endian pcap.

use std::path::Path;

/// One capture file.
pub(crate) struct Capture {
    /// File name.
    pub(crate) name: String,
    /// Datagrams in order.
    pub(crate) packets: Vec<Packet>,
}

/// One datagram.
pub(crate) struct Packet {
    pub(crate) from_port: u16,
    pub(crate) to_port: u16,
    pub(crate) payload: Vec<u8>,
}

/// Who sends to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Direction(pub(crate) Role, pub(crate) Role);

/// What a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Client,
    Server,
    Directory,
}

impl Packet {
    pub(crate) fn direction(&self) -> Direction {
        Direction(role(self.from_port), role(self.to_port))
    }
}

/// All captures; fails when one that belongs to the proof is missing.
pub(crate) fn all() -> Vec<Capture> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/captures");
    let mut captures: Vec<_> = std::fs::read_dir(&folder)
        .expect("tests/data/captures is part of the repository")
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "pcap"))
        .map(|path| Capture {
            name: path.file_name().expect("a file").to_string_lossy().into_owned(),
            packets: parse(&std::fs::read(&path).expect("a readable capture")),
        })
        .collect();
    captures.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(captures.len(), 14, "captures are missing or were added: update this number");
    captures
}

/// The ports that the captures' README names; every other port is a client's.
fn role(port: u16) -> Role {
    match port {
        22130 => Role::Directory,
        22124 | 22131 | 22132 => Role::Server,
        _ => Role::Client,
    }
}

fn parse(file: &[u8]) -> Vec<Packet> {
    let (header, mut rest) = file.split_at(24);
    assert_eq!(header[..4], [0xD4, 0xC3, 0xB2, 0xA1], "little-endian pcap with microseconds");
    assert_eq!(header[20..24], [1, 0, 0, 0], "link type Ethernet");
    let mut packets = Vec::new();
    while !rest.is_empty() {
        let (record, tail) = rest.split_at(16);
        let length = |at: usize| u32::from_le_bytes(record[at..at + 4].try_into().expect("4 bytes"));
        assert_eq!(length(8), length(12), "packets are captured whole");
        let (ethernet, tail) = tail.split_at(length(8) as usize);
        packets.push(parse_ethernet(ethernet));
        rest = tail;
    }
    packets
}

fn parse_ethernet(ethernet: &[u8]) -> Packet {
    assert_eq!(ethernet[12..14], [0x08, 0x00], "IPv4");
    let ip = &ethernet[14..];
    assert_eq!(ip[9], 17, "UDP");
    assert_eq!([ip[6] & 0x3F, ip[7]], [0, 0], "not fragmented");
    let udp = &ip[usize::from(ip[0] & 0xF) * 4..];
    let word = |at: usize| u16::from_be_bytes([udp[at], udp[at + 1]]);
    Packet { from_port: word(0), to_port: word(2), payload: udp[8..usize::from(word(4))].to_vec() }
}
