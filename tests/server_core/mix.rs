//! What everyone hears.

use std::f32::consts::TAU;
use std::time::Duration;

use jamulet::protocol::{Message, PacketLayout, TransportProperties};
use jamulet::server::Config;
use jamulet::units::{ChannelId, FrameSize, Layout, Quality};

use super::world::{World, layout, raw_mono, raw_stereo};

/// Long enough for both fade-ins and for jitter buffers to come to rest.
const SETTLED: Duration = Duration::from_secs(6);
/// Values of the counting signal, which tells every sample from its neighbours.
const PERIOD: usize = 20_000;
const LAYOUTS: [Layout; 2] = [Layout::Mono, Layout::Stereo];
const FRAMES: [FrameSize; 2] = [FrameSize::Samples64, FrameSize::Samples128];

fn fast() -> Config {
    Config { frame: FrameSize::Samples64, ..Config::default() }
}

fn counting(value: usize) -> f32 {
    (value % PERIOD) as f32 / 32768.0
}

/// The last second of what a raw client hears, as 16-bit values.
fn last_second(world: &World, peer: usize) -> Vec<usize> {
    let channels = world.peers[peer].layout.format.layout.channels();
    let heard = world.peers[peer].heard();
    heard[heard.len() - 48_000 * channels..].iter().map(|value| (value * 32768.0).round() as usize).collect()
}

fn assert_counts_on(heard: &[usize], what: &str) {
    for pair in heard.windows(2) {
        assert_eq!(pair[1], (pair[0] + 1) % PERIOD, "{what}: a gap or a repetition");
    }
}

/// The last values that a raw client hears: one, or left and right.
fn last_values(world: &World, peer: usize) -> Vec<f32> {
    let channels = world.peers[peer].layout.format.layout.channels();
    let heard = world.peers[peer].heard();
    heard[heard.len() - channels..].to_vec()
}

fn assert_close(values: &[f32], expected: &[f32]) {
    let is_close = values.len() == expected.len()
        && values.iter().zip(expected).all(|(value, expected)| (value - expected).abs() < 2e-4);
    assert!(is_close, "{values:?}, expected {expected:?}");
}

#[test]
fn every_sample_arrives_once_in_every_combination_of_frames_and_ticks() {
    for config in [Config::default(), fast()] {
        for frame in FRAMES {
            for block_factor in [1, 2, 4] {
                for counter in [true, false] {
                    let what =
                        format!("{:?} tick, {frame:?} x{block_factor}, counter {counter}", config.frame);
                    let mut world = World::new(config.clone());
                    let raw =
                        PacketLayout { block_factor, counter, ..layout(frame, Layout::Mono, Quality::Max) };
                    let ann = world.join("Ann", raw);
                    world.play(ann, counting);
                    world.run(SETTLED);
                    assert_counts_on(&last_second(&world, ann), &what);
                    let per_packet = frame.samples() * usize::from(block_factor);
                    let (count, before) = (48_000 / per_packet, world.peers[ann].packets.len());
                    world.run(Duration::from_secs(1));
                    let received = world.peers[ann].packets.len() - before;
                    assert!(
                        received.abs_diff(count) <= 1,
                        "{what}: {received} packets a second, not {count}"
                    );
                }
            }
        }
    }
}

#[test]
fn counters_count_every_frame() {
    let mut world = World::new(Config::default());
    let raw = PacketLayout { block_factor: 4, ..raw_mono() };
    let ann = world.join("Ann", raw);
    world.run(Duration::from_secs(4));
    let peer = &world.peers[ann];
    let counters: Vec<u8> = peer
        .packets
        .iter()
        .flat_map(|packet| raw.frames(packet).unwrap())
        .filter_map(|(_, counter)| counter)
        .collect();
    assert!(counters.len() > 1000);
    assert!(counters.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)));
}

#[test]
fn two_clients_of_any_layouts_hear_each_other() {
    for config in [Config::default(), fast()] {
        for (from, to) in LAYOUTS.into_iter().flat_map(|from| LAYOUTS.map(|to| (from, to))) {
            for (talking, listening) in FRAMES.into_iter().flat_map(|a| FRAMES.map(|b| (a, b))) {
                let mut world = World::new(config.clone());
                let ann = world.join("Ann", layout(talking, from, Quality::Max));
                let bob = world.join("Bob", layout(listening, to, Quality::Max));
                match from {
                    Layout::Mono => world.play(ann, |_| 0.25),
                    Layout::Stereo => world.play(ann, |value| if value % 2 == 0 { 0.25 } else { 0.125 }),
                }
                world.run(SETTLED);
                let expected: &[f32] = match (from, to) {
                    (Layout::Mono, Layout::Mono) => &[0.25],
                    (Layout::Mono, Layout::Stereo) => &[0.25, 0.25],
                    (Layout::Stereo, Layout::Mono) => &[0.1875],
                    (Layout::Stereo, Layout::Stereo) => &[0.25, 0.125],
                };
                assert_close(&last_values(&world, bob), expected);
            }
        }
    }
}

