//! Reusable buffers for many datagrams at once; nothing here allocates after `new`.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use crate::units::MAX_DATAGRAM_BYTES;

/// Room for one datagram and one byte more, by which a longer one is recognised.
pub(super) const SLOT_BYTES: usize = MAX_DATAGRAM_BYTES + 1;

/// Datagrams as they were received, oldest first.
pub struct ReceiveBatch {
    pub(super) bytes: Box<[u8]>,
    pub(super) received: Vec<(SocketAddr, usize)>,
}

impl ReceiveBatch {
    /// Room for `slots` datagrams of up to [`MAX_DATAGRAM_BYTES`] each.
    pub fn new(slots: usize) -> Self {
        Self { bytes: vec![0; slots * SLOT_BYTES].into_boxed_slice(), received: Vec::with_capacity(slots) }
    }

    /// Most datagrams that fit.
    pub fn slots(&self) -> usize {
        self.received.capacity().min(self.bytes.len() / SLOT_BYTES)
    }

    /// The datagrams of the last [`super::Socket::receive`], with their senders. Ones that were too
    /// long are left out; IPv4 senders are plain IPv4 whatever the socket's family.
    pub fn iter(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        self.bytes
            .chunks_exact(SLOT_BYTES)
            .zip(&self.received)
            .filter(|(_, (_, length))| *length <= MAX_DATAGRAM_BYTES)
            .map(|(slot, (from, length))| (*from, &slot[..*length]))
    }
}

/// Datagrams waiting to be sent together.
pub struct SendBatch {
    pub(super) bytes: Vec<u8>,
    pub(super) queued: Vec<(SocketAddr, Range<usize>)>,
}

impl SendBatch {
    /// Room for `datagrams` datagrams with `bytes` bytes together.
    pub fn new(datagrams: usize, bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), queued: Vec::with_capacity(datagrams) }
    }

    /// Adds a datagram; `false` (and nothing added) when there is no room: send first, then push again.
    #[must_use]
    pub fn push(&mut self, to: SocketAddr, datagram: &[u8]) -> bool {
        if self.queued.len() == self.queued.capacity()
            || self.bytes.capacity() - self.bytes.len() < datagram.len()
        {
            return false;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(datagram);
        self.queued.push((to, start..self.bytes.len()));
        true
    }

    /// Datagrams waiting.
    pub fn len(&self) -> usize {
        self.queued.len()
    }

    /// Whether none is waiting.
    pub fn is_empty(&self) -> bool {
        self.queued.is_empty()
    }

    /// Forgets what waits.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.queued.clear();
    }
}

/// An address of a dual-stack socket as its user knows it: v4-mapped IPv6 becomes plain IPv4.
pub(super) fn unmap(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(v4) => SocketAddr::new(IpAddr::V4(v4), address.port()),
            None => address,
        },
        IpAddr::V4(_) => address,
    }
}

/// The reverse of [`unmap`], for sending IPv4 through an IPv6 socket.
pub(super) fn map_to_v6(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(IpAddr::V6(ip.to_ipv6_mapped()), address.port()),
        IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_batch_refuses_and_keeps_what_it_has() {
        let to = "127.0.0.1:1".parse().unwrap();
        let mut batch = SendBatch::new(2, 4);
        assert!(batch.push(to, b"abc"));
        assert!(!batch.push(to, b"de"), "no bytes left");
        assert!(batch.push(to, b"d"));
        assert!(!batch.push(to, b""), "no slot left");
        assert_eq!(batch.len(), 2);
        batch.clear();
        assert!(batch.is_empty() && batch.push(to, b"abcd"));
    }

    #[test]
    fn mapped_addresses_come_back_plain() {
        let v4: SocketAddr = "192.0.2.7:22124".parse().unwrap();
        let v6: SocketAddr = "[2001:db8::1]:22124".parse().unwrap();
        assert_eq!(map_to_v6(v4), "[::ffff:192.0.2.7]:22124".parse().unwrap());
        assert_eq!(unmap(map_to_v6(v4)), v4);
        assert_eq!(unmap(map_to_v6(v6)), v6);
    }
}
