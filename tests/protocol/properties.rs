//! Arbitrary messages survive the wire; arbitrary bytes survive us.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::LazyLock;

use jamulet::protocol::{
    Assembler, ChannelInfo, ClientEntry, ConnlessMessage, Datagram, Frame, JitterBufferSize, MAX_BODY_BYTES,
    MAX_LEVEL, MAX_PART_BYTES, MAX_PARTS, Message, Os, PacketLayout, ParseError, PartRef, RecorderState,
    ReducedServerEntry, RegistrationResult, ServerAddress, ServerEntry, ServerRegistration, Skill,
    TransportProperties, classify, cut_to_utf16, parse_ack, split_bodies, utf16_len, write_frame,
};
use jamulet::units::{ChannelId, Coding, FrameSize, Layout, StreamFormat};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::pcap;

proptest! {
    #[test]
    fn connected_messages_round_trip(message in message(), counter: u8) {
        let mut body = Vec::new();
        message.write_body(&mut body);
        let parsed = Message::parse(message.id(), &body);
        prop_assert_eq!(parsed.as_ref(), Ok(&message));
        let mut datagram = Vec::new();
        write_frame(message.id(), counter, &body, &mut datagram);
        prop_assert_eq!(classify(&datagram), Datagram::Frame(Frame { id: message.id(), counter, body: &body }));
    }

    #[test]
    fn connection_less_messages_round_trip(message in connless_message()) {
        let datagram = message.to_datagram();
        let Datagram::Frame(Frame { id, counter: 0, body }) = classify(&datagram) else {
            return Err(TestCaseError::fail("no frame"));
        };
        prop_assert_eq!(id, message.id());
        prop_assert_eq!(ConnlessMessage::parse(id, body), Ok(message));
    }

    #[test]
    fn bodies_survive_splitting(id: u16, body in vec(any::<u8>(), 1..=MAX_PARTS * MAX_PART_BYTES)) {
        let mut assembler = Assembler::new();
        let whole: Vec<_> = split_bodies(id, &body).filter_map(|part| assembler.push(&part)).collect();
        prop_assert_eq!(whole, [(id, body)]);
    }

    #[test]
    fn layouts_survive_their_properties(layout in layout()) {
        let properties = TransportProperties::new(layout);
        prop_assert_eq!(properties.layout(), Ok(layout));
        let packet = vec![7; layout.packet_bytes()];
        let frames = layout.frames(&packet).map(Iterator::count);
        prop_assert_eq!(frames, Some(usize::from(layout.block_factor)));
        prop_assert!(layout.frames(&packet[1..]).is_none());
    }

    /// What properties we accept, whatever they are, announces packets that fit our buffers.
    #[test]
    fn accepted_properties_announce_bounded_packets(properties in likely_properties()) {
        if let Ok(layout) = properties.layout() {
            prop_assert!(layout.packet_bytes() <= jamulet::units::MAX_AUDIO_PACKET_BYTES);
            prop_assert!(layout.format.frame_bytes() >= 10);
            prop_assert_eq!(layout.unit_bytes(), properties.packet_size as usize);
        }
    }

    #[test]
    fn arbitrary_datagrams_do_no_harm(datagram in vec(any::<u8>(), 0..2000)) {
        take_datagram(&datagram);
    }

    /// Bodies of known ids, mostly of small bytes, so that lengths and counts make some sense.
    #[test]
    fn arbitrary_bodies_do_no_harm(id in any_id(), body in vec(prop_oneof![4 => 0u8..9, 1 => any::<u8>()], 0..400)) {
        take_body(id, &body);
        let mut datagram = Vec::new();
        write_frame(id, 3, &body, &mut datagram);
        prop_assert_eq!(classify(&datagram), Datagram::Frame(Frame { id, counter: 3, body: &body }));
    }

    #[test]
    fn mutated_captures_do_no_harm(which: Index, changes in vec((any::<Index>(), change()), 1..6)) {
        let mut datagram = which.get(&CAPTURED[..]).clone();
        changes.iter().for_each(|(at, change)| change.apply(*at, &mut datagram));
        take_datagram(&datagram);
        // The checksum refuses nearly all of these, so hand the body over as a liar would: well framed.
        if let (Some(id), Some(body)) = (datagram.get(2..4), datagram.get(7..datagram.len().saturating_sub(2))) {
            take_body(u16::from_le_bytes([id[0], id[1]]), body);
        }
    }

    #[test]
    fn arbitrary_parts_do_no_harm(
        parts in vec((0..2u16, 0..4u8, 0..4u8, vec(any::<u8>(), 0..600)), 0..20),
    ) {
        let mut assembler = Assembler::new();
        for (id, parts, index, data) in parts {
            let head = [id.to_le_bytes()[0], id.to_le_bytes()[1], parts, index];
            if let Some((_, whole)) = assembler.push(&[&head, &data[..]].concat()) {
                prop_assert!(whole.len() <= MAX_PARTS * MAX_PART_BYTES);
            }
        }
    }

    #[test]
    fn arbitrary_addresses_do_no_harm(text in any::<String>()) {
        take_address(&text)?;
    }

    #[test]
    fn address_like_texts_do_no_harm(text in r"(jamulus://)?\[?[a-z0-9.:%\-]{0,40}\]?(:[0-9]{0,7})?/?") {
        take_address(&text)?;
    }

    #[test]
    fn cutting_keeps_what_fits(text in any::<String>(), max_units in 0usize..40) {
        let cut = cut_to_utf16(&text, max_units);
        prop_assert!(text.starts_with(cut));
        prop_assert!(utf16_len(cut) <= max_units);
        let next = text[cut.len()..].chars().next();
        prop_assert!(next.is_none_or(|next| utf16_len(cut) + next.len_utf16() > max_units));
    }
}

