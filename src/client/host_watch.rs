//! How the host calls `process()`, as the network thread sees it: the audio thread must not read a clock.

use std::time::Duration;

use super::shared::HostCalls;
use super::snapshot::HostActivity;
use crate::units::Time;

/// A host that has not called for this long while a session is up does not run the plugin.
const PATIENCE: Duration = Duration::from_millis(500);
/// A host whose sound is this far ahead of time renders: no device's buffer is as long.
const RENDERING: Duration = Duration::from_secs(1);
/// Sound may run this much faster than our clock for ever: any device's drift, and more.
const DRIFT: f64 = 1.05;
/// After an activation a host has to call no faster than this for [`TRIAL`] (or three blocks) …
const PLAYING_PACE: f64 = 1.5;
/// … before it is believed that it plays: a render that nobody announces begins there, too.
const TRIAL: Duration = Duration::from_millis(200);
/// A trial that takes this long is told: no host that plays fails it.
const LONG_TRIAL: Duration = Duration::from_millis(1000);
/// Bursts are judged over this long …
const WINDOW: Duration = Duration::from_secs(2);
/// … and told after so many windows with them, and no longer told after as many without.
const WINDOWS: u32 = 2;
/// A host calls in bursts when its sound comes in lumps of this many blocks on average …
const BURST_BLOCKS: f64 = 2.4;
/// … that are longer than this: shorter ones delay nobody, and a busy computer makes them, too.
const BURST: Duration = Duration::from_millis(6);

/// Watches one session's host.
#[derive(Default)]
pub(super) struct HostWatch {
    calls: HostCalls,
    seen: Time,
    last_call: Time,
    /// How far sound is ahead of time: grows with each call, shrinks as time passes.
    ahead: Duration,
    trial: Option<Trial>,
    /// The last activation that has passed its trial, or another number.
    trusted: u32,
    lumps: Lumps,
}

/// The time after an activation, or after a render was noticed.
#[derive(Clone, Copy)]
struct Trial {
    activation: u32,
    started: Time,
    /// It was seen to render; else it has only just been activated.
    caught: bool,
    /// When this attempt began, and the sound by then.
    since: Time,
    sound_micros: u64,
}

impl HostWatch {
    /// Begins at `now` with what the audio thread has counted so far. Whoever joins now is playing.
    pub(super) fn new(now: Time, calls: HostCalls) -> Self {
        Self {
            calls,
            seen: now,
            last_call: now,
            trusted: calls.activations,
            lumps: Lumps { window_started: now, ..Lumps::default() },
            ..Self::default()
        }
    }

    /// The audio thread's counts by `now`; call at each wake-up and a few times a second.
    pub(super) fn observe(&mut self, now: Time, calls: HostCalls) {
        let elapsed = now.since(self.seen);
        let sound = Duration::from_micros(calls.sound_micros.wrapping_sub(self.calls.sound_micros));
        if calls.blocks != self.calls.blocks {
            self.last_call = now;
        }
        (self.seen, self.calls) = (now, calls);
        // More than this is not worth knowing, and would take long to fall back.
        const FAR: Duration = Duration::from_millis(1500);
        self.ahead = (self.ahead.saturating_sub(elapsed.mul_f64(DRIFT)) + sound).min(FAR);
        let block = calls.block.unwrap_or_default();
        let caught = self.ahead > RENDERING + 4 * block;
        if caught {
            self.trusted = calls.activations.wrapping_sub(1);
        }
        self.try_out(now, block, caught);
        if self.trial.is_some() {
            self.lumps = Lumps { window_started: now, ..Lumps::default() };
        } else {
            self.lumps.add(now, elapsed, sound, block);
        }
    }

    /// Follows activations and their trials.
    fn try_out(&mut self, now: Time, block: Duration, caught: bool) {
        let HostCalls { activations: activation, sound_micros, .. } = self.calls;
        if activation == self.trusted {
            self.trial = None;
            return;
        }
        let fresh = Trial { activation, started: now, caught, since: now, sound_micros };
        let trial = *self.trial.get_or_insert(fresh);
        let elapsed = now.since(trial.since);
        if trial.activation != activation {
            self.trial = Some(fresh);
        } else if elapsed >= TRIAL.max(3 * block) {
            let sound = Duration::from_micros(sound_micros.wrapping_sub(trial.sound_micros));
            if !sound.is_zero() && sound <= elapsed.mul_f64(PLAYING_PACE) + block {
                (self.trusted, self.trial, self.ahead) = (activation, None, Duration::ZERO);
            } else {
                self.trial =
                    Some(Trial { since: now, sound_micros, caught: trial.caught || caught, ..trial });
            }
        }
    }

    /// The last activation in which the host was seen to play.
    pub(super) fn trusted(&self) -> u32 {
        self.trusted
    }

    fn is_rendering(&self, now: Time) -> bool {
        self.trial.is_some_and(|trial| trial.caught || now.since(trial.started) >= LONG_TRIAL)
    }

    pub(super) fn activity(&self, now: Time) -> HostActivity {
        if now.since(self.last_call) >= PATIENCE {
            HostActivity::Stopped
        } else if self.calls.offline || self.is_rendering(now) {
            HostActivity::Rendering
        } else if self.lumps.told {
            HostActivity::Bursts
        } else {
            HostActivity::Steady
        }
    }
}

