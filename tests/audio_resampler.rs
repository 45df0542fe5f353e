//! The resampler, measured: distortion, pass band, aliases, delay, and independence of block sizes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::f64::consts::{SQRT_2, TAU};

use jamulet::audio::{Resampler, ResamplerError, SampleFifo};
use jamulet::units::Layout;

const RATES: [(f64, f64); 8] = [
    (44_100.0, 48_000.0),
    (48_000.0, 44_100.0),
    (88_200.0, 48_000.0),
    (48_000.0, 88_200.0),
    (96_000.0, 48_000.0),
    (48_000.0, 96_000.0),
    (192_000.0, 48_000.0),
    (48_000.0, 192_000.0),
];

fn sine(hz: f64, rate: f64, samples: usize) -> Vec<f32> {
    (0..samples).map(|at| (0.5 * (TAU * hz / rate * at as f64).sin()) as f32).collect()
}

/// Converts a mono signal in blocks of the given lengths, in turn.
fn convert(from: f64, to: f64, signal: &[f32], blocks: &[usize]) -> Vec<f32> {
    let largest = *blocks.iter().max().unwrap();
    let mut resampler = Resampler::new(from, to, Layout::Mono, largest).unwrap();
    let mut fifo = SampleFifo::with_capacity(resampler.max_output_frames(largest), 1);
    let (mut out, mut rest) = (Vec::new(), signal);
    for block in blocks.iter().cycle() {
        let (now, later) = rest.split_at(rest.len().min(*block));
        resampler.process(now, &mut fifo);
        assert!(fifo.len_frames() <= resampler.max_output_frames(now.len()));
        let at = out.len();
        out.resize(at + fifo.len_frames(), f32::NAN);
        fifo.pop_into(&mut out[at..]);
        rest = later;
        if rest.is_empty() {
            return out;
        }
    }
    unreachable!()
}

