//! The audio half of the client. The audio thread owns it and shares nothing: it meets the network
//! thread at four rings and some single atomics. After [`Engine::prepare`] it does not allocate,
//! lock, log, read a clock or block; its one system call is waking the network thread.

use std::sync::Arc;

use rtrb::{Consumer, Producer};

use super::feedback::Ear;
use super::handle::Lifeline;
use super::shared::{AudioCounts, Shared};
use super::stream::{DownlinkFrame, FrameBytes, Progress, Stream, UplinkFrame};
use crate::audio::{DcBlocker, FlushDenormals, Limiter, Played, Resampler, ResamplerError, SampleFifo, tame};
use crate::net::Waker;
use crate::units::{Layout, MAX_FRAME_SAMPLES, WIRE_RATE_HZ};

/// Until a host says what it has, in Hz.
pub(super) const DEFAULT_RATE_HZ: f64 = WIRE_RATE_HZ as f64;

/// What comes back is never louder than this, linear: 6 dB above full scale, where only an accident gets.
const RETURN_CEILING: f32 = 2.0;

/// After this long without a frame the track's own sound is let through again, in samples at 48 kHz (one second).
const SILENT_SAMPLES: f64 = WIRE_RATE_HZ as f64;

/// Levels for one block, linear; changes are ramped, so they may jump from block to block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Controls {
    /// Gain of what is sent.
    pub send_gain: f32,
    /// Gain of what comes back.
    pub return_gain: f32,
    /// Gain of the track's own sound beside the return, while connected.
    pub dry_gain: f32,
    /// Send silence.
    pub mute_me: bool,
    /// Let the track's own sound through while nothing comes back. Off where the track is a microphone beside
    /// the loudspeakers.
    pub pass_dry: bool,
    /// Let the track's own sound through and send silence; the session goes on.
    pub bypass: bool,
    /// The host says that it renders: nobody can play along with that, so it is a bypass without ramps.
    pub offline: bool,
}

impl Default for Controls {
    /// Send and return at unity, no dry sound: what others hear is what I hear.
    fn default() -> Self {
        Self {
            send_gain: 1.0,
            return_gain: 1.0,
            dry_gain: 0.0,
            mute_me: false,
            pass_dry: true,
            bypass: false,
            offline: false,
        }
    }
}

/// Audio in, audio out; packets to and from the network thread.
pub struct Engine {
    shared: Arc<Shared>,
    waker: Waker,
    links: EngineLinks,
    stream: Option<Box<Stream>>,
    /// Counted by streams that are gone.
    counts: AudioCounts,
    rate: Rate,
    progress: Progress,
    /// What both resamplers make up for in this block.
    correction: f64,
    /// How much faster than nominal the resamplers run, to the wire and from it, as fractions.
    steering: [f64; 2],
    levels: Levels,
    /// Sound has come back since this session began, and within the last [`SILENT_SAMPLES`].
    receiving: bool,
    /// Frames since the last one that came back.
    missing: u32,
    /// The last block was rendered, not played.
    rendered: bool,
    /// Sound of all blocks that is no whole microsecond yet.
    micros: f64,
    recent_block: RecentBlock,
    ear: Ear,
    /// Keeps the network thread alive.
    _lifeline: Arc<Lifeline>,
}

/// The engine's ends of the rings.
pub(super) struct EngineLinks {
    pub(super) uplink: Producer<UplinkFrame>,
    pub(super) downlink: Consumer<DownlinkFrame>,
    /// New streams from the network thread …
    pub(super) streams: Consumer<Box<Stream>>,
    /// … and old ones back to it, to be freed there.
    pub(super) retired: Producer<Box<Stream>>,
}

impl Engine {
    pub(super) fn new(
        shared: Arc<Shared>,
        waker: Waker,
        links: EngineLinks,
        ear: Ear,
        lifeline: Arc<Lifeline>,
    ) -> Self {
        const DEFAULT_BLOCK: usize = 512;
        let rate = Rate::new(DEFAULT_RATE_HZ, DEFAULT_BLOCK).expect("48 kHz can be resampled");
        shared.set_rate_hz(DEFAULT_RATE_HZ);
        Self {
            shared,
            waker,
            links,
            stream: None,
            counts: AudioCounts::default(),
            levels: Levels::new(DEFAULT_RATE_HZ),
            rate,
            progress: Progress::default(),
            correction: 0.0,
            steering: [0.0; 2],
            receiving: false,
            missing: 0,
            rendered: false,
            micros: 0.0,
            recent_block: RecentBlock::default(),
            ear,
            _lifeline: lifeline,
        }
    }

