//! Datagrams waiting for the driver to send them.

use std::net::SocketAddr;
use std::ops::Range;

use crate::units::{MAX_AUDIO_PACKET_BYTES, MAX_CHANNELS};

/// Most audio packets of one tick: two for each client with short frames.
const AUDIO_PACKETS: usize = 2 * MAX_CHANNELS;
/// Bytes kept ready: a tick of the largest packets for everyone.
const READY_BYTES: usize = MAX_CHANNELS * MAX_AUDIO_PACKET_BYTES + (64 << 10);
/// Most bytes that may wait; what comes beyond is lost, as on any network.
const MAX_WAITING_BYTES: usize = 4 << 20;

/// Datagrams in the order in which they were made.
pub(super) struct Outbox {
    bytes: Vec<u8>,
    queued: Vec<(SocketAddr, Range<usize>)>,
    sent: Sent,
}

/// What went through an outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    /// Datagrams accepted.
    pub(super) packets: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// Datagrams lost because too many waited.
    pub(super) dropped: u64,
}

impl Outbox {
    pub(super) fn new() -> Self {
        Self {
            bytes: Vec::with_capacity(READY_BYTES),
            queued: Vec::with_capacity(2 * AUDIO_PACKETS),
            sent: Sent::default(),
        }
    }

    /// Adds a message datagram; may allocate. Beyond [`MAX_WAITING_BYTES`] it is lost.
    pub(super) fn push(&mut self, to: SocketAddr, datagram: &[u8]) {
        if self.bytes.len() + datagram.len() <= MAX_WAITING_BYTES {
            self.append(to, datagram);
        } else {
            self.sent.dropped += 1;
        }
    }

    /// Adds an audio packet, never allocating: lost when what is kept ready is used up (the driver
    /// has not drained between ticks).
    pub(super) fn push_audio(&mut self, to: SocketAddr, packet: &[u8]) {
        let room = self.bytes.capacity().min(MAX_WAITING_BYTES).saturating_sub(self.bytes.len());
        if room >= packet.len() && self.queued.len() < self.queued.capacity() {
            self.append(to, packet);
        } else {
            self.sent.dropped += 1;
        }
    }

    /// Hands every datagram to `send`, oldest first, and forgets them.
    pub(super) fn drain(&mut self, mut send: impl FnMut(SocketAddr, &[u8])) {
        for (to, range) in self.queued.drain(..) {
            send(to, &self.bytes[range]);
        }
        self.bytes.clear();
    }

    /// What went through since the start.
    pub(super) fn sent(&self) -> Sent {
        self.sent
    }

    fn append(&mut self, to: SocketAddr, datagram: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(datagram);
        self.queued.push((to, start..self.bytes.len()));
        self.sent.packets += 1;
        self.sent.bytes += datagram.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_tick_fits_and_an_undrained_outbox_is_bounded() {
        let to = "127.0.0.1:1".parse().unwrap();
        let mut outbox = Outbox::new();
        for _ in 0..MAX_CHANNELS {
            outbox.push_audio(to, &[0; MAX_AUDIO_PACKET_BYTES]);
        }
        let mut count = 0;
        outbox.drain(|_, packet| {
            assert_eq!(packet.len(), MAX_AUDIO_PACKET_BYTES);
            count += 1;
        });
        assert_eq!(count, MAX_CHANNELS);
        for _ in 0..100_000 {
            outbox.push(to, &[0; 20_000]);
            outbox.push_audio(to, &[0; 500]);
        }
        assert!(outbox.bytes.len() <= MAX_WAITING_BYTES);
    }
}
