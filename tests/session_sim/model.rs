//! A small scripted server and a virtual-clock world around it and one client session.

use std::net::SocketAddr;
use std::time::Duration;

use jamulet::protocol::{
    ChannelInfo, ClientEntry, ConnlessMessage, Datagram, JitterBufferSize, Message, Os, PacketLayout,
    RecorderState, classify, is_connless,
};
use jamulet::session::{ClientConfig, ClientEvent, ClientSession, Connection};
use jamulet::units::{
    BufferSize, CONNECTION_TIMEOUT, ChannelId, FrameSize, Layout, Quality, StreamFormat, Time,
};
use jamulet_testkit::netem::{LinkConfig, Path, earliest};

pub(crate) const SERVER: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 22124);
/// The model's only slot.
pub(crate) const CHANNEL: ChannelId = ChannelId(5);

pub(crate) fn info(name: &str) -> ChannelInfo {
    ChannelInfo { name: name.to_owned(), city: "Berlin".to_owned(), ..ChannelInfo::default() }
}

pub(crate) fn stereo_normal() -> PacketLayout {
    let format = StreamFormat::stock(FrameSize::Samples128, Layout::Stereo, Quality::Normal);
    PacketLayout { format, block_factor: 1, counter: true }
}

pub(crate) fn config() -> ClientConfig {
    ClientConfig {
        server: SERVER,
        info: info("Alice"),
        layout: stereo_normal(),
        server_buffer: BufferSize::Frames(4),
    }
}

/// A server with one slot that does what `docs/PROTOCOL.md` §2 says stock servers do.
pub(crate) struct ModelServer {
    pub version: &'static str,
    pub offers_raw: bool,
    pub is_full: bool,
    pub is_off: bool,
    pub slot: Option<Slot>,
    pub disconnections: u32,
    transmits: Vec<Vec<u8>>,
}

/// What the server knows of its client.
pub(crate) struct Slot {
    pub connection: Connection,
    pub layout: Option<PacketLayout>,
    pub info: Option<ChannelInfo>,
    pub buffer: Option<JitterBufferSize>,
    pub good_packets: u64,
    pub wrong_packets: u64,
    pub messages: Vec<Message>,
    alive: Time,
}

impl ModelServer {
    pub(crate) fn new(version: &'static str) -> Self {
        Self {
            version,
            offers_raw: true,
            is_full: false,
            is_off: false,
            slot: None,
            disconnections: 0,
            transmits: Vec::new(),
        }
    }

    pub(crate) fn handle_datagram(&mut self, now: Time, datagram: &[u8]) {
        if self.is_off {
            return;
        }
        match classify(datagram) {
            Datagram::Frame(frame) if is_connless(frame.id) => {
                match ConnlessMessage::parse(frame.id, frame.body).expect("clients send valid messages") {
                    ConnlessMessage::Ping { time_ms } => {
                        self.transmits.push(ConnlessMessage::Ping { time_ms }.to_datagram());
                    }
                    ConnlessMessage::Disconnection => {
                        self.disconnections += 1;
                        self.slot = None;
                    }
                    other => panic!("a client has no reason to send {other:?}"),
                }
            }
            Datagram::Frame(frame) => {
                let Some(slot) = &mut self.slot else { return };
                if let Some(message) = slot.connection.handle_frame(now, &frame) {
                    slot.handle_message(now, message);
                }
            }
            Datagram::Audio(packet) => self.handle_audio(now, packet),
        }
    }

    fn handle_audio(&mut self, now: Time, packet: &[u8]) {
        if self.slot.is_none() {
            if self.is_full {
                self.transmits.push(ConnlessMessage::ServerFull.to_datagram());
                return;
            }
            self.slot = Some(self.greet(now));
        }
        let Some(slot) = &mut self.slot else { return };
        slot.alive = now;
        match slot.layout {
            Some(layout) if layout.packet_bytes() == packet.len() => slot.good_packets += 1,
            _ => slot.wrong_packets += 1,
        }
    }

    fn greet(&self, now: Time) -> Slot {
        let mut connection = Connection::new(now);
        let mut say = |message| connection.send(now, &message);
        say(Message::ClientId(CHANNEL));
        if self.offers_raw {
            say(Message::RawAudioSupported);
        }
        say(Message::ClientList(vec![]));
        say(Message::RequestSplitSupport);
        say(Message::RequestTransportProperties);
        say(Message::RequestJitterBufferSize);
        say(Message::RequestChannelInfo);
        say(Message::ChatText(format!("<b>Server Welcome Message:</b> {}", "welcome ".repeat(100))));
        say(Message::VersionAndOs { os: Os::LINUX, version: self.version.to_owned() });
        say(Message::RecorderState(RecorderState::NotEnabled));
        Slot {
            connection,
            layout: None,
            info: None,
            buffer: None,
            good_packets: 0,
            wrong_packets: 0,
            messages: Vec::new(),
            alive: now,
        }
    }

