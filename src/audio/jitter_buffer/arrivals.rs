//! When frames arrived: what settling (the last 2 s) and the automatic size (the last minute at most) go by.
//!
//! Slips move the playhead, so slack as seen from it is not comparable across a slip. Everything
//! here is kept relative to a playhead that never slipped (*nominal*): `nominal = slack + shift`.

use super::spread::Spread;
use super::{AUTO_MAX_DEPTH, AUTO_MIN_DEPTH};
use crate::units::{FrameSize, Safety};

/// What settling looks at is kept in slices of this length.
const SLICE_MS: u32 = 250;
/// Slices kept: 2 s, and the one that is being filled.
const SLICES: usize = 9;
/// What the automatic size looks at is kept in slices of this many of those: of 1 s.
const SLICES_PER_PAGE: u32 = 4;
/// Such slices kept, that which is being filled included: the longest memory.
pub(super) const PAGES: usize = 60;
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
/// The fill may settle this far below the target (`INSERT_BELOW`) without making frames late.
const SETTLING_MARGIN: f32 = 0.5;
/// Extra that must be to spare before the depth shrinks, in frames, so that it does not flap.
const SHRINK_MARGIN: f32 = 0.25;
/// Where the time of arrivals is known, frames are to be there this long before their pull, in milliseconds.
pub(super) const TIME_MARGIN_MS: f32 = 0.4;

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

/// What the automatic size does with the past.
#[derive(Clone, Copy)]
struct Rule {
    /// Pages that count: seconds.
    pages: usize,
    /// Share of the frames of that time that may come late.
    late_share: f64,
    /// Frames more than that takes.
    extra: f32,
    /// Of frames that come together each counts.
    counts_all: bool,
}

impl Rule {
    /// From forgiving and forgetful over Jamulus's habits to the opposite. The more safety, the fewer frames may
    /// come late within what is remembered: so more of it never asks for a smaller buffer.
    fn new(safety: Safety) -> Self {
        /// (seconds, late share) at 0, 50 and 100 percent; in between both go by constant factors.
        const TIGHT: (f64, f64) = (5.0, 5e-3);
        const USUAL: (f64, f64) = (15.0, 5e-4);
        const SAFE: (f64, f64) = (60.0, 5e-5);
        let percent = safety.percent();
        let (from, to, share) = if percent <= 50 {
            (TIGHT, USUAL, f64::from(percent) / 50.0)
        } else {
            (USUAL, SAFE, f64::from(percent - 50) / 50.0)
        };
        let between = |from: f64, to: f64| from * (to / from).powf(share);
        Self {
            pages: (between(from.0, to.0).round() as usize).clamp(1, PAGES),
            late_share: between(from.1, to.1),
            extra: if percent <= 50 { 0.0 } else { share as f32 },
            counts_all: percent > 50,
        }
    }
}

