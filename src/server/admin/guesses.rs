//! Slows down those who try secrets, and those who ask too often.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use crate::units::Time;

/// How long an address waits after its first wrong guess; every further one doubles it.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// Longest wait.
const MAX_DELAY: Duration = Duration::from_secs(10);
/// An address that has not guessed for this long begins anew.
const FORGET_AFTER: Duration = Duration::from_secs(600);
/// Most addresses remembered; the one whose wait ends first gives way.
const MAX_ADDRESSES: usize = 1024;

/// Who has guessed wrong, and until when they must wait.
#[derive(Default)]
pub(super) struct Guesses {
    wrong: HashMap<IpAddr, Wrong>,
}

struct Wrong {
    times: u32,
    wait_until: Time,
}

impl Guesses {
    /// When somebody at `from` may guess again, if not at once.
    pub(super) fn wait_until(&self, now: Time, from: IpAddr) -> Option<Time> {
        self.wrong.get(&neighbourhood(from)).map(|wrong| wrong.wait_until).filter(|until| *until > now)
    }

    /// Somebody at `from` guessed wrong.
    pub(super) fn note_wrong(&mut self, now: Time, from: IpAddr) {
        self.wrong.retain(|_, wrong| now.since(wrong.wait_until) < FORGET_AFTER);
        let from = neighbourhood(from);
        if self.wrong.len() >= MAX_ADDRESSES && !self.wrong.contains_key(&from) {
            let first = self.wrong.iter().min_by_key(|(_, wrong)| wrong.wait_until).map(|(ip, _)| *ip);
            first.map(|ip| self.wrong.remove(&ip));
        }
        let wrong = self.wrong.entry(from).or_insert(Wrong { times: 0, wait_until: now });
        let delay = FIRST_DELAY.saturating_mul(1 << wrong.times.min(16)).min(MAX_DELAY);
        wrong.times += 1;
        wrong.wait_until = now + delay;
    }
}

/// What one guesser can easily have many of counts as one: an IPv6 network of 64 bits.
fn neighbourhood(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        ip => ip,
    }
}

/// How many questions a connection may ask.
pub(super) struct Pace {
    /// Questions that may be asked at once.
    left: f64,
    since: Time,
    per_second: f64,
    at_once: f64,
}

impl Pace {
    /// `per_second` for long, `at_once` after a pause.
    pub(super) fn new(now: Time, per_second: u32, at_once: u32) -> Self {
        Self { left: at_once.into(), since: now, per_second: per_second.into(), at_once: at_once.into() }
    }

    /// When the next question may be asked, if not at once.
    pub(super) fn wait_until(&mut self, now: Time) -> Option<Time> {
        let earned = now.since(self.since).as_secs_f64() * self.per_second;
        self.left = (self.left + earned).min(self.at_once);
        self.since = now;
        let missing = (1.0 - self.left).max(0.0) / self.per_second;
        (missing > 0.0).then(|| now + Duration::from_secs_f64(missing) + Duration::from_micros(1))
    }

    /// So many questions were asked. They may be more than were left: the next one waits for all of them.
    pub(super) fn take(&mut self, questions: usize) {
        self.left -= questions as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn every_wrong_guess_doubles_the_wait_up_to_a_limit() {
        let mut guesses = Guesses::default();
        let mut now = Time::from_micros(1);
        let mut waits = Vec::new();
        for _ in 0..9 {
            guesses.note_wrong(now, ip("192.0.2.1"));
            let until = guesses.wait_until(now, ip("192.0.2.1")).unwrap();
            waits.push(until.since(now).as_millis());
            assert_eq!(guesses.wait_until(until, ip("192.0.2.1")), None);
            now = until;
        }
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(guesses.wait_until(now, ip("192.0.2.2")), None);
        guesses.note_wrong(now + FORGET_AFTER, ip("192.0.2.1"));
        let fresh = guesses.wait_until(now + FORGET_AFTER, ip("192.0.2.1"));
        assert_eq!(fresh, Some(now + FORGET_AFTER + FIRST_DELAY));
    }

    #[test]
    fn neighbours_in_an_ipv6_network_wait_together() {
        let mut guesses = Guesses::default();
        guesses.note_wrong(Time::ZERO, ip("2001:db8::1"));
        assert!(guesses.wait_until(Time::ZERO, ip("2001:db8::ffff:2")).is_some());
        assert!(guesses.wait_until(Time::ZERO, ip("2001:db8:0:1::1")).is_none());
        guesses.note_wrong(Time::ZERO, ip("::ffff:192.0.2.1"));
        assert!(guesses.wait_until(Time::ZERO, ip("192.0.2.1")).is_some());
    }

    #[test]
    fn many_guessers_are_not_many_memories() {
        let mut guesses = Guesses::default();
        for number in 0..5000u32 {
            guesses.note_wrong(Time::from_micros(number.into()), IpAddr::V4(number.into()));
        }
        assert_eq!(guesses.wrong.len(), MAX_ADDRESSES);
        assert!(guesses.wait_until(Time::from_micros(5000), IpAddr::V4(4999.into())).is_some());
    }

    #[test]
    fn a_pace_allows_a_burst_and_then_its_rate() {
        let mut pace = Pace::new(Time::ZERO, 50, 10);
        for _ in 0..10 {
            assert_eq!(pace.wait_until(Time::ZERO), None);
            pace.take(1);
        }
        let next = pace.wait_until(Time::ZERO).unwrap();
        assert_eq!(next, Time::from_micros(20_001));
        assert_eq!(pace.wait_until(next), None);
        // A batch borrows, and pays back.
        pace.take(100);
        assert!(pace.wait_until(next).unwrap().since(next) > Duration::from_millis(1900));
        assert_eq!(pace.wait_until(next + Duration::from_secs(60)), None);
    }
}
