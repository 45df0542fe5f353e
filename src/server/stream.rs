//! One client's sound: its packets into ticks, and ticks into packets for it.
//!
//! A client has its own frame size. Sound is taken from it and collected for it in whatever pieces the
//! server's tick asks for: a client of 64-sample frames gets two packets a tick from a server that ticks
//! every 128 samples, and one of 128-sample frames is served every second tick of a 64-sample server.

use crate::audio::{CodecError, CounterUnwrapper, Encoder, Played, Playout};
use crate::protocol::PacketLayout;
use crate::units::{BufferSize, FrameSize, Layout, MAX_AUDIO_PACKET_BYTES, MAX_FRAME_SAMPLES, Time};

use super::status::StreamCounters;

/// Samples of one frame of any layout.
const MAX_FRAME_VALUES: usize = 2 * MAX_FRAME_SAMPLES;

/// Codec, jitter buffer and packing for one client's format.
pub(super) struct Stream {
    layout: PacketLayout,
    uplink: Uplink,
    downlink: Downlink,
}

/// What comes from the client.
struct Uplink {
    playout: Playout,
    numbering: Numbering,
    /// The frame being handed out, interleaved, and how much of it is gone.
    frame: [f32; MAX_FRAME_VALUES],
    used: usize,
    was_playing: bool,
    is_audible: bool,
    received: u64,
}

/// Where frames get their sequence numbers from.
enum Numbering {
    Counter(CounterUnwrapper),
    /// Old clients send none: frames count in the order in which they arrive.
    Arrival {
        next: i64,
    },
}

/// What goes to the client.
struct Downlink {
    encoder: Encoder,
    /// The frame being collected, interleaved, and how much of it is there.
    frame: [f32; MAX_FRAME_VALUES],
    collected: usize,
    /// The packet being filled.
    packet: [u8; MAX_AUDIO_PACKET_BYTES],
    filled: usize,
    counter: u8,
}

impl Stream {
    /// A stream of silence so far, for a server that ticks every `tick` samples; the first packet's
    /// counter is `first_counter`.
    ///
    /// # Errors
    /// When libopus lacks a mode or memory.
    pub(super) fn new(
        layout: PacketLayout,
        size: BufferSize,
        tick: FrameSize,
        first_counter: u8,
    ) -> Result<Self, CodecError> {
        let format = layout.format;
        let mut playout = Playout::new(format, size)?;
        let frames_per_tick = tick.samples() as f32 / format.frame.samples() as f32;
        playout.set_burst(frames_per_tick.max(1.0));
        let numbering = if layout.counter {
            Numbering::Counter(CounterUnwrapper::new(format.frame))
        } else {
            Numbering::Arrival { next: 0 }
        };
        let frame = [0.0; MAX_FRAME_VALUES];
        let values = format.frame.samples() * format.layout.channels();
        Ok(Self {
            layout,
            uplink: Uplink {
                playout,
                numbering,
                frame,
                used: values,
                was_playing: false,
                is_audible: false,
                received: 0,
            },
            downlink: Downlink {
                encoder: Encoder::new(format)?,
                frame,
                collected: 0,
                packet: [0; MAX_AUDIO_PACKET_BYTES],
                filled: 0,
                counter: first_counter,
            },
        })
    }

    /// Layout of packets, both ways.
    pub(super) fn layout(&self) -> PacketLayout {
        self.layout
    }

    /// Mono or stereo, both ways.
    pub(super) fn channels(&self) -> Layout {
        self.layout.format.layout
    }

    /// Values of a tick of `samples` samples.
    pub(super) fn values(&self, samples: usize) -> usize {
        samples * self.channels().channels()
    }

    /// Takes a packet from the client; `false` when its size is wrong. Realtime-safe.
    pub(super) fn receive(&mut self, now: Time, packet: &[u8]) -> bool {
        let Some(frames) = self.layout.frames(packet) else { return false };
        for (frame, counter) in frames {
            let sequence = self.uplink.numbering.number(now, counter);
            self.uplink.received += 1;
            self.uplink.playout.put(sequence, frame);
        }
        true
    }

