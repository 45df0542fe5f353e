//! One connection's life: the session's messages and the sound both ways, on the network thread.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use rtrb::{Consumer, Producer};

use super::align::{Aligner, Surroundings};
use super::drift::DriftLoop;
use super::pacer::Pacer;
use super::place::{Place, Sight};
use super::shared::Shared;
use super::stream::{DownlinkFrame, FrameBytes, Stream, Trace, UplinkFrame, silent_frame};
use crate::audio::{CodecError, CounterUnwrapper};
use crate::protocol::PacketLayout;
use crate::session::{ClientConfig, ClientSession};
use crate::units::{FrameSize, MAX_FRAME_BYTES, StreamFormat, Time, WIRE_RATE_HZ};

/// After this long without a frame from the engine (or three of its blocks, when that is longer) silence is sent.
const ENGINE_PATIENCE: Duration = Duration::from_millis(100);
/// Sound leaves this far ahead of time at most (or three of its blocks): what a host makes faster is
/// not for the session.
const MAX_AHEAD: Duration = Duration::from_millis(400);
/// Frames that may wait for their time: more than the largest block makes.
const MAX_QUEUED_FRAMES: usize = 512;
/// Frames that are due this soon leave now: sooner than a thread can be woken again.
const DUE_SLACK: Duration = Duration::from_micros(100);

/// A session with its sound.
pub(super) struct Jam {
    pub(super) session: ClientSession,
    pub(super) server: SocketAddr,
    pub(super) counts: PacketCounts,
    /// The user must accept something first: silence goes out.
    pub(super) hold_sound: bool,
    pub(super) aligner: Aligner,
    generation: u32,
    format: StreamFormat,
    silence: FrameBytes,
    silence_clock: SilenceClock,
    /// When what has been sent will have been played.
    sent_until: Time,
    pacer: Pacer,
    place: Place,
    drift: DriftLoop,
    /// Frames of this format sent, silent ones included.
    departures: i64,
    queue: VecDeque<(Time, UplinkFrame)>,
    /// Sound stops for good: the user is leaving.
    leaving: bool,
    counter: u8,
    numbering: Numbering,
}

/// Packets both ways since the connection began.
#[derive(Clone, Copy, Default)]
pub(super) struct PacketCounts {
    pub(super) sent: u64,
    pub(super) sent_bytes: u64,
    pub(super) received: u64,
    /// Frames that were not sent, to lie closer to the server's tick.
    pub(super) held_back: u64,
}

impl Jam {
    /// Begins: the first drain sends audio. The stream is for the engine.
    ///
    /// # Errors
    /// When the codec cannot be made.
    pub(super) fn start(
        now: Time,
        config: ClientConfig,
        generation: u32,
        shared: &Shared,
    ) -> Result<(Self, Box<Stream>), CodecError> {
        let server = config.server;
        let session = ClientSession::new(now, config);
        let format = session.audio_layout().format;
        let stream = Stream::new(generation, format, shared.client_buffer())?;
        shared.set_correction(0.0);
        let jam = Self {
            session,
            server,
            counts: PacketCounts::default(),
            hold_sound: false,
            aligner: Aligner::new(now, format, shared.rolling()),
            generation,
            format,
            silence: silent_frame(format)?,
            silence_clock: SilenceClock::from(now),
            sent_until: now,
            pacer: Pacer::default(),
            place: Place::new(format.frame),
            drift: DriftLoop::new(now),
            departures: 0,
            queue: VecDeque::with_capacity(MAX_QUEUED_FRAMES),
            leaving: false,
            counter: 0,
            numbering: Numbering::new(format.frame),
        };
        Ok((jam, stream))
    }

    pub(super) fn format(&self) -> StreamFormat {
        self.format
    }

    /// How long every frame is held back, in samples at 48 kHz.
    pub(super) fn held_samples(&self) -> u32 {
        self.pacer.held()
    }

    /// How much faster the server's clock is than the host's, as a fraction; `None` while unknown.
    pub(super) fn drift(&self) -> Option<f64> {
        self.drift.measured()
    }

    /// No more sound; the session says goodbye.
    pub(super) fn leave(&mut self, now: Time) {
        self.leaving = true;
        self.queue.clear();
        self.session.leave(now);
    }

