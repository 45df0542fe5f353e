//! The codec: every format, every kind of bad luck.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::f32::consts::TAU;

use jamulet::audio::{Decoder, Encoder, check_custom_modes};
use jamulet::units::{Coding, FrameSize, Layout, Quality, StreamFormat};
use proptest::prelude::*;

const FRAME_SIZES: [FrameSize; 2] = [FrameSize::Samples64, FrameSize::Samples128];
const LAYOUTS: [Layout; 2] = [Layout::Mono, Layout::Stereo];
const QUALITIES: [Quality; 4] = [Quality::Low, Quality::Normal, Quality::High, Quality::Max];

fn formats() -> impl Iterator<Item = (StreamFormat, Quality)> {
    FRAME_SIZES.into_iter().flat_map(|frame| {
        LAYOUTS.into_iter().flat_map(move |layout| {
            QUALITIES.into_iter().map(move |quality| (StreamFormat::stock(frame, layout, quality), quality))
        })
    })
}

/// 440 Hz on the left, 660 Hz on the right.
fn tone(at: usize, channel: usize) -> f32 {
    let hz = [440.0, 660.0][channel];
    0.5 * (TAU * ((at as f64 * hz / 48_000.0) % 1.0) as f32).sin()
}

fn tone_frame(format: StreamFormat, index: usize) -> Vec<f32> {
    let (samples, channels) = (format.frame.samples(), format.layout.channels());
    (0..samples * channels).map(|at| tone(index * samples + at / channels, at % channels)).collect()
}

/// Codes and decodes `frames` frames of the tone; frames for which `lost` says so are concealed.
fn round_trip(format: StreamFormat, frames: usize, lost: impl Fn(usize) -> bool) -> Vec<f32> {
    let (mut encoder, mut decoder) = (Encoder::new(format).unwrap(), Decoder::new(format).unwrap());
    let mut coded = vec![0; format.frame_bytes()];
    let mut heard = Vec::new();
    for index in 0..frames {
        encoder.encode(&tone_frame(format, index), &mut coded);
        let at = heard.len();
        heard.resize(at + format.frame.samples() * format.layout.channels(), f32::NAN);
        decoder.decode((!lost(index)).then_some(&coded), &mut heard[at..]);
    }
    heard
}

fn channel(heard: &[f32], channel: usize, channels: usize) -> Vec<f32> {
    heard.iter().skip(channel).step_by(channels).copied().collect()
}

/// Fits a sine of `hz` to the signal: its amplitude, and the RMS of what is left.
fn fit(signal: &[f32], hz: f64) -> (f64, f64) {
    let angle = |at: usize| std::f64::consts::TAU * hz / 48_000.0 * at as f64;
    let (mut ss, mut cc, mut sc, mut s, mut c) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (at, value) in signal.iter().enumerate() {
        let (sin, cos) = angle(at).sin_cos();
        let value = f64::from(*value);
        ss += sin * sin;
        cc += cos * cos;
        sc += sin * cos;
        s += sin * value;
        c += cos * value;
    }
    let det = ss * cc - sc * sc;
    let (a, b) = ((s * cc - c * sc) / det, (c * ss - s * sc) / det);
    let rest: f64 = signal
        .iter()
        .enumerate()
        .map(|(at, value)| (f64::from(*value) - a * angle(at).sin() - b * angle(at).cos()).powi(2))
        .sum();
    (a.hypot(b), (rest / signal.len() as f64).sqrt())
}

fn db(ratio: f64) -> f64 {
    20.0 * ratio.log10()
}

#[test]
fn the_library_has_custom_modes() {
    check_custom_modes().unwrap();
}

#[test]
fn a_tone_passes_through_every_format_at_its_level() {
    for (format, quality) in formats() {
        let heard = round_trip(format, 400, |_| false);
        let channels = format.layout.channels();
        for side in 0..channels {
            let signal = channel(&heard, side, channels);
            let (amplitude, rest) = fit(&signal[signal.len() / 4..], [440.0, 660.0][side]);
            let (level, noise) = (db(amplitude / 0.5), db(rest / (amplitude / std::f64::consts::SQRT_2)));
            println!("{format:?} channel {side}: level {level:.2} dB, noise {noise:.1} dB");
            assert!(
                level.abs() < if quality == Quality::Max { 0.001 } else { 0.2 },
                "{format:?}: {level} dB"
            );
            let bound = match quality {
                Quality::Low => -20.0,
                Quality::Normal => -28.0,
                Quality::High => -38.0,
                Quality::Max => -88.0,
            };
            assert!(noise < bound, "{format:?} channel {side}: noise at {noise} dB");
        }
    }
}

