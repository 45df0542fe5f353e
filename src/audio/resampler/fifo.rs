//! Samples between two places that work in different block sizes.

/// A ring of interleaved samples. Never allocates after [`Self::with_capacity`].
pub struct SampleFifo {
    samples: Box<[f32]>,
    channels: usize,
    /// Index of the oldest sample.
    start: usize,
    /// Interleaved samples held.
    length: usize,
}

impl SampleFifo {
    /// Room for `frames` samples of each of `channels` channels.
    pub fn with_capacity(frames: usize, channels: usize) -> Self {
        let channels = channels.max(1);
        Self { samples: vec![0.0; frames * channels].into(), channels, start: 0, length: 0 }
    }

    /// Appends interleaved samples, as many whole ones (of all channels) as there is room for.
    /// Returns how many were taken, counted as in `samples.len()`.
    pub fn push_slice(&mut self, samples: &[f32]) -> usize {
        let room = self.samples.len() - self.length;
        let taken = samples.len().min(room) / self.channels * self.channels;
        let mut end = self.start + self.length;
        if end >= self.samples.len() {
            end -= self.samples.len();
        }
        let first = taken.min(self.samples.len() - end);
        self.samples[end..end + first].copy_from_slice(&samples[..first]);
        self.samples[..taken - first].copy_from_slice(&samples[first..taken]);
        self.length += taken;
        taken
    }

    /// Moves the oldest interleaved samples to `out`, whole ones only, and returns how many,
    /// counted as in `out.len()`. The rest of `out` is left alone.
    pub fn pop_into(&mut self, out: &mut [f32]) -> usize {
        let given = out.len().min(self.length) / self.channels * self.channels;
        let first = given.min(self.samples.len() - self.start);
        out[..first].copy_from_slice(&self.samples[self.start..self.start + first]);
        out[first..given].copy_from_slice(&self.samples[..given - first]);
        self.length -= given;
        self.start += given;
        if self.start >= self.samples.len() {
            self.start -= self.samples.len();
        }
        given
    }

    /// Samples per channel held.
    pub fn len_frames(&self) -> usize {
        self.length / self.channels
    }

    /// Samples per channel that still fit.
    pub fn free_frames(&self) -> usize {
        (self.samples.len() - self.length) / self.channels
    }

    /// Holds nothing.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Forgets what it holds.
    pub fn clear(&mut self) {
        self.start = 0;
        self.length = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_queue(
            capacity in 0usize..40,
            channels in 1usize..3,
            steps in proptest::collection::vec((any::<bool>(), 0usize..50), 0..60),
        ) {
            let mut fifo = SampleFifo::with_capacity(capacity, channels);
            let mut model = VecDeque::new();
            let mut next = 0.0;
            for (push, count) in steps {
                if push {
                    let samples: Vec<f32> = (0..count).map(|at| next + at as f32).collect();
                    let taken = fifo.push_slice(&samples);
                    let room = capacity * channels - model.len();
                    prop_assert_eq!(taken, count.min(room) / channels * channels);
                    model.extend(&samples[..taken]);
                    next += count as f32;
                } else {
                    let mut out = vec![-1.0; count];
                    let given = fifo.pop_into(&mut out);
                    prop_assert_eq!(given, count.min(model.len()) / channels * channels);
                    for sample in &out[..given] {
                        prop_assert_eq!(Some(*sample), model.pop_front());
                    }
                    prop_assert!(out[given..].iter().all(|sample| *sample == -1.0));
                }
                prop_assert_eq!(fifo.len_frames() * channels, model.len());
                prop_assert_eq!(fifo.free_frames() * channels, capacity * channels - model.len());
                prop_assert_eq!(fifo.is_empty(), model.is_empty());
            }
        }
    }
}
