//! Where our sound lies in a stock server's jitter buffer.
//!
//! That buffer is a window of N frames. Where in it a client's frames fall is decided by how its first packets
//! happened to come, and stays: a frame may lie there for anything up to N frame times, long after the network has
//! shown that it needs no such reserve. What moves the window is a frame that falls beside it (docs/PROTOCOL.md §3):
//! a late one becomes its first slot.
//!
//! So whoever holds back one frame, and sends all that follow with the next numbers as if it had never been, lies one
//! frame closer to the server's tick from then on. The server conceals one frame for that; where our track rests, that
//! is silence for silence. We do it when even the slowest pings say that there is time to spare ([`Place::follow`]),
//! and leave it when the server has moved us back since: then a frame did come too late.
//!
//! Our own server needs no help, and one whose buffer the user has set by hand is left as it is.

use std::time::Duration;

use crate::units::{FrameSize, Time};

/// So much earlier than necessary our frames come in any case, in ms.
const MARGIN_MS: f32 = 0.6;
/// A server whose automatic size is above this many frames has seen jitter …
const CALM_SIZE: u8 = 4;
/// … of about half a frame for each frame above it (docs/PROTOCOL.md §3: 8 ms make 8 or 9 of 128 samples).
const JITTER_PER_FRAME: f32 = 0.5;
/// The server's size has settled when it has been the same for this long.
const SETTLED: Duration = Duration::from_millis(1500);
/// Most frames held back in one rest.
const MOST_AT_ONCE: u8 = 2;
/// A rest is when the track has been quiet for this long, in ms: nobody hears then that something is missing.
const REST_MS: f32 = 20.0;
/// How long it counts that a frame came too late.
const WARY: Duration = Duration::from_secs(300);
/// A way that has become longer by this share of a frame means that the server has moved us.
const MOVED: f32 = 0.75;

/// What is known about the way to the server and back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    /// From a frame's departure until it returns in the mix, at best, without coding, in ms; `None` while that is not
    /// known exactly.
    pub(super) round_trip_ms: Option<f32>,
    /// The slowest of recent pings, in ms.
    pub(super) slow_ping_ms: Option<f32>,
    /// Size of the server's jitter buffer for us, in frames.
    pub(super) server_frames: Option<u8>,
    /// The server is one that keeps us where we are, and nothing is being recorded that should not be moved.
    pub(super) may_move: bool,
}

/// Holds frames back.
pub(super) struct Place {
    frame_ms: f32,
    /// Frames yet to be held back.
    pending: u8,
    /// How long the track has been quiet, in ms.
    quiet_ms: f32,
    /// The server's size and since when.
    size: Option<(u8, Time)>,
    /// How long the way should be by what was measured last and what was held back since, in ms.
    expected_ms: Option<f32>,
    /// A frame was held back, and the way is to be measured anew.
    unmeasured: bool,
    /// Less time than this to spare is too little, until then.
    wary: Option<(f32, Time)>,
}

impl Place {
    pub(super) fn new(frame: FrameSize) -> Self {
        Self {
            frame_ms: frame.millis(),
            pending: 0,
            quiet_ms: 0.0,
            size: None,
            expected_ms: None,
            unmeasured: false,
            wary: None,
        }
    }

    /// Looks whether our frames lie at the server for longer than they need; to be called again and again.
    pub(super) fn follow(&mut self, now: Time, sight: Sight) {
        self.unmeasured &= sight.round_trip_ms.is_some();
        let size = sight.server_frames;
        if self.size.map(|(frames, _)| frames) != size {
            // The server moves us itself when it changes the size.
            (self.size, self.expected_ms) = (size.map(|frames| (frames, now)), None);
        }
        let settled = self.size.filter(|(_, since)| now.since(*since) >= SETTLED);
        let Some((frames, _)) = settled.filter(|_| sight.may_move) else {
            self.pending = 0;
            return;
        };
        let (Some(round_trip), Some(slow_ping)) = (sight.round_trip_ms, sight.slow_ping_ms) else { return };
        if self.unmeasured {
            return;
        }
        // What even the slowest of our frames waits there.
        let waits = round_trip - slow_ping;
        if let Some(expected) = self.expected_ms.replace(round_trip)
            && round_trip - expected > MOVED * self.frame_ms
        {
            // A frame came too late, so we lie further back now. Where we were is too close.
            self.wary = Some((waits - (round_trip - expected) + 0.5 * self.frame_ms, now + WARY));
        }
        self.wary = self.wary.filter(|(_, until)| now < *until);
        let jitter = JITTER_PER_FRAME * f32::from(frames.saturating_sub(CALM_SIZE)) * self.frame_ms;
        let least = self.wary.map_or(0.0, |(least, _)| least).max(MARGIN_MS + jitter);
        self.pending = ((waits - least) / self.frame_ms).clamp(0.0, f32::from(MOST_AT_ONCE)) as u8;
    }