#[test]
fn tones_keep_their_level_through_two_passes() {
    // Musician → server → musician codes twice. libopus 1.6 at low complexity fails this.
    let mut worst = 0.0f64;
    for (format, quality) in formats().filter(|(_, quality)| *quality != Quality::Max) {
        let (samples, channels) = (format.frame.samples(), format.layout.channels());
        for (hz, peak) in [
            (220.0, 0.5),
            (440.0, 0.5),
            (660.0, 0.5),
            (1000.0, 0.5),
            (440.0, 0.05),
            (660.0, 0.25),
            (660.0, 0.05),
        ] {
            let mut codecs = [0, 1].map(|_| (Encoder::new(format).unwrap(), Decoder::new(format).unwrap()));
            let mut coded = vec![0; format.frame_bytes()];
            let mut heard = Vec::new();
            for index in 0..600 {
                let mut frame: Vec<f32> = (0..samples * channels)
                    .map(|at| (index * samples + at / channels) as f64)
                    .map(|at| (peak * (std::f64::consts::TAU * hz / 48_000.0 * at).sin()) as f32)
                    .collect();
                for (encoder, decoder) in &mut codecs {
                    encoder.encode(&frame, &mut coded);
                    decoder.decode(Some(&coded), &mut frame);
                }
                heard.extend(frame.iter().step_by(channels));
            }
            let level = db(fit(&heard[heard.len() / 4..], hz).0 / peak);
            // Few bytes are coarse, in the original as well.
            let coarse = quality == Quality::Low;
            println!("{format:?}: {hz} Hz at {peak}: {level:+.2} dB");
            assert!(
                level.abs() < if coarse { 0.8 } else { 0.3 },
                "{format:?}: {hz} Hz at {peak}: {level} dB"
            );
            if !coarse {
                worst = worst.max(level.abs());
            }
        }
    }
    println!("worst: {worst:.2} dB");
}

#[test]
fn every_segment_resembles_the_source() {
    // Segmental signal-to-noise ratio against the delayed source, over 20 ms segments.
    for (format, quality) in formats() {
        let heard = round_trip(format, 400, |_| false);
        let (samples, channels) = (format.frame.samples(), format.layout.channels());
        // Opus's window overlaps the whole next frame, so the codec itself delays by one frame.
        let (delay, bound) = match quality {
            Quality::Low => (samples, 18.0),
            Quality::Normal => (samples, 26.0),
            Quality::High => (samples, 36.0),
            Quality::Max => (0, 88.0),
        };
        let mut worst = f64::INFINITY;
        let total = heard.len() / channels;
        for segment in (total / 4..total - 960).step_by(960) {
            let (mut signal, mut noise) = (0.0, 1e-12);
            for at in segment..segment + 960 {
                for side in 0..channels {
                    let source = f64::from(tone(at - delay, side));
                    signal += source * source;
                    noise += (f64::from(heard[at * channels + side]) - source).powi(2);
                }
            }
            worst = f64::min(worst, 10.0 * f64::log10(signal / noise));
        }
        println!("{format:?}: worst segment {worst:.1} dB");
        assert!(worst > bound, "{format:?}: {worst} dB");
    }
}

#[test]
fn lost_frames_are_concealed_and_forgotten() {
    for (format, quality) in formats().filter(|(_, quality)| *quality != Quality::Max) {
        let heard = round_trip(format, 600, |index| (200..203).contains(&index));
        let channels = format.layout.channels();
        assert!(heard.iter().all(|value| value.abs() < 0.8), "{format:?}: nothing bursts out");
        // Something is heard in the first lost frame …
        let lost = 200 * format.frame.samples() * channels;
        let energy: f32 = heard[lost..lost + format.frame.samples() * channels].iter().map(|x| x * x).sum();
        assert!(energy > 1.0, "{format:?}: {energy}");
        // … and half a second later nothing is left of it.
        let signal = channel(&heard, 0, channels);
        let (amplitude, rest) = fit(&signal[400 * format.frame.samples()..], 440.0);
        let noise = db(rest / (amplitude / std::f64::consts::SQRT_2));
        assert!(noise < if quality == Quality::Low { -13.0 } else { -20.0 }, "{format:?}: {noise} dB");
    }
}

