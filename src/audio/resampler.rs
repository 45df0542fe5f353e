//! The host's sample rate to 48 kHz and back, with little delay.
//!
//! A windowed sinc, evaluated at each output sample's exact position between input samples. Its
//! coefficients come from a table of the filter at many positions, between which it interpolates,
//! so that any ratio works, whole-numbered or not. Chunked resamplers (rubato's among them) hold
//! back up to a chunk; this one gives out every sample as soon as its filter has what it needs.

mod fifo;

use crate::units::Layout;

pub use fifo::SampleFifo;

/// Sample rates that are accepted, in Hz.
const RATES_HZ: std::ops::RangeInclusive<f64> = 8_000.0..=768_000.0;
/// End of the pass band, relative to half of the lower rate: 17.4 kHz of 22.05, 19 of 24. The first
/// tenth of what follows is still within a hundredth of a dB.
const PASS_BAND: f64 = 0.79;
/// Start of the stop band, likewise. What lies between 1 and this folds back to above
/// 2 − this = 0.91 (20 kHz of 22.05), where nobody hears it; it buys a filter of half the length.
const STOP_BAND: f64 = 1.09;
/// The same where both rates are all but equal: nothing folds back, and what lies between 1 and this is an
/// image above 19 kHz. It is as far from 1 as the pass band, so that every sample that is asked for where
/// an input sample lies is that sample, bit for bit.
const STOP_BAND_AT_EQUAL_RATES: f64 = 2.0 - PASS_BAND;
/// Attenuation in the stop band, in dB.
const STOP_BAND_DB: f64 = 100.0;
/// Positions in the table per sample of the lower rate: interpolating linearly between them leaves
/// errors below −110 dB.
const POSITIONS: f64 = 512.0;
/// Channels at most.
const MAX_CHANNELS: usize = 2;

/// Why a resampler could not be made.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum ResamplerError {
    /// The host runs at a rate that is not supported.
    #[error("a sample rate of {0} Hz is not supported; set the host to 44.1, 48, 88.2 or 96 kHz")]
    Rate(f64),
}

/// Converts one interleaved stream from one rate to another. Never allocates after [`Self::new`].
pub struct Resampler {
    channels: usize,
    /// Input samples per output sample: as made …
    nominal_step: f64,
    /// … and now.
    step: f64,
    filter: Option<Filter>,
    /// The last `2 · taps` input samples of each channel at most, oldest first, and room for more.
    history: [Vec<f32>; MAX_CHANNELS],
    /// Input samples in `history`.
    filled: usize,
    /// Where the next output sample's filter begins: index into `history` …
    whole: usize,
    /// … and the fraction of an input sample after it, in 0..1. Kept apart, so that rounding does
    /// not depend on how the input is cut into blocks.
    fraction: f64,
}

impl Resampler {
    /// A resampler from `from_hz` to `to_hz` that is given at most `max_input_frames` samples per
    /// channel at once (more works, in steps). Equal rates make a bypass that copies. Allocates.
    pub fn new(
        from_hz: f64,
        to_hz: f64,
        layout: Layout,
        max_input_frames: usize,
    ) -> Result<Self, ResamplerError> {
        Self::with_filter(from_hz, to_hz, layout, max_input_frames, from_hz != to_hz)
    }

    /// The same for a ratio that will be changed: at equal rates, too, the samples go through the filter,
    /// which at speed 1 delays them and changes no bit. Allocates.
    pub fn steerable(
        from_hz: f64,
        to_hz: f64,
        layout: Layout,
        max_input_frames: usize,
    ) -> Result<Self, ResamplerError> {
        Self::with_filter(from_hz, to_hz, layout, max_input_frames, true)
    }

    fn with_filter(
        from_hz: f64,
        to_hz: f64,
        layout: Layout,
        max_input_frames: usize,
        filtered: bool,
    ) -> Result<Self, ResamplerError> {
        for rate in [from_hz, to_hz] {
            if !RATES_HZ.contains(&rate) {
                return Err(ResamplerError::Rate(rate));
            }
        }
        let filter = filtered.then(|| Filter::new(from_hz, to_hz));
        let room = filter.as_ref().map_or(0, |filter| filter.taps + max_input_frames.clamp(64, 8192));
        let mut resampler = Self {
            channels: layout.channels(),
            nominal_step: from_hz / to_hz,
            step: from_hz / to_hz,
            filter,
            history: std::array::from_fn(|_| vec![0.0; room]),
            filled: 0,
            whole: 0,
            fraction: 0.0,
        };
        resampler.reset();
        Ok(resampler)
    }

    /// Converts `input` (interleaved) and appends the result to `out`, which must have room for
    /// [`Self::max_output_frames`]: what does not fit is lost.
    pub fn process(&mut self, input: &[f32], out: &mut SampleFifo) {
        if self.is_bypass() {
            out.push_slice(input);
            return;
        }
        let mut rest = input;
        while rest.len() >= self.channels {
            let frames = (rest.len() / self.channels).min(self.history[0].len() - self.filled);
            let (now, later) = rest.split_at(frames * self.channels);
            for (channel, history) in self.history[..self.channels].iter_mut().enumerate() {
                let samples = now.iter().skip(channel).step_by(self.channels);
                for (to, from) in history[self.filled..].iter_mut().zip(samples) {
                    *to = *from;
                }
            }
            self.filled += frames;
            rest = later;
            self.run(out);
        }
    }

    /// Goes through the input `speed` times as fast as the rates say, from the next output sample on; within
    /// 1 % of 1 (clamped). A bypass stays one.
    pub fn set_speed(&mut self, speed: f64) {
        self.step = self.nominal_step * if speed.is_nan() { 1.0 } else { speed.clamp(0.99, 1.01) };
    }

