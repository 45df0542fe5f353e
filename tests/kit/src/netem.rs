//! A network in a box: seeded loss, delay, jitter, reordering and duplication on a virtual clock.
//!
//! A [`Link`] carries datagrams one way. Its owner sends, asks when the next one arrives, moves the
//! clock there and receives. Same seed and same calls, same arrivals.

use std::collections::BTreeMap;
use std::time::Duration;

use jamulet::units::Time;

/// A small random generator (SplitMix64): fast, seeded, and the same on every machine.
#[derive(Clone, Debug)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// A generator; every seed is as good as any other.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `0.0..1.0`.
    pub const fn next_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number in `0..limit`; 0 when `limit` is 0. (The bias is below 2⁻⁶⁴ · limit.)
    pub const fn below(&mut self, limit: u64) -> u64 {
        ((self.next_u64() as u128 * limit as u128) >> 64) as u64
    }

    /// True with `probability` (0.0 never, 1.0 always).
    pub fn chance(&mut self, probability: f64) -> bool {
        self.next_f64() < probability
    }

    /// Fills `bytes` with random ones.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill_with(|| self.next_u64() as u8);
    }
}

/// What a link does to the datagrams on it. The default is a perfect link.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LinkConfig {
    /// Everything takes at least this long.
    pub delay: Duration,
    /// Each datagram takes up to this much longer, uniformly distributed.
    pub jitter: Duration,
    /// Probability that a datagram is lost.
    pub loss: f64,
    /// Probability that a datagram arrives twice (each copy with a delay of its own).
    pub duplication: f64,
    /// Probability that a datagram may overtake and be overtaken within the jitter. The others
    /// arrive in the order in which they were sent, as on most real paths.
    pub reordering: f64,
}

impl LinkConfig {
    /// Nothing gets through.
    pub const DEAD: Self =
        Self { delay: Duration::ZERO, jitter: Duration::ZERO, loss: 1.0, duplication: 0.0, reordering: 0.0 };
}

/// What has happened on a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// Datagrams given to the link.
    pub sent: u64,
    /// Lost ones.
    pub lost: u64,
    /// Copies made.
    pub duplicated: u64,
    /// Datagrams, copies included, that came out.
    pub delivered: u64,
}

/// One direction of a network path, carrying anything that can be copied.
#[derive(Clone, Debug)]
pub struct Link<T> {
    config: LinkConfig,
    rng: SplitMix64,
    /// Keyed by arrival, then by the order of sending.
    under_way: BTreeMap<(Time, u64), T>,
    next_number: u64,
    /// Arrival of the latest datagram that keeps its place.
    last_in_order: Time,
    stats: LinkStats,
}

impl<T: Clone> Link<T> {
    /// An empty link.
    pub fn new(config: LinkConfig, seed: u64) -> Self {
        Self {
            config,
            rng: SplitMix64::new(seed),
            under_way: BTreeMap::new(),
            next_number: 0,
            last_in_order: Time::ZERO,
            stats: LinkStats::default(),
        }
    }

    /// Changes what happens to datagrams from now on; those under way are not touched.
    pub fn set_config(&mut self, config: LinkConfig) {
        self.config = config;
    }

    /// Puts a datagram on the link.
    pub fn send(&mut self, now: Time, datagram: T) {
        self.stats.sent += 1;
        // Draw everything whatever happens, so that one setting does not shift another's dice.
        let is_lost = self.rng.chance(self.config.loss);
        let is_doubled = self.rng.chance(self.config.duplication);
        let (first, second) = (self.draw_arrival(now), self.draw_arrival(now));
        if is_lost {
            self.stats.lost += 1;
            return;
        }
        if is_doubled {
            self.stats.duplicated += 1;
            self.deliver_at(second, datagram.clone());
        }
        self.deliver_at(first, datagram);
    }

    /// When the next datagram arrives.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.under_way.first_key_value().map(|(&(at, _), _)| at)
    }

    /// A datagram that has arrived by `now`, in order of arrival.
    pub fn receive(&mut self, now: Time) -> Option<T> {
        let entry = self.under_way.first_entry().filter(|entry| entry.key().0 <= now)?;
        self.stats.delivered += 1;
        Some(entry.remove())
    }

    /// Datagrams that have not arrived yet.
    pub fn in_transit(&self) -> usize {
        self.under_way.len()
    }

    /// Counters since the link was made.
    pub fn stats(&self) -> LinkStats {
        self.stats
    }

    fn draw_arrival(&mut self, now: Time) -> (Time, bool) {
        let may_reorder = self.rng.chance(self.config.reordering);
        let jitter = self.rng.below(self.config.jitter.as_micros() as u64 + 1);
        (now + self.config.delay + Duration::from_micros(jitter), may_reorder)
    }

    fn deliver_at(&mut self, (mut at, may_reorder): (Time, bool), datagram: T) {
        if !may_reorder {
            at = at.max(self.last_in_order);
            self.last_in_order = at;
        }
        self.under_way.insert((at, self.next_number), datagram);
        self.next_number += 1;
    }
}

