//! How fast the server's clock runs beside the host's, and what both resamplers do about it.
//!
//! Two counters are watched on one clock, the network thread's: the samples that the server has made
//! (numbers of the frames that arrive) and the samples that the host has captured (told with every
//! frame that the engine hands over). Everything that can happen to either makes it *late*: networks
//! queue, threads wake up late, hosts call in pieces. So of every second only the moment counts at which
//! a counter was furthest ahead; that is where nothing had to wait, and it is exact to a few
//! microseconds on most networks. The server's lead over the host, one point a second, lies on a line
//! whose slope is the drift.
//!
//! The line is Theil's: the median slope of all pairs of points of the last minute. One bad second is
//! left out; when four in a row agree with each other but not with the line, the path has changed or
//! the host has lost a block, and the line moves to where they are: a jump is no drift.
//!
//! The slope alone would let its own errors add up. So the samples that the resamplers have put in or
//! left out so far are compared with the line, too, and what is missing is made up for within minutes.
//! Nothing is integrated, so nothing can swing. The uplink thereby stays locked to the server's own
//! counter, and the server's buffer for us, which we cannot see, neither fills nor empties.

use std::collections::VecDeque;
use std::time::Duration;

use crate::units::{Time, WIRE_RATE_HZ};

/// One point of the line is made of this much.
const WINDOW: Duration = Duration::from_secs(1);
/// Points kept.
const POINTS: usize = 60;
/// Points older than this say nothing about now.
const MAX_AGE_SECONDS: f64 = 150.0;
/// Points before the slope is believed.
const MIN_POINTS: usize = 5;
/// The slope is used once its standard error is below this.
const TRUSTED: f64 = 15e-6;
/// The phase is locked once it is below this …
const LOCKABLE: f64 = 5e-6;
/// … and so many points were seen.
const LOCK_POINTS: usize = 8;
/// Slopes below this are none, as long as they have not added up to [`IDLE_SAMPLES`]: at equal rates
/// the sound stays as it is.
const IDLE: f64 = 2e-6;
/// What is left alone at equal rates, in samples: a phase error (or twice the usual distance from the line), and a
/// slope that has not led further than this since the first point. A host's clock steps by as much when the machine
/// stalls, and to correct costs a block of delay.
const IDLE_SAMPLES: f64 = 8.0;
/// Phase errors decay with this time constant, in seconds …
const PHASE_SECONDS: f64 = 60.0;
/// … but at most this fast: 0.035 cent.
const MAX_PHASE_CORRECTION: f64 = 20e-6;
/// No two clocks differ by more: what looks like it is a host that lies about its rate.
pub(super) const MAX_DRIFT: f64 = 1000e-6;
/// A point further off the line than this (and than five times the usual) is a stray, in samples.
const STRAY_SAMPLES: f64 = 24.0;
/// So many strays in a row that agree are a jump …
const JUMP_POINTS: usize = 4;
/// … and so many that do not agree are the end of what was known.
const LOST_POINTS: usize = 12;

/// Watches both counters and says how to resample.
pub(super) struct DriftLoop {
    origin: Time,
    window: Option<Window>,
    points: VecDeque<Point>,
    strays: Vec<Point>,
    /// Samples at 48 kHz that the resamplers had put in (or, below 0, left out) when last told.
    steered: f64,
    /// Where `lead − steered` is to stay.
    reference: Option<f64>,
    correction: f64,
    measured: Option<f64>,
    /// How far the host was ahead of the clock in the last second.
    host_ahead: Option<f64>,
}

/// The furthest that both counters were ahead of the clock within one second, in samples.
struct Window {
    end: Time,
    server: Option<f64>,
    host: Option<f64>,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    seconds: f64,
    /// Samples at 48 kHz that the server has made beyond those of the host.
    lead: f64,
}

#[derive(Clone, Copy, Debug)]
struct Line {
    /// Samples per second.
    slope: f64,
    /// At second 0.
    lead: f64,
    /// Usual distance of a point from the line, in samples (a standard deviation).
    scatter: f64,
    /// Standard error of the slope, in samples per second.
    error: f64,
}

