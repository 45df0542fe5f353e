//! Sequence numbers from the wire's u8 counter.

use crate::units::{FrameSize, Time};

/// How many frames behind the expected one a counter is looked for; the remaining 255 − this lie
/// ahead. Packets are late by a long stall far more often than they are early.
const BEHIND: i64 = 223;

/// Turns the wire's wrapping u8 counters into sequence numbers, at the moment of arrival.
///
/// Time tells how many frames the peer must have sent meanwhile, so gaps of any length come out
/// right, as long as packets are late by less than 223 frames (0.3 s at 64 samples).
#[derive(Clone, Copy, Debug)]
pub struct CounterUnwrapper {
    frame: FrameSize,
    newest: Option<(Time, i64)>,
}

impl CounterUnwrapper {
    /// For counters of frames of this size.
    pub fn new(frame: FrameSize) -> Self {
        Self { frame, newest: None }
    }

    /// The sequence number of the frame that arrived at `now` with `counter`; it equals `counter`
    /// modulo 256.
    pub fn unwrap(&mut self, now: Time, counter: u8) -> i64 {
        let Some((then, newest)) = self.newest else {
            let sequence = i64::from(counter);
            self.newest = Some((now, sequence));
            return sequence;
        };
        let elapsed = now.since(then).as_nanos() / u128::from(self.frame.nanos());
        let expected = newest.wrapping_add(i64::try_from(elapsed).unwrap_or(i64::MAX));
        let lowest = expected.wrapping_sub(BEHIND);
        let ahead = counter.wrapping_sub(lowest as u8);
        let sequence = lowest.wrapping_add(i64::from(ahead));
        if sequence.wrapping_sub(newest) > 0 {
            self.newest = Some((now, sequence));
        }
        sequence
    }

    /// Starts anew.
    pub fn reset(&mut self) {
        self.newest = None;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn frames(frame: FrameSize, count: u64) -> Duration {
        Duration::from_nanos(frame.nanos() * count + frame.nanos() / 2)
    }

    #[test]
    fn steady_streams_count_up_from_any_counter() {
        for frame in [FrameSize::Samples64, FrameSize::Samples128] {
            for start in [0u8, 1, 127, 128, 255] {
                let mut unwrapper = CounterUnwrapper::new(frame);
                for index in 0..2000u64 {
                    let now = Time::ZERO + Duration::from_nanos(frame.nanos() * index);
                    let sequence = unwrapper.unwrap(now, start.wrapping_add(index as u8));
                    assert_eq!(sequence, i64::from(start) + index as i64);
                }
            }
        }
    }

    #[test]
    fn gaps_longer_than_the_counter_come_out_right() {
        for frame in [FrameSize::Samples64, FrameSize::Samples128] {
            for gap in [1u64, 100, 128, 200, 255, 256, 257, 300, 1000, 100_000] {
                let mut unwrapper = CounterUnwrapper::new(frame);
                let first = unwrapper.unwrap(Time::ZERO, 7);
                let now = Time::ZERO + frames(frame, gap);
                assert_eq!(unwrapper.unwrap(now, 7u8.wrapping_add(gap as u8)), first + gap as i64);
            }
        }
    }

    #[test]
    fn a_stall_that_ends_in_a_burst_keeps_the_order() {
        let frame = FrameSize::Samples64;
        for stall in [10u64, 100, 200, 222] {
            let mut unwrapper = CounterUnwrapper::new(frame);
            let first = unwrapper.unwrap(Time::ZERO, 250);
            let now = Time::ZERO + frames(frame, stall);
            for index in 1..=stall {
                assert_eq!(unwrapper.unwrap(now, 250u8.wrapping_add(index as u8)), first + index as i64);
            }
        }
    }

    #[test]
    fn late_packets_keep_their_number_and_do_not_disturb() {
        let mut unwrapper = CounterUnwrapper::new(FrameSize::Samples128);
        let mut now = Time::ZERO;
        for counter in [10u8, 11, 15] {
            now += FrameSize::Samples128.duration();
            unwrapper.unwrap(now, counter);
        }
        assert_eq!(unwrapper.unwrap(now, 12), 12);
        assert_eq!(unwrapper.unwrap(now, 13), 13);
        assert_eq!(unwrapper.unwrap(now, 16), 16);
    }

    #[test]
    fn absurd_times_are_survived() {
        let mut unwrapper = CounterUnwrapper::new(FrameSize::Samples64);
        unwrapper.unwrap(Time::ZERO, 0);
        for now in [u64::MAX, 0, 1, u64::MAX - 1, 77] {
            for counter in [0u8, 200, 3] {
                assert_eq!(unwrapper.unwrap(Time::from_micros(now), counter) as u8, counter);
            }
        }
    }
}
