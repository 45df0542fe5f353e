//! One client: what it has told us, what it wants, and its sound.

use std::net::SocketAddr;
use std::time::Duration;

use crate::audio::{FadeIn, PeakMeter};
use crate::protocol::{
    ChannelInfo, ClientEntry, Frame, JitterBufferSize, Message, PacketLayout, ParseError, RecorderState,
    TransportProperties,
};
use crate::session::Connection;
use crate::units::{
    BufferSize, CONNECTION_TIMEOUT, ChannelId, Coding, FrameSize, Layout, Time, WIRE_RATE_HZ, gain_to_db,
};

use super::allowance::Allowance;
use super::greeting::{Greeting, GreetingWords};
use super::mixer::{Mixer, Source};
use super::status::{ClientStatus, StreamCounters, TrafficCounters};
use super::stream::Stream;
use super::view::View;

/// What a client's message asks of the server as a whole.
#[derive(Debug, PartialEq)]
pub(super) enum Request {
    /// It has told who it is, for the first time.
    Join,
    /// It has told something new about itself.
    ShareInfo,
    /// It wants the client list.
    TellList,
    /// It has muted or unmuted `target` for itself.
    TellMute {
        /// Who is to know.
        target: ChannelId,
        /// Muted now.
        muted: bool,
    },
    /// It says something to everyone.
    Say(String),
}

/// Changes of format that are taken up at once, and the pace of more: each makes codecs and a buffer, on the tick's
/// thread.
const REBUILDS_AT_ONCE: u32 = 4;
const REBUILD_PACE: Duration = Duration::from_millis(250);

/// One client of the server.
pub(super) struct Channel {
    id: ChannelId,
    address: SocketAddr,
    /// When its first datagram came.
    joined: Time,
    connection: Connection,
    greeting: Option<Greeting>,
    /// When the last datagram came that is no message: only those are signs of life.
    heard: Time,
    info: Option<ChannelInfo>,
    view: View,
    buffer_size: BufferSize,
    /// Size of its jitter buffer here, as last told to it.
    told_buffer_frames: Option<u8>,
    stream: Option<Stream>,
    fade: FadeIn,
    meter: PeakMeter,
    tick: FrameSize,
    accepts_raw: bool,
    /// A format that is to be taken up when [`Self::rebuilds`] allows it.
    wanted_layout: Option<PacketLayout>,
    rebuilds: Allowance,
    /// Frames of streams before the present one.
    past_frames: StreamCounters,
    traffic: TrafficCounters,
    first_counter: u8,
}

impl Channel {
    /// A new client, being greeted. Its audio will begin with `first_counter`.
    pub(super) fn new(
        now: Time,
        id: ChannelId,
        address: SocketAddr,
        words: &GreetingWords<'_>,
        tick: FrameSize,
        first_counter: u8,
    ) -> Self {
        let mut connection = Connection::new(now);
        let greeting = Greeting::begin(now, id, words, &mut connection);
        Self {
            id,
            address,
            joined: now,
            connection,
            greeting,
            heard: now,
            info: None,
            view: View::new(),
            buffer_size: BufferSize::Auto,
            told_buffer_frames: None,
            stream: None,
            fade: FadeIn::new(FrameSize::Samples128, 1),
            meter: PeakMeter::new(f64::from(WIRE_RATE_HZ)),
            tick,
            accepts_raw: words.raw_audio,
            wanted_layout: None,
            rebuilds: Allowance::new(REBUILDS_AT_ONCE, REBUILD_PACE),
            past_frames: StreamCounters::default(),
            traffic: TrafficCounters::default(),
            first_counter,
        }
    }