    /// One frame's time has passed: everyone who is set up gets a packet.
    pub(crate) fn tick(&mut self, now: Time) {
        if let Some(slot) = &mut self.slot {
            if now >= slot.alive + CONNECTION_TIMEOUT {
                self.slot = None;
                return;
            }
            slot.connection.handle_timeout(now);
            if let (Some(layout), Some(_)) = (slot.layout, &slot.info) {
                self.transmits.push(vec![0xAA; layout.packet_bytes()]);
            }
        }
    }

    pub(crate) fn drain(&mut self) -> Vec<Vec<u8>> {
        let mut all = std::mem::take(&mut self.transmits);
        if let Some(slot) = &mut self.slot {
            all.extend(std::iter::from_fn(|| slot.connection.poll_transmit()));
        }
        if self.is_off { Vec::new() } else { all }
    }

    /// The process is killed and started again.
    pub(crate) fn restart(&mut self) {
        self.slot = None;
        self.transmits.clear();
    }
}

impl Slot {
    fn handle_message(&mut self, now: Time, message: Message) {
        self.messages.push(message.clone());
        match message {
            Message::TransportProperties(properties) => {
                self.layout = Some(properties.layout().expect("clients ask for what exists"));
            }
            Message::ChannelInfo(info) if self.info.as_ref() != Some(&info) => {
                self.info = Some(info);
                self.connection.send(now, &self.client_list());
            }
            Message::RequestClientList => self.connection.send(now, &self.client_list()),
            Message::JitterBufferSize(size) => self.buffer = Some(size),
            Message::SplitSupported => self.connection.set_may_split(true),
            Message::ChatText(text) => {
                self.connection.send(now, &Message::ChatText(format!("<b>Alice</b> {text}")));
            }
            _ => {}
        }
    }

    fn client_list(&self) -> Message {
        let info = self.info.clone().unwrap_or_default();
        Message::ClientList(vec![ClientEntry { channel: CHANNEL, info }])
    }
}

/// A client, a server and the network between them, on one clock.
pub(crate) struct World {
    pub now: Time,
    pub client: ClientSession,
    pub server: ModelServer,
    pub path: Path,
    /// Everything the client has told, with its time.
    pub events: Vec<(Time, ClientEvent)>,
    /// Audio packets that the client accepted.
    pub heard: u64,
    /// Whether the client's owner sends audio.
    pub plays: bool,
    next_tick: Time,
}

/// The model's frame time; 128 samples, rounded to whole microseconds.
pub(crate) const TICK: Duration = FrameSize::Samples128.duration();

impl World {
    pub(crate) fn new(config: ClientConfig, server: ModelServer, link: LinkConfig, seed: u64) -> Self {
        // Not at the clock's start, so that nothing works only there.
        let now = Time::from_micros(987_654_321);
        Self {
            now,
            client: ClientSession::new(now, config),
            server,
            path: Path::new(link, seed),
            events: Vec::new(),
            heard: 0,
            plays: true,
            next_tick: now,
        }
    }

    /// Runs until `is_reached`, at most for `limit`; says whether it was.
    pub(crate) fn run_until(&mut self, limit: Duration, is_reached: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        while !is_reached(self) {
            let next = earliest([Some(self.next_tick), self.client.poll_timeout(), self.path.poll_timeout()]);
            let next = next.expect("ticks never end").max(self.now);
            if next > end {
                self.now = end;
                return false;
            }
            self.now = next;
            self.step();
        }
        true
    }

    pub(crate) fn run_for(&mut self, duration: Duration) {
        self.run_until(duration, |_| false);
    }

    fn step(&mut self) {
        let now = self.now;
        while let Some(datagram) = self.path.up.receive(now) {
            self.server.handle_datagram(now, &datagram);
        }
        while let Some(datagram) = self.path.down.receive(now) {
            if let Some(packet) = self.client.handle_datagram(now, SERVER, &datagram) {
                assert_eq!(packet.len(), self.client.audio_layout().packet_bytes());
                self.heard += 1;
            }
            self.drain_client();
        }
        if now >= self.next_tick {
            self.next_tick += TICK;
            self.server.tick(now);
            if self.plays {
                self.path.up.send(now, vec![0x55; self.client.audio_layout().packet_bytes()]);
                self.client.audio_sent(now);
            }
        }
        self.client.handle_timeout(now);
        self.drain_client();
        for datagram in self.server.drain() {
            self.path.down.send(now, datagram);
        }
    }

    fn drain_client(&mut self) {
        while let Some(datagram) = self.client.poll_transmit() {
            self.path.up.send(self.now, datagram);
        }
        while let Some(event) = self.client.poll_event() {
            self.events.push((self.now, event));
        }
    }

    pub(crate) fn saw(&self, event: &ClientEvent) -> bool {
        self.count(event) > 0
    }

    pub(crate) fn count(&self, event: &ClientEvent) -> usize {
        self.events.iter().filter(|(_, seen)| seen == event).count()
    }

    pub(crate) fn slot(&self) -> &Slot {
        self.server.slot.as_ref().expect("the client has a slot")
    }

    /// Whether audio flows both ways in the layout that the client wants now.
    pub(crate) fn is_settled(&self, wanted: PacketLayout) -> bool {
        self.client.audio_layout() == wanted
            && self
                .server
                .slot
                .as_ref()
                .is_some_and(|slot| slot.layout == Some(wanted) && slot.info.is_some())
    }
}