    /// The stream that the session wants by now, when that is not the one in use.
    ///
    /// # Errors
    /// When the codec cannot be made.
    pub(super) fn follow_format(
        &mut self,
        now: Time,
        next_generation: u32,
        shared: &Shared,
    ) -> Result<Option<Box<Stream>>, CodecError> {
        let format = self.session.audio_layout().format;
        if format == self.format {
            return Ok(None);
        }
        let stream = Stream::new(next_generation, format, shared.client_buffer())?;
        self.silence = silent_frame(format)?;
        self.silence_clock = SilenceClock::from(now);
        self.generation = next_generation;
        self.format = format;
        self.numbering = Numbering::new(format.frame);
        self.aligner = self.aligner.for_format(now, format);
        self.departures = 0;
        self.place = Place::new(format.frame);
        self.drift.restart();
        self.queue.clear();
        Ok(Some(stream))
    }

    /// What came from the network; sound goes to the engine unless `engine_sleeps`.
    pub(super) fn handle_datagram(
        &mut self,
        now: Time,
        from: SocketAddr,
        datagram: &[u8],
        downlink: &mut Producer<DownlinkFrame>,
        engine_sleeps: bool,
    ) {
        let Some(packet) = self.session.handle_datagram(now, from, datagram) else { return };
        self.counts.received += 1;
        let layout = self.session.audio_layout();
        let Some(frames) = layout.frames(packet).filter(|_| layout.format == self.format) else { return };
        for (frame, counter) in frames {
            let sequence = self.numbering.number(now, counter);
            self.aligner.note_arrival(now, sequence);
            self.drift.note_server(now, sequence as f64 * self.format.frame.samples() as f64);
            if let Some(bytes) = FrameBytes::copy_of(frame).filter(|_| !engine_sleeps) {
                // A full ring means that the host has stalled: what it missed is concealed when it comes back.
                let arrived = self.drift.host_samples(now);
                let _ =
                    downlink.push(DownlinkFrame { generation: self.generation, sequence, arrived, bytes });
            }
        }
    }

    /// Takes over what the engine has made since the last call; while the host is `rendering` nobody wants it.
    pub(super) fn take_uplink(
        &mut self,
        now: Time,
        shared: &Shared,
        uplink: &mut Consumer<UplinkFrame>,
        rendering: bool,
    ) {
        if self.drift.correction() != 0.0 {
            // Frames now end anywhere in a block, sooner or later just after its start.
            let block = shared.block_seconds().unwrap_or(0.0) * f64::from(WIRE_RATE_HZ);
            self.pacer.hold_at_least(block.ceil() as u32 + 1);
        }
        if rendering {
            self.queue.clear();
        }
        while let Ok(frame) = uplink.pop() {
            if !rendering {
                self.drift.note_host(now, frame.progress.captured, frame.progress.steered);
            }
            let wanted =
                frame.generation == self.generation && !self.leaving && !self.hold_sound && !rendering;
            if wanted && self.queue.len() < MAX_QUEUED_FRAMES {
                self.queue.push_back((self.pacer.due(now, frame.age_samples), frame));
            }
        }
    }

    /// Compares what the engine has sent with what it has played; where that took longer than it must, and we
    /// `may_move` in the server's buffer, a frame will be held back.
    pub(super) fn align(
        &mut self,
        now: Time,
        shared: &Shared,
        traces: &mut Consumer<Trace>,
        server_buffer_frames: Option<u8>,
        may_move: bool,
    ) {
        let around =
            Surroundings { ping_ms: self.session.ping_ms(), server_buffer_frames, rolling: shared.rolling() };
        self.aligner.take_traces(now, self.generation, traces, around);
        shared.set_lag(self.generation, self.aligner.lag());
        let sight = Sight {
            round_trip_ms: self.aligner.round_trip_ms(now),
            slow_ping_ms: self.session.slow_ping_ms(),
            server_frames: server_buffer_frames,
            may_move: may_move && self.session.audio_layout().counter && !shared.rolling(),
        };
        self.place.follow(now, sight);
    }

    pub(super) fn handle_timeout(&mut self, now: Time) {
        self.session.handle_timeout(now);
    }