    /// Gets ready for blocks of up to `max_block` samples at `rate_hz`. Allocates; the session goes on.
    /// Longer blocks are still processed, piece by piece.
    ///
    /// # Errors
    /// When the rate is one that cannot be resampled; the engine then keeps its old rate.
    pub fn prepare(&mut self, rate_hz: f64, max_block: usize) -> Result<(), ResamplerError> {
        let max_block = max_block.max(1);
        self.shared.note_activation();
        if self.rate.hz != rate_hz || self.rate.max_block != max_block {
            self.rate = Rate::new(rate_hz, max_block)?;
            self.levels.set_rate(rate_hz);
            self.ear.set_rate(rate_hz);
            self.recent_block = RecentBlock::default();
            self.shared.set_rate_hz(rate_hz);
        }
        Ok(())
    }

    /// Forgets sound that is on its way through the engine (a host's "reset"); the session goes on.
    pub fn reset(&mut self) {
        self.rate.clear();
    }

    /// For tests of the drift loop: how much faster than nominal the resamplers ran in the last block, to the wire and
    /// from it, as fractions.
    #[doc(hidden)]
    pub fn steering(&self) -> [f64; 2] {
        self.steering
    }

    /// One block, in place: `io[..input_channels]` hold the track's sound (one or two channels), and
    /// all of `io` gets the output. All channels have the same length, any length; 0 is fine.
    ///
    /// While no session is up, or after a fault, the track's own sound passes unchanged (or is silent, where
    /// [`Controls::pass_dry`] says so).
    pub fn process(&mut self, io: &mut [&mut [f32]], input_channels: usize, controls: &Controls) {
        let _flush = FlushDenormals::new();
        let frames = io.iter().map(|channel| channel.len()).min().unwrap_or(0);
        self.recent_block.note(frames, self.rate.hz);
        self.micros = self.micros.fract() + frames as f64 * 1e6 / self.rate.hz;
        self.shared.note_block(self.recent_block.longest, self.micros as u64, controls.offline);
        self.exchange_stream();
        self.receive_frames(frames);
        self.follow_clock(frames);
        let renders = self.follow_render(controls);
        // While on trial the network thread has to see each block as it comes.
        let mut pushed = self.shared.is_on_trial() && self.stream.is_some();
        let hushed = self.shared.is_hushed();
        self.ear.ask(self.shared.question());
        let mut start = 0;
        while start < frames {
            let piece = start..frames.min(start + self.rate.max_block);
            start = piece.end;
            self.levels.aim(controls, self.receiving, renders);
            if hushed {
                self.levels.send.target = 0.0;
            }
            let dry = self.levels.is_dry();
            if !dry || (self.stream.is_some() && !renders) {
                self.rate.read(io, input_channels, piece.clone());
                pushed |= self.send();
                self.play();
            }
            if dry {
                copy_to_all(io, input_channels, piece);
                self.ear.rest();
                continue;
            }
            self.shared.meter_receive(self.rate.finish_return(&mut self.levels));
            self.rate.mix_into(io, piece.clone(), &mut self.levels);
            let (send, back) = (self.levels.send.value, self.levels.back.value);
            self.ear.hear(&self.rate.dry, io, piece, send, back);
        }
        if let Some(stream) = &self.stream {
            let (playout, counts) = (&stream.playout, self.counts.plus(stream.playout.stats()));
            let surplus = self.surplus_frames().or(playout.surplus());
            self.shared.publish_audio(playout.size_frames(), surplus, counts);
        }
        // One wake-up a block is allowed, and the Connect parameter may have used it: then this
        // block's packets go with the next one's, at a moment when nobody listens to them.
        if !self.shared.take_intent_woke() && pushed {
            self.waker.wake();
        }
    }

