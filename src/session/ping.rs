//! How long a datagram takes to the server and back.

use std::collections::VecDeque;
use std::time::Duration;

use crate::protocol::ConnlessMessage;
use crate::units::Time;

/// A ping leaves this often.
pub const PING_INTERVAL: Duration = Duration::from_millis(500);
/// The ping shown is the median of this much time.
const WINDOW: Duration = Duration::from_secs(2);
/// The slow ping is one of so many: of 10 s.
const SLOW_OF: usize = 20;
/// Pings that wait for their echo; a later echo than this many intervals is of no use.
const MAX_AWAITED: usize = 8;
/// Echoes that count for the median: what fits the window, and one for the edge.
const MAX_RESULTS: usize = 5;

/// Pings that wait for their echo, and what the echoes told.
#[derive(Clone, Debug)]
pub(super) struct Echoes {
    /// The median is that of this much time.
    window: Duration,
    /// When each awaited ping left, oldest first.
    awaited: VecDeque<Time>,
    /// When echoes arrived and how long they took, oldest first.
    results: VecDeque<(Time, Duration)>,
}

impl Echoes {
    /// Nothing sent, nothing heard.
    pub(super) fn new(window: Duration) -> Self {
        Self { window, awaited: VecDeque::new(), results: VecDeque::new() }
    }

    /// A ping leaves now and carries this time, in ms.
    pub(super) fn send(&mut self, now: Time) -> u32 {
        self.forget_old_results(now);
        if self.awaited.len() == MAX_AWAITED {
            self.awaited.pop_front();
        }
        self.awaited.push_back(now);
        millis(now)
    }

    /// Takes an echo; how long it took if it answers an awaited ping. Others are ignored, so a peer cannot make numbers
    /// up beyond choosing to answer late.
    pub(super) fn receive(&mut self, now: Time, time_ms: u32) -> Option<Duration> {
        let index = self.awaited.iter().position(|&sent| millis(sent) == time_ms)?;
        let round_trip = now.since(self.awaited.remove(index)?);
        self.forget_old_results(now);
        if self.results.len() == MAX_RESULTS {
            self.results.pop_front();
        }
        self.results.push_back((now, round_trip));
        Some(round_trip)
    }

    /// Median round trip; `None` when nothing was echoed in the window before the last call.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        let mut times: Vec<Duration> = self.results.iter().map(|&(_, round_trip)| round_trip).collect();
        times.sort_unstable();
        times.get(times.len() / 2).copied()
    }

    fn forget_old_results(&mut self, now: Time) {
        while self.results.front().is_some_and(|&(at, _)| now.since(at) > self.window) {
            self.results.pop_front();
        }
    }
}

/// Pings the connected server.
#[derive(Clone, Debug)]
pub(super) struct PingClock {
    next: Time,
    echoes: Echoes,
    /// How long the last [`SLOW_OF`] took, oldest first.
    lately: VecDeque<Duration>,
}

impl PingClock {
    /// The first ping is due at once.
    pub(super) fn new(now: Time) -> Self {
        Self { next: now, echoes: Echoes::new(WINDOW), lately: VecDeque::new() }
    }

    /// When [`Self::poll_ping`] has something to do.
    pub(super) fn poll_timeout(&self) -> Time {
        self.next
    }

    /// The ping to send now, if one is due.
    pub(super) fn poll_ping(&mut self, now: Time) -> Option<ConnlessMessage> {
        if now < self.next {
            return None;
        }
        self.next = now + PING_INTERVAL;
        Some(ConnlessMessage::Ping { time_ms: self.echoes.send(now) })
    }

    /// Takes an echo.
    pub(super) fn handle_echo(&mut self, now: Time, time_ms: u32) {
        let Some(round_trip) = self.echoes.receive(now, time_ms) else { return };
        if self.lately.len() == SLOW_OF {
            self.lately.pop_front();
        }
        self.lately.push_back(round_trip);
    }

    /// The second slowest round trip of the last 10 s: one accident is none. `None` before the second.
    pub(super) fn slow_round_trip(&self) -> Option<Duration> {
        let [_, second] = self.lately.iter().copied().map(Some).fold([None; 2], |[slowest, second], time| {
            if time > slowest { [time, slowest] } else { [slowest, second.max(time)] }
        });
        second
    }

    /// Median round trip of the last 2 s; `None` when nothing was echoed in that time.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.echoes.round_trip()
    }
}

/// What the wire calls time: milliseconds that wrap.
fn millis(time: Time) -> u32 {
    (time.as_micros() / 1000) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_ms(ms: u64) -> Time {
        Time::from_micros(ms * 1000)
    }

    fn ping(clock: &mut PingClock, now: Time) -> u32 {
        match clock.poll_ping(now) {
            Some(ConnlessMessage::Ping { time_ms }) => time_ms,
            other => panic!("no ping at {now:?} but {other:?}"),
        }
    }

    #[test]
    fn pings_leave_every_half_second() {
        let mut clock = PingClock::new(at_ms(10));
        assert_eq!(ping(&mut clock, at_ms(10)), 10);
        assert_eq!(clock.poll_timeout(), at_ms(510));
        assert_eq!(clock.poll_ping(at_ms(509)), None);
        assert_eq!(ping(&mut clock, at_ms(510)), 510);
    }

    #[test]
    fn the_median_ignores_one_outlier_and_old_results_go() {
        let mut clock = PingClock::new(at_ms(0));
        for (i, took) in [10, 11, 300, 12].into_iter().enumerate() {
            let sent = at_ms(500 * i as u64);
            let time_ms = ping(&mut clock, sent);
            clock.handle_echo(sent + Duration::from_millis(took), time_ms);
        }
        assert_eq!(clock.round_trip(), Some(Duration::from_millis(12)));
        assert_eq!(clock.slow_round_trip(), Some(Duration::from_millis(12)));
        for i in 4..=8 {
            ping(&mut clock, at_ms(500 * i));
        }
        assert_eq!(clock.round_trip(), None, "after 2 s without an echo nothing is known");
    }

    #[test]
    fn only_the_first_echo_of_an_awaited_ping_counts() {
        let mut clock = PingClock::new(at_ms(0));
        let time_ms = ping(&mut clock, at_ms(0));
        clock.handle_echo(at_ms(5), 12345);
        assert_eq!(clock.round_trip(), None);
        clock.handle_echo(Time::from_micros(5250), time_ms);
        clock.handle_echo(at_ms(90), time_ms);
        assert_eq!(clock.round_trip(), Some(Duration::from_micros(5250)));
    }

    #[test]
    fn memory_is_bounded_without_echoes() {
        let mut clock = PingClock::new(at_ms(0));
        (0..100).for_each(|i| {
            ping(&mut clock, at_ms(500 * i));
        });
        assert_eq!(clock.echoes.awaited.len(), MAX_AWAITED);
        assert_eq!(clock.slow_round_trip(), None);
    }
}
