//! Keeps a mix below full scale, or what comes back to a musician below a ceiling above it.
//!
//! # Why this kind
//!
//! A look-ahead would delay everyone, so the limiter acts on the sample that is there. Bending each
//! sample by itself (a soft clipper) would do that too, but there is only 1 dB between the
//! threshold and full scale: a chorus that is 6 dB too loud would still sound like a hard clip. So
//! the curve sets a *gain* instead, which falls at once and comes back slowly. The rising flank of
//! the first loud wave follows the curve, everything after it is simply quieter: a steady tone
//! stays a clean tone, and its distortion is 40 dB and more below a hard clip's.
//!
//! The gain waits before it comes back, longer than half a wave of a bass guitar's lowest note;
//! else it would follow the wave itself and distort that note. It comes back to exactly 1, and
//! while it is 1 nothing at or below the threshold is touched.

use crate::units::{Layout, WIRE_RATE_HZ};

/// Up to 1 dB below the ceiling every sample passes unchanged; relative to the ceiling.
const THRESHOLD: f32 = 0.891_250_9;
/// What the curve has left above it.
const ROOM: f32 = 1.0 - THRESHOLD;
/// The loudest sample that sets the gain by its size (60 dB above the ceiling: 150 channels at a
/// fader of 2 reach 50 dB). A worse one, which can only be garbage, must not mute for seconds.
const MAX_INPUT: f32 = 1000.0;
/// The gain waits for this long after a peak, in seconds: half a period of 40 Hz.
const HOLD_S: f64 = 1.0 / 80.0;
/// A peak that wants almost the present gain (within 0.2 dB) makes it wait again: the samples of a
/// steady tone do not always hit its crest.
const KEEP: f32 = 1.02;
/// Then it comes back with this time constant, in seconds …
const RELEASE_S: f64 = 0.06;
/// … towards a little more than 1, so that it arrives.
const RELEASE_TO: f32 = 1.05;

/// The limiter of one mix: from 1 dB below its ceiling on softly down, never above it, no delay. Both
/// sides of a stereo mix get the same gain, so that the image does not move.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limiter {
    /// Nothing is louder than this, linear.
    ceiling: f32,
    /// See [`HOLD_S`], in samples.
    hold_samples: u32,
    /// See [`RELEASE_S`], in samples.
    release_samples: f32,
    /// 0..=1; 1 is rest.
    gain: f32,
    /// Samples until the gain may rise.
    hold: u32,
}

impl Limiter {
    /// At full scale and 48 kHz, at rest.
    pub const fn new() -> Self {
        Self::with_ceiling(1.0, WIRE_RATE_HZ as f64)
    }

    /// At `ceiling` (linear, above 0) for sound at `rate_hz`, at rest. A power of two is applied exactly.
    pub const fn with_ceiling(ceiling: f32, rate_hz: f64) -> Self {
        let (hold_samples, release_samples) = ((HOLD_S * rate_hz) as u32, (RELEASE_S * rate_hz) as f32);
        Self { ceiling, hold_samples, release_samples, gain: 1.0, hold: 0 }
    }

    /// Limits a piece of the mix in place, interleaved in `layout`. What comes out lies within
    /// the ceiling whatever goes in; NaN becomes silence. Realtime-safe.
    pub fn limit(&mut self, mix: &mut [f32], layout: Layout) {
        // The usual case in one pass without branches; a NaN is not at or below anything.
        let threshold = THRESHOLD * self.ceiling;
        if self.gain == 1.0 && mix.iter().fold(true, |quiet, value| quiet & (value.abs() <= threshold)) {
            return;
        }
        for sample in mix.chunks_mut(layout.channels()) {
            let mut peak = 0.0_f32;
            for value in &mut *sample {
                let relative = *value / self.ceiling;
                *value = if relative.is_nan() { 0.0 } else { relative.clamp(-MAX_INPUT, MAX_INPUT) };
                peak = peak.max(value.abs());
            }
            self.follow(peak);
            for value in sample {
                // The product may exceed 1 by its rounding.
                *value = (*value * self.gain).clamp(-1.0, 1.0) * self.ceiling;
            }
        }
    }

    /// The gain after the last sample, 0..=1; 1 when nothing is limited.
    pub fn gain(&self) -> f32 {
        self.gain
    }