    /// Fills `out` with the client's sound, interleaved; tells whether there is any. Realtime-safe.
    pub(super) fn pull(&mut self, out: &mut [f32]) -> bool {
        let frame_values = self.values(self.layout.format.frame.samples());
        let uplink = &mut self.uplink;
        let mut is_audible = false;
        let mut rest = out;
        uplink.playout.begin_pull();
        while !rest.is_empty() {
            if uplink.used == frame_values {
                uplink.next_frame(frame_values);
            }
            let length = rest.len().min(frame_values - uplink.used);
            let (piece, after) = std::mem::take(&mut rest).split_at_mut(length);
            piece.copy_from_slice(&uplink.frame[uplink.used..uplink.used + length]);
            uplink.used += length;
            is_audible |= uplink.is_audible;
            rest = after;
        }
        is_audible
    }

    /// Takes a tick's mix for the client, interleaved, and hands every packet that it completes to `send`.
    /// Realtime-safe.
    pub(super) fn push(&mut self, mix: &[f32], mut send: impl FnMut(&[u8])) {
        let frame_values = self.values(self.layout.format.frame.samples());
        let downlink = &mut self.downlink;
        let mut rest = mix;
        while !rest.is_empty() {
            let length = rest.len().min(frame_values - downlink.collected);
            let (piece, after) = rest.split_at(length);
            downlink.frame[downlink.collected..downlink.collected + length].copy_from_slice(piece);
            downlink.collected += length;
            rest = after;
            if downlink.collected == frame_values {
                downlink.collected = 0;
                downlink.append_frame(self.layout, frame_values);
                if downlink.filled == self.layout.packet_bytes() {
                    send(&downlink.packet[..downlink.filled]);
                    downlink.filled = 0;
                }
            }
        }
    }

    /// The client's choice for its jitter buffer here.
    pub(super) fn set_buffer_size(&mut self, size: BufferSize) {
        self.uplink.playout.set_size(size);
    }

    /// What became of the client's frames.
    pub(super) fn counters(&self) -> StreamCounters {
        let stats = self.uplink.playout.stats();
        StreamCounters {
            received: self.uplink.received,
            late: stats.late,
            lost: stats.lost,
            concealed: stats.concealed,
            slipped: stats.slipped,
        }
    }

    /// Size in use of the jitter buffer, in frames.
    pub(super) fn buffer_frames(&self) -> u8 {
        self.uplink.playout.size_frames()
    }
}

impl Uplink {
    fn next_frame(&mut self, frame_values: usize) {
        let is_playing = self.playout.next_frame(&mut self.frame[..frame_values]) != Played::Idle;
        // The first idle frame after sound still holds the end of its fade-out.
        self.is_audible = is_playing || self.was_playing;
        self.was_playing = is_playing;
        self.used = 0;
    }
}

impl Numbering {
    fn number(&mut self, now: Time, counter: Option<u8>) -> i64 {
        match (self, counter) {
            (Self::Counter(unwrapper), Some(counter)) => unwrapper.unwrap(now, counter),
            (Self::Arrival { next }, _) => {
                *next += 1;
                *next
            }
            // A layout with counters has one in every frame.
            (Self::Counter(_), None) => 0,
        }
    }
}

impl Downlink {
    fn append_frame(&mut self, layout: PacketLayout, frame_values: usize) {
        let frame_bytes = layout.format.frame_bytes();
        let out = &mut self.packet[self.filled..self.filled + frame_bytes];
        self.encoder.encode(&self.frame[..frame_values], out);
        self.filled += frame_bytes;
        if layout.counter {
            self.packet[self.filled] = self.counter;
            self.counter = self.counter.wrapping_add(1);
            self.filled += 1;
        }
    }
}
