//! Frames in whatever order and at whatever time the network brings them; one per tick out.
//!
//! # What the size means
//!
//! Frames carry sequence numbers; the *playhead* is the next one to be played and advances by one
//! with each [`JitterBuffer::get`]. A frame that arrives while the playhead is `p` has the *slack*
//! `sequence − p`: the number of gets that will still pass before its own. Below zero it is late.
//!
//! A size of *N* is Jamulus's: a window of *N* frames. There the playhead lies anywhere in it, as the
//! first packets happened to come, so that the delay is 0..*N* frames and *N*/2 on average. Here it
//! lies in the middle at every connect: *N*/2 frames (rounded down) remain after each get, the
//! *reserve*, and a frame may come that much later than usual. So a frame waits between *N*/2 and
//! *N*/2 + 1 frame times; which of it depends on how the two clocks happen to lie. Where several
//! frames are pulled at once (a host's block, or two 64-sample frames in a 128-sample tick), the
//! reserve is what remains after the largest pull, see [`JitterBuffer::set_burst`].
//!
//! Inside, the *depth* is the reserve and the frame to be played: what is in hand before a get.
//!
//! # How it settles
//!
//! The mean reserve of the last two seconds is compared with the wanted one. When it is more than
//! [`DROP_ABOVE`] over or [`INSERT_BELOW`] under it, one frame is left out or put in: a *slip*.
//! Both limits together are wider than one frame, so a slip never provokes the opposite one. Where the last two
//! quarters of a second both lie well above that mean, our side has stood still, and they count instead of it.
//!
//! Where whoever plays adapts its speed to the sender's ([`JitterBuffer::set_steered`]), frames arrive and
//! are pulled equally fast, but at points in the frame time that wander past each other: the reserve reads
//! half a frame high for a while and then half a frame low, for minutes. Both limits are then wide enough
//! for that and a slip, and [`JitterBuffer::surplus`] tells by how much to play faster.
//!
//! # What the automatic size does
//!
//! It takes the smallest depth that would have let at most 0.05 % of the frames of the last 15 s come
//! too late. Frames that never arrive do not count: no size helps against loss. With less safety
//! ([`JitterBuffer::set_safety`]) it forgives more and forgets sooner, down to 0.5 % of 5 s; with more
//! it is the other way, up to 0.005 % of 60 s and one frame more than that takes. For the same arrivals
//! more safety never asks for a smaller depth.
//!
//! # Where the time of arrivals is known
//!
//! Whole frames cost more than they must: one is kept in reserve on the quietest network. Whoever says how long before
//! the next pull a frame has come ([`JitterBuffer::put_timed`]) and pulls one at a time gets by with less, from two
//! seconds after the start: frames should come so far *ahead* of their turn on average as those that come last within
//! the same share need, and 0.4 ms, and half of what the tail is longer than a tenth of the frames (tails go on).
//! Those that come together, after a stall, count as one, as they do in Jamulus: it is one accident for the ear. With
//! more safety than usual each counts. Where many in a row come further ahead than the mean, our side has stood still:
//! that counts at once, and what is too much goes.
//! Without steering the playhead still moves by whole frames, so up to one more passes by chance.
//!
//! The automatic size may be deeper than the largest window; told is the window of the same depth, or the largest.

mod arrivals;
mod spread;
mod unwrap;

use crate::units::{BufferSize, FrameSize, MAX_BUFFER_FRAMES, MIN_BUFFER_FRAMES, Safety};

use arrivals::{Arrivals, TIME_MARGIN_MS};
pub use unwrap::CounterUnwrapper;