    fn follow(&mut self, peak: f32) {
        let wanted = wanted_gain(peak);
        if wanted <= self.gain * KEEP && wanted < 1.0 {
            self.gain = self.gain.min(wanted);
            self.hold = self.hold_samples;
        } else if self.hold > 0 {
            self.hold -= 1;
        } else if self.gain < 1.0 {
            let risen = self.gain + (RELEASE_TO - self.gain) / self.release_samples;
            self.gain = risen.min(wanted);
        }
    }
}

impl Default for Limiter {
    fn default() -> Self {
        Self::new()
    }
}

/// What brings a sample of size `peak` onto the curve: straight to the threshold, then ever
/// flatter, so that only an infinite one would reach full scale. The slope is continuous.
fn wanted_gain(peak: f32) -> f32 {
    if peak <= THRESHOLD {
        return 1.0;
    }
    let over = peak - THRESHOLD;
    (THRESHOLD + ROOM * over / (over + ROOM)) / peak
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    fn sine(hz: f64, amplitude: f32, samples: usize) -> Vec<f32> {
        (0..samples).map(|at| amplitude * (TAU * hz * at as f64 / 48_000.0).sin() as f32).collect()
    }

    /// Power of everything but the tone itself, relative to the tone, in dB (distortion and aliases).
    fn distortion_db(sound: &[f32], hz: f64) -> f64 {
        let (mut sin_sum, mut cos_sum, mut power) = (0.0, 0.0, 0.0);
        for (at, value) in sound.iter().enumerate() {
            let (sin, cos) = (TAU * hz * at as f64 / 48_000.0).sin_cos();
            sin_sum += f64::from(*value) * sin;
            cos_sum += f64::from(*value) * cos;
            power += f64::from(*value).powi(2);
        }
        // Whole periods: both sums are independent of each other and of the rest.
        let tone = 2.0 * (sin_sum.powi(2) + cos_sum.powi(2)) / sound.len() as f64;
        10.0 * ((power - tone).max(1e-12 * power) / tone).log10()
    }

    #[test]
    fn what_never_exceeds_the_threshold_passes_bit_by_bit() {
        let mut limiter = Limiter::new();
        for layout in [Layout::Mono, Layout::Stereo] {
            let mut sound = sine(997.0, THRESHOLD, 4800);
            sound.extend([THRESHOLD, -THRESHOLD, 0.0, -0.0, f32::MIN_POSITIVE]);
            sound.push(0.1);
            let before: Vec<u32> = sound.iter().map(|value| value.to_bits()).collect();
            sound.chunks_mut(256).for_each(|tick| limiter.limit(tick, layout));
            let after: Vec<u32> = sound.iter().map(|value| value.to_bits()).collect();
            assert_eq!(after, before);
        }
    }

    #[test]
    fn after_a_peak_it_comes_back_to_exactly_nothing() {
        let mut limiter = Limiter::new();
        limiter.limit(&mut [30.0], Layout::Mono);
        let mut last = limiter.gain();
        assert!(last < 0.05);
        let mut samples = 0;
        while limiter.gain() < 1.0 {
            limiter.limit(&mut [0.1], Layout::Mono);
            assert!(limiter.gain() >= last, "rises only");
            last = limiter.gain();
            samples += 1;
        }
        assert!(samples > (HOLD_S * 48_000.0) as usize);
        assert!(samples < 48_000 / 4, "within 250 ms: {samples}");
        let mut sound = sine(440.0, 0.7, 1024);
        let before = sound.clone();
        limiter.limit(&mut sound, Layout::Stereo);
        assert_eq!(sound, before);
    }

    #[test]
    fn nothing_leaves_full_scale_and_nothing_poisons_it() {
        let wild =
            [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, 1e6, -300.0, 1.0, 0.9, -0.95];
        for layout in [Layout::Mono, Layout::Stereo] {
            let mut limiter = Limiter::new();
            let mut sound: Vec<f32> = wild.iter().cycle().take(1001).copied().collect();
            limiter.limit(&mut sound, layout);
            assert!(sound.iter().all(|value| value.abs() <= 1.0), "{sound:?}");
            assert!(limiter.gain() > 0.0);
            for _ in 0..100 {
                limiter.limit(&mut [0.0; 256], layout);
            }
            assert_eq!(limiter.gain(), 1.0);
        }
    }

    #[test]
    fn a_higher_ceiling_moves_everything_up() {
        for rate_hz in [44_100.0, 192_000.0] {
            let mut limiter = Limiter::with_ceiling(2.0, rate_hz);
            let quiet = sine(440.0, 2.0 * THRESHOLD, 4800);
            let mut sound = quiet.clone();
            limiter.limit(&mut sound, Layout::Stereo);
            assert_eq!(sound, quiet, "up to 5 dBFS bit by bit");
            let mut loud = sine(440.0, 100.0, 48_000);
            limiter.limit(&mut loud, Layout::Stereo);
            let peak = loud.iter().fold(0.0_f32, |peak, value| peak.max(value.abs()));
            assert!((1.8..=2.0).contains(&peak), "{rate_hz}: {peak}");
        }
    }

    #[test]
    fn the_curve_rises_and_bends_without_a_corner() {
        let out = |peak: f32| {
            let mut sample = [peak];
            Limiter::new().limit(&mut sample, Layout::Mono);
            sample[0]
        };
        let mut last = 0.0;
        for step in 1..4000 {
            let now = out(step as f32 * 0.001);
            assert!(now > last, "monotonic at {step}: {now} after {last}");
            assert!(now < 1.0);
            assert_eq!(out(step as f32 * -0.001), -now, "symmetrical");
            last = now;
        }
        // The slope on both sides of the knee is the same; above it falls steadily.
        let slope = |at: f64| (out((at + 1e-3) as f32) - out(at as f32)) / 1e-3;
        let knee = f64::from(THRESHOLD);
        assert!((slope(knee - 2e-3) - 1.0).abs() < 1e-3);
        assert!((slope(knee) - 1.0).abs() < 0.02, "{}", slope(knee));
        assert!(slope(knee + 0.1) < 0.5);
        assert!((out(0.95) - 0.95).abs() < 0.025, "gentle just above");
    }

    #[test]
    fn both_sides_get_the_same_gain() {
        let mut limiter = Limiter::new();
        let mut sound: Vec<f32> = sine(300.0, 2.0, 480).iter().flat_map(|value| [*value, 0.25]).collect();
        let before = sound.clone();
        limiter.limit(&mut sound, Layout::Stereo);
        for (out, was) in sound.as_chunks::<2>().0.iter().zip(before.as_chunks::<2>().0) {
            assert!((out[0] * was[1] - out[1] * was[0]).abs() < 1e-5);
        }
        assert!(sound[959] < 0.2);
    }

    #[test]
    fn how_the_mix_is_cut_into_ticks_does_not_matter() {
        let sound = sine(210.0, 1.7, 4096);
        let (mut whole, mut pieces) = (sound.clone(), sound);
        Limiter::new().limit(&mut whole, Layout::Stereo);
        let mut limiter = Limiter::new();
        pieces.chunks_mut(128).for_each(|tick| limiter.limit(tick, Layout::Stereo));
        assert_eq!(whole, pieces);
    }

    #[test]
    fn loud_tones_stay_clean_where_a_hard_clip_breaks_them() {
        // From a bass's low E to a tone whose distortion is nothing but aliases.
        for (hz, at_least_better_by) in [(41.0, 30.0), (440.0, 40.0), (3_000.0, 40.0), (9_700.0, 30.0)] {
            let loud = sine(hz, 2.0, 2 * 48_000);
            let mut clipped = loud.clone();
            clipped.iter_mut().for_each(|value| *value = value.clamp(-1.0, 1.0));
            let mut limited = loud;
            let mut limiter = Limiter::new();
            limited.chunks_mut(128).for_each(|tick| limiter.limit(tick, Layout::Mono));
            // One second, after the first: whole periods.
            let (hard, soft) = (distortion_db(&clipped[48_000..], hz), distortion_db(&limited[48_000..], hz));
            assert!(hard > -15.0, "{hz} Hz: a hard clip is bad, {hard:.1} dB");
            assert!(soft < hard - at_least_better_by, "{hz} Hz: {soft:.1} dB, hard clip {hard:.1} dB");
            let peak = limited[48_000..].iter().fold(0.0_f32, |peak, value| peak.max(value.abs()));
            assert!(peak > THRESHOLD, "{hz} Hz: no quieter than it must be: {peak}");
        }
    }
}