pub(super) struct Arrivals {
    rule: Rule,
    slices: [Slice; SLICES],
    current: usize,
    ticks: u32,
    slice_ticks: u32,
    /// Histograms of nominal slack, a page for each second.
    pages: Box<[[u16; BINS]; PAGES]>,
    /// Sum of those that count.
    total: [u32; BINS],
    page: usize,
    /// Slices that have ended on this page …
    page_slices: u32,
    /// … and pages that have ended, up to all but one.
    ended: usize,
    shift: i64,
    /// The same between whole frames, of frames whose time of arrival is known.
    spread: Spread,
    frame: FrameSize,
    /// How far ahead the latest was of those that have come together, of frames whose time of arrival is known.
    latest: Option<f32>,
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
            rule: Rule::new(Safety::default()),
            slices: [Slice::default(); SLICES],
            current: 0,
            ticks: 0,
            slice_ticks: (f64::from(SLICE_MS) * 1e6 / frame.nanos() as f64).round() as u32,
            pages: Box::new([[0; BINS]; PAGES]),
            total: [0; BINS],
            page: 0,
            page_slices: 0,
            ended: 0,
            shift: 0,
            spread: Spread::new(),
            frame,
            latest: None,
        }
    }

    /// From now on the past counts by another rule.
    pub(super) fn set_safety(&mut self, safety: Safety) {
        self.rule = Rule::new(safety);
        self.add_up();
    }

    /// Notes a frame that arrived with `slack` while the reserve should be `wanted`, `early` frames before the next
    /// pull if that is known. Tells whether frames surely come further ahead by now than on average lately.
    pub(super) fn record(&mut self, slack: i64, early: Option<f32>, wanted: i64) -> bool {
        let moved = match early {
            Some(early) => {
                let ahead = slack as f32 + early;
                let is_alone = self.latest.is_none_or(|latest| ahead < latest);
                self.latest = Some(self.latest.map_or(ahead, |latest| latest.min(ahead)));
                self.spread.note(ahead, is_alone || self.rule.counts_all, self.page)
            }
            None => {
                self.spread.lose_track();
                false
            }
        };
        let slice = &mut self.slices[self.current];
        slice.frames += 1;
        slice.late += u32::from(slack < 0);
        slice.slack += slack.max(wanted - OUTLIER_FRAMES) + self.shift;
        let bin = (slack + self.shift + ZERO_BIN).clamp(0, BINS as i64 - 1) as usize;
        let count = &mut self.pages[self.page][bin];
        if *count < u16::MAX {
            *count += 1;
            self.total[bin] += 1;
        }
        moved
    }

    /// What comes from now on does not come together with what came before. Whatever held up the first of several whose
    /// times are known and that come together held up all of them: it is one accident, however many frames it takes, and
    /// counts as one, unless safety is wanted.
    pub(super) fn part(&mut self) {
        self.latest = None;
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
        self.slices[self.current] = Slice::default();
        self.page_slices += 1;
        if self.page_slices == SLICES_PER_PAGE {
            self.turn_page();
        }
    }

    fn turn_page(&mut self) {
        self.page_slices = 0;
        self.ended = (self.ended + 1).min(PAGES - 1);
        self.page = (self.page + 1) % PAGES;
        // The page that is too old by now is the one to be overwritten, where all of them count.
        let too_old = (self.page + PAGES - self.rule.pages) % PAGES;
        for (total, old) in self.total.iter_mut().zip(&self.pages[too_old]) {
            *total -= u32::from(*old);
        }
        self.pages[self.page] = [0; BINS];
        self.spread.turn_page(too_old, self.page);
    }

    /// Frame times in what is remembered.
    fn remembered(&self) -> u32 {
        let pages = self.ended.min(self.rule.pages - 1) as u32;
        (pages * SLICES_PER_PAGE + self.page_slices) * self.slice_ticks + self.ticks
    }

    /// The playhead has slipped by `frames` (positive: it moved ahead).
    pub(super) fn shift(&mut self, frames: i64) {
        self.shift += frames;
        self.spread.shift(frames);
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

    /// Frames that remain after the largest pull now, if that is sure: the lesser of what this slice and the one before
    /// say.
    pub(super) fn reserve_now(&self, burst: f32) -> Option<f32> {
        let slices = [self.current, (self.current + SLICES - 1) % SLICES].map(|index| &self.slices[index]);
        let [now, before] = slices.map(|slice| slice.reserve(burst));
        Some(now?.min(before?) - self.shift as f32)
    }

    /// The automatic depth for pulls of up to `burst` frames.
    pub(super) fn needed_depth(&self, burst: f32) -> Option<Needed> {
        let mut budget = self.budget();
        let earliest = self.total.iter().position(|count| {
            budget -= i64::from(*count);
            budget < 0
        })?;
        // With the playhead at the earliest frame that must be in time, that frame's slack is 0. The
        // distance counts from where frames arrive now: the way may have changed in the meantime.
        let reserve = self.last_two_seconds().reserve(burst)?;
        let depth = reserve - (earliest as i64 - ZERO_BIN) as f32 + SETTLING_MARGIN + 1.0 + self.rule.extra;
        let whole =
            |depth: f32| depth.ceil().clamp(f32::from(AUTO_MIN_DEPTH), f32::from(AUTO_MAX_DEPTH)) as u8;
        Some(Needed { frames: whole(depth), surely: whole(depth + SHRINK_MARGIN) })
    }

    /// Times are measured otherwise from now on.
    pub(super) fn lose_track(&mut self) {
        self.spread.lose_track();
    }

    /// How far ahead of their turn frames arrive on average, in frames; `None` unless their times are known.
    pub(super) fn ahead(&self) -> Option<f32> {
        self.spread.mean()
    }

    /// How far ahead of their turn they should arrive on average at least, where they are pulled one by one.
    pub(super) fn needed_ahead(&self) -> Option<f32> {
        self.spread.mean()?;
        let margin = TIME_MARGIN_MS / self.frame.millis() + self.rule.extra;
        let fine = self.spread.needed(self.budget(), self.page) + margin;
        // Counting whole frames knows better when the way has just become longer; it is seldom the lesser.
        let coarse = f32::from(self.needed_depth(1.0)?.frames) - 0.5;
        Some(fine.min(coarse))
    }

    /// Frames of those remembered that may come late.
    fn budget(&self) -> i64 {
        (f64::from(self.remembered()) * self.rule.late_share) as i64
    }

    fn last_two_seconds(&self) -> Slice {
        Slice::total(&self.slices)
    }

    pub(super) fn clear(&mut self) {
        self.slices = [Slice::default(); SLICES];
        *self.pages = [[0; BINS]; PAGES];
        self.total = [0; BINS];
        (self.ticks, self.page_slices, self.ended) = (0, 0, 0);
        self.shift = 0;
        self.spread.clear();
    }

    /// Makes the present playhead the nominal one.
    fn rebase(&mut self) {
        let by = std::mem::take(&mut self.shift);
        for slice in &mut self.slices {
            slice.slack -= by * i64::from(slice.frames);
            slice.before.move_down(by, slice.pulls);
            slice.after.move_down(by, slice.pulls);
        }
        for histogram in self.pages.iter_mut() {
            let old = std::mem::replace(histogram, [0; BINS]);
            for (bin, count) in old.into_iter().enumerate() {
                let bin = (bin as i64 - by).clamp(0, BINS as i64 - 1) as usize;
                histogram[bin] = histogram[bin].saturating_add(count);
            }
        }
        self.add_up();
    }

    /// Sums the pages that count.
    fn add_up(&mut self) {
        self.spread.add_up(self.rule.pages, self.page);
        self.total = [0; BINS];
        for back in 0..self.rule.pages {
            let histogram = &self.pages[(self.page + PAGES - back) % PAGES];
            for (total, count) in self.total.iter_mut().zip(histogram) {
                *total += u32::from(*count);
            }
        }
    }
}