    /// Rates are equal: samples pass unchanged and without delay.
    pub fn is_bypass(&self) -> bool {
        self.filter.is_none()
    }

    /// Delay in output samples.
    pub fn latency_frames(&self) -> f64 {
        self.filter.as_ref().map_or(0.0, |filter| filter.half_length() / self.step)
    }

    /// Input samples per output sample, as set now.
    pub fn step(&self) -> f64 {
        self.step
    }

    /// Where the next output sample lies: input samples after the next input sample, below 0: before it.
    pub fn next_position(&self) -> f64 {
        let Some(filter) = &self.filter else { return 0.0 };
        self.whole as f64 + self.fraction + filter.half_length() - 1.0 - self.filled as f64
    }

    /// Most samples per channel that `input_frames` can become.
    pub fn max_output_frames(&self, input_frames: usize) -> usize {
        if self.is_bypass() {
            return input_frames;
        }
        (input_frames as f64 / (0.99 * self.nominal_step)) as usize + 2
    }

    /// Forgets the past: silence before the next sample.
    pub fn reset(&mut self) {
        let Some(filter) = &self.filter else { return };
        for history in &mut self.history {
            history.fill(0.0);
        }
        // Output begins with the first input sample, at the latency that `latency_frames` tells.
        self.filled = filter.taps - 1;
        self.whole = 0;
        self.fraction = 0.0;
    }

    /// Puts out every sample whose taps are there, and forgets what none will need again.
    fn run(&mut self, out: &mut SampleFifo) {
        let Some(filter) = &self.filter else { return };
        let history = &mut self.history[..self.channels];
        while self.whole + filter.taps <= self.filled {
            let mut sample = [0.0; MAX_CHANNELS];
            for (value, history) in sample.iter_mut().zip(&*history) {
                *value = filter.interpolate(&history[self.whole..], self.fraction);
            }
            out.push_slice(&sample[..self.channels]);
            let next = self.fraction + self.step;
            self.whole += next as usize;
            self.fraction = next.fract();
        }
        let used = self.whole.min(self.filled);
        for history in history {
            history.copy_within(used..self.filled, 0);
        }
        self.filled -= used;
        self.whole -= used;
    }
}

/// A low-pass filter, tabulated at `positions + 1` shifts between two input samples.
struct Filter {
    taps: usize,
    positions: usize,
    /// `positions + 1` rows of `taps` coefficients.
    table: Vec<f32>,
}

impl Filter {
    fn new(from_hz: f64, to_hz: f64) -> Self {
        let low = from_hz.min(to_hz);
        // All frequencies from here on in cycles per input sample.
        let nyquist = 0.5 * low / from_hz;
        let stop_band = if from_hz == to_hz { STOP_BAND_AT_EQUAL_RATES } else { STOP_BAND };
        let cutoff = 0.5 * (PASS_BAND + stop_band) * nyquist;
        let transition = (stop_band - PASS_BAND) * nyquist;
        // Kaiser's formulas for length and shape.
        let length = (STOP_BAND_DB - 7.95) / (14.36 * transition);
        let beta = 0.1102 * (STOP_BAND_DB - 8.7);
        // A whole number of SIMD registers.
        let taps = (length.ceil() as usize + 1).next_multiple_of(8);
        let positions = (POSITIONS * low / from_hz).ceil().max(32.0) as usize;
        let half = taps as f64 / 2.0;
        let mut table = Vec::with_capacity((positions + 1) * taps);
        for position in 0..=positions {
            let shift = position as f64 / positions as f64;
            let row: Vec<f64> = (0..taps)
                .map(|tap| {
                    let time = tap as f64 - (half - 1.0) - shift;
                    let window = bessel_i0(beta * (1.0 - (time / half).powi(2)).max(0.0).sqrt());
                    2.0 * cutoff * sinc(2.0 * cutoff * time) * window
                })
                .collect();
            // Unity at 0 Hz in every row, or a constant would come out with ripples.
            let sum: f64 = row.iter().sum();
            // What is nothing but rounding is nothing.
            let exact = |tap: &f64| if tap.abs() < 1e-12 { 0.0 } else { (tap / sum) as f32 };
            table.extend(row.iter().map(exact));
        }
        Self { taps, positions, table }
    }

    /// Distance from the newest tap to the filter's middle, in input samples.
    fn half_length(&self) -> f64 {
        self.taps as f64 / 2.0
    }

    /// The signal where the filter's first tap is `fraction` of a sample behind the start of `history`.
    fn interpolate(&self, history: &[f32], fraction: f64) -> f32 {
        let between = fraction * self.positions as f64;
        let row = (between as usize).min(self.positions - 1);
        let share = (between - row as f64) as f32;
        let (low, high) = self.table[row * self.taps..][..2 * self.taps].split_at(self.taps);
        let input = &history[..self.taps];
        let (low, high) = (dot(low, input), dot(high, input));
        low + share * (high - low)
    }
}

/// Sum of products, in eight sums that the compiler keeps in SIMD registers. Lengths are multiples
/// of eight.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 8];
    for (a, b) in a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum()
}

fn sinc(x: f64) -> f64 {
    let x = std::f64::consts::PI * x;
    if x.abs() < 1e-9 { 1.0 } else { x.sin() / x }
}

/// The modified Bessel function of order zero, by its series.
fn bessel_i0(x: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for k in 1..60 {
        term *= (x / (2.0 * f64::from(k))).powi(2);
        sum += term;
    }
    sum
}
