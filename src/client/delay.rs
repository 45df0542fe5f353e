//! The one number that a musician plays with: how long the own sound takes from the instrument through the
//! server and back to the ear, and where the time goes.
//!
//! Everything that the plugin can know is in it, measured where it can be measured. What a plugin cannot know is
//! left out: converters, and buffers of the sound card beyond one block in and one block out.
//!
//! ```text
//! block in → resampler → frame fills → coder → pacer → network → server's buffer → mix
//! block out ← resampler ← decoder ← our buffer ← network ←──────────── coder ←──────┘
//! ```

use crate::units::{Coding, StreamFormat, WIRE_RATE_HZ};

/// The way of the own sound, in ms. The parts add up to [`Delay::total_ms`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Delay {
    /// The host's block: one to be filled by the sound card, and one that is played while the next is made, as with
    /// any double buffer. The only part that is assumed. Where what has just arrived goes out with the same block,
    /// it is that much less.
    pub host_ms: f32,
    /// The resamplers' filters, both ways.
    pub resampling_ms: f32,
    /// A frame is sent when its last sample is there.
    pub framing_ms: f32,
    /// Frames of one large block leave one by one, so that they arrive evenly.
    pub pacing_ms: f32,
    /// A codec's window overlaps the next frame: one frame each way, 0 uncompressed.
    pub codec_ms: f32,
    /// To the server and back: mean of the last seconds' pings.
    pub network_ms: f32,
    /// Between a frame's arrival and its place in the host's block, measured: mean of the last 2 s.
    pub my_buffer_ms: f32,
    /// The same at the server, which tells only a size: what one of this size costs on average, to the nearest
    /// whole frame that fits the rest.
    pub server_buffer_ms: f32,
    /// What a Jamulus client would show for the same connection (docs/PROTOCOL.md §9): a rougher estimate and no
    /// part of the sum, for comparing with those who use one.
    pub jamulus_ms: f32,
}

impl Delay {
    /// All parts together.
    pub fn total_ms(&self) -> f32 {
        self.parts().into_iter().map(|(_, ms)| ms).sum()
    }

    /// Every part with its name, in the order in which sound passes.
    pub fn parts(&self) -> [(&'static str, f32); 8] {
        [
            ("host's block, in and out", self.host_ms),
            ("resampling", self.resampling_ms),
            ("filling a frame", self.framing_ms),
            ("sending evenly", self.pacing_ms),
            ("codec, both ways", self.codec_ms),
            ("network, both ways", self.network_ms),
            ("server's buffer", self.server_buffer_ms),
            ("my buffer", self.my_buffer_ms),
        ]
    }
}

/// What is known about the way.
pub(super) struct Way {
    pub(super) format: StreamFormat,
    /// The host's longest recent block.
    pub(super) block_ms: f32,
    /// Both resamplers together.
    pub(super) resampling_ms: f32,
    /// What the pacer holds every frame back, in samples at 48 kHz.
    pub(super) held_samples: u32,
    pub(super) ping_ms: f32,
    /// Size of our buffer, in frames.
    pub(super) my_buffer_frames: u8,
    /// Between a frame's arrival and its place in the output, in ms, where the output block is thought to lie beside
    /// the input block that came with it: below 0 when it arrived after that block had begun.
    pub(super) waited_ms: f32,
    /// From the first sample of a frame that goes out to the first one of a frame that comes in, less whole frames
    /// and the resamplers, in ms.
    pub(super) grid_ms: f32,
    /// Size of the server's buffer as set or told, in frames; `None` before it has told one.
    pub(super) server_buffer_frames: Option<u8>,
}

/// Reads the delay again and again.
#[derive(Default)]
pub(super) struct Gauge {
    /// Mean of the pings, over about 2 s: where a network is jittery a few of them are no measure.
    network_ms: Option<f32>,
    /// What was told last …
    total_ms: Option<f32>,
    /// … and how often since then another number of frames seemed right.
    doubts: u32,
}

impl Gauge {
    /// The delay of `way`; to be asked four times a second.
    pub(super) fn read(&mut self, way: &Way) -> Delay {
        /// How much a new ping counts.
        const SHARE: f32 = 0.125;
        let network_ms = self.network_ms.filter(|mean| mean.is_finite()).unwrap_or(way.ping_ms);
        let network_ms = network_ms + SHARE * (way.ping_ms - network_ms);
        self.network_ms = Some(network_ms);
        let mut delay = way.delay(network_ms);
        delay.server_buffer_ms += self.correction(way, &delay);
        self.total_ms = Some(delay.total_ms());
        delay
    }

