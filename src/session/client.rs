//! Everything a client does on the wire besides audio (`docs/PROTOCOL.md` §2, "Client, on a new
//! connection").
//!
//! There is no connect message: audio opens the channel, and a server drops messages that come
//! before it. So nothing leaves until [`ClientSession::audio_sent`] says that audio went ahead.
//!
//! **Changing the layout.** What we want travels as properties. The layout in use switches, for both
//! directions at once, when the server has acknowledged them, or when audio of the new size shows
//! that it has taken them. A server switches at the moment it acknowledges, so nothing of the
//! downlink is lost; what is on the uplink in the old size, one ping's worth, is dropped by the
//! server. Until then the old layout goes on both ways, also while the properties are resent. Packets
//! of any size but the one in use are dropped and counted here. The audio counter is a change of
//! layout like any other, and is wanted from the moment that the server's version allows it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::connection::Connection;
use super::mix_changes::MixChanges;
use super::ping::PingClock;
use super::version::Version;
use crate::protocol::{
    ChannelInfo, ClientEntry, ConnlessMessage, Datagram, Frame, JitterBufferSize, Message, Os, PacketLayout,
    RecorderState, TransportProperties, classify, cut_to_utf16, is_connless,
};
use crate::units::{
    BufferSize, CONNECTION_TIMEOUT, ChannelId, Coding, MAX_BUFFER_FRAMES, MAX_CHAT_INPUT_UNITS,
    MAX_CITY_UNITS, MAX_NAME_UNITS, MIN_BUFFER_FRAMES, Quality, StreamFormat, Time,
};

/// A server that sends nothing at all for this long after we began is not there.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause between stopping audio and the first goodbye, and between goodbyes: audio still on its
/// way would open the channel again.
const GOODBYE_INTERVAL: Duration = Duration::from_millis(100);
/// Goodbyes sent in any case: one may get lost.
const MIN_GOODBYES: u32 = 2;
/// Goodbyes after which we end although the server still sends audio.
const MAX_GOODBYES: u32 = 20;
/// What a welcome text begins with; chat lines are the rest.
const WELCOME_PREFIX: &str = "<b>Server Welcome Message:</b> ";

/// What a session needs to know from its start.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The only address that is listened to.
    pub server: SocketAddr,
    /// Who we are; name and city are cut to their limits.
    pub info: ChannelInfo,
    /// How we want to exchange audio, with the counter as wanted once the server allows it. Raw
    /// becomes high quality until the server offers raw.
    pub layout: PacketLayout,
    /// The server's jitter buffer for us; frames are clamped to what the wire can say.
    pub server_buffer: BufferSize,
}

/// What the session tells its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientEvent {
    /// The server has given us a channel; again after each restart of the server.
    Connected {
        /// Our slot.
        channel: ChannelId,
    },
    /// The server has forgotten everything: forget the mixer, and set gains and pans again for the
    /// channels of the next [`ClientEvent::ClientList`].
    ServerRestarted,
    /// Who is there, ascending by channel, ourselves included; empty right after connecting.
    ClientList(Vec<ClientEntry>),
    /// Levels 0..=9 in the order of the client list, with at most one filler at the end.
    Levels(Vec<u8>),
    /// A chat line: HTML, not trusted.
    Chat(String),
    /// The welcome text without its prefix: HTML, not trusted.
    Welcome(String),
    /// The licence to accept before playing; 0 none, 1 Creative Commons.
    Licence(u8),
    /// What the server's recorder does.
    Recorder(RecorderState),
    /// `channel` has muted us, or no longer does.
    MuteChanged {
        /// Who did it.
        channel: ChannelId,
        /// Whether they do not hear us now.
        muted: bool,
    },
    /// Size of the server's jitter buffer for us, in frames; only while we let the server choose.
    ServerBuffer(u8),
    /// The server's version text.
    ServerVersion(String),
    /// The server offers uncompressed audio.
    RawAudioSupported,
    /// [`ClientSession::audio_layout`] has changed.
    LayoutChanged,
    /// It is over, and nothing more will come of this session.
    Ended(EndReason),
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// We left.
    Left,
    /// Nothing at all came from the server within 5 s.
    NoAnswer,
    /// Every slot is taken.
    ServerFull,
    /// The server said goodbye.
    Closed,
    /// No audio came for 30 s.
    TimedOut,
}

