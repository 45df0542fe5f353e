//! The delay that is shown against the delay that is there: noise through host, client, network, server and back,
//! on the virtual clock.

use std::time::Duration;

use jamulet::client::{BufferSettings, FrameChoice, Settings, StreamSettings};
use jamulet::server::Config;
use jamulet::units::{BufferSize, FrameSize, Layout, Quality, Safety};
use jamulet_testkit::netem::LinkConfig;
use jamulet_testkit::signal;
use jamulet_testkit::sim::{Blocks, Jam, Musician, SERVER};

/// The server's fade-in, the buffers' sizes and the means of two seconds.
const SETTLING: Duration = Duration::from_secs(12);
/// The figure is looked at this often …
const LOOK: Duration = Duration::from_millis(250);
/// … and this many times.
const LOOKS: usize = 12;

/// A player and what they have chosen.
#[derive(Clone, Copy, Debug)]
struct Case {
    rate_hz: f64,
    block: usize,
    frame: FrameChoice,
    tick: FrameSize,
    quality: Quality,
    buffers: [BufferSize; 2],
    way_ms: u64,
    jitter_ms: u64,
    seed: u64,
}

const CASE: Case = Case {
    rate_hz: 48_000.0,
    block: 128,
    frame: FrameChoice::Samples128,
    tick: FrameSize::Samples128,
    quality: Quality::Max,
    buffers: [BufferSize::Auto; 2],
    way_ms: 5,
    jitter_ms: 0,
    seed: 1,
};

/// What came of a case, in ms.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    /// Mean of the figures.
    shown: f64,
    /// Mean of the true delays at the same moments, the host's two blocks included.
    true_ms: f64,
    /// Largest distance of one figure from the true delay at its moment.
    worst: f64,
    frame_ms: f64,
}

impl Outcome {
    /// How far the figure is from the truth, in frames.
    fn error_frames(&self) -> f64 {
        (self.shown - self.true_ms) / self.frame_ms
    }
}

fn run(case: Case) -> Outcome {
    let Case { rate_hz, block, way_ms, jitter_ms, seed, .. } = case;
    let mut jam = Jam::new(Config { frame: case.tick, ..Config::default() }, seed);
    let settings = Settings {
        stream: StreamSettings { quality: case.quality, layout: Layout::Stereo, frame: case.frame },
        buffers: BufferSettings {
            client: case.buffers[0],
            server: case.buffers[1],
            safety: Safety::default(),
        },
        ..Settings::default()
    };
    let link = LinkConfig {
        // Every case meets the server's tick at another moment.
        delay: Duration::from_micros(1000 * way_ms + seed * 617 % 2667),
        jitter: Duration::from_millis(jitter_ms),
        ..LinkConfig::default()
    };
    let seconds = (SETTLING + LOOK * LOOKS as u32).as_secs_f64() + 1.0;
    let played = signal::noise(seed, 0.25, (seconds * rate_hz) as usize);
    let source = played.clone();
    let source = Box::new(move |index: u64| [source.get(index as usize).copied().unwrap_or(0.0); 2]);
    let address = ([192, 0, 2, 9], 50_000).into();
    let musician = Musician::new(address, settings, rate_hz, Blocks::Constant(block), source, link, seed);
    musician.handle.connect(SERVER);
    jam.musicians.push(musician);
    jam.run(SETTLING);

    let window = (LOOK.as_secs_f64() * rate_hz) as usize;
    let farthest = (0.4 * rate_hz) as usize;
    let (mut shown, mut true_ms) = (Vec::new(), Vec::new());
    let mut frame_ms = 0.0;
    for _ in 0..LOOKS {
        jam.run(LOOK);
        let musician = &jam.musicians[0];
        let snapshot = musician.handle.snapshot();
        let heard = &musician.heard[0];
        let start = heard.len() - window - farthest;
        let found = signal::delay(&played[start..start + window], &heard[start..], farthest).expect("sound");
        assert!(found.correlation > 0.3, "{case:?}: {found:?}");
        true_ms.push((found.samples + 2 * block) as f64 * 1000.0 / rate_hz);
        shown.push(f64::from(snapshot.delay.expect("measured").total_ms()));
        frame_ms = f64::from(snapshot.format.expect("connected").frame.millis());
    }
    let snapshot = jam.musicians[0].handle.snapshot();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let worst = shown.iter().zip(&true_ms).map(|(shown, heard)| (shown - heard).abs()).fold(0.0, f64::max);
    let outcome = Outcome { shown: mean(&shown), true_ms: mean(&true_ms), worst, frame_ms };
    println!(
        "{rate_hz} Hz, {block}, {:?}, tick {:?}, {:?}, buffers {:?} (now {}/{:?}), {way_ms} ms + {jitter_ms}: \
         shown {:.2}, true {:.2} ms, off {:+.2} frames, worst {:.2} ms, slipped {}, {:?}",
        case.frame,
        case.tick,
        case.quality,
        case.buffers,
        snapshot.client_buffer_frames,
        snapshot.server_buffer_frames,
        outcome.shown,
        outcome.true_ms,
        outcome.error_frames(),
        outcome.worst,
        snapshot.stats.slipped,
        snapshot.delay.expect("measured").parts().map(|(_, ms)| ms),
    );
    outcome
}

/// On a steady network the figure is right to the sample, or off by one frame where packets meet the server's tick
/// on its edge. With jitter it may be off by one frame of 128 samples and a quarter of the jitter: late frames count
/// less in either buffer's mean. Pings, which are few, make it move by up to the jitter.
fn check(case: Case) -> Outcome {
    let outcome = run(case);
    let frame_ms = outcome.frame_ms;
    let jitter_ms = case.jitter_ms as f64;
    let frames = if case.jitter_ms == 0 { 1.05 } else { (2.7 + 0.25 * jitter_ms) / frame_ms };
    assert!(outcome.error_frames().abs() < frames, "{case:?}: {outcome:?}");
    let worst = frames * frame_ms + jitter_ms;
    assert!(outcome.worst < worst, "{case:?}: {outcome:?}");
    outcome
}

