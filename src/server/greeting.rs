//! What every new client is told, in which order, and how a long welcome text waits.

use std::time::Duration;

use crate::protocol::{MAX_PART_BYTES, Message, Os, RecorderState};
use crate::session::Connection;
use crate::units::{ChannelId, Time};

use super::chat::welcome_line;
use super::config::Config;

/// Our version text: stock clients compare its leading digits (≥ 3.6.0 turns their counter on) and show
/// the rest; old ones drop anything beyond 20 units. Source: docs/PROTOCOL.md §1, §2.
pub(super) const VERSION_TEXT: &str =
    concat!("4.0.0-jamulet", env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR"));

/// Longest text, in bytes, whose message leaves in one piece without asking.
const MAX_SHORT_TEXT_BYTES: usize = MAX_PART_BYTES - 2;
/// To this a longer welcome is cut for clients that cannot split, in bytes. Whole, it could be a datagram of
/// 5 kB, which few paths carry; with frame and length this makes one of 1200 bytes, which all do.
const MAX_UNSPLIT_TEXT_BYTES: usize = 1200 - 9 - 2;
/// How long a long welcome waits, after everything before it has been acknowledged, for the client to say
/// that it understands split messages.
const SPLIT_PATIENCE: Duration = Duration::from_secs(1);

/// The only licence that the protocol knows. Source: docs/PROTOCOL.md §2.
const CREATIVE_COMMONS: u8 = 1;

/// What a greeting says.
pub(super) struct GreetingWords<'a> {
    pub(super) raw_audio: bool,
    pub(super) welcome: Option<&'a str>,
    pub(super) licence: bool,
    pub(super) recorder: RecorderState,
}

impl<'a> GreetingWords<'a> {
    /// As `config` wants it, for a server without recorder.
    pub(super) fn of(config: &'a Config) -> Self {
        Self {
            raw_audio: config.raw_audio,
            welcome: config.welcome.as_deref(),
            licence: config.licence,
            recorder: RecorderState::NotInitialised,
        }
    }
}

/// The end of a greeting, held back because of a long welcome.
pub(super) struct Greeting {
    welcome: String,
    licence: bool,
    recorder: RecorderState,
    /// Everything before the welcome had been acknowledged then.
    asked: Option<Time>,
}

impl Greeting {
    /// Greets the client in `channel`, in the order of docs/PROTOCOL.md §2. What comes back has to be told
    /// later, when it is known whether the client understands split messages.
    pub(super) fn begin(
        now: Time,
        channel: ChannelId,
        words: &GreetingWords<'_>,
        connection: &mut Connection,
    ) -> Option<Self> {
        connection.send(now, &Message::ClientId(channel));
        if words.raw_audio {
            connection.send(now, &Message::RawAudioSupported);
        }
        let questions = [
            Message::ClientList(Vec::new()),
            Message::RequestSplitSupport,
            Message::RequestTransportProperties,
            Message::RequestJitterBufferSize,
            Message::RequestChannelInfo,
        ];
        for message in &questions {
            connection.send(now, message);
        }
        let rest = Self {
            welcome: words.welcome.map(welcome_line).unwrap_or_default(),
            licence: words.licence,
            recorder: words.recorder,
            asked: None,
        };
        if rest.welcome.len() > MAX_SHORT_TEXT_BYTES {
            return Some(rest);
        }
        rest.finish(now, connection);
        None
    }

    /// What is to be said about recording has changed meanwhile.
    pub(super) fn set_recorder_state(&mut self, state: RecorderState) {
        self.recorder = state;
    }

    /// Cuts the welcome once the client has been silent about splitting for long enough. Tells whether it
    /// has: then it is time to [`Self::finish`].
    pub(super) fn cut_if_late(&mut self, now: Time, connection: &Connection) -> bool {
        if self.asked.is_none() && connection.is_idle() {
            self.asked = Some(now);
        }
        let is_late = self.poll_timeout().is_some_and(|due| due <= now);
        if is_late {
            let end = self.welcome.floor_char_boundary(MAX_UNSPLIT_TEXT_BYTES);
            self.welcome.truncate(end);
        }
        is_late
    }

    /// When to call [`Self::cut_if_late`].
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.asked.map(|asked| asked + SPLIT_PATIENCE)
    }

    /// Tells the rest.
    pub(super) fn finish(self, now: Time, connection: &mut Connection) {
        if !self.welcome.is_empty() {
            connection.send(now, &Message::ChatText(self.welcome));
        }
        if self.licence {
            connection.send(now, &Message::LicenceRequired(CREATIVE_COMMONS));
        }
        connection.send(now, &Message::VersionAndOs { os: our_os(), version: VERSION_TEXT.to_owned() });
        connection.send(now, &Message::RecorderState(self.recorder));
    }
}

/// The system that this server runs on, as the protocol names it.
pub(super) const fn our_os() -> Os {
    if cfg!(windows) {
        Os::WINDOWS
    } else if cfg!(target_os = "macos") {
        Os::MACOS
    } else if cfg!(target_os = "linux") {
        Os::LINUX
    } else {
        Os::UNIX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_version_suits_the_oldest_client() {
        assert!(VERSION_TEXT.len() <= 20, "{VERSION_TEXT}");
    }
}
