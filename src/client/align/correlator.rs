//! Finds what was sent in what comes back.
//!
//! Both are samples at 48 kHz with numbers of their own. A server takes whole frames and hands out whole frames,
//! and a codec delays by whole frames, so the *lag* between both numbers is a whole number of the shortest
//! frames, [`GRID`]: only these few lags are compared, and a found one is exact to the sample.
//!
//! Each segment of what came back is compared with what may be in it. Both pass through the same two filters
//! first: one that makes what was sent white, so that only its new, unpredictable part counts, and one that does
//! so with what came back, so that others' loud tones do not. What repeats itself (a steady tone) fits at more
//! than one lag, and then none is named.

use std::ops::Range;

/// All lags are multiples of this, in samples: the shortest frame.
pub(super) const GRID: i64 = 64;
/// Samples of what came back that are judged at once.
pub(super) const SEGMENT: usize = 4096;
/// Most lags compared: 0.4 s.
const MAX_LAGS: usize = 300;
/// What was sent is remembered this long, in samples: the longest lag, and a host's longest block.
const MEMORY: usize = 65_536;
/// Coefficients of each whitening filter.
const TAPS: usize = 16;
/// Samples that both filters need before their first result.
const WARM_UP: usize = 2 * (TAPS - 1);
/// Quieter than this (RMS, linear) is silence: −66 dBFS.
const SILENCE: f64 = 0.0005;
/// Segments that make a verdict at least …
const ENOUGH: u32 = 4;
/// … or, where little else is to be heard, so few: a change is then noticed within half a second.
const FEW: usize = 2;
/// … and how much all of them must tell, where 1 is a segment that fits at one lag and nowhere else.
const TELLING: f64 = 0.25;
/// Segments after which an undecided comparison begins anew: the lag may have changed meanwhile.
const TOO_MANY: u32 = 48;

/// One stream's memory and the comparison under way.
pub(super) struct Correlator {
    sent: Box<[f32]>,
    /// Numbers of the samples in `sent`.
    remembered: Range<i64>,
    heard: Vec<f32>,
    /// Number of the first sample in `heard`.
    heard_start: i64,
    /// The lags compared: the first, in samples …
    first_lag: i64,
    /// … and how well each fits so far: a sum of correlations.
    scores: Vec<f64>,
    /// The same for the last segments alone, oldest first.
    recent: [Vec<f64>; FEW],
    segments: u32,
    /// How much they tell: the sum of their weights, and of the squares of these …
    weight: f64,
    squares: f64,
    /// … and the weights of the last ones.
    recent_weights: [f64; FEW],
    sounding: u64,
    scratch: Scratch,
}

/// Room for one comparison.
#[derive(Default)]
struct Scratch {
    sent: Vec<f32>,
    heard: Vec<f32>,
    filtered: Vec<f32>,
}

impl Correlator {
    pub(super) fn new() -> Self {
        Self {
            sent: vec![0.0; MEMORY].into(),
            remembered: 0..0,
            heard: Vec::with_capacity(SEGMENT),
            heard_start: 0,
            first_lag: 0,
            scores: Vec::new(),
            recent: Default::default(),
            segments: 0,
            weight: 0.0,
            squares: 0.0,
            recent_weights: [0.0; FEW],
            sounding: 0,
            scratch: Scratch::default(),
        }
    }

    /// Forgets the comparison under way, not what was sent.
    pub(super) fn restart(&mut self) {
        self.heard.clear();
        self.scores.clear();
        self.recent.iter_mut().for_each(Vec::clear);
        self.segments = 0;
        (self.weight, self.squares, self.recent_weights) = (0.0, 0.0, [0.0; FEW]);
    }

    /// Samples that were compared and no silence, ever.
    pub(super) fn sounding(&self) -> u64 {
        self.sounding
    }

