//! How far behind their mean frames arrive, between whole frames: what remains of jitter when the phase of arrivals
//! and pulls is known.
//!
//! A frame arrives *ahead* of its turn by its slack and the time until the next pull, in frames. Of two frames that
//! always come together the second is further ahead than it needs, which is no jitter: only the first sets the limit.

use super::arrivals::PAGES;

/// Steps of the histogram in a frame.
const STEPS: f32 = 16.0;
/// Bins of the histogram: at the mean or ahead of it, then a step behind, … up to the largest buffer and beyond.
const BINS: usize = 20 * STEPS as usize + 2;
/// The mean is one over this many frames …
const MEAN_FRAMES: u32 = 750;
/// … and says nothing before so many.
const MIN_FRAMES: u32 = 64;
/// Frames further from the mean than this count as this far, in frames.
const OUTLIER: f32 = 2.0;
/// When so many frames in a row come further ahead than the mean …
const MOVED_FRAMES: u32 = 24;
/// … by this many frames, our side has stood still for a moment, or the way has become shorter: the mean follows at
/// once. Where frames come later it takes its time: some of them may soon come as before.
const MOVED_BY: f32 = 0.6;
/// What makes a tail thick is how far the last few frames come after the last tenth …
const TAIL_FROM: f64 = 0.1;
/// … of this many pages, whatever the safety.
const TAIL_PAGES: usize = 5;
/// Tails are longer than they have been so far, by this share.
const TAIL_GOES_ON: f32 = 0.5;

pub(super) struct Spread {
    /// Frames ahead, as seen from the present playhead.
    mean: f32,
    noted: u32,
    /// How far ahead the latest frame was, and how many in a row moved, with their sum.
    latest: f32,
    moved: (u32, f32),
    pages: Box<[[u16; BINS]; PAGES]>,
    /// Sum of the pages that count.
    total: [u32; BINS],
}

impl Spread {
    pub(super) fn new() -> Self {
        Self {
            mean: 0.0,
            noted: 0,
            latest: 0.0,
            moved: (0, 0.0),
            pages: Box::new([[0; BINS]; PAGES]),
            total: [0; BINS],
        }
    }

    /// A frame arrived this many frames ahead of its turn; it `counts` unless it came together with one further behind.
    /// Tells whether that moved the mean at once.
    pub(super) fn note(&mut self, ahead: f32, counts: bool, page: usize) -> bool {
        if self.noted == 0 {
            (self.mean, self.latest, self.moved) = (ahead, ahead, (0, 0.0));
        }
        self.noted = (self.noted + 1).min(MEAN_FRAMES);
        self.mean += (ahead - self.mean).clamp(-OUTLIER, OUTLIER) / self.noted as f32;
        let moved = self.follow_moves(ahead);
        if self.noted < MIN_FRAMES || !counts {
            return moved;
        }
        let bin = ((self.mean - ahead) * STEPS).ceil().clamp(0.0, (BINS - 1) as f32) as usize;
        let count = &mut self.pages[page][bin];
        if *count < u16::MAX {
            *count += 1;
            self.total[bin] += 1;
        }
        moved
    }

    /// Moves the mean at once where it is sure that frames come further ahead; tells whether it did.
    fn follow_moves(&mut self, ahead: f32) -> bool {
        // Some servers send frames in pairs: only both together tell where they are.
        let pair = (ahead + std::mem::replace(&mut self.latest, ahead)) / 2.0;
        let (count, sum) = self.moved;
        self.moved = if pair - self.mean > MOVED_BY { (count + 1, sum + pair) } else { (0, 0.0) };
        let follows = self.moved.0 == MOVED_FRAMES;
        if follows {
            self.mean = self.moved.1 / MOVED_FRAMES as f32;
            self.moved = (0, 0.0);
        }
        follows
    }

    /// A frame arrived at a time that nobody knows: what was known is no longer sure.
    pub(super) fn lose_track(&mut self) {
        self.noted = 0;
    }

    /// The playhead has slipped by `frames` (positive: it moved ahead).
    pub(super) fn shift(&mut self, frames: i64) {
        self.mean -= frames as f32;
        self.latest -= frames as f32;
        self.moved = (0, 0.0);
    }

    /// How far ahead frames arrive on average; `None` while unknown.
    pub(super) fn mean(&self) -> Option<f32> {
        (self.noted >= MIN_FRAMES).then_some(self.mean)
    }

    /// How far ahead they must be on average so that no more than `budget` of those remembered would have come too
    /// late, if tails go on as they began. The page in use is `page`.
    pub(super) fn needed(&self, budget: i64, page: usize) -> f32 {
        let last = behind(&self.total, budget);
        let mut lately = [0; BINS];
        for back in 0..TAIL_PAGES {
            add(&mut lately, &self.pages[(page + PAGES - back) % PAGES]);
        }
        let tenth = f64::from(lately.iter().sum::<u32>()) * TAIL_FROM;
        last + TAIL_GOES_ON * (last - behind(&lately, tenth as i64)).max(0.0)
    }

    /// Page `too_old` no longer counts, and `page` begins; both may be the same.
    pub(super) fn turn_page(&mut self, too_old: usize, page: usize) {
        for (total, old) in self.total.iter_mut().zip(&self.pages[too_old]) {
            *total -= u32::from(*old);
        }
        self.pages[page] = [0; BINS];
    }

    /// From now on the last `count` pages up to `page` count.
    pub(super) fn add_up(&mut self, count: usize, page: usize) {
        self.total = [0; BINS];
        for back in 0..count {
            add(&mut self.total, &self.pages[(page + PAGES - back) % PAGES]);
        }
    }

    pub(super) fn clear(&mut self) {
        self.noted = 0;
        *self.pages = [[0; BINS]; PAGES];
        self.total = [0; BINS];
    }
}

fn add(total: &mut [u32; BINS], page: &[u16; BINS]) {
    for (total, count) in total.iter_mut().zip(page) {
        *total += u32::from(*count);
    }
}

/// How far behind the mean those are that remain when the last `budget` are forgiven, in frames.
fn behind(total: &[u32; BINS], mut budget: i64) -> f32 {
    let last = total.iter().rposition(|count| {
        budget -= i64::from(*count);
        budget < 0
    });
    last.unwrap_or(0) as f32 / STEPS
}