    /// Whether not to send this frame; `quiet` says that there is nothing to be heard in it.
    pub(super) fn holds_back(&mut self, quiet: bool) -> bool {
        self.quiet_ms = if quiet { self.quiet_ms + self.frame_ms } else { 0.0 };
        if self.pending == 0 || self.quiet_ms < REST_MS {
            return false;
        }
        self.pending -= 1;
        self.unmeasured = true;
        self.expected_ms = self.expected_ms.map(|expected| expected - self.frame_ms);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME_MS: f32 = 8.0 / 3.0;

    /// A stock server on a way of `up_ms` there and no time back, one tick a frame time.
    struct Server {
        place: Place,
        now: Time,
        /// Frames sent, and frames taken.
        sent: i64,
        next: i64,
        window: i64,
        /// What the way was when a frame was held back, and for how many frames nothing is known then.
        old: Option<f32>,
        unknown: u32,
        late: u32,
        held_back: u32,
    }

    impl Server {
        fn new(lies: i64, window: u8) -> Self {
            let place = Place::new(FrameSize::Samples128);
            let window = i64::from(window);
            Self {
                place,
                now: Time::ZERO,
                sent: lies,
                next: 0,
                window,
                old: None,
                unknown: 0,
                late: 0,
                held_back: 0,
            }
        }

        /// One frame time: a tick 1 ms after our frame, whose way takes `up_ms`.
        fn pass(&mut self, up_ms: f32, slow_ping_ms: f32, quiet: bool, may_move: bool) {
            const TICK_MS: f32 = 1.0;
            self.now += Duration::from_nanos(FrameSize::Samples128.nanos());
            let waits = (self.sent - self.next) as f32 * FRAME_MS + TICK_MS;
            let old = self.old.take();
            if old.is_none() {
                self.unknown = self.unknown.saturating_sub(1);
            }
            let sight = Sight {
                round_trip_ms: old.or((self.unknown == 0).then_some(waits)),
                slow_ping_ms: Some(slow_ping_ms),
                server_frames: Some(self.window as u8),
                may_move,
            };
            self.place.follow(self.now, sight);
            if self.place.holds_back(quiet) {
                (self.held_back, self.old, self.unknown) = (self.held_back + 1, Some(waits), 200);
            } else {
                self.arrive(self.sent - ((up_ms - TICK_MS) / FRAME_MS).ceil().max(0.0) as i64);
                self.sent += 1;
            }
            self.next += 1;
        }

        /// Frame `sequence` arrives: where it falls beside the window it moves it.
        fn arrive(&mut self, sequence: i64) {
            if sequence < self.next {
                (self.next, self.late) = (sequence, self.late + 1);
            } else if sequence >= self.next + self.window {
                self.next = sequence + 1 - self.window;
            }
        }

        fn lies(&self) -> i64 {
            self.sent - self.next
        }
    }

    #[test]
    fn what_lies_longer_than_the_slowest_ping_needs_is_shortened_in_rests() {
        let mut server = Server::new(3, 4);
        for _ in 0..2000 {
            server.pass(0.1, 0.2, false, true);
        }
        assert_eq!((server.held_back, server.lies()), (0, 3), "somebody plays");
        for index in 0..4000 {
            server.pass(0.1, 0.2, index % 40 > 20, true);
        }
        assert_eq!((server.held_back, server.lies(), server.late), (3, 0, 0));
    }

    #[test]
    fn pings_and_a_large_buffer_speak_against_it() {
        let mut slow = Server::new(3, 4);
        // 9 ms until the tick; one frame less leaves 6.3 ms, two less 3.7 ms.
        (0..4000).for_each(|_| slow.pass(0.1, 3.5, true, true));
        assert_eq!(slow.lies(), 2);
        let mut jittery = Server::new(5, 8);
        (0..4000).for_each(|_| jittery.pass(0.1, 0.2, true, true));
        assert_eq!(jittery.lies(), 2, "two frames for the jitter");
    }

    #[test]
    fn nothing_moves_while_it_may_not() {
        let mut server = Server::new(3, 4);
        (0..4000).for_each(|_| server.pass(0.1, 0.2, true, false));
        assert_eq!(server.lies(), 3);
    }

    #[test]
    fn a_place_that_was_too_close_is_left_alone() {
        let mut server = Server::new(1, 4);
        (0..4000).for_each(|_| server.pass(0.1, 0.2, true, true));
        assert_eq!((server.lies(), server.late, server.held_back), (0, 0, 1));
        // Not one ping saw this.
        server.pass(1.5, 0.2, true, true);
        assert_eq!((server.lies(), server.late), (1, 1));
        (0..40_000).for_each(|_| server.pass(0.1, 0.2, true, true));
        assert_eq!((server.lies(), server.held_back), (1, 1));
        // Some minutes later it is tried again.
        (0..100_000).for_each(|_| server.pass(0.1, 0.2, true, true));
        assert_eq!((server.lies(), server.held_back), (0, 2));
    }
}