    pub(super) fn id(&self) -> ChannelId {
        self.id
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Who it is, once it has told.
    pub(super) fn info(&self) -> Option<&ChannelInfo> {
        self.info.as_ref()
    }

    /// Its line in client lists, once it has told who it is.
    pub(super) fn entry(&self) -> Option<ClientEntry> {
        Some(ClientEntry { channel: self.id, info: self.info.clone()? })
    }

    /// Its level for level lists, 0..=9.
    pub(super) fn level(&self) -> u8 {
        self.meter.level()
    }

    /// The client as an admin sees it.
    pub(super) fn status(&self, now: Time) -> ClientStatus {
        let stream = self.stream.as_ref();
        ClientStatus {
            channel: self.id,
            address: self.address,
            connected: now.since(self.joined),
            info: self.info.clone(),
            layout: stream.map(Stream::layout),
            buffer_size: self.buffer_size,
            buffer_frames: stream.map_or(0, Stream::buffer_frames),
            round_trip: self.connection.round_trip(),
            level: self.meter.level(),
            level_db: gain_to_db(self.meter.peak()),
            stream: self.counters(),
            traffic: self.traffic,
        }
    }

    /// What became of its frames since it came.
    pub(super) fn counters(&self) -> StreamCounters {
        let mut counters = self.past_frames;
        if let Some(stream) = &self.stream {
            counters.add(stream.counters());
        }
        counters
    }

    /// Counts a datagram that has come from it.
    pub(super) fn count_in(&mut self, bytes: usize) {
        self.traffic.count_in(bytes);
    }

    /// Tells it whether it is being recorded.
    pub(super) fn set_recorder_state(&mut self, now: Time, state: RecorderState) {
        match &mut self.greeting {
            Some(greeting) => greeting.set_recorder_state(state),
            None => self.connection.send(now, &Message::RecorderState(state)),
        }
    }

    /// Takes a datagram that is no message; `false` when its size is wrong. Realtime-safe.
    pub(super) fn handle_audio(&mut self, now: Time, packet: &[u8]) -> bool {
        self.heard = now;
        let is_sound = self.stream.as_mut().is_some_and(|stream| stream.receive(now, packet));
        if is_sound && self.info.is_some() {
            self.fade.advance();
        }
        is_sound
    }

    /// Takes a connected message.
    pub(super) fn handle_frame(&mut self, now: Time, frame: &Frame<'_>) -> Option<Request> {
        let message = self.connection.handle_frame(now, frame)?;
        match message {
            Message::ChannelInfo(info) => return self.set_info(info),
            Message::RequestClientList => return Some(Request::TellList),
            Message::ChatText(text) => return Some(Request::Say(text)),
            Message::ChannelGain { channel: target, gain } => {
                return self.view.set_gain(target, gain).map(|muted| Request::TellMute { target, muted });
            }
            Message::ChannelPan { channel, pan } => self.view.set_pan(channel, pan),
            Message::TransportProperties(properties) => self.set_properties(now, &properties),
            Message::JitterBufferSize(size) => self.set_buffer_size(size),
            Message::RequestSplitSupport => self.connection.send(now, &Message::SplitSupported),
            Message::SplitSupported => {
                self.connection.set_may_split(true);
                if let Some(greeting) = self.greeting.take() {
                    greeting.finish(now, &mut self.connection);
                }
            }
            // The rest is a server's to say, or obsolete: acknowledged, and that is all.
            _ => {}
        }
        None
    }

    /// Tells the client something.
    pub(super) fn send(&mut self, now: Time, message: &Message) {
        self.connection.send(now, message);
    }

    /// Tells the size of the client's jitter buffer if the server chooses it and it has changed.
    pub(super) fn tell_buffer_size(&mut self, now: Time) {
        let Some(stream) = self.stream.as_ref().filter(|_| self.buffer_size == BufferSize::Auto) else {
            return;
        };
        let frames = stream.buffer_frames();
        if self.told_buffer_frames != Some(frames) {
            self.told_buffer_frames = Some(frames);
            self.connection.send(now, &Message::JitterBufferSize(JitterBufferSize::Frames(frames)));
        }
    }

    /// Nothing but messages, or nothing at all, has come for too long.
    pub(super) fn is_expired(&self, now: Time) -> bool {
        now.since(self.heard) >= CONNECTION_TIMEOUT
    }

    /// Does what is due.
    pub(super) fn handle_timeout(&mut self, now: Time) {
        self.connection.handle_timeout(now);
        self.finish_greeting(now);
        self.take_up_layout(now);
    }

    /// When [`Self::handle_timeout`] has something to do, or [`Self::is_expired`] becomes true.
    pub(super) fn poll_timeout(&self) -> Time {
        let expiry = self.heard + CONNECTION_TIMEOUT;
        let greeting = self.greeting.as_ref().and_then(Greeting::poll_timeout);
        let layout = self.wanted_layout.map(|_| self.rebuilds.next());
        [self.connection.poll_timeout(), greeting, layout].into_iter().flatten().fold(expiry, Time::min)
    }

    /// The next message datagram for the client.
    pub(super) fn poll_transmit(&mut self, now: Time) -> Option<Vec<u8>> {
        self.finish_greeting(now);
        let datagram = self.connection.poll_transmit()?;
        self.traffic.count_out(datagram.len());
        Some(datagram)
    }

    /// Somebody new sits in `channel`.
    pub(super) fn reset_view_of(&mut self, channel: ChannelId) {
        self.view.reset(channel);
    }

    /// Puts a tick of the client's sound into `source`. What is worth recording of it comes back: what a client
    /// plays that has told who it is. Realtime-safe.
    pub(super) fn pull<'a>(&mut self, source: &'a mut Source) -> Option<(Layout, &'a [f32])> {
        let Some(stream) = &mut self.stream else {
            source.silence();
            return None;
        };
        let layout = stream.channels();
        let sound = source.fill(layout, self.fade.gain(), self.tick.samples(), |out| stream.pull(out));
        self.meter.update(sound, layout.channels());
        self.info.is_some().then_some((layout, sound))
    }

