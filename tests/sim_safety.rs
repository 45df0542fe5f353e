//! Hearing and speakers: whatever a host or the network delivers, neither side gets garbage, direct current or a bang.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use jamulet::audio::Decoder;
use jamulet::client::{Controls, Settings, StreamSettings};
use jamulet::protocol::PacketLayout;
use jamulet::server::Config;
use jamulet::units::{FrameSize, Layout, Quality, StreamFormat};
use jamulet_testkit::netem::{LinkConfig, SplitMix64};
use jamulet_testkit::sim::{Blocks, Jam, Musician, SERVER, Source};

const RATE_HZ: f64 = 48_000.0;
/// 6 dB above full scale: nothing that comes back may be louder.
const CEILING: f32 = 2.0;

fn jam(quality: Quality, rate_hz: f64, source: Source) -> Jam {
    let settings =
        Settings { stream: StreamSettings { quality, ..StreamSettings::default() }, ..Settings::default() };
    let mut jam = Jam::new(Config::default(), 1);
    let address = ([192, 0, 2, 9], 50_000).into();
    let link = LinkConfig { delay: Duration::from_millis(5), ..LinkConfig::default() };
    let musician = Musician::new(address, settings, rate_hz, Blocks::Constant(128), source, link, 7);
    musician.handle.connect(SERVER);
    jam.musicians.push(musician);
    jam
}

fn sine(index: u64, amplitude: f32) -> f32 {
    amplitude * (std::f64::consts::TAU * (440.0 * index as f64 / RATE_HZ).fract()).sin() as f32
}

/// What the server's decoder makes of us, left side.
fn listen_at_the_server(jam: &mut Jam, quality: Quality) -> Rc<RefCell<Vec<f32>>> {
    let format = StreamFormat::stock(FrameSize::Samples128, Layout::Stereo, quality);
    let layout = PacketLayout { format, block_factor: 1, counter: true };
    let mut decoder = Decoder::new(format).expect("a stock format");
    let heard = Rc::new(RefCell::new(Vec::new()));
    let out = Rc::clone(&heard);
    jam.tap = Some(Box::new(move |_, _, packet| {
        for (frame, _) in layout.frames(packet).into_iter().flatten() {
            let mut pcm = [0.0; 256];
            decoder.decode(Some(frame), &mut pcm);
            out.borrow_mut().extend(pcm.as_chunks::<2>().0.iter().map(|pair| pair[0]));
        }
    }));
    heard
}

fn last_second(heard: &[f32]) -> &[f32] {
    &heard[heard.len() - RATE_HZ as usize..]
}

fn peak(sound: &[f32]) -> f32 {
    assert!(sound.iter().all(|sample| sample.is_finite()), "not a number");
    sound.iter().fold(0.0, |peak, sample| peak.max(sample.abs()))
}

fn mean(sound: &[f32]) -> f64 {
    sound.iter().map(|sample| f64::from(*sample)).sum::<f64>() / sound.len() as f64
}

/// Garbage among a sine: the others hear the sine, and nothing of the garbage a moment later.
#[test]
fn garbage_from_the_host_reaches_nobody_and_leaves_no_trace() {
    let garbage = [
        ("NaN", [f32::NAN, -f32::NAN, f32::NAN]),
        ("infinity", [f32::INFINITY, f32::NEG_INFINITY, f32::INFINITY]),
        ("huge", [f32::MAX, f32::MIN, 1e30]),
        ("+40 dB", [100.0, -100.0, 100.0]),
        ("denormal", [f32::from_bits(1), -f32::from_bits(0x007F_FFFF), f32::from_bits(9)]),
    ];
    for rate in [48_000.0, 44_100.0] {
        for (what, samples) in garbage {
            for quality in [Quality::Normal, Quality::Max] {
                let source = Box::new(move |index: u64| {
                    // A second of garbage in the sixth second, whole blocks of it and single samples.
                    let bad = (5..6).contains(&(index / RATE_HZ as u64))
                        && ((index / 128).is_multiple_of(2) || index.is_multiple_of(7));
                    let sample =
                        if bad { samples[index as usize % samples.len()] } else { sine(index, 0.25) };
                    [sample; 2]
                });
                let mut jam = jam(quality, rate, source);
                let sent = listen_at_the_server(&mut jam, quality);
                jam.run(Duration::from_secs(9));
                let what = format!("{what} at {rate} Hz, {quality:?}");
                // What is merely too loud is clipped to full scale, and the codec makes of that what it can.
                let too_loud = samples.iter().any(|sample| sample.is_finite() && sample.abs() > 1.0);
                let most = if too_loud { CEILING } else { 0.5 };
                assert!(peak(&sent.borrow()) <= most, "{what}: sent {}", peak(&sent.borrow()));
                let end = last_second(&sent.borrow()).to_vec();
                assert!((0.2..0.3).contains(&peak(&end)), "{what}: the sine is sent at {}", peak(&end));
                let musician = &jam.musicians[0];
                for heard in &musician.heard {
                    assert!(peak(heard) <= CEILING, "{what}: heard {}", peak(heard));
                    let end = peak(last_second(heard));
                    assert!((0.2..0.3).contains(&end), "{what}: the sine comes back at {end}");
                }
                let meters = musician.handle.take_meters();
                assert!(
                    meters.send.iter().chain(&meters.receive).all(|peak| peak.is_finite()),
                    "{what}: {meters:?}"
                );
            }
        }
    }
}