impl DriftLoop {
    pub(super) fn new(now: Time) -> Self {
        Self {
            origin: now,
            window: None,
            points: VecDeque::with_capacity(POINTS + LOST_POINTS),
            strays: Vec::with_capacity(LOST_POINTS),
            steered: 0.0,
            reference: None,
            correction: 0.0,
            measured: None,
            host_ahead: None,
        }
    }

    /// The counters begin elsewhere. The correction stays as it is.
    pub(super) fn restart(&mut self) {
        self.window = None;
        self.points.clear();
        self.strays.clear();
        self.reference = None;
    }

    /// The server had made `samples` when a frame arrived.
    pub(super) fn note_server(&mut self, now: Time, samples: f64) {
        let ahead = samples - self.clock_samples(now);
        let best = &mut self.window(now).server;
        *best = Some(best.map_or(ahead, |best| best.max(ahead)));
    }

    /// The host had captured `samples` (counted as if at 48 kHz), and the resamplers had put in `steered`.
    pub(super) fn note_host(&mut self, now: Time, samples: f64, steered: f64) {
        self.steered = steered;
        let ahead = samples - self.clock_samples(now);
        let best = &mut self.window(now).host;
        *best = Some(best.map_or(ahead, |best| best.max(ahead)));
    }

    /// Takes the second that has ended into account.
    pub(super) fn update(&mut self, now: Time) {
        let Some(window) = self.window.take_if(|window| window.end <= now) else { return };
        self.host_ahead = window.host;
        let (Some(server), Some(host)) = (window.server, window.host) else { return };
        let seconds = window.end.since(self.origin).as_secs_f64() - 0.5 * WINDOW.as_secs_f64();
        self.add(Point { seconds, lead: server - host });
        self.steer();
    }

    /// What the uplink makes beyond the host's nominal rate, as a fraction: 0.0001 at +100 ppm. 0 as long as
    /// nothing is known or nothing is to be done.
    pub(super) fn correction(&self) -> f64 {
        self.correction
    }

    /// How much the host has captured at `now`, as [`Self::note_host`] counts; `None` while it does not call.
    pub(super) fn host_samples(&self, now: Time) -> Option<f64> {
        self.host_ahead.map(|ahead| self.clock_samples(now) + ahead)
    }

    /// How much faster the server's clock is than the host's, as a fraction; `None` while unknown.
    pub(super) fn measured(&self) -> Option<f64> {
        self.measured
    }

    fn clock_samples(&self, now: Time) -> f64 {
        now.since(self.origin).as_secs_f64() * f64::from(WIRE_RATE_HZ)
    }

    /// The window that `now` falls into.
    fn window(&mut self, now: Time) -> &mut Window {
        self.update(now);
        self.window.get_or_insert_with(|| Window { end: now + WINDOW, server: None, host: None })
    }

    fn add(&mut self, point: Point) {
        while self.points.front().is_some_and(|oldest| point.seconds - oldest.seconds > MAX_AGE_SECONDS) {
            self.points.pop_front();
        }
        if self.points.is_empty() {
            self.restart();
        }
        let line = Line::through(&self.points).filter(Line::is_trusted);
        let stray = line.filter(|line| (point.lead - line.at(point.seconds)).abs() > line.tolerance());
        match stray {
            None => {
                self.strays.clear();
                self.points.push_back(point);
            }
            Some(line) => {
                self.strays.push(point);
                self.judge_strays(line);
            }
        }
        while self.points.len() > POINTS {
            self.points.pop_front();
        }
    }

