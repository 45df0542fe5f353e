//! Anything may arrive, at any time, from anywhere: nothing panics, nothing grows, and the same inputs
//! always give the same outputs.

use std::net::SocketAddr;
use std::time::Duration;

use jamulet::protocol::{ChannelInfo, Message, PacketLayout, TransportProperties, write_frame};
use jamulet::server::{Config, Core};
use jamulet::units::{FrameSize, Layout, Quality, StreamFormat, Time};
use proptest::prelude::*;

use super::world::{World, raw_mono, raw_stereo};

#[derive(Clone, Debug)]
enum Step {
    Datagram { from: u8, bytes: Vec<u8> },
    Ticks(u8),
    Pass(Duration),
}

/// Messages that a client of some format sends to be let in, and its packets' length.
fn format() -> impl Strategy<Value = PacketLayout> {
    let frame = prop_oneof![Just(FrameSize::Samples64), Just(FrameSize::Samples128)];
    let layout = prop_oneof![Just(Layout::Mono), Just(Layout::Stereo)];
    let quality = prop_oneof![Just(Quality::Low), Just(Quality::High), Just(Quality::Max)];
    let factor = prop_oneof![Just(1), Just(2), Just(4)];
    (frame, layout, quality, factor, any::<bool>()).prop_map(
        |(frame, layout, quality, block_factor, counter)| PacketLayout {
            format: StreamFormat::stock(frame, layout, quality),
            block_factor,
            counter,
        },
    )
}

fn frame(id: u16, counter: u8, body: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    write_frame(id, counter, body, &mut datagram);
    datagram
}

fn sensible_frame() -> impl Strategy<Value = Vec<u8>> {
    (format(), any::<u8>()).prop_map(|(layout, counter)| {
        let message = Message::TransportProperties(TransportProperties::new(layout));
        let mut body = Vec::new();
        message.write_body(&mut body);
        frame(message.id(), counter, &body)
    })
}

fn random_frame() -> impl Strategy<Value = Vec<u8>> {
    let id = prop_oneof![0u16..40, 1000u16..1025, Just(2001u16), any::<u16>()];
    (id, any::<u8>(), prop::collection::vec(any::<u8>(), 0..80))
        .prop_map(|(id, counter, body)| frame(id, counter, &body))
}

fn infos() -> impl Strategy<Value = Vec<u8>> {
    (any::<u8>(), "[a-z<&\u{1F3B8}]{0,9}").prop_map(|(counter, name)| {
        let info = jamulet::protocol::ChannelInfo { name, ..Default::default() };
        let mut body = Vec::new();
        Message::ChannelInfo(info).write_body(&mut body);
        frame(25, counter, &body)
    })
}

fn chat() -> impl Strategy<Value = Vec<u8>> {
    (any::<u8>(), "\\PC{0,300}").prop_map(|(counter, text)| {
        let mut body = Vec::new();
        Message::ChatText(text).write_body(&mut body);
        frame(18, counter, &body)
    })
}

fn acks() -> impl Strategy<Value = Vec<u8>> {
    let ids = prop_oneof![
        Just(32u16),
        Just(36),
        Just(24),
        Just(34),
        Just(21),
        Just(11),
        Just(23),
        Just(29),
        Just(2001)
    ];
    (ids, 0u8..20).prop_map(|(id, counter)| frame(1, counter, &id.to_le_bytes()))
}

fn packet() -> impl Strategy<Value = Vec<u8>> {
    (format(), any::<u8>(), any::<u8>()).prop_map(|(layout, fill, counter)| {
        let mut packet = vec![fill; layout.packet_bytes()];
        if let Some(last) = packet.last_mut() {
            *last = counter;
        }
        packet
    })
}