/// Automatic depth before anything is known, in frames: a window of 6, like Jamulus's.
const AUTO_START_DEPTH: u8 = 4;
/// Smallest automatic depth, in frames: at 1, a phase near the tick's edge would make frames late
/// on the quietest network.
const AUTO_MIN_DEPTH: u8 = 2;
/// Largest automatic depth, in frames.
const AUTO_MAX_DEPTH: u8 = 20;
/// One frame is dropped when the mean reserve is above the wanted one by more than this, in frames.
const DROP_ABOVE: f32 = 0.9;
/// One frame is inserted when it is below by more than this, in frames.
const INSERT_BELOW: f32 = 0.5;
/// Likewise, while more than [`LATE_SHARE`] of the frames come late. With [`DROP_ABOVE`] this is
/// still one whole frame wide.
const INSERT_BELOW_WHEN_LATE: f32 = 0.1;
/// The same three limits while the speed is steered: more than two frames wide.
const DROP_ABOVE_WHEN_STEERED: f32 = 1.4;
const INSERT_BELOW_WHEN_STEERED: f32 = 0.75;
const INSERT_BELOW_WHEN_STEERED_AND_LATE: f32 = 0.6;
/// Where the time of arrivals is known: one frame is dropped when that leaves all but this share of the time margin …
const MARGIN_SPARED: f32 = 0.4;
/// … or, while the speed is steered, when frames are on average further ahead of their turn than wanted by more than
/// this, in frames …
const DROP_ABOVE_WHEN_TIMED_AND_STEERED: f32 = 1.4;
/// … and one is inserted when this share of the time margin is gone …
const MARGIN_GONE: f32 = 0.9;
/// … or when they are less far ahead by this, in frames, while the speed is steered: that brings back the rest.
const INSERT_BELOW_WHEN_TIMED_AND_STEERED: f32 = 0.5;
/// The depth that goes with a fraction of a frame changes when the fraction is this far from it.
const DEPTH_STICKS: f32 = 0.75;
/// Share of late frames that makes the buffer prefer the deeper of two possible phases.
const LATE_SHARE: f32 = 0.01;
/// From this deviation on, in frames, slips follow each other quickly.
const FAR_OFF: f32 = 1.6;
/// So many frames more than on average of the last two seconds are no jitter while it lasts.
const STOOD_STILL: f32 = 0.8;
/// After this long without a frame to play, the stream counts as ended.
const STARVED_MS: u32 = 200;
/// So many frames more than wanted are no jitter: our side has stood still, and the surplus goes
/// at once.
const SURPLUS_FRAMES: usize = 24;
/// Settling is quick for this long after a start.
const START_MS: u32 = 500;
/// How often the reserve is judged while starting or far off.
const QUICK_CHECK_MS: u32 = 50;
/// How often the reserve is judged otherwise; also the least time between two slips then.
const CHECK_MS: u32 = 250;
/// The automatic size does not shrink before this much is known.
const SHRINK_AFTER_MS: u32 = 2000;
/// Least time from one change of the automatic size to a smaller one.
const SHRINK_EVERY_MS: u32 = 1000;
/// A wanted drop waits at most this long for two frames that are both there.
const DROP_PATIENCE_MS: u32 = 100;

/// What [`JitterBuffer::get`] has for this frame time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot<'a> {
    /// This frame's bytes.
    Frame(&'a [u8]),
    /// The frame is not there: conceal it.
    Missing,
    /// No stream is playing (none has begun, or it has ended): silence.
    Idle,
    /// Slip or jump: the sound must go from the first frame to the second within one frame time.
    Drop(&'a [u8], &'a [u8]),
    /// Slip: one frame time must be filled before the next frame, given if it is there already.
    Insert(Option<&'a [u8]>),
}

/// What happened since the buffer was made, in frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BufferStats {
    /// Arrived after their turn.
    pub late: u64,
    /// Never arrived (so far: a late one is moved from here to `late`).
    pub lost: u64,
    /// Answered with [`Slot::Missing`].
    pub concealed: u64,
    /// Left out or put in to come back to the target.
    pub slipped: u64,
    /// Arrived, but thrown away: too far ahead, or surplus after our side stood still.
    pub overflow: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing arrived since the stream ended or since the buffer was made.
    Empty,
    /// Frames have arrived, the playhead is set by the next get.
    Waiting,
    /// The playhead runs.
    Playing,
}

