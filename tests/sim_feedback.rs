//! The track's input gets the session back: what goes round and grows is muted, soon and with a word; music never is.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use jamulet::audio::Decoder;
use jamulet::client::{BufferSettings, Controls, Settings, StreamSettings};
use jamulet::protocol::PacketLayout;
use jamulet::server::Config;
use jamulet::units::{BufferSize, FrameSize, Layout, Quality, StreamFormat, Time};
use jamulet_testkit::netem::{LinkConfig, SplitMix64};
use jamulet_testkit::sim::{Blocks, Jam, Musician, SERVER, Source};
use jamulet_testkit::{part, signal};

const RATE_HZ: f64 = 48_000.0;
/// Half of full scale: −6 dBFS.
const LOUD: f32 = 0.5;
/// What is sent may be louder than that for so long, all in all, before it is muted.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Where levels are taken.
const WINDOW: Duration = Duration::from_millis(10);

/// A way around.
#[derive(Clone, Copy, Debug)]
struct Round {
    gain: f32,
    /// Of the network, there and back, in ms.
    ping_ms: u64,
    quality: Quality,
    block: usize,
    /// From the output to the input, beyond the block, in ms.
    delay_ms: u64,
    /// It begins after so many seconds.
    after: u64,
}

const ROUND: Round =
    Round { gain: 1.1, ping_ms: 20, quality: Quality::Normal, block: 128, delay_ms: 0, after: 0 };

/// What the client chooses by itself.
fn frame(round: Round) -> FrameSize {
    if round.block <= 64 { FrameSize::Samples64 } else { FrameSize::Samples128 }
}

fn jam(round: Round, source: Source) -> Jam {
    let stream = StreamSettings { quality: round.quality, ..StreamSettings::default() };
    let frame = frame(round);
    let small = BufferSize::Frames(4);
    let buffers = BufferSettings { client: small, server: small, ..BufferSettings::default() };
    let settings = Settings { stream, buffers, ..Settings::default() };
    let mut jam = Jam::new(Config { frame, ..Config::default() }, 1);
    let link = LinkConfig { delay: Duration::from_micros(500 * round.ping_ms), ..LinkConfig::default() };
    let address = ([192, 0, 2, 9], 50_000).into();
    let delay = (round.delay_ms as f64 * RATE_HZ / 1000.0) as usize;
    let musician = Musician::new(address, settings, RATE_HZ, Blocks::Constant(round.block), source, link, 7)
        .with_loop(0.0, delay);
    musician.handle.connect(SERVER);
    jam.musicians.push(musician);
    jam
}

/// What reaches the server: the peak of each [`WINDOW`].
fn peaks_at_the_server(jam: &mut Jam, round: Round) -> Rc<RefCell<Vec<f32>>> {
    let format = StreamFormat::stock(frame(round), Layout::Stereo, round.quality);
    let layout = PacketLayout { format, block_factor: 1, counter: true };
    let mut decoder = Decoder::new(format).expect("a stock format");
    let peaks = Rc::new(RefCell::new(Vec::new()));
    let out = Rc::clone(&peaks);
    let window = (WINDOW.as_secs_f64() * RATE_HZ) as usize;
    let (mut peak, mut samples) = (0.0_f32, 0);
    jam.tap = Some(Box::new(move |_, _, packet| {
        for (frame, _) in layout.frames(packet).into_iter().flatten() {
            let mut pcm = [0.0; 256];
            let pcm = &mut pcm[..2 * format.frame.samples()];
            decoder.decode(Some(frame), pcm);
            for pair in pcm.as_chunks::<2>().0 {
                peak = peak.max(pair[0].abs());
                samples += 1;
                if samples == window {
                    out.borrow_mut().push(peak);
                    (peak, samples) = (0.0, 0);
                }
            }
        }
    }));
    peaks
}

fn loud_time(peaks: &[f32]) -> Duration {
    WINDOW * peaks.iter().filter(|peak| **peak > LOUD).count() as u32
}

fn is_muted(jam: &Jam) -> bool {
    jam.musicians[0].handle.snapshot().feedback
}

fn tone(hz: f64, amplitude: f32) -> Source {
    Box::new(move |index| {
        let turns = (hz * index as f64 / RATE_HZ).fract();
        [amplitude * (std::f64::consts::TAU * turns).sin() as f32; 2]
    })
}

/// The demo's parts over and over, and what can be played on them.
fn music(stereo: part::Stereo, amplitude: f32) -> Source {
    Box::new(move |index| {
        let index = index as usize % stereo[0].len();
        [amplitude * stereo[0][index], amplitude * stereo[1][index]]
    })
}

fn noise(seed: u64, amplitude: f32, shape: impl Fn(f64) -> f64 + 'static) -> Source {
    let sound = signal::noise(seed, amplitude, 480_000);
    Box::new(move |index| {
        let gain = shape(index as f64 / RATE_HZ) as f32;
        let index = index as usize;
        [gain * sound[index % sound.len()], gain * sound[(index + 77_777) % sound.len()]]
    })
}

