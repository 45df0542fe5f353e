//! Test signals and what came of them: sines, their level and pitch, dropouts, and delays.
//!
//! Everything here works on one channel of samples at 48 kHz.

use std::f64::consts::{PI, TAU};
use std::ops::Range;

use realfft::RealFftPlanner;
use realfft::num_complex::Complex;

/// Sample rate of every signal here, in Hz.
pub const RATE_HZ: f64 = 48_000.0;

/// A sine that starts at phase 0. `amplitude` is its peak, linear.
pub fn sine(frequency_hz: f64, amplitude: f64, samples: usize) -> Vec<f32> {
    // The phase is taken modulo one turn before it becomes a float angle, so that long signals stay exact.
    (0..samples)
        .map(|n| (amplitude * (TAU * (frequency_hz * n as f64 / RATE_HZ).fract()).sin()) as f32)
        .collect()
}

/// White noise between ±`amplitude`, the same for the same `seed`: what delays are measured with.
pub fn noise(seed: u64, amplitude: f32, samples: usize) -> Vec<f32> {
    let mut state = seed ^ 0x9E37_79B9_7F4A_7C15;
    let mut next = || {
        // xorshift64*
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    (0..samples).map(|_| amplitude * next()).collect()
}

/// Largest difference between neighbouring samples.
pub fn largest_step(signal: &[f32]) -> f32 {
    signal.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max)
}

/// Largest difference between neighbouring samples of a sine of this peak `amplitude`.
pub fn sine_step(frequency_hz: f64, amplitude: f64) -> f32 {
    (2.0 * amplitude * (PI * frequency_hz / RATE_HZ).sin()) as f32
}

/// Root of the mean square; 0 for no samples.
pub fn rms(signal: &[f32]) -> f64 {
    let sum: f64 = signal.iter().map(|&sample| f64::from(sample).powi(2)).sum();
    (sum / signal.len().max(1) as f64).sqrt()
}

/// `amplitude` relative to `reference` in dB.
pub fn db(amplitude: f64, reference: f64) -> f64 {
    20.0 * (amplitude / reference).log10()
}

/// Linear gain of `db` decibels.
pub fn gain(db: f64) -> f64 {
    10f64.powf(db / 20.0)
}

/// One sine found in a signal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tone {
    /// Peak, linear.
    pub amplitude: f64,
    /// Phase of the sine at the window's first sample, −π..=π.
    pub phase: f64,
}

/// Sines of known frequencies found in one window, and what they do not explain.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// One per frequency, in the fitter's order.
    pub tones: Vec<Tone>,
    /// RMS of the rest, linear.
    pub residual_rms: f64,
}

/// Fits sines of known frequencies (and a constant) to windows of one length by least squares.
///
/// Unlike Goertzel's filter this is exact for any window, whole periods or not, and for several tones at once.
pub struct ToneFitter {
    /// One row per unknown: cosine and sine of each frequency, then the constant.
    basis: Vec<Vec<f64>>,
    /// Inverse of the basis's Gram matrix.
    inverse: Vec<Vec<f64>>,
}

impl ToneFitter {
    /// Prepares for windows of `window` samples: at least two periods of the lowest frequency, and at
    /// least one of the closest difference.
    ///
    /// # Panics
    /// If the frequencies cannot be told apart in such a window.
    pub fn new(frequencies_hz: &[f64], window: usize) -> Self {
        let wave = |hz: f64, function: fn(f64) -> f64| -> Vec<f64> {
            (0..window).map(|n| function(TAU * hz * n as f64 / RATE_HZ)).collect()
        };
        let mut basis: Vec<Vec<f64>> =
            frequencies_hz.iter().flat_map(|&hz| [wave(hz, f64::cos), wave(hz, f64::sin)]).collect();
        basis.push(vec![1.0; window]);
        let gram = basis
            .iter()
            .map(|row| basis.iter().map(|column| row.iter().zip(column).map(|(a, b)| a * b).sum()).collect())
            .collect();
        Self { inverse: invert(gram), basis }
    }

    /// Samples per window.
    pub fn window(&self) -> usize {
        self.basis[0].len()
    }

