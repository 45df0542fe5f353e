//! Delay panning (`-P`): the same from Debian's server and from ours, as two clients on real sockets hear it.
#![cfg(target_os = "linux")]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result};
use jamulet::audio::{Decoder, Encoder};
use jamulet::protocol::{
    ChannelInfo, Datagram, JitterBufferSize, Message, PacketLayout, TransportProperties, classify,
    is_connless,
};
use jamulet::server::{Config, Options, Server};
use jamulet::session::Connection;
use jamulet::units::{ChannelId, FrameSize, Layout, Quality, StreamFormat, Time};
use jamulet_testkit::pace;
use jamulet_testkit::signal::{delay, noise, rms};
use jamulet_testkit::stock::StockServer;

/// Samples of noise, a whole number of frames.
const NOISE: usize = 48_000;

/// A client of 128-sample frames on a real socket, which says as little as it can.
struct Client {
    socket: UdpSocket,
    connection: Connection,
    layout: PacketLayout,
    encoder: Encoder,
    decoder: Decoder,
    counter: u8,
    /// The counter that the next frame should have.
    expected: Option<u8>,
    channel: Option<ChannelId>,
    /// Left and right of what it hears; a lost frame is silence.
    heard: [Vec<f32>; 2],
}

impl Client {
    #[expect(clippy::disallowed_methods, reason = "a client on the real network")]
    fn new(server: SocketAddr, now: Time, channels: Layout) -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(server)?;
        socket.set_nonblocking(true)?;
        let format = StreamFormat::stock(FrameSize::Samples128, channels, Quality::High);
        Ok(Self {
            socket,
            connection: Connection::new(now),
            layout: PacketLayout { format, block_factor: 1, counter: true },
            encoder: Encoder::new(format)?,
            decoder: Decoder::new(format)?,
            counter: 0,
            expected: None,
            channel: None,
            heard: [Vec::new(), Vec::new()],
        })
    }

    /// One frame of `sides`; a mono client plays the first.
    fn play(&mut self, sides: [&[f32]; 2]) -> Result<()> {
        let channels = self.layout.format.layout.channels();
        let frame: Vec<f32> = (0..128 * channels).map(|at| sides[at % channels][at / channels]).collect();
        let mut packet = vec![0; self.layout.format.frame_bytes()];
        self.encoder.encode(&frame, &mut packet);
        packet.push(self.counter);
        self.counter = self.counter.wrapping_add(1);
        self.socket.send(&packet)?;
        Ok(())
    }

    fn work(&mut self, now: Time) -> Result<()> {
        let mut datagram = [0; 20_000];
        while let Ok(length) = self.socket.recv(&mut datagram) {
            match classify(&datagram[..length]) {
                Datagram::Audio(packet) => self.hear(packet),
                Datagram::Frame(frame) if is_connless(frame.id) => {}
                Datagram::Frame(frame) => {
                    if let Some(message) = self.connection.handle_frame(now, &frame) {
                        self.answer(now, &message);
                    }
                }
            }
        }
        if self.connection.poll_timeout().is_some_and(|due| due <= now) {
            self.connection.handle_timeout(now);
        }
        while let Some(datagram) = self.connection.poll_transmit() {
            self.socket.send(&datagram)?;
        }
        Ok(())
    }

    fn answer(&mut self, now: Time, message: &Message) {
        let properties = Message::TransportProperties(TransportProperties::new(self.layout));
        match message {
            Message::ClientId(channel) => self.channel = Some(*channel),
            Message::RequestTransportProperties => self.connection.send(now, &properties),
            // Deep: what is tested is no network.
            Message::RequestJitterBufferSize => {
                self.connection.send(now, &Message::JitterBufferSize(JitterBufferSize::Frames(16)));
            }
            Message::RequestChannelInfo => {
                let info = ChannelInfo { name: "Ear".to_owned(), ..ChannelInfo::default() };
                self.connection.send(now, &Message::ChannelInfo(info));
            }
            Message::RequestSplitSupport => self.connection.send(now, &Message::SplitSupported),
            _ => {}
        }
    }

    fn hear(&mut self, packet: &[u8]) {
        let channels = self.layout.format.layout.channels();
        for (coded, counter) in self.layout.frames(packet).into_iter().flatten() {
            let counter = counter.unwrap_or_default();
            let lost = self.expected.map_or(0, |expected| counter.wrapping_sub(expected));
            self.expected = Some(counter.wrapping_add(1));
            let mut frame = [0.0; 256];
            let frame = &mut frame[..128 * channels];
            for coded in std::iter::repeat_n(None, usize::from(lost)).chain([Some(coded)]) {
                self.decoder.decode(coded, frame);
                for (side, heard) in self.heard.iter_mut().enumerate() {
                    heard.extend(frame.chunks(channels).map(|sample| sample[side % channels]));
                }
            }
        }
    }
}

/// How a listener heard one side of somebody at one pan.
#[derive(Clone, Copy, Debug)]
struct Side {
    /// Samples later than at the pan before, modulo a frame.
    position: usize,
    /// Likeness to what was played on that side, 0..=1.
    correlation: f64,
    rms: f64,
}

