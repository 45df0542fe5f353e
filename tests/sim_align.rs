//! "Me, aligned" on the virtual clock: our own component in the full mix and the delayed dry sound lie on each other,
//! whatever the host, the network, the format and the buffers, and nothing is called exact that is not.

use std::cell::Cell;
use std::f64::consts::TAU;
use std::rc::Rc;
use std::time::Duration;

use jamulet::client::{Alignment, BufferSettings, FrameChoice, Output, Settings, StreamSettings};
use jamulet::server::Config;
use jamulet::units::{BufferSize, FrameSize, Layout, Quality};
use jamulet_testkit::netem::{LinkConfig, SplitMix64};
use jamulet_testkit::signal::{self, rms};
use jamulet_testkit::sim::{Blocks, Jam, Musician, SERVER, Source};

/// The longest that anything is waited for.
const LIMIT: Duration = Duration::from_secs(30);
/// Sound that is compared.
const COMPARED: Duration = Duration::from_secs(2);

/// A change of the server's buffer is noticed within this much of music.
const NOTICED: Duration = Duration::from_secs(3);

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
fn lead(early: &[f32], late: &[f32], reach: usize) -> i64 {
    let reference = &early[reach..early.len() - reach];
    let found = signal::delay(reference, late, 2 * reach).expect("both are no silence");
    found.samples as i64 - reach as i64
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

/// How far "me, aligned" is behind our own component in what came back, in the next two seconds; `None` when a buffer
/// has changed meanwhile; the server's is noticed by what comes back.
fn compare(jam: &mut Jam, case: &Case) -> Option<i64> {
    let state = |jam: &Jam| {
        let snapshot = jam.musicians[0].handle.snapshot();
        (snapshot.alignment, snapshot.server_buffer_frames)
    };
    let (start, before) = (jam.musicians[0].aligned[0].len(), state(jam));
    jam.run(COMPARED);
    let musician = &jam.musicians[0];
    let reach = case.samples(Duration::from_millis(40));
    let off = lead(&musician.others[0][start..], &musician.aligned[0][start..], reach);
    jam.run(NOTICED);
    let after = state(jam);
    println!("  {before:?} -> {after:?}: off by {off}");
    let (Alignment::Exact(first), Alignment::Exact(last)) = (before.0, after.0) else { return None };
    // Clocks move it by a sample now and then.
    let same = (first - last).abs() < 0.3 && before.1 == after.1;
    same.then_some(off)
}

/// Connects, waits for the alignment, and compares as soon as nothing changes.
fn check(what: &str, case: &Case) {
    let mut jam = case.jam(music(case.rate_hz, case.seed));
    run_until(&mut jam, what, is_exact);
    println!("{what}: exact after {:?}", jam.now);
    check_now(what, case, &mut jam);
}

fn check_now(what: &str, case: &Case, jam: &mut Jam) {
    let mut compared = 0;
    for _ in 0..8 {
        if let Some(off) = compare(jam, case) {
            assert!(off.abs() <= case.tolerance(), "{what}: called exact, but off by {off} samples");
            compared += 1;
        }
        if compared == 2 {
            return;
        }
    }
    panic!("{what}: never exact for two seconds: {:?}", jam.musicians[0].handle.snapshot());
}

#[test]
fn at_every_rate_and_block() {
    for rate_hz in [44_100.0, 48_000.0, 88_200.0, 96_000.0, 192_000.0] {
        for block in [32, 37, 128, 480, 1024] {
            check(&format!("{rate_hz} Hz, {block}"), &Case::new(rate_hz, block));
        }
    }
}

#[test]
fn in_every_format_on_both_ticks() {
    for tick in [FrameSize::Samples64, FrameSize::Samples128] {
        for frame in [FrameChoice::Samples64, FrameChoice::Samples128] {
            for layout in [Layout::Mono, Layout::Stereo] {
                for quality in [Quality::Low, Quality::Normal, Quality::High, Quality::Max] {
                    let stream = StreamSettings { quality, layout, frame };
                    let case = Case { stream, tick, ..Case::new(48_000.0, 128) };
                    check(&format!("tick {tick:?}, {stream:?}"), &case);
                }
            }
        }
    }
}

#[test]
fn over_networks_that_jitter_and_lose() {
    for rate_hz in [44_100.0, 48_000.0, 96_000.0] {
        for seed in [1, 2] {
            // Buffers that last: what changes is not compared.
            let buffers = BufferSettings {
                client: BufferSize::Frames(12),
                server: BufferSize::Frames(12),
                ..BufferSettings::default()
            };
            let link = LinkConfig { jitter: Duration::from_millis(2), ..jittery() };
            let case = Case { link, seed, buffers, ..Case::new(rate_hz, 256) };
            check(&format!("{rate_hz} Hz, jitter, {seed}"), &case);
        }
    }
}

/// The clocks differ, and both directions are resampled by a trace.
#[test]
fn while_clocks_drift() {
    for (rate_hz, ppm) in [(48_000.0, 100.0), (44_100.0, -300.0), (96_000.0, 50.0)] {
        let case = Case::new(rate_hz, 128);
        let mut jam = case.jam(Box::new(|_| [0.0; 2]));
        jam.musicians = vec![case.musician(9, music(rate_hz, 5)).with_clock(ppm)];
        let what = format!("{rate_hz} Hz, {ppm} ppm");
        run_until(&mut jam, &what, is_exact);
        for minute in 0..3 {
            check_now(&format!("{what}, minute {minute}"), &case, &mut jam);
            jam.run(Duration::from_secs(45));
        }
    }
}

#[test]
fn ten_reconnects_at_different_buffer_sizes() {
    for rate_hz in [48_000.0, 44_100.0] {
        let case = Case::new(rate_hz, 128);
        let mut jam = case.jam(music(rate_hz, 3));
        let sizes = [2, 4, 8, 3, 20, 6, 5, 14, 10, 4];
        for (index, frames) in sizes.into_iter().enumerate() {
            let what = format!("{rate_hz} Hz, connect {index}");
            let server = BufferSize::Frames(sizes[sizes.len() - 1 - index]);
            let buffers =
                BufferSettings { client: BufferSize::Frames(frames), server, ..BufferSettings::default() };
            jam.musicians[0].handle.set_settings(&Settings { buffers, ..Settings::default() });
            jam.musicians[0].handle.connect(SERVER);
            run_until(&mut jam, &what, |jam| !is_exact(jam));
            run_until(&mut jam, &what, is_exact);
            check_now(&what, &case, &mut jam);
        }
    }
}

/// Others are louder and play at the same time; one of them plays what we play, on a clock of his own.
#[test]
fn beneath_others_and_in_unison() {
    let case = Case::new(48_000.0, 128);
    let mut jam = case.jam(quiet(music(48_000.0, 3)));
    jam.musicians.push(case.musician(10, music(48_000.0, 77)));
    jam.musicians.push(case.musician(11, music(48_000.0, 78)));
    run_until(&mut jam, "beneath others", is_exact);
    let exact = alignment(&jam);
    // What others play disturbs the judge, too: so they fall silent for him.
    jam.musicians[1].controls.mute_me = true;
    jam.musicians[2].controls.mute_me = true;
    check_now("beneath others", &case, &mut jam);
    assert_eq!(alignment(&jam), exact, "it was right beneath the others");

    let mut jam = case.jam(music(48_000.0, 3));
    let unison = Case { link: LinkConfig { delay: Duration::from_millis(8), ..steady() }, ..case.clone() };
    jam.musicians.push(unison.musician(10, music(48_000.0, 3)));
    for _ in 0..20 {
        jam.run(Duration::from_secs(1));
        if is_exact(&jam) {
            break;
        }
    }
    let found = alignment(&jam);
    jam.musicians[1].controls.mute_me = true;
    run_until(&mut jam, "unison", is_exact);
    check_now("unison", &case, &mut jam);
    println!("in unison: {found:?}, alone: {:?}", alignment(&jam));
    if matches!(found, Alignment::Exact(_)) {
        assert_eq!(found, alignment(&jam), "what was called exact in unison is right");
    }
}

fn quiet(mut source: Source) -> Source {
    Box::new(move |index| source(index).map(|sample| 0.15 * sample))
}

#[test]
fn what_cannot_be_told_is_not_called_exact() {
    let rate_hz = 48_000.0;
    let tone = |hz: f64| -> Source {
        Box::new(move |index| [(0.25 * (TAU * hz * index as f64 / rate_hz).sin()) as f32; 2])
    };
    let square = |period: u64| -> Source {
        Box::new(move |index| [if index % period < period / 2 { 0.2 } else { -0.2 }; 2])
    };
    let silence: Source = Box::new(|_| [0.0; 2]);
    let sources = [
        ("silence", silence),
        ("440 Hz", tone(440.0)),
        ("750 Hz", tone(750.0)),
        ("3 kHz", tone(3000.0)),
        ("square, 64 samples", square(64)),
        ("square, 128 samples", square(128)),
    ];
    for (what, source) in sources {
        let case = Case::new(rate_hz, 128);
        let mut jam = case.jam(source);
        for _ in 0..40 {
            jam.run(Duration::from_millis(500));
            assert!(!is_exact(&jam), "{what} was called exact: {:?}", alignment(&jam));
        }
        let Alignment::Estimated(estimated) = alignment(&jam) else {
            panic!("{what}: {:?} after 20 s", alignment(&jam));
        };
        let mut jam = case.jam(music(rate_hz, 1));
        jam.run(Duration::from_secs(20));
        let Alignment::Exact(exact) = alignment(&jam) else { panic!("music: {:?}", alignment(&jam)) };
        println!("{what}: estimated {estimated} ms, in truth {exact} ms");
        assert!((estimated - exact).abs() < 15.0, "{what}: estimated {estimated} ms, in truth {exact} ms");
    }
}

/// Our own channel is in the mix for as long as it takes to measure, and then no longer; what was measured stays.
#[test]
fn others_only_are_alone_once_the_lag_is_known() {
    let buffers = BufferSettings {
        client: BufferSize::Frames(6),
        server: BufferSize::Frames(6),
        ..BufferSettings::default()
    };
    let case = Case { buffers, ..Case::new(48_000.0, 128) };
    let level = |jam: &Jam| {
        let others = &jam.musicians[0].others[0];
        rms(&others[others.len() - 24_000..])
    };
    for source in [music(48_000.0, 4), tone_without_end()] {
        let mut jam = case.jam(source);
        jam.musicians[0].controls.output = Output::Others;
        jam.run(Duration::from_secs(2));
        assert!(level(&jam) > 0.001, "we hear ourselves at first");
        jam.run(Duration::from_secs(5));
        assert!(level(&jam) < 1e-5, "we do not hear ourselves: {}", level(&jam));
        let alone = alignment(&jam);
        jam.run(Duration::from_secs(20));
        assert_eq!(alignment(&jam), alone, "nothing has happened");
        jam.musicians[0].controls.output = Output::Mix;
        jam.run(Duration::from_secs(4));
        assert!(level(&jam) > 0.001, "we are back in the mix");
        if matches!(alone, Alignment::Exact(_)) {
            check_now("back in the mix", &case, &mut jam);
            assert_eq!(alignment(&jam), alone, "what was measured at connect was right all the time");
        }
    }
}

fn tone_without_end() -> Source {
    Box::new(|index| [(0.25 * (TAU * 500.0 * index as f64 / 48_000.0).sin()) as f32; 2])
}

/// While the transport rolls nothing shrinks, not even when the network has become better; what has to grow is
/// counted. When it stops, what was withheld is made up for.
#[test]
fn nothing_shrinks_while_the_transport_rolls() {
    let case = Case::new(48_000.0, 128);
    let mut jam = case.jam(music(48_000.0, 6));
    run_until(&mut jam, "the alignment", is_exact);
    jam.run(Duration::from_secs(10));
    jam.musicians[0].controls.rolling = true;
    let ms = |jam: &Jam| match alignment(jam) {
        Alignment::Exact(ms) | Alignment::Estimated(ms) => ms,
        Alignment::Unknown => panic!("unknown while rolling"),
    };
    let buffer = |jam: &Jam| jam.musicians[0].handle.snapshot().client_buffer_frames;
    let (mut least, mut smallest) = (ms(&jam), buffer(&jam));
    let before = least;
    for second in 0..80 {
        match second {
            5 => jam.musicians[0].set_link(jittery()),
            25 => jam.musicians[0].set_link(steady()),
            _ => {}
        }
        jam.run(Duration::from_secs(1));
        // A sample or two are the clocks'.
        assert!(ms(&jam) > least - 0.2, "second {second}: from {least} to {} ms", ms(&jam));
        assert!(buffer(&jam) >= smallest, "second {second}: from {smallest} to {} frames", buffer(&jam));
        (least, smallest) = (least.max(ms(&jam)), buffer(&jam));
    }
    let grown = jam.musicians[0].handle.snapshot().alignment_grown;
    println!("grew {grown} times, from {before} to {least} ms");
    assert!(grown > 0 && least > before + 2.0, "the jitter made it grow");
    jam.musicians[0].controls.rolling = false;
    jam.run(Duration::from_secs(60));
    assert!(ms(&jam) < least - 2.0, "after the stop it shrinks: {} ms", ms(&jam));
    assert_eq!(jam.musicians[0].handle.snapshot().alignment_grown, grown, "only growth while rolling counts");
    check_now("after the stop", &case, &mut jam);
}

/// What a musician plays twice a second: 20 ms that sound like nobody else's.
struct Click {
    rate_hz: f64,
    sound: Vec<f32>,
}

impl Click {
    /// Forty tones of random pitch up to 8 kHz at once: the same sound at every rate.
    fn new(rate_hz: f64, seed: u64) -> Self {
        let mut rng = SplitMix64::new(seed);
        let tones: Vec<_> = (0..40).map(|_| [200.0 + 7800.0 * unit(&mut rng), unit(&mut rng)]).collect();
        let sample = |index: usize| {
            let seconds = index as f64 / rate_hz;
            let sound: f64 = tones.iter().map(|[hz, turns]| (TAU * (hz * seconds + turns)).sin()).sum();
            (0.08 * sound * (-seconds / 0.004).exp() * (seconds / 0.0005).min(1.0)) as f32
        };
        Self { rate_hz, sound: (0..(0.020 * rate_hz) as usize).map(sample).collect() }
    }

    fn period(&self) -> usize {
        (self.rate_hz / 2.0) as usize
    }

    /// Played so many samples after each half second.
    fn played(&self, after: Rc<Cell<i64>>) -> Source {
        let (sound, period) = (self.sound.clone(), self.period() as i64);
        Box::new(move |index| {
            let age = (index as i64 - after.get()).rem_euclid(period);
            [sound.get(age as usize).copied().unwrap_or_default(); 2]
        })
    }

    /// How many samples after the half second that begins with the sample `start` it is heard.
    fn heard(&self, recording: &[f32], start: usize) -> i64 {
        let window = &recording[start..start + self.period() + self.sound.len()];
        let found = signal::delay(&self.sound, window, self.period()).expect("no silence");
        assert!(found.correlation > 0.4, "a click is heard: {found:?}");
        found.samples as i64
    }

    /// How much later than `other` this one is heard, whichever is the nearest.
    fn behind(&self, mine: i64, other: i64) -> i64 {
        let half = self.period() as i64 / 2;
        (mine - other + half).rem_euclid(self.period() as i64) - half
    }
}

/// People who play together hear both through the same mix, and move until both coincide *there*: at the server. So a
/// partner's clicks leave him a whole round trip of his before they are heard, and in our recording they lie on our own,
/// as late as these come back: on "me, aligned", although we are not in what we record of the others.
#[test]
fn a_partner_who_locks_his_returned_clicks_to_ours_lands_on_them() {
    for (my_hz, his_hz, his_block) in [
        (48_000.0, 48_000.0, 128),
        (44_100.0, 48_000.0, 64),
        (48_000.0, 96_000.0, 480),
        (96_000.0, 44_100.0, 256),
    ] {
        let what = format!("we at {my_hz} Hz, he at {his_hz} Hz in blocks of {his_block}");
        let buffers = BufferSettings {
            client: BufferSize::Frames(6),
            server: BufferSize::Frames(6),
            ..BufferSettings::default()
        };
        let stream = StreamSettings { quality: Quality::High, ..StreamSettings::default() };
        let mine = Case { buffers, stream, ..Case::new(my_hz, 128) };
        let farther = LinkConfig { delay: Duration::from_millis(13), ..steady() };
        let his = Case { link: farther, ..Case { rate_hz: his_hz, ..mine.clone() } };
        let his = Case { blocks: Blocks::Constant(his_block), ..his };
        let (my_click, his_click) = (Click::new(my_hz, 1), Click::new(his_hz, 2));
        let (my_click_at_his, his_click_at_mine) = (Click::new(his_hz, 1), Click::new(my_hz, 2));
        let after = Rc::new(Cell::new(his.samples(Duration::from_millis(170)) as i64));

        let mut jam = mine.jam(my_click.played(Rc::default()));
        jam.musicians.push(his.musician(10, his_click.played(Rc::clone(&after))));
        jam.musicians[0].controls.output = Output::Others;
        run_until(&mut jam, &what, is_exact);
        jam.run(Duration::from_secs(2));
        let half_second = |jam: &Jam, musician: usize, period: usize| {
            let now = jam.musicians[musician].heard[0].len();
            now / period * period
        };
        // He listens, moves, and listens again.
        let mut late = Vec::new();
        for _ in 0..3 {
            jam.run(Duration::from_secs(2));
            let start = half_second(&jam, 1, his_click.period()) - 2 * his_click.period();
            let heard = &jam.musicians[1].heard[0];
            let late_now =
                his_click.behind(his_click.heard(heard, start), my_click_at_his.heard(heard, start));
            after.set(after.get() - late_now);
            late.push(late_now);
        }
        assert!(late[0].abs() > 500, "{what}: he had to move at all: {late:?}");
        assert!(late[2].abs() <= 1, "{what}: he has locked: {late:?}");

        let exact = alignment(&jam);
        let mut lands = Vec::new();
        let mut without = Vec::new();
        jam.run(Duration::from_secs(6));
        let end = half_second(&jam, 0, my_click.period());
        for clicks_ago in 2..10 {
            let start = end - clicks_ago * my_click.period();
            let musician = &jam.musicians[0];
            let his = his_click_at_mine.heard(&musician.others[0], start);
            lands.push(my_click.behind(his, my_click.heard(&musician.aligned[0], start)));
            without.push(my_click.behind(his, 0));
        }
        println!(
            "{what}: {exact:?}, he was late by {late:?}, lands {lands:?} behind us (unaligned {})",
            without[0]
        );
        assert!(is_exact(&jam) && alignment(&jam) == exact, "{what}: nothing has happened");
        assert!(lands.iter().all(|lands| lands.abs() <= mine.tolerance()), "{what}: {lands:?}");
        assert!(
            without.iter().all(|late| late.abs() > 500),
            "{what}: alignment is what does it: {without:?}"
        );
    }
}
