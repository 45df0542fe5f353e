//! The fuzzer's bytes as a script: what happens, and when, on a virtual clock.
#![allow(dead_code, reason = "each target uses its part")]

use std::time::Duration;

use jamulet::protocol::{
    ACK_ID, ChannelInfo, Datagram, Message, PacketLayout, TransportProperties, ack_body, classify,
    is_connless, write_frame,
};
use jamulet::units::{FrameSize, Layout, Quality, StreamFormat, Time};

/// Takes steps off the front of the input; ends with it.
pub struct Script<'a> {
    rest: &'a [u8],
    /// The virtual clock.
    pub now: Time,
}

impl<'a> Script<'a> {
    /// A script that starts at the clock's start.
    pub fn new(data: &'a [u8]) -> Self {
        Self { rest: data, now: Time::ZERO }
    }

    /// The next byte.
    pub fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    /// The next two bytes as a number.
    pub fn word(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes([self.byte()?, self.byte()?]))
    }

    /// Some bytes, their number in front: a byte, in which 255 stands for 1500 (or what is left).
    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = match self.byte()? {
            255 => 1500,
            length => usize::from(length),
        };
        let (bytes, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = rest;
        Some(bytes)
    }

    /// A well-formed frame around an arbitrary body: past the checksum lies what is worth trying.
    /// Ids come from the ranges that are in use, or from anywhere.
    pub fn frame(&mut self) -> Option<Vec<u8>> {
        let id = match self.byte()? {
            choice @ 0..=63 => u16::from(choice),
            choice @ 64..=127 => 1000 + u16::from(choice - 64),
            128..=143 => 2001,
            _ => self.word()?,
        };
        let (counter, body) = (self.byte()?, self.bytes()?);
        let mut datagram = Vec::new();
        write_frame(id, counter, body, &mut datagram);
        Some(datagram)
    }

    /// A message that a stock client sends at its start, so that channels get as far as mixing.
    pub fn introduction(&mut self) -> Option<Vec<u8>> {
        let message = match self.byte()? & 1 {
            0 => Message::ChannelInfo(ChannelInfo { name: "Fuzz".into(), ..ChannelInfo::default() }),
            _ => Message::TransportProperties(TransportProperties::new(stock_layout(self.byte()?))),
        };
        let mut body = Vec::new();
        message.write_body(&mut body);
        let mut datagram = Vec::new();
        write_frame(message.id(), self.byte()?, &body, &mut datagram);
        Some(datagram)
    }

    /// Lets 0 to 16 s pass, short times being the likelier ones.
    pub fn pass_time(&mut self) -> Option<()> {
        let millis = u64::from(self.byte()?);
        self.now += Duration::from_millis(millis * millis / 4);
        Some(())
    }
}

/// One of the layouts of stock clients.
pub fn stock_layout(choice: u8) -> PacketLayout {
    let quality = [Quality::Low, Quality::Normal, Quality::High, Quality::Max][usize::from(choice & 3)];
    let frame = if choice & 4 == 0 { FrameSize::Samples64 } else { FrameSize::Samples128 };
    let layout = if choice & 8 == 0 { Layout::Mono } else { Layout::Stereo };
    let block_factor = [1, 1, 2, 4][usize::from(choice >> 4 & 3)];
    PacketLayout {
        format: StreamFormat::stock(frame, layout, quality),
        block_factor,
        counter: choice & 64 == 0,
    }
}

/// The acknowledgement that `datagram` waits for, if it does: without it no conversation gets far.
pub fn acknowledgement(datagram: &[u8]) -> Option<Vec<u8>> {
    let Datagram::Frame(frame) = classify(datagram) else { return None };
    if frame.id == ACK_ID || is_connless(frame.id) {
        return None;
    }
    let mut out = Vec::new();
    write_frame(ACK_ID, frame.counter, &ack_body(frame.id), &mut out);
    Some(out)
}
