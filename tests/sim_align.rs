//! "Me, aligned" on the virtual clock: our own component in the full mix and the delayed dry sound lie on each other,
//! whatever the host, the network, the format and the buffers, and nothing is called exact that is not.

use std::f64::consts::TAU;
use std::time::Duration;

use jamulet::client::{
    Alignment, BufferSettings, ConnectionState, FrameChoice, Output, Settings, StreamSettings,
};
use jamulet::server::Config;
use jamulet::units::{BufferSize, FrameSize, Layout, Quality};
use jamulet_testkit::netem::{LinkConfig, SplitMix64};
use jamulet_testkit::sim::{Blocks, Jam, Musician, SERVER, Source};

/// The longest that anything is waited for.
const LIMIT: Duration = Duration::from_secs(30);
/// Sound that is compared.
const COMPARED: Duration = Duration::from_secs(2);

/// One musician in one session.
#[derive(Clone)]
struct Case {
    rate_hz: f64,
    blocks: Blocks,
    link: LinkConfig,
    stream: StreamSettings,
    buffers: BufferSettings,
    tick: FrameSize,
    seed: u64,
}

impl Case {
    fn new(rate_hz: f64, block: usize) -> Self {
        Self {
            rate_hz,
            blocks: Blocks::Constant(block),
            link: steady(),
            stream: StreamSettings::default(),
            buffers: BufferSettings::default(),
            tick: FrameSize::Samples128,
            seed: 1,
        }
    }

    /// Alone on a server.
    fn jam(&self, source: Source) -> Jam {
        let mut jam = Jam::new(Config { frame: self.tick, ..Config::default() }, self.seed);
        jam.musicians.push(self.musician(9, source));
        jam
    }

    /// On a track with all outputs.
    fn musician(&self, host: u8, source: Source) -> Musician {
        let settings = Settings { stream: self.stream, buffers: self.buffers, ..Settings::default() };
        let address = ([192, 0, 2, host], 50_000).into();
        let (blocks, link, seed) = (self.blocks.clone(), self.link, self.seed + u64::from(host));
        let mut musician = Musician::new(address, settings, self.rate_hz, blocks, source, link, seed);
        musician.multi = true;
        musician.handle.connect(SERVER);
        musician
    }

    /// Samples by which both may differ.
    fn tolerance(&self) -> i64 {
        if self.rate_hz == 48_000.0 { 1 } else { 2 }
    }

    fn samples(&self, duration: Duration) -> usize {
        (duration.as_secs_f64() * self.rate_hz) as usize
    }
}

fn steady() -> LinkConfig {
    LinkConfig { delay: Duration::from_millis(5), ..LinkConfig::default() }
}

fn jittery() -> LinkConfig {
    LinkConfig { delay: Duration::from_millis(15), jitter: Duration::from_millis(6), loss: 0.005, ..steady() }
}

/// Somebody plays: notes of random pitch and length with a plucked beginning, at −12 dBFS or so.
fn music(rate_hz: f64, seed: u64) -> Source {
    let mut rng = SplitMix64::new(seed);
    let (mut left, mut age, mut tone_hz, mut noise) = (0_u64, 0_u64, 220.0, 0.0);
    let mut last = 0;
    Box::new(move |index| {
        assert!(index == 0 || index == last + 1, "sources are asked in order");
        last = index;
        if left == 0 {
            left = (rate_hz * (0.1 + 0.3 * unit(&mut rng))) as u64;
            tone_hz = 110.0 * 2f64.powf((unit(&mut rng) * 36.0).floor() / 12.0);
            age = 0;
        }
        (left, age) = (left - 1, age + 1);
        let seconds = age as f64 / rate_hz;
        noise = 0.7 * noise + 0.3 * (2.0 * unit(&mut rng) - 1.0);
        let partials: f64 = (1..=5)
            .map(|partial| (TAU * tone_hz * f64::from(partial) * seconds).sin() / f64::from(partial))
            .sum();
        let pluck = 0.3 * noise * (-seconds / 0.01).exp();
        let tone = 0.2 * partials * (-seconds / 0.3).exp() * (seconds / 0.003).min(1.0);
        [(tone + pluck) as f32, (0.8 * tone - 0.2 * pluck) as f32]
    })
}

fn unit(rng: &mut SplitMix64) -> f64 {
    rng.below(1 << 24) as f64 / f64::from(1 << 24)
}

/// By how many samples `late` is behind `early`, at most `reach` either way.
fn lead(early: &[f32], late: &[f32], reach: i64) -> i64 {
    let at = |shift: i64| -> f64 {
        let (early, late) =
            if shift >= 0 { (early, &late[shift as usize..]) } else { (&early[-shift as usize..], late) };
        early.iter().zip(late).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    (-reach..=reach).max_by(|a, b| at(*a).total_cmp(&at(*b))).expect("some shifts")
}

fn alignment(jam: &Jam) -> Alignment {
    jam.musicians[0].handle.snapshot().alignment
}

fn is_exact(jam: &Jam) -> bool {
    matches!(alignment(jam), Alignment::Exact(_))
}

/// Goes on until `condition` holds.
fn run_until(jam: &mut Jam, what: &str, condition: impl Fn(&Jam) -> bool) {
    let end = jam.now + LIMIT;
    while !condition(jam) {
        assert!(jam.now < end, "{what}: not within {LIMIT:?}, {:?}", jam.musicians[0].handle.snapshot());
        jam.run(Duration::from_millis(50));
    }
}

/// How far "me, aligned" is behind our own component in what came back, in the next two seconds.
fn compare(jam: &mut Jam, case: &Case) -> i64 {
    let start = jam.musicians[0].aligned[0].len();
    jam.run(COMPARED);
    let musician = &jam.musicians[0];
    lead(
        &musician.others[0][start..],
        &musician.aligned[0][start..],
        case.samples(Duration::from_millis(40)) as i64,
    )
}

/// Connects, waits for the alignment and compares, until the server's buffer has settled, too.
fn check(what: &str, case: &Case) {
    let mut jam = case.jam(music(case.rate_hz, case.seed));
    run_until(&mut jam, what, is_exact);
    let found = jam.now;
    for _ in 0..4 {
        let was_exact = is_exact(&jam);
        let off = compare(&mut jam, case);
        println!("{what}: exact after {found:?}, {:?}, off by {off}", alignment(&jam));
        // A buffer may have changed within the comparison: then the next one counts.
        if was_exact && is_exact(&jam) && off.abs() <= case.tolerance() {
            return;
        }
    }
    panic!("{what}: not aligned");
}

#[test]
fn at_every_rate_and_block() {
    for rate_hz in [44_100.0, 48_000.0, 88_200.0, 96_000.0, 192_000.0] {
        for block in [32, 37, 128, 480, 1024] {
            check(&format!("{rate_hz} Hz, {block}"), &Case::new(rate_hz, block));
        }
    }
}
