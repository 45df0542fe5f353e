//! What the client shows to the world: one immutable picture, replaced whenever something changes.

use std::net::SocketAddr;
use std::sync::Arc;

use super::Delay;
use super::mix_memory::Remembered;
use super::mixer::Strip;
use crate::protocol::{ClientEntry, RecorderState};
use crate::units::{ChannelId, StreamFormat};

/// Everything a window shows except meters (those are atomics: [`super::Handle::meters`]).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Where the connection stands.
    pub state: ConnectionState,
    /// What the user asked for, as typed; empty before the first connect.
    pub address: String,
    /// Who is there, own entry included, ascending by channel.
    pub clients: Vec<ClientEntry>,
    /// Level of each of `clients`, 0..=9, same order; empty until the server sends some.
    pub levels: Vec<u8>,
    /// How we hear each of `clients`, same order.
    pub strips: Vec<Strip>,
    /// How people were heard when this instance last heard them otherwise, latest first; empty before that.
    pub remembered: Arc<[Remembered]>,
    /// Channels that have muted us.
    pub muted_by: Vec<ChannelId>,
    /// Chat lines, oldest first, at most [`MAX_CHAT_LINES`]: as received (HTML, not trusted).
    pub chat: Vec<String>,
    /// Welcome text as received (HTML, not trusted).
    pub welcome: Option<String>,
    /// A licence must be accepted before playing.
    pub licence_required: bool,
    /// What the server's recorder does.
    pub recorder: RecorderState,
    /// The server's version text, once told.
    pub server_version: Option<String>,
    /// Round trip in ms: median of the last 2 s.
    pub ping_ms: Option<f32>,
    /// How long the own sound takes to the server and back to the ear; `None` until it is measured.
    pub delay: Option<Delay>,
    /// The stream in use.
    pub format: Option<StreamFormat>,
    /// Our jitter buffer's size now, in frames.
    pub client_buffer_frames: u8,
    /// Frames in our jitter buffer beyond what it wants, mean of the last 2 s; `None` while unknown.
    pub client_surplus_frames: Option<f32>,
    /// How much faster the server's clock is than the host's, in parts per million; `None` while unknown.
    pub drift_ppm: Option<f32>,
    /// How late "me, aligned" is, and how that is known.
    pub alignment: Alignment,
    /// How often it had to grow while the host's transport was rolling: each is a joint in what was recorded.
    pub alignment_grown: u64,
    /// The server's jitter buffer for us, in frames, as set or as last told.
    pub server_buffer_frames: Option<u8>,
    /// Counted since the connection began.
    pub stats: Stats,
    /// Upstream rate in kbit/s including UDP/IP headers.
    pub upstream_kbps: f32,
    /// What the host does with the plugin; [`HostActivity::Steady`] while no session is up.
    pub host: HostActivity,
    /// The track's input gets the session back, and the same sound went round: what is sent is muted until
    /// [`super::Handle::send_again`].
    pub feedback: bool,
    /// A panic was contained: what part of Jamulet stopped, in one sentence.
    pub fault: Option<String>,
}

/// Most chat lines kept.
pub const MAX_CHAT_LINES: usize = 500;

/// Where the connection stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ConnectionState {
    /// Not connected, nothing wrong.
    #[default]
    Idle,
    /// Looking the name up.
    Resolving,
    /// Sending; the server has not answered yet.
    Connecting {
        /// Where to.
        server: SocketAddr,
    },
    /// In the session.
    Connected {
        /// The server.
        server: SocketAddr,
        /// Our slot.
        channel: ChannelId,
    },
    /// The session was lost; the next attempt to get back into it comes by itself.
    Waiting(Failure),
    /// Not connected; why, and what to do.
    Failed(Failure),
}

/// Why there is no connection. `Display` is one sentence with the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The address could not be understood.
    #[error("{0}")]
    BadAddress(String),
    /// The name does not resolve.
    #[error("{host} was not found. Check the spelling of the address and your internet connection.")]
    NotFound {
        /// The name.
        host: String,
    },
    /// Nothing came back within 5 s.
    #[error(
        "No answer from {server} within 5 s. Check address and port, and whether a firewall blocks UDP; the server may be off."
    )]
    NoAnswer {
        /// The server.
        server: SocketAddr,
    },
    /// Every slot is taken.
    #[error("{server} is full. Try again when somebody has left, or choose another server.")]
    ServerFull {
        /// The server.
        server: SocketAddr,
    },
    /// The server said goodbye.
    #[error("{server} ended the connection.")]
    Closed {
        /// The server.
        server: SocketAddr,
    },
    /// Nothing came for 30 s.
    #[error("The connection to {server} was lost: nothing arrived for 30 s. Check your network.")]
    TimedOut {
        /// The server.
        server: SocketAddr,
    },
    /// The audio codec cannot be made: a broken build.
    #[error("Jamulet's audio codec does not work in this build ({reason}). Install it again.")]
    Audio {
        /// What the codec says.
        reason: String,
    },
    /// The system refused a socket.
    #[error(
        "The network cannot be used ({reason}). Check that this computer is online and that no firewall blocks this program."
    )]
    Socket {
        /// The system's words.
        reason: String,
    },
}

/// How late our own sound comes back, in ms at the host: what "me, aligned" is delayed by.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Alignment {
    /// No session, or nothing is known yet.
    #[default]
    Unknown,
    /// From the ping and the sizes of buffers; or measured, and something may have moved it since.
    Estimated(f32),
    /// Found in the sound, to the sample.
    Exact(f32),
}

/// How the host calls `process()` during a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostActivity {
    /// As sound passes.
    #[default]
    Steady,
    /// Not at all for a while: silence is sent.
    Stopped,
    /// Several blocks at once and then none, again and again: each lump is delay.
    Bursts,
    /// Faster than time passes, or so it says: silence is sent, and the track's own sound passes.
    Rendering,
}

/// Counters since the connection began, in frames unless said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Packets sent.
    pub sent: u64,
    /// Packets received.
    pub received: u64,
    /// Frames that never arrived.
    pub lost: u64,
    /// Frames that arrived too late to be played.
    pub late: u64,
    /// Frames concealed (lost, late or not there yet).
    pub concealed: u64,
    /// Frames left out or put in to bring the buffer back to its target.
    pub slipped: u64,
    /// Frames of ours not sent, in rests of the track, to lie closer to the server's next tick.
    pub held_back: u64,
    /// Packets of the wrong size.
    pub wrong_size: u64,
}
