//! What no loudspeaker and no peer should ever get: garbage and direct current.

/// The loudest sample that passes, 60 dB above full scale: beyond it lies only garbage, and filters
/// that were fed such numbers would ring for seconds.
const MAX_SAMPLE: f32 = 1000.0;
/// Corner of the direct current blocker, in Hz. Sound passes two on its way from one musician to another, and what
/// turns the phase of a kick drum turns up where recordings are compared: so it is far below.
const DC_CORNER_HZ: f64 = 1.0;
/// Garbage counts as this much when the mean is taken, so that it is forgotten as soon as direct current is.
const MAX_DC: f32 = 2.0;

/// A sample as it may be worked with: NaN and infinity become silence, garbage is cut.
pub fn tame(sample: f32) -> f32 {
    if sample.is_finite() { sample.clamp(-MAX_SAMPLE, MAX_SAMPLE) } else { 0.0 }
}

/// Takes direct current out of an interleaved stereo signal: one pole at 1 Hz.
///
/// Inaudible: it takes 0.01 dB at 20 Hz and turns the phase of 50 Hz by one degree, direct current has fallen by
/// 60 dB after 1.1 s, and it neither delays nor adds noise: the mean is followed in
/// double precision, and what is taken off is rounded once.
#[derive(Clone, Copy, Debug)]
pub struct DcBlocker {
    /// Share of the difference that the mean follows per sample.
    follow: f64,
    mean: [f64; 2],
}

impl DcBlocker {
    /// For a signal at `rate_hz`.
    pub fn new(rate_hz: f64) -> Self {
        Self { follow: 1.0 - (-std::f64::consts::TAU * DC_CORNER_HZ / rate_hz).exp(), mean: [0.0; 2] }
    }

    /// One sample of both sides, each [`tame`].
    pub fn next(&mut self, pair: [f32; 2]) -> [f32; 2] {
        let mut out = pair;
        for (value, mean) in out.iter_mut().zip(&mut self.mean) {
            let taken = f64::from(*value) - *mean;
            *mean += self.follow * (f64::from(value.clamp(-MAX_DC, MAX_DC)) - *mean);
            // What subtracting the mean before this sample adds to high frequencies.
            *value = (taken * (1.0 - 0.5 * self.follow)) as f32;
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_is_tamed_and_sound_is_not_touched() {
        for garbage in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(tame(garbage), 0.0);
        }
        assert_eq!((tame(f32::MAX), tame(f32::MIN)), (MAX_SAMPLE, -MAX_SAMPLE));
        for sound in [0.0, -0.0, 1.0, -3.5, 1e-30, 999.0] {
            assert_eq!(tame(sound).to_bits(), sound.to_bits());
        }
    }

    #[test]
    fn direct_current_is_gone_after_a_moment_at_every_rate() {
        for rate_hz in [44_100.0, 48_000.0, 192_000.0] {
            let mut blocker = DcBlocker::new(rate_hz);
            let last =
                (0..(1.5 * rate_hz) as usize).map(|_| blocker.next([0.9, -0.5])).last().expect("samples");
            assert!(last.iter().all(|value| value.abs() < 1e-4), "{rate_hz}: {last:?}");
        }
    }

    #[test]
    fn tones_pass_unchanged_for_the_ear() {
        const RATE_HZ: f64 = 48_000.0;
        for (hz, most_db) in [(20.0, 0.012), (41.2, 0.0035), (440.0, 0.000_1), (10_000.0, 0.000_01)] {
            let mut blocker = DcBlocker::new(RATE_HZ);
            let (mut before, mut after) = (0.0, 0.0);
            for at in 0..96_000 {
                let value = (std::f64::consts::TAU * hz * f64::from(at) / RATE_HZ).sin() as f32;
                let passed = blocker.next([value; 2])[0];
                if at >= 48_000 {
                    before += f64::from(value).powi(2);
                    after += f64::from(passed).powi(2);
                }
            }
            let taken_db = -10.0 * (after / before).log10();
            assert!((-0.000_1..most_db).contains(&taken_db), "{hz} Hz loses {taken_db} dB");
        }
    }
}
