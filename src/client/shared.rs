//! What the audio thread, the network thread and windows tell each other through single atomics.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::align::Lag;
use super::slot_moves::SlotMoves;
use super::{Alignment, MeterReading, Snapshot};
use crate::audio::BufferStats;
use crate::units::{BufferSize, Safety};

/// One set per client. Writers are named at each group.
#[derive(Default)]
pub(super) struct Shared {
    /// Network thread: generation of the stream in use, 0 = no session.
    live_generation: AtomicU32,
    /// Network thread: the last of `activations` in which the host was seen to play, not to render.
    trusted: AtomicU32,
    /// Network thread: size of our jitter buffer as set, 0 = auto.
    client_buffer: AtomicU8,
    /// Network thread: what our automatic size weighs more, in percent.
    safety: AtomicU8,
    /// Network thread: what the resamplers are to make up for, as the bits of a fraction.
    correction: AtomicU64,
    /// Network thread: the lag of our own sound in the stream, see [`Self::set_lag`].
    lag: AtomicU64,
    /// Network thread: what is sent is muted, for the input gets the session back.
    hushed: AtomicBool,
    /// Network thread: number of the last question, see [`super::feedback`].
    question: AtomicU32,
    /// Network thread: the picture for windows.
    pub(super) snapshot: ArcSwap<Snapshot>,

    /// Audio thread: calls of `process()`, wrapping.
    blocks: AtomicU32,
    /// Audio thread: sound in all blocks, in microseconds, wrapping.
    sound_micros: AtomicU64,
    /// Audio thread: the host says that it renders.
    offline: AtomicBool,
    /// Whoever prepares the engine: how often that was, wrapping.
    activations: AtomicU32,
    /// Audio thread: longest recent block, in samples at the host's rate.
    block_frames: AtomicU32,
    /// Audio thread: the host's rate in Hz, rounded.
    rate_hz: AtomicU32,
    /// Audio thread: size of our jitter buffer now, in frames.
    buffer_frames: AtomicU8,
    /// Audio thread: frames in it beyond the target, as bits; NaN while unknown.
    surplus: AtomicU32,
    /// Audio thread: how long frames wait in it, in ms, as bits; NaN while unknown.
    waited: AtomicU32,
    /// Audio thread: see [`BufferPicture::grid_ms`], as bits.
    grid: AtomicU32,
    /// Whoever prepares the engine: delay of both resamplers together, in ms, as bits.
    resampling: AtomicU32,
    late: AtomicU64,
    lost: AtomicU64,
    concealed: AtomicU64,
    slipped: AtomicU64,
    /// Audio thread: the output is to hold others only …
    others_only: AtomicBool,
    /// … or nothing of what comes back …
    nobody_listens: AtomicBool,
    /// … and the host's transport plays.
    rolling: AtomicBool,
    /// Audio thread: how late "me, aligned" is, see [`Self::publish_alignment`].
    alignment: AtomicU64,
    alignment_grown: AtomicU64,
    /// Audio thread: peaks (as bits of non-negative floats, which order like integers): send L, R, receive L, R.
    peaks: [AtomicU32; 4],

    /// Any thread, the audio thread included: what the Connect parameter wants.
    intent: AtomicU8,
    /// Any thread: the network thread has been woken for `intent`, since the audio thread's last block.
    intent_woke: AtomicBool,
    /// Any thread, the audio thread included: what the parameters of strips want.
    pub(super) slot_moves: SlotMoves,
    /// Any thread: a part of the client has panicked; the audio thread passes dry sound.
    pub(super) faulted: AtomicBool,
}

/// How the host has called, since the client was made.
#[derive(Clone, Copy, Default)]
pub(super) struct HostCalls {
    /// Calls, wrapping.
    pub(super) blocks: u32,
    /// Sound in them, in microseconds, wrapping.
    pub(super) sound_micros: u64,
    /// The longest recent block; `None` before the first.
    pub(super) block: Option<Duration>,
    /// The host says that it renders.
    pub(super) offline: bool,
    /// How often the engine was prepared, wrapping.
    pub(super) activations: u32,
}

/// What the audio thread knows about our jitter buffer.
pub(super) struct BufferPicture {
    /// Size now, in frames.
    pub(super) frames: u8,
    /// Frames beyond the target.
    pub(super) surplus: Option<f32>,
    /// From a frame's arrival to its place in the output, in ms.
    pub(super) waited_ms: Option<f32>,
    /// From the first sample of a frame that goes out to the first one of a frame that comes in, less whole frames
    /// and the resamplers, in ms.
    pub(super) grid_ms: f32,
}

/// What the audio thread counted, since the client was made.
#[derive(Clone, Copy, Default)]
pub(super) struct AudioCounts {
    pub(super) late: u64,
    pub(super) lost: u64,
    pub(super) concealed: u64,
    pub(super) slipped: u64,
}

impl AudioCounts {
    /// Counted here and there together.
    pub(super) fn plus(self, stats: BufferStats) -> Self {
        Self {
            late: self.late + stats.late,
            lost: self.lost + stats.lost,
            concealed: self.concealed + stats.concealed,
            slipped: self.slipped + stats.slipped,
        }
    }
}