    /// Fits the first [`Self::window`] samples of `signal`.
    ///
    /// # Panics
    /// If `signal` is shorter.
    pub fn fit(&self, signal: &[f32]) -> Fit {
        let signal = &signal[..self.window()];
        let projections: Vec<f64> = self
            .basis
            .iter()
            .map(|row| row.iter().zip(signal).map(|(b, &s)| b * f64::from(s)).sum())
            .collect();
        let weights: Vec<f64> =
            self.inverse.iter().map(|row| row.iter().zip(&projections).map(|(a, b)| a * b).sum()).collect();
        let residual: f64 = (0..signal.len())
            .map(|n| {
                let model: f64 = self.basis.iter().zip(&weights).map(|(row, weight)| row[n] * weight).sum();
                (f64::from(signal[n]) - model).powi(2)
            })
            .sum();
        let tones = weights
            .chunks_exact(2)
            .map(|pair| Tone { amplitude: pair[0].hypot(pair[1]), phase: pair[0].atan2(pair[1]) })
            .collect();
        Fit { tones, residual_rms: (residual / signal.len() as f64).sqrt() }
    }
}

/// What [`listen`] heard.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// Per frequency: mean peak over the undisturbed windows, linear; 0 when there are none.
    pub amplitudes: Vec<f64>,
    /// Per frequency: pitch in Hz, from the median phase advance; what was asked for when there are no
    /// two undisturbed windows in a row. Deviations beyond ±20 Hz alias.
    pub frequencies_hz: Vec<f64>,
    /// Median residual RMS of all windows, linear: the codec's noise.
    pub residual_rms: f64,
    /// Where the residual exceeds the bound, in samples: dropouts, clicks and slips. Touching ones are merged.
    pub disturbed: Vec<Range<usize>>,
}

impl Heard {
    /// The disturbances that none of `excuses` explains: those that do not touch an excuse widened by
    /// `reach` samples on both sides.
    pub fn unexcused(&self, excuses: &[Range<usize>], reach: usize) -> Vec<Range<usize>> {
        let excused = |disturbance: &Range<usize>| {
            excuses.iter().any(|excuse| {
                disturbance.start <= excuse.end + reach && excuse.start <= disturbance.end + reach
            })
        };
        self.disturbed.iter().filter(|disturbance| !excused(disturbance)).cloned().collect()
    }
}

/// Samples per window of [`listen`]: 20 ms.
pub const LISTEN_WINDOW: usize = 960;

/// Listens to tones of known frequencies, in windows of 20 ms that overlap by half: how loud they are, at
/// which pitch, and where something disturbs them by more than `residual_bound` (RMS, linear).
pub fn listen(signal: &[f32], frequencies_hz: &[f64], residual_bound: f64) -> Heard {
    const HOP: usize = LISTEN_WINDOW / 2;
    let fitter = ToneFitter::new(frequencies_hz, LISTEN_WINDOW);
    let starts: Vec<usize> =
        (0..).map(|k| k * HOP).take_while(|start| start + LISTEN_WINDOW <= signal.len()).collect();
    let fits: Vec<Fit> = starts.iter().map(|&start| fitter.fit(&signal[start..])).collect();
    let clean: Vec<bool> = fits.iter().map(|fit| fit.residual_rms <= residual_bound).collect();

    let mut disturbed: Vec<Range<usize>> = Vec::new();
    for (&start, _) in starts.iter().zip(&clean).filter(|(_, clean)| !**clean) {
        match disturbed.last_mut() {
            Some(last) if last.end >= start => last.end = start + LISTEN_WINDOW,
            _ => disturbed.push(start..start + LISTEN_WINDOW),
        }
    }
    let amplitudes = (0..frequencies_hz.len())
        .map(|tone| {
            let fits = fits.iter().zip(&clean).filter(|(_, clean)| **clean);
            mean(fits.map(|(fit, _)| fit.tones[tone].amplitude))
        })
        .collect();
    let measured_hz = frequencies_hz
        .iter()
        .enumerate()
        .map(|(tone, &hz)| {
            let expected = TAU * hz * HOP as f64 / RATE_HZ;
            let surplus = (1..fits.len())
                .filter(|&k| clean[k] && clean[k - 1])
                .map(|k| wrap(fits[k].tones[tone].phase - fits[k - 1].tones[tone].phase - expected));
            hz + median(surplus.collect()).unwrap_or(0.0) * RATE_HZ / (TAU * HOP as f64)
        })
        .collect();
    let residual_rms = median(fits.iter().map(|fit| fit.residual_rms).collect()).unwrap_or(0.0);
    Heard { amplitudes, frequencies_hz: measured_hz, residual_rms, disturbed }
}

/// How much later `recorded` carries `reference`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Delay {
    /// Samples from the reference's start to its start in the recording.
    pub samples: usize,
    /// Correlation there, −1.0..=1.0: 1 is a perfect copy at any level.
    pub correlation: f64,
}

