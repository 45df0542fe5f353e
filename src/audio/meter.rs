//! How loud it is.

/// Decay of the smoothed peak in dB per second: slow enough to read, fast enough to follow a phrase.
const DECAY_DB_PER_SECOND: f32 = 20.0;

/// Peak that rises at once and falls by 20 dB per second.
#[derive(Clone, Copy, Debug)]
pub struct PeakMeter {
    peak: f32,
    /// Natural logarithm of the decay per sample.
    decay_per_sample: f32,
}

impl PeakMeter {
    /// A meter at silence, for sound of `rate_hz` samples per second and channel.
    pub fn new(rate_hz: f64) -> Self {
        let per_second = DECAY_DB_PER_SECOND / 20.0 * std::f32::consts::LN_10;
        Self { peak: 0.0, decay_per_sample: per_second / rate_hz.max(1.0) as f32 }
    }

    /// Takes one block of one or more channels, interleaved: `samples` are `channels` × time.
    /// NaN and infinity count as silence.
    pub fn update(&mut self, samples: &[f32], channels: usize) {
        let time = samples.len() / channels.max(1);
        let decayed = self.peak * (-self.decay_per_sample * time as f32).exp();
        let loudest = samples.iter().fold(0.0f32, |loudest, sample| {
            let magnitude = sample.abs();
            // False for NaN, so that it never sticks.
            if magnitude > loudest && magnitude < f32::INFINITY { magnitude } else { loudest }
        });
        self.peak = if loudest > decayed { loudest } else { decayed };
        if self.peak < 1e-6 {
            self.peak = 0.0;
        }
    }

    /// The smoothed peak, linear, 1 = full scale; exactly 0 below −120 dBFS.
    pub fn peak(&self) -> f32 {
        self.peak
    }

    /// The smoothed peak as servers send it, see [`level_0_to_9`].
    pub fn level(&self) -> u8 {
        level_0_to_9(self.peak)
    }

    /// Back to silence.
    pub fn reset(&mut self) {
        self.peak = 0.0;
    }
}

/// A linear peak as the level of message 1015: ⌈(dBFS + 50) · 8/50⌉, within 0..=9
/// (docs/PROTOCOL.md §4).
pub fn level_0_to_9(peak: f32) -> u8 {
    if peak.is_nan() || peak <= 0.0 {
        return 0;
    }
    let level = ((20.0 * peak.log10() + 50.0) * (8.0 / 50.0)).ceil();
    level.clamp(0.0, 9.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::db_to_gain;

    #[test]
    fn levels_follow_the_protocols_formula() {
        for (db, level) in [
            (-120.0, 0),
            (-50.1, 0),
            (-49.9, 1),
            (-43.76, 1),
            (-43.7, 2),
            (-12.0, 7),
            (-6.3, 7),
            (-6.2, 8),
            (-0.01, 8),
            (0.1, 9),
            (20.0, 9),
        ] {
            assert_eq!(level_0_to_9(db_to_gain(db)), level, "{db} dBFS");
        }
        assert_eq!(level_0_to_9(0.0), 0);
        assert_eq!(level_0_to_9(f32::NAN), 0);
        assert_eq!(level_0_to_9(f32::INFINITY), 9);
        assert_eq!(level_0_to_9(1.0), 8);
    }

    #[test]
    fn rises_at_once_and_falls_20_db_per_second_at_any_block_size() {
        for block in [16, 64, 128, 4096] {
            let mut meter = PeakMeter::new(48_000.0);
            meter.update(&[0.0, -1.0], 2);
            assert_eq!(meter.peak(), 1.0);
            let silence = vec![0.0; 2 * block];
            let blocks = 48_000 / block;
            for _ in 0..blocks {
                meter.update(&silence, 2);
            }
            let (db, seconds) = (20.0 * meter.peak().log10(), (blocks * block) as f32 / 48_000.0);
            assert!((db + 20.0 * seconds).abs() < 0.05, "block {block}: {db} dB after {seconds} s");
        }
    }

    #[test]
    fn nonsense_does_not_stick() {
        let mut meter = PeakMeter::new(48_000.0);
        meter.update(&[f32::NAN, f32::INFINITY, 0.25], 1);
        assert_eq!(meter.peak(), 0.25);
        for _ in 0..10_000 {
            meter.update(&[0.0; 128], 1);
        }
        assert_eq!(meter.peak(), 0.0);
    }
}
