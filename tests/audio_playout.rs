//! Playout: what comes out is continuous sound, whatever happens to the stream.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::f32::consts::TAU;

use jamulet::audio::{Encoder, Played, Playout};
use jamulet::units::{BufferSize, FrameSize, Layout, Quality, StreamFormat};

const HZ: f32 = 440.0;
/// Largest difference between neighbouring samples of the test tone.
const OWN_STEP: f32 = 0.5 * TAU * HZ / 48_000.0;

/// Sends a tone through an encoder into a playout, one frame per tick.
struct Stream {
    encoder: Encoder,
    playout: Playout,
    format: StreamFormat,
    sent: usize,
    heard: Vec<f32>,
    played: Vec<Played>,
}

impl Stream {
    /// With `depth` frames in hand before each one that is played, at least 2.
    fn new(format: StreamFormat, depth: u8) -> Self {
        let window = 2 * (depth - 1);
        Self {
            encoder: Encoder::new(format).unwrap(),
            playout: Playout::new(format, BufferSize::Frames(window)).unwrap(),
            format,
            sent: 0,
            heard: Vec::new(),
            played: Vec::new(),
        }
    }

    fn send(&mut self, arrives: bool) {
        let (samples, channels) = (self.format.frame.samples(), self.format.layout.channels());
        let frame: Vec<f32> = (0..samples * channels)
            .map(|at| {
                let time = self.sent * samples + at / channels;
                0.5 * (TAU * (time as f32 * HZ / 48_000.0).fract()).sin()
            })
            .collect();
        let mut coded = vec![0; self.format.frame_bytes()];
        self.encoder.encode(&frame, &mut coded);
        if arrives {
            self.playout.put(self.sent as i64, &coded);
        }
        self.sent += 1;
    }

    fn play(&mut self) -> Played {
        let at = self.heard.len();
        self.heard.resize(at + self.format.frame.samples() * self.format.layout.channels(), f32::NAN);
        let played = self.playout.next_frame(&mut self.heard[at..]);
        self.played.push(played);
        played
    }

    fn run(&mut self, frames: usize) {
        for _ in 0..frames {
            self.send(true);
            self.play();
        }
    }

    fn count(&self, what: Played) -> usize {
        self.played.iter().filter(|played| **played == what).count()
    }

    /// Largest step between neighbouring samples of a channel, relative to the tone's own.
    fn largest_step(&self) -> f32 {
        let channels = self.format.layout.channels();
        let steps = self.heard.iter().zip(&self.heard[channels..]).map(|(a, b)| (a - b).abs());
        steps.fold(0.0, f32::max) / OWN_STEP
    }
}

fn formats(quality: Quality) -> impl Iterator<Item = StreamFormat> {
    [FrameSize::Samples64, FrameSize::Samples128].into_iter().flat_map(move |frame| {
        [Layout::Mono, Layout::Stereo].map(|layout| StreamFormat::stock(frame, layout, quality))
    })
}

#[test]
fn a_steady_stream_is_the_tone() {
    for quality in [Quality::Low, Quality::Normal, Quality::High, Quality::Max] {
        for format in formats(quality) {
            let mut stream = Stream::new(format, 3);
            stream.run(500);
            assert_eq!(stream.count(Played::Concealed), 0);
            assert_eq!(stream.count(Played::Idle), 2, "{format:?}: the buffer fills first");
            let step = stream.largest_step();
            assert!(step < if quality == Quality::Low { 2.0 } else { 1.3 }, "{format:?}: step {step}");
            assert!(stream.heard.iter().all(|value| value.abs() < 0.6));
        }
    }
}

#[test]
fn streams_begin_and_end_without_a_click() {
    for quality in [Quality::High, Quality::Max] {
        for format in formats(quality) {
            let mut stream = Stream::new(format, 3);
            for _ in 0..3 {
                stream.run(200);
                let mut frames = 0;
                while stream.play() != Played::Idle || frames == 0 {
                    frames += 1;
                    assert!(frames < 200);
                }
                for _ in 0..50 {
                    assert_eq!(stream.play(), Played::Idle);
                }
                let values = stream.format.frame.samples() * stream.format.layout.channels();
                assert!(stream.heard[stream.heard.len() - values..].iter().all(|value| *value == 0.0));
            }
            let step = stream.largest_step();
            println!("{format:?}: step {step}");
            assert!(step < 1.5, "{format:?}: step {step}");
        }
    }
}

#[test]
fn a_reset_in_the_middle_is_smooth() {
    for quality in [Quality::High, Quality::Max] {
        for format in formats(quality) {
            let mut stream = Stream::new(format, 3);
            for _ in 0..5 {
                stream.run(101);
                stream.playout.reset();
                stream.play();
            }
            assert!(stream.largest_step() < 1.5, "{format:?}: step {}", stream.largest_step());
        }
    }
}

#[test]
fn slips_are_blended() {
    for quality in [Quality::High, Quality::Max] {
        for format in formats(quality) {
            let mut stream = Stream::new(format, 3);
            stream.run(400);
            for window in [2, 8, 4, 6, 2, 10] {
                stream.playout.set_size(BufferSize::Frames(window));
                stream.run(2500);
            }
            let stats = stream.playout.stats();
            assert_eq!((stats.slipped, stats.lost, stats.late), (1 + 3 + 2 + 1 + 2 + 4, 0, 0), "{format:?}");
            let step = stream.largest_step();
            println!("{format:?}: step {step}");
            assert!(step < 1.5, "{format:?}: step {step}");
            assert!(stream.heard.iter().all(|value| value.abs() < 0.75), "{format:?}");
        }
    }
}

#[test]
fn lost_frames_do_not_click() {
    for quality in [Quality::High, Quality::Max] {
        for format in formats(quality) {
            let mut stream = Stream::new(format, 3);
            for index in 0..2000 {
                // Single ones, pairs, and runs.
                stream.send(index % 50 != 7 && index % 170 != 8 && index % 500 < 480);
                stream.play();
            }
            let step = stream.largest_step();
            println!("{format:?}: step {step}, {} concealed", stream.count(Played::Concealed));
            assert!(stream.count(Played::Concealed) > 100);
            assert!(step < 1.5, "{format:?}: step {step}");
        }
    }
}