/// Fits a sine of `hz`: amplitude, phase in radians, RMS of what is left.
fn fit(signal: &[f32], hz: f64, rate: f64) -> (f64, f64, f64) {
    let angle = |at: usize| TAU * hz / rate * at as f64;
    let (mut ss, mut cc, mut sc, mut s, mut c) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (at, value) in signal.iter().enumerate() {
        let ((sin, cos), value) = (angle(at).sin_cos(), f64::from(*value));
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
    (a.hypot(b), b.atan2(a), (rest / signal.len() as f64).sqrt())
}

fn db(ratio: f64) -> f64 {
    20.0 * ratio.log10()
}

/// Without the beginning and the end.
fn middle(signal: &[f32]) -> &[f32] {
    &signal[signal.len() / 4..signal.len() - 100]
}

#[test]
fn distortion_and_noise_are_inaudible() {
    for (from, to) in RATES {
        for (hz, bound) in [(997.0, -105.0), (10_000.0, -100.0)] {
            let out = convert(from, to, &sine(hz, from, from as usize / 4), &[128]);
            let (amplitude, _, rest) = fit(middle(&out), hz, to);
            let noise = db(rest / (amplitude / SQRT_2));
            println!("{from} → {to} Hz, {hz} Hz: THD+N {noise:.1} dB");
            assert!(noise < bound, "{from} → {to} Hz, {hz} Hz: THD+N {noise} dB");
        }
    }
}

#[test]
fn the_pass_band_is_flat() {
    for (from, to) in RATES {
        let mut worst = 0.0f64;
        for hz in (0..=18).map(|khz| 1000.0 * f64::from(khz) + 20.0).map(|hz| hz.min(18_000.0)) {
            let out = convert(from, to, &sine(hz, from, from as usize / 4), &[256]);
            let (amplitude, _, _) = fit(middle(&out), hz, to);
            worst = worst.max(db(amplitude / 0.5).abs());
        }
        println!("{from} → {to} Hz: within {worst:.4} dB up to 18 kHz");
        assert!(worst < 0.05, "{from} → {to} Hz: {worst} dB");
    }
}

#[test]
fn images_and_aliases_are_gone() {
    // Everything that is not the tone itself, wherever it may land below 20 kHz, is in the rest.
    for (from, to) in RATES {
        let mut worst = -200.0f64;
        for hz in [5_000.0, 12_345.0, 17_000.0, 18_000.0] {
            let out = convert(from, to, &sine(hz, from, from as usize / 4), &[256]);
            let (amplitude, _, rest) = fit(middle(&out), hz, to);
            worst = worst.max(db(rest / (amplitude / SQRT_2)));
        }
        // Tones that the lower rate cannot carry, beyond the transition band.
        let low = from.min(to);
        let mut hz = 0.55 * low;
        while hz < from / 2.0 {
            let out = convert(from, to, &sine(hz, from, from as usize / 4), &[256]);
            let rms = middle(&out).iter().map(|value| f64::from(*value).powi(2)).sum::<f64>();
            worst = worst.max(db((rms / middle(&out).len() as f64).sqrt() / (0.5 / SQRT_2)));
            hz += 1_777.0;
        }
        println!("{from} → {to} Hz: images and aliases below {worst:.1} dB");
        assert!(worst < -95.0, "{from} → {to} Hz: {worst} dB");
    }
}

#[test]
fn the_delay_is_what_it_says_and_short() {
    for (from, to) in RATES {
        let hz = 300.0;
        let out = convert(from, to, &sine(hz, from, from as usize / 4), &[64]);
        // No sample is held back beyond the filter: the output is as long as the input.
        let expected = from / 4.0 * to / from;
        assert!((out.len() as f64 - expected).abs() <= 1.0, "{} for {expected}", out.len());
        let (_, phase, _) = fit(&out[out.len() / 2..], hz, to);
        let start = (out.len() / 2) as f64;
        let lag = (TAU * hz / to * start - phase).rem_euclid(TAU) / TAU * to / hz;
        let resampler = Resampler::new(from, to, Layout::Mono, 64).unwrap();
        let latency = resampler.latency_frames();
        println!("{from} → {to} Hz: delay {:.3} ms ({lag:.2} samples)", latency / to * 1000.0);
        assert!((lag - latency).abs() < 0.02, "{from} → {to} Hz: {lag} measured, {latency} told");
        assert!(latency / to < 0.000_55, "{from} → {to} Hz: {} ms", latency / to * 1000.0);
    }
}

#[test]
fn equal_rates_pass_every_bit() {
    let mut resampler = Resampler::new(48_000.0, 48_000.0, Layout::Stereo, 512).unwrap();
    assert!(resampler.is_bypass());
    assert_eq!(resampler.latency_frames(), 0.0);
    let input: Vec<f32> = (0..1024u32).map(|at| f32::from_bits(0x3f00_0000 + at * 7919)).collect();
    let mut fifo = SampleFifo::with_capacity(512, 2);
    resampler.process(&input, &mut fifo);
    let mut out = vec![0.0; 1024];
    assert_eq!(fifo.pop_into(&mut out), 1024);
    assert!(input == out);
}

#[test]
fn a_steerable_one_at_equal_rates_delays_and_changes_no_bit_until_it_is_steered() {
    let mut resampler = Resampler::steerable(48_000.0, 48_000.0, Layout::Stereo, 512).unwrap();
    assert!(!resampler.is_bypass());
    let delay = resampler.latency_frames() as usize;
    assert!(delay <= 16, "{delay} samples");
    let input: Vec<f32> = (0..1024u32).map(|at| f32::from_bits(0x3f00_0000 + at * 7919)).collect();
    let mut fifo = SampleFifo::with_capacity(600, 2);
    resampler.process(&input, &mut fifo);
    let mut out = vec![0.0; 1024];
    assert_eq!(fifo.pop_into(&mut out), 1024);
    assert!(out[..2 * (delay - 1)].iter().all(|value| *value == 0.0));
    assert!(input[..1024 - 2 * delay] == out[2 * delay..]);
}

#[test]
fn a_changing_speed_is_followed_without_noise() {
    for (from, to) in [(48_000.0, 48_000.0), (44_100.0, 48_000.0), (48_000.0, 44_100.0)] {
        for ppm in [-300.0, 0.7, 20.0, 300.0] {
            let hz = 5000.0;
            let mut resampler = Resampler::steerable(from, to, Layout::Mono, 128).unwrap();
            let mut fifo = SampleFifo::with_capacity(400, 1);
            let mut out = Vec::new();
            for (index, block) in sine(hz, from, 2 * from as usize).chunks(128).enumerate() {
                // Well before the half that is judged.
                if index == 20 {
                    resampler.set_speed(1.0 + ppm * 1e-6);
                }
                resampler.process(block, &mut fifo);
                let at = out.len();
                out.resize(at + fifo.len_frames(), f32::NAN);
                fifo.pop_into(&mut out[at..]);
            }
            let largest = out.windows(2).skip(200).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max);
            assert!(f64::from(largest) < 1.01 * TAU * hz / to * 0.5, "{from} → {to} Hz, {ppm} ppm: a step");
            let heard_hz = hz * (1.0 + ppm * 1e-6);
            let (amplitude, _, rest) = fit(&out[out.len() / 2..], heard_hz, to);
            let noise = db(rest / (amplitude / SQRT_2));
            println!("{from} → {to} Hz, {ppm} ppm: THD+N {noise:.1} dB");
            assert!(noise < -95.0, "{from} → {to} Hz, {ppm} ppm: THD+N {noise} dB");
            assert!(db(amplitude / 0.5).abs() < 0.05);
        }
    }
}