    /// Several seconds in a row lie off the line.
    fn judge_strays(&mut self, line: Line) {
        let recent = &self.strays[self.strays.len().saturating_sub(JUMP_POINTS)..];
        let off: Vec<f64> = recent.iter().map(|point| point.lead - line.at(point.seconds)).collect();
        let (least, most) = off
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), off| (least.min(*off), most.max(*off)));
        if off.len() == JUMP_POINTS && most - least <= line.tolerance() {
            let jump = median(off);
            for point in &mut self.points {
                point.lead += jump;
            }
            self.reference = self.reference.map(|reference| reference + jump);
            let recent = self.strays.split_off(self.strays.len() - JUMP_POINTS);
            self.points.extend(recent);
            self.strays.clear();
        } else if self.strays.len() == LOST_POINTS {
            let strays = std::mem::take(&mut self.strays);
            self.restart();
            self.points.extend(strays);
        }
    }

    /// Draws the line, and sets the correction by its slope and by how far we are off.
    fn steer(&mut self) {
        let Some(line) = Line::through(&self.points).filter(Line::is_trusted) else { return };
        let (Some(oldest), Some(newest)) = (self.points.front(), self.points.back()) else { return };
        let rate = f64::from(WIRE_RATE_HZ);
        let drift = line.slope / rate;
        let offset = line.at(newest.seconds) - self.steered;
        if self.reference.is_none() && self.points.len() >= LOCK_POINTS && line.error / rate < LOCKABLE {
            self.reference = Some(offset);
        }
        let missing = self.reference.map_or(0.0, |reference| offset - reference);
        let phase = (missing / PHASE_SECONDS / rate).clamp(-MAX_PHASE_CORRECTION, MAX_PHASE_CORRECTION);
        let led = line.slope * (newest.seconds - oldest.seconds);
        let equal = drift.abs() < IDLE.max(5.0 * line.error / rate) || led.abs() < IDLE_SAMPLES;
        let idle = equal && missing.abs() < IDLE_SAMPLES.max(2.0 * line.scatter);
        self.measured = Some(drift);
        self.correction = if idle { 0.0 } else { (drift + phase).clamp(-MAX_DRIFT, MAX_DRIFT) };
    }
}

impl Line {
    /// Theil's line; `None` through too few points.
    fn through(points: &VecDeque<Point>) -> Option<Self> {
        if points.len() < MIN_POINTS {
            return None;
        }
        let pairs = points.iter().enumerate().flat_map(|(index, late)| {
            points.iter().take(index).map(move |early| {
                (late.lead - early.lead) / (late.seconds - early.seconds).max(f64::MIN_POSITIVE)
            })
        });
        let slope = median(pairs.collect());
        let lead = median(points.iter().map(|point| point.lead - slope * point.seconds).collect());
        let off = points.iter().map(|point| (point.lead - lead - slope * point.seconds).abs());
        // The median distance of a normal distribution (few points look closer than they are), and what the
        // clock's microseconds leave.
        let few = 1.0 + 5.0 / points.len() as f64;
        let scatter = 1.48 * few * median(off.collect()) + 0.05;
        let span = points.back()?.seconds - points.front()?.seconds;
        let error = scatter * (12.0 / points.len() as f64).sqrt() / span.max(1.0);
        Some(Self { slope, lead, scatter, error })
    }

    fn at(&self, seconds: f64) -> f64 {
        self.lead + self.slope * seconds
    }

    fn is_trusted(&self) -> bool {
        self.error < TRUSTED * f64::from(WIRE_RATE_HZ)
    }

    fn tolerance(&self) -> f64 {
        STRAY_SAMPLES.max(5.0 * self.scatter)
    }
}

