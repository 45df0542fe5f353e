//! A day in the life of a server, on the virtual clock: two clients stay, others join, leave, are lost and
//! come back, with lost and late packets, chat, faders and questions from strangers. The day is one period of
//! ten minutes over and over, so every period must add the same to every counter and leave the same memory in
//! use, and those who stay must hear every frame of each other once, with the same delay all day.

use std::alloc::{GlobalAlloc, Layout as MemoryLayout, System};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jamulet::protocol::{
    ChannelInfo, ConnlessMessage, Datagram, JitterBufferSize, Message, PacketLayout, TransportProperties,
    classify, is_connless,
};
use jamulet::server::{Config, Core, DropReason, Event, LeaveReason};
use jamulet::session::Connection;
use jamulet::units::{ChannelId, FrameSize, Layout, Quality, StreamFormat, Time};

/// Counts the bytes that this program has in use.
struct Counting;

static IN_USE: AtomicI64 = AtomicI64::new(0);

// SAFETY: everything is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: MemoryLayout) -> *mut u8 {
        IN_USE.fetch_add(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: the caller keeps the allocator's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: MemoryLayout) {
        IN_USE.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: the caller keeps the allocator's contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const TICK: usize = FrameSize::Samples128.samples();
/// 10 minutes and a bit: a whole number of ticks and of level intervals (269 ms), so that a period repeats
/// exactly.
const PERIOD_TICKS: usize = 225_960;
/// 24 hours and a bit.
const PERIODS: usize = 144;
/// Ticks in a second.
const SECOND: usize = 48_000 / TICK;

/// After this many samples fade-ins and jitter buffers have come to rest.
const SETTLED: usize = 5 * 48_000;
/// Ticks that a late packet is late, more than a buffer of 8 frames covers.
const HELD_UP: usize = 20;

/// Who stays plays numbers that count frames: Ann in steps of 128, Bob in steps of 1. What everyone hears is
/// their sum.
const ANN_NUMBERS: usize = 61;
const BOB_NUMBERS: usize = 59;

/// One client.
struct Peer {
    address: SocketAddr,
    layout: PacketLayout,
    connection: Connection,
    packet: Vec<u8>,
    counter: u8,
    /// Ticks at which packets go, every so many.
    interval: usize,
    is_playing: bool,
    /// The tick at which it says that it has left.
    goodbye: Option<usize>,
    is_deaf: bool,
    /// Frames so far.
    frames: usize,
    /// What a frame's samples are.
    number: fn(usize) -> i16,
    /// Loses a packet in 500 and holds up another for [`HELD_UP`].
    is_lossy: bool,
    /// The packet that is held up, and until when.
    held: Option<(usize, Vec<u8>)>,
    /// Frames sent, all day.
    sent: u64,
    /// Of those, frames in packets that opened a channel.
    opening: u64,
    /// Frames lost and late, all day.
    lost: u64,
    late: u64,
    /// Packets heard since it joined.
    heard: usize,
    last_heard: (usize, usize),
    /// By how much Ann's number grew last.
    last_step: usize,
    has_news: bool,
}

impl Peer {
    fn new(port: u16, frame: FrameSize, channels: Layout, block_factor: u8) -> Self {
        let format = StreamFormat::stock(frame, channels, Quality::Max);
        let layout = PacketLayout { format, block_factor, counter: true };
        let samples = frame.samples() * usize::from(block_factor);
        Self {
            address: SocketAddr::from(([192, 0, 2, 1], port)),
            layout,
            connection: Connection::new(Time::ZERO),
            packet: vec![0; layout.packet_bytes()],
            counter: 0,
            interval: samples.div_ceil(TICK),
            is_playing: false,
            goodbye: None,
            is_deaf: false,
            frames: 0,
            number: |_| 0,
            is_lossy: false,
            held: None,
            sent: 0,
            opening: 0,
            lost: 0,
            late: 0,
            heard: 0,
            last_heard: (0, 0),
            last_step: 0,
            has_news: false,
        }
    }

    /// In a packet.
    fn samples(&self) -> usize {
        self.layout.format.frame.samples() * usize::from(self.layout.block_factor)
    }

    fn join(&mut self, now: Time) {
        self.connection = Connection::new(now);
        (self.is_playing, self.is_deaf) = (true, false);
        (self.frames, self.counter, self.heard) = (0, 0, 0);
    }

    /// The packet that is due.
    fn fill_packet(&mut self) {
        let frame_bytes = self.layout.format.frame_bytes();
        for frame in self.packet.chunks_exact_mut(frame_bytes + 1) {
            let number = (self.number)(self.frames).to_le_bytes();
            let (sound, counter) = frame.split_at_mut(frame_bytes);
            sound.as_chunks_mut::<2>().0.fill(number);
            counter[0] = self.counter;
            self.counter = self.counter.wrapping_add(1);
            self.frames += 1;
        }
    }

    fn answer(&self, message: &Message) -> Option<Message> {
        match message {
            Message::RequestSplitSupport => Some(Message::SplitSupported),
            Message::RequestTransportProperties => {
                Some(Message::TransportProperties(TransportProperties::new(self.layout)))
            }
            Message::RequestJitterBufferSize => Some(Message::JitterBufferSize(JitterBufferSize::Frames(8))),
            Message::RequestChannelInfo => {
                let name = format!("Peer {}", self.address.port());
                Some(Message::ChannelInfo(ChannelInfo { name, ..ChannelInfo::default() }))
            }
            _ => None,
        }
    }

    fn receive(&mut self, now: Time, datagram: &[u8]) {
        match classify(datagram) {
            _ if self.is_deaf => {}
            Datagram::Audio(packet) => self.hear(packet),
            Datagram::Frame(frame) if is_connless(frame.id) => {}
            Datagram::Frame(frame) => {
                self.has_news = true;
                if let Some(message) = self.connection.handle_frame(now, &frame)
                    && let Some(answer) = self.answer(&message)
                {
                    self.connection.send(now, &answer);
                }
            }
        }
    }

    /// Checks that every frame of those who stay comes once, in order: the delay never changes.
    fn hear(&mut self, packet: &[u8]) {
        assert_eq!(packet.len(), self.layout.packet_bytes());
        self.heard += 1;
        let number = i16::from_le_bytes([packet[0], packet[1]]) as usize;
        let (ann, bob) = std::mem::replace(&mut self.last_heard, (number / 128, number % 128));
        let samples = self.samples();
        let step = (number / 128 + ANN_NUMBERS - ann) % ANN_NUMBERS;
        let last_step = std::mem::replace(&mut self.last_step, step);
        if self.heard * samples < SETTLED {
            return;
        }
        let bobs_step = (number % 128 + BOB_NUMBERS - bob) % BOB_NUMBERS;
        let what = format_args!("{} after {} packets", self.address, self.heard);
        // Bob's frames are of 64 samples. Ann's are of 128: packets of 64 hear each of hers twice.
        assert_eq!(bobs_step, samples / 64, "Bob: {what}");
        let (anns_step, expected) = if samples == 64 { (step + last_step, 1) } else { (step, samples / 128) };
        assert_eq!(anns_step, expected, "Ann: {what}");
    }
}

/// The server, its clients, and the hour.
struct Day {
    core: Core,
    peers: [Peer; 5],
    tick: usize,
    /// Joined, left and lost so far.
    events: [u64; 3],
}

const ANN: usize = 0;
const BOB: usize = 1;
const CAY: usize = 2;
const DAN: usize = 3;
const EVE: usize = 4;
/// Port of the first peer; the others follow.
const PORT: u16 = 22_134;

impl Day {
    fn new() -> Self {
        let (short, long) = (FrameSize::Samples64, FrameSize::Samples128);
        let mut peers = [
            Peer::new(PORT, long, Layout::Mono, 1),
            Peer::new(PORT + 1, short, Layout::Stereo, 1),
            Peer::new(PORT + 2, long, Layout::Stereo, 1),
            Peer::new(PORT + 3, short, Layout::Mono, 2),
            Peer::new(PORT + 4, long, Layout::Mono, 4),
        ];
        peers[ANN].number = |frame| (frame % ANN_NUMBERS * 128) as i16;
        peers[BOB].number = |frame| (frame % BOB_NUMBERS) as i16;
        peers[CAY].is_lossy = true;
        let config = Config { max_clients: 6, welcome: Some("Hello".to_owned()), ..Config::default() };
        let mut day = Self { core: Core::new(Time::ZERO, config, 1), peers, tick: 0, events: [0; 3] };
        day.peers[ANN].join(Time::ZERO);
        day.peers[BOB].join(Time::ZERO);
        day
    }

    /// What happens at this second of every period.
    fn act(&mut self, second: usize) {
        let now = time(self.tick);
        match second {
            10 => self.peers[CAY].join(now),
            // Cay turns a knob, talks, and changes her name.
            20 => self.tell(CAY, &Message::ChannelGain { channel: ChannelId(4), gain: 0 }),
            21 => self.tell(CAY, &Message::ChannelGain { channel: ChannelId(4), gain: 20_000 }),
            22 => self.tell(CAY, &Message::ChatText("Well?".to_owned())),
            23 => {
                let info = ChannelInfo { name: "Cäy".to_owned(), ..ChannelInfo::default() };
                self.tell(CAY, &Message::ChannelInfo(info));
            }
            60 => self.peers[DAN].join(now),
            // Dan's cable comes out; after 30 s he is lost.
            120 => (self.peers[DAN].is_playing, self.peers[DAN].is_deaf) = (false, true),
            200 => self.leave(CAY),
            // Strangers ask, and one forged byte opens a channel for 30 s.
            220 => self.ask(&ConnlessMessage::RequestClientList),
            221 => self.ask(&ConnlessMessage::RequestWelcomeMessage),
            222 => self.ask(&ConnlessMessage::PingWithClients { time_ms: 1, clients: 0 }),
            230 => self.core.handle_datagram(now, stranger(), b"x"),
            250 => self.peers[EVE].join(now),
            400 => self.peers[DAN].join(now),
            410 => self.leave(DAN),
            550 => self.leave(EVE),
            _ => {}
        }
        self.settle();
    }

    fn tell(&mut self, peer: usize, message: &Message) {
        let peer = &mut self.peers[peer];
        peer.connection.send(time(self.tick), message);
        peer.has_news = true;
    }

    /// Falls silent now and says goodbye 100 ms later, as stock clients do.
    fn leave(&mut self, peer: usize) {
        (self.peers[peer].is_playing, self.peers[peer].is_deaf) = (false, true);
        self.peers[peer].goodbye = Some(self.tick + SECOND / 10);
    }

    fn say_goodbyes(&mut self, now: Time) {
        let goodbye = ConnlessMessage::Disconnection.to_datagram();
        for peer in &mut self.peers {
            if peer.goodbye.take_if(|due| *due == self.tick).is_some() {
                self.core.handle_datagram(now, peer.address, &goodbye);
            }
        }
    }

    fn ask(&mut self, question: &ConnlessMessage) {
        self.core.handle_datagram(time(self.tick), stranger(), &question.to_datagram());
    }

    fn run_period(&mut self) {
        for at in 1..=PERIOD_TICKS {
            self.tick += 1;
            let now = time(self.tick);
            self.play(now);
            self.say_goodbyes(now);
            self.core.tick();
            if self.core.poll_timeout().is_some_and(|due| due <= now) {
                self.core.handle_timeout(now);
            }
            self.settle();
            if at % SECOND == 0 {
                self.act(at / SECOND);
            }
        }
    }

    /// Everyone's packets of this tick.
    fn play(&mut self, now: Time) {
        let (core, tick) = (&mut self.core, self.tick);
        for peer in &mut self.peers {
            if let Some((_, packet)) = peer.held.take_if(|(until, _)| *until == tick && peer.is_playing) {
                core.handle_datagram(now, peer.address, &packet);
            }
            if !peer.is_playing || tick % peer.interval != 0 {
                continue;
            }
            for _ in 0..TICK.div_ceil(peer.samples()) {
                let is_opening = peer.frames == 0;
                peer.fill_packet();
                let frames = u64::from(peer.layout.block_factor);
                peer.sent += frames;
                peer.opening += if is_opening { frames } else { 0 };
                match peer.frames % 500 {
                    100 if peer.is_lossy => peer.lost += 1,
                    300 if peer.is_lossy => {
                        peer.late += 1;
                        peer.held = Some((tick + HELD_UP, peer.packet.clone()));
                    }
                    _ => core.handle_datagram(now, peer.address, &peer.packet),
                }
            }
        }
    }

    /// Carries datagrams until nobody has anything to say.
    fn settle(&mut self) {
        let now = time(self.tick);
        loop {
            let peers = &mut self.peers;
            self.core.drain_transmits(|to, datagram| {
                if let Some(peer) = peers.get_mut(usize::from(to.port() - PORT)) {
                    peer.receive(now, datagram);
                }
            });
            let mut is_quiet = true;
            for peer in self.peers.iter_mut().filter(|peer| peer.has_news) {
                peer.has_news = false;
                while let Some(datagram) = peer.connection.poll_transmit() {
                    is_quiet = false;
                    self.core.handle_datagram(now, peer.address, &datagram);
                }
            }
            if is_quiet {
                break;
            }
        }
        while let Some(event) = self.core.poll_event() {
            match event {
                Event::Joined { .. } => self.events[0] += 1,
                Event::Left { reason: LeaveReason::Left, .. } => self.events[1] += 1,
                Event::Left { reason: LeaveReason::TimedOut, .. } => self.events[2] += 1,
                _ => {}
            }
        }
    }

    /// Everything that is counted anywhere.
    fn counts(&mut self) -> Vec<(&'static str, u64)> {
        let counters = self.core.status(time(self.tick)).counters;
        let (traffic, frames) = (counters.traffic, counters.frames);
        let mut counts = vec![
            ("packets in", traffic.packets_in),
            ("bytes in", traffic.bytes_in),
            ("packets out", traffic.packets_out),
            ("bytes out", traffic.bytes_out),
            ("frames received", frames.received),
            ("frames late", frames.late),
            ("frames lost", frames.lost),
            ("frames concealed", frames.concealed),
            ("ticks", counters.ticks),
            ("clients joined", counters.joined),
            ("events joined", self.events[0]),
            ("events left", self.events[1]),
            ("events lost", self.events[2]),
        ];
        let reasons = DropReason::ALL.iter().map(|reason| reason.name());
        counts.extend(reasons.zip(counters.dropped));
        for (name, peer) in ["Ann hears", "Bob hears"].into_iter().zip(&self.peers) {
            counts.push((name, peer.heard as u64));
        }
        counts
    }
}

fn stranger() -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 7], PORT + 100))
}

