//! What a server is told at its start, and what of it may change while it runs.

use std::net::Ipv4Addr;

use crate::protocol::cut_to_utf16;
use crate::units::{FrameSize, MAX_CHANNELS, MAX_CHAT_UNITS, MAX_CITY_UNITS, MAX_SERVER_NAME_UNITS};

/// Settings of the core: everything that shapes its answers and its mix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Slots, `1..=MAX_CHANNELS`; values outside are clamped.
    pub max_clients: usize,
    /// Samples per tick: 128, or 64 for "fast update".
    pub frame: FrameSize,
    /// Shown to everyone who joins, may contain HTML; cut to [`MAX_CHAT_UNITS`].
    pub welcome: Option<String>,
    /// Everyone must accept the Creative Commons licence before playing.
    pub licence: bool,
    /// Uncompressed audio is offered to clients that can use it.
    pub raw_audio: bool,
    /// Pan by delaying one side instead of lowering it.
    pub delay_pan: bool,
    /// Tell everyone to disconnect when the server stops; else they come back by themselves.
    pub disconnect_on_quit: bool,
    /// What directories and consoles are told about this server.
    pub profile: ServerProfile,
    /// The directory to be listed in.
    pub directory: DirectoryChoice,
    /// This server as a directory for others.
    pub own_directory: Option<OwnDirectory>,
    /// The address to give to directories as the internal one, instead of the one that the system tells.
    pub public_ip: Option<Ipv4Addr>,
    /// What is only told to those who ask (1019) and does not change the core's behaviour.
    pub told: ToldFeatures,
}

/// What a server says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerProfile {
    /// At most [`MAX_SERVER_NAME_UNITS`].
    pub name: String,
    /// At most [`MAX_CITY_UNITS`].
    pub city: String,
    /// Qt 5 country number, 0 = none.
    pub country: u16,
}

/// The directory that a server registers with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DirectoryChoice {
    /// A private server.
    #[default]
    None,
    /// `host` or `host:port`, looked up again at every registration.
    Address(String),
}

/// How a server is a directory for others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnDirectory {
    /// Only servers with these addresses may register; empty lets everyone.
    pub whitelist: Vec<Ipv4Addr>,
    /// Servers older than this may not register, e.g. `3.8.0`.
    pub minimum_version: Option<String>,
}

/// Features of the program around the core, told to those who ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ToldFeatures {
    /// Reachable through IPv6 as well.
    pub ipv6: bool,
    /// `--multithreading` was asked for.
    pub multithreading: bool,
    /// Events are logged to a file.
    pub logging: bool,
    /// JSON-RPC is offered.
    pub rpc: bool,
}

/// What may change while a server runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveConfig {
    /// See [`Config::welcome`].
    pub welcome: Option<String>,
    /// See [`Config::licence`]; for those who join from now on.
    pub licence: bool,
    /// See [`Config::disconnect_on_quit`].
    pub disconnect_on_quit: bool,
    /// See [`Config::profile`].
    pub profile: ServerProfile,
    /// See [`Config::directory`].
    pub directory: DirectoryChoice,
    /// See [`Config::own_directory`]; whether there is one cannot change.
    pub own_directory: Option<OwnDirectory>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_clients: 10,
            frame: FrameSize::Samples128,
            welcome: None,
            licence: false,
            raw_audio: true,
            delay_pan: false,
            disconnect_on_quit: false,
            profile: ServerProfile::default(),
            directory: DirectoryChoice::None,
            own_directory: None,
            public_ip: None,
            told: ToldFeatures { ipv6: true, ..ToldFeatures::default() },
        }
    }
}

impl Config {
    /// The same with every value inside its limits; an empty welcome is none.
    pub(super) fn clamped(mut self) -> Self {
        self.max_clients = self.max_clients.clamp(1, MAX_CHANNELS);
        self.welcome = self.welcome.and_then(clamped_welcome);
        self.profile = self.profile.clamped();
        self
    }