/// The jitter buffer of one stream. Never allocates after [`Self::new`].
pub struct JitterBuffer {
    frame: FrameSize,
    state: State,

    /// `capacity` frames of `frame_bytes`, by sequence modulo capacity.
    bytes: Box<[u8]>,
    frame_bytes: usize,
    capacity: usize,
    /// By sequence modulo twice the capacity: the sequence whose frame has arrived. The half
    /// behind the playhead tells duplicates from late frames.
    arrived: Box<[i64]>,
    /// The playhead.
    next: i64,
    /// Highest sequence stored.
    newest: i64,
    /// Frames stored at or after the playhead.
    buffered: usize,

    size: BufferSize,
    safety: Safety,
    /// Frames wanted in hand before a get.
    depth: u8,
    burst: f32,
    /// What was measured under other pulls says nothing: begin anew with the next one.
    remeasure: bool,
    steered: bool,
    held: bool,
    /// Deviation of the reserve from the wanted one, as measured last, in frames.
    deviation: Option<f32>,
    /// How far ahead of their turn frames should arrive on average, in frames, while that decides.
    wanted_ahead: Option<f32>,
    arrivals: Arrivals,
    slip: Option<Slip>,
    /// Frames short of the target: gaps are not skipped but waited for, which costs nothing more.
    short: u32,
    /// Where the playhead stood before surplus was thrown away.
    jumped_from: Option<i64>,
    /// Frames arrive after a stall so long that no size would have helped: they say nothing.
    stalled: bool,
    /// Gets since the start of playing.
    age: u32,
    until_check: u32,
    since_resize: u32,

    /// Frames in the current (or last) pull.
    pull: u32,
    /// Fill before it; slips count as if they had been made earlier.
    fill_before_pull: i64,
    put_since_pull: bool,
    /// The user marks pulls, and the next get begins one.
    pull_marked: Option<bool>,

    /// Gets since the last frame was played.
    starved: u32,
    /// Frames counted as lost since the last frame was played.
    lost_at_the_end: u64,
    /// First sequence played; those before it never count as lost.
    first: Option<i64>,
    stats: BufferStats,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slip {
    Drop { patience: u32 },
    Insert,
}

impl JitterBuffer {
    /// A buffer of automatic size for frames of `frame_bytes` bytes. `capacity_frames` bounds what
    /// it can hold; it is rounded up to a power of two that has room for the largest size.
    pub fn new(frame: FrameSize, capacity_frames: usize, frame_bytes: usize) -> Self {
        let capacity = capacity_frames.clamp(64, 4096).next_power_of_two();
        let mut buffer = Self {
            frame,
            state: State::Empty,
            bytes: vec![0; capacity * frame_bytes].into(),
            frame_bytes,
            capacity,
            arrived: vec![0; 2 * capacity].into(),
            next: 0,
            newest: 0,
            buffered: 0,
            size: BufferSize::Auto,
            safety: Safety::default(),
            depth: AUTO_START_DEPTH,
            burst: 1.0,
            remeasure: false,
            steered: false,
            held: false,
            deviation: None,
            wanted_ahead: None,
            arrivals: Arrivals::new(frame),
            slip: None,
            short: 0,
            jumped_from: None,
            stalled: false,
            age: 0,
            until_check: 0,
            since_resize: 0,
            pull: 0,
            fill_before_pull: 0,
            put_since_pull: false,
            pull_marked: None,
            starved: 0,
            lost_at_the_end: 0,
            first: None,
            stats: BufferStats::default(),
        };
        buffer.stop();
        buffer
    }

    /// Stores a frame that has just arrived. Sequences may be anything: a frame that does not fit
    /// is counted and ignored, and a stream that continues elsewhere is picked up when the old one
    /// has ended. Bytes of the wrong length are ignored.
    pub fn put(&mut self, sequence: i64, bytes: &[u8]) {
        self.put_timed(sequence, bytes, None);
    }

