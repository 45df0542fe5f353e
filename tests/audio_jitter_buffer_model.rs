//! The jitter buffer against a plain model of it, and against hostile input.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::collections::{BTreeMap, BTreeSet};

use jamulet::audio::{BufferStats, CounterUnwrapper, JitterBuffer, Slot};
use jamulet::units::{BufferSize, FrameSize, Safety, Time};
use proptest::prelude::*;

const CAPACITY: i64 = 64;
/// 200 ms of 128-sample frames.
const STARVED: u32 = 75;
const SURPLUS: usize = 24;

/// What the buffer promises, in the simplest words: maps instead of rings. It does not decide about
/// slips (that is measured elsewhere) but checks and follows those that are made.
#[derive(Default)]
struct Model {
    /// Frames in hand before a get: half of the window, and the one to be played.
    depth: i64,
    playing: bool,
    frames: BTreeMap<i64, u8>,
    arrived: BTreeSet<i64>,
    newest: i64,
    next: i64,
    first: Option<i64>,
    starved: u32,
    lost_at_the_end: u64,
    stats: BufferStats,
}

impl Model {
    /// What is missing at the end is lost only if something follows it.
    fn told(&self) -> BufferStats {
        BufferStats { lost: self.stats.lost - self.lost_at_the_end, ..self.stats }
    }

    fn put(&mut self, sequence: i64, byte: u8) {
        if !self.playing {
            if self.frames.is_empty() || !(-CAPACITY / 2..CAPACITY / 2).contains(&(sequence - self.newest)) {
                self.frames.clear();
                self.arrived.clear();
                self.newest = sequence;
            }
            self.newest = self.newest.max(sequence);
        } else if sequence - self.next >= CAPACITY {
            self.stats.overflow += 1;
            return;
        } else if sequence - self.next < -CAPACITY {
            self.stats.late += 1;
            return;
        }
        if !self.arrived.insert(sequence) {
            return;
        }
        if self.playing && sequence < self.next {
            self.stats.late += 1;
            if self.first.is_some_and(|first| sequence >= first) {
                self.stats.lost -= 1;
                self.lost_at_the_end = self.lost_at_the_end.saturating_sub(1);
            }
            return;
        }
        self.frames.insert(sequence, byte);
        self.newest = self.newest.max(sequence);
    }

    fn seek(&mut self) {
        self.next = self.newest + 1 - self.depth;
    }

