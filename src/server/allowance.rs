//! How often something costly may be done at a client's word.

use std::time::Duration;

use crate::units::Time;

/// A few times at once, and then at an even pace.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    burst: u32,
    pace: Duration,
    left: u32,
    /// When the next one is granted while `left` is below `burst`.
    refill_due: Time,
}

impl Allowance {
    /// Up to `burst` times at once, and one more every `pace`.
    pub(super) fn new(burst: u32, pace: Duration) -> Self {
        Self { burst, pace, left: burst, refill_due: Time::ZERO }
    }

    /// Whether it may be done now; if so, it is booked.
    pub(super) fn take(&mut self, now: Time) -> bool {
        while self.left < self.burst && self.refill_due <= now {
            self.left += 1;
            self.refill_due += self.pace;
        }
        if self.left == self.burst {
            self.refill_due = now + self.pace;
        }
        let allowed = self.left > 0;
        self.left -= u32::from(allowed);
        allowed
    }

    /// When what is refused now will be allowed.
    pub(super) fn next(&self) -> Time {
        self.refill_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_an_even_pace() {
        let pace = Duration::from_millis(50);
        let mut allowance = Allowance::new(3, pace);
        let mut now = Time::from_micros(1_000_000);
        let granted = |allowance: &mut Allowance, now| (0..10).filter(|_| allowance.take(now)).count();
        assert_eq!(granted(&mut allowance, now), 3);
        assert_eq!(allowance.next(), now + pace);
        for _ in 0..5 {
            now += pace;
            assert_eq!(granted(&mut allowance, now), 1);
        }
        now += 100 * pace;
        assert_eq!(granted(&mut allowance, now), 3);
    }
}