/// What the server has told about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerFacts {
    /// Our slot, once it is known.
    pub channel: Option<ChannelId>,
    /// Operating system.
    pub os: Option<Os>,
    /// Version text as received.
    pub version_text: Option<String>,
    /// The leading numbers of the version text.
    pub version: Option<Version>,
    /// It understands split messages.
    pub split_supported: bool,
    /// It takes and sends uncompressed audio.
    pub raw_supported: bool,
}

impl PeerFacts {
    /// Whether audio may carry the counter.
    pub fn counter_allowed(&self) -> bool {
        self.version >= Some(Version::FIRST_WITH_COUNTER)
    }
}

/// One client's session with one server, from the first packet to the goodbye.
#[derive(Debug)]
pub struct ClientSession {
    config: ClientConfig,
    stage: Stage,
    created: Time,
    /// When audio last came (or the session began).
    alive: Time,
    /// Whether anything came from the server at all.
    answered: bool,
    /// Whether audio came since the server greeted us.
    heard_audio: bool,
    /// Whether the last client list had somebody in it.
    has_clients: bool,
    in_use: PacketLayout,
    peer: PeerFacts,
    connection: Connection,
    mix: MixChanges,
    ping: PingClock,
    rejected_packets: u64,
    /// Connection-less datagrams to send.
    outbox: VecDeque<Vec<u8>>,
    events: VecDeque<ClientEvent>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Until audio has gone ahead.
    AudioFirst,
    /// Audio and messages flow.
    Active,
    /// We say goodbye until the server's audio stops.
    Leaving { next: Time, goodbyes: u32, still_heard: bool },
    /// Over.
    Ended,
}

impl ClientSession {
    /// A session that waits for the first audio to be sent. Its clock for
    /// [`EndReason::NoAnswer`] and [`EndReason::TimedOut`] starts now.
    pub fn new(now: Time, mut config: ClientConfig) -> Self {
        config.info = cut_info(config.info);
        config.server_buffer = clamp_buffer(config.server_buffer);
        let peer = PeerFacts::default();
        Self {
            in_use: allowed_layout(config.layout, &peer),
            config,
            stage: Stage::AudioFirst,
            created: now,
            alive: now,
            answered: false,
            heard_audio: false,
            has_clients: false,
            peer,
            connection: Connection::new(now),
            mix: MixChanges::default(),
            ping: PingClock::new(now),
            rejected_packets: 0,
            outbox: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// The caller has sent an audio packet. The first time, this opens the way for messages.
    pub fn audio_sent(&mut self, now: Time) {
        if self.stage == Stage::AudioFirst {
            self.stage = Stage::Active;
            self.ping = PingClock::new(now);
            self.introduce(now);
            self.send_ping(now);
        }
    }

    /// Takes a datagram. Returns an audio packet from our server that has the size of
    /// [`Self::audio_layout`] as it is *after* this call. Whatever comes from elsewhere is ignored.
    pub fn handle_datagram<'a>(
        &mut self,
        now: Time,
        from: SocketAddr,
        datagram: &'a [u8],
    ) -> Option<&'a [u8]> {
        // Neither an IPv6 flow label nor a scope tells servers apart, so they are not compared.
        let is_server = (from.ip(), from.port()) == (self.config.server.ip(), self.config.server.port());
        if !is_server || datagram.is_empty() {
            return None;
        }
        self.answered = true;
        match (&mut self.stage, classify(datagram)) {
            (Stage::AudioFirst | Stage::Ended, _) => None,
            (_, Datagram::Frame(frame)) if is_connless(frame.id) => {
                self.handle_connless(now, &frame);
                None
            }
            (Stage::Active, Datagram::Frame(frame)) => {
                self.handle_connected(now, &frame);
                None
            }
            (Stage::Active, Datagram::Audio(packet)) => self.handle_audio(now, packet),
            (Stage::Leaving { still_heard, .. }, Datagram::Audio(_)) => {
                *still_heard = true;
                None
            }
            (Stage::Leaving { .. }, Datagram::Frame(_)) => None,
        }
    }

    /// Layout of the packets to send and of those received, now.
    pub fn audio_layout(&self) -> PacketLayout {
        self.in_use
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time) {
        match self.stage {
            Stage::AudioFirst => self.give_up_if_late(now),
            Stage::Active => {
                self.give_up_if_late(now);
                if self.stage == Stage::Active {
                    self.connection.handle_timeout(now);
                    self.send_ping(now);
                    for change in self.mix.take_due(now) {
                        self.connection.send(now, &change);
                    }
                }
            }
            Stage::Leaving { .. } => self.say_goodbye(now),
            Stage::Ended => {}
        }
    }

