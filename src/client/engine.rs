//! The audio half of the client. The audio thread owns it and shares nothing: it meets the network
//! thread at four rings and some single atomics. After [`Engine::prepare`] it does not allocate,
//! lock, log, read a clock or block; its one system call is waking the network thread.

use std::sync::Arc;

use rtrb::{Consumer, Producer};

use super::align::OwnTrack;
use super::feedback::Ear;
use super::handle::Lifeline;
use super::shared::{AudioCounts, BufferPicture, Shared};
use super::stream::{DownlinkFrame, FrameBytes, Progress, Stream, Trace, UplinkFrame};
use crate::audio::{DcBlocker, FlushDenormals, Limiter, Played, Resampler, ResamplerError, SampleFifo, tame};
use crate::net::Waker;
use crate::units::{Layout, MAX_FRAME_SAMPLES, WIRE_RATE_HZ};

/// Until a host says what it has, in Hz.
pub(super) const DEFAULT_RATE_HZ: f64 = WIRE_RATE_HZ as f64;

/// What comes back is never louder than this, linear: 6 dB above full scale, where only an accident gets.
const RETURN_CEILING: f32 = 2.0;

/// A track with nothing louder than this, linear, rests: −50 dBFS.
const QUIET: f32 = 0.003;

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
    /// What the output holds while connected.
    pub output: Output,
    /// The host's transport plays: what is recorded now should not be moved.
    pub rolling: bool,
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
            output: Output::Mix,
            rolling: false,
            offline: false,
        }
    }
}

/// What the output holds while connected: what the musician wants to record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Output {
    /// Everyone, as the server mixes them for us, and the dry sound at its level.
    #[default]
    Mix,
    /// The others: our own channel is turned off in our mix. After joining one hears oneself nevertheless, for up
    /// to 3 s of sound or until the transport starts: that is how "me, aligned" is measured.
    Others,
    /// The others as in [`Output::Others`], and the track's own sound as it is: at the dry level, or at unity where
    /// that is off.
    OthersAndDry,
    /// "Me, aligned": only the track's own sound, as late as it comes back in the mix. It lies beside recorded
    /// others as we played it. Our own channel stays in the mix, which nobody hears here, so it remains exact.
    Aligned,
}