    /// As [`Self::put`], with how long before the next pull it has arrived, in frames, if that is known. Where what is
    /// pulled at once varies because the speed is steered, the least time counts, which may be below 0. As long as it
    /// is known, and frames are pulled one by one, the automatic size counts in time instead of whole frames.
    pub fn put_timed(&mut self, sequence: i64, bytes: &[u8], early: Option<f32>) {
        let early = early.filter(|early| early.is_finite());
        if bytes.len() != self.frame_bytes {
            return;
        }
        if self.state != State::Playing {
            self.put_before_start(sequence, bytes);
            return;
        }
        let capacity = self.capacity as i64;
        let slack = sequence.wrapping_sub(self.next);
        if slack >= capacity {
            self.stats.overflow += 1;
            return;
        }
        if slack < -capacity {
            self.stats.late += 1;
            return;
        }
        if !self.mark_arrived(sequence) {
            return;
        }
        let beyond_help = slack < -i64::from(AUTO_MAX_DEPTH - self.depth);
        self.stalled = slack < 0 && (self.stalled || beyond_help);
        if !self.stalled && self.arrivals.record(slack, early, self.reserve()) {
            self.until_check = 0;
        }
        self.put_since_pull = true;
        if slack < 0 {
            self.count_late(sequence);
            return;
        }
        self.store(sequence, bytes);
        self.buffered += 1;
        if sequence.wrapping_sub(self.newest) > 0 {
            self.newest = sequence;
        }
    }

    /// Marks the start of a pull of several frames at once: call it after the puts and before the
    /// first of the gets. Whoever never calls it pulls one frame at a time.
    pub fn begin_pull(&mut self) {
        self.pull_marked = Some(true);
    }

    /// The sound for the next frame time.
    pub fn get(&mut self) -> Slot<'_> {
        if self.pull_marked != Some(false) {
            self.pull_marked = self.pull_marked.map(|_| false);
            self.prepare_pull();
        }
        self.pull = self.pull.saturating_add(1);
        if self.state != State::Playing {
            return Slot::Idle;
        }
        self.tick();
        if let Some(from) = self.jumped_from.take()
            && self.has(from)
            && self.has(self.next)
        {
            return self.jump(from);
        }
        match self.slip {
            // Nothing plays yet.
            _ if self.first.is_none() => {}
            Some(Slip::Insert) => return self.insert(),
            Some(Slip::Drop { patience }) => {
                let following = self.next.wrapping_add(1);
                if self.has(self.next) && self.has(following) {
                    return self.drop_one();
                }
                self.slip = (patience > 0).then(|| Slip::Drop { patience: patience - 1 });
            }
            None => {}
        }
        let sequence = self.next;
        self.next = sequence.wrapping_add(1);
        if self.has(sequence) {
            self.play(sequence)
        } else if self.short > 0 && self.first.is_some() {
            self.next = sequence;
            self.short -= 1;
            self.insert()
        } else {
            self.miss()
        }
    }

    /// Sets the size, or lets it follow the network. A change is worked off by slips; repeating what
    /// is set already does nothing.
    pub fn set_size(&mut self, size: BufferSize) {
        let before = (self.size, self.depth);
        (self.size, self.depth) = match size {
            BufferSize::Auto => (size, self.depth.max(AUTO_MIN_DEPTH)),
            BufferSize::Frames(frames) => {
                let window = frames.clamp(MIN_BUFFER_FRAMES, MAX_BUFFER_FRAMES);
                (BufferSize::Frames(window), window / 2 + 1)
            }
        };
        if before != (self.size, self.depth) {
            self.until_check = self.until_check.min(self.frames_in(QUICK_CHECK_MS));
        }
    }

    /// What the automatic size weighs more from now on. A change is worked off by slips: more frames at once, fewer
    /// one by one; repeating what is set already does nothing.
    pub fn set_safety(&mut self, safety: Safety) {
        if safety == self.safety {
            return;
        }
        self.safety = safety;
        self.arrivals.set_safety(safety);
        if self.size == BufferSize::Auto && self.state == State::Playing {
            self.grow();
        }
    }

