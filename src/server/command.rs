//! What an admin may ask of a running server, whoever carries it: JSON-RPC, signals, a console.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::config::{DirectoryChoice, LiveConfig};
use crate::units::ChannelId;

/// Longest ban; a longer one is shortened to it.
pub const MAX_BAN: Duration = Duration::from_secs(30 * 24 * 3600);
/// Most addresses banned at a time.
pub const MAX_BANS: usize = 1000;

/// A change to a running server, or a word to its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Changes what differs between two configurations, so that what others have set since stays when the
    /// file has not changed.
    Reload {
        /// What was loaded last.
        before: Box<LiveConfig>,
        /// What has been loaded now.
        after: Box<LiveConfig>,
    },
    /// Sets the name that directories and consoles are told.
    SetName(String),
    /// Sets or removes the welcome text for those who join from now on.
    SetWelcome(Option<String>),
    /// Registers with another directory, or with none.
    SetDirectory(DirectoryChoice),
    /// A directory's name has been looked up.
    DirectoryResolved {
        /// As it was asked for; the answer counts only while it is the directory's.
        name: String,
        /// IPv4 only, best first; empty when the look-up failed.
        addresses: Vec<SocketAddr>,
    },
    /// Says something to everyone, as it is: no name, nothing escaped.
    Broadcast(String),
    /// Says something to one client, as it is.
    Whisper {
        /// To whom.
        to: ChannelId,
        /// 1..=1600 UTF-16 units.
        text: String,
    },
    /// Sends a client away; it may come back.
    Kick(ChannelId),
    /// Sends away everyone at an address and lets nobody in from there.
    Ban {
        /// Whom.
        whom: BanTarget,
        /// For how long, at most [`MAX_BAN`]; zero lifts the ban.
        duration: Duration,
    },
    /// Turns recording on, off, or begins a new session's folder.
    Record(RecordCommand),
}

/// Whom to ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BanTarget {
    /// The client in this slot, by its address.
    Client(ChannelId),
    /// Everyone at this address.
    Address(IpAddr),
}

/// What to do about recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordCommand {
    /// Record from now on.
    Start,
    /// Stop, and finish the files.
    Stop,
    /// Stop if recording, else start (SIGUSR2).
    Toggle,
    /// Begin a new session (SIGUSR1); starts if stopped.
    Restart,
    /// Record into this folder from the next session on; recording begins unless it has been stopped. Empty: nowhere.
    SetDirectory(PathBuf),
}

/// Why a command was refused. `Display` is one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// There is nobody in that slot.
    #[error("There is no client {0}.")]
    NoSuchClient(u8),
    /// Empty or too long.
    #[error("A chat text has 1 to 1600 characters.")]
    BadText,
    /// The server has no recording folder.
    #[error("This server cannot record: start it with --recording and a folder.")]
    NoRecorder,
    /// The folder cannot be used.
    #[error("{0}")]
    BadRecordingDirectory(String),
    /// It cannot be listed in another one.
    #[error("This server is a directory itself, which changes only when it is started again.")]
    IsDirectory,
    /// [`MAX_BANS`] are.
    #[error("Too many addresses are banned already.")]
    TooManyBans,
    /// The server has stopped, or does not answer within a second.
    #[error("The server does not answer.")]
    Gone,
}
