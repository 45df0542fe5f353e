//! Which received frames are repeats of what has been processed already.
//!
//! A peer resends a message until it hears our acknowledgement, and numbers only grow, so what
//! equals the last one processed is a resend, however late. That rule alone would let a copy that
//! the *network* made, and delivered after the next message, be processed twice. So the last few
//! messages are remembered for a short while. Both bounds matter: counters wrap after 256
//! messages, and a restarted server begins again with the very same frames.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use crate::protocol::Frame;
use crate::units::Time;

/// How many processed messages are remembered besides the last one.
const REMEMBERED: usize = 16;
/// How much later than its original a copy made by the network is still known as one. Longer than
/// networks hold a datagram back, shorter than a server takes to restart and greet us again.
const LATEST_COPY: Duration = Duration::from_secs(1);

/// The last messages processed.
#[derive(Clone, Debug, Default)]
pub(super) struct Repeats {
    /// Newest last.
    processed: VecDeque<Processed>,
}

#[derive(Clone, Copy, Debug)]
struct Processed {
    id: u16,
    counter: u8,
    fingerprint: u64,
    at: Time,
}

impl Repeats {
    /// Whether `frame` was processed before. If not, it counts as processed from now on.
    pub(super) fn is_repeat(&mut self, now: Time, frame: &Frame<'_>) -> bool {
        let new =
            Processed { id: frame.id, counter: frame.counter, fingerprint: fingerprint(frame.body), at: now };
        let is_resend = self.processed.back().is_some_and(|last| last.same_number(&new));
        if is_resend || self.processed.iter().any(|old| old.is_original_of(&new)) {
            return true;
        }
        if self.processed.len() > REMEMBERED {
            self.processed.pop_front();
        }
        self.processed.push_back(new);
        false
    }
}

impl Processed {
    fn same_number(&self, other: &Self) -> bool {
        (self.id, self.counter) == (other.id, other.counter)
    }

    fn is_original_of(&self, new: &Self) -> bool {
        self.same_number(new) && self.fingerprint == new.fingerprint && new.at.since(self.at) <= LATEST_COPY
    }
}

fn fingerprint(body: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(id: u16, counter: u8, body: &[u8]) -> Frame<'_> {
        Frame { id, counter, body }
    }

    #[test]
    fn the_last_one_is_a_resend_however_late() {
        let mut repeats = Repeats::default();
        assert!(!repeats.is_repeat(Time::ZERO, &frame(32, 0, &[1])));
        assert!(repeats.is_repeat(Time::ZERO + Duration::from_secs(100), &frame(32, 0, &[2])));
    }

    #[test]
    fn a_late_copy_of_an_earlier_one_is_known_for_a_second() {
        let mut repeats = Repeats::default();
        for counter in 0..16 {
            assert!(!repeats.is_repeat(Time::ZERO, &frame(18, counter, b"a")));
        }
        let at_the_limit = Time::ZERO + LATEST_COPY;
        assert!(repeats.is_repeat(at_the_limit, &frame(18, 0, b"a")));
        assert!(!repeats.is_repeat(at_the_limit, &frame(18, 0, b"b")), "another text is another message");
        assert!(!repeats.is_repeat(at_the_limit, &frame(23, 1, b"a")), "another id is another message");
        let later = at_the_limit + Duration::from_micros(1);
        assert!(!repeats.is_repeat(later, &frame(18, 2, b"a")), "a restarted peer is heard");
    }

    #[test]
    fn memory_is_bounded() {
        let mut repeats = Repeats::default();
        for i in 0..10_000u32 {
            repeats.is_repeat(Time::ZERO, &frame(i as u16, i as u8, &i.to_le_bytes()));
        }
        assert!(repeats.processed.len() <= REMEMBERED + 1);
    }
}
