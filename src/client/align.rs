//! How late our own sound comes back from the server, on the network thread. What the engine makes of it is in
//! [`own_track`].
//!
//! As long as our own channel is in our personal mix, what comes back is searched for what we sent
//! ([`correlator`]); two verdicts in a row that agree are *exact*. Before that, and when something has happened
//! that may have moved the server's buffer while nothing of us comes back, the lag is *estimated*, from the round
//! trip of the network and the sizes of buffers.
//!
//! Somebody who wants to hear only the others hears himself, too, until the lag is known: for [`PATIENCE`] of
//! sound at most, and not once the transport has started.

mod correlator;
mod own_track;

use std::ops::Range;
use std::time::Duration;

use rtrb::Consumer;

use super::stream::Trace;
use crate::units::{Coding, StreamFormat, Time, WIRE_RATE_HZ};
use correlator::{Correlator, GRID};
pub(super) use own_track::{Lag, OwnTrack};

/// So much of our own sound is heard at most before others are heard alone.
const PATIENCE: Duration = Duration::from_secs(3);
/// Where so much is lost that little of it can be compared, nobody hears himself for longer than this.
const LONGEST: Duration = Duration::from_secs(60);
/// After the server has changed its buffer it is left alone for this long before we listen to ourselves again.
const CALM: Duration = Duration::from_secs(5);
/// After our own channel was turned off or on, it takes this long until the server is known to have done so.
const SWITCHING: Duration = Duration::from_secs(1);
/// How long the smallest time from a frame's departure to its return is remembered.
const WINDOW: Duration = Duration::from_secs(2);
/// A host that has sent nothing for this long says nothing about that time.
const FRESH: Duration = Duration::from_millis(100);

/// Watches one stream.
pub(super) struct Aligner {
    format: StreamFormat,
    correlator: Correlator,
    /// The last frame that left: when, and its number.
    departed: Option<(Time, i64)>,
    /// How many frames more than the engine made had left then: silence was sent instead, or frames were not.
    extra: Option<i64>,
    gap: Gap,
    lag: Option<Lag>,
    /// `lag` was exact once.
    measured: bool,
    /// A verdict that waits to be repeated.
    pending: Option<i64>,
    /// Our own channel is in the mix, since then; `None` while it is not.
    in_mix: Option<Time>,
    /// Our own sound may be listened to until the correlator has had so much of it, in samples …
    patience_ends: u64,
    /// … and then again from then on.
    listen_again: Option<Time>,
    was_rolling: bool,
}

/// What else is known about the way there and back.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Surroundings {
    /// Round trip of the network, in ms.
    pub(super) ping_ms: Option<f32>,
    /// The server's jitter buffer for us, in frames.
    pub(super) server_buffer_frames: Option<u8>,
    /// The host's transport plays.
    pub(super) rolling: bool,
}

impl Aligner {
    /// For a stream that begins at `now`.
    pub(super) fn new(now: Time, format: StreamFormat, rolling: bool) -> Self {
        Self {
            format,
            correlator: Correlator::new(),
            departed: None,
            extra: None,
            gap: Gap::default(),
            lag: None,
            measured: false,
            pending: None,
            in_mix: Some(now),
            patience_ends: samples_in(PATIENCE),
            listen_again: None,
            was_rolling: rolling,
        }
    }

    /// The same for another format of the same session: everything has to be found anew.
    pub(super) fn for_format(&self, now: Time, format: StreamFormat) -> Self {
        Self { in_mix: self.in_mix.map(|_| now), ..Self::new(now, format, self.was_rolling) }
    }

    /// How late our own sound comes back, if anything is known about that.
    pub(super) fn lag(&self) -> Option<Lag> {
        self.lag
    }

    /// From a frame's departure until it returns in the mix, at best of the last seconds, without coding, in ms; `None`
    /// unless that is exact.
    pub(super) fn round_trip_ms(&self, now: Time) -> Option<f32> {
        let lag = self.lag.filter(|lag| lag.exact && self.in_mix.is_some())?;
        Some((lag.samples - self.codec() - self.gap.get(now)?) as f32 * 1000.0 / WIRE_RATE_HZ as f32)
    }

    /// The engine's frame `number` leaves as the `departures`-th.
    pub(super) fn note_departure(&mut self, now: Time, number: i64, departures: i64) {
        self.departed = Some((now, number));
        let extra = departures - number;
        if let Some(before) = self.extra.replace(extra)
            && before != extra
        {
            // The server goes by its own numbers of what it gets.
            let shift = (extra - before) * self.frame_samples();
            if let Some(lag) = &mut self.lag {
                lag.samples += shift;
            }
            self.gap = Gap::default();
            self.doubt(now);
        }
    }

    /// Frame `sequence` came from the server.
    pub(super) fn note_arrival(&mut self, now: Time, sequence: i64) {
        let Some((then, number)) = self.departed.filter(|(then, _)| now.since(*then) < FRESH) else { return };
        let since = now.since(then).as_secs_f64() * f64::from(WIRE_RATE_HZ);
        let ahead = sequence.wrapping_sub(number).wrapping_mul(self.frame_samples());
        self.gap.note(now, ahead - since as i64);
    }