    /// Whether this block is rendered, as the host says or the network thread's clock shows.
    fn follow_render(&mut self, controls: &Controls) -> bool {
        let on_trial = self.stream.is_some() && self.shared.is_on_trial();
        let renders = controls.offline || on_trial;
        if renders {
            // A bounce keeps the take from its first sample on.
            self.levels.be_dry(controls);
        }
        if self.rendered && !renders {
            self.rate.clear();
        }
        self.rendered = renders;
        renders
    }

    /// Takes the newest stream, and gives back what is no longer in use.
    fn exchange_stream(&mut self) {
        while let Ok(stream) = self.links.streams.pop() {
            self.retire();
            self.rate.clear();
            self.stream = Some(stream);
        }
        let live = self.shared.live_generation();
        if live == 0 || self.shared.faulted.load(std::sync::atomic::Ordering::Acquire) {
            self.retire();
            self.receiving = false;
        }
        if let Some(stream) = &mut self.stream {
            stream.playout.set_size(self.shared.client_buffer());
        }
    }

    fn retire(&mut self) {
        let Some(stream) = self.stream.take() else { return };
        self.counts = self.counts.plus(stream.playout.stats());
        if let Err(rtrb::PushError::Full(stream)) = self.links.retired.push(stream) {
            // The ring has room for every stream that can be under way; should that ever be untrue, a leak
            // is better than freeing on the audio thread.
            std::mem::forget(stream);
        }
    }

    /// Moves what has arrived into the jitter buffer, before a block of `frames` samples.
    fn receive_frames(&mut self, frames: usize) {
        let captured = self.progress.captured + self.rate.on_wire(frames);
        let waiting = self.rate.on_wire(self.rate.host_in.len_frames());
        if let Some(stream) = &mut self.stream {
            let frame_in_host = stream.format.frame.samples() as f64 * self.rate.hz / f64::from(WIRE_RATE_HZ);
            stream.playout.set_burst((self.recent_block.longest as f64 / frame_in_host) as f32);
        }
        while let Ok(frame) = self.links.downlink.pop() {
            if let Some(stream) = self.stream.as_mut().filter(|stream| stream.generation == frame.generation)
            {
                if let (Some(playhead), Some(arrived)) = (stream.playout.playhead(), frame.arrived) {
                    let samples = stream.format.frame.samples();
                    let ahead = frame.sequence.wrapping_sub(playhead) as f64 * samples as f64 + waiting;
                    stream.fill.note(ahead + captured - arrived, samples);
                }
                stream.playout.put(frame.sequence, frame.bytes.as_slice());
            }
        }
        if let Some(stream) = &mut self.stream {
            stream.playout.begin_pull();
        }
    }

    /// Frames that remain after a pull beyond those that are wanted, if that is known.
    fn surplus_frames(&self) -> Option<f32> {
        let stream = self.stream.as_ref()?;
        let samples = stream.format.frame.samples();
        let reserve = stream.fill.reserve(self.rate.on_wire(self.recent_block.longest), samples)?;
        Some((reserve / samples as f64) as f32 - f32::from(stream.playout.reserve_frames()))
    }

    /// Sets both resamplers to what the network thread has found out about the clocks, see [`super::drift`]. What
    /// comes back is played a trace faster or slower on top, so that our buffer stays at its target.
    fn follow_clock(&mut self, frames: usize) {
        self.correction = self.shared.correction();
        let (surplus, block) = (self.surplus_frames(), self.rate.on_wire(frames));
        let Some(stream) = &mut self.stream else { return };
        let mut trim = 0.0;
        if self.correction != 0.0 {
            stream.playout.set_steered();
            let (frame_samples, target) = (stream.format.frame.samples(), stream.playout.reserve_frames());
            if let Some(surplus) = surplus {
                trim = stream.fill.trim(f64::from(surplus), frame_samples, target, block);
            }
        }
        self.rate.to_wire.set_speed(1.0 / (1.0 + self.correction));
        self.rate.from_wire.set_speed(1.0 + self.correction + trim);
        self.steering = [-self.correction, self.correction + trim];
    }

