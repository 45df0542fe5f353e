//! Real sessions of Jamulus 3.9.1 and 4.0: every message in them comes apart and together again.

use std::collections::{BTreeMap, BTreeSet};

use jamulet::protocol::{
    ACK_ID, Assembler, ConnlessMessage, Datagram, Frame, Message, PacketLayout, SPLIT_ID, ack_body, classify,
    is_connless, parse_ack, split_bodies, write_frame,
};
use jamulet::units::{FrameSize, Layout, Quality, StreamFormat};

use jamulet_testkit::pcap::Captured;

use crate::pcap::{self, Capture, Direction, Role};

/// Every (id, direction) that some capture shows, messages inside split containers included.
pub(crate) fn seen() -> BTreeSet<(u16, Direction)> {
    let mut seen = BTreeSet::new();
    for capture in pcap::all() {
        for_each_message(&capture, |packet, id, _| {
            seen.insert((id, pcap::direction(packet)));
        });
    }
    seen
}

#[test]
fn every_message_parses_and_emits_to_identical_bytes() {
    let mut count = 0;
    for capture in pcap::all() {
        for_each_message(&capture, |_, id, body| {
            assert_eq!(emitted_again(id, body), body, "id {id} in {}", capture.name);
            count += 1;
        });
    }
    assert!(count > 1000, "only {count} messages");
}

#[test]
fn every_frame_is_written_to_identical_bytes() {
    for capture in pcap::all() {
        for packet in &capture.packets {
            if let Datagram::Frame(Frame { id, counter, body }) = classify(&packet.bytes) {
                let mut datagram = Vec::new();
                write_frame(id, counter, body, &mut datagram);
                assert_eq!(datagram, packet.bytes, "id {id} in {}", capture.name);
            }
        }
    }
}

#[test]
fn split_messages_split_again_into_identical_parts() {
    let mut directions = BTreeSet::new();
    for capture in pcap::all() {
        let mut parts: BTreeMap<u16, Vec<Vec<u8>>> = BTreeMap::new();
        let mut assemblers: BTreeMap<u16, Assembler> = BTreeMap::new();
        for packet in &capture.packets {
            let Datagram::Frame(Frame { id: SPLIT_ID, body, .. }) = classify(&packet.bytes) else {
                continue;
            };
            parts.entry(packet.from).or_default().push(body.to_vec());
            if let Some((id, whole)) = assemblers.entry(packet.from).or_default().push(body) {
                let again: Vec<_> = split_bodies(id, &whole).collect();
                assert_eq!(Some(again), parts.remove(&packet.from));
                directions.insert(pcap::direction(packet));
            }
        }
        assert!(parts.is_empty(), "parts without an end in {}", capture.name);
    }
    let both = [Direction(Role::Client, Role::Server), Direction(Role::Server, Role::Client)];
    assert_eq!(directions, BTreeSet::from(both));
}

/// Sizes are all that tells audio: from a client's first properties on, all audio from and to it
/// has a size that it announces (a change may overtake its announcement).
#[test]
fn audio_has_the_layout_that_its_properties_announce() {
    for capture in pcap::all() {
        let layouts = announced(&capture);
        let mut begun = BTreeSet::new();
        let mut early = 0;
        for packet in &capture.packets {
            match (classify(&packet.bytes), pcap::direction(packet)) {
                (Datagram::Frame(frame), _) => {
                    if announced_layout(frame.id, frame.body).is_some() {
                        begun.insert(packet.from);
                    }
                }
                (Datagram::Audio(audio), Direction(from, _)) => {
                    let client = if from == Role::Client { packet.from } else { packet.to };
                    if begun.contains(&client) {
                        let fits = layouts[&client].iter().any(|layout| layout.frames(audio).is_some());
                        assert!(fits, "{} bytes in {}: {layouts:?}", audio.len(), capture.name);
                    } else {
                        early += 1;
                    }
                }
            }
        }
        // Clients open a channel by sending audio, so their first packets come before any message.
        assert!(early <= 3, "{early} packets without properties in {}", capture.name);
    }
}