    /// These were sent, from the sample with the number `start` on.
    pub(super) fn note_sent(&mut self, start: i64, samples: &[f32]) {
        if self.remembered.end != start {
            self.remembered = start..start;
        }
        for (number, sample) in (start..).zip(samples) {
            self.sent[number as usize % MEMORY] = *sample;
        }
        self.remembered.end = start + samples.len() as i64;
        self.remembered.start = self.remembered.start.max(self.remembered.end - MEMORY as i64);
    }

    /// These came back, from the sample with the number `start` on; the lag is in `lags`. The lag, once it is
    /// clear.
    pub(super) fn note_heard(&mut self, start: i64, samples: &[f32], lags: &Range<i64>) -> Option<i64> {
        if start != self.heard_start + self.heard.len() as i64 {
            self.heard.clear();
        }
        if self.heard.is_empty() {
            self.heard_start = start;
        }
        let room = SEGMENT - self.heard.len();
        self.heard.extend_from_slice(&samples[..samples.len().min(room)]);
        if self.heard.len() < SEGMENT {
            return None;
        }
        self.compare(lags);
        self.heard.clear();
        let verdict = self.verdict();
        if verdict.is_some() || self.segments >= TOO_MANY {
            self.restart();
        }
        verdict
    }

    /// Adds how well this segment fits at each lag.
    fn compare(&mut self, lags: &Range<i64>) {
        if self.scores.is_empty() {
            self.first_lag = lags.start.div_euclid(GRID) * GRID;
            let count = ((lags.end - self.first_lag) / GRID + 1).clamp(2, MAX_LAGS as i64);
            self.scores.resize(count as usize, 0.0);
            self.recent.iter_mut().for_each(|recent| recent.resize(count as usize, 0.0));
        }
        let reach = (self.scores.len() as i64 - 1) * GRID;
        let first = self.heard_start - self.first_lag - reach;
        let wanted = first..first + reach + SEGMENT as i64;
        if wanted.start < self.remembered.start || wanted.end > self.remembered.end {
            return;
        }
        let Scratch { sent, heard, filtered } = &mut self.scratch;
        sent.clear();
        sent.extend(wanted.map(|number| self.sent[number as usize % MEMORY]));
        heard.clear();
        heard.extend_from_slice(&self.heard);
        if rms(sent) < SILENCE || rms(heard) < SILENCE {
            return;
        }
        let white_sent = Whitener::of(sent);
        white_sent.apply(sent, filtered);
        white_sent.apply(heard, filtered);
        let white_heard = Whitener::of(heard);
        white_heard.apply(sent, filtered);
        white_heard.apply(heard, filtered);
        debug_assert_eq!(heard.len(), SEGMENT - WARM_UP);
        // By the loudest stretch, or one that is all but silent would count as much.
        let mut energy: f64 = dot(&sent[..heard.len()], &sent[..heard.len()]);
        let mut largest = energy;
        for (leaving, coming) in sent.iter().zip(&sent[heard.len()..]) {
            energy += f64::from(coming * coming) - f64::from(leaving * leaving);
            largest = largest.max(energy);
        }
        let scale = (largest * dot(heard, heard)).sqrt();
        if scale < 1e-12 {
            return;
        }
        self.recent.rotate_left(1);
        let newest = &mut self.recent[FEW - 1];
        for (index, newest) in newest.iter_mut().rev().enumerate() {
            let sent = &sent[index * GRID as usize..][..heard.len()];
            *newest = dot(sent, heard) / scale;
        }
        // What fits nearly as well elsewhere counts little: the middle of a long note beside its beginning.
        let best = Best::of(newest.iter().copied());
        let weight = if best.score > 0.0 { 1.0 - best.next / best.score } else { 0.0 };
        for (score, newest) in self.scores.iter_mut().zip(newest) {
            *newest *= weight;
            *score += *newest;
        }
        self.weight += weight;
        self.squares += weight * weight;
        self.recent_weights.rotate_left(1);
        self.recent_weights[FEW - 1] = weight;
        self.segments += 1;
        self.sounding += SEGMENT as u64;
    }

