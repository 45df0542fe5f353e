//! Adding sound to sound: gain, pan, layouts, fade-in (laws of docs/PROTOCOL.md §3, §10).

use crate::units::{FrameSize, Layout};

/// Longest delay of one side against the other in delay panning. Source: docs/PROTOCOL.md §3.
pub const MAX_PAN_DELAY_SAMPLES: usize = 63;

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

    /// Nothing is heard on either side.
    pub fn is_silent(self) -> bool {
        self.left == 0.0 && self.right == 0.0
    }

    /// What it takes to get from here to `to` in `steps`: the first step is not here any more, the
    /// last is there.
    fn ramp(self, to: Self, steps: usize) -> impl Iterator<Item = Self> {
        let (left, right) = (to.left - self.left, to.right - self.right);
        (1..=steps).map(move |step| {
            let share = step as f32 / steps as f32;
            Self { left: self.left + share * left, right: self.right + share * right }
        })
    }
}

/// How many samples each side of a listener lags behind the source, at most
/// [`MAX_PAN_DELAY_SAMPLES`]: the ear hears a sound where it comes from first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PanDelay {
    left: u8,
    right: u8,
}

impl PanDelay {
    /// No lag on either side.
    pub const NONE: Self = Self { left: 0, right: 0 };

    /// For `pan` (0 left, 0.5 centre, 1 right): the far side lags. Source: docs/PROTOCOL.md §10.
    /// A pan outside 0..=1 is taken as the nearer end.
    pub fn panned(pan: f32) -> Self {
        let samples = MAX_PAN_DELAY_SAMPLES as f32 * (2.0 * pan.clamp(0.0, 1.0) - 1.0);
        // A float becomes an integer within its type's limits, and NaN 0.
        Self { left: samples.round() as u8, right: (-samples).round() as u8 }
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

/// Like [`mix_into`], going from gains `from` to gains `to` in a straight line, so that a fader's
/// jump makes neither a click nor, jump after jump, a buzz.
pub fn mix_ramped_into(
    target: &mut [f32],
    target_layout: Layout,
    source: &[f32],
    source_layout: Layout,
    [from, to]: [StereoGain; 2],
) {
    if from == to {
        return mix_into(target, target_layout, source, source_layout, to);
    }
    let target = target.chunks_exact_mut(target_layout.channels());
    let ramp = from.ramp(to, target.len());
    for ((target, source), gains) in target.zip(source.chunks_exact(source_layout.channels())).zip(ramp) {
        mix_into(target, target_layout, source, source_layout, gains);
    }
}

/// Adds `sound` to the stereo `target` with each side late by its `delay`, going from gains `from`
/// to gains `to`. `sound` begins [`MAX_PAN_DELAY_SAMPLES`] earlier than `target`.
pub fn mix_delayed_into(
    target: &mut [f32],
    sound: &[f32],
    layout: Layout,
    delay: PanDelay,
    [from, to]: [StereoGain; 2],
) {
    let channels = layout.channels();
    let late = |samples: u8| {
        let samples = usize::from(samples).min(MAX_PAN_DELAY_SAMPLES);
        sound.get((MAX_PAN_DELAY_SAMPLES - samples) * channels..).unwrap_or_default().chunks_exact(channels)
    };
    let target = target.as_chunks_mut::<2>().0;
    let ramp = from.ramp(to, target.len());
    for (((target, left), right), gains) in
        target.iter_mut().zip(late(delay.left)).zip(late(delay.right)).zip(ramp)
    {
        target[0] += gains.left * left[0];
        target[1] += gains.right * right[channels - 1];
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
    fn a_ramp_ends_at_its_gain_and_is_straight() {
        for (target_layout, source_layout) in [
            (Layout::Stereo, Layout::Stereo),
            (Layout::Stereo, Layout::Mono),
            (Layout::Mono, Layout::Stereo),
            (Layout::Mono, Layout::Mono),
        ] {
            let (from, to) = (StereoGain::uniform(1.0), StereoGain::uniform(0.5));
            let mut target = vec![0.0; 4 * target_layout.channels()];
            let source = vec![1.0; 4 * source_layout.channels()];
            mix_ramped_into(&mut target, target_layout, &source, source_layout, [from, to]);
            for (at, sample) in target.chunks(target_layout.channels()).enumerate() {
                assert!(sample.iter().all(|value| *value == 0.875 - 0.125 * at as f32), "{target:?}");
            }
            // Without a change it is the plain sum, bit by bit.
            let (mut ramped, mut plain) = (target.clone(), target);
            let gains = StereoGain { left: 0.3, right: 0.7 };
            mix_ramped_into(&mut ramped, target_layout, &source, source_layout, [gains; 2]);
            mix_into(&mut plain, target_layout, &source, source_layout, gains);
            assert_eq!(ramped, plain);
        }
    }

    #[test]
    fn the_far_side_lags_by_up_to_63_samples() {
        // Measured on Jamulus 3.9.1, see docs/PROTOCOL.md §10: wire pan, lag of left, lag of right.
        for (pan, left, right) in [
            (0, 0, 63),
            (256, 0, 62),
            (4096, 0, 47),
            (7936, 0, 32),
            (8192, 0, 32),
            (8448, 0, 31),
            (16128, 0, 1),
            (16384, 0, 0),
            (16640, 1, 0),
            (24320, 31, 0),
            (24576, 32, 0),
            (32512, 62, 0),
            (32768, 63, 0),
        ] {
            assert_eq!(PanDelay::panned(pan as f32 / 32768.0), PanDelay { left, right }, "pan {pan}");
        }
        for (pan, same_as) in [(-1.0, 0.0), (7.0, 1.0), (f32::NAN, 0.5)] {
            assert_eq!(PanDelay::panned(pan), PanDelay::panned(same_as));
        }
    }

    #[test]
    fn a_delayed_side_plays_what_was_before() {
        let history = MAX_PAN_DELAY_SAMPLES;
        for layout in [Layout::Mono, Layout::Stereo] {
            let channels = layout.channels();
            // The left counts up, the right counts down.
            let sound: Vec<f32> = (0..(history + 4) * channels)
                .map(|at| (at / channels) as f32 * if at % channels == 1 { -1.0 } else { 1.0 })
                .collect();
            let right = if layout == Layout::Stereo { -1.0 } else { 1.0 };
            for (pan, left_lag, right_lag) in [(0.0, 0, 63), (0.5, 0, 0), (1.0, 63, 0)] {
                let mut target = [0.0; 8];
                let gains = [StereoGain { left: 1.0, right: 2.0 }; 2];
                mix_delayed_into(&mut target, &sound, layout, PanDelay::panned(pan), gains);
                for (at, sample) in target.as_chunks::<2>().0.iter().enumerate() {
                    let expected = [history + at - left_lag, history + at - right_lag].map(|at| at as f32);
                    assert_eq!(*sample, [expected[0], 2.0 * right * expected[1]], "pan {pan}");
                }
            }
        }
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
