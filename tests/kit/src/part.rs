//! Music for the demo: two parts of one piece, rendered so that nothing needs to be shipped.
//!
//! Both are deterministic, 48 kHz, stereo, and peak at [`PEAK`], so that their sum stays clear of
//! full scale.

use std::f32::consts::TAU;

/// Sample rate of both parts, in Hz.
pub const RATE_HZ: f32 = 48_000.0;
/// Highest sample of a part, linear.
pub const PEAK: f32 = 0.45;

/// Left and right.
pub type Stereo = [Vec<f32>; 2];

/// Length of an eighth note, in seconds: 104 beats a minute.
const EIGHTH: f32 = 60.0 / 104.0 / 2.0;
const EIGHTHS_PER_BAR: usize = 8;

/// The piece's harmony, one chord a bar: MIDI notes of bass and of the guitar's six strings
/// (0 = string not played).
const CHORDS: [(u8, [u8; 6]); 8] = [
    (33, [0, 45, 52, 57, 60, 64]),  // Am
    (29, [41, 48, 53, 57, 60, 65]), // F
    (36, [0, 48, 52, 55, 60, 64]),  // C
    (31, [43, 47, 50, 55, 59, 67]), // G
    (33, [0, 45, 52, 57, 60, 64]),  // Am
    (29, [41, 48, 53, 57, 60, 65]), // F
    (38, [0, 0, 50, 57, 62, 65]),   // Dm
    (28, [40, 47, 52, 56, 59, 64]), // E
];

/// The melody above it, as (eighth within the bar, MIDI note), one list a bar.
const MELODY: [&[(usize, u8)]; 8] = [
    &[(0, 76), (3, 72), (4, 74), (6, 76)],
    &[(0, 77), (3, 76), (4, 72)],
    &[(0, 79), (2, 76), (4, 74), (6, 72)],
    &[(0, 74), (3, 71), (6, 67)],
    &[(0, 69), (1, 72), (2, 76), (4, 81), (6, 79)],
    &[(0, 77), (3, 76), (4, 72), (6, 69)],
    &[(0, 74), (2, 77), (4, 76), (6, 74)],
    &[(0, 76), (4, 71), (6, 68)],
];

/// The track's part: a guitar that picks the chords and plays the melody.
pub fn guitar(seconds: f32) -> Stereo {
    let mut mix = silence(seconds);
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    for (bar, start) in bars(seconds) {
        let (_, strings) = CHORDS[bar % CHORDS.len()];
        for (index, &note) in strings.iter().filter(|&&note| note > 0).enumerate() {
            // A strum on one, picked strings after it.
            let sounding = strings.iter().filter(|&&note| note > 0).count();
            pluck(&mut mix, start + 0.012 * index as f32, note, 0.5, 0.35, &mut random);
            for eighth in (2..EIGHTHS_PER_BAR).filter(|eighth| eighth % sounding == index) {
                pluck(&mut mix, start + EIGHTH * eighth as f32, note, 0.4, 0.35, &mut random);
            }
        }
        for &(eighth, note) in MELODY[bar % MELODY.len()] {
            pluck(&mut mix, start + EIGHTH * eighth as f32, note, 0.9, 0.6, &mut random);
        }
    }
    finish(mix)
}

/// The second musician's part: bass and drums.
pub fn rhythm(seconds: f32) -> Stereo {
    let mut mix = silence(seconds);
    let mut random = Random(0xD1B5_4A32_D192_ED03);
    for (bar, start) in bars(seconds) {
        let (root, _) = CHORDS[bar % CHORDS.len()];
        let at = |eighth: usize| start + EIGHTH * eighth as f32;
        for (eighth, interval) in [(0, 0), (3, 0), (4, 7), (6, 12), (7, 7)] {
            bass(&mut mix, at(eighth), root + interval);
        }
        for eighth in [0, 3, 4] {
            kick(&mut mix, at(eighth));
        }
        for eighth in [2, 6] {
            snare(&mut mix, at(eighth), &mut random);
        }
        for eighth in 0..EIGHTHS_PER_BAR {
            hat(&mut mix, at(eighth), if eighth % 2 == 0 { 0.12 } else { 0.2 }, &mut random);
        }
    }
    finish(mix)
}

fn silence(seconds: f32) -> Stereo {
    let frames = (seconds * RATE_HZ) as usize;
    [vec![0.0; frames], vec![0.0; frames]]
}

/// Every bar's number and start in seconds.
fn bars(seconds: f32) -> impl Iterator<Item = (usize, f32)> {
    let length = EIGHTH * EIGHTHS_PER_BAR as f32;
    (0..).map(move |bar| (bar, bar as f32 * length)).take_while(move |(_, start)| *start < seconds)
}

fn frequency_hz(note: u8) -> f32 {
    440.0 * 2f32.powf((f32::from(note) - 69.0) / 12.0)
}

/// Adds `sample(n)` for `n` in `0..seconds`, panned (0 left, 1 right).
fn add(mix: &mut Stereo, start: f32, seconds: f32, pan: f32, mut sample: impl FnMut(f32) -> f32) {
    // The last bar may reach beyond the piece's end.
    let first = mix[0].len().min((start * RATE_HZ) as usize);
    let end = mix[0].len().min(first + (seconds * RATE_HZ) as usize);
    let [left, right] = mix;
    for (index, (left, right)) in left[first..end].iter_mut().zip(&mut right[first..end]).enumerate() {
        let value = sample(index as f32 / RATE_HZ);
        *left += value * (1.0 - pan).sqrt();
        *right += value * pan.sqrt();
    }
}

