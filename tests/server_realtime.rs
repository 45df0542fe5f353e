//! The tick, and taking audio in between, keep the realtime rule: no allocation or free (libopus's
//! included), no system call, no clock. Every format at once, with loss, duplicates and nonsense.
#![cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]

use std::net::SocketAddr;
use std::time::Duration;

use jamulet::protocol::{
    ChannelInfo, JitterBufferSize, Message, PacketLayout, TransportProperties, write_frame,
};
use jamulet::server::{Config, Core};
use jamulet::units::{ChannelId, FrameSize, Layout, Quality, StreamFormat, Time};
use jamulet_testkit::guard;

struct Peer {
    address: SocketAddr,
    layout: PacketLayout,
    counter: u8,
    sent_samples: usize,
}

/// Two frame sizes, two layouts, four qualities, three factors, with and without counter.
fn every_layout() -> Vec<PacketLayout> {
    let mut layouts = Vec::new();
    for frame in [FrameSize::Samples64, FrameSize::Samples128] {
        for channels in [Layout::Mono, Layout::Stereo] {
            for quality in [Quality::Low, Quality::Normal, Quality::High, Quality::Max] {
                for (block_factor, counter) in [(1, true), (2, true), (4, true), (1, false)] {
                    let format = StreamFormat::stock(frame, channels, quality);
                    layouts.push(PacketLayout { format, block_factor, counter });
                }
            }
        }
    }
    layouts
}

fn tell(core: &mut Core, peer: &Peer, messages: &[Message]) {
    for (counter, message) in messages.iter().enumerate() {
        let (mut body, mut datagram) = (Vec::new(), Vec::new());
        message.write_body(&mut body);
        write_frame(message.id(), counter as u8, &body, &mut datagram);
        core.handle_datagram(Time::ZERO, peer.address, &datagram);
    }
}

fn join(core: &mut Core, index: usize, layout: PacketLayout) -> Peer {
    let address = SocketAddr::from(([10, 0, 0, index as u8], 22134));
    let peer = Peer { address, layout, counter: 0, sent_samples: 0 };
    core.handle_datagram(Time::ZERO, address, b"x");
    let size = if index.is_multiple_of(2) { JitterBufferSize::Auto } else { JitterBufferSize::Frames(3) };
    let messages = [
        Message::TransportProperties(TransportProperties::new(layout)),
        Message::JitterBufferSize(size),
        Message::ChannelInfo(ChannelInfo { name: format!("Peer {index}"), ..ChannelInfo::default() }),
        Message::ChannelGain { channel: ChannelId(index as u8 / 2), gain: 12_000 },
        Message::ChannelPan { channel: ChannelId(index as u8 / 2), pan: 3000 },
    ];
    tell(core, &peer, &messages);
    peer
}

/// The next packet: noise, which every decoder takes.
fn packet(peer: &mut Peer, noise: &mut u32) -> Vec<u8> {
    let frame_bytes = peer.layout.format.frame_bytes();
    let mut packet = Vec::new();
    for _ in 0..peer.layout.block_factor {
        for _ in 0..frame_bytes {
            *noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            packet.push((*noise >> 24) as u8);
        }
        if peer.layout.counter {
            packet.push(peer.counter);
            peer.counter = peer.counter.wrapping_add(1);
        }
    }
    peer.sent_samples += peer.layout.format.frame.samples() * usize::from(peer.layout.block_factor);
    packet
}

/// A listener moves the knobs of somebody.
fn turn(core: &mut Core, peer: &Peer, tick: usize) {
    let channel = ChannelId((tick / 16 % 64) as u8);
    for (counter, message) in [
        Message::ChannelGain { channel, gain: (tick * 977) as u16 },
        Message::ChannelPan { channel, pan: (tick * 613) as u16 },
    ]
    .iter()
    .enumerate()
    {
        let (mut body, mut datagram) = (Vec::new(), Vec::new());
        message.write_body(&mut body);
        write_frame(message.id(), (tick + counter) as u8, &body, &mut datagram);
        core.handle_datagram(Time::ZERO, peer.address, &datagram);
    }
}

/// Three seconds of a session; only what the rule is about is watched.
fn play(frame: FrameSize, delay_pan: bool) -> (u64, usize) {
    let layouts = every_layout();
    let config = Config { max_clients: layouts.len(), frame, delay_pan, ..Config::default() };
    let mut core = Core::new(Time::ZERO, config, 3);
    let mut peers: Vec<Peer> =
        layouts.iter().enumerate().map(|(index, layout)| join(&mut core, index, *layout)).collect();
    core.drain_transmits(|_, _| {});
    let (mut noise, mut sent, mut ticks) = (1, 0, 0);
    for tick in 1..=3 * 48_000 / frame.samples() {
        let samples = tick * frame.samples();
        let now = Time::from_micros(samples as u64 * 1_000_000 / 48_000);
        for peer in &mut peers {
            while peer.sent_samples < samples {
                let packet = packet(peer, &mut noise);
                let copies = match noise % 50 {
                    0 => 0,
                    1 => 2,
                    _ => 1,
                };
                for _ in 0..copies {
                    guard::watch(|| core.handle_datagram(now, peer.address, &packet));
                }
                if noise.is_multiple_of(97) {
                    guard::watch(|| core.handle_datagram(now, peer.address, &packet[1..]));
                }
            }
        }
        // Somebody falls silent for a while, and comes back.
        if tick % 500 == 400 {
            peers[tick % 64].sent_samples += 24_000;
        }
        if tick % 16 == 0 {
            turn(&mut core, &peers[tick / 3 % 64], tick);
            core.drain_transmits(|_, _| {});
        }
        guard::watch(|| core.tick());
        ticks += 1;
        guard::watch(|| core.drain_transmits(|_, packet| sent += packet.len()));
        if core.poll_timeout().is_some_and(|due| due <= now) {
            core.handle_timeout(now);
            core.drain_transmits(|_, _| {});
        }
    }
    assert_eq!(core.clients(), layouts.len());
    (ticks, sent)
}

#[test]
fn ticks_and_audio_keep_the_realtime_rule() {
    let thread = std::thread::Builder::new().name("tick".to_owned()).spawn(|| {
        guard::arm().unwrap();
        for (frame, delay_pan) in [(FrameSize::Samples128, true), (FrameSize::Samples64, false)] {
            let (ticks, sent) = play(frame, delay_pan);
            assert_eq!(Duration::from_nanos(ticks * frame.nanos()).as_secs_f32().round(), 3.0);
            assert!(sent > 1_000_000, "sound has come back: {sent} bytes");
        }
        guard::report()
    });
    let report = thread.unwrap().join().unwrap();
    assert!(report.is_clean() && report.wakeups == 0, "{report}");
    assert!(report.calls > 30_000, "{report}");
}

#[test]
fn the_guard_sees_what_the_rule_forbids() {
    let thread = std::thread::Builder::new().spawn(|| {
        guard::arm().unwrap();
        let mut core = Core::new(Time::ZERO, Config::default(), 3);
        // A join allocates, and may.
        guard::watch(|| core.handle_datagram(Time::ZERO, SocketAddr::from(([10, 0, 0, 1], 1)), b"x"));
        guard::report()
    });
    assert!(thread.unwrap().join().unwrap().allocations > 0);
}
