//! The server's side of real captures, played to our client: it says what the stock client said.
//!
//! The server's datagrams arrive when they did, and the user's actions (chat, rename, faders,
//! leaving) happen when they did; only acknowledgements are ours to invent, because they name our
//! counters: everything we send is acknowledged at once, and again when the stock client's was not.
//!
//! What we say must equal what the stock client said, payload by payload in order, but for what
//! [`intended`] names.

use std::time::Duration;

use jamulet::protocol::{
    ACK_ID, ChannelInfo, ConnlessMessage, Datagram, JitterBufferSize, Message, PacketLayout, SPLIT_ID,
    classify, is_connless, write_frame,
};
use jamulet::session::{ClientConfig, ClientEvent, ClientSession, Connection, EndReason};
use jamulet::units::{BufferSize, Coding, Quality, StreamFormat, Time};

use crate::model::SERVER;
use jamulet_testkit::pcap::{Captured, read};

const SERVER_PORT: u16 = 22124;
const PROPERTIES: u16 = 20;
const JITTER_BUFFER: u16 = 10;
const SPLIT_SUPPORTED: u16 = 35;

/// Fader moves are collected for this long before they leave, so this much earlier did the user act.
const FADER_DELAY: Duration = Duration::from_millis(50);

/// One message on the wire: id and body, whole or a part in its container.
type Payload = (u16, Vec<u8>);

/// What the stock client did in a capture.
struct Stock {
    /// Its connected messages in order, resends left out.
    said: Vec<Payload>,
    /// What its user did.
    actions: Vec<(Time, Action)>,
    /// What it was set to.
    config: ClientConfig,
    /// Whether it said goodbye.
    left: bool,
}

enum Action {
    SendAudio,
    Message(Message),
    Leave,
}

fn frame_of(bytes: &[u8]) -> Option<(u16, u8, &[u8])> {
    match classify(bytes) {
        Datagram::Frame(frame) => Some((frame.id, frame.counter, frame.body)),
        Datagram::Audio(_) => None,
    }
}

impl Stock {
    fn of(capture: &[Captured], port: u16) -> Self {
        let mut said: Vec<Payload> = Vec::new();
        let mut messages = Vec::new();
        let mut actions = Vec::new();
        let mut left = false;
        let mut last_counter = None;
        // A connection understands the client as its server did: resends and parts.
        let mut server = Connection::new(Time::ZERO);
        for datagram in capture.iter().filter(|datagram| datagram.from == port) {
            match classify(&datagram.bytes) {
                Datagram::Audio(_) => actions.push((datagram.at, Action::SendAudio)),
                Datagram::Frame(frame) if is_connless(frame.id) => {
                    if let Ok(ConnlessMessage::Disconnection) = ConnlessMessage::parse(frame.id, frame.body)
                        && !std::mem::replace(&mut left, true)
                    {
                        actions.push((datagram.at, Action::Leave));
                    }
                }
                Datagram::Frame(frame) if frame.id != ACK_ID => {
                    if last_counter.replace(frame.counter) != Some(frame.counter) {
                        said.push((frame.id, frame.body.to_vec()));
                    }
                    if let Some(message) = server.handle_frame(datagram.at, &frame) {
                        messages.push(message.clone());
                        let is_fader =
                            matches!(message, Message::ChannelGain { .. } | Message::ChannelPan { .. });
                        let at = if is_fader { datagram.at - FADER_DELAY } else { datagram.at };
                        actions.push((at, Action::Message(message)));
                    }
                }
                Datagram::Frame(_) => {}
            }
        }
        actions.sort_by_key(|(at, _)| *at);
        Self { said, actions, config: config_of(&messages), left }
    }

    /// Where the introduction ends: everything from here on answers the server or the user.
    fn introduction(&self) -> usize {
        self.said.iter().position(|(id, _)| *id == SPLIT_SUPPORTED).expect("every capture has a 35")
    }
}

