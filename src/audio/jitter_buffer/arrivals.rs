//! When frames arrived, over the last 15 s: what settling and the automatic size go by.
//!
//! Slips move the playhead, so slack as seen from it is not comparable across a slip. Everything
//! here is kept relative to a playhead that never slipped (*nominal*): `nominal = slack + shift`.

use super::{AUTO_MAX_DEPTH, AUTO_MIN_DEPTH};
use crate::units::FrameSize;

/// The past is kept in slices of this length.
const SLICE_MS: u32 = 250;
/// Slices kept: 15 s.
const SLICES: usize = 60;
/// Slices that settling looks at, beside the one that is being filled: 2 s.
const RECENT_SLICES: usize = 8;
/// Bins of the histogram of nominal slack, one frame each; the ends also hold what lies beyond.
const BINS: usize = 64;
/// Bin of a frame that has slack 0 when the history starts: 32 frames late are still told apart.
const ZERO_BIN: i64 = 32;
/// The histogram moves along when slips have moved slack 0 this far from [`ZERO_BIN`].
const MAX_SHIFT: i64 = 8;
/// Frames that come later than this before the target count as this late, so that one long stall
/// does not move the mean of two seconds. (Nothing makes single frames come early.)
const OUTLIER_FRAMES: i64 = 2;
/// Fewer frames than this say nothing.
const MIN_FRAMES: u32 = 8;
/// Fewer pulls of several frames than this say nothing.
const MIN_PULLS: u32 = 3;
/// Share of the frames that arrive that may be late with the automatic depth, as frames per 10 000.
const LATE_BUDGET: u32 = 5;
/// The fill may settle this far below the target (`INSERT_BELOW`) without making frames late.
const SETTLING_MARGIN: f32 = 0.5;
/// Extra that must be to spare before the depth shrinks, in frames, so that it does not flap.
const SHRINK_MARGIN: f32 = 0.25;

#[derive(Clone, Copy, Default)]
struct Slice {
    /// Frames that arrived.
    frames: u32,
    late: u32,
    /// Sum of their nominal slack.
    slack: i64,
    pulls: u32,
    /// Nominal fill before each pull.
    before: Sums,
    /// Nominal fill after each pull.
    after: Sums,
    /// The two largest pulls, in frames, larger first.
    largest: [i64; 2],
}

/// Enough of some numbers to tell their mean and variance.
#[derive(Clone, Copy, Default)]
struct Sums {
    sum: i64,
    squares: i64,
}

pub(super) struct Arrivals {
    slices: [Slice; SLICES],
    histograms: Box<[[u16; BINS]; SLICES]>,
    /// Sum of `histograms`.
    total: [u32; BINS],
    current: usize,
    ticks: u32,
    slice_ticks: u32,
    shift: i64,
}

/// The last two seconds.
pub(super) struct Recent {
    /// Frames that remain after the largest pull, see [`Arrivals::recent`].
    pub(super) reserve: f32,
    /// Share of the arrived frames that were late, 0..=1.
    pub(super) late_share: f32,
}

/// What the automatic depth should be, in frames.
pub(super) struct Needed {
    /// Smallest depth that would have done.
    pub(super) frames: u8,
    /// The same with a margin: above it, frames can be given back.
    pub(super) surely: u8,
}

impl Arrivals {
    pub(super) fn new(frame: FrameSize) -> Self {
        Self {
            slices: [Slice::default(); SLICES],
            histograms: Box::new([[0; BINS]; SLICES]),
            total: [0; BINS],
            current: 0,
            ticks: 0,
            slice_ticks: (f64::from(SLICE_MS) * 1e6 / frame.nanos() as f64).round() as u32,
            shift: 0,
        }
    }

    /// Notes a frame that arrived with `slack` while the reserve should be `wanted`.
    pub(super) fn record(&mut self, slack: i64, wanted: i64) {
        let slice = &mut self.slices[self.current];
        slice.frames += 1;
        slice.late += u32::from(slack < 0);
        slice.slack += slack.max(wanted - OUTLIER_FRAMES) + self.shift;
        let bin = (slack + self.shift + ZERO_BIN).clamp(0, BINS as i64 - 1) as usize;
        let count = &mut self.histograms[self.current][bin];
        if *count < u16::MAX {
            *count += 1;
            self.total[bin] += 1;
        }
    }

    /// Notes a pull that found `before` frames and left `after`, while it should leave `wanted`.
    pub(super) fn record_pull(&mut self, before: i64, after: i64, wanted: i64) {
        let after = after.max(wanted - OUTLIER_FRAMES).min(before);
        let slice = &mut self.slices[self.current];
        slice.pulls += 1;
        slice.before.add(before + self.shift);
        slice.after.add(after + self.shift);
        slice.note_pull(before - after);
    }

    /// One frame time has passed.
    pub(super) fn tick(&mut self) {
        self.ticks += 1;
        if self.ticks < self.slice_ticks {
            return;
        }
        self.ticks = 0;
        self.current = (self.current + 1) % SLICES;
        for (total, old) in self.total.iter_mut().zip(&self.histograms[self.current]) {
            *total -= u32::from(*old);
        }
        self.histograms[self.current] = [0; BINS];
        self.slices[self.current] = Slice::default();
    }

