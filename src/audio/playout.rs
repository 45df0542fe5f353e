//! Packets in, continuous sound out: a jitter buffer with its decoder.

use super::codec::{CodecError, Decoder};
use super::jitter_buffer::{BufferStats, JitterBuffer, Slot};
use crate::units::{BufferSize, Coding, MAX_FRAME_SAMPLES, Safety, StreamFormat};

/// Frames that a playout can hold: the largest buffer and a 16384-sample host block of 64-sample
/// frames at once.
const CAPACITY_FRAMES: usize = 512;
/// Length of the fade-in after silence, in samples per channel (2.7 ms).
const FADE_SAMPLES: usize = 128;
/// Interleaved samples in the longest frame.
const MAX_VALUES: usize = 2 * MAX_FRAME_SAMPLES;

/// What [`Playout::next_frame`] has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Played {
    /// Sound from the peer.
    Frame,
    /// Sound made up for a frame that was not there.
    Concealed,
    /// Silence: no stream is playing.
    Idle,
}

/// The receiving end of one audio stream. Never allocates after [`Self::new`].
pub struct Playout {
    buffer: JitterBuffer,
    decoder: Decoder,
    format: StreamFormat,
    /// The frame played last.
    last: [f32; MAX_VALUES],
    /// Samples per channel of the fade-in done; [`FADE_SAMPLES`] = full level.
    faded_in: usize,
    /// `last` was not silence.
    sounding: bool,
}

impl Playout {
    /// A playout for `format`. Allocates.
    pub fn new(format: StreamFormat, size: BufferSize) -> Result<Self, CodecError> {
        let mut buffer = JitterBuffer::new(format.frame, CAPACITY_FRAMES, format.frame_bytes());
        buffer.set_size(size);
        Ok(Self {
            buffer,
            decoder: Decoder::new(format)?,
            format,
            last: [0.0; MAX_VALUES],
            faded_in: 0,
            sounding: false,
        })
    }

    /// What it plays.
    pub fn format(&self) -> StreamFormat {
        self.format
    }

    /// Stores a coded frame, see [`JitterBuffer::put`].
    pub fn put(&mut self, sequence: i64, bytes: &[u8]) {
        self.buffer.put(sequence, bytes);
    }

    /// Likewise, with the time to the next pull, see [`JitterBuffer::put_timed`].
    pub fn put_timed(&mut self, sequence: i64, bytes: &[u8], early: Option<f32>) {
        self.buffer.put_timed(sequence, bytes, early);
    }

    /// Marks the start of a pull of several frames, see [`JitterBuffer::begin_pull`].
    pub fn begin_pull(&mut self) {
        self.buffer.begin_pull();
    }

    /// Writes the next frame to `out`: frame × channels interleaved samples. Joints are smooth:
    /// streams fade in and out, and slips are blended.
    pub fn next_frame(&mut self, out: &mut [f32]) -> Played {
        let channels = self.format.layout.channels();
        let values = channels * self.format.frame.samples();
        debug_assert_eq!(out.len(), values, "one whole frame");
        let raw = self.format.coding == Coding::Raw;
        let last = &self.last[..values];
        let mut sound = [0.0; MAX_VALUES];
        let sound = &mut sound[..values];
        let played = match self.buffer.get() {
            Slot::Frame(bytes) => {
                self.decoder.decode(Some(bytes), sound);
                Played::Frame
            }
            Slot::Drop(first, second) => {
                let mut ahead = [0.0; MAX_VALUES];
                let ahead = &mut ahead[..values];
                self.decoder.decode(Some(first), sound);
                self.decoder.decode(Some(second), ahead);
                blend(sound, ahead, channels);
                Played::Frame
            }
            Slot::Insert(Some(next)) if raw => {
                // Begins like the next frame, which continues the last one, and ends like the last
                // one, which the next one continues.
                self.decoder.decode(Some(next), sound);
                blend(sound, last, channels);
                Played::Frame
            }
            Slot::Missing | Slot::Insert(_) if raw => {
                if self.faded_in > 0 {
                    conceal_raw(last, sound, channels);
                }
                Played::Concealed
            }
            Slot::Missing | Slot::Insert(_) => {
                self.decoder.decode(None, sound);
                Played::Concealed
            }
            Slot::Idle => {
                if self.sounding {
                    if raw {
                        if self.faded_in > 0 {
                            conceal_raw(last, sound, channels);
                        }
                    } else {
                        self.decoder.decode(None, sound);
                        blend(sound, &[0.0; MAX_VALUES][..values], channels);
                    }
                    self.decoder.reset();
                }
                Played::Idle
            }
        };
        self.fade(played, raw, sound, channels);
        self.last[..values].copy_from_slice(sound);
        self.sounding = played != Played::Idle;
        for (to, from) in out.iter_mut().zip(&*sound) {
            *to = *from;
        }
        played
    }

