//! The clock of a sound card that is none.

use std::time::{Duration, Instant};

/// A machine that stands still for longer than this many blocks loses the sound of that time, as
/// with a real sound card; up to that, blocks are made up for at once.
const MAX_CATCH_UP_BLOCKS: u32 = 64;

/// Waits for each block's time. Times are absolute: lateness does not add up.
#[derive(Debug)]
pub struct Pacer {
    period: Duration,
    start: Instant,
    /// Blocks since `start`.
    blocks: u32,
    /// Blocks since the pacer was made.
    total: u64,
    stalls: Vec<Stall>,
}

/// The machine was late by more than one block: what is heard then proves nothing about us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// The block that began late, counted from 0.
    pub block: u64,
    /// How late.
    pub late: Duration,
}

impl Pacer {
    /// A pacer whose first block is due now.
    pub fn new(rate_hz: f64, block_frames: usize) -> Self {
        Self {
            period: Duration::from_secs_f64(block_frames as f64 / rate_hz),
            start: now(),
            blocks: 0,
            total: 0,
            stalls: Vec::new(),
        }
    }

    /// Waits until the next block is due.
    pub fn wait(&mut self) {
        let due = self.start + self.period * self.blocks;
        let early = due.saturating_duration_since(now());
        if !early.is_zero() {
            sleep(early);
        }
        let late = now().saturating_duration_since(due);
        if late > self.period {
            self.stalls.push(Stall { block: self.total, late });
        }
        if late > self.period * MAX_CATCH_UP_BLOCKS {
            self.start = now();
            self.blocks = 0;
        }
        self.blocks += 1;
        self.total += 1;
    }

    /// Every time that the machine was late by more than one block.
    pub fn stalls(&self) -> &[Stall] {
        &self.stalls
    }
}

/// Asks for the priority that hosts give to their audio threads. Where that is refused, the test
/// runs all the same, and stalls are what tells the difference.
pub fn raise_priority() {
    #[cfg(target_os = "linux")]
    // SAFETY: the parameters outlive the call, which concerns the calling thread only.
    unsafe {
        let mut parameters: libc::sched_param = std::mem::zeroed();
        parameters.sched_priority = 60;
        libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &parameters);
    }
}

/// The real clock.
#[expect(clippy::disallowed_methods, reason = "a sound card is a clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// Waits for so long on the real clock.
#[expect(clippy::disallowed_methods, reason = "waiting for the sound card's clock")]
pub fn sleep(time: Duration) {
    std::thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_never_early_and_lateness_does_not_add_up() {
        let start = now();
        let mut pacer = Pacer::new(48_000.0, 480);
        for block in 0..10_u32 {
            pacer.wait();
            assert!(start.elapsed() >= Duration::from_millis(10) * block);
        }
        // However slow the machine: the eleventh block is due 100 ms after the first.
        assert_eq!(pacer.period * pacer.blocks, Duration::from_millis(100));
    }

    #[test]
    fn a_stall_is_recorded() {
        let mut pacer = Pacer::new(48_000.0, 48);
        pacer.wait();
        sleep(Duration::from_millis(20));
        pacer.wait();
        assert!(
            pacer.stalls().iter().any(|stall| stall.block == 1 && stall.late > Duration::from_millis(18))
        );
    }
}