/// More outputs beside the main one. All channels are as long as the main output's, or as long as the host made
/// them: hosts leave outputs out. For [`Output::Others`] (and
/// [`Output::OthersAndDry`]) the main output then holds the sum of both.
pub struct ExtraOutputs<'a> {
    /// What comes back, left and right: the others, and our own channel only for [`Output::Mix`] and
    /// [`Output::Aligned`].
    pub others: [&'a mut [f32]; 2],
    /// "Me, aligned", left and right; while nothing comes back the track's own sound, where
    /// [`Controls::pass_dry`] lets it through.
    pub aligned: [&'a mut [f32]; 2],
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
    /// What was sent and played, to be compared.
    pub(super) traces: Producer<Trace>,
}

/// How long before the next frame is pulled a frame has come that is `age` old now, where blocks of `block` begin to
/// play and `waiting` samples are yet to be played before that frame, in samples.
fn samples_to_pull(age: f64, waiting: f64, block: f64, steered: bool) -> f64 {
    let age = age.clamp(0.0, block);
    if steered {
        // What waits at the start of a block wanders through all that is possible, so the least of it counts.
        age + waiting - block
    } else {
        age + (waiting / block).floor() * block
    }
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
        shared.set_resampling_ms(rate.resampling_ms());
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
            self.shared.set_resampling_ms(self.rate.resampling_ms());
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
        self.run(io, input_channels, None, controls);
    }

    /// The same with more outputs.
    pub fn process_multi(
        &mut self,
        io: &mut [&mut [f32]],
        input_channels: usize,
        extra: ExtraOutputs<'_>,
        controls: &Controls,
    ) {
        self.run(io, input_channels, Some(extra), controls);
    }

    fn run(
        &mut self,
        io: &mut [&mut [f32]],
        input_channels: usize,
        mut extra: Option<ExtraOutputs<'_>>,
        controls: &Controls,
    ) {
        let _flush = FlushDenormals::new();
        let frames = io.iter().map(|channel| channel.len()).min().unwrap_or(0);
        let routing = Routing::of(controls, extra.is_some());
        self.shared.note_output(routing.others_only, routing.back == 0.0, controls.rolling);
        // What a bounce calls with says nothing about playing.
        if !controls.offline {
            self.recent_block.note(frames, self.rate.hz);
        }
        self.micros = self.micros.fract() + frames as f64 * 1e6 / self.rate.hz;
        self.shared.note_block(self.recent_block.longest, self.micros as u64, controls.offline);
        self.exchange_stream();
        self.receive_frames(frames);
        self.follow_clock(frames, controls.rolling);
        let renders = self.follow_render(controls, routing);
        // While on trial the network thread has to see each block as it comes.
        let mut pushed = self.shared.is_on_trial() && self.stream.is_some();
        let hushed = self.shared.is_hushed();
        self.ear.ask(self.shared.question());
        let mut start = 0;
        while start < frames {
            let piece = start..frames.min(start + self.rate.max_block);
            start = piece.end;
            self.levels.aim(controls, routing, self.receiving, renders);
            if hushed {
                self.levels.send.target = 0.0;
            }
            let dry = self.levels.is_dry();
            if !dry || (self.stream.is_some() && !renders) {
                self.rate.read(io, input_channels, piece.clone());
                pushed |= self.send();
                self.play(controls.rolling);
            }
            if dry {
                copy_to_all(io, input_channels, piece.clone());
                if let Some(extra) = &mut extra {
                    extra.pass(io, piece);
                }
                self.ear.rest();
                continue;
            }
            self.shared.meter_receive(self.rate.finish_return(&mut self.levels));
            if routing.back > 0.0 {
                let (send, back) = (self.levels.send.value, self.levels.back.value);
                self.ear.hear(&self.rate.dry, &mut self.rate.scratch, send, back);
            } else {
                self.ear.rest();
            }
            self.rate.mix_into(io, extra.as_mut(), piece, &mut self.levels);
        }
        self.shared.publish_alignment(self.rate.own.alignment(), self.rate.own.grown());
        if let Some(stream) = &self.stream {
            let (playout, counts) = (&stream.playout, self.counts.plus(stream.playout.stats()));
            let between =
                self.rate.wire_out.len_frames() as f64 + self.rate.on_wire(self.rate.host_in.len_frames());
            let millis = |samples: f64| (1000.0 * samples / f64::from(WIRE_RATE_HZ)) as f32;
            let buffer = BufferPicture {
                frames: playout.size_frames(),
                surplus: self.surplus_frames().or(playout.surplus()),
                waited_ms: stream.fill.wait().map(millis),
                grid_ms: millis(between),
            };
            self.shared.publish_audio(buffer, counts);
        }
        // One wake-up a block is allowed, and the Connect parameter may have used it: then this
        // block's packets go with the next one's, at a moment when nobody listens to them.
        if !self.shared.take_intent_woke() && pushed {
            self.waker.wake();
        }
    }

    /// Whether this block is rendered, as the host says or the network thread's clock shows.
    fn follow_render(&mut self, controls: &Controls, routing: Routing) -> bool {
        let on_trial = self.stream.is_some() && self.shared.is_on_trial();
        let renders = controls.offline || on_trial;
        if renders {
            // A bounce keeps the take from its first sample on.
            self.levels.be_dry(controls, routing);
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
            stream.playout.set_safety(self.shared.safety());
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
        let block = self.rate.on_wire(frames);
        let captured = self.progress.captured + block;
        let waiting = self.rate.on_wire(self.rate.host_in.len_frames());
        let longest = self.rate.on_wire(self.recent_block.longest).max(1.0);
        if let Some(stream) = &mut self.stream {
            let frame_in_host = stream.format.frame.samples() as f64 * self.rate.hz / f64::from(WIRE_RATE_HZ);
            stream.playout.set_burst((self.recent_block.longest as f64 / frame_in_host) as f32);
        }
        while let Ok(frame) = self.links.downlink.pop() {
            if let Some(stream) = self.stream.as_mut().filter(|stream| stream.generation == frame.generation)
            {
                let samples = stream.format.frame.samples();
                let early = frame.arrived.map(|arrived| {
                    let early =
                        samples_to_pull(captured - arrived, waiting, longest, stream.playout.is_steered());
                    (early / samples as f64) as f32
                });
                if let (Some(playhead), Some(arrived)) = (stream.playout.playhead(), frame.arrived) {
                    let ahead = frame.sequence.wrapping_sub(playhead) as f64 * samples as f64 + waiting;
                    stream.fill.note(ahead + captured - arrived, block, samples);
                }
                stream.playout.put_timed(frame.sequence, frame.bytes.as_slice(), early);
            }
        }
        if let Some(stream) = &mut self.stream {
            stream.playout.begin_pull();
        }
    }

    /// Frames that remain after a pull beyond those that are wanted, if that is known.
    fn surplus_frames(&self) -> Option<f32> {
        let stream = self.stream.as_ref()?;
        if let Some(surplus) = stream.playout.timed_surplus() {
            return Some(surplus);
        }
        let samples = stream.format.frame.samples();
        let reserve = stream.fill.reserve(self.rate.on_wire(self.recent_block.longest), samples)?;
        Some((reserve / samples as f64) as f32 - f32::from(stream.playout.reserve_frames()))
    }

    /// Sets both resamplers to what the network thread has found out about the clocks, see [`super::drift`]. What
    /// comes back is played a trace faster or slower on top, so that our buffer stays at its target.
    fn follow_clock(&mut self, frames: usize, rolling: bool) {
        self.correction = self.shared.correction();
        let (surplus, block) = (self.surplus_frames(), self.rate.on_wire(frames));
        let Some(stream) = &mut self.stream else { return };
        let mut trim = 0.0;
        stream.playout.set_held(rolling);
        if self.correction != 0.0 {
            stream.playout.set_steered();
            let (frame_samples, target) = (stream.format.frame.samples(), stream.playout.reserve_frames());
            if let Some(surplus) = surplus {
                trim = stream.fill.trim(f64::from(surplus), frame_samples, target, block);
            }
        }
        if rolling {
            // To play faster is to shrink the buffer.
            trim = trim.min(0.0);
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
            self.rate.note_frame(stream.made);
            self.rate.wire_out.pop_into(stereo);
            let mut bytes = FrameBytes::zeroed(stream.format.frame_bytes());
            let (layout, number) = (stream.format.layout, stream.made);
            stream.made += 1;
            let pcm = fold_to(layout, stereo);
            stream.encoder.encode(pcm, bytes.as_mut_slice());
            // Without room the comparison has a gap, nothing more.
            let _ = self.links.traces.push(Trace::new(stream.generation, true, number, layout, pcm));
            let age_samples = self.rate.wire_out.len_frames() as u32;
            // A full ring means that the network thread has stalled for a second: newer sound is worth more.
            pushed |= self
                .links
                .uplink
                .push(UplinkFrame {
                    generation: stream.generation,
                    number,
                    age_samples,
                    quiet: pcm.iter().all(|sample| sample.abs() < QUIET),
                    progress: self.progress,
                    bytes,
                })
                .is_ok();
        }
        pushed
    }

    /// Delays "me, aligned" by what lies between our sound's way in and its way out of this piece.
    fn follow_lag(&mut self, rolling: bool) {
        let Some(stream) = &self.stream else { return };
        let (Some(playhead), Some(lag)) = (stream.playout.playhead(), self.shared.lag(stream.generation))
        else {
            return;
        };
        let frame_samples = stream.format.frame.samples();
        let fed = playhead.wrapping_mul(frame_samples as i64);
        let own = self.rate.heard_next(fed) - lag.samples as f64;
        let age = self.rate.own.age(own, frame_samples);
        // The sound that is heard at this piece's start was captured that long before it.
        let delay = age.map(|age| age - (self.rate.scratch.len() / 2) as f64);
        self.rate.own.follow(delay, lag.exact, rolling);
    }

    /// Fills the piece with what comes back.
    fn play(&mut self, rolling: bool) {
        let frames = self.rate.scratch.len() / 2;
        if let Some(stream) = &mut self.stream {
            let frame_samples = stream.format.frame.samples();
            while self.rate.host_in.len_frames() < frames {
                let mut pcm = [0.0; 2 * MAX_FRAME_SAMPLES];
                let coded = &mut pcm[..frame_samples * stream.format.layout.channels()];
                let before = stream.playout.playhead();
                let played = stream.playout.next_frame(coded);
                let number = before.filter(|before| stream.playout.playhead() == Some(before + 1));
                if let Some(number) = number.filter(|_| played == Played::Frame) {
                    let (generation, layout) = (stream.generation, stream.format.layout);
                    let _ = self.links.traces.push(Trace::new(generation, false, number, layout, coded));
                }
                if played == Played::Frame {
                    (self.receiving, self.missing) = (true, 0);
                } else {
                    self.missing = self.missing.saturating_add(1);
                    self.receiving &= f64::from(self.missing) * frame_samples as f64 <= SILENT_SAMPLES;
                }
                spread_from(stream.format.layout, &mut pcm[..2 * frame_samples]);
                self.rate.from_wire.process(&pcm[..2 * frame_samples], &mut self.rate.host_in);
            }
        }
        self.follow_lag(rolling);
        // Without a stream the ring may run dry: silence, under a fade that has begun.
        let filled = self.rate.host_in.pop_into(&mut self.rate.scratch);
        self.rate.scratch[filled..].fill(0.0);
    }
}

/// What goes to which output.
#[derive(Clone, Copy)]
struct Routing {
    /// Our own channel is to be off in our mix.
    others_only: bool,
    /// Gains in the main output while something comes back: of the return …
    back: f32,
    /// … of the dry sound, and of "me, aligned".
    dry: f32,
    own: f32,
    /// Gain of "me, aligned" in its own output.
    extra: f32,
}

impl Routing {
    fn of(controls: &Controls, multi: bool) -> Self {
        let dry = controls.dry_gain;
        let (others_only, back, dry, own) = match controls.output {
            Output::Others | Output::OthersAndDry if multi => (true, 1.0, 0.0, 1.0),
            Output::Mix => (false, 1.0, dry, 0.0),
            Output::Others => (true, 1.0, 0.0, 0.0),
            Output::OthersAndDry => (true, 1.0, if dry > 0.0 { dry } else { 1.0 }, 0.0),
            Output::Aligned => (false, 0.0, 0.0, 1.0),
        };
        Self { others_only, back, dry, own, extra: f32::from(u8::from(multi)) }
    }
}

impl ExtraOutputs<'_> {
    /// The same for one call.
    pub fn reborrow(&mut self) -> ExtraOutputs<'_> {
        let [others, aligned] = [&mut self.others, &mut self.aligned];
        ExtraOutputs {
            others: others.each_mut().map(|channel| &mut **channel),
            aligned: aligned.each_mut().map(|channel| &mut **channel),
        }
    }

    /// All channels.
    pub fn channels(&mut self) -> impl Iterator<Item = &mut [f32]> {
        self.others.iter_mut().chain(&mut self.aligned).map(|channel| &mut **channel)
    }

    /// Nothing comes back: the main output `io` holds the track's own sound.
    pub fn pass_all(&mut self, io: &[&mut [f32]]) {
        let frames = io.iter().map(|channel| channel.len()).min().unwrap_or(0);
        self.pass(io, 0..frames);
    }

    fn pass(&mut self, io: &[&mut [f32]], piece: std::ops::Range<usize>) {
        for (index, (others, aligned)) in self.others.iter_mut().zip(&mut self.aligned).enumerate() {
            if let Some(others) = others.get_mut(piece.clone()) {
                others.fill(0.0);
            }
            if let (Some(main), Some(aligned)) =
                (io.get(index).or(io.first()), aligned.get_mut(piece.clone()))
            {
                aligned.copy_from_slice(&main[piece.clone()]);
            }
        }
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
    own: OwnTrack,
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
            own: OwnTrack::new(hz, max_block),
            dry: Vec::with_capacity(2 * max_block),
            scratch: Vec::with_capacity(2 * max_block),
        })
    }

    /// How many samples at 48 kHz last as long as `frames` at the host's rate.
    fn on_wire(&self, frames: usize) -> f64 {
        frames as f64 * f64::from(WIRE_RATE_HZ) / self.hz
    }

    /// Delay of both resamplers together.
    fn resampling_ms(&self) -> f32 {
        let seconds = self.to_wire.latency_frames() / f64::from(WIRE_RATE_HZ)
            + self.from_wire.latency_frames() / self.hz;
        (1000.0 * seconds) as f32
    }

    fn clear(&mut self) {
        self.to_wire.reset();
        self.from_wire.reset();
        self.wire_out.clear();
        self.host_in.clear();
        self.send_dc = DcBlocker::new(self.hz);
        self.return_dc = DcBlocker::new(self.hz);
        self.limiter = Limiter::with_ceiling(RETURN_CEILING, self.hz);
        self.own.clear();
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
        self.own.write(&self.dry);
    }

    /// The frame `number` is what `wire_out` holds next.
    fn note_frame(&mut self, number: i64) {
        let next = self.to_wire.next_position();
        self.own.note_frame(number, self.wire_out.len_frames() as f64 * self.to_wire.step() - next);
    }

    /// The number of the server's sample that is heard next, where `fed` is that of the next one that the resampler
    /// will be given.
    fn heard_next(&self, fed: i64) -> f64 {
        fed as f64 + self.from_wire.next_position() - self.host_in.len_frames() as f64 * self.from_wire.step()
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

    /// Writes dry, aligned and returned sound to all of `io`, and to `extra` each for itself.
    fn mix_into(
        &mut self,
        io: &mut [&mut [f32]],
        mut extra: Option<&mut ExtraOutputs<'_>>,
        piece: std::ops::Range<usize>,
        levels: &mut Levels,
    ) {
        for index in 0..piece.len() {
            let (dry, back) = (&self.dry[2 * index..][..2], &self.scratch[2 * index..][..2]);
            let delayed = self.own.delayed(piece.len() - index);
            let (dry_gain, own_gain, back_gain) = (levels.dry.next(), levels.own.next(), levels.hear.next());
            let share = levels.extra.next();
            let pass = (1.0 - share) * levels.pass;
            let me = [0, 1].map(|side| dry[side] * dry_gain + delayed[side] * own_gain);
            let out = [0, 1].map(|side| me[side] + back[side] * back_gain);
            if let Some(extra) = &mut extra {
                for side in [0, 1] {
                    if let Some(others) = extra.others[side].get_mut(piece.start + index) {
                        *others = back[side];
                    }
                    if let Some(aligned) = extra.aligned[side].get_mut(piece.start + index) {
                        *aligned = dry[side] * pass + delayed[side] * share;
                    }
                }
            }
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

/// The gains on their way to where they should be.
struct Levels {
    send: Ramp,
    back: Ramp,
    dry: Ramp,
    /// Of "me, aligned".
    own: Ramp,
    /// Share of the return in the main output.
    hear: Ramp,
    /// Share of "me, aligned" in its own output; the rest is dry.
    extra: Ramp,
    /// Gain of that rest.
    pass: f32,
}

impl Levels {
    fn new(rate_hz: f64) -> Self {
        let step = Ramp::step(rate_hz);
        let at = |value| Ramp::at(value, step);
        Self {
            send: at(1.0),
            back: at(0.0),
            dry: at(1.0),
            own: at(0.0),
            hear: at(1.0),
            extra: at(0.0),
            pass: 1.0,
        }
    }

    fn set_rate(&mut self, rate_hz: f64) {
        let step = Ramp::step(rate_hz);
        for ramp in self.all() {
            ramp.step = step;
        }
    }

    fn all(&mut self) -> [&mut Ramp; 6] {
        [&mut self.send, &mut self.back, &mut self.dry, &mut self.own, &mut self.hear, &mut self.extra]
    }

    /// Own sound until something has come back, then what the controls say. While bypassed or rendering, own
    /// sound and nothing else.
    fn aim(&mut self, controls: &Controls, routing: Routing, receiving: bool, renders: bool) {
        let (aside, own) = (controls.bypass || renders, f32::from(u8::from(controls.pass_dry)));
        self.send.target = if controls.mute_me || aside { 0.0 } else { controls.send_gain };
        self.back.target = if receiving && !aside { controls.return_gain } else { 0.0 };
        self.dry.target = if receiving && !aside { routing.dry } else { own };
        self.own.target = if receiving && !aside { routing.own } else { 0.0 };
        self.extra.target = if receiving && !aside { routing.extra } else { 0.0 };
        self.hear.target = routing.back;
        self.pass = own;
    }

    /// Arrives at own sound at once.
    fn be_dry(&mut self, controls: &Controls, routing: Routing) {
        self.aim(controls, routing, false, true);
        for ramp in self.all() {
            ramp.value = ramp.target;
        }
    }

    /// The output is the track's own sound, exactly.
    fn is_dry(&self) -> bool {
        let silent = |ramp: &Ramp| ramp.is_settled() && ramp.value == 0.0;
        let only_dry = silent(&self.back) && silent(&self.own) && silent(&self.extra);
        only_dry && self.dry.is_settled() && self.dry.value == 1.0
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
