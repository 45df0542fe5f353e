//! Who is not let in: banned addresses, and clients that an admin has just sent away.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::command::{CommandError, MAX_BAN, MAX_BANS};
use crate::units::Time;

/// A client that was sent away and goes on sending is told again for this long instead of being let in: the
/// first word may have been lost.
const FAREWELL: Duration = Duration::from_secs(2);
/// Farewells that may go on at a time; the oldest gives way.
const MAX_FAREWELLS: usize = 64;

/// What to do with a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Handle it.
    Pass,
    /// Tell the sender that it has been disconnected.
    SayFarewell,
    /// Drop it.
    Drop,
}

/// Keeps out whom an admin does not want.
#[derive(Default)]
pub(super) struct Doorman {
    /// At most [`MAX_BANS`], with their ends.
    bans: BTreeMap<IpAddr, Time>,
    /// At most [`MAX_FAREWELLS`], oldest first.
    farewells: Vec<(SocketAddr, Time)>,
}

impl Doorman {
    /// Lets nobody in from `ip` (of IPv6: from its network of 64 bits) for `duration`, at most [`MAX_BAN`]; zero lifts the ban.
    pub(super) fn ban(&mut self, now: Time, ip: IpAddr, duration: Duration) -> Result<(), CommandError> {
        let ip = household(ip);
        self.bans.retain(|_, end| *end > now);
        if duration.is_zero() {
            self.bans.remove(&ip);
            return Ok(());
        }
        if self.bans.len() >= MAX_BANS && !self.bans.contains_key(&ip) {
            return Err(CommandError::TooManyBans);
        }
        self.bans.insert(ip, now + duration.min(MAX_BAN));
        Ok(())
    }

    /// Sees `client` off.
    pub(super) fn see_off(&mut self, now: Time, client: SocketAddr) {
        self.farewells.retain(|(address, end)| *address != client && *end > now);
        if self.farewells.len() == MAX_FAREWELLS {
            self.farewells.remove(0);
        }
        self.farewells.push((client, now + FAREWELL));
    }

    /// What to do with a datagram from `from`. Realtime-safe.
    pub(super) fn verdict(&self, now: Time, from: SocketAddr) -> Verdict {
        if self.farewells.iter().any(|(address, end)| *address == from && *end > now) {
            return Verdict::SayFarewell;
        }
        if !self.bans.is_empty() && self.bans.get(&household(from.ip())).is_some_and(|end| *end > now) {
            return Verdict::Drop;
        }
        Verdict::Pass
    }

    /// Bans in force and what is left of their time.
    pub(super) fn bans(&self, now: Time) -> Vec<(IpAddr, Duration)> {
        let left = self.bans.iter().map(|(ip, end)| (*ip, end.since(now)));
        left.filter(|(_, left)| !left.is_zero()).collect()
    }
}

/// What one person has for certain: an IPv4 address, or an IPv6 network of 64 bits, within which addresses change
/// at will.
pub(super) fn household(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn address(last: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], port))
    }

    #[test]
    fn a_ban_is_for_an_address_and_a_time() {
        let mut doorman = Doorman::default();
        doorman.ban(Time::ZERO, address(1, 0).ip(), MINUTE).unwrap();
        let just_before = Time::ZERO + MINUTE - Duration::from_micros(1);
        assert_eq!(doorman.verdict(just_before, address(1, 5)), Verdict::Drop);
        assert_eq!(doorman.verdict(just_before, address(2, 5)), Verdict::Pass);
        assert_eq!(doorman.verdict(Time::ZERO + MINUTE, address(1, 5)), Verdict::Pass);
        assert_eq!(doorman.bans(Time::ZERO), [(address(1, 0).ip(), MINUTE)]);
        assert_eq!(doorman.bans(Time::ZERO + MINUTE), []);
        doorman.ban(Time::ZERO, address(1, 0).ip(), Duration::ZERO).unwrap();
        assert_eq!(doorman.verdict(Time::ZERO, address(1, 5)), Verdict::Pass);
    }

    #[test]
    fn a_ban_of_an_ipv6_address_is_for_its_network() {
        let mut doorman = Doorman::default();
        let at = |ip: &str| SocketAddr::new(ip.parse().unwrap(), 5);
        doorman.ban(Time::ZERO, at("2001:db8:1:2::7").ip(), MINUTE).unwrap();
        assert_eq!(doorman.verdict(Time::ZERO, at("2001:db8:1:2:ffff::1")), Verdict::Drop);
        assert_eq!(doorman.verdict(Time::ZERO, at("2001:db8:1:3::7")), Verdict::Pass);
    }

    #[test]
    fn who_is_banned_hears_of_it_first() {
        let mut doorman = Doorman::default();
        doorman.ban(Time::ZERO, address(1, 0).ip(), MINUTE).unwrap();
        doorman.see_off(Time::ZERO, address(1, 5));
        assert_eq!(doorman.verdict(Time::ZERO, address(1, 5)), Verdict::SayFarewell);
        assert_eq!(doorman.verdict(Time::ZERO + FAREWELL, address(1, 5)), Verdict::Drop);
    }

    #[test]
    fn bans_and_farewells_are_bounded() {
        let mut doorman = Doorman::default();
        let ip = |number: usize| IpAddr::from((number as u32).to_be_bytes());
        for number in 0..MAX_BANS {
            doorman.ban(Time::ZERO, ip(number), Duration::MAX).unwrap();
        }
        assert_eq!(doorman.ban(Time::ZERO, ip(MAX_BANS), MINUTE), Err(CommandError::TooManyBans));
        assert_eq!(doorman.ban(Time::ZERO, ip(0), MINUTE), Ok(()));
        assert_eq!(doorman.ban(Time::ZERO + MINUTE, ip(MAX_BANS), MINUTE), Ok(()));
        for port in 1..=1000 {
            doorman.see_off(Time::ZERO, address(1, port));
        }
        assert_eq!(doorman.farewells.len(), MAX_FAREWELLS);
        assert_eq!(doorman.verdict(Time::ZERO, address(1, 1000)), Verdict::SayFarewell);
        assert_eq!(doorman.verdict(Time::ZERO + FAREWELL, address(1, 1000)), Verdict::Pass);
    }
}
