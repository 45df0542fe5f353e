//! When to send the frames of one host block, so that they leave evenly whatever the block's size.
//!
//! A block of 4096 samples makes 32 frames at once, and a stock server's buffer holds at most 20.
//! Every frame is therefore sent a constant time after its last sample was captured. That time is
//! the smallest for which no frame would have to leave before its block was handed to us: the
//! largest age (samples of the same block after the frame's end) seen so far.

use std::time::Duration;

use crate::units::{Time, WIRE_RATE_HZ};

/// The wait shrinks only when ages have been less than half of it for this long: a host that varies its blocks
/// must not surprise us often.
const WINDOW: Duration = Duration::from_secs(10);
/// A host whose blocks still grow after this varies them: then some headroom saves it from doing so again.
const LEARNING: Duration = Duration::from_millis(500);

/// Schedule of the uplink.
#[derive(Default)]
pub(super) struct Pacer {
    started: Option<Time>,
    window_started: Time,
    /// Largest age of this window, in samples at 48 kHz.
    largest: u32,
    /// Constant time from a frame's end to its departure, in samples at 48 kHz.
    held: u32,
    /// `held` does not go below this.
    least: u32,
}

impl Pacer {
    /// Ages of up to `age_samples` will come: frames are held that long from now on, so that their due times
    /// need not move when they do. When less is told, frames leave sooner after a while.
    pub(super) fn hold_at_least(&mut self, age_samples: u32) {
        self.least = age_samples;
        self.held = self.held.max(self.least);
    }

    /// How long every frame is held back after its last sample was captured, in samples at 48 kHz.
    pub(super) fn held(&self) -> u32 {
        self.held
    }

    /// When to send a frame that came from the engine at `now` with `age_samples` at 48 kHz.
    pub(super) fn due(&mut self, now: Time, age_samples: u32) -> Time {
        let started = *self.started.get_or_insert(now);
        if now.since(self.window_started) >= WINDOW {
            self.window_started = now;
            let largest = std::mem::take(&mut self.largest);
            if 2 * largest < self.held {
                self.held = largest.max(self.least);
            }
        }
        self.largest = self.largest.max(age_samples);
        if age_samples > self.held {
            let headroom = if now.since(started) > LEARNING { age_samples / 8 } else { 0 };
            self.held = age_samples + headroom;
        }
        now + Duration::from_micros(u64::from(self.held - age_samples) * 1_000_000 / u64::from(WIRE_RATE_HZ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Dues of the frames of blocks of these sizes, each handed over when its last sample was captured.
    fn dues(blocks: impl IntoIterator<Item = u32>) -> Vec<u64> {
        const FRAME: u32 = 128;
        let (mut pacer, mut all, mut captured, mut pending) = (Pacer::default(), Vec::new(), 0u64, 0);
        for block in blocks {
            captured += u64::from(block);
            pending += block;
            let now = Time::from_micros(captured * 1_000_000 / u64::from(WIRE_RATE_HZ));
            while pending >= FRAME {
                pending -= FRAME;
                all.push(pacer.due(now, pending).as_micros());
            }
        }
        all
    }

    fn gaps(dues: &[u64]) -> Vec<u64> {
        dues.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    #[test]
    fn a_block_of_one_frame_leaves_at_once() {
        assert_eq!(dues([128, 128]), [2666, 5333]);
    }

    #[test]
    fn large_and_odd_blocks_leave_evenly() {
        for block in [256, 480, 512, 1024, 4096] {
            let gaps = gaps(&dues(std::iter::repeat_n(block, 40)));
            assert!(gaps[8..].iter().all(|gap| (2664..=2669).contains(gap)), "{block}: {gaps:?}");
        }
    }

    #[test]
    fn varying_blocks_leave_evenly_once_the_largest_was_seen() {
        let blocks = [100, 4096, 37, 1, 512, 64, 4096, 4000, 5, 900, 1000, 4096, 128, 128, 4096];
        let dues = dues(blocks);
        let after_largest = &gaps(&dues)[1..];
        assert!(after_largest.iter().all(|gap| (2664..=2669).contains(gap)), "{after_largest:?}");
    }
}
