//! A whole jam on the virtual clock: any host rate, any block size, every quality, against our server's core
//! and against a model of the stock server's jitter buffer.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use jamulet::audio::Decoder;
use jamulet::client::{ConnectionState, FrameChoice, Settings, StreamSettings};
use jamulet::protocol::PacketLayout;
use jamulet::server::Config;
use jamulet::units::{FrameSize, Layout, Quality, StreamFormat, Time};
use jamulet_testkit::netem::{LinkConfig, SplitMix64};
use jamulet_testkit::signal::{ToneFitter, db, largest_step, listen, median, sine_step};
use jamulet_testkit::sim::{Blocks, Jam, Musician, Source, StockBuffer};

const TONES_HZ: [f64; 2] = [440.0, 660.0];
const AMPLITUDE: f64 = 0.25;
/// The server fades a newcomer in for 3 s, and buffers find their size meanwhile.
const SETTLING: Duration = Duration::from_secs(5);
/// Where blocks vary, the largest has to be met first.
const SETTLING_VARYING: Duration = Duration::from_secs(12);
const LISTENING: Duration = Duration::from_secs(20);
/// Jamulus's own auto size in a network without jitter is 2 or 3 frames; this is little more.
const STOCK_FRAMES: usize = 4;
/// Signals are analysed as if they were sampled at this rate.
const ANALYSIS_HZ: f64 = 48_000.0;

/// What the client's resampler delays at 48 kHz, in samples: where the tones lie in a frame decides what little
/// there is in twelve bytes, and the bounds here were measured for tones that begin with one.
const UPLINK_DELAY: u64 = 16;

fn tones(rate_hz: f64) -> Source {
    Box::new(move |index| {
        TONES_HZ.map(|tone| {
            let turns = tone * (index + UPLINK_DELAY) as f64 / rate_hz;
            (AMPLITUDE * (turns.fract() * std::f64::consts::TAU).sin()) as f32
        })
    })
}

fn settings(layout: Layout, quality: Quality, frame: FrameChoice) -> Settings {
    Settings { stream: StreamSettings { quality, layout, frame }, ..Settings::default() }
}

/// A link that takes 5 ms and never varies.
fn steady() -> LinkConfig {
    LinkConfig { delay: Duration::from_millis(5), ..LinkConfig::default() }
}

fn one_musician(server: Config, settings: Settings, rate_hz: f64, blocks: Blocks) -> Jam {
    let mut jam = Jam::new(server, 1);
    let address = ([192, 0, 2, 9], 50_000).into();
    let musician = Musician::new(address, settings, rate_hz, blocks, tones(rate_hz), steady(), 7);
    musician.handle.connect(jamulet_testkit::sim::SERVER);
    jam.musicians.push(musician);
    jam
}

/// RMS of what the codec adds on the way there and back to two tones of −12 dBFS: the larger of both sides as
/// measured, and 1 to 2 dB for other phases.
fn residual_bound(format: StreamFormat) -> f64 {
    let bound_db = match (format.frame, format.layout, format.frame_bytes()) {
        (FrameSize::Samples128, Layout::Stereo, 47) => -29.0,
        (FrameSize::Samples128, Layout::Stereo, 71) => -37.0,
        (FrameSize::Samples128, Layout::Stereo, 165) => -59.0,
        (FrameSize::Samples128, Layout::Mono, 25) => -32.0,
        (FrameSize::Samples128, Layout::Mono, 45) => -43.0,
        (FrameSize::Samples128, Layout::Mono, 82) => -59.0,
        (FrameSize::Samples64, Layout::Stereo, 24) => -25.5,
        (FrameSize::Samples64, Layout::Stereo, 35) => -32.0,
        (FrameSize::Samples64, Layout::Stereo, 73) => -43.0,
        (FrameSize::Samples64, Layout::Mono, 12) => -25.0,
        (FrameSize::Samples64, Layout::Mono, 22) => -35.0,
        (FrameSize::Samples64, Layout::Mono, 36) => -45.0,
        _ => -87.0,
    };
    AMPLITUDE * 10f64.powf(bound_db / 20.0)
}