    /// Sets the jitter buffer's size.
    pub fn set_size(&mut self, size: BufferSize) {
        self.buffer.set_size(size);
    }

    /// Sets what the automatic size weighs more, see [`JitterBuffer::set_safety`].
    pub fn set_safety(&mut self, safety: Safety) {
        self.buffer.set_safety(safety);
    }

    /// Tells how many frames are pulled at once, see [`JitterBuffer::set_burst`].
    pub fn set_burst(&mut self, frames_per_pull: f32) {
        self.buffer.set_burst(frames_per_pull);
    }

    /// The speed of playing is being steered, see [`JitterBuffer::set_steered`].
    pub fn set_steered(&mut self) {
        self.buffer.set_steered();
    }

    /// Whether it is.
    pub fn is_steered(&self) -> bool {
        self.buffer.is_steered()
    }

    /// The buffer must not shrink, see [`JitterBuffer::set_held`].
    pub fn set_held(&mut self, held: bool) {
        self.buffer.set_held(held);
    }

    /// The frame to be played next, see [`JitterBuffer::playhead`].
    pub fn playhead(&self) -> Option<i64> {
        self.buffer.playhead()
    }

    /// Frames wanted after a pull, see [`JitterBuffer::reserve_frames`].
    pub fn reserve_frames(&self) -> u8 {
        self.buffer.reserve_frames()
    }

    /// Frames held beyond the target, see [`JitterBuffer::surplus`].
    pub fn surplus(&self) -> Option<f32> {
        self.buffer.surplus()
    }

    /// The same between whole frames, see [`JitterBuffer::timed_surplus`].
    pub fn timed_surplus(&self) -> Option<f32> {
        self.buffer.timed_surplus()
    }

    /// The jitter buffer's size now, in frames.
    pub fn size_frames(&self) -> u8 {
        self.buffer.size_frames()
    }

    /// The jitter buffer's counters.
    pub fn stats(&self) -> BufferStats {
        self.buffer.stats()
    }

    /// Ends the stream; the next frame starts another, without an audible edge.
    pub fn reset(&mut self) {
        self.buffer.reset();
    }

    /// Fades in after silence. A raw stream is silent after a lost frame, too.
    fn fade(&mut self, played: Played, raw: bool, sound: &mut [f32], channels: usize) {
        if played == Played::Idle || (raw && played == Played::Concealed) {
            self.faded_in = 0;
            return;
        }
        for sample in sound.chunks_exact_mut(channels) {
            if self.faded_in == FADE_SAMPLES {
                return;
            }
            let gain = (self.faded_in as f32 + 0.5) / FADE_SAMPLES as f32;
            self.faded_in += 1;
            sample.iter_mut().for_each(|value| *value *= gain);
        }
    }
}

/// Goes from `sound` to `other` over the length of the frame.
fn blend(sound: &mut [f32], other: &[f32], channels: usize) {
    let step = channels as f32 / sound.len() as f32;
    for (at, (to, from)) in sound.chunks_exact_mut(channels).zip(other.chunks_exact(channels)).enumerate() {
        let share = (at as f32 + 0.5) * step;
        for (to, from) in to.iter_mut().zip(from) {
            *to += share * (from - *to);
        }
    }
}

/// Stands in for the first of lost raw frames (the others are silent): the last frame backwards,
/// fading to silence, so that the sound does not break off.
fn conceal_raw(last: &[f32], sound: &mut [f32], channels: usize) {
    for (to, from) in sound.chunks_exact_mut(channels).zip(last.chunks_exact(channels).rev()) {
        to.copy_from_slice(from);
    }
    blend(sound, &[0.0; MAX_VALUES][..last.len()], channels);
}