    /// Encodes this piece for the network; tells whether there is something to send.
    fn send(&mut self) -> bool {
        let peaks = self.rate.finish_send(&mut self.levels);
        let Some(stream) = &mut self.stream else { return false };
        self.shared.meter_send(peaks);
        let nominal = self.rate.on_wire(self.rate.scratch.len() / 2);
        self.progress.captured += nominal;
        self.progress.steered += nominal * self.correction;
        self.rate.to_wire.process(&self.rate.scratch, &mut self.rate.wire_out);
        let frame_samples = stream.format.frame.samples();
        let mut pushed = false;
        while self.rate.wire_out.len_frames() >= frame_samples {
            let mut stereo = [0.0; 2 * MAX_FRAME_SAMPLES];
            let stereo = &mut stereo[..2 * frame_samples];
            self.rate.wire_out.pop_into(stereo);
            let mut bytes = FrameBytes::zeroed(stream.format.frame_bytes());
            stream.encoder.encode(fold_to(stream.format.layout, stereo), bytes.as_mut_slice());
            let age_samples = self.rate.wire_out.len_frames() as u32;
            // A full ring means that the network thread has stalled for a second: newer sound is worth more.
            pushed |= self
                .links
                .uplink
                .push(UplinkFrame {
                    generation: stream.generation,
                    age_samples,
                    progress: self.progress,
                    bytes,
                })
                .is_ok();
        }
        pushed
    }

    /// Fills the piece with what comes back.
    fn play(&mut self) {
        let frames = self.rate.scratch.len() / 2;
        if let Some(stream) = &mut self.stream {
            let frame_samples = stream.format.frame.samples();
            while self.rate.host_in.len_frames() < frames {
                let mut pcm = [0.0; 2 * MAX_FRAME_SAMPLES];
                let coded = &mut pcm[..frame_samples * stream.format.layout.channels()];
                if stream.playout.next_frame(coded) == Played::Frame {
                    (self.receiving, self.missing) = (true, 0);
                } else {
                    self.missing = self.missing.saturating_add(1);
                    self.receiving &= f64::from(self.missing) * frame_samples as f64 <= SILENT_SAMPLES;
                }
                spread_from(stream.format.layout, &mut pcm[..2 * frame_samples]);
                self.rate.from_wire.process(&pcm[..2 * frame_samples], &mut self.rate.host_in);
            }
        }
        // Without a stream the ring may run dry: silence, under a fade that has begun.
        let filled = self.rate.host_in.pop_into(&mut self.rate.scratch);
        self.rate.scratch[filled..].fill(0.0);
    }
}

/// What depends on the host's rate and block: resamplers and buffers, all interleaved stereo.
struct Rate {
    hz: f64,
    max_block: usize,
    to_wire: Resampler,
    from_wire: Resampler,
    /// At 48 kHz, waiting to fill a frame.
    wire_out: SampleFifo,
    /// At the host's rate, waiting to be played.
    host_in: SampleFifo,
    send_dc: DcBlocker,
    return_dc: DcBlocker,
    limiter: Limiter,
    /// The track's own sound of this piece.
    dry: Vec<f32>,
    /// This piece on its way out, then what comes back; as long as the piece.
    scratch: Vec<f32>,
}

impl Rate {
    fn new(hz: f64, max_block: usize) -> Result<Self, ResamplerError> {
        let wire_hz = f64::from(WIRE_RATE_HZ);
        let to_wire = Resampler::steerable(hz, wire_hz, Layout::Stereo, max_block)?;
        let from_wire = Resampler::steerable(wire_hz, hz, Layout::Stereo, MAX_FRAME_SAMPLES)?;
        // One block or frame on top of what can be left over, and the resamplers' own granularity.
        const SLACK: usize = 1024;
        let block_on_wire = (max_block as f64 * wire_hz / hz).ceil() as usize;
        let frame_in_host = (MAX_FRAME_SAMPLES as f64 * hz / wire_hz).ceil() as usize;
        Ok(Self {
            hz,
            max_block,
            to_wire,
            from_wire,
            wire_out: SampleFifo::with_capacity(block_on_wire + MAX_FRAME_SAMPLES + SLACK, 2),
            host_in: SampleFifo::with_capacity(max_block + frame_in_host + SLACK, 2),
            send_dc: DcBlocker::new(hz),
            return_dc: DcBlocker::new(hz),
            limiter: Limiter::with_ceiling(RETURN_CEILING, hz),
            dry: Vec::with_capacity(2 * max_block),
            scratch: Vec::with_capacity(2 * max_block),
        })
    }