/// A list as long as a datagram allows is bounded by that datagram, for each kind of list.
#[test]
fn the_longest_lists_are_bounded() {
    let body = vec![0; MAX_BODY_BYTES];
    let Ok(ConnlessMessage::LevelList(levels)) = ConnlessMessage::parse(1015, &body) else { panic!() };
    assert_eq!(levels.len(), 2 * MAX_BODY_BYTES);
    let whole = |entry: usize| &body[..MAX_BODY_BYTES / entry * entry];
    let Ok(Message::ClientList(entries)) = Message::parse(24, whole(16)) else { panic!() };
    assert_eq!(entries.len(), MAX_BODY_BYTES / 16);
    let Ok(ConnlessMessage::ServerList(entries)) = ConnlessMessage::parse(1006, whole(16)) else { panic!() };
    assert_eq!(entries.len(), MAX_BODY_BYTES / 16);
    let Ok(ConnlessMessage::ReducedServerList(entries)) = ConnlessMessage::parse(1018, whole(7)) else {
        panic!()
    };
    assert_eq!(entries.len(), MAX_BODY_BYTES / 7);
}

/// Messages (not audio) of all captures, each only once.
static CAPTURED: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let payloads = pcap::all().into_iter().flat_map(|capture| capture.packets).map(|packet| packet.bytes);
    let mut messages: Vec<_> =
        payloads.filter(|payload| matches!(classify(payload), Datagram::Frame(_))).collect();
    messages.sort();
    messages.dedup();
    messages
});

/// One way to spoil bytes at some place.
#[derive(Clone, Copy, Debug)]
enum Change {
    Set(u8),
    Insert(u8),
    Remove,
    CutOff,
}

