//! The delay that is shown against the delay that is there: noise through host, client, network, server and back,
//! on the virtual clock.

use std::time::Duration;

use jamulet::client::{BufferSettings, FrameChoice, Settings, StreamSettings};
use jamulet::server::Config;
use jamulet::units::{BufferSize, FrameSize, Layout, Quality};
use jamulet_testkit::netem::LinkConfig;
use jamulet_testkit::signal;
use jamulet_testkit::sim::{Blocks, Jam, Musician, SERVER};

/// The server's fade-in, the buffers' sizes and the means of two seconds.
const SETTLING: Duration = Duration::from_secs(12);
/// The figure is looked at this often …
const LOOK: Duration = Duration::from_millis(250);
/// … and this many times.
const LOOKS: usize = 32;

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
        buffers: BufferSettings { client: case.buffers[0], server: case.buffers[1] },
        ..Settings::default()
    };
    let link = LinkConfig {
        delay: Duration::from_millis(way_ms),
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
    // Every connection meets the server's tick at another moment.
    jam.run(SETTLING + Duration::from_micros(seed * 617 % 2667));

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
        assert!(found.correlation > 0.5, "{case:?}: {found:?}");
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

fn check(case: Case) {
    let outcome = run(case);
    assert!(outcome.error_frames().abs() < 1.0, "{case:?}: {outcome:?}");
}

#[test]
fn probe() {
    for seed in 1..6 {
        check2(Case { seed, ..CASE });
    }
    for block in [32, 64, 100, 256, 512, 1024] {
        check2(Case { block, ..CASE });
    }
    for jitter_ms in [1, 3, 10] {
        for seed in 1..4 {
            check2(Case { jitter_ms, seed, ..CASE });
        }
    }
    for frame in [FrameChoice::Samples64, FrameChoice::Samples128] {
        for tick in [FrameSize::Samples64, FrameSize::Samples128] {
            for quality in [Quality::Max, Quality::High] {
                check2(Case { frame, tick, quality, ..CASE });
            }
        }
    }
    for rate_hz in [44_100.0, 96_000.0] {
        for block in [64, 500] {
            check2(Case { rate_hz, block, ..CASE });
        }
    }
    for size in [1, 2, 3, 4, 8, 15] {
        for seed in 1..3 {
            check2(Case { buffers: [BufferSize::Frames(size); 2], seed, way_ms: 30, ..CASE });
        }
    }
}
fn check2(case: Case) {
    run(case);
}
