//! "Me, aligned": the track's own sound as late as it comes back in the mix. Lives in the engine.
//!
//! Between the host's input and its output everything on our side is known exactly: at which sample of the host
//! each frame that we send begins, and which of the server's samples is at the output now. What lies between,
//! the *lag* from a sample that we sent to the one in which it came back, is found by the network thread.

use super::super::snapshot::Alignment;
use crate::units::WIRE_RATE_HZ;

/// The longest delay, in seconds.
const MAX_SECONDS: f64 = 1.0;
/// Frames whose start is remembered: more than a second of the shortest.
const FRAMES: usize = 1024;
/// A change of the delay takes this long, in seconds: the old and the new sound are faded into each other.
const FADE_SECONDS: f64 = 0.010;
/// The delay stays a whole number of samples, so that what is recorded is what was played; it is changed when it
/// is off by more than this, in samples at 48 kHz.
const TOLERANCE: f64 = 0.75;
/// The clocks move it by less than this at once, in samples at 48 kHz; more is a buffer that has grown or shrunk.
const STEP: f64 = 16.0;

/// How late our own sound comes back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::client) struct Lag {
    /// From the number of a sample sent to that of the one in which it came back, at 48 kHz.
    pub(in crate::client) samples: i64,
    /// Found in the sound, not estimated.
    pub(in crate::client) exact: bool,
}

/// A delay line, and what it takes to know the delay.
pub(in crate::client) struct OwnTrack {
    hz: f64,
    /// The track's sound by sample number.
    ring: Box<[[f32; 2]]>,
    /// Samples of the track so far.
    written: i64,
    /// Sound before this sample is forgotten.
    forgotten: i64,
    /// Of the frames sent last, by number: the number, and the host's sample at which it begins.
    starts: Box<[(i64, f64)]>,
    delay: usize,
    /// What `delay` was before, while it fades out.
    delay_before: usize,
    /// Samples of the fade still to come.
    fading: usize,
    /// What is known about `delay`: nothing, or whether it is exact.
    known: Option<bool>,
    /// It was exact once, so that it is no mere estimate.
    measured: bool,
    /// A shorter delay would be right, but must wait.
    withheld: bool,
    grown: u64,
}

impl OwnTrack {
    /// For blocks of up to `max_block` samples. Allocates.
    pub(in crate::client) fn new(hz: f64, max_block: usize) -> Self {
        Self {
            hz,
            ring: vec![[0.0; 2]; (MAX_SECONDS * hz) as usize + max_block + 1].into(),
            written: 0,
            forgotten: 0,
            starts: vec![(-1, 0.0); FRAMES].into(),
            delay: 0,
            delay_before: 0,
            fading: 0,
            known: None,
            measured: false,
            withheld: false,
            grown: 0,
        }
    }

    /// Another stream begins, or sound was left out: what is known about the delay is gone. The delay stays until
    /// something better is known.
    pub(in crate::client) fn clear(&mut self) {
        self.forgotten = self.written;
        self.starts.fill((-1, 0.0));
        self.known = None;
        self.measured = false;
        self.withheld = false;
    }

    /// The track's next sound, interleaved.
    pub(in crate::client) fn write(&mut self, stereo: &[f32]) {
        for pair in stereo.as_chunks::<2>().0 {
            let at = self.index(self.written);
            self.ring[at] = *pair;
            self.written += 1;
        }
    }

    /// Frame `number` begins `ago` host samples before the track's next one.
    pub(in crate::client) fn note_frame(&mut self, number: i64, ago: f64) {
        self.starts[number.rem_euclid(FRAMES as i64) as usize] = (number, self.written as f64 - ago);
    }

    /// How many host samples before the track's next one the sample `position` (of what is sent, in frames of
    /// `frame_samples`) was captured; `None` when it is not remembered.
    pub(in crate::client) fn age(&self, position: f64, frame_samples: usize) -> Option<f64> {
        let frame = position / frame_samples as f64;
        let number = frame.floor() as i64;
        let start = |number: i64| {
            let (found, start) = self.starts[number.rem_euclid(FRAMES as i64) as usize];
            (found == number && number >= 0).then_some(start)
        };
        let (start, end) = (start(number)?, start(number + 1)?);
        Some(self.written as f64 - start - frame.fract() * (end - start))
    }