    /// When [`Self::handle_timeout`] has something to do; `None` once the session has ended.
    pub fn poll_timeout(&self) -> Option<Time> {
        match self.stage {
            Stage::AudioFirst => Some(self.give_up_at()),
            Stage::Active => {
                let others = [self.connection.poll_timeout(), self.mix.poll_timeout()];
                let always = self.give_up_at().min(self.ping.poll_timeout());
                Some(others.into_iter().flatten().fold(always, Time::min))
            }
            Stage::Leaving { next, .. } => Some(next),
            Stage::Ended => None,
        }
    }

    /// The next datagram for the server.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        let message = if self.stage == Stage::Active { self.connection.poll_transmit() } else { None };
        message.or_else(|| self.outbox.pop_front())
    }

    /// The next thing to tell the owner.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    /// Changes who we are.
    pub fn set_info(&mut self, now: Time, info: ChannelInfo) {
        let info = cut_info(info);
        if self.config.info != info {
            self.config.info = info;
            self.send_info(now);
        }
    }

    /// Changes how we want to exchange audio; [`ClientEvent::LayoutChanged`] tells when it is so.
    pub fn set_layout(&mut self, now: Time, layout: PacketLayout) {
        if self.config.layout != layout {
            self.config.layout = layout;
            match self.stage {
                Stage::AudioFirst => self.use_layout(self.wanted_layout()),
                _ => self.send_properties(now),
            }
        }
    }

    /// Changes the server's jitter buffer for us.
    pub fn set_server_buffer(&mut self, now: Time, size: BufferSize) {
        let size = clamp_buffer(size);
        if self.config.server_buffer != size {
            self.config.server_buffer = size;
            self.send_server_buffer(now);
        }
    }

    /// How loud we hear `channel`: linear, 0.0..2.0 (clamped).
    pub fn set_gain(&mut self, now: Time, channel: ChannelId, gain: f32) {
        self.mix.set_gain(now, self.ping.round_trip(), channel, gain);
    }

    /// Where we hear `channel`: 0.0 left, 0.5 centre, 1.0 right (clamped).
    pub fn set_pan(&mut self, now: Time, channel: ChannelId, pan: f32) {
        self.mix.set_pan(now, self.ping.round_trip(), channel, pan);
    }

    /// Says something to everyone: plain text, cut to [`MAX_CHAT_INPUT_UNITS`]. Blank text and text
    /// before the session is under way are not sent.
    pub fn chat(&mut self, now: Time, text: &str) {
        let text = cut_to_utf16(text, MAX_CHAT_INPUT_UNITS);
        if !text.trim().is_empty() {
            self.send(now, &Message::ChatText(text.to_owned()));
        }
    }

    /// Leaves. The caller stops sending audio now; goodbyes follow, and [`EndReason::Left`] when
    /// the server has fallen silent.
    pub fn leave(&mut self, now: Time) {
        match self.stage {
            Stage::AudioFirst => self.end(EndReason::Left),
            Stage::Active => {
                self.outbox.clear();
                let next = now + GOODBYE_INTERVAL;
                self.stage = Stage::Leaving { next, goodbyes: 0, still_heard: false };
            }
            Stage::Leaving { .. } | Stage::Ended => {}
        }
    }

    /// Round trip in ms: median of the last 2 s.
    pub fn ping_ms(&self) -> Option<f32> {
        self.ping.round_trip().map(|round_trip| round_trip.as_secs_f32() * 1000.0)
    }

    /// A slow round trip of late, in ms: the second slowest of the last 10 s.
    pub fn slow_ping_ms(&self) -> Option<f32> {
        self.ping.slow_round_trip().map(|round_trip| round_trip.as_secs_f32() * 1000.0)
    }

    /// Audio packets dropped for their size.
    pub fn rejected_packets(&self) -> u64 {
        self.rejected_packets
    }

    /// What the server has told about itself.
    pub fn peer(&self) -> &PeerFacts {
        &self.peer
    }

    fn handle_audio<'a>(&mut self, now: Time, packet: &'a [u8]) -> Option<&'a [u8]> {
        self.alive = now;
        if !self.heard_audio {
            self.heard_audio = true;
            self.send_info(now);
            self.send(now, &Message::RequestClientList);
            self.send_server_buffer(now);
            self.send(now, &Message::RequestLevelList(1));
        }
        if packet.len() != self.in_use.packet_bytes()
            && let Some(next) = self.layout_in_flight()
            && packet.len() == next.packet_bytes()
        {
            self.use_layout(next);
        }
        if packet.len() == self.in_use.packet_bytes() {
            return Some(packet);
        }
        self.rejected_packets += 1;
        None
    }

    fn handle_connless(&mut self, now: Time, frame: &Frame<'_>) {
        match ConnlessMessage::parse(frame.id, frame.body) {
            Ok(ConnlessMessage::Ping { time_ms }) => self.ping.handle_echo(now, time_ms),
            Ok(ConnlessMessage::ServerFull) => self.end_unless_leaving(EndReason::ServerFull),
            Ok(ConnlessMessage::Disconnection) => self.end_unless_leaving(EndReason::Closed),
            Ok(ConnlessMessage::LevelList(levels)) => self.events.push_back(ClientEvent::Levels(levels)),
            // The rest is for servers and directories, or not asked for.
            _ => {}
        }
    }

    fn handle_connected(&mut self, now: Time, frame: &Frame<'_>) {
        let message = self.connection.handle_frame(now, frame);
        if let Some(Message::TransportProperties(properties)) = self.connection.take_acknowledged()
            && let Ok(layout) = properties.layout()
        {
            self.use_layout(layout);
        }
        if let Some(message) = message {
            self.handle_message(now, message);
        }
    }

    fn handle_message(&mut self, now: Time, message: Message) {
        match message {
            Message::RequestTransportProperties => self.send_properties(now),
            Message::RequestJitterBufferSize => self.send_server_buffer(now),
            Message::RequestChannelInfo => self.send_info(now),
            Message::RequestSplitSupport => {
                self.peer.split_supported = true;
                self.connection.set_may_split(true);
                self.send(now, &Message::SplitSupported);
            }
            Message::ClientId(channel) => self.handle_greeting(now, channel),
            Message::ClientList(entries) => self.handle_client_list(entries),
            Message::VersionAndOs { os, version } => self.handle_version(now, os, version),
            Message::RawAudioSupported => {
                self.peer.raw_supported = true;
                self.events.push_back(ClientEvent::RawAudioSupported);
                if self.config.layout.format.coding == Coding::Raw {
                    self.send_properties(now);
                }
            }
            Message::JitterBufferSize(JitterBufferSize::Frames(frames))
                if self.config.server_buffer == BufferSize::Auto =>
            {
                self.events.push_back(ClientEvent::ServerBuffer(frames));
            }
            Message::ChatText(text) => self.events.push_back(match text.strip_prefix(WELCOME_PREFIX) {
                Some(welcome) => ClientEvent::Welcome(welcome.to_owned()),
                None => ClientEvent::Chat(text),
            }),
            Message::LicenceRequired(kind) => self.events.push_back(ClientEvent::Licence(kind)),
            Message::RecorderState(state) => self.events.push_back(ClientEvent::Recorder(state)),
            Message::MuteStateChanged { channel, muted } => {
                self.events.push_back(ClientEvent::MuteChanged { channel, muted });
            }
            // The rest is what clients send, obsolete, or no news to who has set the buffer.
            _ => {}
        }
    }

    /// A second greeting means that the server has started afresh and knows nothing of us.
    fn handle_greeting(&mut self, now: Time, channel: ChannelId) {
        if self.peer.channel.is_some() {
            self.peer = PeerFacts::default();
            self.connection.forget_unsent();
            self.connection.set_may_split(false);
            self.heard_audio = false;
            self.forget_mixer();
            self.introduce(now);
        }
        self.peer.channel = Some(channel);
        self.events.push_back(ClientEvent::Connected { channel });
    }

    fn handle_client_list(&mut self, entries: Vec<ClientEntry>) {
        if entries.is_empty() && self.has_clients {
            self.forget_mixer();
        }
        self.has_clients = !entries.is_empty();
        self.mix.retain(|channel| entries.iter().any(|entry| entry.channel == channel));
        self.events.push_back(ClientEvent::ClientList(entries));
    }

    fn handle_version(&mut self, now: Time, os: Os, version: String) {
        self.peer.os = Some(os);
        self.peer.version = Version::parse(&version);
        self.peer.version_text = Some(version.clone());
        self.events.push_back(ClientEvent::ServerVersion(version));
        if self.peer.counter_allowed() {
            self.send_properties(now);
        }
    }

    fn forget_mixer(&mut self) {
        self.has_clients = false;
        self.mix = MixChanges::default();
        self.events.push_back(ClientEvent::ServerRestarted);
    }

    /// What a client says unasked.
    fn introduce(&mut self, now: Time) {
        self.send_properties(now);
        self.send_server_buffer(now);
    }

    fn send_properties(&mut self, now: Time) {
        let properties = TransportProperties::new(self.wanted_layout());
        self.send(now, &Message::TransportProperties(properties));
    }

    fn send_server_buffer(&mut self, now: Time) {
        let size = match self.config.server_buffer {
            BufferSize::Auto => JitterBufferSize::Auto,
            BufferSize::Frames(frames) => JitterBufferSize::Frames(frames),
        };
        self.send(now, &Message::JitterBufferSize(size));
    }

    fn send_info(&mut self, now: Time) {
        self.send(now, &Message::ChannelInfo(self.config.info.clone()));
    }

    fn send(&mut self, now: Time, message: &Message) {
        if self.stage == Stage::Active {
            self.connection.send(now, message);
        }
    }

    fn send_ping(&mut self, now: Time) {
        if let Some(ping) = self.ping.poll_ping(now) {
            self.outbox.push_back(ping.to_datagram());
        }
    }

    fn wanted_layout(&self) -> PacketLayout {
        allowed_layout(self.config.layout, &self.peer)
    }

    /// The layout that the properties on their way announce.
    fn layout_in_flight(&self) -> Option<PacketLayout> {
        match self.connection.in_flight() {
            Some(Message::TransportProperties(properties)) => properties.layout().ok(),
            _ => None,
        }
    }

    fn use_layout(&mut self, layout: PacketLayout) {
        if self.in_use != layout {
            self.in_use = layout;
            self.events.push_back(ClientEvent::LayoutChanged);
        }
    }

    fn give_up_at(&self) -> Time {
        let silent = self.alive + CONNECTION_TIMEOUT;
        if self.answered { silent } else { silent.min(self.created + ANSWER_TIMEOUT) }
    }

    fn give_up_if_late(&mut self, now: Time) {
        if now >= self.give_up_at() {
            self.end(if self.answered { EndReason::TimedOut } else { EndReason::NoAnswer });
        }
    }

    fn say_goodbye(&mut self, now: Time) {
        let Stage::Leaving { next, goodbyes, still_heard } = self.stage else { return };
        if now < next {
            return;
        }
        if goodbyes < MIN_GOODBYES || (still_heard && goodbyes < MAX_GOODBYES) {
            self.outbox.push_back(ConnlessMessage::Disconnection.to_datagram());
            let next = now + GOODBYE_INTERVAL;
            self.stage = Stage::Leaving { next, goodbyes: goodbyes + 1, still_heard: false };
        } else {
            self.end(EndReason::Left);
        }
    }

    /// A server that sends us away while we leave changes nothing about why the session ends.
    fn end_unless_leaving(&mut self, reason: EndReason) {
        self.end(if self.stage == Stage::Active { reason } else { EndReason::Left });
    }

    fn end(&mut self, reason: EndReason) {
        self.stage = Stage::Ended;
        self.outbox.clear();
        self.events.push_back(ClientEvent::Ended(reason));
    }
}

/// `wanted` as far as the server allows it.
fn allowed_layout(wanted: PacketLayout, peer: &PeerFacts) -> PacketLayout {
    let mut layout = wanted;
    layout.counter &= peer.counter_allowed();
    if layout.format.coding == Coding::Raw && !peer.raw_supported {
        layout.format = StreamFormat::stock(layout.format.frame, layout.format.layout, Quality::High);
    }
    layout
}

fn cut_info(mut info: ChannelInfo) -> ChannelInfo {
    info.name.truncate(cut_to_utf16(&info.name, MAX_NAME_UNITS).len());
    info.city.truncate(cut_to_utf16(&info.city, MAX_CITY_UNITS).len());
    info
}

fn clamp_buffer(size: BufferSize) -> BufferSize {
    match size {
        BufferSize::Auto => BufferSize::Auto,
        BufferSize::Frames(frames) => BufferSize::Frames(frames.clamp(MIN_BUFFER_FRAMES, MAX_BUFFER_FRAMES)),
    }
}
