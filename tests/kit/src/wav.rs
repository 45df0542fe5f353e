//! Sound files.

use std::path::Path;

use anyhow::{Context, Result, bail};
use hound::{SampleFormat, WavReader, WavSpec, WavWriter};

use crate::part::Stereo;

/// Longest recording that is read, in seconds.
const MAX_SECONDS: f64 = 3600.0;

/// Reads a WAV file and converts it to stereo at `rate_hz`: a mono file comes on both sides, of
/// more channels the first two are taken.
pub fn read(path: &Path, rate_hz: f64) -> Result<Stereo> {
    let name = path.display();
    let mut reader = WavReader::open(path).with_context(|| format!("{name} cannot be read as a WAV file"))?;
    let spec = reader.spec();
    let file_rate_hz = f64::from(spec.sample_rate);
    if !(8_000.0..=384_000.0).contains(&file_rate_hz) {
        bail!("{name} has a sample rate of {file_rate_hz} Hz; 8000 to 384000 are understood");
    }
    if f64::from(reader.duration()) > MAX_SECONDS * file_rate_hz {
        bail!("{name} is longer than an hour");
    }
    let samples: Result<Vec<f32>, hound::Error> = match spec.sample_format {
        SampleFormat::Float => reader.samples::<f32>().collect(),
        SampleFormat::Int => {
            let scale = 1.0 / (1_i64 << (spec.bits_per_sample - 1)) as f32;
            reader.samples::<i32>().map(|sample| sample.map(|sample| sample as f32 * scale)).collect()
        }
    };
    let samples = samples.with_context(|| format!("{name} is damaged"))?;
    let channels = usize::from(spec.channels);
    if samples.len() < channels {
        bail!("{name} holds no sound");
    }
    if samples.iter().any(|sample| !sample.is_finite()) {
        bail!("{name} holds samples that are no numbers");
    }
    let channel =
        |index: usize| -> Vec<f32> { samples.iter().skip(index).step_by(channels).copied().collect() };
    let stereo = [channel(0), channel(1.min(channels - 1))];
    Ok(stereo.map(|channel| resample(&channel, file_rate_hz, rate_hz)))
}

/// Writes 24-bit stereo. The file appears when it is complete, or not at all.
pub fn write(path: &Path, sound: &Stereo, rate_hz: u32) -> Result<()> {
    let unfinished = path.with_extension("wav.part");
    let write = || -> Result<()> {
        let spec = WavSpec {
            channels: 2,
            sample_rate: rate_hz,
            bits_per_sample: 24,
            sample_format: SampleFormat::Int,
        };
        let mut writer = WavWriter::create(&unfinished, spec)?;
        let full_scale = (1 << 23) as f32;
        for (left, right) in sound[0].iter().zip(&sound[1]) {
            for sample in [left, right] {
                writer
                    .write_sample((sample * full_scale).round().clamp(-full_scale, full_scale - 1.0) as i32)?;
            }
        }
        writer.finalize()?;
        Ok(std::fs::rename(&unfinished, path)?)
    };
    write().with_context(|| format!("{} cannot be written", path.display()))
}

/// Half the width of the interpolation kernel, in zero crossings.
const CROSSINGS: f64 = 16.0;

/// Resamples by windowed-sinc interpolation: slow, exact enough, and used once per file.
fn resample(input: &[f32], from_hz: f64, to_hz: f64) -> Vec<f32> {
    if from_hz == to_hz {
        return input.to_vec();
    }
    let step = from_hz / to_hz;
    // Below the lower of the two Nyquist frequencies.
    let cutoff = (1.0 / step).min(1.0) * 0.95;
    let reach = CROSSINGS / cutoff;
    let length = (input.len() as f64 / step) as usize;
    (0..length)
        .map(|index| {
            let centre = index as f64 * step;
            let first = (centre - reach).ceil().max(0.0) as usize;
            let last = ((centre + reach).floor() as usize).min(input.len() - 1);
            let sum: f64 = (first..=last)
                .map(|position| {
                    let distance = position as f64 - centre;
                    let window = 0.5 + 0.5 * (std::f64::consts::PI * distance / reach).cos();
                    f64::from(input[position]) * cutoff * sinc(cutoff * distance) * window
                })
                .sum();
            sum as f32
        })
        .collect()
}

fn sinc(x: f64) -> f64 {
    let x = x * std::f64::consts::PI;
    if x.abs() < 1e-9 { 1.0 } else { x.sin() / x }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wav");
        let sound = [vec![0.0, 0.5, -1.0, 0.25], vec![0.125, -0.5, 0.999, 0.0]];
        write(&path, &sound, 48_000).unwrap();
        let read = read(&path, 48_000.0).unwrap();
        for (written, read) in sound.iter().flatten().zip(read.iter().flatten()) {
            assert!((written - read).abs() < 1e-6, "{written} {read}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn resampling_keeps_pitch_and_level() {
        let input: Vec<f32> =
            (0..44_100).map(|n| (n as f32 * std::f32::consts::TAU * 441.0 / 44_100.0).sin()).collect();
        let output = resample(&input, 44_100.0, 48_000.0);
        assert_eq!(output.len(), 48_000);
        for (index, sample) in output.iter().enumerate().skip(100).take(47_000) {
            let expected = (index as f64 * std::f64::consts::TAU * 441.0 / 48_000.0).sin() as f32;
            assert!((sample - expected).abs() < 1e-3, "{index}: {sample} {expected}");
        }
    }

    #[test]
    fn what_is_no_sound_file_is_named_in_one_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.wav");
        assert!(
            format!("{:#}", read(&path, 48_000.0).unwrap_err())
                .contains("b.wav cannot be read as a WAV file")
        );
        std::fs::write(&path, b"RIFF nonsense").unwrap();
        assert!(format!("{:#}", read(&path, 48_000.0).unwrap_err()).contains("b.wav"));
    }
}