/// Both directions between a client and a server, carrying bytes.
#[derive(Clone, Debug)]
pub struct Path {
    /// Client to server.
    pub up: Link<Vec<u8>>,
    /// Server to client.
    pub down: Link<Vec<u8>>,
}

impl Path {
    /// A path that treats both directions alike, each with dice of its own.
    pub fn new(config: LinkConfig, seed: u64) -> Self {
        let mut rng = SplitMix64::new(seed);
        Self { up: Link::new(config, rng.next_u64()), down: Link::new(config, rng.next_u64()) }
    }

    /// Changes both directions.
    pub fn set_config(&mut self, config: LinkConfig) {
        self.up.set_config(config);
        self.down.set_config(config);
    }

    /// When the next datagram arrives at either end.
    pub fn poll_timeout(&self) -> Option<Time> {
        earliest([self.up.poll_timeout(), self.down.poll_timeout()])
    }
}

/// The earliest of several deadlines, for a test that jumps its clock to the next thing to happen.
pub fn earliest(deadlines: impl IntoIterator<Item = Option<Time>>) -> Option<Time> {
    deadlines.into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Sends `count` numbers 1 ms apart and returns what arrives, with its travel time.
    fn run(config: LinkConfig, seed: u64, count: u64) -> (Vec<(u64, Duration)>, LinkStats) {
        let mut link = Link::new(config, seed);
        (0..count).for_each(|i| link.send(Time::ZERO + MS * i as u32, i));
        let mut arrived = Vec::new();
        while let Some(now) = link.poll_timeout() {
            let number = link.receive(now).unwrap();
            arrived.push((number, now.since(Time::ZERO + MS * number as u32)));
        }
        (arrived, link.stats())
    }

    #[test]
    fn a_perfect_link_delivers_at_once_and_in_order() {
        let (arrived, stats) = run(LinkConfig::default(), 1, 100);
        assert!(arrived.iter().map(|&(number, _)| number).eq(0..100));
        assert!(arrived.iter().all(|&(_, took)| took == Duration::ZERO));
        assert_eq!(stats, LinkStats { sent: 100, delivered: 100, ..LinkStats::default() });
    }

    #[test]
    fn the_dice_are_fair() {
        let config = LinkConfig { loss: 0.2, duplication: 0.1, ..LinkConfig::default() };
        let (arrived, stats) = run(config, 2, 10_000);
        assert!((1880..2120).contains(&stats.lost), "{stats:?}");
        assert!((710..890).contains(&stats.duplicated), "{stats:?}");
        assert_eq!(arrived.len() as u64, stats.sent - stats.lost + stats.duplicated);
        assert_eq!(stats.delivered, arrived.len() as u64);
    }

    #[test]
    fn jitter_is_uniform_and_keeps_order_unless_told_otherwise() {
        let jittery = LinkConfig { delay: 10 * MS, jitter: 50 * MS, ..LinkConfig::default() };
        let (in_order, _) = run(jittery, 3, 10_000);
        assert!(in_order.is_sorted_by_key(|&(number, _)| number));

        let (free, _) = run(LinkConfig { reordering: 1.0, ..jittery }, 3, 10_000);
        assert!(!free.is_sorted_by_key(|&(number, _)| number));
        assert!(free.iter().all(|&(_, took)| (10 * MS..=60 * MS).contains(&took)));
        let mean = free.iter().map(|&(_, took)| took).sum::<Duration>() / 10_000;
        assert!((34 * MS..36 * MS).contains(&mean), "{mean:?}");
    }

    #[test]
    fn the_seed_decides_everything() {
        let config = LinkConfig { delay: MS, jitter: 20 * MS, loss: 0.1, duplication: 0.1, reordering: 0.5 };
        assert_eq!(run(config, 4, 1000), run(config, 4, 1000));
        assert_ne!(run(config, 4, 1000), run(config, 5, 1000));
    }

    #[test]
    fn a_dead_link_delivers_nothing() {
        assert_eq!(run(LinkConfig::DEAD, 6, 100).0, []);
    }

    #[test]
    fn nothing_arrives_early() {
        let mut link = Link::new(LinkConfig { delay: 5 * MS, ..LinkConfig::default() }, 7);
        link.send(Time::ZERO, ());
        assert_eq!(link.poll_timeout(), Some(Time::from_micros(5000)));
        assert_eq!(link.receive(Time::from_micros(4999)), None);
        assert_eq!(link.receive(Time::from_micros(5000)), Some(()));
        assert_eq!(link.in_transit(), 0);
    }

    #[test]
    fn the_earliest_deadline_wins() {
        let at = |ms: u64| Some(Time::from_micros(ms * 1000));
        assert_eq!(earliest([None, at(3), at(2), None]), at(2));
        assert_eq!(earliest([None, None]), None);
    }
}