#[test]
fn a_long_loss_fades_and_never_bursts_out() {
    for (format, _) in formats() {
        let heard = round_trip(format, 3000, |index| index >= 100);
        assert!(heard.iter().all(|value| value.abs() < 0.8), "{format:?}");
        let end = &heard[heard.len() - 4800..];
        let loudest = end.iter().fold(0.0f32, |loudest, value| loudest.max(value.abs()));
        assert!(loudest < 0.05, "{format:?}: still {loudest} after seconds of loss");
    }
}

#[test]
fn a_lost_raw_frame_is_silence() {
    for frame in FRAME_SIZES {
        let format = StreamFormat::stock(frame, Layout::Stereo, Quality::Max);
        let mut decoder = Decoder::new(format).unwrap();
        let mut out = vec![1.0; 2 * frame.samples()];
        decoder.decode(None, &mut out);
        assert!(out.iter().all(|value| *value == 0.0));
    }
}

#[test]
fn raw_frames_are_little_endian_clipped_samples() {
    let format = StreamFormat::stock(FrameSize::Samples64, Layout::Stereo, Quality::Max);
    let mut encoder = Encoder::new(format).unwrap();
    let mut pcm = vec![0.0; 128];
    pcm[..8].copy_from_slice(&[0.5, -0.5, 1.0, -1.0, 7.0, -7.0, f32::NAN, 1.0 / 32768.0]);
    let mut bytes = vec![0; 256];
    encoder.encode(&pcm, &mut bytes);
    assert_eq!(bytes[..16], [0, 0x40, 0, 0xc0, 0xff, 0x7f, 0, 0x80, 0xff, 0x7f, 0, 0x80, 0, 0, 1, 0]);
    let mut decoder = Decoder::new(format).unwrap();
    let mut out = vec![0.0; 128];
    decoder.decode(Some(&bytes), &mut out);
    assert_eq!(out[..4], [0.5, -0.5, 32767.0 / 32768.0, -1.0]);
    // Every i16 survives decoding and coding.
    for first in (i16::MIN..=i16::MAX).step_by(128) {
        let bytes: Vec<u8> = (0..128).flat_map(|at| (first + at).to_le_bytes()).collect();
        decoder.decode(Some(&bytes), &mut out);
        let mut again = vec![0; 256];
        encoder.encode(&out, &mut again);
        assert_eq!(bytes, again);
    }
}

#[test]
fn nonsense_in_leaves_no_trace() {
    for (format, _) in formats() {
        let (mut encoder, mut decoder) = (Encoder::new(format).unwrap(), Decoder::new(format).unwrap());
        let values = format.frame.samples() * format.layout.channels();
        let mut coded = vec![0; format.frame_bytes()];
        let mut out = vec![0.0; values];
        for nonsense in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, 1e-42] {
            encoder.encode(&vec![nonsense; values], &mut coded);
            decoder.decode(Some(&coded), &mut out);
            assert!(out.iter().all(|value| value.is_finite() && value.abs() <= 2.0), "{format:?}");
        }
        for _ in 0..400 {
            encoder.encode(&vec![0.0; values], &mut coded);
            decoder.decode(Some(&coded), &mut out);
        }
        assert!(out.iter().all(|value| value.abs() < 1e-3), "{format:?} is silent again");
    }
}

#[test]
fn reset_makes_codecs_as_new() {
    for (format, _) in formats() {
        let (mut encoder, mut decoder) = (Encoder::new(format).unwrap(), Decoder::new(format).unwrap());
        let mut first = (Vec::new(), Vec::new());
        for round in 0..2 {
            let (mut bytes, mut sound) = (Vec::new(), Vec::new());
            for index in 0..20 {
                let mut coded = vec![0; format.frame_bytes()];
                let mut out = vec![0.0; format.frame.samples() * format.layout.channels()];
                encoder.encode(&tone_frame(format, index), &mut coded);
                decoder.decode(Some(&coded), &mut out);
                bytes.extend(coded);
                sound.extend(out);
            }
            if round == 0 {
                first = (bytes, sound);
                encoder.reset();
                decoder.reset();
            } else {
                assert_eq!(first, (bytes, sound), "{format:?}");
            }
        }
    }
}

