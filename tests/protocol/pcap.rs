//! The captures, and who speaks in them.

use jamulet_testkit::pcap::{Captured, names, read};

/// One capture file.
pub(crate) struct Capture {
    /// File name.
    pub(crate) name: String,
    /// Datagrams in order.
    pub(crate) packets: Vec<Captured>,
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

/// From whom to whom a datagram goes.
pub(crate) fn direction(packet: &Captured) -> Direction {
    Direction(role(packet.from), role(packet.to))
}

/// All captures; fails when one that belongs to the proof is missing.
pub(crate) fn all() -> Vec<Capture> {
    let captures: Vec<_> = names().into_iter().map(|name| Capture { packets: read(&name), name }).collect();
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
