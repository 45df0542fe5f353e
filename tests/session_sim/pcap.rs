//! Reads the captures of real sessions.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use jamulet::units::Time;

/// One UDP datagram of a capture.
pub(crate) struct Captured {
    /// Since the capture's first packet.
    pub at: Time,
    /// Source port.
    pub from: u16,
    /// Destination port.
    pub to: u16,
    pub bytes: Vec<u8>,
}

/// All UDP datagrams of `tests/data/captures/NAME.pcap`, in order.
pub(crate) fn read(name: &str) -> Vec<Captured> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/captures").join(name);
    let file = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (header, mut rest) = file.split_at(24);
    assert_eq!(le32(header, 0), 0xA1B2_C3D4, "little-endian pcap with microseconds");
    assert_eq!(le32(header, 20), 1, "Ethernet");
    let mut first = None;
    let mut all = Vec::new();
    while !rest.is_empty() {
        let micros = u64::from(le32(rest, 0)) * 1_000_000 + u64::from(le32(rest, 4));
        let (packet, after) = rest[16..].split_at(le32(rest, 8) as usize);
        rest = after;
        let first = *first.get_or_insert(micros);
        all.extend(udp(packet).map(|(from, to, bytes)| Captured {
            at: Time::from_micros(micros - first),
            from,
            to,
            bytes,
        }));
    }
    all
}

fn udp(packet: &[u8]) -> Option<(u16, u16, Vec<u8>)> {
    let ip = &packet[14..];
    let is_ipv4_udp = be16(packet, 12) == 0x0800 && ip[9] == 17;
    if !is_ipv4_udp {
        return None;
    }
    assert_eq!(Ipv4Addr::new(ip[12], ip[13], ip[14], ip[15]), Ipv4Addr::LOCALHOST);
    let udp = &ip[usize::from(ip[0] & 15) * 4..];
    let bytes = udp[8..usize::from(be16(udp, 4))].to_vec();
    Some((be16(udp, 0), be16(udp, 2), bytes))
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}