impl Slice {
    fn total(slices: &[Self]) -> Self {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the arrivals of `steps` (slack of a frame or nothing, then that many quiet frame times) ask for.
    fn needed(steps: &[(Option<i64>, u16)], safety: Safety, live: bool) -> Option<u8> {
        let mut arrivals = Arrivals::new(FrameSize::Samples128);
        if !live {
            arrivals.set_safety(safety);
        }
        for (slack, quiet) in steps {
            for _ in 0..*quiet {
                arrivals.record(1, None, 1);
                arrivals.tick();
            }
            if let Some(slack) = slack {
                arrivals.record(*slack, None, 1);
            }
            arrivals.tick();
        }
        if live {
            arrivals.set_safety(safety);
        }
        arrivals.needed_depth(1.0).map(|needed| needed.frames)
    }

    fn steps() -> impl Strategy<Value = Vec<(Option<i64>, u16)>> {
        proptest::collection::vec((proptest::option::of(-18i64..6), 0u16..900), 1..60)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn more_safety_never_asks_for_less(steps in steps()) {
            let needed: Vec<_> =
                (0..=100).step_by(5).map(|percent| needed(&steps, Safety::from_percent(percent), false)).collect();
            prop_assert!(needed.is_sorted(), "{:?}", needed);
        }

        #[test]
        fn a_live_change_remembers_what_was(steps in steps(), percent in 0u8..=100) {
            let safety = Safety::from_percent(percent);
            prop_assert_eq!(needed(&steps, safety, true), needed(&steps, safety, false));
        }
    }

    #[test]
    fn the_middle_is_one_in_2000_of_15_seconds() {
        let rule = Rule::new(Safety::default());
        assert_eq!((rule.pages, rule.extra), (15, 0.0));
        assert!((rule.late_share - 5e-4).abs() < 1e-12);
    }
}