/// The settings that a stock client's messages reveal.
fn config_of(messages: &[Message]) -> ClientConfig {
    let layout = messages.iter().rev().find_map(|message| match message {
        Message::TransportProperties(properties) => properties.layout().ok(),
        _ => None,
    });
    let server_buffer = messages.iter().rev().find_map(|message| match message {
        Message::JitterBufferSize(JitterBufferSize::Frames(frames)) => Some(BufferSize::Frames(*frames)),
        Message::JitterBufferSize(JitterBufferSize::Auto) => Some(BufferSize::Auto),
        _ => None,
    });
    let info = messages.iter().find_map(|message| match message {
        Message::ChannelInfo(info) => Some(info.clone()),
        _ => None,
    });
    ClientConfig {
        server: SERVER,
        info: info.expect("every client tells who it is"),
        layout: layout.expect("every client tells its properties"),
        server_buffer: server_buffer.expect("every client tells its buffer size"),
    }
}

/// What we say in place of what the stock client said. The differences, all before the first answer:
///
/// 1. 3.9.1 tells its properties and buffer size over and over while it loads its settings, first
///    those of a default setting (mono, low). We tell ours once.
/// 2. 4.0 does not tell its buffer size before it is asked. We do, like 3.9.1.
/// 3. 4.0 first tells its properties when the server offers raw audio. We tell them at once, high
///    quality in raw's place, and again upon the offer only if we want raw.
fn intended(stock: &Stock) -> Vec<Payload> {
    let wanted = PacketLayout { counter: false, ..stock.config.layout };
    let mut expected = Vec::new();
    if wanted.format.coding == Coding::Raw {
        let format = StreamFormat::stock(wanted.format.frame, wanted.format.layout, Quality::High);
        expected.push(properties(PacketLayout { format, ..wanted }));
        expected.push(buffer(stock));
        expected.push(properties(wanted));
    } else {
        expected.push(properties(wanted));
        expected.push(buffer(stock));
    }
    let (introduction, answers) = stock.said.split_at(stock.introduction());
    for (id, _) in introduction {
        assert!([PROPERTIES, JITTER_BUFFER].contains(id), "no {id} is covered by the named differences");
    }
    expected.extend_from_slice(answers);
    expected
}

fn properties(layout: PacketLayout) -> Payload {
    payload(&Message::TransportProperties(jamulet::protocol::TransportProperties::new(layout)))
}

fn buffer(stock: &Stock) -> Payload {
    payload(&Message::JitterBufferSize(match stock.config.server_buffer {
        BufferSize::Frames(frames) => JitterBufferSize::Frames(frames),
        BufferSize::Auto => JitterBufferSize::Auto,
    }))
}

fn payload(message: &Message) -> Payload {
    let mut body = Vec::new();
    message.write_body(&mut body);
    (message.id(), body)
}

/// Our client in a stock client's place.
struct Replay {
    session: ClientSession,
    info: ChannelInfo,
    said: Vec<Payload>,
    counters: Vec<u8>,
    acks: Vec<(u16, u8)>,
    connless: Vec<(Time, ConnlessMessage)>,
    events: Vec<ClientEvent>,
    heard: u64,
}

impl Replay {
    fn new(stock: &Stock) -> Self {
        Self {
            session: ClientSession::new(Time::ZERO, stock.config.clone()),
            info: stock.config.info.clone(),
            said: Vec::new(),
            counters: Vec::new(),
            acks: Vec::new(),
            connless: Vec::new(),
            events: Vec::new(),
            heard: 0,
        }
    }

    fn run(mut self, capture: &[Captured], port: u16, stock: &Stock) -> Self {
        let mut actions = stock.actions.iter().peekable();
        for datagram in capture {
            self.pass_until(datagram.at);
            while let Some((at, action)) = actions.next_if(|(at, _)| *at <= datagram.at) {
                self.act(*at, action);
            }
            let is_ack = frame_of(&datagram.bytes).is_some_and(|(id, ..)| id == ACK_ID);
            if datagram.to == port && datagram.from == SERVER_PORT && !is_ack {
                self.hear(datagram.at, &datagram.bytes);
            }
        }
        let end = capture.last().expect("captures are not empty").at + Duration::from_millis(400);
        self.pass_until(end);
        self
    }

    fn pass_until(&mut self, now: Time) {
        while let Some(due) = self.session.poll_timeout().filter(|&due| due <= now) {
            self.session.handle_timeout(due);
            self.drain(due);
        }
    }