impl Change {
    fn apply(self, at: Index, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let at = at.index(bytes.len());
        match self {
            Self::Set(value) => bytes[at] = value,
            Self::Insert(value) => bytes.insert(at, value),
            Self::Remove => drop(bytes.remove(at)),
            Self::CutOff => bytes.truncate(at),
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => any::<u8>().prop_map(Change::Set),
        1 => any::<u8>().prop_map(Change::Insert),
        1 => Just(Change::Remove),
        1 => Just(Change::CutOff),
    ]
}

fn take_datagram(datagram: &[u8]) {
    match classify(datagram) {
        Datagram::Frame(frame) => take_body(frame.id, frame.body),
        Datagram::Audio(audio) => assert_eq!(audio, datagram),
    }
}

/// Every parser gets it, and what one of them takes must stay the same once emitted.
fn take_body(id: u16, body: &[u8]) {
    let _ = parse_ack(body);
    let _ = PartRef::parse(body);
    assert!(Assembler::new().push(body).is_none_or(|(_, whole)| whole.len() <= body.len()));
    settles(body, |body| Message::parse(id, body), Message::write_body);
    settles(body, |body| ConnlessMessage::parse(id, body), ConnlessMessage::write_body);
}

fn settles<T>(
    body: &[u8],
    parse: impl Fn(&[u8]) -> Result<T, ParseError>,
    write_body: impl Fn(&T, &mut Vec<u8>),
) {
    let emitted = |body: &[u8]| {
        let message = parse(body)?;
        let mut out = Vec::new();
        write_body(&message, &mut out);
        Ok::<_, ParseError>(out)
    };
    if let Ok(once) = emitted(body) {
        assert_eq!(emitted(&once).as_ref(), Ok(&once), "what we emit must parse, to the same");
    }
}

fn take_address(text: &str) -> Result<(), TestCaseError> {
    match text.parse::<ServerAddress>() {
        Ok(address) => prop_assert_eq!(address.to_string().parse(), Ok(address)),
        Err(error) => prop_assert!(error.to_string().len() < 250, "{}", error),
    }
    Ok(())
}

fn any_id() -> impl Strategy<Value = u16> {
    prop_oneof![10u16..=36, 1001u16..=1022, Just(2001), any::<u16>()]
}

/// Text of at most this many UTF-16 code units, any characters.
fn text(max_units: usize) -> impl Strategy<Value = String> {
    vec(any::<char>(), 0..=max_units).prop_map(move |text| {
        let text: String = text.into_iter().collect();
        cut_to_utf16(&text, max_units).to_owned()
    })
}

fn channel() -> impl Strategy<Value = ChannelId> {
    any::<u8>().prop_map(ChannelId)
}

fn channel_info() -> impl Strategy<Value = ChannelInfo> {
    (any::<u16>(), any::<u32>(), any::<u8>(), text(16), text(20)).prop_map(
        |(country, instrument, skill, name, city)| ChannelInfo {
            country,
            instrument,
            skill: Skill(skill),
            name,
            city,
        },
    )
}

/// Up to a full server of 150: the longest list that must travel.
fn client_list() -> impl Strategy<Value = Vec<ClientEntry>> {
    vec((channel(), channel_info()).prop_map(|(channel, info)| ClientEntry { channel, info }), 0..=150)
}

fn registration() -> impl Strategy<Value = ServerRegistration> {
    (any::<(u16, u16, u8, bool)>(), text(20), text(15), text(20)).prop_map(
        |((internal_port, country, max_clients, permanent), name, internal_address, city)| {
            ServerRegistration {
                internal_port,
                country,
                max_clients,
                permanent,
                name,
                internal_address,
                city,
            }
        },
    )
}

fn server_entry() -> impl Strategy<Value = ServerEntry> {
    (any::<Ipv4Addr>(), registration()).prop_map(|(ip, registration)| ServerEntry { ip, registration })
}

fn address() -> impl Strategy<Value = SocketAddrV4> {
    any::<(Ipv4Addr, u16)>().prop_map(|(ip, port)| SocketAddrV4::new(ip, port))
}

fn reduced_entry() -> impl Strategy<Value = ReducedServerEntry> {
    (address(), text(63)).prop_map(|(address, name)| ReducedServerEntry { address, name })
}

fn properties() -> impl Strategy<Value = TransportProperties> {
    any::<(u32, u16, u8, u32, u16, u16, u32)>().prop_map(
        |(packet_size, block_factor, channels, sample_rate, codec, flags, codec_argument)| {
            TransportProperties {
                packet_size,
                block_factor,
                channels,
                sample_rate,
                codec,
                flags,
                codec_argument,
            }
        },
    )
}

/// Properties of which a good part is acceptable.
fn likely_properties() -> impl Strategy<Value = TransportProperties> {
    (properties(), 0u32..600, 0u16..6, 0u8..4, 0u16..5, 0u16..2).prop_map(
        |(arbitrary, packet_size, block_factor, channels, codec, flags)| TransportProperties {
            packet_size,
            block_factor,
            channels,
            codec,
            flags,
            sample_rate: 48_000,
            ..arbitrary
        },
    )
}

fn layout() -> impl Strategy<Value = PacketLayout> {
    let coding = prop_oneof![(10u16..=255).prop_map(|bytes| Coding::Opus { bytes }), Just(Coding::Raw)];
    let frame = select(vec![FrameSize::Samples64, FrameSize::Samples128]);
    let layout = select(vec![Layout::Mono, Layout::Stereo]);
    (frame, layout, coding, select(vec![1u8, 2, 4]), any::<bool>()).prop_filter_map(
        "an Opus frame of raw's size cannot be told",
        |(frame, layout, coding, block_factor, counter)| {
            let format = StreamFormat { frame, layout, coding };
            let raw = StreamFormat { coding: Coding::Raw, ..format };
            let tells = coding == Coding::Raw || format.frame_bytes() != raw.frame_bytes();
            tells.then_some(PacketLayout { format, block_factor, counter })
        },
    )
}

fn message() -> impl Strategy<Value = Message> {
    let buffer = prop_oneof![(1u8..=20).prop_map(JitterBufferSize::Frames), Just(JitterBufferSize::Auto)];
    let recorder =
        select(vec![RecorderState::NotInitialised, RecorderState::NotEnabled, RecorderState::Recording]);
    prop_oneof![
        buffer.prop_map(Message::JitterBufferSize),
        (channel(), any::<u16>()).prop_map(|(channel, gain)| Message::ChannelGain { channel, gain }),
        text(1800).prop_map(Message::ChatText),
        properties().prop_map(Message::TransportProperties),
        client_list().prop_map(Message::ClientList),
        channel_info().prop_map(Message::ChannelInfo),
        any::<u8>().prop_map(Message::LicenceRequired),
        any::<u8>().prop_map(Message::RequestLevelList),
        (any::<u8>(), text(50)).prop_map(|(os, version)| Message::VersionAndOs { os: Os(os), version }),
        (channel(), any::<u16>()).prop_map(|(channel, pan)| Message::ChannelPan { channel, pan }),
        (channel(), any::<bool>()).prop_map(|(channel, muted)| Message::MuteStateChanged { channel, muted }),
        channel().prop_map(Message::ClientId),
        recorder.prop_map(Message::RecorderState),
        select(vec![
            Message::RequestJitterBufferSize,
            Message::RequestClientList,
            Message::RequestTransportProperties,
            Message::RequestChannelInfo,
            Message::OpusSupported,
            Message::RequestSplitSupport,
            Message::SplitSupported,
            Message::RawAudioSupported,
        ]),
    ]
}

fn connless_message() -> impl Strategy<Value = ConnlessMessage> {
    let result = select(vec![
        RegistrationResult::Registered,
        RegistrationResult::ListFull,
        RegistrationResult::VersionTooOld,
        RegistrationResult::RequirementsNotFulfilled,
    ]);
    prop_oneof![
        any::<u32>().prop_map(|time_ms| ConnlessMessage::Ping { time_ms }),
        any::<(u32, u8)>()
            .prop_map(|(time_ms, clients)| ConnlessMessage::PingWithClients { time_ms, clients }),
        registration().prop_map(ConnlessMessage::RegisterServer),
        vec(server_entry(), 0..=100).prop_map(ConnlessMessage::ServerList),
        address().prop_map(ConnlessMessage::SendEmptyMessage),
        (any::<u8>(), text(50))
            .prop_map(|(os, version)| ConnlessMessage::VersionAndOs { os: Os(os), version }),
        client_list().prop_map(ConnlessMessage::ClientList),
        vec(0..=MAX_LEVEL, 0..=150).prop_map(ConnlessMessage::LevelList),
        result.prop_map(ConnlessMessage::RegistrationResult),
        (registration(), any::<u8>(), text(50)).prop_map(|(registration, os, version)| {
            ConnlessMessage::RegisterServerEx { registration, os: Os(os), version }
        }),
        vec(reduced_entry(), 0..=60).prop_map(ConnlessMessage::ReducedServerList),
        any::<u32>().prop_map(ConnlessMessage::ServerFeatures),
        text(1800).prop_map(ConnlessMessage::WelcomeMessage),
        select(vec![
            ConnlessMessage::ServerFull,
            ConnlessMessage::UnregisterServer,
            ConnlessMessage::RequestServerList,
            ConnlessMessage::EmptyMessage,
            ConnlessMessage::Disconnection,
            ConnlessMessage::RequestVersionAndOs,
            ConnlessMessage::RequestClientList,
            ConnlessMessage::RequestServerFeatures,
            ConnlessMessage::RequestWelcomeMessage,
        ]),
    ]
}