#[test]
fn a_frame_of_another_length_passes_whole_between_clients() {
    for config in [Config::default(), fast()] {
        let mut world = World::new(config);
        let ann = world.join("Ann", layout(FrameSize::Samples64, Layout::Mono, Quality::Max));
        let bob = world.join("Bob", layout(FrameSize::Samples128, Layout::Mono, Quality::Max));
        world.play(ann, counting);
        world.run(SETTLED);
        assert_counts_on(&last_second(&world, bob), "64 to 128");
        world.play(ann, |_| 0.0);
        world.play(bob, counting);
        world.run(SETTLED);
        assert_counts_on(&last_second(&world, ann), "128 to 64");
    }
}

/// What `--fastupdate` is for: a client with short frames need not wait for a second one.
#[test]
fn short_frames_come_in_pairs_from_long_ticks_and_singly_from_short_ones() {
    for (config, expected) in [(Config::default(), 2), (fast(), 1)] {
        let mut world = World::new(config);
        let ann = world.join("Ann", layout(FrameSize::Samples64, Layout::Mono, Quality::Normal));
        for _ in 0..1000 {
            let (ticked, heard) = (world.ticked_samples(), world.peers[ann].packets.len());
            while world.ticked_samples() == ticked {
                world.run(Duration::from_micros(50));
            }
            assert_eq!(world.peers[ann].packets.len() - heard, expected);
        }
    }
}

#[test]
fn gain_and_pan_are_the_listeners_own() {
    let mut world = World::new(Config::default());
    let (ann, bob, cay) =
        (world.join("Ann", raw_stereo()), world.join("Bob", raw_stereo()), world.join("Cay", raw_mono()));
    world.play(ann, |value| if value % 2 == 0 { 0.25 } else { 0.125 });
    world.run(SETTLED);
    let channel = ChannelId(0);
    for (gain, pan, expected) in [
        (32768, 16384, [0.25, 0.125]),
        (16384, 16384, [0.125, 0.0625]),
        (32768, 0, [0.25, 0.0]),
        (32768, 32768, [0.0, 0.125]),
        (32768, 24576, [0.125, 0.125]),
        (65535, 8192, [0.5, 0.125]),
        (32768, 65535, [0.0, 0.125]),
        (0, 16384, [0.0, 0.0]),
    ] {
        world.tell(bob, &Message::ChannelGain { channel, gain });
        world.tell(bob, &Message::ChannelPan { channel, pan });
        world.run(Duration::from_millis(100));
        assert_close(&last_values(&world, bob), &expected);
        assert_close(&last_values(&world, ann), &[0.25, 0.125]);
        assert_close(&last_values(&world, cay), &[0.1875]);
    }
    // A mono listener has no pan.
    world.tell(cay, &Message::ChannelPan { channel, pan: 0 });
    world.run(Duration::from_millis(100));
    assert_close(&last_values(&world, cay), &[0.1875]);
}

#[test]
fn everyone_is_in_the_mix_and_full_scale_is_the_end() {
    let mut world = World::new(Config::default());
    let peers: Vec<usize> = (0..5).map(|index| world.join(&format!("{index}"), raw_mono())).collect();
    for (place, peer) in peers.iter().enumerate() {
        world.play(*peer, move |_| 0.01 * 2f32.powi(place as i32));
    }
    world.run(SETTLED);
    for peer in &peers {
        assert_close(&last_values(&world, *peer), &[0.31]);
    }
    for peer in &peers {
        world.play(*peer, |_| -0.9);
    }
    world.run(Duration::from_millis(200));
    // Limited: 4.5 times full scale come close to it. Nobody's own limiter touches anyone else's mix.
    let loud = last_values(&world, peers[0])[0];
    assert!((-1.0..-0.99).contains(&loud), "{loud}");
    for other in &peers[1..] {
        let channel = ChannelId(*other as u8);
        world.tell(peers[0], &Message::ChannelGain { channel, gain: 0 });
    }
    world.run(Duration::from_secs(1));
    let less_loud = last_values(&world, peers[0])[0];
    assert!((-0.9..-0.88).contains(&less_loud), "{less_loud}");
    let before = world.peers[peers[0]].heard().len();
    world.play(peers[0], |_| -0.875);
    world.run(Duration::from_secs(1));
    let heard = world.peers[peers[0]].heard();
    assert_eq!(heard[before + 24_000..].iter().position(|value| *value != -0.875), None, "linear below");
    assert!(last_values(&world, peers[1])[0] < -0.99);
}

