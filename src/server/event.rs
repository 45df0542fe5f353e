//! What a server reports about itself, for logs and consoles.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::plain::plain;
use super::status::{DirectoryStatus, RecorderStatus};
use crate::units::ChannelId;

/// Something that happened. `Display` is one line of plain text, whatever a peer calls itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Someone has told who they are and is in the mix now.
    Joined {
        /// The slot.
        channel: ChannelId,
        /// From where.
        address: SocketAddr,
        /// Their name; may be empty.
        name: String,
    },
    /// A slot was taken by a new address, which has not yet told who it is.
    Connected {
        /// The slot.
        channel: ChannelId,
        /// From where.
        address: SocketAddr,
        /// Slots taken now, this one included.
        clients: usize,
    },
    /// Someone has changed what they tell about themselves.
    Renamed {
        /// The slot.
        channel: ChannelId,
        /// Their name now; may be empty.
        name: String,
    },
    /// A chat line was sent to everyone.
    Chat {
        /// Who said it; `None` when an admin did.
        channel: Option<ChannelId>,
        /// The finished HTML.
        line: String,
    },
    /// The registration with a directory has changed.
    Directory(DirectoryStatus),
    /// The list of our own directory could not be written; told once until it can be again.
    ListNotSaved {
        /// Its file.
        path: PathBuf,
        /// What the system says.
        error: String,
    },
    /// Recording has changed.
    Recorder(RecorderStatus),
    /// Recording goes on, and something is missing from it: one sentence.
    RecorderWarning(String),
    /// Someone is gone.
    Left {
        /// The slot that is free now.
        channel: ChannelId,
        /// From where.
        address: SocketAddr,
        /// Their last name; `None` for those who never joined.
        name: Option<String>,
        /// Why.
        reason: LeaveReason,
    },
}

/// Why a client left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaveReason {
    /// It said so.
    Left,
    /// Nothing was heard of it for [`crate::units::CONNECTION_TIMEOUT`].
    TimedOut,
    /// An admin sent it away.
    Kicked,
    /// An admin banned its address.
    Banned,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Joined { channel, address, name } => {
                write!(f, "{} joined from {address} (channel {})", Name(name), channel.0)
            }
            Self::Connected { channel, address, clients } => {
                write!(f, "Somebody connects from {address} (channel {}, {clients} in all)", channel.0)
            }
            Self::Renamed { channel, name } => {
                write!(f, "Channel {} is {} now", channel.0, Name(name))
            }
            Self::Chat { channel: Some(channel), .. } => write!(f, "Chat from channel {}", channel.0),
            Self::Chat { channel: None, .. } => write!(f, "Chat from the admin"),
            Self::Directory(status) => write!(f, "{status}"),
            Self::ListNotSaved { path, error } => {
                let path = path.display().to_string();
                write!(f, "The directory's list cannot be written to {}: {error}.", plain(&path))
            }
            Self::Recorder(status) => write!(f, "{status}"),
            Self::RecorderWarning(sentence) => f.write_str(sentence),
            Self::Left { channel, address, name, reason } => {
                let how = match reason {
                    LeaveReason::Left => "left",
                    LeaveReason::TimedOut => "was lost (nothing heard for 30 s)",
                    LeaveReason::Kicked => "was sent away",
                    LeaveReason::Banned => "was banned",
                };
                let name = name.as_deref().unwrap_or_default();
                write!(f, "{} {how}: {address} (channel {})", Name(name), channel.0)
            }
        }
    }
}

/// A name that cannot forge log lines or move the cursor of a terminal.
struct Name<'a>(&'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = plain(self.0);
        f.write_str(if shown.is_empty() { "(no name)" } else { &shown })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_plain_whatever_the_name() {
        let address = "192.0.2.7:22134".parse().unwrap();
        let joined = |name: &str| Event::Joined { channel: ChannelId(3), address, name: name.into() };
        assert_eq!(joined("Zoë").to_string(), "Zoë joined from 192.0.2.7:22134 (channel 3)");
        assert_eq!(joined("a\n\u{1b}[2Jb").to_string(), "a[2Jb joined from 192.0.2.7:22134 (channel 3)");
        let turned = joined("\u{202e}a\u{2028}b\u{200b}").to_string();
        assert_eq!(turned, "ab joined from 192.0.2.7:22134 (channel 3)");
        let left = Event::Left { channel: ChannelId(3), address, name: None, reason: LeaveReason::TimedOut };
        assert_eq!(
            left.to_string(),
            "(no name) was lost (nothing heard for 30 s): 192.0.2.7:22134 (channel 3)"
        );
    }
}
