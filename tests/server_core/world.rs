//! A server core and its clients on a perfect network, in virtual time.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use jamulet::audio::{Decoder, Encoder};
use jamulet::protocol::{
    ChannelInfo, ConnlessMessage, Datagram, JitterBufferSize, Message, PacketLayout, TransportProperties,
    classify, is_connless,
};
use jamulet::server::{Config, Core, Event};
use jamulet::session::Connection;
use jamulet::units::{ChannelId, FrameSize, Layout, Quality, StreamFormat, Time};

/// Packets and messages of one client. It answers what servers ask, as stock clients do.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) connection: Connection,
    pub(crate) layout: PacketLayout,
    pub(crate) info: ChannelInfo,
    pub(crate) buffer: JitterBufferSize,
    /// Answers 34 with 35.
    pub can_split: bool,
    /// Acknowledges nothing and answers nothing.
    pub is_deaf: bool,
    /// Sends a packet whenever one is due.
    pub is_playing: bool,
    /// Packets leave so many samples later than at the ticks of a 128-sample server.
    pub phase: usize,
    /// Every so manyth packet is lost; 0 loses none.
    pub loses_every: usize,
    /// Everything received, in order.
    pub(crate) messages: Vec<Message>,
    pub(crate) connless: Vec<ConnlessMessage>,
    pub(crate) packets: Vec<Vec<u8>>,
    /// Longest datagram received.
    pub(crate) longest: usize,
    signal: Box<dyn FnMut(usize) -> f32>,
    encoder: Encoder,
    counter: u8,
    sent_samples: usize,
}

impl Peer {
    pub(crate) fn channel(&self) -> Option<ChannelId> {
        self.messages.iter().rev().find_map(|message| match message {
            Message::ClientId(channel) => Some(*channel),
            _ => None,
        })
    }

    /// What it hears, interleaved: every packet received, decoded from the start.
    pub(crate) fn heard(&self) -> Vec<f32> {
        let format = self.layout.format;
        let mut decoder = Decoder::new(format).unwrap();
        let mut frame = vec![0.0; format.frame.samples() * format.layout.channels()];
        let mut all = Vec::new();
        for packet in &self.packets {
            for (coded, _) in self.layout.frames(packet).expect("a packet of the right size") {
                decoder.decode(Some(coded), &mut frame);
                all.extend_from_slice(&frame);
            }
        }
        all
    }

    /// The client lists received, as names by channel.
    pub(crate) fn lists(&self) -> Vec<Vec<(u8, String)>> {
        self.messages
            .iter()
            .filter_map(|message| match message {
                Message::ClientList(entries) => Some(
                    entries
                        .iter()
                        .map(|entry| (entry.channel.0, entry.info.name.clone()))
                        .collect::<Vec<_>>(),
                ),
                _ => None,
            })
            .collect()
    }

    fn next_packet(&mut self) -> Vec<u8> {
        let format = self.layout.format;
        let channels = format.layout.channels();
        let mut packet = Vec::new();
        for _ in 0..self.layout.block_factor {
            let first = self.sent_samples;
            let pcm: Vec<f32> = (0..format.frame.samples() * channels)
                .map(|value| (self.signal)((first + value / channels) * channels + value % channels))
                .collect();
            let mut coded = vec![0; format.frame_bytes()];
            self.encoder.encode(&pcm, &mut coded);
            packet.extend_from_slice(&coded);
            if self.layout.counter {
                packet.push(self.counter);
                self.counter = self.counter.wrapping_add(1);
            }
            self.sent_samples += format.frame.samples();
        }
        packet
    }

    fn packet_due(&self) -> Time {
        sample_time(self.sent_samples + self.phase)
    }
}

/// A server and everyone around it.
pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) core: Core,
    pub(crate) peers: Vec<Peer>,
    pub(crate) events: Vec<Event>,
    /// Datagrams to addresses that are no peer's.
    pub(crate) strays: Vec<(SocketAddr, Vec<u8>)>,
    ticks: usize,
}