/// Both tones are there at unity and at their pitch, and nothing else; at most `blemishes` windows are
/// disturbed by more than the codec's noise.
fn check_sound(what: &str, heard: [&[f32]; 2], rate_hz: f64, format: StreamFormat, blemishes: usize) {
    let scale = ANALYSIS_HZ / rate_hz;
    for (side, signal) in heard.into_iter().enumerate() {
        // A mono stream carries the mean of both sides to both sides.
        let (wanted, amplitude) = match format.layout {
            Layout::Stereo => (vec![TONES_HZ[side]], AMPLITUDE),
            Layout::Mono => (TONES_HZ.to_vec(), AMPLITUDE / 2.0),
        };
        let scaled: Vec<f64> = wanted.iter().map(|tone| tone * scale).collect();
        let bound = residual_bound(format);
        let sound = listen(signal, &scaled, 2.0 * bound);
        let step: f32 = scaled.iter().map(|tone| sine_step(*tone, amplitude)).sum();
        let largest = largest_step(signal);
        println!(
            "{what} side {side}: residual {:.1} dB, largest step {:.2}, disturbed {:?}",
            db(sound.residual_rms, AMPLITUDE),
            largest / step,
            sound.disturbed,
        );
        assert!(sound.residual_rms <= bound, "{what}: residual {:.1} dB", db(sound.residual_rms, AMPLITUDE));
        for (index, tone) in wanted.iter().enumerate() {
            let level = db(sound.amplitudes[index], amplitude);
            assert!(level.abs() <= 0.2, "{what}: {tone} Hz came back at {level:.2} dB");
            let pitch = sound.frequencies_hz[index] / scale;
            assert!((pitch - tone).abs() <= 0.4, "{what}: {tone} Hz came back as {pitch:.3} Hz");
        }
        for (tone, deviation) in wanted.iter().zip(pitch_deviations(signal, &scaled)) {
            let deviation = deviation / scale;
            assert!(deviation.abs() <= 0.1, "{what}: {tone} Hz came back {deviation:+.3} Hz off");
        }
        assert!(largest <= 1.5 * step, "{what}: a step of {:.2} times the sine's own", largest / step);
        assert!(sound.disturbed.len() <= blemishes, "{what}: {:?} disturbed", sound.disturbed);
    }
}

/// How far off each tone is, in Hz, from the phase that it gains from second to second: precise even through the
/// noise of 12 bytes a frame, but blind to whole Hz.
fn pitch_deviations(signal: &[f32], tones_hz: &[f64]) -> Vec<f64> {
    use std::f64::consts::{PI, TAU};
    let second = ANALYSIS_HZ as usize;
    let fitter = ToneFitter::new(tones_hz, second);
    let fits: Vec<_> = signal.chunks_exact(second).map(|window| fitter.fit(window)).collect();
    let off = |index: usize| {
        let tone_hz: f64 = tones_hz[index];
        let gains = fits.windows(2).map(|pair| {
            let gained = pair[1].tones[index].phase - pair[0].tones[index].phase - TAU * tone_hz;
            ((gained + PI).rem_euclid(TAU) - PI) / TAU
        });
        median(gains.collect()).expect("two seconds at least")
    };
    (0..tones_hz.len()).map(off).collect()
}

/// Both sides without what came in the first `settling`.
fn settled(heard: &[Vec<f32>; 2], settling: Duration, rate_hz: f64) -> [&[f32]; 2] {
    let skip = (settling.as_secs_f64() * rate_hz) as usize;
    [&heard[0][skip..], &heard[1][skip..]]
}

fn check_counters(what: &str, jam: &Jam) {
    let snapshot = jam.musicians[0].handle.snapshot();
    assert!(matches!(snapshot.state, ConnectionState::Connected { .. }), "{what}: {:?}", snapshot.state);
    println!(
        "{what}: {:?}, buffers {}/{:?}",
        snapshot.stats, snapshot.client_buffer_frames, snapshot.server_buffer_frames
    );
    assert_eq!((snapshot.stats.lost, snapshot.stats.late), (0, 0), "{what}: nothing gets lost here");
}

fn block_sizes() -> Vec<Blocks> {
    let constant = [1, 16, 32, 37, 64, 100, 128, 480, 512, 1024, 4096].map(Blocks::Constant);
    let varying = Blocks::Varying { max: 4096, rng: SplitMix64::new(3) };
    constant.into_iter().chain([varying]).collect()
}

/// Our server's core sends the sound back; beside it, a stock server's buffer listens.
fn check_all_blocks(rate_hz: f64) {
    let format = StreamFormat::stock(FrameSize::Samples128, Layout::Stereo, Quality::High);
    for blocks in block_sizes() {
        let what = format!("{rate_hz} Hz, {blocks:?}");
        let varying = matches!(blocks, Blocks::Varying { .. });
        let settling = if varying { SETTLING_VARYING } else { SETTLING };
        let settings = settings(Layout::Stereo, Quality::High, FrameChoice::Samples128);
        let mut jam = one_musician(Config::default(), settings, rate_hz, blocks);
        let ear = Rc::new(RefCell::new(StockEar::new(STOCK_FRAMES, format)));
        let listener = Rc::clone(&ear);
        jam.tap = Some(Box::new(move |now, _, packet| listener.borrow_mut().packet(now, packet)));
        jam.run(settling + LISTENING);
        check_counters(&what, &jam);
        // The automatic size may give back a frame after the settling, and where blocks vary our buffer slips one
        // now and then: blended, so without a step.
        let blemishes = if varying { 8 } else { 2 };
        let heard = settled(&jam.musicians[0].heard, settling, rate_hz);
        check_sound(&what, heard, rate_hz, format, blemishes);
        let ear = ear.borrow();
        assert_eq!(ear.concealed, 0, "{what}: frames concealed by a stock buffer of {STOCK_FRAMES}");
        let heard = settled(&ear.heard, settling, ANALYSIS_HZ);
        check_sound(&format!("{what}, stock server"), heard, ANALYSIS_HZ, format, 0);
    }
}