const INTENT_NONE: u8 = 0;
const INTENT_LEAVE: u8 = 1;
const INTENT_CONNECT: u8 = 2;

impl Shared {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { waited: AtomicU32::new(f32::NAN.to_bits()), ..Self::default() })
    }

    pub(super) fn live_generation(&self) -> u32 {
        self.live_generation.load(Acquire)
    }

    pub(super) fn set_live_generation(&self, generation: u32) {
        self.live_generation.store(generation, Release);
    }

    pub(super) fn client_buffer(&self) -> BufferSize {
        match self.client_buffer.load(Relaxed) {
            0 => BufferSize::Auto,
            frames => BufferSize::Frames(frames),
        }
    }

    pub(super) fn set_client_buffer(&self, size: BufferSize) {
        let frames = match size {
            BufferSize::Auto => 0,
            BufferSize::Frames(frames) => frames.max(1),
        };
        self.client_buffer.store(frames, Relaxed);
    }

    pub(super) fn safety(&self) -> Safety {
        Safety::from_percent(self.safety.load(Relaxed))
    }

    pub(super) fn set_safety(&self, safety: Safety) {
        self.safety.store(safety.percent(), Relaxed);
    }

    /// Audio thread: `process()` was called with so much sound; `longest` is the longest recent block.
    pub(super) fn note_block(&self, longest: usize, sound_micros: u64, offline: bool) {
        self.block_frames.store(u32::try_from(longest).unwrap_or(u32::MAX), Relaxed);
        self.offline.store(offline, Relaxed);
        self.sound_micros.fetch_add(sound_micros, Relaxed);
        self.blocks.fetch_add(1, Relaxed);
    }

    pub(super) fn host_calls(&self) -> HostCalls {
        HostCalls {
            blocks: self.blocks.load(Relaxed),
            sound_micros: self.sound_micros.load(Relaxed),
            block: self.block_seconds().map(Duration::from_secs_f64),
            offline: self.offline.load(Relaxed),
            activations: self.activations.load(Relaxed),
        }
    }

    /// The engine was prepared: from now on the host may render, and not all say so.
    pub(super) fn note_activation(&self) {
        self.activations.fetch_add(1, Relaxed);
    }

    /// Network thread: the last activation in which the host was seen to play, not to render.
    pub(super) fn set_trusted(&self, trusted: u32) {
        self.trusted.store(trusted, Relaxed);
    }

    /// Whether the host is yet to show that it plays and does not render.
    pub(super) fn is_on_trial(&self) -> bool {
        self.trusted.load(Relaxed) != self.activations.load(Relaxed)
    }

    pub(super) fn set_rate_hz(&self, rate_hz: f64) {
        self.rate_hz.store(rate_hz as u32, Relaxed);
    }

    /// The host's recent block in seconds; `None` before the first.
    pub(super) fn block_seconds(&self) -> Option<f64> {
        let (frames, rate) = (self.block_frames.load(Relaxed), self.rate_hz.load(Relaxed));
        (frames > 0 && rate > 0).then(|| f64::from(frames) / f64::from(rate))
    }

    /// By how much the host's clock is slower than the server's, as a fraction.
    pub(super) fn correction(&self) -> f64 {
        f64::from_bits(self.correction.load(Relaxed))
    }

    pub(super) fn set_correction(&self, correction: f64) {
        self.correction.store(correction.to_bits(), Relaxed);
    }

    pub(super) fn set_resampling_ms(&self, millis: f32) {
        self.resampling.store(millis.to_bits(), Relaxed);
    }

    /// Delay of both resamplers together.
    pub(super) fn resampling_ms(&self) -> f32 {
        f32::from_bits(self.resampling.load(Relaxed))
    }

    /// Network thread: how late our own sound comes back in the stream `generation`.
    pub(super) fn set_lag(&self, generation: u32, lag: Option<Lag>) {
        // Lags beyond what fits are hours: nothing that could be aligned.
        let word = lag.and_then(|lag| {
            let samples = i32::try_from(lag.samples).ok().filter(|samples| samples.abs() < 1 << 30)?;
            Some(
                u64::from(generation) << 32
                    | u64::from(samples as u32) << 1 & 0xffff_ffff
                    | u64::from(lag.exact),
            )
        });
        self.lag.store(word.unwrap_or(0), Relaxed);
    }

    /// The same for the engine; `None` also when it was told about another stream.
    pub(super) fn lag(&self, generation: u32) -> Option<Lag> {
        let word = self.lag.load(Relaxed);
        let samples = i64::from(word as u32 as i32 >> 1);
        (word != 0 && (word >> 32) as u32 == generation).then_some(Lag { samples, exact: word & 1 == 1 })
    }

    /// Audio thread: what the output is to hold, and whether the host's transport plays.
    pub(super) fn note_output(&self, others_only: bool, nobody_listens: bool, rolling: bool) {
        self.others_only.store(others_only, Relaxed);
        self.nobody_listens.store(nobody_listens, Relaxed);
        self.rolling.store(rolling, Relaxed);
    }

    pub(super) fn others_only(&self) -> bool {
        self.others_only.load(Relaxed)
    }

    /// What comes back is in no output.
    pub(super) fn nobody_listens(&self) -> bool {
        self.nobody_listens.load(Relaxed)
    }

    pub(super) fn rolling(&self) -> bool {
        self.rolling.load(Relaxed)
    }

    pub(super) fn publish_alignment(&self, alignment: Alignment, grown: u64) {
        let (kind, ms) = match alignment {
            Alignment::Unknown => (0, 0.0),
            Alignment::Estimated(ms) => (1, ms),
            Alignment::Exact(ms) => (2, ms),
        };
        self.alignment.store(kind << 32 | u64::from(ms.to_bits()), Relaxed);
        self.alignment_grown.store(grown, Relaxed);
    }

    /// How late "me, aligned" is, and how often that had to grow.
    pub(super) fn alignment(&self) -> (Alignment, u64) {
        let word = self.alignment.load(Relaxed);
        let ms = f32::from_bits(word as u32);
        let alignment = match word >> 32 {
            0 => Alignment::Unknown,
            1 => Alignment::Estimated(ms),
            _ => Alignment::Exact(ms),
        };
        (alignment, self.alignment_grown.load(Relaxed))
    }

    /// What is sent is muted, for the input gets the session back.
    pub(super) fn is_hushed(&self) -> bool {
        self.hushed.load(Relaxed)
    }

    /// Number of the last question, see [`super::feedback::Ear::ask`].
    pub(super) fn question(&self) -> u32 {
        self.question.load(Relaxed)
    }

    pub(super) fn set_feedback(&self, hushed: bool, question: u32) {
        self.hushed.store(hushed, Relaxed);
        self.question.store(question, Relaxed);
    }

    pub(super) fn publish_audio(&self, buffer: BufferPicture, counts: AudioCounts) {
        self.buffer_frames.store(buffer.frames, Relaxed);
        self.surplus.store(buffer.surplus.unwrap_or(f32::NAN).to_bits(), Relaxed);
        self.grid.store(buffer.grid_ms.to_bits(), Relaxed);
        self.waited.store(buffer.waited_ms.unwrap_or(f32::NAN).to_bits(), Relaxed);
        self.late.store(counts.late, Relaxed);
        self.lost.store(counts.lost, Relaxed);
        self.concealed.store(counts.concealed, Relaxed);
        self.slipped.store(counts.slipped, Relaxed);
    }

    pub(super) fn buffer_frames(&self) -> u8 {
        self.buffer_frames.load(Relaxed)
    }

    pub(super) fn surplus(&self) -> Option<f32> {
        Some(f32::from_bits(self.surplus.load(Relaxed))).filter(|surplus| !surplus.is_nan())
    }

    /// How long a frame waits from its arrival to its place in the output; `None` while unknown.
    pub(super) fn waited_ms(&self) -> Option<f32> {
        Some(f32::from_bits(self.waited.load(Relaxed))).filter(|waited| !waited.is_nan())
    }

    /// See [`BufferPicture::grid_ms`].
    pub(super) fn grid_ms(&self) -> f32 {
        f32::from_bits(self.grid.load(Relaxed))
    }

    pub(super) fn audio_counts(&self) -> AudioCounts {
        AudioCounts {
            late: self.late.load(Relaxed),
            lost: self.lost.load(Relaxed),
            concealed: self.concealed.load(Relaxed),
            slipped: self.slipped.load(Relaxed),
        }
    }

    /// Audio thread: peaks of one block, left and right.
    pub(super) fn meter_send(&self, peaks: [f32; 2]) {
        self.peaks[0].fetch_max(peaks[0].to_bits(), Relaxed);
        self.peaks[1].fetch_max(peaks[1].to_bits(), Relaxed);
    }

    /// Audio thread: peaks of one block, left and right.
    pub(super) fn meter_receive(&self, peaks: [f32; 2]) {
        self.peaks[2].fetch_max(peaks[0].to_bits(), Relaxed);
        self.peaks[3].fetch_max(peaks[1].to_bits(), Relaxed);
    }

    pub(super) fn take_meters(&self) -> MeterReading {
        let take = |index: usize| f32::from_bits(self.peaks[index].swap(0, Relaxed));
        MeterReading { send: [take(0), take(1)], receive: [take(2), take(3)] }
    }

    pub(super) fn set_intent(&self, connect: bool) {
        self.intent.store(if connect { INTENT_CONNECT } else { INTENT_LEAVE }, Release);
        self.intent_woke.store(true, Relaxed);
    }

    /// Audio thread: whether this block's wake-up was spent on an intent already.
    pub(super) fn take_intent_woke(&self) -> bool {
        self.intent_woke.swap(false, Relaxed)
    }

    /// The last intent since the last call, if there was one.
    pub(super) fn take_intent(&self) -> Option<bool> {
        match self.intent.swap(INTENT_NONE, Acquire) {
            INTENT_CONNECT => Some(true),
            INTENT_LEAVE => Some(false),
            _ => None,
        }
    }
}