/// Sound that comes in lumps of several blocks.
///
/// Judged by the mean over all sound, not by the longest lump: when this thread is late now and then, a few
/// lumps are long; when the host works ahead, all are.
#[derive(Default)]
struct Lumps {
    window_started: Time,
    /// Sound that has come at once, so far.
    lump: Duration,
    /// Of this window: seconds of sound, and the same weighted with the lump that it came in.
    sound: f64,
    weighted: f64,
    /// Windows in a row that speak against what is told.
    against: u32,
    told: bool,
}

impl Lumps {
    fn add(&mut self, now: Time, elapsed: Duration, sound: Duration, block: Duration) {
        // Half a block without a call ends a lump.
        self.lump = if 2 * elapsed < block { self.lump + sound } else { sound };
        self.sound += sound.as_secs_f64();
        self.weighted += sound.as_secs_f64() * self.lump.as_secs_f64();
        if now.since(self.window_started) < WINDOW {
            return;
        }
        let mean = if self.sound > 0.0 { self.weighted / self.sound } else { 0.0 };
        let bursts = mean > BURST.as_secs_f64().max(BURST_BLOCKS * block.as_secs_f64());
        self.against = if bursts == self.told { 0 } else { self.against + 1 };
        if self.against >= WINDOWS {
            (self.told, self.against) = (bursts, 0);
        }
        (self.window_started, self.sound, self.weighted) = (now, 0.0, 0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: Duration = Duration::from_micros(2667);

    /// A host that calls `lump` times in a row, `pause` after the last time.
    struct Host {
        now: Time,
        calls: HostCalls,
        watch: HostWatch,
    }

    impl Host {
        fn new() -> Self {
            let calls = HostCalls { block: Some(BLOCK), ..HostCalls::default() };
            Self { now: Time::ZERO, calls, watch: HostWatch::new(Time::ZERO, calls) }
        }

        fn call(&mut self, times: u32, pause: Duration) {
            self.now += pause;
            for _ in 0..times {
                self.calls.blocks += 1;
                self.calls.sound_micros += BLOCK.as_micros() as u64;
                self.watch.observe(self.now, self.calls);
            }
        }

        fn wait(&mut self, time: Duration) {
            self.now += time;
            self.watch.observe(self.now, self.calls);
        }

        fn activity(&self) -> HostActivity {
            self.watch.activity(self.now)
        }
    }

    #[test]
    fn a_host_that_calls_in_time_is_steady_whatever_its_clock() {
        for pace in [0.97, 0.9997, 1.0, 1.0003, 1.03] {
            let mut host = Host::new();
            for _ in 0..200_000 {
                host.call(1, BLOCK.mul_f64(pace));
                assert_eq!(host.activity(), HostActivity::Steady, "{pace}");
            }
        }
    }

    #[test]
    fn a_thread_that_is_late_now_and_then_is_not_the_host_s_fault() {
        let mut host = Host::new();
        for round in 0..50_000 {
            let late = if round % 97 == 0 { 12 } else { 1 };
            host.call(late, BLOCK * late);
            assert_eq!(host.activity(), HostActivity::Steady);
        }
    }

    #[test]
    fn bursts_are_told_and_forgotten() {
        for lump in [6, 16, 75] {
            let mut host = Host::new();
            while host.now < Time::from_micros(6_000_000) {
                host.call(lump, BLOCK * lump);
            }
            assert_eq!(host.activity(), HostActivity::Bursts, "{lump}");
            while host.now < Time::from_micros(12_000_000) {
                host.call(1, BLOCK);
            }
            assert_eq!(host.activity(), HostActivity::Steady, "{lump}");
        }
    }

    #[test]
    fn a_render_is_noticed_within_its_first_seconds_and_forgotten_soon_after() {
        for speed in [2, 10, 100] {
            let mut host = Host::new();
            let mut sound = Duration::ZERO;
            while !host.watch.is_rendering(host.now) {
                host.call(1, BLOCK / speed);
                sound += BLOCK;
                assert!(sound < Duration::from_secs(4), "{speed}");
            }
            assert_eq!(host.activity(), HostActivity::Rendering);
            host.call(20_000, Duration::from_millis(1));
            let end = host.now;
            while host.watch.is_rendering(host.now) {
                host.call(1, BLOCK);
                assert!(host.now.since(end) < Duration::from_secs(1), "{speed}");
            }
        }
    }

    #[test]
    fn after_an_activation_a_host_that_plays_is_trusted_soon_and_one_that_renders_never() {
        let mut host = Host::new();
        host.calls.activations += 1;
        let start = host.now;
        while host.watch.trusted() != host.calls.activations {
            host.call(1, BLOCK);
            assert!(host.now.since(start) < Duration::from_millis(250));
        }
        for speed in [2, 100] {
            host.calls.activations += 1;
            let start = host.now;
            while host.now.since(start) < Duration::from_secs(5) {
                host.call(1, BLOCK / speed);
                assert_ne!(host.watch.trusted(), host.calls.activations);
            }
            assert_eq!(host.activity(), HostActivity::Rendering);
            host.calls.activations += 1;
            let start = host.now;
            while host.watch.trusted() != host.calls.activations {
                host.call(1, BLOCK);
                assert!(host.now.since(start) < Duration::from_millis(250), "{speed}");
            }
            host.call(1, BLOCK);
            assert_eq!(host.activity(), HostActivity::Steady);
        }
    }

    #[test]
    fn a_host_that_stops_is_stopped_and_a_jump_of_the_clock_harms_nothing() {
        let mut host = Host::new();
        host.call(1, BLOCK);
        host.wait(PATIENCE);
        assert_eq!(host.activity(), HostActivity::Stopped);
        host.call(1, Duration::from_secs(3600));
        assert_eq!(host.activity(), HostActivity::Steady);
    }
}
