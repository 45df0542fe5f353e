//! A server's entry in a directory's list: asking for it, keeping it, giving it up
//! (`docs/PROTOCOL.md` §4, "Registration with a directory").
//!
//! The directory's name is looked up by whoever owns a [`Registration`]: it says when
//! ([`Registration::poll_look_up`]), and is told the answer ([`Registration::handle_addresses`]).

use std::collections::VecDeque;
use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;

use crate::protocol::{ConnlessMessage, Os, RegistrationResult, ServerRegistration};
use crate::units::Time;

/// A directory and its servers send each other an empty message this often, so that NATs between
/// them stay open.
pub const NAT_KEEP_ALIVE: Duration = Duration::from_secs(59);
/// An entry is renewed this often.
pub const REGISTRATION_INTERVAL: Duration = Duration::from_secs(15 * 60);

/// A directory that does not answer is asked this many times in a row…
const MAX_TRIES: u32 = 5;
/// …and given this long for each.
const TRY_INTERVAL: Duration = Duration::from_millis(500);
/// A server that has been up for this long is called permanent.
const PERMANENT_AFTER: Duration = Duration::from_secs(48 * 3600);
/// A failed look-up is repeated after this long, then after twice as long, and so on…
const FIRST_LOOK_UP_PAUSE: Duration = Duration::from_secs(5);
/// …up to this.
const LAST_LOOK_UP_PAUSE: Duration = Duration::from_secs(5 * 60);
/// Requests of the directory to open our NAT for a client, obeyed in one second. One arrives for
/// every client that opens the list.
const MAX_NAT_OPENINGS: u32 = 100;
/// The unit of [`MAX_NAT_OPENINGS`].
const NAT_OPENING_PERIOD: Duration = Duration::from_secs(1);

/// How far the registration with a directory is (`docs/PROTOCOL.md` §7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RegistrationStatus {
    /// Private, or not yet tried.
    #[default]
    NotRegistered,
    /// The directory's name has no address.
    BadAddress,
    /// Asked, no answer yet.
    Requested,
    /// Asked five times without an answer.
    TimedOut,
    /// The answer made no sense.
    UnknownResponse,
    /// The directory has answered.
    Answered(RegistrationResult),
}

/// What a server tells its directory (1017). `permanent` is decided by the [`Registration`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Name, place, size and internal address.
    pub server: ServerRegistration,
    /// Our system.
    pub os: Os,
    /// Our version text.
    pub version: String,
}

/// A server's side of being listed in one directory.
///
/// After any call that may have changed something, drain [`Self::poll_transmit`] and
/// [`Self::poll_look_up`].
#[derive(Debug)]
pub struct Registration {
    announcement: Announcement,
    permanent_from: Time,
    /// `None` until its name has been looked up, and after [`Self::stop`].
    directory: Option<SocketAddrV4>,
    status: RegistrationStatus,
    /// While the directory is being asked and has not answered.
    asking: Option<Asking>,
    renew_at: Option<Time>,
    keep_alive_at: Option<Time>,
    look_up: LookUp,
    look_up_pause: Duration,
    openings: Openings,
    transmits: VecDeque<(SocketAddr, ConnlessMessage)>,
}

#[derive(Clone, Copy, Debug)]
struct Asking {
    tries: u32,
    next: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LookUp {
    /// To be asked for.
    Wanted,
    /// Asked for.
    UnderWay,
    /// Not before then.
    Pause(Time),
    /// Not before the entry is renewed.
    Idle,
}

/// How many NAT openings there were in the current period.
#[derive(Clone, Copy, Debug)]
struct Openings {
    period_start: Time,
    count: u32,
}

impl Registration {
    /// Wants to register a server that has been up since `up_since`; a look-up is due at once.
    pub fn new(now: Time, up_since: Time, announcement: Announcement) -> Self {
        Self {
            announcement,
            permanent_from: up_since + PERMANENT_AFTER,
            directory: None,
            status: RegistrationStatus::NotRegistered,
            asking: None,
            renew_at: None,
            keep_alive_at: None,
            look_up: LookUp::Wanted,
            look_up_pause: FIRST_LOOK_UP_PAUSE,
            openings: Openings { period_start: now, count: 0 },
            transmits: VecDeque::new(),
        }
    }

    /// How far it is.
    pub fn status(&self) -> RegistrationStatus {
        self.status
    }

    /// Whether `address` is the directory's.
    pub fn is_directory(&self, address: SocketAddr) -> bool {
        self.directory.is_some_and(|directory| SocketAddr::V4(directory) == address)
    }

    /// Tells the directory something new about the server, at once.
    pub fn announce(&mut self, now: Time, announcement: Announcement) {
        if announcement == self.announcement {
            return;
        }
        self.announcement = announcement;
        if self.directory.is_some() {
            self.ask(now);
        }
    }

    /// Whether the directory's name is to be looked up now. Each `true` wants one answer.
    pub fn poll_look_up(&mut self) -> bool {
        let wanted = self.look_up == LookUp::Wanted;
        if wanted {
            self.look_up = LookUp::UnderWay;
        }
        wanted
    }