fn time(ticks: usize) -> Time {
    Time::from_micros((ticks * TICK) as u64 * 1_000_000 / 48_000)
}

#[test]
fn every_ten_minutes_of_a_day_are_alike() {
    let mut day = Day::new();
    // In the first one Ann and Bob join and lists grow to their sizes; the second is what a period is like.
    day.run_period();
    let mut before = day.counts();
    day.run_period();
    let growth = |before: &[(&'static str, u64)], after: &[(&'static str, u64)]| -> Vec<(&str, u64)> {
        before.iter().zip(after).map(|((name, before), (_, after))| (*name, after - before)).collect()
    };
    let mut after = day.counts();
    let usual = growth(&before, &after);
    println!("ten minutes: {usual:?}");
    let in_use = IN_USE.load(Ordering::Relaxed);
    for period in 2..PERIODS {
        before = after;
        day.run_period();
        after = day.counts();
        assert_eq!(growth(&before, &after), usual, "period {period}");
        before.clear();
        let now_in_use = IN_USE.load(Ordering::Relaxed);
        assert!(
            now_in_use <= in_use,
            "period {period}: {now_in_use} bytes in use, {in_use} after the second"
        );
    }
    let simulated = time(day.tick).since(Time::ZERO);
    assert!(simulated >= Duration::from_secs(24 * 3600));
    let status = day.core.status(time(day.tick));
    assert_eq!((status.uptime, status.clients.len()), (simulated, 2));
    println!("{simulated:?}: {in_use} bytes in use; {after:?}");
    conserved(&day, &after);
}

/// What was sent is what is counted.
fn conserved(day: &Day, counts: &[(&'static str, u64)]) {
    let count = |name: &str| {
        counts.iter().find(|(known, _)| *known == name).map(|(_, count)| *count).expect("counted")
    };
    assert_eq!(count("ticks"), day.tick as u64);
    let [lost, late] = [day.peers[CAY].lost, day.peers[CAY].late];
    assert_eq!((count("frames lost"), count("frames late")), (lost, late));
    let sent: u64 = day.peers.iter().map(|peer| peer.sent).sum();
    let opening: u64 = day.peers.iter().map(|peer| peer.opening).sum();
    // The packet that opens a channel is not played, nor is what comes before the format is known.
    assert_eq!(count("frames received") + lost + opening + count("wrong_size"), sent);
    // What is concealed at the end of a stream was never sent: 150 frames and a few when Dan's cable comes out, and up
    // to 37, 75 and 37 before the goodbyes of Cay, Dan and Eve.
    let ends = count("frames concealed") - lost - late;
    assert_eq!(ends % PERIODS as u64, 0);
    assert!((280..300).contains(&(ends / PERIODS as u64)), "{ends}");
}
