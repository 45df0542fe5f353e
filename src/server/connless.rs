//! Questions that anyone may ask without joining, and how much a server spends on answering them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::units::Time;

/// Bytes of lists and welcome texts sent to strangers, per second in all. A question of 9 bytes may come
/// from a forged address, and its answer be hundreds of times as long.
pub(super) const MAX_ANSWER_BYTES: usize = 256 << 10;
/// The share of one IP address in [`MAX_ANSWER_BYTES`].
pub(super) const MAX_ANSWER_BYTES_PER_IP: usize = 48 << 10;
/// The budgets are for this long.
const PERIOD: Duration = Duration::from_secs(1);
/// What an answer costs at least: headers, and work.
const MIN_COST_BYTES: usize = 64;

/// Bits of 1019. Source: docs/PROTOCOL.md §4.
pub(super) mod feature {
    pub(in crate::server) const FAST_UPDATE: u32 = 1 << 0;
    pub(in crate::server) const MULTITHREADING: u32 = 1 << 1;
    pub(in crate::server) const RECORDER: u32 = 1 << 2;
    pub(in crate::server) const RECORDING: u32 = 1 << 3;
    pub(in crate::server) const DELAY_PAN: u32 = 1 << 4;
    pub(in crate::server) const IPV6: u32 = 1 << 5;
    pub(in crate::server) const RAW_AUDIO: u32 = 1 << 6;
    pub(in crate::server) const DISCONNECT_ON_QUIT: u32 = 1 << 7;
    pub(in crate::server) const WELCOME_MESSAGE: u32 = 1 << 8;
    pub(in crate::server) const LOGGING: u32 = 1 << 9;
    pub(in crate::server) const LICENCE: u32 = 1 << 10;
    pub(in crate::server) const RPC: u32 = 1 << 12;
}

/// Limits what long answers cost the network and their (perhaps unwilling) receivers.
pub(super) struct AnswerBudget {
    period_start: Time,
    spent: usize,
    /// At most `MAX_ANSWER_BYTES / MIN_COST_BYTES` entries.
    spent_by_ip: BTreeMap<IpAddr, usize>,
}

impl AnswerBudget {
    pub(super) fn new(now: Time) -> Self {
        Self { period_start: now, spent: 0, spent_by_ip: BTreeMap::new() }
    }

    /// Whether an answer of `bytes` may go to `to` now; if so, it is booked.
    pub(super) fn allows(&mut self, now: Time, to: SocketAddr, bytes: usize) -> bool {
        if now.since(self.period_start) >= PERIOD {
            *self = Self::new(now);
        }
        let cost = bytes.max(MIN_COST_BYTES);
        if self.spent + cost > MAX_ANSWER_BYTES {
            return false;
        }
        let by_ip = self.spent_by_ip.entry(to.ip()).or_default();
        if *by_ip + cost > MAX_ANSWER_BYTES_PER_IP {
            return false;
        }
        *by_ip += cost;
        self.spent += cost;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 22134))
    }

    #[test]
    fn one_address_cannot_use_up_everything() {
        let mut budget = AnswerBudget::new(Time::ZERO);
        let answered = |budget: &mut AnswerBudget, now, last| {
            (0..10_000).filter(|_| budget.allows(now, address(last), 1000)).count()
        };
        assert_eq!(answered(&mut budget, Time::ZERO, 1), MAX_ANSWER_BYTES_PER_IP / 1000);
        assert_eq!(answered(&mut budget, Time::ZERO, 2), MAX_ANSWER_BYTES_PER_IP / 1000);
        let all: usize = (3..=255).map(|last| answered(&mut budget, Time::ZERO, last)).sum();
        assert!(all <= MAX_ANSWER_BYTES / 1000);
        assert!(budget.spent_by_ip.len() <= MAX_ANSWER_BYTES / MIN_COST_BYTES);
        assert_eq!(answered(&mut budget, Time::from_micros(1_000_000), 1), MAX_ANSWER_BYTES_PER_IP / 1000);
    }
}
