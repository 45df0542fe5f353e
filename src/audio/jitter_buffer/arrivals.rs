//! When frames arrived, over the last 15 s: what settling and the automatic size go by.
//!
//! Slips move the playhead, so slack as seen from it is not comparable across a slip. Everything
//! here is kept relative to a playhead that never slipped (*nominal*): `nominal = slack + shift`.

use super::AUTO_MIN_FRAMES;
use crate::units::{FrameSize, MAX_BUFFER_FRAMES};

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
const OUTLIER_FRAMES: f32 = 2.0;
/// Fewer frames than this say nothing.
const MIN_FRAMES: u32 = 8;
/// Share of the frames that arrive that may be late with the automatic size, as frames per 10 000.
const LATE_BUDGET: u32 = 5;
/// The fill may settle this far below the target (`INSERT_BELOW`) without making frames late.
const SETTLING_MARGIN: f32 = 0.5;
/// Extra that must be to spare before the size shrinks, in frames, so that it does not flap.
const SHRINK_MARGIN: f32 = 0.25;

/// Sums of fills are kept in this fraction of a frame.
const FILL_UNITS: i64 = 64;

#[derive(Clone, Copy, Default)]
struct Slice {
    frames: u32,
    late: u32,
    /// Sum of the nominal fill that each frame's arrival stands for, in units of 1/[`FILL_UNITS`] frame.
    fill: i64,
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
    /// Mean number of frames in hand before a pull.
    pub(super) mean_fill: f32,
    /// Share of the arrived frames that were late, 0..=1.
    pub(super) late_share: f32,
}

/// What the automatic size should be.
pub(super) struct Needed {
    /// Smallest size that would have done.
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

    /// Notes a frame that arrived with `slack` and stands for `fill` frames in hand before a pull;
    /// less than `least` counts as that.
    pub(super) fn record(&mut self, slack: i64, fill: f32, least: f32) {
        let fill = (fill.max(least - OUTLIER_FRAMES) * FILL_UNITS as f32) as i64;
        let slice = &mut self.slices[self.current];
        slice.frames += 1;
        slice.late += u32::from(slack < 0);
        slice.fill += fill + FILL_UNITS * self.shift;
        let bin = (slack + self.shift + ZERO_BIN).clamp(0, BINS as i64 - 1) as usize;
        let count = &mut self.histograms[self.current][bin];
        if *count < u16::MAX {
            *count += 1;
            self.total[bin] += 1;
        }
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

    /// The last two seconds, if it says anything.
    pub(super) fn recent(&self) -> Option<Recent> {
        let mut sum = Slice::default();
        for back in 0..=RECENT_SLICES {
            let slice = &self.slices[(self.current + SLICES - back) % SLICES];
            sum.frames += slice.frames;
            sum.late += slice.late;
            sum.fill += slice.fill;
        }
        (sum.frames >= MIN_FRAMES).then(|| Recent {
            mean_fill: (mean(&sum) - self.shift as f64) as f32,
            late_share: sum.late as f32 / sum.frames as f32,
        })
    }

    /// The automatic size, from the whole history.
    pub(super) fn needed_size(&self, burst: f32) -> Option<Needed> {
        let sum = self.slices.iter().fold(Slice::default(), |sum, slice| Slice {
            frames: sum.frames + slice.frames,
            late: 0,
            fill: sum.fill + slice.fill,
        });
        if sum.frames < MIN_FRAMES {
            return None;
        }
        let mut budget = i64::from(sum.frames * LATE_BUDGET / 10_000);
        let earliest = self.total.iter().position(|count| {
            budget -= i64::from(*count);
            budget < 0
        })?;
        // A playhead at the earliest frame that must be in time has slack 0 for it.
        let depth = mean(&sum) as f32 - (earliest as i64 - ZERO_BIN) as f32;
        let size = depth + SETTLING_MARGIN + 1.0 - burst;
        let whole =
            |size: f32| size.ceil().clamp(f32::from(AUTO_MIN_FRAMES), f32::from(MAX_BUFFER_FRAMES)) as u8;
        Some(Needed { frames: whole(size), surely: whole(size + SHRINK_MARGIN) })
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
            slice.fill -= FILL_UNITS * by * i64::from(slice.frames);
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

/// Mean nominal fill.
fn mean(sum: &Slice) -> f64 {
    sum.fill as f64 / FILL_UNITS as f64 / f64::from(sum.frames)
}