    /// The playhead has slipped by `frames` (positive: it moved ahead).
    pub(super) fn shift(&mut self, frames: i64) {
        self.shift += frames;
        if self.shift.abs() > MAX_SHIFT {
            self.rebase();
        }
    }

    /// The last two seconds, if they say anything, for pulls of up to `burst` frames.
    pub(super) fn recent(&self, burst: f32) -> Option<Recent> {
        let sum = self.last_two_seconds();
        Some(Recent {
            reserve: sum.reserve(burst)? - self.shift as f32,
            late_share: sum.late as f32 / sum.frames.max(1) as f32,
        })
    }

    /// The automatic depth for pulls of up to `burst` frames.
    pub(super) fn needed_depth(&self, burst: f32) -> Option<Needed> {
        let frames: u32 = self.slices.iter().map(|slice| slice.frames).sum();
        let mut budget = i64::from(frames * LATE_BUDGET / 10_000);
        let earliest = self.total.iter().position(|count| {
            budget -= i64::from(*count);
            budget < 0
        })?;
        // With the playhead at the earliest frame that must be in time, that frame's slack is 0. The
        // distance counts from where frames arrive now: the way may have changed within 15 s.
        let reserve = self.last_two_seconds().reserve(burst)?;
        let depth = reserve - (earliest as i64 - ZERO_BIN) as f32 + SETTLING_MARGIN + 1.0;
        let whole =
            |depth: f32| depth.ceil().clamp(f32::from(AUTO_MIN_DEPTH), f32::from(AUTO_MAX_DEPTH)) as u8;
        Some(Needed { frames: whole(depth), surely: whole(depth + SHRINK_MARGIN) })
    }

    fn last_two_seconds(&self) -> Slice {
        Slice::total((0..=RECENT_SLICES).map(|back| &self.slices[(self.current + SLICES - back) % SLICES]))
    }

    pub(super) fn clear(&mut self) {
        self.slices = [Slice::default(); SLICES];
        *self.histograms = [[0; BINS]; SLICES];
        self.total = [0; BINS];
        self.ticks = 0;
        self.shift = 0;
    }

    /// Makes the present playhead the nominal one.
    fn rebase(&mut self) {
        let by = std::mem::take(&mut self.shift);
        for slice in &mut self.slices {
            slice.slack -= by * i64::from(slice.frames);
            slice.before.move_down(by, slice.pulls);
            slice.after.move_down(by, slice.pulls);
        }
        self.total = [0; BINS];
        for histogram in self.histograms.iter_mut() {
            let old = std::mem::replace(histogram, [0; BINS]);
            for (bin, count) in old.into_iter().enumerate() {
                let bin = (bin as i64 - by).clamp(0, BINS as i64 - 1) as usize;
                histogram[bin] = histogram[bin].saturating_add(count);
            }
            for (total, count) in self.total.iter_mut().zip(histogram.iter()) {
                *total += u32::from(*count);
            }
        }
    }
}

impl Slice {
    fn total<'a>(slices: impl Iterator<Item = &'a Self>) -> Self {
        let mut total = Self::default();
        for slice in slices {
            total.frames += slice.frames;
            total.late += slice.late;
            total.slack += slice.slack;
            total.pulls += slice.pulls;
            total.before = total.before.plus(slice.before);
            total.after = total.after.plus(slice.after);
            slice.largest.into_iter().for_each(|pull| total.note_pull(pull));
        }
        total
    }

    fn note_pull(&mut self, frames: i64) {
        let [first, second] = self.largest;
        self.largest = [first.max(frames), second.max(frames.min(first))];
    }

    /// Nominal number of frames that remain after the largest pull, on average; `None` if unknown.
    fn reserve(&self, burst: f32) -> Option<f32> {
        if self.frames < MIN_FRAMES {
            return None;
        }
        if burst <= 1.0 {
            return Some((self.slack as f64 / f64::from(self.frames)) as f32);
        }
        if self.pulls < MIN_PULLS {
            return None;
        }
        // Hosts whose blocks vary are of two kinds. One asks for the time that comes: then the fill
        // *before* pulls is steady, and the largest is taken from that. The other asks for the time
        // that has passed: then what remains *after* pulls is steady. Equal blocks are both.
        // (A stall of the network looks like one larger pull, so it is the second largest that counts.)
        let largest = burst.max(self.largest[1] as f32);
        Some(if self.before.variance(self.pulls) <= self.after.variance(self.pulls) {
            self.before.mean(self.pulls) as f32 - largest
        } else {
            self.after.mean(self.pulls) as f32
        })
    }
}

impl Sums {
    fn add(&mut self, value: i64) {
        self.sum += value;
        self.squares += value * value;
    }

    fn plus(self, other: Self) -> Self {
        Self { sum: self.sum + other.sum, squares: self.squares + other.squares }
    }

    /// As if each of the `count` numbers had been less by `by`.
    fn move_down(&mut self, by: i64, count: u32) {
        self.squares += by * (by * i64::from(count) - 2 * self.sum);
        self.sum -= by * i64::from(count);
    }

    fn mean(self, count: u32) -> f64 {
        self.sum as f64 / f64::from(count)
    }

    fn variance(self, count: u32) -> f64 {
        self.squares as f64 / f64::from(count) - self.mean(count).powi(2)
    }
}