    /// What of it may change while a server runs.
    pub fn live(&self) -> LiveConfig {
        LiveConfig {
            welcome: self.welcome.clone(),
            licence: self.licence,
            disconnect_on_quit: self.disconnect_on_quit,
            profile: self.profile.clone(),
            directory: self.directory.clone(),
            own_directory: self.own_directory.clone(),
        }
    }

    /// Takes over what differs between `before` and `after`. Whether the server is a directory stays.
    pub(super) fn apply(&mut self, before: &LiveConfig, after: LiveConfig) {
        take_over(&mut self.welcome, &before.welcome, after.welcome);
        take_over(&mut self.licence, &before.licence, after.licence);
        take_over(&mut self.disconnect_on_quit, &before.disconnect_on_quit, after.disconnect_on_quit);
        take_over(&mut self.profile.name, &before.profile.name, after.profile.name);
        take_over(&mut self.profile.city, &before.profile.city, after.profile.city);
        take_over(&mut self.profile.country, &before.profile.country, after.profile.country);
        if self.own_directory.is_some() == after.own_directory.is_some() {
            take_over(&mut self.directory, &before.directory, after.directory);
            take_over(&mut self.own_directory, &before.own_directory, after.own_directory);
        }
        *self = std::mem::take(self).clamped();
    }
}

impl OwnDirectory {
    /// Whether an admin who gives `address` as the directory's means this server: its own machine without port.
    pub fn is_meant_by(address: &str) -> bool {
        address.eq_ignore_ascii_case("localhost") || address == "127.0.0.1"
    }
}

impl ServerProfile {
    /// The same with texts cut to their limits.
    pub(super) fn clamped(mut self) -> Self {
        self.name = cut_to_utf16(&self.name, MAX_SERVER_NAME_UNITS).to_owned();
        self.city = cut_to_utf16(&self.city, MAX_CITY_UNITS).to_owned();
        self
    }
}

fn take_over<T: PartialEq>(value: &mut T, before: &T, after: T) {
    if *before != after {
        *value = after;
    }
}

/// Cut to its limit; an empty welcome is none.
pub(super) fn clamped_welcome(text: String) -> Option<String> {
    let text = cut_to_utf16(&text, MAX_CHAT_UNITS).to_owned();
    (!text.trim().is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed_in(address: &str) -> Config {
        Config { directory: DirectoryChoice::Address(address.into()), ..Config::default() }
    }

    fn a_directory() -> Config {
        Config { own_directory: Some(OwnDirectory::default()), ..Config::default() }
    }

    #[test]
    fn what_has_not_changed_in_the_file_stays_as_others_have_set_it() {
        let file = Config { welcome: Some("file".into()), ..listed_in("one.example.org") };
        let mut running = Config { welcome: Some("rpc".into()), ..listed_in("two.example.org") };
        running.profile.name = "rpc".into();
        let expected = running.clone();
        running.apply(&file.live(), file.live());
        assert_eq!(running, expected);

        let mut changed = file.live();
        changed.welcome = None;
        changed.profile.city = "Ulm".into();
        changed.licence = true;
        running.apply(&file.live(), changed);
        let profile = ServerProfile { city: "Ulm".into(), ..expected.profile.clone() };
        assert_eq!(running, Config { welcome: None, licence: true, profile, ..expected });
    }

    #[test]
    fn what_is_taken_over_is_within_its_limits() {
        let mut running = Config::default();
        let mut changed = running.live();
        changed.welcome = Some(" ".into());
        changed.profile.name = "x".repeat(2 * MAX_SERVER_NAME_UNITS);
        running.apply(&Config::default().live(), changed);
        assert_eq!((running.welcome, running.profile.name.len()), (None, MAX_SERVER_NAME_UNITS));
    }

    #[test]
    fn a_listed_server_does_not_become_a_directory_nor_the_other_way_round() {
        let listed = listed_in("one.example.org");
        let mut running = listed.clone();
        running.apply(&listed.live(), a_directory().live());
        assert_eq!(running, listed, "it stays listed");
        running.apply(&a_directory().live(), listed_in("two.example.org").live());
        assert_eq!(running, listed_in("two.example.org"));
        let mut running = a_directory();
        running.apply(&a_directory().live(), listed.live());
        assert_eq!(running, a_directory());
    }
}
