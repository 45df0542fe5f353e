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

/// Longest text, in bytes, whose message leaves in one piece without asking. A longer welcome is cut to it
/// for clients that cannot split: whole, it could be a datagram of 5 kB, which few paths carry.
const MAX_SHORT_TEXT_BYTES: usize = MAX_PART_BYTES - 2;
/// How long a long welcome waits, after everything before it has been acknowledged, for the client to say
/// that it understands split messages.
const SPLIT_PATIENCE: Duration = Duration::from_secs(1);

/// The end of a greeting, held back because of a long welcome.
pub(super) struct Greeting {
    welcome: String,
    /// Everything before the welcome had been acknowledged then.
    asked: Option<Time>,
}

impl Greeting {
    /// Greets the client in `channel`, in the order of docs/PROTOCOL.md §2. What comes back has to be told
    /// later, when it is known whether the client understands split messages.
    pub(super) fn begin(
        now: Time,
        channel: ChannelId,
        config: &Config,
        connection: &mut Connection,
    ) -> Option<Self> {
        let questions = [
            Message::ClientId(channel),
            Message::RawAudioSupported,
            Message::ClientList(Vec::new()),
            Message::RequestSplitSupport,
            Message::RequestTransportProperties,
            Message::RequestJitterBufferSize,
            Message::RequestChannelInfo,
        ];
        for message in &questions {
            connection.send(now, message);
        }
        let welcome = config.welcome.as_deref().map(welcome_line);
        if let Some(welcome) = welcome.clone().filter(|welcome| welcome.len() > MAX_SHORT_TEXT_BYTES) {
            return Some(Self { welcome, asked: None });
        }
        finish(now, welcome, connection);
        None
    }

    /// Tells the rest whole: the client understands split messages.
    pub(super) fn finish_split(self, now: Time, connection: &mut Connection) {
        finish(now, Some(self.welcome), connection);
    }

    /// Tells the rest, cut, once the client has been silent about splitting for long enough. Tells whether
    /// it is done.
    pub(super) fn finish_if_late(&mut self, now: Time, connection: &mut Connection) -> bool {
        if self.asked.is_none() && connection.is_idle() {
            self.asked = Some(now);
        }
        let is_late = self.poll_timeout().is_some_and(|due| due <= now);
        if is_late {
            let end = self.welcome.floor_char_boundary(MAX_SHORT_TEXT_BYTES);
            self.welcome.truncate(end);
            finish(now, Some(std::mem::take(&mut self.welcome)), connection);
        }
        is_late
    }

    /// When to call [`Self::finish_if_late`].
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.asked.map(|asked| asked + SPLIT_PATIENCE)
    }
}

fn finish(now: Time, welcome: Option<String>, connection: &mut Connection) {
    if let Some(welcome) = welcome {
        connection.send(now, &Message::ChatText(welcome));
    }
    connection.send(now, &Message::VersionAndOs { os: our_os(), version: VERSION_TEXT.to_owned() });
    connection.send(now, &Message::RecorderState(RecorderState::NotInitialised));
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