    /// The size now in use: the window in frames, 1..=20, as set or, when automatic, of the depth in use.
    pub fn size_frames(&self) -> u8 {
        match self.size {
            BufferSize::Frames(window) => window,
            BufferSize::Auto => (2 * (self.depth - 1)).clamp(MIN_BUFFER_FRAMES, MAX_BUFFER_FRAMES),
        }
    }

    /// Tells how many frames the largest pull takes at once (it may be a mean such as 3.75 where
    /// 3 and 4 alternate; 1 or less means one at a time). The buffer becomes that much deeper, so
    /// that what the size promises holds after the pull. What is missing when it grows is concealed
    /// once and skips nothing; surplus when it shrinks is thrown away.
    pub fn set_burst(&mut self, frames_per_pull: f32) {
        let burst = if frames_per_pull.is_finite() { frames_per_pull } else { 1.0 };
        let burst = burst.clamp(1.0, (self.capacity / 2) as f32);
        let growth = burst - self.burst;
        if growth.abs() > 0.5 {
            self.remeasure = true;
            self.short = (self.short + growth.max(0.0).ceil() as u32).min(burst.ceil() as u32);
        }
        self.burst = burst;
    }

    /// From now on the speed at which frames are pulled is adapted to the sender's: only larger deviations
    /// are brought back by slips.
    pub fn set_steered(&mut self) {
        if !self.steered {
            self.steered = true;
            // Times of arrivals mean something else from now on.
            self.arrivals.lose_track();
            if self.wanted_ahead.is_some() {
                self.until_check = self.until_check.max(self.frames_in(CHECK_MS));
            }
        }
    }

    /// Whether [`Self::set_steered`] has been called.
    pub fn is_steered(&self) -> bool {
        self.steered
    }

    /// While held, the buffer does not shrink and no slip drops a frame: whoever records wants no joint in the
    /// sound. It grows when it must, and surplus after a stall still goes.
    pub fn set_held(&mut self, held: bool) {
        self.held = held;
    }

    /// Sequence number of the next frame to be played; `None` while nothing plays.
    pub fn playhead(&self) -> Option<i64> {
        self.first.map(|_| self.next)
    }

    /// Frames wanted in hand just after the largest pull.
    pub fn reserve_frames(&self) -> u8 {
        self.depth - 1
    }

    /// Frames held beyond the wanted ones, mean of the last two seconds; below 0: missing ones. `None` while
    /// nothing is known.
    pub fn surplus(&self) -> Option<f32> {
        self.deviation
    }

    /// Likewise, as of now and in fractions of a frame; `None` unless the times of arrivals are known and decide.
    pub fn timed_surplus(&self) -> Option<f32> {
        Some(self.arrivals.ahead()? - self.wanted_ahead?)
    }

    /// What happened so far. Frames missing at the end of what has come count as lost only once the stream goes
    /// on: the peer may have stopped.
    pub fn stats(&self) -> BufferStats {
        BufferStats { lost: self.stats.lost.saturating_sub(self.lost_at_the_end), ..self.stats }
    }

    /// Empties the buffer and starts anew with the next frame. Size and counters stay.
    pub fn reset(&mut self) {
        self.stop();
    }

    /// Frames wanted in hand just before a pull.
    fn target(&self) -> f32 {
        f32::from(self.depth) - 1.0 + self.burst
    }

    /// Frames wanted in hand just after the largest pull.
    fn reserve(&self) -> i64 {
        i64::from(self.depth) - 1
    }

    fn frames_in(&self, millis: u32) -> u32 {
        (f64::from(millis) * 1e6 / self.frame.nanos() as f64).round() as u32
    }

    fn put_before_start(&mut self, sequence: i64, bytes: &[u8]) {
        let capacity = self.capacity as i64;
        let ahead = sequence.wrapping_sub(self.newest);
        if self.state == State::Empty || !(-capacity / 2..capacity / 2).contains(&ahead) {
            self.forget_arrived();
            self.state = State::Waiting;
            self.newest = sequence;
        } else if ahead > 0 {
            self.newest = sequence;
        }
        if self.mark_arrived(sequence) {
            self.store(sequence, bytes);
        }
    }