    /// Servers take whole frames and give whole frames back. So both kinds of frames lie over each other, and the
    /// true delay is what lies between them here and some number of frames: all that is guessed is that number.
    fn correction(&mut self, way: &Way, delay: &Delay) -> f32 {
        /// Another number must seem right for 2 s, or by a whole frame, so that the figure does not flicker.
        const DOUBTS: u32 = 8;
        let frame_ms = way.format.frame.millis();
        let onto_grid = |total_ms: f32| {
            let off = 2.0 * way.block_ms + way.resampling_ms + way.grid_ms - total_ms;
            total_ms + off - frame_ms * (off / frame_ms).round()
        };
        let guess = delay.total_ms();
        let nearest = onto_grid(guess);
        let last = self.total_ms.map(onto_grid).filter(|last| (last - guess).abs() < frame_ms);
        let last = last.filter(|last| (last - nearest).abs() > 0.5 * frame_ms && self.doubts < DOUBTS);
        self.doubts = if last.is_some() { self.doubts + 1 } else { 0 };
        let correction = last.unwrap_or(nearest) - guess;
        // Nothing leaves a buffer before it has come.
        if delay.server_buffer_ms + correction < 0.0 { correction + frame_ms } else { correction }
    }
}

impl Way {
    /// How long it takes, as far as single parts tell.
    fn delay(&self, network_ms: f32) -> Delay {
        let frame_ms = self.format.frame.millis();
        Delay {
            host_ms: 2.0 * self.block_ms + self.waited_ms.min(0.0),
            resampling_ms: self.resampling_ms,
            framing_ms: frame_ms,
            pacing_ms: self.held_samples as f32 * 1000.0 / WIRE_RATE_HZ as f32,
            codec_ms: if self.format.coding == Coding::Raw { 0.0 } else { 2.0 * frame_ms },
            network_ms,
            my_buffer_ms: self.waited_ms.max(0.0),
            server_buffer_ms: self.server_buffer_ms(),
            jamulus_ms: self.jamulus_ms(),
        }
    }

    /// A buffer of N is a window whose middle is where the playhead lies: ours always, a stock server's on average.
    /// Which part of a frame a frame waits on top of that depends on how both clocks lie: half of one on average.
    fn server_buffer_ms(&self) -> f32 {
        /// What servers tick by unless they were told otherwise, in samples.
        const TICK: usize = 128;
        let window = self.server_buffer_frames.unwrap_or(Self::FIRST_SIZE);
        let samples = self.format.frame.samples();
        // Where a tick takes two frames, the first of them waits for the second.
        let pulled = TICK.div_ceil(samples) as f32;
        (f32::from(window / 2) + 0.5 * pulled) * self.format.frame.millis()
    }

    /// Every server's automatic size before it has seen anything, in frames.
    const FIRST_SIZE: u8 = 6;

    fn jamulus_ms(&self) -> f32 {
        let frame_ms = self.format.frame.millis();
        let server = self.server_buffer_frames.unwrap_or(0);
        let buffers = f32::from(self.my_buffer_frames) + f32::from(server);
        self.ping_ms + frame_ms * (0.7 * buffers + 0.5) + 2.0 * self.block_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{FrameSize, Layout, Quality};

    fn way(frame: FrameSize, quality: Quality) -> Way {
        Way {
            format: StreamFormat::stock(frame, Layout::Stereo, quality),
            block_ms: 2.0,
            resampling_ms: 0.75,
            held_samples: 96,
            ping_ms: 14.0,
            my_buffer_frames: 2,
            waited_ms: 3.5,
            grid_ms: 0.5,
            server_buffer_frames: Some(4),
        }
    }

    fn read(way: &Way) -> Delay {
        Gauge::default().read(way)
    }

    const FRAME_MS: f32 = 8.0 / 3.0;

    #[test]
    fn the_parts_add_up_to_what_fits_the_frames() {
        let delay = read(&way(FrameSize::Samples128, Quality::High));
        let guess = 4.0 + 0.75 + FRAME_MS + 2.0 + 2.0 * FRAME_MS + 14.0 + 3.5 + 2.5 * FRAME_MS;
        let frames = (delay.total_ms() - 4.0 - 0.75 - 0.5) / FRAME_MS;
        assert!((frames - frames.round()).abs() < 1e-3, "{delay:?}");
        assert!((delay.total_ms() - guess).abs() <= 0.5 * FRAME_MS, "{delay:?} beside {guess}");
        assert!((delay.jamulus_ms - (14.0 + FRAME_MS * 4.7 + 4.0)).abs() < 1e-3, "{delay:?}");
    }

    #[test]
    fn no_part_is_below_nothing() {
        for step in 0..40 {
            let mut way = way(FrameSize::Samples128, Quality::High);
            way.waited_ms = -0.75;
            way.server_buffer_frames = Some(1);
            way.grid_ms = 0.1 * step as f32;
            let delay = read(&way);
            assert!(delay.parts().iter().all(|(_, ms)| *ms >= 0.0), "{delay:?}");
            assert_eq!((delay.host_ms, delay.my_buffer_ms), (3.25, 0.0));
        }
    }

    #[test]
    fn uncompressed_sound_waits_for_no_codec() {
        let way = way(FrameSize::Samples64, Quality::Max);
        assert_eq!(read(&way).codec_ms, 0.0);
        assert!((way.server_buffer_ms() - 4.0).abs() < 1e-3, "two frames a tick");
    }

    #[test]
    fn a_server_that_has_told_nothing_has_a_buffer_all_the_same() {
        let untold = Way { server_buffer_frames: None, ..way(FrameSize::Samples128, Quality::High) };
        assert!((untold.server_buffer_ms() - 3.5 * FRAME_MS).abs() < 1e-3);
    }

    #[test]
    fn the_figure_does_not_flicker_with_the_ping_and_follows_a_longer_way() {
        let mut gauge = Gauge::default();
        let mut way = way(FrameSize::Samples128, Quality::High);
        let first = gauge.read(&way).total_ms();
        for index in 0..100 {
            way.ping_ms = 14.0 + if index % 2 == 0 { -0.7 } else { 0.7 };
            assert!((gauge.read(&way).total_ms() - first).abs() < 1e-3);
        }
        way.ping_ms = 54.0;
        for _ in 0..80 {
            gauge.read(&way);
        }
        assert!((gauge.read(&way).total_ms() - first - 40.0).abs() < FRAME_MS);
    }
}
