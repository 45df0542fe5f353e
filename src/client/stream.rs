//! Everything that depends on one stream format, made on the network thread and lent to the audio thread.

use crate::audio::{CodecError, Encoder, Playout};
use crate::units::{BufferSize, Layout, MAX_FRAME_BYTES, MAX_FRAME_SAMPLES, StreamFormat, WIRE_RATE_HZ};

/// Encoder, jitter buffer and decoder for one format.
pub(super) struct Stream {
    /// Tells this stream's frames from those of earlier ones; never 0.
    pub(super) generation: u32,
    pub(super) format: StreamFormat,
    pub(super) encoder: Encoder,
    pub(super) playout: Playout,
    pub(super) fill: Fill,
    /// Frames that the engine has made of it.
    pub(super) made: i64,
}

/// How far ahead of the playhead frames arrive, in samples at 48 kHz. A jitter buffer counts whole frames at
/// whole pulls, which reads half a frame high or low for minutes when both clocks are nearly the same; this
/// measures between them.
#[derive(Default)]
pub(super) struct Fill {
    /// Before a pull: steady where the host asks for the time that comes.
    ahead: Average,
    /// How long frames wait until their place in the host's block, in samples: steady where the host asks for the
    /// time that has passed.
    wait: Average,
    /// The target that was trimmed to last, in frames …
    target: Option<u8>,
    /// … and since when, in samples at 48 kHz.
    age: f64,
}

impl Fill {
    /// Means are over about this long, in seconds.
    const SECONDS: f64 = 2.0;
    /// Variances closer than this are the same, in samples squared.
    const STEADY: f64 = 100.0;

    /// A frame of `frame_samples` arrived `ahead` of the playhead, and was found before a block of `block` samples.
    pub(super) fn note(&mut self, ahead: f64, block: f64, frame_samples: usize) {
        let share = frame_samples as f64 / (Self::SECONDS * f64::from(WIRE_RATE_HZ));
        self.ahead.follow(ahead, share);
        // The block that is handed out lasts as long as the one that came in and ends where that ended.
        self.wait.follow(ahead - block, share);
    }

    /// How long a frame waits from its arrival to its place in the output, in samples; `None` while unknown.
    pub(super) fn wait(&self) -> Option<f64> {
        self.wait.mean
    }

    /// How much faster to play, as a fraction, so that `surplus` frames go away where `target` frames are wanted; to
    /// be asked once per block, of `block` samples.
    pub(super) fn trim(&mut self, surplus: f64, frame_samples: usize, target: u8, block: f64) -> f64 {
        /// Rather more than too little, in frames.
        const WANTED_SURPLUS: f64 = 0.25;
        /// A new target is settled to within this, in seconds: quickly (0.35 cent at most), then slowly (0.05 cent).
        const SETTLING: f64 = 40.0;
        const QUICK: (f64, f64) = (12.0, 200e-6);
        const SLOW: (f64, f64) = (80.0, 30e-6);
        let rate = f64::from(WIRE_RATE_HZ);
        if self.target != Some(target) {
            (self.target, self.age) = (Some(target), 0.0);
        }
        self.age += block;
        let (seconds, most) = if self.age < SETTLING * rate { QUICK } else { SLOW };
        ((surplus - WANTED_SURPLUS) * frame_samples as f64 / rate / seconds).clamp(-most, most)
    }

    /// What remains after a pull on average, in samples, where at most `block` samples are pulled at once.
    pub(super) fn reserve(&self, block: f64, frame_samples: usize) -> Option<f64> {
        // As the jitter buffer counts: what is left after the largest block, or, where blocks are shorter than a
        // frame, what an arriving frame finds. Where blocks vary, what is steady counts; equal ones are steady twice.
        let found = (0.5 * (frame_samples as f64 - block)).max(0.0);
        if self.ahead.variance <= self.wait.variance + Self::STEADY {
            Some(self.ahead.mean? - block - found)
        } else {
            Some(self.wait.mean? - found)
        }
    }
}

/// A mean that forgets, and how far values are off it.
#[derive(Default)]
struct Average {
    mean: Option<f64>,
    variance: f64,
}

impl Average {
    /// Values further from the mean than this are no jitter, in samples; they count as this far …
    const OUTLIER: f64 = 256.0;
    /// … and from here on the mean begins anew.
    const JUMP: f64 = 4096.0;

    fn follow(&mut self, value: f64, share: f64) {
        let mean = self.mean.unwrap_or(value);
        let off = (value - mean).clamp(-Self::OUTLIER, Self::OUTLIER);
        self.mean = Some(if (value - mean).abs() < Self::JUMP { mean + share * off } else { value });
        self.variance += share * (off * off - self.variance);
    }
}

impl Stream {
    pub(super) fn new(
        generation: u32,
        format: StreamFormat,
        buffer: BufferSize,
    ) -> Result<Box<Self>, CodecError> {
        let (encoder, playout) = (Encoder::new(format)?, Playout::new(format, buffer)?);
        Ok(Box::new(Self { generation, format, encoder, playout, fill: Fill::default(), made: 0 }))
    }
}