    /// How many samples at 48 kHz last as long as `frames` at the host's rate.
    fn on_wire(&self, frames: usize) -> f64 {
        frames as f64 * f64::from(WIRE_RATE_HZ) / self.hz
    }

    fn clear(&mut self) {
        self.to_wire.reset();
        self.from_wire.reset();
        self.wire_out.clear();
        self.host_in.clear();
        self.send_dc = DcBlocker::new(self.hz);
        self.return_dc = DcBlocker::new(self.hz);
        self.limiter = Limiter::with_ceiling(RETURN_CEILING, self.hz);
    }

    /// Takes the track's sound into `dry` and `scratch`; what is not a number becomes silence.
    fn read(&mut self, io: &[&mut [f32]], input_channels: usize, piece: std::ops::Range<usize>) {
        let clean = |sample: f32| if sample.is_finite() { sample } else { 0.0 };
        self.dry.clear();
        match io.get(..input_channels.min(io.len())) {
            Some([left, right, ..]) => {
                let pairs = left[piece.clone()].iter().zip(&right[piece]);
                self.dry.extend(pairs.flat_map(|(left, right)| [clean(*left), clean(*right)]));
            }
            Some([mono]) => self.dry.extend(mono[piece].iter().flat_map(|sample| [clean(*sample); 2])),
            _ => self.dry.resize(2 * piece.len(), 0.0),
        }
        self.scratch.clear();
        self.scratch.extend_from_slice(&self.dry);
    }

    /// Makes `scratch` what is sent: nothing that harms the other side, at the send gain. Returns its peaks.
    fn finish_send(&mut self, levels: &mut Levels) -> [f32; 2] {
        for pair in self.scratch.as_chunks_mut::<2>().0 {
            let gain = levels.send.next();
            *pair = self.send_dc.next(pair.map(tame)).map(|sample| sample * gain);
        }
        peaks(&self.scratch)
    }

    /// Makes `scratch` what is heard of the return: nothing that harms ears or loudspeakers. Returns its peaks.
    fn finish_return(&mut self, levels: &mut Levels) -> [f32; 2] {
        for pair in self.scratch.as_chunks_mut::<2>().0 {
            let gain = levels.back.next();
            *pair = self.return_dc.next(pair.map(tame)).map(|sample| sample * gain);
        }
        self.limiter.limit(&mut self.scratch, Layout::Stereo);
        peaks(&self.scratch)
    }

    /// Writes dry and returned sound to all of `io`.
    fn mix_into(&self, io: &mut [&mut [f32]], piece: std::ops::Range<usize>, levels: &mut Levels) {
        for (index, (dry, back)) in self.dry.chunks_exact(2).zip(self.scratch.chunks_exact(2)).enumerate() {
            let dry_gain = levels.dry.next();
            let out = [dry[0] * dry_gain + back[0], dry[1] * dry_gain + back[1]];
            match io {
                [mono] => mono[piece.start + index] = 0.5 * (out[0] + out[1]),
                [left, right, ..] => {
                    left[piece.start + index] = out[0];
                    right[piece.start + index] = out[1];
                }
                [] => {}
            }
        }
    }
}

/// The four gains on their way to where they should be.
struct Levels {
    send: Ramp,
    back: Ramp,
    dry: Ramp,
}

impl Levels {
    fn new(rate_hz: f64) -> Self {
        let step = Ramp::step(rate_hz);
        Self { send: Ramp::at(1.0, step), back: Ramp::at(0.0, step), dry: Ramp::at(1.0, step) }
    }

    fn set_rate(&mut self, rate_hz: f64) {
        let step = Ramp::step(rate_hz);
        for ramp in [&mut self.send, &mut self.back, &mut self.dry] {
            ramp.step = step;
        }
    }