    fn act(&mut self, now: Time, action: &Action) {
        match action {
            Action::SendAudio => self.session.audio_sent(now),
            Action::Leave => self.session.leave(now),
            Action::Message(Message::ChatText(text)) => self.session.chat(now, text),
            Action::Message(Message::ChannelGain { channel, gain }) => {
                self.session.set_gain(now, *channel, f32::from(*gain) / 32768.0);
            }
            Action::Message(Message::ChannelPan { channel, pan }) => {
                self.session.set_pan(now, *channel, f32::from(*pan) / 32768.0);
            }
            Action::Message(Message::ChannelInfo(info)) if *info != self.info => {
                self.info = info.clone();
                self.session.set_info(now, info.clone());
            }
            // The rest the stock client said of its own accord, and so must we.
            Action::Message(_) => {}
        }
        self.drain(now);
    }

    fn hear(&mut self, now: Time, datagram: &[u8]) {
        if let Some(packet) = self.session.handle_datagram(now, SERVER, datagram) {
            assert!(self.session.audio_layout().frames(packet).is_some());
            self.heard += 1;
        }
        self.drain(now);
    }

    fn drain(&mut self, now: Time) {
        while let Some(datagram) = self.session.poll_transmit() {
            let (id, counter, body) = frame_of(&datagram).expect("the session sends frames only");
            if id == ACK_ID {
                self.acks.push((u16::from_le_bytes([body[0], body[1]]), counter));
            } else if is_connless(id) {
                self.connless.push((now, ConnlessMessage::parse(id, body).expect("ours are valid")));
            } else {
                self.said.push((id, body.to_vec()));
                self.counters.push(counter);
                let mut ack = Vec::new();
                write_frame(ACK_ID, counter, &id.to_le_bytes(), &mut ack);
                self.session.handle_datagram(now, SERVER, &ack);
            }
        }
        self.events.extend(std::iter::from_fn(|| self.session.poll_event()));
    }
}

/// Replays one client of one capture and checks what holds for all of them.
fn replay(name: &str, port: u16) -> Replay {
    let capture = read(name);
    let stock = Stock::of(&capture, port);
    let ours = Replay::new(&stock).run(&capture, port, &stock);

    assert_eq!(numbered(&ours.said).join("\n"), numbered(&intended(&stock)).join("\n"), "{name} {port}");
    assert!(ours.counters.iter().enumerate().all(|(index, &counter)| counter == index as u8));

    // The server's messages are acknowledged one for one, resends included.
    let asked = capture.iter().filter(|datagram| (datagram.from, datagram.to) == (SERVER_PORT, port));
    let frames: Vec<_> = asked.clone().filter_map(|datagram| frame_of(&datagram.bytes)).collect();
    let to_acknowledge = frames.iter().filter(|(id, ..)| *id != ACK_ID && !is_connless(*id));
    assert!(
        ours.acks.iter().copied().eq(to_acknowledge.map(|&(id, counter, _)| (id, counter))),
        "{name} {port}"
    );

    // Audio of the final size is taken, and only that: our layout settles before the first packet.
    let audio = asked.filter(|datagram| frame_of(&datagram.bytes).is_none());
    let size = stock.config.layout.packet_bytes();
    let (right, wrong): (Vec<_>, Vec<_>) = audio.partition(|datagram| datagram.bytes.len() == size);
    assert_eq!(ours.heard, right.len() as u64, "{name} {port}");
    assert_eq!(ours.session.rejected_packets(), wrong.len() as u64, "{name} {port}");
    assert!(!right.is_empty());

    let is_left = ours.events.last() == Some(&ClientEvent::Ended(EndReason::Left));
    assert_eq!(is_left, stock.left, "{name} {port}");
    let goodbyes =
        ours.connless.iter().filter(|(_, message)| *message == ConnlessMessage::Disconnection).count();
    assert_eq!(goodbyes > 0, stock.left, "{name} {port}");
    assert!(!ours.events.contains(&ClientEvent::ServerRestarted), "{name} {port}");
    ours
}