    /// Takes the addresses of the directory's name, best first; none when it was not found. Only IPv4
    /// counts. An address that works is kept as long as it is among them, and when none was found.
    pub fn handle_addresses(&mut self, now: Time, addresses: &[SocketAddr]) {
        let Some(address) = self.choose(addresses) else {
            self.look_up = LookUp::Pause(now + self.look_up_pause);
            self.look_up_pause = (self.look_up_pause * 2).min(LAST_LOOK_UP_PAUSE);
            if self.directory.is_none() {
                self.status = RegistrationStatus::BadAddress;
            }
            return;
        };
        self.look_up = LookUp::Idle;
        self.look_up_pause = FIRST_LOOK_UP_PAUSE;
        if self.directory == Some(address) {
            return;
        }
        self.unregister();
        self.directory = Some(address);
        self.status = RegistrationStatus::Requested;
        self.keep_alive_at = Some(now + NAT_KEEP_ALIVE);
        self.ask(now);
    }

    /// Takes a 1016 from anyone; it counts only from the directory. `None` is a result that is not known.
    pub fn handle_result(&mut self, from: SocketAddr, result: Option<RegistrationResult>) {
        if self.is_directory(from) {
            self.asking = None;
            self.status = result.map_or(RegistrationStatus::UnknownResponse, RegistrationStatus::Answered);
        }
    }

    /// Takes a 1008 from anyone: the directory, and nobody else, may have an empty message sent to a
    /// client, so that our NAT lets that client in.
    pub fn handle_nat_opening(&mut self, now: Time, from: SocketAddr, client: SocketAddrV4) {
        let ip = client.ip();
        let is_a_client =
            client.port() != 0 && !(ip.is_unspecified() || ip.is_broadcast() || ip.is_multicast());
        if self.is_directory(from) && is_a_client && self.openings.allow(now) {
            self.transmits.push_back((client.into(), ConnlessMessage::EmptyMessage));
        }
    }

    /// Does what is due: asking again, renewing, keeping the NAT open.
    pub fn handle_timeout(&mut self, now: Time) {
        if matches!(self.look_up, LookUp::Pause(end) if end <= now) {
            self.look_up = LookUp::Wanted;
        }
        if self.renew_at.is_some_and(|due| due <= now) {
            if self.look_up == LookUp::Idle {
                self.look_up = LookUp::Wanted;
            }
            self.ask(now);
        }
        if let Some(asking) = self.asking.filter(|asking| asking.next <= now) {
            self.ask_again(now, asking);
        }
        if let (Some(due), Some(directory)) = (self.keep_alive_at, self.directory)
            && due <= now
        {
            self.transmits.push_back((directory.into(), ConnlessMessage::EmptyMessage));
            self.keep_alive_at = Some(now + NAT_KEEP_ALIVE);
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Time> {
        let look_up = match self.look_up {
            LookUp::Pause(end) => Some(end),
            LookUp::Wanted | LookUp::UnderWay | LookUp::Idle => None,
        };
        let asking = self.asking.map(|asking| asking.next);
        [look_up, asking, self.renew_at, self.keep_alive_at].into_iter().flatten().min()
    }

    /// The next datagram, and to whom.
    pub fn poll_transmit(&mut self) -> Option<(SocketAddr, ConnlessMessage)> {
        self.transmits.pop_front()
    }

    /// Gives the entry up. Nothing is done from then on.
    pub fn stop(&mut self) {
        self.unregister();
        self.status = RegistrationStatus::NotRegistered;
        self.look_up = LookUp::Idle;
    }

    /// The address in use while it works, else the first other one, so that a directory that moves, or
    /// has several addresses, is found.
    fn choose(&self, addresses: &[SocketAddr]) -> Option<SocketAddrV4> {
        let usable = || {
            addresses.iter().filter_map(|address| match address {
                SocketAddr::V4(address) => Some(*address),
                SocketAddr::V6(_) => None,
            })
        };
        let current = self.directory.filter(|current| usable().any(|address| address == *current));
        match current {
            Some(_) if self.status != RegistrationStatus::TimedOut => current,
            _ => usable().find(|address| Some(*address) != self.directory).or(current),
        }
    }

    fn ask(&mut self, now: Time) {
        if self.status == RegistrationStatus::TimedOut {
            self.status = RegistrationStatus::Requested;
        }
        self.renew_at = Some(now + REGISTRATION_INTERVAL);
        self.ask_again(now, Asking { tries: 0, next: now });
    }

    fn ask_again(&mut self, now: Time, asking: Asking) {
        let Some(directory) = self.directory else { return };
        if asking.tries == MAX_TRIES {
            self.status = RegistrationStatus::TimedOut;
            self.asking = None;
            return;
        }
        let Announcement { server, os, version } = self.announcement.clone();
        let registration = ServerRegistration { permanent: now >= self.permanent_from, ..server };
        let message = ConnlessMessage::RegisterServerEx { registration, os, version };
        self.transmits.push_back((directory.into(), message));
        self.asking = Some(Asking { tries: asking.tries + 1, next: now + TRY_INTERVAL });
    }

    fn unregister(&mut self) {
        if let Some(directory) = self.directory.take() {
            self.transmits.push_back((directory.into(), ConnlessMessage::UnregisterServer));
        }
        self.asking = None;
        self.renew_at = None;
        self.keep_alive_at = None;
    }
}

impl Openings {
    fn allow(&mut self, now: Time) -> bool {
        if now.since(self.period_start) >= NAT_OPENING_PERIOD {
            *self = Self { period_start: now, count: 0 };
        }
        self.count += 1;
        self.count <= MAX_NAT_OPENINGS
    }
}