#[test]
fn direct_current_from_the_host_is_not_sent() {
    for quality in [Quality::Normal, Quality::Max] {
        let mut jam = jam(quality, RATE_HZ, Box::new(|index| [0.5 + sine(index, 0.25); 2]));
        let sent = listen_at_the_server(&mut jam, quality);
        jam.run(Duration::from_secs(6));
        let sent = sent.borrow();
        let end = last_second(&sent);
        assert!(mean(end).abs() < 1e-3, "{quality:?}: {}", mean(end));
        assert!((0.2..0.3).contains(&peak(end)), "{quality:?}: the sine is still there: {}", peak(end));
    }
}

/// A server that sends full-scale direct current, as raw samples.
#[test]
fn direct_current_from_the_network_is_not_heard() {
    let mut jam = jam(Quality::Max, RATE_HZ, Box::new(|_| [0.0; 2]));
    jam.tamper = Some(Box::new(|packet| {
        // 128 stereo samples of 16 bits, with or without the counter.
        if packet.len() >= 512 {
            packet[..512].as_chunks_mut::<2>().0.fill(0x6000_i16.to_le_bytes());
        }
    }));
    jam.run(Duration::from_secs(6));
    for heard in &jam.musicians[0].heard {
        assert!(peak(heard) > 0.3, "the test sends direct current: {}", peak(heard));
        let end = last_second(heard);
        assert!(peak(end) < 1e-3, "{}", peak(end));
    }
}

/// Noise at full scale, amplified as far as the return goes.
#[test]
fn nothing_comes_back_louder_than_six_decibels_above_full_scale() {
    for quality in [Quality::Low, Quality::Normal, Quality::Max] {
        let mut jam = jam(quality, RATE_HZ, Box::new(|_| [0.0; 2]));
        jam.musicians[0].controls = Controls { return_gain: 4.0, ..Controls::default() };
        let mut rng = SplitMix64::new(9);
        // All but the counter: coded frames of random bytes, which decode to anything.
        jam.tamper = Some(Box::new(move |packet| {
            let length = packet.len() - 1;
            rng.fill(&mut packet[..length]);
        }));
        jam.run(Duration::from_secs(4));
        for heard in &jam.musicians[0].heard {
            let loudest = peak(heard);
            assert!(loudest <= CEILING, "{quality:?}: {loudest}");
            assert!(loudest > 1.0, "{quality:?}: the test is loud: {loudest}");
        }
    }
}

/// What is no accident passes as before: the blocker and the limiter change a sine by less than 0.001 dB.
#[test]
fn ordinary_sound_comes_back_as_loud_as_it_went() {
    let mut jam = jam(Quality::Max, RATE_HZ, Box::new(|index| [sine(index, 0.8); 2]));
    jam.run(Duration::from_secs(6));
    for heard in &jam.musicians[0].heard {
        let rms = jamulet_testkit::signal::rms(last_second(heard));
        let level_db = jamulet_testkit::signal::db(rms, 0.8 / 2f64.sqrt());
        assert!(level_db.abs() < 0.002, "{level_db} dB");
    }
}