/// Finds `reference` in `recorded`, at a delay of `0..=max_delay` samples; `None` if either is silent.
pub fn delay(reference: &[f32], recorded: &[f32], max_delay: usize) -> Option<Delay> {
    strongest(&correlate(reference, recorded, max_delay), reference, recorded)
}

/// The same, and how clear it is: the peak divided by the largest magnitude that the correlation has more
/// than `apart` samples away from it.
pub fn clear_delay(
    reference: &[f32],
    recorded: &[f32],
    max_delay: usize,
    apart: usize,
) -> Option<(Delay, f64)> {
    let correlations = correlate(reference, recorded, max_delay);
    let found = strongest(&correlations, reference, recorded)?;
    let elsewhere = correlations.iter().enumerate().filter(|(lag, _)| lag.abs_diff(found.samples) > apart);
    let rival = elsewhere.map(|(_, correlation)| correlation.abs()).fold(0.0, f64::max);
    Some((found, correlations[found.samples] / rival))
}

fn strongest(correlations: &[f64], reference: &[f32], recorded: &[f32]) -> Option<Delay> {
    let (samples, peak) = correlations.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1))?;
    let heard = recorded.get(samples..)?;
    let heard = &heard[..heard.len().min(reference.len())];
    let scale = rms(heard) * rms(&reference[..heard.len()]) * heard.len() as f64;
    (scale > 0.0).then(|| Delay { samples, correlation: peak / scale })
}

/// The correlation at each delay of `0..=max_delay` samples, not normalised.
fn correlate(reference: &[f32], recorded: &[f32], max_delay: usize) -> Vec<f64> {
    let size = (reference.len() + recorded.len().min(reference.len() + max_delay)).next_power_of_two();
    let mut planner = RealFftPlanner::<f64>::new();
    let (forward, backward) = (planner.plan_fft_forward(size), planner.plan_fft_inverse(size));
    let spectrum = |signal: &[f32]| -> Vec<Complex<f64>> {
        let mut input = vec![0.0; size];
        input.iter_mut().zip(signal).for_each(|(to, &from)| *to = f64::from(from));
        let mut output = forward.make_output_vec();
        forward.process(&mut input, &mut output).expect("lengths fit by construction");
        output
    };
    let mut product = spectrum(recorded);
    product.iter_mut().zip(spectrum(reference)).for_each(|(a, b)| *a *= b.conj());
    // Of a real signal these two are real; rounding leaves dust that the inverse transform refuses.
    product[0].im = 0.0;
    product[size / 2].im = 0.0;
    let mut correlations = backward.make_output_vec();
    backward.process(&mut product, &mut correlations).expect("lengths fit by construction");
    correlations.truncate(max_delay + 1);
    correlations.iter_mut().for_each(|value| *value /= size as f64);
    correlations
}

/// The middle value; `None` of nothing.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// The mean; 0 of nothing.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (count, sum) = values.fold((0u32, 0.0), |(count, sum), value| (count + 1, sum + value));
    sum / f64::from(count.max(1))
}

/// An angle brought to −π..=π.
fn wrap(angle: f64) -> f64 {
    (angle + PI).rem_euclid(TAU) - PI
}

