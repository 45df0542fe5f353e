//! A recorder on the virtual clock, with players who make noise.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use jamulet::server::{RecorderOptions, RecorderReport, RecordingFormat, Scribe, Tap, recorder};
use jamulet::units::{ChannelId, FrameSize, Layout, Time};
use jamulet_testkit::netem::SplitMix64;
use jamulet_testkit::recording::{Session, sessions};

/// What a player's noise reaches: 30 of them stay below the limiter.
pub(crate) const AMPLITUDE: f32 = 0.02;
/// The scribe works every so many samples: 50 ms.
const WORK_SAMPLES: u64 = 2400;

/// Somebody who plays noise.
pub(crate) struct Player {
    pub(crate) channel: ChannelId,
    pub(crate) layout: Layout,
    /// Everything handed over so far, interleaved.
    pub(crate) played: Vec<f32>,
    rng: SplitMix64,
}

/// A tap and its scribe.
pub(crate) struct Deck {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) tap: Tap,
    pub(crate) scribe: Scribe,
    pub(crate) tick: FrameSize,
    /// The tick that comes next.
    pub(crate) next: u64,
    pub(crate) players: Vec<Player>,
    pub(crate) reports: Vec<RecorderReport>,
    /// The scribe is stuck.
    pub(crate) is_stuck: bool,
}

impl Deck {
    /// A recorder for `slots` slots, off.
    pub(crate) fn new(format: RecordingFormat, tick: FrameSize, slots: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().to_owned();
        Self::with_options(folder, RecorderOptions { directory, format, min_free_bytes: 0 }, tick, slots)
    }

    pub(crate) fn with_options(
        folder: tempfile::TempDir,
        options: RecorderOptions,
        tick: FrameSize,
        slots: usize,
    ) -> Self {
        let (tap, scribe) = recorder(options, tick, slots);
        let (players, reports) = (Vec::new(), Vec::new());
        // Servers have run for a while when somebody records.
        Self { folder, tap, scribe, tick, next: 1000, players, reports, is_stuck: false }
    }

    /// 16 bits, 128 samples, ten slots, recording.
    pub(crate) fn recording() -> Self {
        let mut deck = Self::new(RecordingFormat::Wav16, FrameSize::Samples128, 10);
        deck.tap.start(deck.next);
        deck
    }

    pub(crate) fn address(channel: u8) -> SocketAddr {
        SocketAddr::from(([203, 0, channel, 77], 22_000 + u16::from(channel)))
    }

    /// Somebody joins and plays from the next tick on.
    pub(crate) fn join(&mut self, channel: u8, name: &str, layout: Layout) {
        self.join_from(channel, Self::address(channel), name, layout);
    }

    pub(crate) fn join_from(&mut self, channel: u8, address: SocketAddr, name: &str, layout: Layout) {
        self.tap.join(self.next, ChannelId(channel), address, name);
        let rng = SplitMix64::new(self.next * 1000 + u64::from(channel));
        self.players.push(Player { channel: ChannelId(channel), layout, played: Vec::new(), rng });
    }

    /// Somebody leaves; what has been played is returned.
    pub(crate) fn leave(&mut self, channel: u8) -> Vec<f32> {
        self.tap.leave(self.next, ChannelId(channel));
        let index = self.players.iter().position(|player| player.channel.0 == channel).unwrap();
        self.players.remove(index).played
    }

    /// Everyone plays for so many ticks, and the scribe works now and then.
    pub(crate) fn run(&mut self, ticks: u64) {
        for _ in 0..ticks {
            for player in &mut self.players {
                let values = player.layout.channels() * self.tick.samples();
                let sound: Vec<f32> =
                    (0..values).map(|_| (player.rng.next_f64() as f32 * 2.0 - 1.0) * AMPLITUDE).collect();
                self.tap.write(self.next, player.channel, player.layout, &sound);
                player.played.extend(sound);
            }
            self.tap.end_tick(self.next);
            self.next += 1;
            if self.next.is_multiple_of(WORK_SAMPLES / self.tick.samples() as u64) {
                self.work();
            }
        }
    }

    /// The scribe takes its turn, and reports are collected.
    pub(crate) fn work(&mut self) {
        if !self.is_stuck {
            let micros = self.next * self.tick.samples() as u64 * 1_000_000 / 48_000;
            let since = Duration::from_micros(micros);
            let began: jiff::Timestamp = "2026-11-22T14:36:31.867Z".parse().unwrap();
            self.scribe.work(Time::ZERO + since, began + since);
        }
        self.reports.extend(std::iter::from_fn(|| self.tap.poll_report()));
    }

    /// Everything recorded so far, read and checked.
    pub(crate) fn sessions(&mut self) -> Vec<Session> {
        self.work();
        let read = |folder: &PathBuf| {
            let session = Session::read(folder).unwrap();
            session.check(self.tick.samples()).unwrap();
            session
        };
        sessions(self.folder.path()).unwrap().iter().map(read).collect()
    }

    /// Stops recording; there was exactly one session.
    pub(crate) fn only_session(&mut self) -> Session {
        self.tap.stop(self.next);
        let mut sessions = self.sessions();
        assert_eq!(sessions.len(), 1);
        sessions.remove(0)
    }

    /// Reasons of all stops reported so far.
    pub(crate) fn stops(&self) -> Vec<&str> {
        let reason = |report| match report {
            &RecorderReport::Stopped { ref reason } => Some(reason.as_str()),
            _ => None,
        };
        self.reports.iter().filter_map(reason).collect()
    }
}

/// What a file of `bits` holds of `sound`.
pub(crate) fn rounded(sound: &[f32], bits: u32) -> Vec<i32> {
    let scale = f64::from(1_u32 << (bits - 1));
    sound.iter().map(|value| (f64::from(*value) * scale).round() as i32).collect()
}
