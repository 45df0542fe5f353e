//! Blocks of any size into frames of one size.

use crate::units::{FrameSize, Layout, MAX_FRAME_SAMPLES};

/// Collects interleaved 48 kHz samples and hands out whole frames.
pub struct FramePacker {
    pending: [f32; 2 * MAX_FRAME_SAMPLES],
    filled: usize,
    channels: usize,
    frame_values: usize,
}

impl FramePacker {
    /// A packer for frames of `frame` samples per channel.
    pub fn new(frame: FrameSize, layout: Layout) -> Self {
        let channels = layout.channels();
        Self {
            pending: [0.0; 2 * MAX_FRAME_SAMPLES],
            filled: 0,
            channels,
            frame_values: frame.samples() * channels,
        }
    }

    /// Takes `samples` (interleaved) and calls `frame` with each frame that they complete, in order.
    pub fn push(&mut self, mut samples: &[f32], mut frame: impl FnMut(&[f32])) {
        while !samples.is_empty() {
            // Whole frames go through without a copy.
            if self.filled == 0 && samples.len() >= self.frame_values {
                let (whole, rest) = samples.split_at(self.frame_values);
                frame(whole);
                samples = rest;
                continue;
            }
            let (taken, rest) = samples.split_at(samples.len().min(self.frame_values - self.filled));
            self.pending[self.filled..][..taken.len()].copy_from_slice(taken);
            self.filled += taken.len();
            samples = rest;
            if self.filled == self.frame_values {
                self.filled = 0;
                frame(&self.pending[..self.frame_values]);
            }
        }
    }

    /// Samples per channel that wait for their frame to fill.
    pub fn samples(&self) -> usize {
        self.filled / self.channels
    }

    /// Forgets what waits.
    pub fn clear(&mut self) {
        self.filled = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_sample_comes_out_once_and_in_order(blocks in proptest::collection::vec(0usize..700, 1..40), stereo: bool) {
            let layout = if stereo { Layout::Stereo } else { Layout::Mono };
            for size in [FrameSize::Samples64, FrameSize::Samples128] {
                let mut packer = FramePacker::new(size, layout);
                let (mut next_in, mut next_out) = (0.0, 0.0);
                for block in &blocks {
                    let block: Vec<f32> = (0..block * layout.channels())
                        .map(|_| { next_in += 1.0; next_in })
                        .collect();
                    packer.push(&block, |frame| {
                        assert_eq!(frame.len(), size.samples() * layout.channels());
                        for sample in frame {
                            next_out += 1.0;
                            assert_eq!(*sample, next_out);
                        }
                    });
                    let waiting = packer.samples() as f32 * layout.channels() as f32;
                    prop_assert_eq!(next_out + waiting, next_in);
                    prop_assert!(packer.samples() < size.samples());
                }
            }
        }
    }
}