/// Inverse of a symmetric positive definite matrix, by Gauss and Jordan.
fn invert(mut matrix: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let size = matrix.len();
    let mut inverse: Vec<Vec<f64>> =
        (0..size).map(|i| (0..size).map(|j| f64::from(u8::from(i == j))).collect()).collect();
    for pivot in 0..size {
        let scale = matrix[pivot][pivot];
        assert!(scale > 1e-6, "frequencies too close for this window");
        matrix[pivot].iter_mut().chain(&mut inverse[pivot]).for_each(|value| *value /= scale);
        let (pivot_row, pivot_inverse) = (matrix[pivot].clone(), inverse[pivot].clone());
        for row in (0..size).filter(|&row| row != pivot) {
            let factor = matrix[row][pivot];
            matrix[row].iter_mut().zip(&pivot_row).for_each(|(value, p)| *value -= factor * p);
            inverse[row].iter_mut().zip(&pivot_inverse).for_each(|(value, p)| *value -= factor * p);
        }
    }
    inverse
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(actual: f64, expected: f64, tolerance: f64) -> bool {
        (actual - expected).abs() <= tolerance
    }

    #[test]
    fn two_tones_are_told_apart_with_their_levels_and_pitch() {
        let low = sine(440.0, 0.25, 48_000);
        let both: Vec<f32> = low.iter().zip(sine(660.3, 0.1, 48_000)).map(|(a, b)| a + b).collect();
        let heard = listen(&both, &[440.0, 660.0], 0.01);
        assert!(close(heard.amplitudes[0], 0.25, 1e-3), "{heard:?}");
        assert!(close(heard.amplitudes[1], 0.1, 1e-3), "{heard:?}");
        assert!(close(heard.frequencies_hz[0], 440.0, 0.02), "{heard:?}");
        assert!(close(heard.frequencies_hz[1], 660.3, 0.02), "{heard:?}");
        assert_eq!(heard.disturbed, []);
    }

    #[test]
    fn levels_are_right_within_a_thousandth_of_a_db_in_noise() {
        let noisy: Vec<f32> =
            sine(660.0, 0.2, 96_000).iter().zip(noise(1, 0.01, 96_000)).map(|(a, b)| a + b).collect();
        let heard = listen(&noisy, &[660.0], 0.02);
        assert!(db(heard.amplitudes[0], 0.2).abs() < 0.01, "{heard:?}");
        assert!(close(heard.residual_rms, 0.01 / 3f64.sqrt(), 2e-4), "{heard:?}");
    }

    #[test]
    fn one_lost_frame_a_slip_and_a_click_are_all_disturbances() {
        let clean = sine(440.0, 0.25, 48_000);
        let lost = {
            let mut signal = clean.clone();
            signal[10_000..10_064].fill(0.0);
            signal
        };
        let slipped = [&clean[..10_000], &clean[10_064..]].concat();
        let clicked = {
            let mut signal = clean.clone();
            signal[10_030] += 0.25;
            signal
        };
        for signal in [lost, slipped, clicked] {
            let heard = listen(&signal, &[440.0], 0.005);
            assert_eq!(heard.disturbed.len(), 1, "{heard:?}");
            assert!(heard.disturbed[0].contains(&10_030), "{heard:?}");
            assert!(close(heard.amplitudes[0], 0.25, 1e-4), "{heard:?}");
        }
    }

    #[test]
    fn only_what_is_near_an_excuse_is_excused() {
        let mut signal = sine(440.0, 0.25, 96_000);
        signal[10_000..10_100].fill(0.0);
        signal[60_000..60_100].fill(0.0);
        let heard = listen(&signal, &[440.0], 0.005);
        let near = 8_000..8_200;
        assert_eq!(heard.unexcused(std::slice::from_ref(&near), 4_000).len(), 1);
        assert_eq!(heard.unexcused(&[near], 500).len(), 2);
        assert_eq!(heard.unexcused(&[10_000..10_001, 59_000..60_000], 0).len(), 0);
        assert_eq!(heard.unexcused(&[], 96_000).len(), 2);
    }

    #[test]
    fn silence_is_heard_as_silence() {
        let heard = listen(&[0.0; 4_800], &[440.0], 0.001);
        assert_eq!(heard.amplitudes, [0.0]);
        assert_eq!(heard.disturbed, []);
    }

    #[test]
    fn a_delay_is_found_to_the_sample_at_any_level_and_in_noise() {
        let played = noise(7, 0.5, 20_000);
        for true_delay in [0, 1, 333, 4_799] {
            let mut recorded = vec![0.0; true_delay];
            recorded.extend(played.iter().zip(noise(8, 0.05, 20_000)).map(|(a, b)| 0.3 * a + b));
            let found = delay(&played, &recorded, 4_800).unwrap();
            assert_eq!(found.samples, true_delay);
            assert!(found.correlation > 0.9, "{found:?}");
        }
        assert_eq!(delay(&played, &[0.0; 20_000], 100), None);
        assert!(delay(&played, &noise(9, 0.5, 20_000), 4_800).unwrap().correlation < 0.1);
        assert!(clear_delay(&played, &noise(9, 0.5, 20_000), 4_800, 10).unwrap().1 < 1.5);
        assert!(clear_delay(&played[..10_000], &played, 4_800, 10).unwrap().1 > 10.0);
    }

    #[test]
    fn steps_of_a_sine_and_of_a_click() {
        let clean = sine(440.0, 0.25, 48_000);
        let expected = sine_step(440.0, 0.25);
        assert!(close(f64::from(largest_step(&clean)), f64::from(expected), 1e-5));
        let cut = [&clean[..9_955], &clean[10_009..]].concat();
        assert!(largest_step(&cut) > 3.0 * expected);
        assert_eq!(rms(&[]), 0.0);
        assert!(close(rms(&clean), 0.25 / 2f64.sqrt(), 1e-5));
    }
}