/// A plucked string after Karplus and Strong: noise going round in a delay line, softened at each turn.
fn pluck(mix: &mut Stereo, start: f32, note: u8, loudness: f32, pan: f32, random: &mut Random) {
    let period = RATE_HZ / frequency_hz(note);
    // The softening filter itself delays by half a sample; an all-pass makes up the fraction.
    let length = (period - 0.5).floor().max(2.0);
    let fraction = period - 0.5 - length;
    let all_pass = (1.0 - fraction) / (1.0 + fraction);
    let mut softened = 0.0;
    let mut line: Vec<f32> = (0..length as usize)
        .map(|_| {
            softened = 0.5 * softened + 0.5 * random.sample();
            softened * loudness
        })
        .collect();
    // A string swings about its rest.
    let mean = line.iter().sum::<f32>() / length;
    line.iter_mut().for_each(|value| *value -= mean);
    let decay = 0.5 * (-3.0 / (period * (4.0 - f32::from(note) / 40.0))).exp().mul_add(0.004, 0.995);
    let (mut position, mut last, mut all_pass_in, mut all_pass_out) = (0, 0.0, 0.0, 0.0);
    add(mix, start, 2.5, pan, |time| {
        let value = line[position];
        let soft = decay * (value + last);
        last = value;
        all_pass_out = all_pass * (soft - all_pass_out) + all_pass_in;
        all_pass_in = soft;
        line[position] = all_pass_out;
        position = (position + 1) % line.len();
        // The end of a note that is still sounding would click.
        value * ((2.5 - time) / 0.1).clamp(0.0, 1.0)
    });
}

fn bass(mix: &mut Stereo, start: f32, note: u8) {
    let frequency = frequency_hz(note);
    add(mix, start, 0.5, 0.5, |time| {
        let phase = TAU * frequency * time;
        let tone = phase.sin() + 0.4 * (2.0 * phase).sin() + 0.15 * (3.0 * phase).sin();
        0.4 * tone * (time / 0.005).min(1.0) * (-5.0 * time).exp() * ((0.5 - time) / 0.02).clamp(0.0, 1.0)
    });
}

fn kick(mix: &mut Stereo, start: f32) {
    add(mix, start, 0.3, 0.5, |time| {
        // A falling pitch: the phase is the frequency's integral.
        let phase = TAU * (48.0 * time + 5.0 * (1.0 - (-30.0 * time).exp()));
        0.9 * phase.sin() * (-12.0 * time).exp()
    });
}

fn snare(mix: &mut Stereo, start: f32, random: &mut Random) {
    add(mix, start, 0.2, 0.45, |time| {
        0.5 * random.sample() * (-22.0 * time).exp() + 0.3 * (TAU * 190.0 * time).sin() * (-25.0 * time).exp()
    });
}

fn hat(mix: &mut Stereo, start: f32, loudness: f32, random: &mut Random) {
    let mut last = 0.0;
    add(mix, start, 0.08, 0.65, |time| {
        let noise = random.sample();
        let bright = noise - last;
        last = noise;
        loudness * bright * (-60.0 * time).exp()
    });
}

/// Scales to [`PEAK`].
fn finish(mut mix: Stereo) -> Stereo {
    let peak = mix.iter().flatten().fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
    if peak > 0.0 {
        mix.iter_mut().flatten().for_each(|sample| *sample *= PEAK / peak);
    }
    mix
}

/// Noise that is the same on every machine (xorshift64*).
struct Random(u64);

impl Random {
    /// The next sample, −1..1.
    fn sample(&mut self) -> f32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40;
        bits as f32 / (1u32 << 23) as f32 - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_as_long_and_as_loud_as_promised() {
        for (part, frames) in
            [(guitar(5.0), 240_000), (rhythm(5.0), 240_000), (guitar(20.0), 960_000), (rhythm(20.0), 960_000)]
        {
            for channel in &part {
                assert_eq!(channel.len(), frames);
                assert!(channel.iter().all(|sample| sample.abs() <= PEAK + 1e-6));
                // No second is silent.
                for second in channel.chunks(48_000) {
                    let rms = (second.iter().map(|s| s * s).sum::<f32>() / second.len() as f32).sqrt();
                    assert!(rms > 0.01, "{rms}");
                }
            }
        }
    }

    #[test]
    fn a_string_has_the_pitch_of_its_note() {
        let mut mix = silence(2.0);
        pluck(&mut mix, 0.0, 57, 1.0, 0.0, &mut Random(7));
        // 220 Hz: most alike to itself after one period.
        let tail = &mix[0][24_000..72_000];
        let alike = |lag: usize| tail[lag..].iter().zip(tail).map(|(a, b)| a * b).sum::<f32>();
        let best = (150..400).max_by(|a, b| alike(*a).total_cmp(&alike(*b))).unwrap();
        assert!((RATE_HZ / best as f32 - 220.0).abs() < 2.0, "{best}");
    }
}