#[test]
fn a_fader_that_jumps_makes_no_click() {
    const HZ: f32 = 187.5;
    let step = |heard: &[f32], channels: usize| {
        let steps = heard.windows(channels + 1).map(|pair| (pair[channels] - pair[0]).abs());
        steps.fold(0.0, f32::max)
    };
    for config in [Config::default(), fast(), Config { delay_pan: true, ..Config::default() }] {
        for listener in [raw_mono(), raw_stereo()] {
            let what = format!("{:?} tick, delay pan {}, {listener:?}", config.frame, config.delay_pan);
            let mut world = World::new(config.clone());
            let (ann, bob) = (world.join("Ann", raw_mono()), world.join("Bob", listener));
            world.play(ann, |at| 0.5 * (TAU * HZ * at as f32 / 48_000.0).sin());
            world.run(SETTLED);
            let channels = listener.format.layout.channels();
            let before = world.peers[bob].heard().len();
            world.run(Duration::from_millis(500));
            let resting = step(&world.peers[bob].heard()[before..], channels);
            assert!(resting < 1.02 * 0.5 * TAU * HZ / 48_000.0, "{what}: {resting}");
            let before = world.peers[bob].heard().len();
            let channel = ChannelId(ann as u8);
            for (gain, pan) in [(0, 0), (32768, 32768), (100, 16384), (32768, 0), (65535, 40_000), (0, 5)] {
                world.tell(bob, &Message::ChannelGain { channel, gain });
                world.tell(bob, &Message::ChannelPan { channel, pan });
                // Anywhere in a tick and in the wave.
                world.run(Duration::from_micros(20_300));
            }
            let heard = &world.peers[bob].heard()[before..];
            assert!(heard.iter().any(|value| value.abs() > 0.9), "{what}: the knobs work");
            let moving = step(heard, channels);
            // Up to twice as loud, and the ramp's own slope: full range within a tick. A jump would be 1.
            let ramp = 2.0 / config.frame.samples() as f32;
            assert!(moving < 2.0 * resting + ramp, "{what}: {moving}, at rest {resting}");
        }
    }
}

#[test]
fn delay_panning_holds_back_the_far_side() {
    let mut world = World::new(Config { delay_pan: true, ..Config::default() });
    let (ann, bob) = (world.join("Ann", raw_mono()), world.join("Bob", raw_stereo()));
    world.play(ann, counting);
    world.run(SETTLED);
    let channel = ChannelId(ann as u8);
    // Measured on Jamulus 3.9.1, see docs/PROTOCOL.md §10.
    for (pan, right_later) in [(0, 63), (4096, 47), (16384, 0), (24576, -32), (32768, -63)] {
        world.tell(bob, &Message::ChannelPan { channel, pan });
        world.run(Duration::from_millis(500));
        let heard = last_second(&world, bob);
        let [left, right] = [heard[heard.len() - 2], heard[heard.len() - 1]].map(|value| value as i64);
        assert_eq!((left - right).rem_euclid(PERIOD as i64), i64::rem_euclid(right_later, PERIOD as i64));
    }
}

#[test]
fn without_raw_audio_it_is_not_offered_and_refused() {
    let mut world = World::new(Config { raw_audio: false, ..Config::default() });
    let high = layout(FrameSize::Samples128, Layout::Mono, Quality::High);
    let ann = world.join("Ann", high);
    world.run(Duration::from_secs(1));
    assert!(!world.peers[ann].messages.contains(&Message::RawAudioSupported));
    // Acknowledged, or the next message would not arrive; nothing changes.
    let acknowledged = world.peers[ann].messages.len();
    world.tell(ann, &Message::TransportProperties(TransportProperties::new(raw_mono())));
    world.tell(ann, &Message::RequestClientList);
    assert_eq!(world.peers[ann].messages.len(), acknowledged + 1);
    let packets = world.peers[ann].packets.len();
    world.run(Duration::from_secs(1));
    let after = &world.peers[ann].packets[packets..];
    assert!(after.len() > 370);
    assert!(after.iter().all(|packet| packet.len() == high.packet_bytes()));
    // Who asks for nothing else has no format at all, and hears nothing.
    let bob = world.join("Bob", raw_mono());
    world.run(Duration::from_secs(1));
    assert_eq!(world.peers[bob].packets.len(), 0);
    // Where it is allowed, the same works.
    let mut world = World::new(Config::default());
    let ann = world.join("Ann", raw_mono());
    world.run(Duration::from_secs(1));
    assert!(world.peers[ann].messages.contains(&Message::RawAudioSupported));
    assert!(world.peers[ann].packets.len() > 300);
}

