//! When to try again after a session was lost.

use std::time::Duration;

use crate::units::Time;

/// Waits before the first attempts; the last one is repeated.
const DELAYS: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(20),
];
/// Nobody wants to be heard by a room that they gave up on long ago.
const GIVE_UP: Duration = Duration::from_secs(10 * 60);

/// A session that was lost, and the attempts to get back into it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reconnect {
    lost: Time,
    attempts: usize,
}

impl Reconnect {
    /// Lost at `now`.
    pub(super) fn new(now: Time) -> Self {
        Self { lost: now, attempts: 0 }
    }

    /// When to try next, now that the session is lost or an attempt has failed; `None`: not any more.
    pub(super) fn next(&mut self, now: Time) -> Option<Time> {
        let delay = DELAYS[self.attempts.min(DELAYS.len() - 1)];
        self.attempts += 1;
        (now.since(self.lost) < GIVE_UP).then(|| now + delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_come_at_once_then_ever_more_seldom_then_not_at_all() {
        let start = Time::from_micros(7);
        let (mut reconnect, mut now, mut waits) = (Reconnect::new(start), start, Vec::new());
        while let Some(next) = reconnect.next(now) {
            waits.push(next.since(now).as_secs());
            // An attempt takes 5 s when nobody answers.
            now = next + Duration::from_secs(5);
        }
        assert_eq!(waits[..8], [0, 1, 2, 5, 10, 20, 20, 20]);
        assert!((GIVE_UP..GIVE_UP + Duration::from_secs(30)).contains(&now.since(start)));
    }
}