#[test]
fn the_figure_is_true_for_every_block_and_frame() {
    let mut exact = Vec::new();
    for (seed, block) in [32, 64, 100, 128, 256, 480, 512, 1024].into_iter().enumerate() {
        for frame in [FrameChoice::Samples64, FrameChoice::Samples128] {
            let outcome = check(Case { block, frame, seed: seed as u64, ..CASE });
            exact.push(outcome.error_frames().abs() < 0.05);
        }
    }
    let most = exact.iter().filter(|exact| **exact).count();
    assert!(4 * most >= 3 * exact.len(), "only {most} of {} are exact", exact.len());
}

#[test]
fn the_figure_is_true_at_every_rate() {
    for rate_hz in [44_100.0, 88_200.0, 96_000.0] {
        for (seed, block) in [64, 256, 500].into_iter().enumerate() {
            check(Case { rate_hz, block, seed: seed as u64, ..CASE });
        }
    }
}

#[test]
fn the_figure_is_true_however_frames_meet_the_servers_tick() {
    for seed in 0..8 {
        for frame in [FrameChoice::Samples64, FrameChoice::Samples128] {
            for tick in [FrameSize::Samples64, FrameSize::Samples128] {
                check(Case { seed, frame, tick, ..CASE });
            }
        }
    }
}

#[test]
fn the_figure_is_true_for_every_coding() {
    for quality in [Quality::Low, Quality::Normal, Quality::High] {
        for frame in [FrameChoice::Samples64, FrameChoice::Samples128] {
            check(Case { quality, frame, ..CASE });
        }
    }
}

#[test]
fn the_figure_is_true_on_every_way() {
    for (seed, way_ms) in [0, 5, 15, 30].into_iter().enumerate() {
        for jitter_ms in [0, 1, 3, 10] {
            for frame in [FrameChoice::Samples64, FrameChoice::Samples128] {
                check(Case { way_ms, jitter_ms, frame, seed: seed as u64, ..CASE });
            }
        }
    }
}

#[test]
fn the_figure_is_true_for_buffers_of_a_fixed_size() {
    for (seed, size) in [1, 2, 3, 4, 8, 15, 20].into_iter().enumerate() {
        for frame in [FrameChoice::Samples64, FrameChoice::Samples128] {
            let [mine, theirs] = [BufferSize::Frames(size), BufferSize::Auto];
            for buffers in [[mine, mine], [mine, theirs], [theirs, mine]] {
                check(Case { buffers, frame, seed: seed as u64, ..CASE });
            }
        }
    }
}

/// Live changes of the safety slider: nothing is concealed, and the largest step of the sine is its own.
#[test]
fn the_safety_slider_is_moved_without_a_click() {
    const TONE_HZ: f64 = 440.0;
    const AMPLITUDE: f64 = 0.25;
    for quality in [Quality::Max, Quality::High] {
        for block in [64, 128, 512] {
            let settings = |safety| Settings {
                stream: StreamSettings { quality, layout: Layout::Stereo, frame: FrameChoice::Samples128 },
                buffers: BufferSettings { safety, ..BufferSettings::default() },
                ..Settings::default()
            };
            let mut jam = Jam::new(Config::default(), 1);
            let tone = Box::new(|index: u64| {
                let turns = (TONE_HZ * index as f64 / 48_000.0).fract();
                [(AMPLITUDE * (turns * std::f64::consts::TAU).sin()) as f32; 2]
            });
            let link = LinkConfig { delay: Duration::from_micros(5300), ..LinkConfig::default() };
            let address = ([192, 0, 2, 9], 50_000).into();
            let blocks = Blocks::Constant(block);
            let usual = settings(Safety::default());
            jam.musicians.push(Musician::new(address, usual, 48_000.0, blocks, tone, link, 1));
            jam.musicians[0].handle.connect(SERVER);
            jam.run(Duration::from_secs(8));
            // The network stands still for 20 ms: safe remembers it, tight soon does not.
            jam.musicians[0].set_link(LinkConfig { delay: Duration::from_micros(25_300), ..link });
            jam.run(Duration::from_millis(40));
            jam.musicians[0].set_link(link);
            jam.run(Duration::from_secs(4));
            let before = jam.musicians[0].handle.snapshot().stats;
            let start = jam.musicians[0].heard[0].len();
            let mut sizes = Vec::new();
            for safety in [Safety::TIGHT, Safety::SAFE, Safety::TIGHT, Safety::SAFE, Safety::default()] {
                jam.musicians[0].handle.set_settings(&settings(safety));
                jam.run(Duration::from_secs(10));
                sizes.push(jam.musicians[0].handle.snapshot().client_buffer_frames);
            }
            let after = jam.musicians[0].handle.snapshot().stats;
            let step = signal::sine_step(TONE_HZ, AMPLITUDE);
            let largest = signal::largest_step(&jam.musicians[0].heard[0][start..]) / step;
            let slipped = after.slipped - before.slipped;
            let what = format!("{quality:?}, {block}: sizes {sizes:?}, {slipped} slips, step {largest:.2}");
            println!("{what}");
            assert!(sizes[1] >= sizes[0] + 6 && sizes[3] >= sizes[2] + 6, "{what}");
            assert!(slipped > 0 && largest <= 1.5, "{what}");
            assert_eq!((after.concealed, after.late), (before.concealed, before.late), "{what}");
        }
    }
}
