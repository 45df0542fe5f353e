//! Reads the captures of real sessions in `tests/data/captures`: UDP over IPv4 over Ethernet on the loopback.

use std::path::PathBuf;

use jamulet::units::Time;

/// One UDP datagram of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// Since the capture's first datagram.
    pub at: Time,
    /// Source port.
    pub from: u16,
    /// Destination port.
    pub to: u16,
    /// What it says.
    pub bytes: Vec<u8>,
}

/// File names of all captures, in alphabetical order.
///
/// # Panics
/// If there is none.
pub fn names() -> Vec<String> {
    let entries = std::fs::read_dir(folder()).expect("tests/data/captures is part of the repository");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("a readable folder").file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".pcap"))
        .collect();
    names.sort();
    names
}

/// All datagrams of the capture, in order.
///
/// # Panics
/// If there is no such capture, or something else in it.
pub fn read(name: &str) -> Vec<Captured> {
    let path = folder().join(name);
    let file = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (header, mut rest) = file.split_at(24);
    assert_eq!(le32(header, 0), 0xA1B2_C3D4, "little-endian pcap with microseconds");
    assert_eq!(le32(header, 20), 1, "Ethernet");
    let mut first = None;
    let mut all = Vec::new();
    while !rest.is_empty() {
        let micros = u64::from(le32(rest, 0)) * 1_000_000 + u64::from(le32(rest, 4));
        assert_eq!(le32(rest, 8), le32(rest, 12), "captured whole");
        let (packet, after) = rest[16..].split_at(le32(rest, 8) as usize);
        rest = after;
        let first = *first.get_or_insert(micros);
        let (from, to, bytes) = udp(packet);
        all.push(Captured { at: Time::from_micros(micros - first), from, to, bytes });
    }
    all
}

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../data/captures"))
}

fn udp(packet: &[u8]) -> (u16, u16, Vec<u8>) {
    let ip = &packet[14..];
    assert_eq!((be16(packet, 12), ip[9]), (0x0800, 17), "UDP over IPv4");
    assert_eq!([ip[6] & 0x3F, ip[7]], [0, 0], "not fragmented");
    assert_eq!(ip[12..16], [127, 0, 0, 1], "from the loopback");
    let udp = &ip[usize::from(ip[0] & 15) * 4..];
    (be16(udp, 0), be16(udp, 2), udp[8..usize::from(be16(udp, 4))].to_vec())
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}