    fn verdict(&self) -> Option<i64> {
        /// A fit by chance is one in many millions, in standard deviations.
        const SIGNIFICANT: f64 = 8.0;
        /// The next best fits at most so well, relative to the best.
        const NEXT: f64 = 0.6;
        /// The same for a quick verdict, and how well the best has to fit.
        const QUICK: (f64, f64) = (0.3, 0.4);
        let best = Best::of(self.scores.iter().copied());
        let chance = (self.squares / (SEGMENT - WARM_UP) as f64).sqrt();
        let clear = self.segments >= ENOUGH
            && self.weight > TELLING
            && best.score > SIGNIFICANT * chance
            && best.next < NEXT * best.score;
        let [earlier, newest] = &self.recent;
        let recent = Best::of(earlier.iter().zip(newest).map(|(earlier, newest)| earlier + newest));
        let weight: f64 = self.recent_weights.iter().sum();
        let quick = self.segments as usize >= FEW
            && weight > 2.0 * TELLING
            && recent.score > QUICK.1 * weight
            && recent.next < QUICK.0 * recent.score;
        let index = if quick { Some(recent.index) } else { clear.then_some(best.index) };
        index.map(|index| self.first_lag + index as i64 * GRID)
    }
}

/// The best of some scores, and the next best.
#[derive(Default)]
struct Best {
    index: usize,
    score: f64,
    next: f64,
}

impl Best {
    fn of(scores: impl Iterator<Item = f64>) -> Self {
        scores.enumerate().fold(Self::default(), |best, (index, score)| {
            if score > best.score {
                Self { index, score, next: best.score }
            } else {
                Self { next: best.next.max(score), ..best }
            }
        })
    }
}

/// Leaves of a sound what cannot be foretold from the samples before it.
struct Whitener([f32; TAPS]);

impl Whitener {
    /// Levinson's recursion.
    fn of(signal: &[f32]) -> Self {
        let mut correlation: [f64; TAPS] =
            std::array::from_fn(|shift| dot(&signal[shift..], &signal[..signal.len() - shift]));
        // As if there were noise 60 dB below: keeps the filter tame.
        correlation[0] = correlation[0] * 1.000_001 + 1e-9;
        let mut filter = [0.0; TAPS];
        filter[0] = 1.0;
        let mut error = correlation[0];
        for order in 1..TAPS {
            let reflected: f64 = (0..order).map(|tap| filter[tap] * correlation[order - tap]).sum();
            let reflection = -reflected / error;
            let before = filter;
            for tap in 1..=order {
                filter[tap] += reflection * before[order - tap];
            }
            error *= 1.0 - reflection * reflection;
            if error <= 0.0 {
                break;
            }
        }
        Self(std::array::from_fn(|tap| filter[TAPS - 1 - tap] as f32))
    }

    /// Replaces `signal`, which becomes shorter by the filter's first samples.
    fn apply(&self, signal: &mut Vec<f32>, spare: &mut Vec<f32>) {
        spare.clear();
        spare.extend(
            signal
                .windows(TAPS)
                .map(|window| window.iter().zip(&self.0).map(|(sample, tap)| sample * tap).sum::<f32>()),
        );
        std::mem::swap(signal, spare);
    }
}

fn rms(signal: &[f32]) -> f64 {
    (dot(signal, signal) / signal.len().max(1) as f64).sqrt()
}

