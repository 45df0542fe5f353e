//! A track that plays: a plugin's audio half on a thread of its own, driven like by a sound card.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::guard;
use crate::host::{Audio, Block, MAX_CHANGES};
use crate::pace::{self, Pacer, Stall};

/// The sound card that a track plays on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SoundCard {
    /// Sample rate in Hz.
    pub rate_hz: f64,
    /// Samples per channel in a block.
    pub block_frames: usize,
    /// Whether `process()` is watched by [`guard`].
    pub guarded: bool,
}

/// A track that is playing.
pub struct Track {
    stop: Arc<AtomicBool>,
    frames: Arc<AtomicU64>,
    changes: mpsc::SyncSender<(u32, f64)>,
    /// `None` once stopped.
    thread: Option<JoinHandle<Result<Take>>>,
}

/// What a track has played.
pub struct Take {
    audio: Option<Box<dyn Audio>>,
    /// When the first block was due.
    pub start: Instant,
    /// What went in, one vector per channel.
    pub input: Vec<Vec<f32>>,
    /// What came out, one vector per channel, as long as `input`.
    pub output: Vec<Vec<f32>>,
    /// When the machine was late.
    pub stalls: Vec<Stall>,
    /// How long `process()` took, one entry per block.
    pub cost: Vec<Duration>,
    /// What `process()` did that it must not, where it was watched.
    pub report: guard::Report,
}

impl Take {
    /// The audio half, stopped; once.
    pub fn take_audio(&mut self) -> Option<Box<dyn Audio>> {
        self.audio.take()
    }

    /// Where the machine was late, in samples.
    pub fn stalled_at(&self) -> Vec<std::ops::Range<usize>> {
        let block_frames = self.output.first().map_or(0, Vec::len) / self.cost.len().max(1);
        self.stalls
            .iter()
            .map(|stall| {
                let start = stall.block as usize * block_frames;
                start..start + block_frames
            })
            .collect()
    }
}

impl Track {
    /// Starts to play. `source` fills the inputs from the given sample on, at every block.
    pub fn play(
        mut audio: Box<dyn Audio>,
        card: SoundCard,
        mut source: impl FnMut(u64, &mut [Vec<f32>]) + Send + 'static,
    ) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let frames = Arc::new(AtomicU64::new(0));
        let (changes, pending) = mpsc::sync_channel(64);
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&frames));
        let run = move || -> Result<Take> {
            pace::raise_priority();
            audio.start()?;
            if card.guarded {
                guard::arm()?;
            }
            let mut recorder = Recorder::new(&*audio, card);
            let start = pace::now();
            let mut pacer = Pacer::new(card.rate_hz, card.block_frames);
            while !stopped.load(Ordering::Acquire) {
                pacer.wait();
                source(counted.load(Ordering::Acquire), &mut recorder.input_block);
                let changes: Vec<_> = pending.try_iter().take(MAX_CHANGES).collect();
                recorder.process(&mut *audio, &changes)?;
                counted.fetch_add(card.block_frames as u64, Ordering::AcqRel);
            }
            audio.stop();
            let Recorder { input, output, cost, .. } = recorder;
            Ok(Take {
                audio: Some(audio),
                start,
                input,
                output,
                stalls: pacer.stalls().to_vec(),
                cost,
                report: guard::report(),
            })
        };
        let thread = std::thread::Builder::new().name("sound card".to_owned()).spawn(run)?;
        Ok(Self { stop, frames, changes, thread: Some(thread) })
    }

    /// Sets a parameter, 0..=1, by automation: from the next block on.
    pub fn set(&self, id: u32, value: f64) -> Result<()> {
        self.changes
            .try_send((id, value))
            .map_err(|_| anyhow!("the track takes no automation: has it stopped?"))
    }

    /// Samples per channel played so far.
    pub fn frames(&self) -> u64 {
        self.frames.load(Ordering::Acquire)
    }

    /// Whether the track still plays; it stops by itself when `process()` fails.
    pub fn is_playing(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Stops after the present block.
    pub fn stop(mut self) -> Result<Take> {
        self.end().context("the track has stopped already")?
    }

    fn end(&mut self) -> Option<Result<Take>> {
        self.stop.store(true, Ordering::Release);
        let ended = self.thread.take()?.join();
        Some(ended.unwrap_or_else(|_| Err(anyhow!("the audio thread panicked"))))
    }
}