#[test]
fn every_block_size_at_44100() {
    check_all_blocks(44_100.0);
}

#[test]
fn every_block_size_at_48000() {
    check_all_blocks(48_000.0);
}

#[test]
fn every_block_size_at_88200() {
    check_all_blocks(88_200.0);
}

#[test]
fn every_block_size_at_96000() {
    check_all_blocks(96_000.0);
}

/// What a stock server hears of us: its jitter buffer of `frames` frames and a decoder, once per 128 samples.
struct StockEar {
    buffer: StockBuffer,
    decoder: Decoder,
    layout: PacketLayout,
    next_tick: Time,
    started: Time,
    heard: [Vec<f32>; 2],
    /// Slots without a frame, after settling.
    concealed: usize,
}

impl StockEar {
    fn new(frames: usize, format: StreamFormat) -> Self {
        Self {
            buffer: StockBuffer::new(frames),
            decoder: Decoder::new(format).expect("a stock format"),
            layout: PacketLayout { format, block_factor: 1, counter: true },
            next_tick: Time::ZERO,
            started: Time::ZERO,
            heard: [Vec::new(), Vec::new()],
            concealed: 0,
        }
    }

    /// Plays what is due before `now`, then takes the packet that has arrived.
    fn packet(&mut self, now: Time, packet: &[u8]) {
        let Some(frames) = self.layout.frames(packet) else { return };
        if self.next_tick == Time::ZERO {
            self.started = now;
            self.next_tick = now + Duration::from_millis(1);
        }
        while self.next_tick <= now {
            self.tick();
        }
        for (frame, counter) in frames {
            self.buffer.put(counter.expect("this layout has one"), frame);
        }
    }

    fn tick(&mut self) {
        let frame = self.buffer.get();
        if self.next_tick.since(self.started) >= SETTLING {
            self.concealed += usize::from(frame.is_none());
        }
        let mut pcm = [0.0; 256];
        self.decoder.decode(frame.as_deref(), &mut pcm);
        for pair in pcm.chunks_exact(2) {
            self.heard[0].push(pair[0]);
            self.heard[1].push(pair[1]);
        }
        let ticks = (self.heard[0].len() / 128) as u64;
        self.next_tick =
            self.started + Duration::from_millis(1) + Duration::from_nanos(ticks * 8_000_000 / 3);
    }
}

#[test]
fn every_quality_on_both_kinds_of_server() {
    for tick in [FrameSize::Samples64, FrameSize::Samples128] {
        for frame in [FrameChoice::Samples64, FrameChoice::Samples128] {
            for layout in [Layout::Mono, Layout::Stereo] {
                for quality in [Quality::Low, Quality::Normal, Quality::High, Quality::Max] {
                    let what = format!("tick {tick:?}, {frame:?}, {layout:?}, {quality:?}");
                    let server = Config { frame: tick, ..Config::default() };
                    let mut jam = one_musician(
                        server,
                        settings(layout, quality, frame),
                        48_000.0,
                        Blocks::Constant(128),
                    );
                    jam.run(SETTLING + Duration::from_secs(5));
                    let format = jam.musicians[0].handle.snapshot().format.expect("connected");
                    assert_eq!(
                        (format.layout, format.frame == FrameSize::Samples64),
                        (layout, frame == FrameChoice::Samples64)
                    );
                    check_counters(&what, &jam);
                    let heard = settled(&jam.musicians[0].heard, SETTLING, ANALYSIS_HZ);
                    check_sound(&what, heard, ANALYSIS_HZ, format, 0);
                }
            }
        }
    }
}

#[test]
fn short_blocks_use_short_frames_when_left_to_choose() {
    for (block, rate_hz, frame) in [
        (64, 48_000.0, FrameSize::Samples64),
        (128, 96_000.0, FrameSize::Samples64),
        (65, 48_000.0, FrameSize::Samples128),
        (64, 44_100.0, FrameSize::Samples128),
    ] {
        let settings = settings(Layout::Stereo, Quality::Normal, FrameChoice::Auto);
        let mut jam = one_musician(Config::default(), settings, rate_hz, Blocks::Constant(block));
        let sizes = Rc::new(RefCell::new(BTreeSet::new()));
        let seen = Rc::clone(&sizes);
        jam.tap = Some(Box::new(move |_, _, datagram| {
            seen.borrow_mut().insert(datagram.len());
        }));
        jam.run(Duration::from_secs(2));
        let format = jam.musicians[0].handle.snapshot().format.expect("connected");
        assert_eq!(format.frame, frame, "{block} samples at {rate_hz} Hz");
        // From the first packet on, with a counter or without.
        let frame_bytes = format.frame_bytes();
        let sizes = sizes.borrow();
        assert!(sizes.iter().all(|size| [frame_bytes, frame_bytes + 1].contains(size)), "{block}: {sizes:?}");
    }
}