/// A listener and a talker who plays noise, another one on each side.
struct Duo {
    clients: [Client; 2],
    noises: [Vec<f32>; 2],
    pacer: pace::Pacer,
    start: std::time::Instant,
    blocks: usize,
}

impl Duo {
    fn start(server: SocketAddr, talker: Layout, listener: Layout) -> Result<Self> {
        let start = pace::now();
        let clients = [Client::new(server, Time::ZERO, listener)?, Client::new(server, Time::ZERO, talker)?];
        let noises = [noise(7, 0.2, NOISE), noise(8, 0.2, NOISE)];
        let mut duo = Self { clients, noises, pacer: pace::Pacer::new(48_000.0, 128), start, blocks: 0 };
        // Both have to be there, and to have faded in.
        duo.run(Duration::from_millis(4500))?;
        Ok(duo)
    }

    fn now(&self) -> Time {
        Time::from_micros(self.start.elapsed().as_micros() as u64)
    }

    fn run(&mut self, duration: Duration) -> Result<()> {
        for _ in 0..duration.as_micros() * 3 / 8000 {
            self.pacer.wait();
            let at = self.blocks * 128 % NOISE;
            self.blocks += 1;
            let sides = [0, 1].map(|side| &self.noises[side][at..at + 128]);
            self.clients[0].play([&[0.0; 128]; 2])?;
            self.clients[1].play(sides)?;
            let now = self.now();
            self.clients.iter_mut().try_for_each(|client| client.work(now))?;
        }
        Ok(())
    }

    /// What the listener hears of the talker at `pan`.
    fn hear(&mut self, pan: u16) -> Result<[Side; 2]> {
        let talker = self.clients[1].channel.context("the talker has no channel")?;
        let now = self.now();
        self.clients[0].connection.send(now, &Message::ChannelPan { channel: talker, pan });
        self.run(Duration::from_millis(300))?;
        let from = self.clients[0].heard[0].len();
        self.run(Duration::from_millis(400))?;
        let is_mono = self.clients[1].layout.format.layout == Layout::Mono;
        let [left, right] = [0, 1].map(|side| -> Result<Side> {
            let heard = &self.clients[0].heard[side][from..];
            let played = &self.noises[if is_mono { 0 } else { side }];
            let found = delay(&heard[..8192], &played.repeat(2), NOISE).context("nothing is heard")?;
            Ok(Side { position: found.samples % 128, correlation: found.correlation, rms: rms(heard) })
        });
        Ok([left?, right?])
    }
}

/// How many samples later `now` is than `before`.
fn later(now: Side, before: Side) -> usize {
    (before.position + 128 - now.position) % 128
}

/// docs/PROTOCOL.md §10: the far side lags by this much.
fn expected(pan: u16) -> [usize; 2] {
    let lag = 63.0 * (2.0 * f64::from(pan) / 32768.0 - 1.0);
    [lag, -lag].map(|lag| lag.round().max(0.0) as usize)
}

fn check(what: &str, server: SocketAddr) -> Result<()> {
    use Layout::{Mono, Stereo};
    for (talker, listener) in [(Mono, Stereo), (Stereo, Stereo), (Mono, Mono)] {
        let mut duo = Duo::start(server, talker, listener)?;
        for pan in [0, 5000, 8192, 16_000, 20_000, 28_672, 32_768] {
            let wanted = if listener == Mono { [0; 2] } else { expected(pan) };
            // When the machine stands still, a stock server's buffer moves: each pan is compared with the
            // centre just before it, until both are undisturbed.
            let mut lags = Vec::new();
            for _ in 0..5 {
                let (centre, panned) = (duo.hear(16_384)?, duo.hear(pan)?);
                lags.push([0, 1].map(|side| later(panned[side], centre[side])));
                let is_as_loud = |side: usize| (panned[side].rms / centre[side].rms - 1.0).abs() < 0.1;
                if panned.iter().all(|side| side.correlation > 0.6) && is_as_loud(0) && is_as_loud(1) {
                    break;
                }
            }
            let heard = lags[lags.len() - 1];
            println!("{what}, {talker:?} to {listener:?}, pan {pan}: {lags:?}, expected {wanted:?}");
            let is_right = heard.iter().zip(wanted).all(|(heard, wanted)| heard.abs_diff(wanted) <= 1);
            assert!(is_right, "{what}, {talker:?} to {listener:?}, pan {pan}: {lags:?}, not {wanted:?}");
        }
    }
    Ok(())
}

#[test]
fn the_far_side_lags_as_in_a_stock_server() -> Result<()> {
    let stock = StockServer::start(&["-P"])?;
    check("stock", stock.address())?;
    let config = Config { delay_pan: true, ..Config::default() };
    let ours = Server::start(Options {
        port: 0,
        bind_ip4: Some(Ipv4Addr::LOCALHOST),
        config,
        ..Options::default()
    })?;
    let address = ours.local_addr();
    check("ours", address)
}