    /// Starts the playhead, throws surplus away and decides about a slip.
    fn prepare_pull(&mut self) {
        if self.state == State::Playing && self.burst > 1.0 && self.pull > 0 {
            if !self.put_since_pull {
                // A host that splits its block: this goes on where the last part ended.
                return;
            }
            let before = self.fill_before_pull;
            self.arrivals.record_pull(before, before - i64::from(self.pull), self.reserve());
        }
        if std::mem::take(&mut self.remeasure) {
            self.arrivals.clear();
        }
        match self.state {
            State::Empty => {}
            State::Waiting => {
                self.state = State::Playing;
                self.seek();
                self.first = None;
                self.starved = 0;
            }
            State::Playing => {
                if self.buffered > self.target() as usize + SURPLUS_FRAMES {
                    self.skip_surplus();
                } else if self.until_check == 0 {
                    self.check();
                }
            }
        }
        self.pull = 0;
        self.put_since_pull = false;
        self.arrivals.part();
        if self.state == State::Playing {
            self.fill_before_pull = self.newest.wrapping_sub(self.next).wrapping_add(1);
        }
    }

    /// Puts the playhead where the fill is the target, and begins to measure anew.
    fn seek(&mut self) {
        self.count_whole_frames();
        let depth = self.target().round() as i64;
        self.next = self.newest.wrapping_add(1).wrapping_sub(depth);
        self.buffered = (0..depth).filter(|ahead| self.has(self.next.wrapping_add(*ahead))).count();
        self.arrivals.clear();
        self.deviation = None;
        self.pull = 0;
        self.slip = None;
        self.short = 0;
        self.stalled = false;
        self.age = 0;
        self.since_resize = 0;
        self.until_check = self.frames_in(QUICK_CHECK_MS);
    }

    fn skip_surplus(&mut self) {
        let (from, held) = (self.next, self.buffered);
        self.seek();
        self.jumped_from = self.first.and(Some(from));
        let skipped = self.next.wrapping_sub(from).max(0) as u64;
        let thrown_away = held.saturating_sub(self.buffered) as u64;
        self.stats.overflow += thrown_away;
        self.stats.lost += skipped.saturating_sub(thrown_away);
    }

    /// Compares the reserve with the wanted one.
    fn check(&mut self) {
        if self.count_time() {
            self.check_time();
            return;
        }
        self.count_whole_frames();
        if self.size == BufferSize::Auto {
            self.follow_network();
        }
        let quick = self.frames_in(QUICK_CHECK_MS);
        let starting = self.age < self.frames_in(START_MS);
        self.until_check = if starting { quick } else { self.frames_in(CHECK_MS) };
        let recent = self.arrivals.recent(self.burst);
        let wanted = self.reserve() as f32;
        self.deviation = recent.as_ref().map(|recent| {
            // Our side has stood still: the mean of what was before says nothing any more.
            let now = self.arrivals.reserve_now(self.burst).filter(|now| now - recent.reserve > STOOD_STILL);
            now.unwrap_or(recent.reserve) - wanted
        });
        let (Some(recent), Some(deviation)) = (recent, self.deviation) else { return };
        self.short = 0;
        let (drop_above, insert_below) = match (self.steered, recent.late_share > LATE_SHARE) {
            (false, false) => (DROP_ABOVE, INSERT_BELOW),
            (false, true) => (DROP_ABOVE, INSERT_BELOW_WHEN_LATE),
            (true, false) => (DROP_ABOVE_WHEN_STEERED, INSERT_BELOW_WHEN_STEERED),
            (true, true) => (DROP_ABOVE_WHEN_STEERED, INSERT_BELOW_WHEN_STEERED_AND_LATE),
        };
        if deviation > drop_above && !self.held {
            self.slip = Some(Slip::Drop { patience: self.frames_in(DROP_PATIENCE_MS) });
        } else if deviation < -insert_below {
            self.slip = Some(Slip::Insert);
            self.short = (-deviation) as u32;
        }
        if deviation.abs() > FAR_OFF {
            self.until_check = quick;
        }
    }