    /// The server may handle our sound in another way from now on: what is known is an estimate until it is found
    /// again.
    pub(super) fn doubt(&mut self, now: Time) {
        self.correlator.restart();
        self.pending = None;
        if let Some(lag) = self.lag.as_mut().filter(|lag| lag.exact) {
            lag.exact = false;
            self.listen_again = Some(now + CALM);
        }
    }

    /// Our own channel is in the mix from now on, or no longer.
    pub(super) fn set_in_mix(&mut self, now: Time, in_mix: bool) {
        if self.in_mix.is_some() != in_mix {
            self.in_mix = in_mix.then_some(now);
            self.correlator.restart();
            self.pending = None;
        }
    }

    /// Whether our own sound should be in the mix, although only others are wanted: to find the lag.
    pub(super) fn wants_own(&mut self, now: Time, rolling: bool) -> bool {
        let sounding = self.correlator.sounding();
        if rolling && !self.was_rolling {
            self.patience_ends = sounding;
        }
        self.was_rolling = rolling;
        if !rolling && self.listen_again.take_if(|at| *at <= now).is_some() {
            self.patience_ends = sounding + samples_in(PATIENCE);
        }
        let is_long = self.in_mix.is_some_and(|since| now.since(since) > LONGEST);
        !self.lag.is_some_and(|lag| lag.exact) && sounding < self.patience_ends && !is_long
    }

    /// Compares what the engine has sent and heard since the last call, as traces of `generation` tell.
    pub(super) fn take_traces(
        &mut self,
        now: Time,
        generation: u32,
        traces: &mut Consumer<Trace>,
        around: Surroundings,
    ) {
        let lags = self.possible_lags(now, around);
        let listening = self.in_mix.is_some_and(|since| now.since(since) > SWITCHING);
        while let Ok(trace) = traces.pop() {
            if trace.generation != generation {
                continue;
            }
            let samples = trace.samples();
            let start = trace.number.wrapping_mul(self.frame_samples());
            if trace.sent {
                self.correlator.note_sent(start, samples);
            } else if let Some(lags) = lags.as_ref().filter(|_| listening)
                && let Some(found) = self.correlator.note_heard(start, samples, lags)
            {
                self.judge(found);
            }
        }
        self.estimate(now, around);
    }

    fn judge(&mut self, found: i64) {
        let known = self.measured && self.lag.is_some_and(|lag| lag.samples == found);
        if known || self.pending == Some(found) {
            self.lag = Some(Lag { samples: found, exact: true });
            (self.measured, self.pending, self.listen_again) = (true, None, None);
            return;
        }
        self.pending = Some(found);
        // It has been something else until now: that is no longer sure.
        if let Some(lag) = &mut self.lag {
            lag.exact = false;
        }
    }

    /// Where nothing was ever measured: as long as the network and the buffers probably take.
    fn estimate(&mut self, now: Time, around: Surroundings) {
        /// An estimate is given up when it is off by more than this, in samples …
        const OFF: i64 = 96;
        /// … and what was measured once, by more than this.
        const FAR_OFF: i64 = 960;
        let (Some(gap), Some(ping)) = (self.gap.get(now), around.ping_ms) else { return };
        let frames = f32::from(around.server_buffer_frames.unwrap_or(0)) * 0.7;
        let lag = gap + self.codec() + (ping * 48.0 + frames * self.frame_samples() as f32) as i64;
        let tolerance = if self.measured { FAR_OFF } else { OFF };
        let is_wrong =
            |known: Lag| !known.exact && !around.rolling && (known.samples - lag).abs() > tolerance;
        if self.lag.is_none_or(is_wrong) {
            self.lag = Some(Lag { samples: lag, exact: false });
            self.measured = false;
        }
    }

    /// The lags that are possible at all.
    fn possible_lags(&mut self, now: Time, around: Surroundings) -> Option<Range<i64>> {
        /// Pings vary by so much, in samples …
        const JITTER: i64 = 1440;
        /// … and a server holds at most so many frames, its mixing included.
        const SERVER: i64 = 26;
        let gap = self.gap.get(now)?;
        let ping = (around.ping_ms?.clamp(0.0, 600.0) * 48.0) as i64;
        let least = gap + self.codec() + ping / 2 - GRID;
        let most = gap + self.codec() + ping + JITTER + SERVER * self.frame_samples();
        Some(least..most)
    }

    /// What the codecs there and back delay, in samples.
    fn codec(&self) -> i64 {
        match self.format.coding {
            Coding::Raw => 0,
            _ => 2 * self.frame_samples(),
        }
    }

    fn frame_samples(&self) -> i64 {
        self.format.frame.samples() as i64
    }
}

/// The largest of the last seconds: the least that frames had to wait.
#[derive(Default)]
struct Gap {
    window_started: Time,
    largest: Option<i64>,
    before: Option<i64>,
}

impl Gap {
    fn note(&mut self, now: Time, gap: i64) {
        if now.since(self.window_started) >= WINDOW {
            self.window_started = now;
            self.before = self.largest.take();
        }
        self.largest = Some(self.largest.map_or(gap, |largest| largest.max(gap)));
    }

    fn get(&self, now: Time) -> Option<i64> {
        let stale = now.since(self.window_started) >= 2 * WINDOW;
        self.largest.max(self.before).filter(|_| !stale)
    }
}

fn samples_in(duration: Duration) -> u64 {
    (duration.as_secs_f64() * f64::from(WIRE_RATE_HZ)) as u64
}