    /// Takes a tick of the client's personal mix from `mixer` and hands packets that are full to `send`.
    /// Nothing goes to a client that has not yet told who it is and what it understands. Realtime-safe.
    pub(super) fn push(&mut self, mixer: &mut Mixer, mut send: impl FnMut(&[u8])) {
        if let (Some(stream), Some(_)) = (&mut self.stream, &self.info) {
            let mix = mixer.mix_for(self.id.index(), &self.view, stream.channels(), self.fade.gain());
            stream.push(mix, |packet| {
                self.traffic.count_out(packet.len());
                send(packet);
            });
        }
    }

    fn set_info(&mut self, info: ChannelInfo) -> Option<Request> {
        match self.info.replace(info) {
            None => Some(Request::Join),
            Some(old) if self.info.as_ref() != Some(&old) => Some(Request::ShareInfo),
            Some(_) => None,
        }
    }

    fn set_properties(&mut self, now: Time, properties: &TransportProperties) {
        let layout = match properties.layout() {
            Ok(layout) => layout,
            Err(ParseError::ObsoleteCodec) => return self.connection.send(now, &Message::OpusSupported),
            // Acknowledged, and nothing changes: as in stock servers.
            Err(_) => return,
        };
        if layout.format.coding == Coding::Raw && !self.accepts_raw {
            return;
        }
        self.wanted_layout = Some(layout);
        self.take_up_layout(now);
    }

    /// Makes what the wanted format needs, now or when it is allowed again.
    fn take_up_layout(&mut self, now: Time) {
        let Some(layout) = self.wanted_layout else { return };
        let is_known = self.stream.as_ref().is_some_and(|stream| stream.layout() == layout);
        if !is_known && !self.rebuilds.take(now) {
            return;
        }
        self.wanted_layout = None;
        if is_known {
            return;
        }
        self.past_frames = self.counters();
        if !self.fade.is_done() {
            self.fade = FadeIn::new(layout.format.frame, layout.block_factor);
        }
        // Without a codec (out of memory) the client stays, silent, until it asks again.
        self.stream = Stream::new(layout, self.buffer_size, self.tick, self.first_counter).ok();
    }

    fn set_buffer_size(&mut self, size: JitterBufferSize) {
        self.buffer_size = match size {
            JitterBufferSize::Auto => BufferSize::Auto,
            JitterBufferSize::Frames(frames) => BufferSize::Frames(frames),
        };
        self.told_buffer_frames = None;
        if let Some(stream) = &mut self.stream {
            stream.set_buffer_size(self.buffer_size);
        }
    }

    fn finish_greeting(&mut self, now: Time) {
        let is_late = |greeting: &mut Greeting| greeting.cut_if_late(now, &self.connection);
        if let Some(greeting) = self.greeting.take_if(is_late) {
            self.connection.give_up_splitting();
            greeting.finish(now, &mut self.connection);
        }
    }
}