    /// Follows one get, and says what else the buffer should have answered.
    fn get(&mut self, slot: Slot<'_>) -> Result<(), String> {
        let has = |sequence| self.frames.get(&sequence).map(|byte| [*byte]);
        if !self.playing {
            if !self.frames.is_empty() {
                self.playing = true;
                self.first = None;
                self.starved = 0;
                self.seek();
            } else {
                return if slot == Slot::Idle { Ok(()) } else { Err("idle".into()) };
            }
        } else if self.frames.range(self.next..).count() > self.depth as usize + SURPLUS {
            let from = self.next;
            let blended = has(from);
            self.seek();
            let held = self.frames.range(from..self.next).count() as u64;
            self.stats.overflow += held;
            self.stats.lost += (self.next - from) as u64 - held;
            if let (Some(first), Some(second), Some(_)) = (blended, self.frames.get(&self.next), self.first) {
                self.next += 1;
                self.starved = 0;
                self.lost_at_the_end = 0;
                let expected = Slot::Drop(&first, &[*second]);
                return if slot == expected { Ok(()) } else { Err(format!("{expected:?}, not {slot:?}")) };
            }
        } else if let Slot::Drop(a, b) = slot {
            let both = (has(self.next), has(self.next + 1));
            if both != (Some([a[0]]), Some([b[0]])) {
                return Err(format!("no drop of {a:?}, {b:?}: {both:?}"));
            }
            self.next += 2;
            self.stats.slipped += 1;
            self.starved = 0;
            self.lost_at_the_end = 0;
            return Ok(());
        } else if let Slot::Insert(following) = slot {
            if following.map(|bytes| [bytes[0]]) != has(self.next) {
                return Err("another frame after an insertion".into());
            }
            self.stats.slipped += 1;
            return Ok(());
        }
        let (sequence, expected) = (self.next, self.frames.get(&self.next).map(|byte| [*byte]));
        self.next += 1;
        let expected = match &expected {
            Some(byte) => {
                self.starved = 0;
                self.lost_at_the_end = 0;
                self.first.get_or_insert(sequence);
                Slot::Frame(byte)
            }
            None => {
                self.starved += 1;
                if self.starved > STARVED + self.depth as u32 {
                    self.stats.lost -= self.lost_at_the_end;
                    self.playing = false;
                    self.frames.clear();
                    self.arrived.clear();
                    self.lost_at_the_end = 0;
                    Slot::Idle
                } else if self.first.is_some() {
                    self.stats.lost += 1;
                    self.lost_at_the_end += 1;
                    self.stats.concealed += 1;
                    Slot::Missing
                } else {
                    Slot::Idle
                }
            }
        };
        if slot == expected { Ok(()) } else { Err(format!("{expected:?} expected, {slot:?} seen")) }
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Frames arrive, this far from the newest sent, in this order.
    Put(Vec<i8>),
    /// The sender goes on by this many frames.
    Send(u8),
    Get(u8),
    /// One frame sent and got, this often.
    Steady(u8),
    Jump(i16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => proptest::collection::vec(-20i8..10, 1..12).prop_map(Step::Put),
        1 => (0u8..40).prop_map(Step::Send),
        2 => (0u8..20).prop_map(Step::Get),
        1 => any::<u8>().prop_map(Step::Get),
        3 => any::<u8>().prop_map(Step::Steady),
        1 => any::<i16>().prop_map(Step::Jump),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn behaves_like_the_model(size in 1u8..=20, steps in proptest::collection::vec(step(), 1..40)) {
        let mut buffer = JitterBuffer::new(FrameSize::Samples128, CAPACITY as usize, 1);
        buffer.set_size(BufferSize::Frames(size));
        let mut model = Model { depth: i64::from(size / 2 + 1), ..Model::default() };
        let mut sent = 1000i64;
        for step in steps {
            let mut moves: Vec<(Option<i64>, bool)> = Vec::new();
            match step {
                Step::Put(offsets) => moves.extend(offsets.iter().map(|at| (Some(sent + i64::from(*at)), false))),
                Step::Send(count) => sent += i64::from(count),
                Step::Get(count) => moves.extend((0..count).map(|_| (None, true))),
                Step::Steady(count) => {
                    moves.extend((0..i64::from(count)).map(|at| (Some(sent + at), true)));
                    sent += i64::from(count);
                }
                Step::Jump(by) => sent += i64::from(by),
            }
            for (put, get) in moves {
                if let Some(sequence) = put {
                    let byte = (sequence % 251) as u8;
                    buffer.put(sequence, &[byte]);
                    model.put(sequence, byte);
                }
                if get {
                    let result = model.get(buffer.get());
                    prop_assert!(result.is_ok(), "{:?}", result);
                }
                prop_assert_eq!(buffer.stats(), model.told());
            }
        }
    }

    #[test]
    fn hostile_input_is_survived(
        steps in proptest::collection::vec(
            (
                prop_oneof![any::<i64>(), -300i64..300, Just(i64::MIN), Just(i64::MAX)],
                0u8..7,
                prop_oneof![any::<f32>(), 0.0f32..100.0],
                any::<u8>(),
                0usize..40,
            ),
            1..200,
        ),
    ) {
        let mut buffer = JitterBuffer::new(FrameSize::Samples64, 0, 3);
        let mut base = 0i64;
        for (sequence, what, burst, size, gets) in steps {
            match what {
                0 => base = sequence,
                1 => buffer.set_burst(burst),
                2 => buffer.set_size(if size > 100 { BufferSize::Auto } else { BufferSize::Frames(size) }),
                3 => buffer.put(sequence, &[1; 3][..gets % 4]),
                4 => buffer.begin_pull(),
                5 => buffer.set_safety(Safety::from_percent(size)),
                _ => buffer.reset(),
            }
            for at in 0..gets as i64 {
                buffer.put(base.wrapping_add(sequence % 50).wrapping_add(at), &[1, 2, 3]);
                buffer.put(base.wrapping_add(at), &[1, 2, 3]);
                if at % 3 != 0 {
                    buffer.get();
                }
            }
            prop_assert!((1..=20).contains(&buffer.size_frames()));
        }
    }

    #[test]
    fn unwrapped_counters_keep_their_low_byte(arrivals in proptest::collection::vec((any::<u64>(), any::<u8>()), 1..100)) {
        let mut unwrapper = CounterUnwrapper::new(FrameSize::Samples64);
        for (micros, counter) in arrivals {
            prop_assert_eq!(unwrapper.unwrap(Time::from_micros(micros), counter) as u8, counter);
        }
    }
}