/// Sum of products of what both have, in eight sums that the compiler keeps in SIMD registers.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    let (a, b) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0f32; 8];
    for (a, b) in a.0.iter().zip(b.0) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a.1.iter().zip(b.1).map(|(a, b)| a * b).sum();
    sums.iter().map(|sum| f64::from(*sum)).sum::<f64>() + f64::from(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: usize = 128;
    const LAGS: Range<i64> = 64..9600;

    /// White noise in ±1, by sample number.
    fn noise(seed: u64, number: usize) -> f32 {
        let hash = (number as u64 + (seed << 32) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let hash = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40;
        hash as f32 / (1 << 23) as f32 - 1.0
    }

    fn tone(hz: f64, number: usize) -> f32 {
        (std::f64::consts::TAU * hz * number as f64 / 48_000.0).sin() as f32
    }

    /// The first verdict of ten seconds in which `sent` comes back `lag` samples later beneath `other`.
    fn search(lag: usize, sent: impl Fn(usize) -> f32, other: impl Fn(usize) -> f32) -> Option<i64> {
        let mut correlator = Correlator::new();
        (0..10 * 48_000 / FRAME).find_map(|frame| {
            let start = frame * FRAME;
            let numbers = start..start + FRAME;
            correlator.note_sent(start as i64, &numbers.clone().map(&sent).collect::<Vec<_>>());
            let back = |number: usize| number.checked_sub(lag).map_or(0.0, &sent) + other(number);
            correlator.note_heard(start as i64, &numbers.map(back).collect::<Vec<_>>(), &LAGS)
        })
    }

    #[test]
    fn a_lag_is_found_beneath_a_louder_other() {
        for lag in [64, 1216, 4800, 9600] {
            let (quiet, loud) = (|number| 0.05 * noise(1, number), |number| 0.2 * noise(2, number));
            assert_eq!(search(lag, quiet, |_| 0.0), Some(lag as i64), "alone");
            assert_eq!(search(lag, quiet, loud), Some(lag as i64), "12 dB beneath noise");
            let chord = |number| 0.3 * (tone(220.0, number) + tone(277.2, number));
            assert_eq!(search(lag, quiet, chord), Some(lag as i64), "beneath a chord");
        }
    }

    /// Most segments hold but a few milliseconds of sound, or none.
    #[test]
    fn a_lag_is_found_in_clicks() {
        let clicks = |number: usize| {
            let age = number % 24_000;
            if age < 480 { 0.3 * noise(3, number) * (-(age as f32) / 96.0).exp() } else { 0.0 }
        };
        assert_eq!(search(1216, clicks, |_| 0.0), Some(1216));
    }

    #[test]
    fn what_cannot_be_told_gets_no_verdict() {
        for hz in [100.0, 440.0, 750.0, 5000.0] {
            assert_eq!(
                search(1216, |number| 0.25 * tone(hz, number), |_| 0.0),
                None,
                "{hz} Hz fit everywhere"
            );
        }
        assert_eq!(search(1216, |_| 0.0, |_| 0.0), None, "silence");
        assert_eq!(search(1216, |_| 0.0, |number| 0.2 * noise(2, number)), None, "only others");
        let never = 1 << 40;
        for seed in 4..12 {
            let (mine, theirs) = (|number| 0.2 * noise(1, number), |number| 0.2 * noise(seed, number));
            assert_eq!(search(never, mine, theirs), None, "mine does not come back");
        }
    }

    /// Sound that goes on after the lag has changed is judged by what is new.
    #[test]
    fn a_lag_that_changes_is_found_again() {
        let mut correlator = Correlator::new();
        let mut found = Vec::new();
        for frame in 0..4 * 48_000 / FRAME {
            let start = frame * FRAME;
            let lag = if start < 96_000 { 1216 } else { 1344 };
            let numbers = start..start + FRAME;
            let sent = |number| 0.2 * noise(1, number);
            correlator.note_sent(start as i64, &numbers.clone().map(sent).collect::<Vec<_>>());
            let back: Vec<f32> =
                numbers.map(|number: usize| number.checked_sub(lag).map_or(0.0, sent)).collect();
            found.extend(correlator.note_heard(start as i64, &back, &LAGS).map(|found| (start, found)));
        }
        assert!(found.iter().all(|(at, lag)| *lag == 1216 && *at < 110_000 || *lag == 1344 && *at > 96_000));
        assert!(found.iter().any(|(_, lag)| *lag == 1216) && found.iter().any(|(_, lag)| *lag == 1344));
        let change = found.iter().find(|(_, lag)| *lag == 1344).expect("found again");
        assert!(change.0 < 96_000 + 24_000, "within half a second: {found:?}");
    }
}