/// The middle value (of two, the greater); 0 of nothing.
fn median(mut values: Vec<f64>) -> f64 {
    let middle = values.len() / 2;
    if values.is_empty() {
        return 0.0;
    }
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: f64 = WIRE_RATE_HZ as f64;

    /// Both clocks, seen through delays that come from a seed.
    struct World {
        drift: DriftLoop,
        ppm: f64,
        now_micros: u64,
        steered: f64,
        host_shift: f64,
        path_micros: u64,
        jitter_micros: u64,
        seed: u64,
    }

    impl World {
        fn new(ppm: f64) -> Self {
            Self {
                drift: DriftLoop::new(Time::ZERO),
                ppm,
                now_micros: 0,
                steered: 0.0,
                host_shift: 0.0,
                path_micros: 5000,
                jitter_micros: 0,
                seed: 1,
            }
        }

        fn jitter(&mut self) -> u64 {
            self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.seed >> 33) % (self.jitter_micros + 1)
        }

        /// A frame each way every 10 ms.
        fn run(&mut self, seconds: u64) {
            for _ in 0..seconds * 100 {
                self.now_micros += 10_000;
                let elapsed = self.now_micros as f64 / 1e6;
                self.steered += 0.01 * RATE * self.drift.correction();
                let host = elapsed * RATE - self.host_shift;
                let woken = Time::from_micros(self.now_micros + self.jitter() / 10);
                self.drift.note_host(woken, host, self.steered);
                let made = elapsed * RATE * (1.0 + self.ppm / 1e6);
                let arrived = Time::from_micros(self.now_micros + self.path_micros + self.jitter());
                self.drift.note_server(arrived, made);
            }
        }

        /// What the server has made beyond what we did.
        fn lead(&self) -> f64 {
            self.now_micros as f64 / 1e6 * RATE * self.ppm / 1e6 - self.steered
        }

        fn correction_ppm(&self) -> f64 {
            self.drift.correction() * 1e6
        }
    }

    #[test]
    fn equal_clocks_need_nothing() {
        for jitter_micros in [0, 3000] {
            let mut world = World { jitter_micros, ..World::new(0.0) };
            for _ in 0..600 {
                world.run(1);
                assert_eq!(world.drift.correction(), 0.0);
            }
        }
    }

    #[test]
    fn drift_is_followed_for_hours_and_does_not_add_up() {
        for ppm in [-300.0, -20.0, -1.5, 20.0, 300.0] {
            for jitter_micros in [0, 10_000] {
                let mut world = World { jitter_micros, ..World::new(ppm) };
                world.run(60);
                let lead = world.lead();
                for _ in 0..3600 {
                    world.run(1);
                    let off = world.correction_ppm() - ppm;
                    assert!(off.abs() < 25.0, "{ppm} ppm, jitter {jitter_micros}: {off} off");
                    let moved = world.lead() - lead;
                    assert!(moved.abs() < 48.0, "{ppm} ppm, jitter {jitter_micros}: moved by {moved}");
                }
            }
        }
    }

    #[test]
    fn jumps_are_no_drift() {
        let mut world = World::new(100.0);
        world.run(60);
        for (path_micros, host_shift) in [(25_000, 0.0), (3000, 0.0), (3000, 1024.0), (60_000, 5000.0)] {
            (world.path_micros, world.host_shift) = (path_micros, host_shift);
            let lead = world.lead();
            for _ in 0..120 {
                world.run(1);
                let off = world.correction_ppm() - 100.0;
                assert!(off.abs() < 5.0, "path {path_micros}, host {host_shift}: {off} ppm off");
            }
            let moved = world.lead() - lead;
            assert!(moved.abs() < 6.0, "path {path_micros}, host {host_shift}: moved by {moved}");
        }
    }

    #[test]
    fn a_pause_and_a_new_count_leave_the_correction_alone() {
        let mut world = World::new(-200.0);
        world.run(60);
        world.now_micros += 600_000_000;
        world.run(3);
        assert!((world.correction_ppm() + 200.0).abs() < 5.0);
        world.drift.restart();
        world.run(30);
        assert!((world.correction_ppm() + 200.0).abs() < 5.0);
    }

    #[test]
    fn absurd_counters_stay_within_limits() {
        let mut drift = DriftLoop::new(Time::from_micros(77));
        for index in 0..10_000u64 {
            let now = Time::from_micros(index * 97_001 % 31_000_000 * 40);
            drift.note_server(now, (index as f64).powi(3));
            drift.note_host(now, f64::from(u32::MAX) * index as f64, -1e9);
            drift.update(now);
            assert!(drift.correction().abs() <= MAX_DRIFT);
        }
    }
}