pub(crate) fn sample_time(samples: usize) -> Time {
    Time::from_micros(samples as u64 * 1_000_000 / 48_000)
}

pub(crate) fn layout(frame: FrameSize, channels: Layout, quality: Quality) -> PacketLayout {
    PacketLayout { format: StreamFormat::stock(frame, channels, quality), block_factor: 1, counter: true }
}

/// Raw mono frames of 128 samples: exact, and as long as the default tick.
pub(crate) fn raw_mono() -> PacketLayout {
    layout(FrameSize::Samples128, Layout::Mono, Quality::Max)
}

/// Raw stereo frames of 128 samples.
pub(crate) fn raw_stereo() -> PacketLayout {
    layout(FrameSize::Samples128, Layout::Stereo, Quality::Max)
}

impl World {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            now: Time::ZERO,
            core: Core::new(Time::ZERO, config, 1),
            peers: Vec::new(),
            events: Vec::new(),
            strays: Vec::new(),
            ticks: 0,
        }
    }

    /// Adds a client that sends nothing yet, and gives its index.
    pub(crate) fn add(&mut self, name: &str, layout: PacketLayout) -> usize {
        let index = self.peers.len();
        self.peers.push(Peer {
            address: SocketAddr::from(([192, 0, 2, 1 + index as u8], 22134)),
            connection: Connection::new(self.now),
            layout,
            info: ChannelInfo { name: name.to_owned(), ..ChannelInfo::default() },
            buffer: JitterBufferSize::Frames(4),
            can_split: true,
            is_deaf: false,
            is_playing: false,
            phase: 0,
            loses_every: 0,
            messages: Vec::new(),
            connless: Vec::new(),
            packets: Vec::new(),
            longest: 0,
            signal: Box::new(|_| 0.0),
            encoder: Encoder::new(layout.format).unwrap(),
            counter: 250,
            sent_samples: 0,
        });
        index
    }

    /// Adds a client and joins it: it plays silence, has been greeted, and has told everything.
    pub(crate) fn join(&mut self, name: &str, layout: PacketLayout) -> usize {
        let index = self.add(name, layout);
        self.play(index, |_| 0.0);
        self.run(Duration::from_millis(50));
        assert!(self.peers[index].channel().is_some(), "{name} has no channel");
        index
    }

    /// The client sends packets from now on; `signal` takes the index of the interleaved value since the start.
    pub(crate) fn play(&mut self, index: usize, signal: impl FnMut(usize) -> f32 + 'static) {
        let ticks = self.ticks * self.core.frame().samples();
        let peer = &mut self.peers[index];
        peer.signal = Box::new(signal);
        if !peer.is_playing {
            peer.is_playing = true;
            peer.sent_samples = ticks;
        }
    }

    /// Like [`Self::play`], but the first packets have been held up: this much sound arrives at once.
    pub(crate) fn play_late(
        &mut self,
        index: usize,
        samples: usize,
        signal: impl FnMut(usize) -> f32 + 'static,
    ) {
        self.play(index, signal);
        self.peers[index].sent_samples -= samples;
    }

    /// Samples of time that the server's ticks have covered.
    pub(crate) fn ticked_samples(&self) -> usize {
        self.ticks * self.core.frame().samples()
    }

    /// Lets the client send one datagram now.
    pub(crate) fn send(&mut self, index: usize, datagram: &[u8]) {
        let from = self.peers[index].address;
        self.send_from(from, datagram);
    }

    pub(crate) fn send_from(&mut self, from: SocketAddr, datagram: &[u8]) {
        self.core.handle_datagram(self.now, from, datagram);
        self.settle();
    }

    /// Lets the client send a connected message.
    pub(crate) fn tell(&mut self, index: usize, message: &Message) {
        self.peers[index].connection.send(self.now, message);
        self.settle();
    }

    /// Lets everything happen that happens within `duration`, in order.
    pub(crate) fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let timers =
                self.peers.iter().filter(|peer| !peer.is_deaf).map(|peer| peer.connection.poll_timeout());
            let timer = timers.chain([self.core.poll_timeout()]).flatten().min();
            let packet = self.peers.iter().filter(|peer| peer.is_playing).map(Peer::packet_due).min();
            let tick = sample_time((self.ticks + 1) * self.core.frame().samples());
            let next = [timer, packet, Some(tick)].into_iter().flatten().min().unwrap_or(end).max(self.now);
            if next > end {
                self.now = end;
                return;
            }
            self.now = next;
            self.send_due_packets();
            if tick <= next {
                self.core.tick();
                self.ticks += 1;
            }
            if self.core.poll_timeout().is_some_and(|due| due <= next) {
                self.core.handle_timeout(next);
                assert!(self.core.poll_timeout().is_none_or(|due| due > next), "a timer that is never done");
            }
            for peer in self.peers.iter_mut().filter(|peer| !peer.is_deaf) {
                if peer.connection.poll_timeout().is_some_and(|due| due <= next) {
                    peer.connection.handle_timeout(next);
                }
            }
            self.settle();
        }
    }

    fn send_due_packets(&mut self) {
        for index in 0..self.peers.len() {
            while self.peers[index].is_playing && self.peers[index].packet_due() <= self.now {
                let packet = self.peers[index].next_packet();
                let peer = &self.peers[index];
                let number = peer.sent_samples / peer.layout.format.frame.samples();
                if peer.loses_every == 0 || !number.is_multiple_of(peer.loses_every) {
                    self.core.handle_datagram(self.now, peer.address, &packet);
                }
            }
        }
    }

    /// Carries datagrams until nobody has anything to say at this moment.
    pub(crate) fn settle(&mut self) {
        loop {
            let mut arrived = VecDeque::new();
            self.core.drain_transmits(|to, datagram| arrived.push_back((to, datagram.to_vec())));
            for (to, datagram) in arrived {
                match self.peers.iter().position(|peer| peer.address == to) {
                    Some(index) => self.receive(index, &datagram),
                    None => self.strays.push((to, datagram)),
                }
            }
            let mut is_quiet = true;
            for peer in self.peers.iter_mut().filter(|peer| !peer.is_deaf) {
                while let Some(datagram) = peer.connection.poll_transmit() {
                    is_quiet = false;
                    self.core.handle_datagram(self.now, peer.address, &datagram);
                }
            }
            self.events.extend(std::iter::from_fn(|| self.core.poll_event()));
            if is_quiet {
                return;
            }
        }
    }

    fn receive(&mut self, index: usize, datagram: &[u8]) {
        let now = self.now;
        let peer = &mut self.peers[index];
        peer.longest = peer.longest.max(datagram.len());
        match classify(datagram) {
            Datagram::Audio(packet) => peer.packets.push(packet.to_vec()),
            Datagram::Frame(frame) if is_connless(frame.id) => {
                peer.connless.push(ConnlessMessage::parse(frame.id, frame.body).unwrap());
            }
            Datagram::Frame(_) if peer.is_deaf => {}
            Datagram::Frame(frame) => {
                if let Some(message) = peer.connection.handle_frame(now, &frame) {
                    if message == Message::RequestSplitSupport {
                        peer.connection.set_may_split(peer.can_split);
                    }
                    if let Some(answer) = answer(peer, &message) {
                        peer.connection.send(now, &answer);
                    }
                    peer.messages.push(message);
                }
            }
        }
    }
}

fn answer(peer: &Peer, message: &Message) -> Option<Message> {
    match message {
        Message::RequestSplitSupport => peer.can_split.then_some(Message::SplitSupported),
        Message::RequestTransportProperties => {
            Some(Message::TransportProperties(TransportProperties::new(peer.layout)))
        }
        Message::RequestJitterBufferSize => Some(Message::JitterBufferSize(peer.buffer)),
        Message::RequestChannelInfo => Some(Message::ChannelInfo(peer.info.clone())),
        _ => None,
    }
}