#[test]
fn new_clients_fade_in_over_three_seconds_both_ways() {
    let mut world = World::new(Config::default());
    let ann = world.join("Ann", raw_mono());
    world.play(ann, |_| 0.25);
    world.run(SETTLED);
    let start = world.now;
    let bob = world.join("Bob", raw_mono());
    world.play(bob, |_| 0.5);
    for _ in 0..9 {
        world.run(Duration::from_millis(300));
        let fade = world.now.since(start).as_secs_f32() / 3.0;
        // Packets wait a few frames in the jitter buffer.
        let off = |value: f32, expected: f32| (value - expected).abs();
        let heard = (last_values(&world, ann)[0], last_values(&world, bob)[0]);
        assert!(off(heard.0, 0.25 + 0.5 * fade) < 0.01, "Ann hears {heard:?} at {fade}");
        assert!(off(heard.1, 0.25 * fade + 0.5 * fade) < 0.015, "Bob hears {heard:?} at {fade}");
    }
    world.run(Duration::from_millis(500));
    assert_close(&last_values(&world, ann), &[0.75]);
    assert_close(&last_values(&world, bob), &[0.75]);
}

#[test]
fn every_opus_format_comes_back_at_unity() {
    for frame in FRAMES {
        for channels in LAYOUTS {
            for quality in [Quality::Low, Quality::Normal, Quality::High] {
                let mut world = World::new(Config::default());
                let ann = world.join("Ann", layout(frame, channels, quality));
                let count = channels.channels();
                world.play(ann, move |value| 0.25 * (TAU * 440.0 * (value / count) as f32 / 48_000.0).sin());
                world.run(SETTLED);
                let heard = world.peers[ann].heard();
                let last = &heard[heard.len() - 48_000 * count..];
                let rms = (last.iter().map(|value| value * value).sum::<f32>() / last.len() as f32).sqrt();
                let db = 20.0 * (rms / (0.25 / 2f32.sqrt())).log10();
                assert!(db.abs() < 0.2, "{frame:?} {channels:?} {quality:?}: {db} dB");
            }
        }
    }
}

#[test]
fn a_client_may_change_its_format_at_any_time() {
    let mut world = World::new(Config::default());
    let (ann, bob) = (world.join("Ann", raw_mono()), world.join("Bob", raw_mono()));
    world.play(bob, |_| 0.25);
    world.run(SETTLED);
    let stereo = layout(FrameSize::Samples64, Layout::Stereo, Quality::Max);
    world.peers[ann].is_playing = false;
    world.peers[ann].layout = stereo;
    world.peers[ann].packets.clear();
    world.tell(ann, &Message::TransportProperties(TransportProperties::new(stereo)));
    world.run(Duration::from_millis(100));
    assert!(world.peers[ann].packets.iter().all(|packet| packet.len() == stereo.packet_bytes()));
    assert_close(&last_values(&world, ann), &[0.25, 0.25]);
}

#[test]
fn senseless_properties_change_nothing_and_celt_is_answered() {
    let mut world = World::new(Config::default());
    let ann = world.join("Ann", raw_mono());
    let good = TransportProperties::new(raw_mono());
    for bad in [
        TransportProperties { packet_size: 20_000, ..good },
        TransportProperties { packet_size: 9, ..good },
        TransportProperties { block_factor: 3, ..good },
        TransportProperties { channels: 0, ..good },
        TransportProperties { codec: 9, ..good },
        TransportProperties { sample_rate: 44_100, ..good },
    ] {
        world.tell(ann, &Message::TransportProperties(bad));
    }
    world.peers[ann].messages.clear();
    world.tell(ann, &Message::TransportProperties(TransportProperties { codec: 1, ..good }));
    assert_eq!(world.peers[ann].messages, [Message::OpusSupported]);
    world.peers[ann].packets.clear();
    world.run(Duration::from_secs(1));
    assert!(world.peers[ann].packets.len() > 370);
    assert!(world.peers[ann].packets.iter().all(|packet| packet.len() == raw_mono().packet_bytes()));
}

#[test]
fn a_client_that_stops_or_leaves_is_not_heard_on() {
    let mut world = World::new(Config::default());
    let (ann, bob) = (world.join("Ann", raw_mono()), world.join("Bob", raw_mono()));
    world.play(ann, |_| 0.25);
    world.run(SETTLED);
    assert_close(&last_values(&world, bob), &[0.25]);
    world.peers[ann].is_playing = false;
    world.run(Duration::from_secs(1));
    assert_close(&last_values(&world, bob), &[0.0]);
    world.play(ann, |_| 0.25);
    world.run(Duration::from_secs(2));
    assert_close(&last_values(&world, bob), &[0.25]);
    world.peers[ann].is_playing = false;
    world.send(ann, &jamulet::protocol::ConnlessMessage::Disconnection.to_datagram());
    world.run(Duration::from_millis(20));
    assert_close(&last_values(&world, bob), &[0.0]);
}