#[test]
fn frames_of_stock_clients_decode_to_their_tone() {
    use Quality::{High, Low, Max, Normal};
    let captures: [(&[u8], FrameSize, Layout, Quality); 5] = [
        (include_bytes!("data/audio_mono_128_low.bin"), FrameSize::Samples128, Layout::Mono, Low),
        (include_bytes!("data/audio_mono_64_normal.bin"), FrameSize::Samples64, Layout::Mono, Normal),
        (include_bytes!("data/audio_stereo_64_high.bin"), FrameSize::Samples64, Layout::Stereo, High),
        (include_bytes!("data/audio_stereo_128_normal.bin"), FrameSize::Samples128, Layout::Stereo, Normal),
        (include_bytes!("data/audio_stereo_128_raw.bin"), FrameSize::Samples128, Layout::Stereo, Max),
    ];
    for (packets, frame, layout, quality) in captures {
        let format = StreamFormat::stock(frame, layout, quality);
        let mut decoder = Decoder::new(format).unwrap();
        let values = frame.samples() * layout.channels();
        let mut heard = Vec::new();
        for packet in packets.chunks_exact(format.frame_bytes() + 1) {
            let at = heard.len();
            heard.resize(at + values, 0.0);
            decoder.decode(Some(&packet[..format.frame_bytes()]), &mut heard[at..]);
        }
        // The recordings have a few jumps, so each 50 ms are judged on their own.
        let level = |side: usize, hz: f64| {
            let signal = channel(&heard, side, layout.channels());
            let mut levels: Vec<f64> = signal.chunks_exact(2400).map(|part| db(fit(part, hz).0)).collect();
            levels.sort_by(f64::total_cmp);
            levels[levels.len() / 2]
        };
        let levels = match layout {
            Layout::Stereo => [level(0, 440.0), level(1, 660.0)],
            // (L + R) / 2
            Layout::Mono => [level(0, 440.0) + 6.02, level(0, 660.0) + 6.02],
        };
        println!("{format:?}: {levels:.2?} dBFS");
        assert!(levels.iter().all(|level| (level + 12.04).abs() < 0.3), "{format:?}: {levels:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_decode_to_something_harmless(
        frame in 0usize..2,
        stereo: bool,
        bytes in 10u16..=255,
        frames in proptest::collection::vec(proptest::option::of(proptest::collection::vec(any::<u8>(), 255)), 1..20),
    ) {
        let layout = LAYOUTS[usize::from(stereo)];
        let format = StreamFormat { frame: FRAME_SIZES[frame], layout, coding: Coding::Opus { bytes } };
        let mut decoder = Decoder::new(format).unwrap();
        let mut out = vec![0.0; format.frame.samples() * layout.channels()];
        for data in &frames {
            decoder.decode(data.as_ref().map(|data| &data[..usize::from(bytes)]), &mut out);
            prop_assert!(out.iter().all(|value| value.is_finite() && value.abs() <= 2.0));
        }
        // A frame of the wrong size is a lost one.
        decoder.decode(Some(&[0; 3]), &mut out);
        prop_assert!(out.iter().all(|value| value.is_finite()));
    }

    #[test]
    fn every_frame_size_that_opus_allows_works(frame in 0usize..2, stereo: bool, bytes in 10u16..=255) {
        let layout = LAYOUTS[usize::from(stereo)];
        let format = StreamFormat { frame: FRAME_SIZES[frame], layout, coding: Coding::Opus { bytes } };
        let heard = round_trip(format, 100, |_| false);
        let signal = channel(&heard, 0, layout.channels());
        let (amplitude, _) = fit(&signal[signal.len() / 2..], 440.0);
        prop_assert!(amplitude < 0.6, "{:?}: {}", format, amplitude);
        // Fewer bytes than stock's fewest may be too few for any tone.
        let fewest = StreamFormat::stock(format.frame, layout, Quality::Low).frame_bytes();
        prop_assert!(amplitude > 0.4 || usize::from(bytes) < fewest, "{:?}: {}", format, amplitude);
    }
}
