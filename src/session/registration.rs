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
/// Other addresses of a silent directory's name that are tried before the next renewal.
const MAX_OTHERS: usize = 8;
/// A server that has been up for this long is called permanent.
const PERMANENT_AFTER: Duration = Duration::from_secs(48 * 3600);
/// A failed look-up is repeated after this long, then after twice as long, and so on…
const FIRST_LOOK_UP_PAUSE: Duration = Duration::from_secs(5);
/// …up to this.
const LAST_LOOK_UP_PAUSE: Duration = Duration::from_secs(5 * 60);
/// A look-up that takes longer has failed; systems give up after half a minute or so.
const LOOK_UP_PATIENCE: Duration = Duration::from_secs(2 * 60);
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
    /// Addresses that have not answered since the entry was last to be renewed, at most [`MAX_OTHERS`].
    silent: Vec<SocketAddrV4>,
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
    /// To be asked for, since then.
    Wanted(Time),
    /// Asked for; to be answered until then.
    UnderWay(Time),
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
            silent: Vec::new(),
            renew_at: None,
            keep_alive_at: None,
            look_up: LookUp::Wanted(now),
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
        let LookUp::Wanted(since) = self.look_up else { return false };
        self.look_up = LookUp::UnderWay(since + LOOK_UP_PATIENCE);
        true
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
            self.silent.clear();
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
        match self.look_up {
            LookUp::Pause(end) if end <= now => self.look_up = LookUp::Wanted(now),
            LookUp::UnderWay(end) if end <= now => self.handle_addresses(now, &[]),
            _ => {}
        }
        if self.renew_at.is_some_and(|due| due <= now) {
            self.silent.clear();
            self.want_look_up(now);
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
            LookUp::Pause(end) | LookUp::UnderWay(end) => Some(end),
            LookUp::Wanted(_) | LookUp::Idle => None,
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

    /// The address in use while it works, else the first one not yet tried, so that a directory that moves,
    /// or has several addresses, is found.
    fn choose(&self, addresses: &[SocketAddr]) -> Option<SocketAddrV4> {
        let usable = || {
            addresses.iter().filter_map(|address| match address {
                SocketAddr::V4(address) => Some(*address),
                SocketAddr::V6(_) => None,
            })
        };
        let current = self.directory.filter(|current| usable().any(|address| address == *current));
        let works = |address: &SocketAddrV4| !self.silent.contains(address);
        current
            .filter(works)
            .or_else(|| usable().find(works))
            // All have been tried: what the next renewal asks does not matter.
            .or(current)
            .or_else(|| usable().next())
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
            self.try_another(now, directory);
            return;
        }
        let Announcement { server, os, version } = self.announcement.clone();
        let registration = ServerRegistration { permanent: now >= self.permanent_from, ..server };
        let message = ConnlessMessage::RegisterServerEx { registration, os, version };
        self.transmits.push_back((directory.into(), message));
        self.asking = Some(Asking { tries: asking.tries + 1, next: now + TRY_INTERVAL });
    }

    /// `silent` may be one of several addresses, or where the directory used to be.
    fn try_another(&mut self, now: Time, silent: SocketAddrV4) {
        if self.silent.len() < MAX_OTHERS && !self.silent.contains(&silent) {
            self.silent.push(silent);
            self.want_look_up(now);
        }
    }

    fn want_look_up(&mut self, now: Time) {
        if self.look_up == LookUp::Idle {
            self.look_up = LookUp::Wanted(now);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn directory() -> SocketAddr {
        address("198.51.100.1:22124")
    }

    fn announcement(name: &str) -> Announcement {
        Announcement {
            server: ServerRegistration {
                internal_port: 22124,
                country: 82,
                max_clients: 10,
                permanent: false,
                name: name.into(),
                internal_address: "192.168.1.2".into(),
                city: "Ulm".into(),
            },
            os: Os::LINUX,
            version: "4.0.0".into(),
        }
    }

    fn registration_message(name: &str, permanent: bool) -> ConnlessMessage {
        let Announcement { server, os, version } = announcement(name);
        let registration = ServerRegistration { permanent, ..server };
        ConnlessMessage::RegisterServerEx { registration, os, version }
    }

    /// A registration on a virtual clock, and what it has sent.
    struct Scene {
        now: Time,
        registration: Registration,
        sent: Vec<(Time, SocketAddr, ConnlessMessage)>,
    }

    impl Scene {
        fn unresolved() -> Self {
            let now = Time::ZERO + 7 * MINUTE;
            let registration = Registration::new(now, now, announcement("Jam"));
            Self { now, registration, sent: Vec::new() }
        }

        /// Its directory's name has just been looked up.
        fn asking() -> Self {
            let mut scene = Self::unresolved();
            assert!(scene.registration.poll_look_up());
            scene.resolve(&[directory()]);
            scene
        }

        /// Listed, with nothing left in `sent`.
        fn listed() -> Self {
            let mut scene = Self::asking();
            scene.answer(directory(), RegistrationResult::Registered);
            scene.sent.clear();
            scene
        }

        fn resolve(&mut self, addresses: &[SocketAddr]) {
            self.registration.handle_addresses(self.now, addresses);
            self.collect();
        }

        fn answer(&mut self, from: SocketAddr, result: RegistrationResult) {
            self.registration.handle_result(from, Some(result));
            self.collect();
        }

        /// Lets time pass, from deadline to deadline.
        fn pass(&mut self, duration: Duration) {
            let end = self.now + duration;
            while let Some(due) = self.registration.poll_timeout().filter(|due| *due <= end) {
                assert!(due >= self.now, "deadlines are never in the past after they were handled");
                self.now = due;
                self.registration.handle_timeout(due);
                self.collect();
            }
            self.now = end;
        }

        /// As `pass`, with every look-up answered as soon as it is asked for, as the real owner does.
        fn pass_looking_up(&mut self, addresses: &[SocketAddr], duration: Duration) {
            let end = self.now + duration;
            loop {
                if self.registration.poll_look_up() {
                    self.resolve(addresses);
                }
                let due = self.registration.poll_timeout().unwrap_or(end).min(end);
                self.pass(due.since(self.now));
                if due == end && !matches!(self.registration.look_up, LookUp::Wanted(_)) {
                    return;
                }
            }
        }

        fn looked_up_at_once(addresses: &[SocketAddr], duration: Duration) -> Self {
            let mut scene = Self::unresolved();
            scene.pass_looking_up(addresses, duration);
            scene
        }

        /// Who was asked to register us, and when, in ms since `start`.
        fn asked(&self, start: Time) -> Vec<(u128, SocketAddr)> {
            let is_one =
                |message: &ConnlessMessage| matches!(message, ConnlessMessage::RegisterServerEx { .. });
            let sent = self.sent.iter().filter(|(_, _, message)| is_one(message));
            sent.map(|(at, to, _)| (at.since(start).as_millis(), *to)).collect()
        }

        fn collect(&mut self) {
            while let Some((to, message)) = self.registration.poll_transmit() {
                self.sent.push((self.now, to, message));
            }
        }

        /// When registrations left, in ms since `start`.
        fn registrations(&self, start: Time) -> Vec<u128> {
            self.asked(start).into_iter().map(|(at, _)| at).collect()
        }
    }

    #[test]
    fn a_silent_directory_is_asked_five_times_and_again_after_a_quarter_of_an_hour() {
        let mut scene = Scene::asking();
        let start = scene.now;
        assert_eq!(scene.registration.status(), RegistrationStatus::Requested);
        scene.pass(Duration::from_millis(2499));
        assert_eq!(scene.registrations(start), [0, 500, 1000, 1500, 2000]);
        assert_eq!(scene.registration.status(), RegistrationStatus::Requested);
        scene.pass(Duration::from_millis(1));
        assert_eq!(scene.registration.status(), RegistrationStatus::TimedOut);
        scene.pass(REGISTRATION_INTERVAL);
        assert_eq!(scene.registrations(start)[5..], [900_000, 900_500, 901_000, 901_500, 902_000]);
        assert!(scene.registration.poll_look_up(), "the directory may have moved");
    }

    #[test]
    fn an_answer_ends_the_asking_and_the_entry_is_renewed() {
        let mut scene = Scene::asking();
        let start = scene.now;
        scene.pass(Duration::from_millis(700));
        let listed = RegistrationStatus::Answered(RegistrationResult::Registered);
        for round in 1..=3 {
            scene.answer(directory(), RegistrationResult::Registered);
            scene.pass((start + REGISTRATION_INTERVAL * round).since(scene.now));
            assert_eq!(scene.registration.status(), listed, "no flicker while it is renewed");
            assert!(scene.registration.poll_look_up());
            scene.resolve(&[directory()]);
        }
        assert_eq!(scene.registrations(start), [0, 500, 900_000, 1_800_000, 2_700_000]);
    }

    #[test]
    fn the_directorys_verdict_is_told_and_asked_for_again() {
        for verdict in [
            RegistrationResult::ListFull,
            RegistrationResult::VersionTooOld,
            RegistrationResult::RequirementsNotFulfilled,
        ] {
            let mut scene = Scene::asking();
            scene.answer(directory(), verdict);
            assert_eq!(scene.registration.status(), RegistrationStatus::Answered(verdict));
            scene.sent.clear();
            scene.pass(REGISTRATION_INTERVAL);
            scene.answer(directory(), RegistrationResult::Registered);
            let listed = RegistrationStatus::Answered(RegistrationResult::Registered);
            assert_eq!(scene.registration.status(), listed);
        }
        let mut scene = Scene::asking();
        scene.registration.handle_result(directory(), None);
        assert_eq!(scene.registration.status(), RegistrationStatus::UnknownResponse);
    }

    #[test]
    fn answers_of_others_do_not_count() {
        let mut scene = Scene::asking();
        for other in ["198.51.100.1:22125", "198.51.100.2:22124", "[::1]:22124"] {
            scene.answer(address(other), RegistrationResult::Registered);
            scene.registration.handle_result(address(other), None);
        }
        assert_eq!(scene.registration.status(), RegistrationStatus::Requested);
        let mut scene = Scene::unresolved();
        scene.answer(directory(), RegistrationResult::Registered);
        assert_eq!(scene.registration.status(), RegistrationStatus::NotRegistered);
    }

    #[test]
    fn the_nat_is_kept_open_every_59_seconds() {
        let mut scene = Scene::listed();
        let start = scene.now;
        scene.pass(3 * MINUTE);
        let empty = |seconds: u32| (start + SECOND * seconds, directory(), ConnlessMessage::EmptyMessage);
        assert_eq!(scene.sent, [empty(59), empty(118), empty(177)]);
    }

    #[test]
    fn a_server_is_permanent_after_48_hours() {
        let mut scene = Scene::listed();
        scene.pass(Duration::from_secs(48 * 3600 - 1));
        let is_permanent = |message: &ConnlessMessage| match message {
            ConnlessMessage::RegisterServerEx { registration, .. } => registration.permanent,
            _ => false,
        };
        assert!(!scene.sent.iter().any(|(_, _, message)| is_permanent(message)));
        scene.pass(SECOND);
        let (_, _, last) = scene
            .sent
            .iter()
            .rfind(|(_, _, m)| matches!(m, ConnlessMessage::RegisterServerEx { .. }))
            .unwrap();
        assert_eq!(*last, registration_message("Jam", true));
    }

    #[test]
    fn stopping_unregisters_once_and_then_is_silent() {
        let mut scene = Scene::listed();
        scene.registration.stop();
        scene.registration.stop();
        scene.collect();
        assert_eq!(scene.sent, [(scene.now, directory(), ConnlessMessage::UnregisterServer)]);
        assert_eq!(scene.registration.status(), RegistrationStatus::NotRegistered);
        assert_eq!(scene.registration.poll_timeout(), None);
        scene.answer(directory(), RegistrationResult::Registered);
        assert_eq!(scene.registration.status(), RegistrationStatus::NotRegistered);
        assert!(!scene.registration.poll_look_up());

        let mut never_asked = Scene::unresolved();
        never_asked.registration.stop();
        never_asked.collect();
        assert_eq!(never_asked.sent, []);
    }

    #[test]
    fn news_is_announced_at_once_and_nothing_new_is_not() {
        let mut scene = Scene::listed();
        scene.registration.announce(scene.now, announcement("Jam"));
        scene.collect();
        assert_eq!(scene.sent, []);
        scene.registration.announce(scene.now, announcement("Session"));
        scene.collect();
        assert_eq!(scene.sent, [(scene.now, directory(), registration_message("Session", false))]);
        // A lost datagram is sent again.
        scene.pass(Duration::from_millis(500));
        assert_eq!(scene.sent.len(), 2);
    }

    #[test]
    fn a_failed_look_up_is_repeated_ever_more_slowly() {
        let mut scene = Scene::unresolved();
        assert_eq!(scene.registration.status(), RegistrationStatus::NotRegistered);
        for pause in [5, 10, 20, 40, 80, 160, 300, 300] {
            assert!(scene.registration.poll_look_up());
            assert!(!scene.registration.poll_look_up(), "one is under way");
            scene.resolve(&[address("[2001:db8::1]:22124")]);
            assert_eq!(scene.registration.status(), RegistrationStatus::BadAddress);
            scene.pass(SECOND * pause - Duration::from_micros(1));
            assert!(!scene.registration.poll_look_up());
            scene.pass(Duration::from_micros(1));
        }
        assert!(scene.registration.poll_look_up());
        scene.resolve(&[address("[2001:db8::1]:22124"), directory()]);
        assert_eq!(scene.registration.status(), RegistrationStatus::Requested);
        assert_eq!(scene.sent, [(scene.now, directory(), registration_message("Jam", false))]);
    }

    #[test]
    fn a_look_up_without_an_answer_has_failed_and_a_late_answer_is_welcome() {
        let mut scene = Scene::unresolved();
        assert!(scene.registration.poll_look_up());
        scene.pass(LOOK_UP_PATIENCE);
        assert_eq!(scene.registration.status(), RegistrationStatus::BadAddress);
        scene.pass(FIRST_LOOK_UP_PAUSE);
        assert!(scene.registration.poll_look_up());
        scene.resolve(&[directory()]);
        assert_eq!(scene.registration.status(), RegistrationStatus::Requested);
    }

    #[test]
    fn a_known_directory_survives_failing_look_ups_and_round_robin() {
        let mut scene = Scene::listed();
        scene.pass(REGISTRATION_INTERVAL);
        assert!(scene.registration.poll_look_up());
        scene.answer(directory(), RegistrationResult::Registered);
        scene.sent.clear();
        scene.resolve(&[]);
        let listed = RegistrationStatus::Answered(RegistrationResult::Registered);
        assert_eq!((scene.registration.status(), scene.sent.len()), (listed, 0));
        scene.pass(5 * SECOND);
        assert!(scene.registration.poll_look_up(), "the look-up is repeated soon");
        scene.resolve(&[address("198.51.100.9:22124"), directory()]);
        assert_eq!((scene.registration.status(), scene.sent.len()), (listed, 0));
    }

    #[test]
    fn a_directory_that_has_moved_is_followed() {
        let mut scene = Scene::listed();
        scene.pass(REGISTRATION_INTERVAL);
        assert!(scene.registration.poll_look_up());
        scene.sent.clear();
        let moved = address("198.51.100.9:22124");
        scene.resolve(&[moved]);
        let expected = [
            (scene.now, directory(), ConnlessMessage::UnregisterServer),
            (scene.now, moved, registration_message("Jam", false)),
        ];
        assert_eq!(scene.sent, expected);
        scene.answer(directory(), RegistrationResult::ListFull);
        assert_eq!(scene.registration.status(), RegistrationStatus::Requested, "the old one is nobody now");
    }

    #[test]
    fn another_address_is_tried_when_one_is_silent() {
        let other = address("198.51.100.9:22124");
        let mut scene = Scene::looked_up_at_once(&[directory(), other], 3 * SECOND);
        let start = scene.now - 3 * SECOND;
        let asked = scene.asked(start);
        assert_eq!(asked[..5], [0, 500, 1000, 1500, 2000].map(|at| (at, directory())));
        assert_eq!(asked[5..], [(2500, other), (3000, other)]);
        assert_eq!(scene.registration.status(), RegistrationStatus::Requested);
        scene.answer(other, RegistrationResult::Registered);
        scene.sent.clear();
        scene.pass_looking_up(&[directory(), other], REGISTRATION_INTERVAL);
        assert!(scene.sent.iter().all(|(_, to, _)| *to == other), "the one that works is kept");
    }

    #[test]
    fn every_silent_address_is_tried_once_a_renewal() {
        let others = [directory(), address("198.51.100.8:1"), address("198.51.100.9:1")];
        let mut scene = Scene::looked_up_at_once(&others, REGISTRATION_INTERVAL);
        let start = scene.now - REGISTRATION_INTERVAL;
        let asked: Vec<SocketAddr> = scene.asked(start).iter().map(|(_, to)| *to).collect();
        assert_eq!(asked.chunks(5).map(|tries| tries[0]).collect::<Vec<_>>(), others);
        assert_eq!(asked.len(), 15);
        assert_eq!(scene.registration.status(), RegistrationStatus::TimedOut);
        // The last one is asked again at its renewal, and then all others.
        scene.sent.clear();
        scene.pass_looking_up(&others, 15 * SECOND);
        assert_eq!(scene.asked(start).len(), 15);
    }

    #[test]
    fn a_name_with_ever_other_addresses_is_given_up_until_the_renewal() {
        let mut scene = Scene::unresolved();
        for number in 1..200 {
            let next = address(&format!("198.51.100.{number}:22124"));
            scene.pass_looking_up(&[next], 3 * SECOND);
        }
        let tried = scene.asked(Time::ZERO).len();
        assert!(tried <= (MAX_OTHERS + 1) * MAX_TRIES as usize, "{tried}");
    }

    #[test]
    fn only_the_directory_opens_our_nat_and_only_so_often() {
        let mut scene = Scene::listed();
        let client: SocketAddrV4 = "203.0.113.5:22134".parse().unwrap();
        let open = |scene: &mut Scene, from: SocketAddr, client: SocketAddrV4| {
            scene.registration.handle_nat_opening(scene.now, from, client);
            scene.collect();
            std::mem::take(&mut scene.sent).len()
        };
        assert_eq!(open(&mut scene, address("203.0.113.9:22124"), client), 0);
        assert_eq!(open(&mut scene, address("198.51.100.1:22125"), client), 0);
        for nobody in ["203.0.113.5:0", "0.0.0.0:5", "255.255.255.255:5", "224.0.0.1:5"] {
            assert_eq!(open(&mut scene, directory(), nobody.parse().unwrap()), 0, "{nobody}");
        }
        scene.registration.handle_nat_opening(scene.now, directory(), client);
        scene.collect();
        assert_eq!(scene.sent, [(scene.now, client.into(), ConnlessMessage::EmptyMessage)]);
        scene.sent.clear();
        let obeyed: usize = (0..1000).map(|_| open(&mut scene, directory(), client)).sum();
        assert_eq!(obeyed as u32, MAX_NAT_OPENINGS - 1);
        scene.pass(SECOND);
        assert_eq!(open(&mut scene, directory(), client), 1);
    }
}