/// The bytes of one coded frame.
#[derive(Clone, Copy)]
pub(super) struct FrameBytes {
    length: u16,
    bytes: [u8; MAX_FRAME_BYTES],
}

impl FrameBytes {
    /// `length` zero bytes to encode into; at most [`MAX_FRAME_BYTES`].
    pub(super) fn zeroed(length: usize) -> Self {
        Self { length: length.min(MAX_FRAME_BYTES) as u16, bytes: [0; MAX_FRAME_BYTES] }
    }

    /// A copy of `frame`; `None` when it is longer than any frame can be.
    pub(super) fn copy_of(frame: &[u8]) -> Option<Self> {
        let mut copy = Self::zeroed(frame.len());
        (frame.len() <= MAX_FRAME_BYTES).then(|| {
            copy.as_mut_slice().copy_from_slice(frame);
            copy
        })
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes[..usize::from(self.length)]
    }
}

/// How far the audio thread has come, in samples at 48 kHz.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// Captured by the host, as if its rate were exactly what it says.
    pub(super) captured: f64,
    /// Sent beyond that, because the host's clock is slow (below 0: fast).
    pub(super) steered: f64,
}

/// A frame on its way from the audio thread to the network.
pub(super) struct UplinkFrame {
    /// Of the stream that made it.
    pub(super) generation: u32,
    /// How many the stream had made before.
    pub(super) number: i64,
    /// Samples at 48 kHz of the same host block that came after this frame's end.
    pub(super) age_samples: u32,
    /// There is nothing to be heard in it.
    pub(super) quiet: bool,
    /// Where the engine was when it handed this over.
    pub(super) progress: Progress,
    pub(super) bytes: FrameBytes,
}

/// The sound of one frame that was sent or played, for whoever compares both: one channel is enough.
pub(super) struct Trace {
    /// Of the stream that sent or played it.
    pub(super) generation: u32,
    pub(super) sent: bool,
    /// As in [`UplinkFrame`] or [`DownlinkFrame::sequence`].
    pub(super) number: i64,
    length: usize,
    sound: [f32; MAX_FRAME_SAMPLES],
}

impl Trace {
    /// Of one interleaved frame.
    pub(super) fn new(generation: u32, sent: bool, number: i64, layout: Layout, pcm: &[f32]) -> Self {
        let mut sound = [0.0; MAX_FRAME_SAMPLES];
        let length = (pcm.len() / layout.channels()).min(MAX_FRAME_SAMPLES);
        match layout {
            Layout::Mono => sound[..length].copy_from_slice(&pcm[..length]),
            // Not the mean: both sides may be each other's opposite.
            Layout::Stereo => sound
                .iter_mut()
                .zip(pcm.as_chunks::<2>().0)
                .for_each(|(sound, [left, right])| *sound = 0.65 * left + 0.35 * right),
        }
        Self { generation, sent, number, length, sound }
    }

    pub(super) fn samples(&self) -> &[f32] {
        &self.sound[..self.length]
    }
}

/// A frame on its way from the network to the audio thread.
pub(super) struct DownlinkFrame {
    /// Of the stream that is to play it.
    pub(super) generation: u32,
    /// Its counter, unwrapped on arrival.
    pub(super) sequence: i64,
    /// What the host had captured by then, as in [`Progress`], if that is known.
    pub(super) arrived: Option<f64>,
    pub(super) bytes: FrameBytes,
}

/// What is sent when there is nothing to send: one frame of digital silence, coded.
pub(super) fn silent_frame(format: StreamFormat) -> Result<FrameBytes, CodecError> {
    /// Frames after which an encoder that is fed silence has settled.
    const SETTLED: usize = 8;
    let mut encoder = Encoder::new(format)?;
    let pcm = vec![0.0; format.frame.samples() * format.layout.channels()];
    let mut frame = FrameBytes::zeroed(format.frame_bytes());
    for _ in 0..SETTLED {
        encoder.encode(&pcm, frame.as_mut_slice());
    }
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hosts ask for the time that comes, where 700 samples are found before each pull, or for the time that has
    /// passed, where 100 are left after it.
    #[test]
    fn where_blocks_vary_the_reserve_is_that_of_the_largest() {
        for (time_comes, wanted) in [(true, 700.0 - 512.0), (false, 100.0)] {
            let mut fill = Fill::default();
            for index in 0..10_000 {
                let block = 1.0 + f64::from(index * 7919 % 512);
                fill.note(if time_comes { 700.0 } else { 100.0 + block }, block, 128);
            }
            let reserve = fill.reserve(512.0, 128).expect("frames came");
            assert!((reserve - wanted).abs() < 1.0, "{reserve} instead of {wanted}");
        }
    }

    #[test]
    fn equal_blocks_are_counted_alike_by_both() {
        let mut fill = Fill::default();
        for block in [64.0, 512.0] {
            (0..10_000).for_each(|_| fill.note(700.0, block, 128));
            let reserve = fill.reserve(block, 128).expect("frames came");
            let wanted = 700.0 - f64::max(block, 0.5 * (block + 128.0));
            assert!((reserve - wanted).abs() < 1e-6, "{reserve} instead of {wanted}");
        }
    }
}
