//! Adding sound to sound: gain, pan, layouts, fade-in (laws of docs/PROTOCOL.md §3).

use crate::units::{FrameSize, Layout};

/// Linear gain for each side of a listener.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StereoGain {
    /// Left.
    pub left: f32,
    /// Right.
    pub right: f32,
}

impl StereoGain {
    /// The same on both sides; also what a mono listener needs, who has no pan.
    pub const fn uniform(gain: f32) -> Self {
        Self { left: gain, right: gain }
    }

    /// `gain` at `pan` (0 left, 0.5 centre, 1 right). Centre is full level on both sides.
    /// A pan outside 0..=1 is taken as the nearer end.
    pub fn panned(gain: f32, pan: f32) -> Self {
        let pan = pan.clamp(0.0, 1.0);
        Self { left: gain * (1.0 - pan).min(0.5) * 2.0, right: gain * pan.min(0.5) * 2.0 }
    }

    /// Both sides times `factor`.
    pub fn scaled(self, factor: f32) -> Self {
        Self { left: self.left * factor, right: self.right * factor }
    }
}

/// Adds `source` at `gains` to `target`, both interleaved in their layouts and equally long in
/// time (what is longer is left alone). A stereo source reaches a mono target as (L+R)/2, a mono
/// source both sides of a stereo target.
pub fn mix_into(
    target: &mut [f32],
    target_layout: Layout,
    source: &[f32],
    source_layout: Layout,
    gains: StereoGain,
) {
    let StereoGain { left, right } = gains;
    match (target_layout, source_layout) {
        (Layout::Stereo, Layout::Stereo) => {
            for (to, from) in target.as_chunks_mut::<2>().0.iter_mut().zip(source.as_chunks::<2>().0) {
                to[0] += left * from[0];
                to[1] += right * from[1];
            }
        }
        (Layout::Stereo, Layout::Mono) => {
            for (to, from) in target.as_chunks_mut::<2>().0.iter_mut().zip(source) {
                to[0] += left * from;
                to[1] += right * from;
            }
        }
        (Layout::Mono, Layout::Stereo) => {
            let (left, right) = (0.5 * left, 0.5 * right);
            for (to, from) in target.iter_mut().zip(source.as_chunks::<2>().0) {
                *to += left * from[0] + right * from[1];
            }
        }
        (Layout::Mono, Layout::Mono) => {
            let gain = 0.5 * (left + right);
            for (to, from) in target.iter_mut().zip(source) {
                *to += gain * from;
            }
        }
    }
}

/// Writes `source` to `target` in the target's layout: (L+R)/2 to mono, the same on both sides to
/// stereo. Both interleaved and equally long in time; what is longer in `target` is silenced.
pub fn convert_layout(target: &mut [f32], target_layout: Layout, source: &[f32], source_layout: Layout) {
    target.fill(0.0);
    mix_into(target, target_layout, source, source_layout, StereoGain::uniform(1.0));
}

/// A new channel's linear fade-in over about 3 s, counted in received packets
/// (docs/PROTOCOL.md §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FadeIn {
    packets: u32,
    total: u32,
}

impl FadeIn {
    /// At silence, for packets of `block_factor` (1, 2 or 4) frames.
    pub fn new(frame: FrameSize, block_factor: u8) -> Self {
        let frames = match frame {
            FrameSize::Samples64 => 2250,
            FrameSize::Samples128 => 1125,
        };
        Self { packets: 0, total: frames / u32::from(block_factor.max(1)) }
    }

    /// Counts one packet.
    pub fn advance(&mut self) {
        self.packets = (self.packets + 1).min(self.total);
    }

    /// Gain now, 0..=1.
    pub fn gain(&self) -> f32 {
        self.packets as f32 / self.total as f32
    }

    /// Full level is reached.
    pub fn is_done(&self) -> bool {
        self.packets == self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pan_law_is_the_protocols() {
        for (pan, left, right) in [
            (0.0, 1.0, 0.0),
            (0.25, 1.0, 0.5),
            (0.5, 1.0, 1.0),
            (0.75, 0.5, 1.0),
            (1.0, 0.0, 1.0),
            (-3.0, 1.0, 0.0),
            (9.0, 0.0, 1.0),
        ] {
            assert_eq!(StereoGain::panned(1.0, pan), StereoGain { left, right }, "pan {pan}");
        }
        assert_eq!(StereoGain::panned(0.5, 0.5), StereoGain::uniform(0.5));
        assert_eq!(StereoGain::uniform(1.0).scaled(0.25), StereoGain::uniform(0.25));
    }

    #[test]
    fn every_pair_of_layouts_adds_by_its_law() {
        let gains = StereoGain { left: 0.5, right: 2.0 };
        let mut stereo = [1.0; 4];
        mix_into(&mut stereo, Layout::Stereo, &[0.1, 0.2, 0.3, 0.4], Layout::Stereo, gains);
        assert_eq!(stereo, [1.05, 1.4, 1.15, 1.8]);

        let mut stereo = [1.0; 4];
        mix_into(&mut stereo, Layout::Stereo, &[0.5, -0.5], Layout::Mono, gains);
        assert_eq!(stereo, [1.25, 2.0, 0.75, 0.0]);

        let mut mono = [1.0; 2];
        mix_into(&mut mono, Layout::Mono, &[0.5, 0.25, -1.0, 1.0], Layout::Stereo, StereoGain::uniform(2.0));
        assert_eq!(mono, [1.75, 1.0]);

        let mut mono = [1.0; 2];
        mix_into(&mut mono, Layout::Mono, &[0.5, -1.0], Layout::Mono, StereoGain::uniform(0.5));
        assert_eq!(mono, [1.25, 0.5]);
    }

    #[test]
    fn layouts_convert_at_unity() {
        let mut mono = [9.0; 3];
        convert_layout(&mut mono, Layout::Mono, &[1.0, 0.0, 0.5, 0.5], Layout::Stereo);
        assert_eq!(mono, [0.5, 0.5, 0.0]);
        let mut stereo = [9.0; 4];
        convert_layout(&mut stereo, Layout::Stereo, &[0.25, -1.0], Layout::Mono);
        assert_eq!(stereo, [0.25, 0.25, -1.0, -1.0]);
    }

    #[test]
    fn fade_in_takes_three_seconds_of_packets() {
        for (frame, factor, packets) in [
            (FrameSize::Samples128, 1, 1125),
            (FrameSize::Samples128, 2, 562),
            (FrameSize::Samples128, 4, 281),
            (FrameSize::Samples64, 1, 2250),
            (FrameSize::Samples64, 4, 562),
        ] {
            let mut fade = FadeIn::new(frame, factor);
            assert_eq!(fade.gain(), 0.0);
            let mut last = 0.0;
            for _ in 0..packets {
                assert!(!fade.is_done());
                fade.advance();
                assert!(fade.gain() > last);
                last = fade.gain();
            }
            assert!(fade.is_done());
            fade.advance();
            assert_eq!(fade.gain(), 1.0);
        }
    }
}