/// What someone plays while the loop is there; none of it is loud by itself.
fn sources() -> Vec<(&'static str, Source)> {
    vec![
        ("a guitar", music(part::guitar(20.0), 0.3)),
        ("a rhythm", music(part::rhythm(20.0), 0.3)),
        ("a tone", tone(440.0, 0.05)),
        ("a room", noise(3, 0.003, |_| 1.0)),
        ("bursts", noise(4, 0.1, |time| f64::from(u8::from(time.fract() < 0.1)))),
    ]
}

/// Goes round until it is muted, or for `limit`; how long what was sent was loud.
fn play(round: Round, what: &str, source: Source, limit: u64) -> (bool, Duration) {
    let mut jam = jam(round, source);
    let peaks = peaks_at_the_server(&mut jam, round);
    jam.run(Duration::from_secs(round.after));
    assert!(!is_muted(&jam), "{what}, {round:?}: before there is a loop");
    jam.musicians[0].loop_gain = round.gain;
    for _ in 0..limit * 20 {
        jam.run(Duration::from_millis(50));
        if is_muted(&jam) {
            break;
        }
    }
    let muted = is_muted(&jam);
    jam.run(Duration::from_millis(500));
    let loud = loud_time(&peaks.borrow());
    println!("{what}, {round:?}: muted {muted} after {:?}, loud for {loud:?}", jam.now);
    if muted {
        jam.run(Duration::from_secs(1));
        let after = peaks.borrow();
        // Joining over the longest way takes 1.5 s.
        let (arrived, wanted) = (WINDOW * after.len() as u32, jam.now.since(Time::ZERO));
        let is_judged = after.len() >= 100 && arrived + Duration::from_secs(2) > wanted;
        assert!(is_judged, "{what}, {round:?}: {arrived:?} of {wanted:?} arrived");
        let end = after[after.len() - 100..].iter().fold(0.0_f32, |most, peak| most.max(*peak));
        assert!(end < 1e-3, "{what}, {round:?}: still sent at {end}");
    }
    (muted, loud)
}

fn is_caught(round: Round) {
    for (what, source) in sources() {
        let (muted, loud) = play(round, what, source, 40);
        // Codecs take a little away each time: through them not everything above 1 grows.
        let grows = round.gain >= 1.5 || round.quality == Quality::Max;
        assert!(muted || !grows, "{what}, {round:?}: not muted, loud for {loud:?}");
        assert!(loud <= PATIENCE, "{what}, {round:?}: loud for {loud:?}");
    }
}

#[test]
fn what_grows_is_muted_at_any_gain_and_round_trip() {
    for gain in [1.1, 2.0, 4.0] {
        for ping_ms in [10, 50, 150] {
            is_caught(Round { gain, ping_ms, ..ROUND });
        }
    }
}

#[test]
fn what_grows_is_muted_in_any_format_and_later_as_well() {
    for quality in [Quality::Low, Quality::High, Quality::Max] {
        for (gain, after) in [(1.1, 0), (4.0, 15), (1.5, 15)] {
            is_caught(Round { gain, quality, after, ..ROUND });
        }
    }
}

#[test]
fn what_grows_through_a_loudspeaker_or_long_blocks_is_muted() {
    for (block, delay_ms) in [(64, 0), (512, 10), (128, 60), (2048, 0)] {
        for (gain, after) in [(1.2, 0), (3.0, 12)] {
            is_caught(Round { gain, block, delay_ms, after, ..ROUND });
        }
    }
}

/// Half of it comes back: an echo that dies away is not ours to judge.
#[test]
fn what_dies_away_is_not_muted() {
    for ping_ms in [10, 150] {
        for (what, source) in sources() {
            let (muted, _) = play(Round { gain: 0.5, ping_ms, ..ROUND }, what, source, 60);
            assert!(!muted, "{what}, {ping_ms} ms");
        }
    }
}

/// At the edge both is right, as long as it is not loud for long.
#[test]
fn what_hardly_dies_away_is_either_muted_or_not_loud() {
    for ping_ms in [10, 150] {
        for (what, source) in sources() {
            let (_, loud) = play(Round { gain: 0.99, ping_ms, ..ROUND }, what, source, 60);
            assert!(loud <= PATIENCE, "{what}, {ping_ms} ms: loud for {loud:?}");
        }
    }
}