/// Payloads in hexadecimal, one a line, so that a difference can be found.
fn numbered(payloads: &[Payload]) -> Vec<String> {
    payloads.iter().map(|(id, body)| format!("{id} {body:02x?}")).collect()
}

#[test]
fn each_quality_begins_as_the_stock_client_does() {
    for name in [
        "q_s391_c391_mono_128_low.pcap",
        "q_s391_c391_mono_64_normal.pcap",
        "q_s391_c391_stereo_64_high.pcap",
        "q_shead_chead_stereo_128_raw.pcap",
        "block256_fact2_s391_c391_mono_high.pcap",
        "server_full_shead_u1.pcap",
    ] {
        let ours = replay(name, 22217);
        assert!(ours.events.contains(&ClientEvent::Connected { channel: jamulet::units::ChannelId(0) }));
    }
}

#[test]
fn a_gui_session_says_the_same() {
    for name in ["gui_s391_c391_st128_normal.pcap", "gui_shead_c391_st64_high.pcap"] {
        let ours = replay(name, 22233);
        let welcomes = ours.events.iter().filter(|event| matches!(event, ClientEvent::Welcome(_))).count();
        let chats = ours.events.iter().filter(|event| matches!(event, ClientEvent::Chat(_))).count();
        let mutes =
            ours.events.iter().filter(|event| matches!(event, ClientEvent::MuteChanged { .. })).count();
        assert_eq!((welcomes, chats, mutes), (1, 1, 2), "{name}");
        assert!(ours.events.iter().any(|event| matches!(event, ClientEvent::Levels(_))));
        // One of the two lets the server choose its buffer.
        let sizes = ours.events.iter().filter_map(|event| match event {
            ClientEvent::ServerBuffer(frames) => Some(*frames),
            _ => None,
        });
        let expected: &[u8] = if name.starts_with("gui_shead") { &[6, 7, 8] } else { &[] };
        assert!(sizes.eq(expected.iter().copied()), "{name}");
    }
}

#[test]
fn pings_of_a_gui_session_are_echoed_and_measured() {
    // Our pings carry our own times, so the captured echoes answer none of them: none may count.
    let ours = replay("gui_s391_c391_st128_normal.pcap", 22233);
    let pings: Vec<Time> = ours
        .connless
        .iter()
        .filter(|(_, message)| matches!(message, ConnlessMessage::Ping { .. }))
        .map(|(at, _)| *at)
        .collect();
    assert!(pings.len() >= 8);
    assert!(pings.windows(2).all(|pair| pair[1].since(pair[0]) == Duration::from_millis(500)));
    assert_eq!(ours.session.ping_ms(), None);
}

#[test]
fn two_clients_on_one_server_say_the_same() {
    for port in [22233, 22243] {
        let ours = replay("two_clients_shead_F_c391_chead.pcap", port);
        let most = ours.events.iter().filter_map(|event| match event {
            ClientEvent::ClientList(entries) => Some(entries.len()),
            _ => None,
        });
        assert_eq!(most.max(), Some(2));
    }
}

#[test]
fn a_long_chat_is_split_alike_and_a_licence_is_told() {
    let ours = replay("long_welcome_split_licence_s391_c391.pcap", 22217);
    assert_eq!(ours.said.iter().filter(|(id, _)| *id == SPLIT_ID).count(), 3);
    assert!(ours.events.contains(&ClientEvent::Licence(1)));
    let longest = ours.events.iter().map(|event| match event {
        ClientEvent::Welcome(text) | ClientEvent::Chat(text) => text.len(),
        _ => 0,
    });
    assert!(longest.max() > Some(1500));
}

#[test]
fn a_full_server_turns_us_away() {
    let capture = read("server_full_shead_u1.pcap");
    let refusal = capture.iter().find(|datagram| datagram.to == 35959).expect("someone was refused");
    let stock = Stock::of(&capture, 22217);
    let mut ours = Replay::new(&stock);
    ours.act(Time::ZERO, &Action::SendAudio);
    ours.hear(refusal.at, &refusal.bytes);
    assert_eq!(ours.events, [ClientEvent::Ended(EndReason::ServerFull)]);
}