    /// Finds out how far ahead frames should arrive; `false` where that cannot decide.
    fn count_time(&mut self) -> bool {
        let decides =
            self.size == BufferSize::Auto && self.burst <= 1.0 && self.age >= self.frames_in(SHRINK_AFTER_MS);
        self.wanted_ahead = if decides { self.arrivals.needed_ahead() } else { None };
        self.wanted_ahead.is_some()
    }

    /// What was wanted in time no longer is.
    fn count_whole_frames(&mut self) {
        self.wanted_ahead = None;
        if self.size == BufferSize::Auto {
            self.depth = self.depth.max(AUTO_MIN_DEPTH);
        }
    }

    /// Compares how far ahead frames arrive with how far they should.
    fn check_time(&mut self) {
        self.until_check = self.frames_in(CHECK_MS);
        self.deviation = self.timed_surplus();
        let (Some(deviation), Some(wanted)) = (self.deviation, self.wanted_ahead) else { return };
        self.short = 0;
        // On average frames are half a frame further ahead than wanted, and half a frame is between two pulls.
        let depth = 1.0 + wanted;
        let change = depth - f32::from(self.depth);
        if change > DEPTH_STICKS || (change < -DEPTH_STICKS && !self.held) {
            self.depth = depth.round().clamp(1.0, f32::from(AUTO_MAX_DEPTH)) as u8;
        }
        let rested = self.since_resize >= self.frames_in(SHRINK_EVERY_MS);
        let (drop_above, insert_below) = if self.steered {
            (DROP_ABOVE_WHEN_TIMED_AND_STEERED, INSERT_BELOW_WHEN_TIMED_AND_STEERED)
        } else {
            (1.0 - MARGIN_SPARED * self.time_margin(), self.margin_gone())
        };
        if deviation > drop_above {
            if rested && !self.held {
                self.slip = Some(Slip::Drop { patience: self.frames_in(DROP_PATIENCE_MS) });
            }
        } else if deviation < -insert_below {
            self.slip = Some(Slip::Insert);
            self.short = (-deviation) as u32;
            self.since_resize = 0;
        }
        if self.slip.is_some() && deviation.abs() > FAR_OFF {
            self.until_check = self.frames_in(QUICK_CHECK_MS);
        }
    }

    fn margin_gone(&self) -> f32 {
        MARGIN_GONE * self.time_margin()
    }

    /// In frames.
    fn time_margin(&self) -> f32 {
        TIME_MARGIN_MS / self.frame.millis()
    }

    /// Lets the automatic depth shrink, slowly.
    fn follow_network(&mut self) {
        let Some(needed) = self.arrivals.needed_depth(self.burst) else { return };
        let settled = self.age >= self.frames_in(SHRINK_AFTER_MS) && !self.held;
        if settled && self.since_resize >= self.frames_in(SHRINK_EVERY_MS) && needed.surely < self.depth {
            self.depth = (self.depth - 1).max(AUTO_MIN_DEPTH);
            self.since_resize = 0;
        }
    }

    /// Lets the automatic depth grow, at once.
    fn grow(&mut self) {
        if self.wanted_ahead.is_some() && self.count_time() {
            if let Some(missing) = self.timed_surplus().filter(|surplus| *surplus < -self.margin_gone()) {
                self.short = (-missing).ceil() as u32;
                self.until_check = 0;
            }
            return;
        }
        let Some(needed) = self.arrivals.needed_depth(self.burst) else { return };
        if needed.frames > self.depth {
            self.short = u32::from(needed.frames - self.depth);
            self.depth = needed.frames;
            self.since_resize = 0;
            self.until_check = 0;
        }
    }

    /// Counts one frame time.
    fn tick(&mut self) {
        self.age = self.age.saturating_add(1);
        self.since_resize = self.since_resize.saturating_add(1);
        self.until_check = self.until_check.saturating_sub(1);
        self.arrivals.tick();
    }

