//! What a server is told at its start.

use crate::units::{FrameSize, MAX_CHANNELS, MAX_CHAT_UNITS};

/// Settings of the core: everything that shapes its answers and its mix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Slots, `1..=MAX_CHANNELS`; values outside are clamped.
    pub max_clients: usize,
    /// Samples per tick: 128, or 64 for "fast update".
    pub frame: FrameSize,
    /// Shown to everyone who joins, may contain HTML; cut to [`MAX_CHAT_UNITS`].
    pub welcome: Option<String>,
    /// Reachable through IPv6 as well: only told to those who ask, the core itself does not care.
    pub ipv6: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_clients: 10, frame: FrameSize::Samples128, welcome: None, ipv6: true }
    }
}

impl Config {
    /// The same with every value inside its limits; an empty welcome is none.
    pub(super) fn clamped(mut self) -> Self {
        self.max_clients = self.max_clients.clamp(1, MAX_CHANNELS);
        self.welcome = self
            .welcome
            .map(|text| crate::protocol::cut_to_utf16(&text, MAX_CHAT_UNITS).to_owned())
            .filter(|text| !text.trim().is_empty());
        self
    }
}