impl Drop for Track {
    fn drop(&mut self) {
        // Whatever was played, nobody wants it any more.
        drop(self.end());
    }
}

/// An audio half, stopped, and what came out of it, one vector per channel.
pub type Rendered = (Box<dyn Audio>, Vec<Vec<f32>>);

/// Feeds `input` through the audio half as fast as the machine can, on a thread of its own, in
/// blocks of the given lengths over and over.
pub fn render(mut audio: Box<dyn Audio>, input: &[Vec<f32>], block_frames: &[usize]) -> Result<Rendered> {
    let outputs = audio.output_channels();
    let frames = input.first().map_or(0, Vec::len);
    let run = move || -> Result<_> {
        audio.start()?;
        let mut output = vec![vec![0.0_f32; frames]; outputs];
        let (mut start, mut lengths) = (0, block_frames.iter().cycle());
        while start < frames {
            let length = *lengths.next().context("no block lengths")?;
            let range = start..frames.min(start + length);
            let inputs: Vec<&[f32]> = input.iter().map(|channel| &channel[range.clone()]).collect();
            let mut outputs: Vec<&mut [f32]> =
                output.iter_mut().map(|channel| &mut channel[range.clone()]).collect();
            audio.process(&mut Block { input: &inputs, output: &mut outputs, changes: &[] })?;
            start = range.end;
        }
        audio.stop();
        Ok((audio, output))
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("audio".to_owned()).spawn_scoped(scope, run)?;
        thread.join().map_err(|_| anyhow!("the audio thread panicked"))?
    })
}

/// The time that a share of all blocks stayed within (0.5 = median, 1.0 = maximum).
pub fn quantile(cost: &[Duration], share: f64) -> Duration {
    let mut sorted = cost.to_vec();
    sorted.sort_unstable();
    let index = (share * sorted.len().saturating_sub(1) as f64).round() as usize;
    sorted.get(index).copied().unwrap_or_default()
}

struct Recorder {
    input_block: Vec<Vec<f32>>,
    output_block: Vec<Vec<f32>>,
    input: Vec<Vec<f32>>,
    output: Vec<Vec<f32>>,
    cost: Vec<Duration>,
}

impl Recorder {
    fn new(audio: &dyn Audio, card: SoundCard) -> Self {
        let (inputs, outputs) = (audio.layout().inputs, audio.output_channels());
        // A minute without growing; longer takes grow between blocks.
        let room = (card.rate_hz * 60.0) as usize;
        Self {
            input_block: vec![vec![0.0; card.block_frames]; inputs],
            output_block: vec![vec![0.0; card.block_frames]; outputs],
            input: vec![Vec::with_capacity(room); inputs],
            output: vec![Vec::with_capacity(room); outputs],
            cost: Vec::with_capacity(room / card.block_frames),
        }
    }

    fn process(&mut self, audio: &mut dyn Audio, changes: &[(u32, f64)]) -> Result<()> {
        let input: Vec<&[f32]> = self.input_block.iter().map(Vec::as_slice).collect();
        let mut output: Vec<&mut [f32]> = self.output_block.iter_mut().map(Vec::as_mut_slice).collect();
        let start: Instant = pace::now();
        audio.process(&mut Block { input: &input, output: &mut output, changes })?;
        self.cost.push(start.elapsed());
        for (recording, block) in self.input.iter_mut().zip(&self.input_block) {
            recording.extend_from_slice(block);
        }
        for (recording, block) in self.output.iter_mut().zip(&self.output_block) {
            recording.extend_from_slice(block);
        }
        Ok(())
    }
}