    fn play(&mut self, sequence: i64) -> Slot<'_> {
        self.buffered = self.buffered.saturating_sub(1);
        self.starved = 0;
        self.lost_at_the_end = 0;
        self.first.get_or_insert(sequence);
        Slot::Frame(self.frame_at(sequence))
    }

    fn miss(&mut self) -> Slot<'_> {
        self.starved += 1;
        if self.starved > self.frames_in(STARVED_MS) + self.target().ceil() as u32 {
            // Nothing was lost after the last frame: the peer had stopped.
            self.stats.lost = self.stats.lost.saturating_sub(self.lost_at_the_end);
            self.stop();
            return Slot::Idle;
        }
        if self.first.is_none() {
            return Slot::Idle;
        }
        self.stats.lost += 1;
        self.lost_at_the_end += 1;
        self.stats.concealed += 1;
        Slot::Missing
    }

    fn drop_one(&mut self) -> Slot<'_> {
        let sequence = self.next;
        let following = sequence.wrapping_add(1);
        self.next = following.wrapping_add(1);
        self.slip = None;
        self.arrivals.shift(1);
        self.fill_before_pull -= 1;
        self.stats.slipped += 1;
        self.buffered = self.buffered.saturating_sub(1);
        let _ = self.play(sequence);
        Slot::Drop(self.frame_at(sequence), self.frame_at(following))
    }

    /// Blends into the frame that the playhead has jumped to.
    fn jump(&mut self, from: i64) -> Slot<'_> {
        let sequence = self.next;
        self.next = sequence.wrapping_add(1);
        let _ = self.play(sequence);
        Slot::Drop(self.frame_at(from), self.frame_at(sequence))
    }

    fn insert(&mut self) -> Slot<'_> {
        self.slip = None;
        self.arrivals.shift(-1);
        self.fill_before_pull += 1;
        self.stats.slipped += 1;
        Slot::Insert(self.has(self.next).then(|| self.frame_at(self.next)))
    }

    fn count_late(&mut self, sequence: i64) {
        self.stats.late += 1;
        if self.first.is_some_and(|first| sequence.wrapping_sub(first) >= 0) {
            self.stats.lost = self.stats.lost.saturating_sub(1);
            self.lost_at_the_end = self.lost_at_the_end.saturating_sub(1);
        }
        if self.size == BufferSize::Auto && !self.stalled {
            self.grow();
        }
    }

    /// Ends the stream: the next frame starts another.
    fn stop(&mut self) {
        self.pull = 0;
        self.state = State::Empty;
        self.buffered = 0;
        self.starved = 0;
        self.lost_at_the_end = 0;
        self.first = None;
        self.slip = None;
        self.jumped_from = None;
        self.arrivals.clear();
        self.forget_arrived();
    }

    fn forget_arrived(&mut self) {
        for (index, sequence) in self.arrived.iter_mut().enumerate() {
            // Belongs to another index, so it equals no sequence that is looked up here.
            *sequence = !(index as i64);
        }
    }

    /// Notes that a frame has arrived; false if it had already.
    fn mark_arrived(&mut self, sequence: i64) -> bool {
        let index = sequence as usize & (self.arrived.len() - 1);
        std::mem::replace(&mut self.arrived[index], sequence) != sequence
    }

    fn has(&self, sequence: i64) -> bool {
        self.arrived[sequence as usize & (self.arrived.len() - 1)] == sequence
    }

    fn store(&mut self, sequence: i64, bytes: &[u8]) {
        let at = (sequence as usize & (self.capacity - 1)) * self.frame_bytes;
        self.bytes[at..at + self.frame_bytes].copy_from_slice(bytes);
    }

    fn frame_at(&self, sequence: i64) -> &[u8] {
        let at = (sequence as usize & (self.capacity - 1)) * self.frame_bytes;
        &self.bytes[at..at + self.frame_bytes]
    }
}
