//! How long sound takes through the server's jitter buffers.

use std::time::Duration;

use jamulet::protocol::{JitterBufferSize, Message};
use jamulet::server::Config;
use jamulet::units::{FrameSize, Layout, Quality};

use super::world::{World, layout};

const FRAMES: [FrameSize; 2] = [FrameSize::Samples64, FrameSize::Samples128];
/// Values of the counting signal.
const PERIOD: usize = 20_000;
/// Places of a client's packets between two ticks of 128 samples.
const PHASES: usize = 20;

fn config(frame: FrameSize) -> Config {
    Config { frame, ..Config::default() }
}

/// Samples between a frame's leaving a client and its coming back, with the buffer set to `size`, for a
/// connection that begins at `phase` after a tick and with `held` samples at once.
fn delay(tick: FrameSize, frame: FrameSize, size: JitterBufferSize, phase: usize, held: usize) -> usize {
    let mut world = World::new(config(tick));
    // Somebody else makes time pass before.
    world.join("Zoe", layout(FrameSize::Samples128, Layout::Mono, Quality::Max));
    world.run(Duration::from_millis(100));
    let ann = world.add("Ann", layout(frame, Layout::Mono, Quality::Max));
    world.peers[ann].phase = phase;
    world.peers[ann].buffer = size;
    world.play_late(ann, held, |value| (value % PERIOD) as f32 / 32_768.0);
    world.run(Duration::from_secs(6));
    let heard = world.peers[ann].heard();
    let last = (heard[heard.len() - 1] * 32_768.0).round() as usize;
    (world.ticked_samples() + PERIOD - last) % PERIOD
}

#[test]
fn the_delay_is_the_same_at_every_connect_and_half_the_window() {
    for tick in FRAMES {
        for frame in FRAMES {
            for size in [2, 4, 8, 16] {
                let (samples, what) = (frame.samples(), format!("{tick:?} tick, {frame:?}, size {size}"));
                let mut delays = Vec::new();
                for phase in (0..PHASES).map(|step| step * 128 / PHASES) {
                    let of = |held| delay(tick, frame, JitterBufferSize::Frames(size), phase, held);
                    let [smooth, held_up] = [of(0), of(10 * samples)];
                    // A buffer may rest one frame off its target, see the jitter buffer's own tests.
                    assert!(smooth.abs_diff(held_up) <= samples, "{what}: {smooth}, held up {held_up}");
                    delays.extend([smooth, held_up]);
                }
                let (least, most) = (*delays.iter().min().unwrap(), *delays.iter().max().unwrap());
                let mean = delays.iter().sum::<usize>() as f32 / (delays.len() * samples) as f32;
                println!("{what}: {least}..={most} samples, {mean:.2} frames on average");
                // All phases of a tick of 128, and nothing more.
                assert!(most - least <= 130, "{what}: {least}..={most}");
                let half = f32::from(size / 2);
                assert!((mean - half - 0.25).abs() < 0.5, "{what}: {mean} frames on average");
            }
        }
    }
}

#[test]
fn loss_alone_does_not_make_the_automatic_size_grow() {
    for tick in FRAMES {
        for frame in FRAMES {
            let mut world = World::new(config(tick));
            let ann = world.add("Ann", layout(frame, Layout::Mono, Quality::Max));
            world.peers[ann].buffer = JitterBufferSize::Auto;
            // 2 %.
            world.peers[ann].loses_every = 50;
            world.play(ann, |_| 0.0);
            world.run(Duration::from_secs(30));
            let sizes: Vec<u8> = world.peers[ann]
                .messages
                .iter()
                .filter_map(|message| match message {
                    Message::JitterBufferSize(JitterBufferSize::Frames(frames)) => Some(*frames),
                    _ => None,
                })
                .collect();
            // It begins at 6 as in a stock server, and shrinks.
            assert_eq!(sizes.first(), Some(&6), "{tick:?} tick, {frame:?}: {sizes:?}");
            assert!(sizes.windows(2).all(|pair| pair[1] < pair[0]), "{tick:?} tick, {frame:?}: {sizes:?}");
            assert!(*sizes.last().unwrap() <= 4, "{tick:?} tick, {frame:?}: {sizes:?}");
            let stream = world.core.status(world.now).clients[0].stream;
            let share = stream.lost as f32 / stream.received as f32;
            assert!((share - 0.02).abs() < 0.002 && stream.late == 0, "{stream:?}");
        }
    }
}