/// The user's turn: muted until asked to send again, and then the guard is there as before.
#[test]
fn sending_goes_on_when_the_user_says_so_and_the_guard_stays() {
    let mut jam = jam(ROUND, tone(440.0, 0.2));
    let peaks = peaks_at_the_server(&mut jam, ROUND);
    let until_muted = |jam: &mut Jam| {
        for _ in 0..200 {
            jam.run(Duration::from_millis(50));
            if is_muted(jam) {
                return;
            }
        }
        panic!("not muted within ten seconds");
    };
    jam.musicians[0].loop_gain = 2.0;
    until_muted(&mut jam);
    jam.musicians[0].loop_gain = 0.0;
    jam.run(Duration::from_secs(5));
    assert!(is_muted(&jam), "it is the user's turn");
    assert!(peaks.borrow().last().is_some_and(|peak| *peak < 1e-3), "silence is sent");
    jam.musicians[0].handle.send_again();
    jam.run(Duration::from_secs(5));
    assert!(!is_muted(&jam));
    assert!(peaks.borrow().last().is_some_and(|peak| (0.15..0.25).contains(peak)), "the tone is sent");
    jam.musicians[0].loop_gain = 2.0;
    until_muted(&mut jam);
    // Another session is a new beginning.
    jam.musicians[0].loop_gain = 0.0;
    jam.musicians[0].handle.disconnect();
    jam.run(Duration::from_secs(2));
    jam.musicians[0].handle.connect(SERVER);
    jam.run(Duration::from_secs(5));
    assert!(!is_muted(&jam));
    assert!(peaks.borrow().last().is_some_and(|peak| (0.15..0.25).contains(peak)), "the tone is sent");
}

/// Two minutes of each: the same instrument comes back as it went, louder and softer, alone and with others.
#[test]
fn music_is_never_muted() {
    let swell = |seconds: f64| move |time: f64| 10f64.powf(-3.0 + 3.0 * (time / seconds).fract());
    let clap = |time: f64| 0.5 + 0.5 * (7.0 * time).sin() * (11.3 * time).sin();
    let crescendo = move |index: u64| {
        let time = index as f64 / RATE_HZ;
        let sound = (std::f64::consts::TAU * (220.0 * time).fract()).sin() * swell(5.0)(time);
        [sound as f32; 2]
    };
    let pad = move |index: u64| {
        let time = index as f64 / RATE_HZ;
        let voice = |hz: f64| (std::f64::consts::TAU * (hz * time).fract()).sin();
        [(0.2 * (voice(220.0) + voice(277.2) + voice(329.6))) as f32; 2]
    };
    let mut rng = SplitMix64::new(8);
    let loudnesses: Vec<f32> = (0..1000).map(|_| rng.below(1000) as f32 / 1000.0).collect();
    let pieces: Vec<(&str, Source)> = vec![
        ("a guitar", music(part::guitar(20.0), 1.0)),
        ("a rhythm", music(part::rhythm(20.0), 2.0)),
        ("a loud tone", tone(440.0, 0.9)),
        ("a pad", Box::new(pad)),
        ("a crescendo", Box::new(crescendo)),
        ("noise that swells", noise(1, 0.9, swell(3.0))),
        ("noise that swells fast", noise(1, 0.9, swell(0.4))),
        ("applause", noise(2, 0.7, clap)),
        ("bursts", noise(3, 0.9, |time| f64::from(u8::from((4.0 * time).fract() < 0.3)))),
        (
            "steps",
            Box::new(move |index| {
                // Another level every 25 ms, as the guard's own pattern might be.
                let level = loudnesses[(index / 1200) as usize % loudnesses.len()];
                [level * (std::f64::consts::TAU * (440.0 * index as f64 / RATE_HZ).fract()).sin() as f32; 2]
            }),
        ),
        ("silence", Box::new(|_| [0.0; 2])),
    ];
    for (what, source) in pieces {
        let mut jam = jam(Round { ping_ms: 30, ..ROUND }, source);
        for second in 0..120 {
            jam.run(Duration::from_secs(1));
            assert!(!is_muted(&jam), "{what}: in second {second}");
        }
    }
}

/// A partner in unison, one that is much louder, and faders that move.
#[test]
fn playing_with_others_and_moving_faders_mutes_nobody() {
    for (what, own, other) in [
        ("in unison", tone(440.0, 0.4), tone(440.0, 0.4)),
        ("with a band", music(part::guitar(20.0), 1.0), music(part::rhythm(20.0), 2.0)),
        ("the same part", music(part::rhythm(20.0), 1.0), music(part::rhythm(20.0), 1.0)),
        ("a loud partner", tone(440.0, 0.05), tone(440.0, 0.9)),
    ] {
        let mut jam = jam(Round { ping_ms: 30, ..ROUND }, own);
        let link = LinkConfig { delay: Duration::from_millis(12), ..LinkConfig::default() };
        let address = ([192, 0, 2, 10], 50_000).into();
        let blocks = Blocks::Constant(256);
        let partner = Musician::new(address, Settings::default(), RATE_HZ, blocks, other, link, 8);
        partner.handle.connect(SERVER);
        jam.musicians.push(partner);
        for second in 0..120_u16 {
            let level = 10f32.powf(-0.05 * f32::from(second * 7 % 12));
            jam.musicians[0].controls =
                Controls { send_gain: level, return_gain: 1.2 - level, dry_gain: 0.3, ..Controls::default() };
            jam.run(Duration::from_secs(1));
            for musician in &jam.musicians {
                assert!(!musician.handle.snapshot().feedback, "{what}: in second {second}");
            }
        }
    }
}