#[test]
fn qualities_are_what_the_file_names_say() {
    use FrameSize::{Samples64, Samples128};
    use Layout::{Mono, Stereo};
    use Quality::{High, Low, Max, Normal};
    for (name, frame, layout, quality, block_factor) in [
        ("block256_fact2_s391_c391_mono_high.pcap", Samples128, Mono, High, 2),
        ("gui_s391_c391_st128_normal.pcap", Samples128, Stereo, Normal, 1),
        ("gui_shead_c391_st64_high.pcap", Samples64, Stereo, High, 1),
        ("q_s391_c391_mono_128_low.pcap", Samples128, Mono, Low, 1),
        ("q_s391_c391_mono_64_normal.pcap", Samples64, Mono, Normal, 1),
        ("q_s391_c391_stereo_64_high.pcap", Samples64, Stereo, High, 1),
        ("q_shead_chead_stereo_128_raw.pcap", Samples128, Stereo, Max, 1),
    ] {
        let capture = pcap::all().into_iter().find(|capture| capture.name == name).expect(name);
        let format = StreamFormat::stock(frame, layout, quality);
        let expected = PacketLayout { format, block_factor, counter: true };
        let layouts = announced(&capture);
        let last: Vec<_> = layouts.values().map(|layouts| layouts[layouts.len() - 1]).collect();
        assert_eq!(last, [expected], "{name}");
        counters_count(&capture, expected);
    }
}

/// In each direction the counters of the capture's `layout` go up by one from frame to frame.
fn counters_count(capture: &Capture, layout: PacketLayout) {
    let mut expected: BTreeMap<Direction, u8> = BTreeMap::new();
    let mut frames = 0;
    for packet in &capture.packets {
        let Datagram::Audio(audio) = classify(&packet.bytes) else { continue };
        for (_, counter) in layout.frames(audio).into_iter().flatten() {
            let counter = counter.expect("a layout with counter");
            let next = expected.entry(pcap::direction(packet)).or_insert(counter);
            assert_eq!(counter, *next, "frame {frames} in {}", capture.name);
            *next = next.wrapping_add(1);
            frames += 1;
        }
    }
    assert!(frames > 500, "only {frames} frames in {}", capture.name);
    assert_eq!(expected.len(), 2, "audio goes both ways in {}", capture.name);
}

/// The layouts that each client (by port) announces, in order.
fn announced(capture: &Capture) -> BTreeMap<u16, Vec<PacketLayout>> {
    let mut layouts: BTreeMap<u16, Vec<PacketLayout>> = BTreeMap::new();
    for_each_message(capture, |packet, id, body| {
        if let Some(layout) = announced_layout(id, body) {
            layouts.entry(packet.from).or_default().push(layout);
        }
    });
    layouts
}

fn announced_layout(id: u16, body: &[u8]) -> Option<PacketLayout> {
    match Message::parse(id, body) {
        Ok(Message::TransportProperties(properties)) => {
            Some(properties.layout().expect("stock clients announce what we take"))
        }
        _ => None,
    }
}

/// Visits every frame's (id, body), then, after its last part, what a split container held.
fn for_each_message(capture: &Capture, mut visit: impl FnMut(&Captured, u16, &[u8])) {
    let mut assemblers: BTreeMap<(u16, u16), Assembler> = BTreeMap::new();
    for packet in &capture.packets {
        let Datagram::Frame(Frame { id, body, .. }) = classify(&packet.bytes) else { continue };
        visit(packet, id, body);
        let assembler = assemblers.entry((packet.from, packet.to)).or_default();
        if id == SPLIT_ID {
            if let Some((id, whole)) = assembler.push(body) {
                visit(packet, id, &whole);
            }
        } else if id != ACK_ID && !is_connless(id) {
            assembler.reset();
        }
    }
}

/// `body` parsed and emitted, by whatever its id says it is.
pub(crate) fn emitted_again(id: u16, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match id {
        ACK_ID => out.extend(ack_body(parse_ack(body).expect("an ACK"))),
        SPLIT_ID => jamulet::protocol::PartRef::parse(body).expect("a part").write(&mut out),
        _ if is_connless(id) => {
            let message = ConnlessMessage::parse(id, body).unwrap_or_else(|e| panic!("{id}: {e}"));
            assert_eq!(message.id(), id);
            message.write_body(&mut out);
        }
        _ => {
            let message = Message::parse(id, body).unwrap_or_else(|e| panic!("{id}: {e}"));
            assert_eq!(message.id(), id);
            message.write_body(&mut out);
        }
    }
    out
}
