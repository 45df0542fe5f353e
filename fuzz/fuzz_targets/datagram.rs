//! Everything that `protocol` does with bytes: no panic, and what is taken stays the same once emitted.
#![no_main]

use jamulet::protocol::{
    Assembler, ConnlessMessage, Datagram, MAX_BODY_BYTES, MAX_PART_BYTES, MAX_PARTS, Message, PartRef,
    ServerAddress, TransportProperties, classify, parse_ack, split_bodies, write_frame,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    match classify(data) {
        Datagram::Frame(frame) => take_body(frame.id, frame.body),
        Datagram::Audio(audio) => assert_eq!(audio, data),
    }
    // The checksum stops nearly all input there, so take it as id and body, too.
    if let Some((id, body)) = data.split_first_chunk() {
        take_body(u16::from_le_bytes(*id), body);
        take_parts(body);
    }
    take_address(data);
});

fn take_body(id: u16, body: &[u8]) {
    let _ = parse_ack(body);
    if let Ok(part) = PartRef::parse(body) {
        let mut again = Vec::new();
        part.write(&mut again);
        assert_eq!(again, body);
    }
    if let Ok(message) = Message::parse(id, body) {
        let emitted = connected_body(&message);
        assert!(emitted.len() <= MAX_PARTS * MAX_PART_BYTES, "it must be possible to send it");
        let again = Message::parse(id, &emitted).expect("what we emit parses");
        assert_eq!(connected_body(&again), emitted);
        if let Message::TransportProperties(properties) = message {
            take_properties(&properties);
        }
    }
    if let Ok(message) = ConnlessMessage::parse(id, body) {
        let datagram = message.to_datagram();
        let Datagram::Frame(frame) = classify(&datagram) else { panic!("what we emit is a frame") };
        let again = ConnlessMessage::parse(id, frame.body).expect("what we emit parses");
        assert_eq!(again.to_datagram(), datagram);
    }
    if body.len() <= MAX_BODY_BYTES {
        let mut datagram = Vec::new();
        write_frame(id, 7, body, &mut datagram);
        assert!(matches!(classify(&datagram), Datagram::Frame(frame) if frame.body == body));
    }
}

fn connected_body(message: &Message) -> Vec<u8> {
    let mut body = Vec::new();
    message.write_body(&mut body);
    body
}

fn take_properties(properties: &TransportProperties) {
    let Ok(layout) = properties.layout() else { return };
    assert!(layout.packet_bytes() <= jamulet::units::MAX_AUDIO_PACKET_BYTES);
    let packet = vec![0; layout.packet_bytes()];
    assert_eq!(layout.frames(&packet).expect("the right size").count(), usize::from(layout.block_factor));
}

/// Takes the input as parts of arbitrary lengths, then as a body to be split and joined.
fn take_parts(data: &[u8]) {
    let mut assembler = Assembler::new();
    let mut rest = data;
    while let Some((&length, tail)) = rest.split_first() {
        let (part, tail) = tail.split_at(usize::from(length).min(tail.len()));
        if let Some((_, whole)) = assembler.push(part) {
            assert!(whole.len() <= MAX_PARTS * MAX_PART_BYTES);
        }
        rest = tail;
    }
    assembler.reset();
    let joined = split_bodies(18, data).filter_map(|part| assembler.push(&part)).last();
    if (1..=MAX_PARTS * MAX_PART_BYTES).contains(&data.len()) {
        assert_eq!(joined, Some((18, data.to_vec())));
    } else {
        assert_eq!(joined, None);
    }
}

fn take_address(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match text.parse::<ServerAddress>() {
        Ok(address) => assert_eq!(address.to_string().parse(), Ok(address)),
        Err(error) => assert!(error.to_string().len() < 250, "{error}"),
    }
}
