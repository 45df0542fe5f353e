//! Delay panning (`-P`): what a listener hears from Debian's server, and from ours.
#![cfg(target_os = "linux")]

use std::collections::VecDeque;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jamulet::audio::{Decoder, Encoder};
use jamulet::protocol::{
    ChannelInfo, ConnlessMessage, Datagram, JitterBufferSize, Message, PacketLayout, TransportProperties,
    classify, is_connless,
};
use jamulet::session::Connection;
use jamulet::units::{ChannelId, FrameSize, Layout, Quality, StreamFormat, Time};
use jamulet_testkit::signal::{delay, noise, rms};
use jamulet_testkit::stock::StockServer;
use jamulet_testkit::{pace, signal};

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

    /// One frame of `mono` on every channel.
    fn play(&mut self, mono: &[f32]) -> Result<()> {
        let channels = self.layout.format.layout.channels();
        let frame: Vec<f32> = mono.iter().flat_map(|value| std::iter::repeat_n(*value, channels)).collect();
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

fn probe(server: SocketAddr, talker: Layout, pans: &[u16]) -> Result<()> {
    let start = pace::now();
    let now = || Time::from_micros(start.elapsed().as_micros() as u64);
    let mut clients = vec![Client::new(server, now(), Layout::Stereo)?, Client::new(server, now(), talker)?];
    let sound = noise(7, 0.2, 48_000);
    let mut pacer = pace::Pacer::new(48_000.0, 128);
    let mut blocks = 0;
    let mut run = |clients: &mut Vec<Client>, seconds: f64| -> Result<Vec<[f32; 0]>> {
        for _ in 0..(seconds * 375.0) as usize {
            pacer.wait();
            let at = (blocks * 128) % (48_000 - 48_000 % 128);
            blocks += 1;
            clients[0].play(&[0.0; 128])?;
            clients[1].play(&sound[at..at + 128])?;
            for client in clients.iter_mut() {
                client.work(now())?;
            }
        }
        Ok(Vec::new())
    };
    run(&mut clients, 4.5)?;
    let source = clients[1].channel.context("the talker has no channel")?;
    for pan in pans {
        clients[0].connection.send(now(), &Message::ChannelPan { channel: source, pan: *pan });
        run(&mut clients, 0.1)?;
        let from = clients[0].heard[0].len();
        run(&mut clients, 0.3)?;
        let [left, right] = [0, 1].map(|side| clients[0].heard[side][from..].to_vec());
        let length = left.len() - 256;
        let lag = |a: &[f32], b: &[f32]| delay(&a[128..length], &b[64..], 128).unwrap();
        let lag = lag(&left, &right);
        println!(
            "pan {pan:5} right-left {:+} ({:.3}) rms {:.4} {:.4}; left {:?}",
            lag.samples as i64 - 64,
            lag.correlation,
            rms(&left),
            rms(&right),
            delay(&left[..length], &sound.repeat(2), 48_000).map(|d| d.samples % 128)
        );
    }
    Ok(())
}

#[test]
fn probe_stock() -> Result<()> {
    let server = StockServer::start(&["-P"])?;
    let all: Vec<u16> = (0..=128).map(|step| step * 256).collect();
    println!("mono source");
    probe(server.address(), Layout::Mono, &all)?;
    println!("stereo source");
    let few: Vec<u16> = (0..=16).map(|step| step * 2048).collect();
    probe(server.address(), Layout::Stereo, &few)?;
    Ok(())
}