    /// When to call [`Self::handle_timeout`] and [`Self::drain_transmits`] next.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        let sound =
            (!self.leaving).then(|| self.queue.front().map_or(self.silence_clock.due(), |(due, _)| *due));
        sound.into_iter().chain(self.session.poll_timeout()).min()
    }

    /// Hands every datagram that is due to `send`: sound first, then messages.
    pub(super) fn drain_transmits(
        &mut self,
        now: Time,
        shared: &Shared,
        send: &mut dyn FnMut(SocketAddr, &[u8]),
    ) {
        self.drift.update(now);
        shared.set_correction(self.drift.correction());
        if !self.leaving {
            self.send_due_frames(now, shared, send);
            self.send_silence(now, send);
        }
        while let Some(datagram) = self.session.poll_transmit() {
            self.counts.sent_bytes += datagram.len() as u64;
            send(self.server, &datagram);
        }
    }

    fn send_due_frames(&mut self, now: Time, shared: &Shared, send: &mut dyn FnMut(SocketAddr, &[u8])) {
        let patience = shared
            .block_seconds()
            .map_or(ENGINE_PATIENCE, |block| Duration::from_secs_f64(3.0 * block).max(ENGINE_PATIENCE));
        while self.queue.front().is_some_and(|(due, _)| *due <= now + DUE_SLACK) {
            let Some((_, frame)) = self.queue.pop_front() else { break };
            if self.sent_until.since(now) > MAX_AHEAD.max(patience) {
                continue;
            }
            if self.place.holds_back(frame.quiet) {
                self.counts.held_back += 1;
            } else {
                self.aligner.note_departure(now, frame.number, self.departures);
                self.send_frame(now, &frame.bytes, send);
            }
            self.silence_clock = SilenceClock::from(now + patience);
        }
    }

    /// Keeps the stream going while the host makes none: before its first block, and when it stops calling.
    fn send_silence(&mut self, now: Time, send: &mut dyn FnMut(SocketAddr, &[u8])) {
        /// Further behind than this, missed silence is not caught up.
        const TOO_LATE: Duration = Duration::from_millis(20);
        if now.since(self.silence_clock.due()) > TOO_LATE {
            self.silence_clock = SilenceClock::from(now);
        }
        while self.queue.is_empty() && self.silence_clock.due() <= now + DUE_SLACK {
            let silence = self.silence;
            self.send_frame(now, &silence, send);
            self.silence_clock.advance(self.format.frame.nanos());
        }
    }

    fn send_frame(&mut self, now: Time, frame: &FrameBytes, send: &mut dyn FnMut(SocketAddr, &[u8])) {
        let PacketLayout { counter: with_counter, .. } = self.session.audio_layout();
        let frame = frame.as_slice();
        let mut packet = [0; MAX_FRAME_BYTES + 1];
        packet[..frame.len()].copy_from_slice(frame);
        packet[frame.len()] = self.counter;
        let length = frame.len() + usize::from(with_counter);
        self.counter = self.counter.wrapping_add(1);
        self.sent_until = self.sent_until.max(now) + self.format.frame.duration();
        self.departures += 1;
        self.counts.sent += 1;
        self.counts.sent_bytes += length as u64;
        send(self.server, &packet[..length]);
        self.session.audio_sent(now);
    }
}

/// Numbers what arrives. The first frames of a session carry no counter; the numbers go on where it begins.
struct Numbering {
    unwrapper: CounterUnwrapper,
    /// Of the last frame without counter.
    uncounted: i64,
    /// From the counter's own numbers to ours.
    offset: Option<i64>,
}

impl Numbering {
    fn new(frame: FrameSize) -> Self {
        Self { unwrapper: CounterUnwrapper::new(frame), uncounted: 0, offset: None }
    }

    fn number(&mut self, now: Time, counter: Option<u8>) -> i64 {
        let Some(counter) = counter else {
            self.uncounted += 1;
            return self.uncounted;
        };
        let counted = self.unwrapper.unwrap(now, counter);
        counted + *self.offset.get_or_insert(self.uncounted + 1 - counted)
    }
}

/// When the next silent frame is due: exact over any time, although frames are no whole microseconds.
struct SilenceClock {
    base: Time,
    nanos: u64,
}

impl From<Time> for SilenceClock {
    fn from(base: Time) -> Self {
        Self { base, nanos: 0 }
    }
}

impl SilenceClock {
    fn due(&self) -> Time {
        self.base + Duration::from_nanos(self.nanos)
    }

    fn advance(&mut self, nanos: u64) {
        self.nanos += nanos;
    }
}