    /// Own sound until something has come back, then what the controls say. While bypassed or rendering, own
    /// sound and nothing else.
    fn aim(&mut self, controls: &Controls, receiving: bool, renders: bool) {
        let (aside, own) = (controls.bypass || renders, f32::from(u8::from(controls.pass_dry)));
        self.send.target = if controls.mute_me || aside { 0.0 } else { controls.send_gain };
        self.back.target = if receiving && !aside { controls.return_gain } else { 0.0 };
        self.dry.target = if receiving && !aside { controls.dry_gain } else { own };
    }

    /// Arrives at own sound at once.
    fn be_dry(&mut self, controls: &Controls) {
        self.aim(controls, false, true);
        for ramp in [&mut self.send, &mut self.back, &mut self.dry] {
            ramp.value = ramp.target;
        }
    }

    /// The output is the track's own sound, exactly.
    fn is_dry(&self) -> bool {
        self.dry.is_settled() && self.dry.value == 1.0 && self.back.is_settled() && self.back.value == 0.0
    }
}

/// A gain that moves in a straight line.
struct Ramp {
    value: f32,
    target: f32,
    /// Largest change per sample.
    step: f32,
}

impl Ramp {
    /// From nothing to unity in 10 ms: no click, and nobody waits for it.
    fn step(rate_hz: f64) -> f32 {
        (1.0 / (0.010 * rate_hz)) as f32
    }

    fn at(value: f32, step: f32) -> Self {
        Self { value, target: value, step }
    }

    fn is_settled(&self) -> bool {
        self.value == self.target
    }

    fn next(&mut self) -> f32 {
        self.value += (self.target - self.value).clamp(-self.step, self.step);
        self.value
    }
}

/// The longest block that the host uses: many vary theirs from call to call.
#[derive(Default)]
struct RecentBlock {
    /// Grows at once; shrinks only when blocks have become much shorter, since a change costs a gap.
    longest: usize,
    recent: usize,
    recent_before: usize,
    samples: usize,
}

impl RecentBlock {
    fn note(&mut self, frames: usize, rate_hz: f64) {
        self.samples += frames;
        self.recent = self.recent.max(frames);
        self.longest = self.longest.max(frames);
        if self.samples as f64 > 2.0 * rate_hz {
            let recent = self.recent.max(self.recent_before);
            if 2 * recent < self.longest {
                self.longest = recent;
            }
            self.samples = 0;
            self.recent_before = std::mem::take(&mut self.recent);
        }
    }
}

/// Peaks of interleaved stereo, left and right.
fn peaks(stereo: &[f32]) -> [f32; 2] {
    stereo
        .as_chunks::<2>()
        .0
        .iter()
        .fold([0.0; 2], |peaks, pair| [peaks[0].max(pair[0].abs()), peaks[1].max(pair[1].abs())])
}

/// Own sound to every output channel: only mono in → stereo out has something to copy.
fn copy_to_all(io: &mut [&mut [f32]], input_channels: usize, piece: std::ops::Range<usize>) {
    if input_channels == 1
        && let [mono, others @ ..] = io
    {
        for other in others {
            other[piece.clone()].copy_from_slice(&mono[piece.clone()]);
        }
    }
}

/// Interleaved stereo as the stream wants it; mono is written to the front of the same buffer.
fn fold_to(layout: Layout, stereo: &mut [f32]) -> &[f32] {
    match layout {
        Layout::Stereo => stereo,
        Layout::Mono => {
            let frames = stereo.len() / 2;
            for index in 0..frames {
                stereo[index] = 0.5 * (stereo[2 * index] + stereo[2 * index + 1]);
            }
            &stereo[..frames]
        }
    }
}

/// The reverse of [`fold_to`]: a mono frame at the front of `pcm` becomes interleaved stereo in place.
fn spread_from(layout: Layout, pcm: &mut [f32]) {
    if layout == Layout::Mono {
        for index in (0..pcm.len() / 2).rev() {
            pcm[2 * index] = pcm[index];
            pcm[2 * index + 1] = pcm[index];
        }
    }
}