#[test]
fn block_sizes_make_no_difference() {
    for (from, to) in
        [(44_100.0, 48_000.0), (48_000.0, 44_100.0), (96_000.0, 48_000.0), (48_000.0, 192_000.0)]
    {
        let signal = sine(1234.5, from, 30_000);
        let whole = convert(from, to, &signal, &[signal.len()]);
        for blocks in [&[1][..], &[37], &[4096], &[1, 4096, 16, 0, 999, 64]] {
            let same = whole == convert(from, to, &signal, blocks);
            assert!(same, "{from} → {to} Hz, blocks {blocks:?}");
        }
    }
}

#[test]
fn channels_stay_apart_and_a_reset_forgets() {
    let mut resampler = Resampler::new(44_100.0, 48_000.0, Layout::Stereo, 4410).unwrap();
    let mut fifo = SampleFifo::with_capacity(5000, 2);
    let left = sine(1000.0, 44_100.0, 4410);
    let input: Vec<f32> = left.iter().flat_map(|value| [*value, 0.25]).collect();
    let mut first = Vec::new();
    for round in 0..2 {
        resampler.process(&input, &mut fifo);
        let mut out = vec![0.0; fifo.len_frames() * 2];
        fifo.pop_into(&mut out);
        let right: Vec<f32> = out.iter().skip(1).step_by(2).copied().collect();
        assert!(right[200..].iter().all(|value| (value - 0.25).abs() < 1e-6), "a constant stays constant");
        if round == 0 {
            let alone = convert(44_100.0, 48_000.0, &left, &[4410]);
            assert!(alone == out.iter().step_by(2).copied().collect::<Vec<f32>>());
            first = out;
            resampler.reset();
        } else {
            assert!(first == out);
        }
    }
}

#[test]
fn odd_rates_work_and_absurd_ones_are_refused() {
    for rate in [8_000.0, 11_025.0, 22_050.0, 32_000.0, 47_999.0, 48_000.5, 176_400.0, 384_000.0] {
        for (from, to) in [(rate, 48_000.0), (48_000.0, rate)] {
            let out = convert(from, to, &sine(997.0, from, from as usize / 2), &[100]);
            let (amplitude, _, rest) = fit(middle(&out), 997.0, to);
            let noise = db(rest / (amplitude / SQRT_2));
            println!("{from} → {to} Hz: THD+N {noise:.1} dB");
            assert!(noise < -100.0, "{from} → {to} Hz: THD+N {noise} dB");
            assert!(db(amplitude / 0.5).abs() < 0.01);
        }
    }
    for rate in [0.0, -1.0, 7_999.0, 1e9, f64::NAN, f64::INFINITY] {
        assert!(matches!(Resampler::new(rate, 48_000.0, Layout::Mono, 64), Err(ResamplerError::Rate(_))));
        assert!(matches!(Resampler::new(48_000.0, rate, Layout::Mono, 64), Err(ResamplerError::Rate(_))));
    }
}