fn datagram() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        2 => prop::collection::vec(any::<u8>(), 0..600),
        4 => packet(),
        3 => random_frame(),
        3 => sensible_frame(),
        3 => infos(),
        1 => chat(),
        4 => acks(),
        1 => (sensible_frame(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(mut bytes, at, value)| {
            let at = at.index(bytes.len());
            bytes[at] = value;
            bytes
        }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0u8..6, datagram()).prop_map(|(from, bytes)| Step::Datagram { from, bytes }),
        2 => (1u8..6).prop_map(Step::Ticks),
        1 => prop_oneof![0u64..5_000, 0u64..3_000_000, Just(31_000_000u64)]
            .prop_map(|micros| Step::Pass(Duration::from_micros(micros))),
    ]
}

/// Everything that the core said, after each step.
fn play(core: &mut Core, steps: &[Step]) -> Vec<(SocketAddr, Vec<u8>)> {
    let mut now = Time::ZERO;
    let mut said = Vec::new();
    for step in steps {
        match step {
            Step::Datagram { from, bytes } => {
                core.handle_datagram(now, SocketAddr::from(([10, 0, 0, *from], 1)), bytes);
            }
            Step::Ticks(count) => (0..*count).for_each(|_| core.tick()),
            Step::Pass(duration) => now += *duration,
        }
        if core.poll_timeout().is_some_and(|due| due <= now) {
            core.handle_timeout(now);
            assert!(core.poll_timeout().is_none_or(|due| due > now));
        }
        core.drain_transmits(|to, datagram| said.push((to, datagram.to_vec())));
        while let Some(event) = core.poll_event() {
            assert!(!event.to_string().contains('\n'));
        }
    }
    said
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn anything_may_arrive(steps in prop::collection::vec(step(), 0..200), is_fast: bool) {
        let frame = if is_fast { FrameSize::Samples64 } else { FrameSize::Samples128 };
        let config = Config { max_clients: 4, frame, welcome: Some("w".repeat(700)), ..Config::default() };
        let said = play(&mut Core::new(Time::ZERO, config.clone(), 7), &steps);
        prop_assert_eq!(&said, &play(&mut Core::new(Time::ZERO, config, 7), &steps));
        let (sent, received) = steps.iter().fold((0, 0), |(sent, received), step| match step {
            Step::Datagram { bytes, .. } => (sent + 1, received + bytes.len()),
            _ => (sent, received),
        });
        // Nobody here acknowledges reliably, so answers stay in proportion.
        let bytes: usize = said.iter().map(|(_, datagram)| datagram.len()).sum();
        prop_assert!(bytes <= 100_000 + 4000 * sent + 10 * received, "{bytes} bytes for {sent} datagrams");
    }
}

#[test]
fn a_client_that_changes_its_name_all_the_time_costs_everyone_a_few_lists_only() {
    let mut world = World::new(Config::default());
    let (ann, bob) = (world.join("Ann", raw_mono()), world.join("Bob", raw_mono()));
    world.run(Duration::from_secs(1));
    world.peers[bob].messages.clear();
    for number in 0..200 {
        let name = format!("Ann {number}");
        world.tell(ann, &Message::ChannelInfo(ChannelInfo { name, ..ChannelInfo::default() }));
    }
    assert!(world.peers[bob].lists().len() <= 8, "{} lists at once", world.peers[bob].lists().len());
    world.run(Duration::from_secs(1));
    let lists = world.peers[bob].lists();
    assert!(lists.len() <= 9, "{} lists", lists.len());
    assert_eq!(lists.last().unwrap()[0], (0, "Ann 199".to_owned()), "the last name reaches everyone");
}

#[test]
fn a_client_that_changes_its_format_all_the_time_gets_a_few_codecs_and_the_last_format() {
    let mut world = World::new(Config::default());
    let ann = world.join("Ann", raw_mono());
    let format = |world: &mut World| world.core.status(world.now).clients[0].layout;
    let tell = |world: &mut World, layout| {
        world.tell(ann, &Message::TransportProperties(TransportProperties::new(layout)));
    };
    for _ in 0..50 {
        tell(&mut world, raw_stereo());
        tell(&mut world, raw_mono());
    }
    assert_eq!(format(&mut world), Some(raw_stereo()), "the last one is taken up later");
    world.run(Duration::from_millis(300));
    assert_eq!(format(&mut world), Some(raw_mono()));
}