    /// The delay should be `wanted` host samples (`None`: unknown just now). While the transport is `rolling` it
    /// becomes shorter only by what clocks do, or where it was but an estimate.
    pub(in crate::client) fn follow(&mut self, wanted: Option<f64>, exact: bool, rolling: bool) {
        let range = 0.0..MAX_SECONDS * self.hz;
        let Some(wanted) = wanted.filter(|wanted| range.contains(wanted) && self.fading == 0) else { return };
        let scale = (self.hz / f64::from(WIRE_RATE_HZ)).max(1.0);
        let off = wanted - self.delay as f64;
        let held = rolling && self.known.is_some() && (self.measured || !exact);
        self.withheld = held && off < -STEP * scale;
        if self.withheld {
            return;
        }
        if held && off > STEP * scale {
            self.grown += 1;
        }
        self.known = Some(exact);
        self.measured |= exact;
        if off.abs() > TOLERANCE * scale {
            self.delay_before = std::mem::replace(&mut self.delay, wanted.round() as usize);
            self.fading = (FADE_SECONDS * self.hz) as usize;
        }
    }

    /// The delayed sound beside the track's sample that was written `back` samples ago (1 = the last); to be asked
    /// once for each.
    pub(in crate::client) fn delayed(&mut self, back: usize) -> [f32; 2] {
        let number = self.written - back as i64;
        let sound = self.read(number - self.delay as i64);
        if self.fading == 0 {
            return sound;
        }
        let share = self.fading as f32 / (FADE_SECONDS * self.hz) as f32;
        self.fading -= 1;
        let before = self.read(number - self.delay_before as i64);
        [0, 1].map(|side| sound[side] + share * (before[side] - sound[side]))
    }

    /// What windows are told.
    pub(in crate::client) fn alignment(&self) -> Alignment {
        let ms = (1000.0 * self.delay as f64 / self.hz) as f32;
        match self.known {
            None => Alignment::Unknown,
            Some(true) if !self.withheld => Alignment::Exact(ms),
            Some(_) => Alignment::Estimated(ms),
        }
    }

    /// How often the delay had to grow while the transport was rolling.
    pub(in crate::client) fn grown(&self) -> u64 {
        self.grown
    }

    fn read(&self, number: i64) -> [f32; 2] {
        if number < self.forgotten { [0.0; 2] } else { self.ring[self.index(number)] }
    }

    fn index(&self, number: i64) -> usize {
        number.rem_euclid(self.ring.len() as i64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes blocks of a ramp and collects what comes out.
    fn run(track: &mut OwnTrack, blocks: usize, follow: impl Fn(&mut OwnTrack)) -> Vec<f32> {
        let mut out = Vec::new();
        for _ in 0..blocks {
            let first = track.written;
            let block: Vec<f32> = (first..first + 64).flat_map(|number| [number as f32; 2]).collect();
            track.write(&block);
            follow(track);
            out.extend((1..=64).rev().map(|back| track.delayed(back)[0]));
        }
        out
    }

    #[test]
    fn the_delay_is_whole_and_changes_without_a_step() {
        let mut track = OwnTrack::new(48_000.0, 64);
        let out = run(&mut track, 100, |track| track.follow(Some(1000.3), true, false));
        assert_eq!(track.alignment(), Alignment::Exact(1000.0 / 48.0));
        assert_eq!(&out[6336..], (5336..5400).map(|number| number as f32).collect::<Vec<_>>());
        let out = run(&mut track, 100, |track| track.follow(Some(1001.2), true, false));
        assert!(out.windows(2).all(|pair| (0.9..=1.1).contains(&(pair[1] - pair[0]))), "no step");
        assert_eq!(out[6399], (200 * 64 - 1 - 1001) as f32);
    }

    #[test]
    fn while_rolling_it_grows_and_does_not_shrink() {
        let mut track = OwnTrack::new(48_000.0, 64);
        run(&mut track, 20, |track| track.follow(Some(1500.0), false, true));
        assert_eq!(track.alignment(), Alignment::Estimated(1500.0 / 48.0));
        run(&mut track, 20, |track| track.follow(Some(1000.0), true, true));
        assert_eq!(track.alignment(), Alignment::Exact(1000.0 / 48.0), "an estimate gives way");
        assert_eq!(track.grown(), 0);
        run(&mut track, 20, |track| track.follow(Some(1128.0), true, true));
        run(&mut track, 20, |track| track.follow(Some(1000.0), true, true));
        assert_eq!((track.delay, track.grown()), (1128, 1));
        assert_eq!(track.alignment(), Alignment::Estimated(1128.0 / 48.0));
        run(&mut track, 20, |track| track.follow(Some(1000.0), true, false));
        assert_eq!(track.alignment(), Alignment::Exact(1000.0 / 48.0));
    }

    #[test]
    fn frames_tell_when_each_sample_was_captured() {
        let mut track = OwnTrack::new(96_000.0, 256);
        track.write(&[0.0; 2 * 256]);
        track.note_frame(0, 256.0);
        assert_eq!(track.age(10.0, 64), None);
        track.note_frame(1, 128.0);
        assert_eq!(track.age(16.0, 64), Some(224.0));
        track.clear();
        assert_eq!(track.age(16.0, 64), None);
    }
}
