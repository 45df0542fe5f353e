//! A running server as its admin sees it: who is there, and how well it goes.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use super::config::ServerProfile;
use crate::protocol::{ChannelInfo, PacketLayout, RegistrationResult};
use crate::units::{BufferSize, ChannelId};

pub use crate::session::RegistrationStatus;

/// Everything that an admin may know, at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// Since the server started.
    pub uptime: Duration,
    /// Slots.
    pub max_clients: usize,
    /// What the server says about itself.
    pub profile: ServerProfile,
    /// The welcome text; empty when there is none.
    pub welcome: String,
    /// Being listed in a directory.
    pub directory: DirectoryStatus,
    /// Servers listed here besides this one; `None` when this server is no directory.
    pub listed_servers: Option<usize>,
    /// Recording.
    pub recorder: RecorderStatus,
    /// Everyone who has a slot, ascending by channel.
    pub clients: Vec<ClientStatus>,
    /// Bans in force: address and what is left of the time.
    pub bans: Vec<(std::net::IpAddr, Duration)>,
    /// Counters since the start.
    pub counters: Counters,
}

/// How far the registration with a directory is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirectoryStatus {
    /// As the admin wrote it; empty when the server is private.
    pub address: String,
    /// How far it is.
    pub registration: RegistrationStatus,
}

/// Recording, as an admin sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecorderStatus {
    /// The server has a folder to record into.
    pub is_available: bool,
    /// Recording is on: a session runs as soon as somebody plays.
    pub is_enabled: bool,
    /// A session's files are being written.
    pub is_recording: bool,
    /// Where sessions' folders go; empty when there is none.
    pub directory: String,
    /// Why recording is impossible or has stopped; empty when all is well.
    pub error: String,
    /// Frames that could not be written in time and became silence in the files.
    pub lost_frames: u64,
}

/// One client, as an admin sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientStatus {
    /// Its slot.
    pub channel: ChannelId,
    /// From where.
    pub address: SocketAddr,
    /// Since its first datagram.
    pub connected: Duration,
    /// Who it is; `None` until it has told.
    pub info: Option<ChannelInfo>,
    /// Codec, frame size and packing; `None` until it has told.
    pub layout: Option<PacketLayout>,
    /// What it wants for its jitter buffer here.
    pub buffer_size: BufferSize,
    /// Size of that buffer now, in frames; 0 without a stream.
    pub buffer_frames: u8,
    /// Round trip of the last acknowledged message.
    pub round_trip: Option<Duration>,
    /// Level 0..=9 as in level lists.
    pub level: u8,
    /// Its smoothed peak in dBFS, −∞ for silence.
    pub level_db: f32,
    /// Sound from it.
    pub stream: StreamCounters,
    /// Datagrams from and to it.
    pub traffic: TrafficCounters,
}

/// What became of a client's frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamCounters {
    /// Frames that have arrived.
    pub received: u64,
    /// Of those, too late to be played.
    pub late: u64,
    /// Frames that never arrived.
    pub lost: u64,
    /// Frames made up for late and lost ones.
    pub concealed: u64,
    /// Frames left out or put in to bring the buffer back to its target.
    pub slipped: u64,
}

/// Datagrams and bytes, both ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrafficCounters {
    /// Datagrams received.
    pub packets_in: u64,
    /// Their bytes, without headers.
    pub bytes_in: u64,
    /// Datagrams sent.
    pub packets_out: u64,
    /// Their bytes, without headers.
    pub bytes_out: u64,
}

impl TrafficCounters {
    /// Counts a datagram received.
    pub(super) fn count_in(&mut self, bytes: usize) {
        self.packets_in += 1;
        self.bytes_in += bytes as u64;
    }

    /// Counts a datagram sent.
    pub(super) fn count_out(&mut self, bytes: usize) {
        self.packets_out += 1;
        self.bytes_out += bytes as u64;
    }
}

impl StreamCounters {
    /// Adds another stream's.
    pub fn add(&mut self, more: Self) {
        self.received += more.received;
        self.late += more.late;
        self.lost += more.lost;
        self.concealed += more.concealed;
        self.slipped += more.slipped;
    }
}

/// Counters since the start. They only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Everything received and sent.
    pub traffic: TrafficCounters,
    /// Frames of all clients, also of those who are gone.
    pub frames: StreamCounters,
    /// Datagrams that were dropped, by [`DropReason`] as index.
    pub dropped: [u64; DropReason::ALL.len()],
    /// Clients that have joined.
    pub joined: u64,
    /// Ticks mixed.
    pub ticks: u64,
    /// Ticks that began more than one tick late and were made up for.
    pub late_ticks: u64,
    /// Times that the server was so late that it gave up ticks.
    pub resynchronised: u64,
    /// Datagrams that the system refused to send.
    pub refused: u64,
    /// How late ticks began: ticks that were at most [`LATENESS_BOUNDS_MICROS`] late, one count per bound (not
    /// cumulative), and one more for all that were later.
    pub lateness: [u64; LATENESS_BOUNDS_MICROS.len() + 1],
    /// Sum of all lateness, in microseconds.
    pub lateness_sum_micros: u64,
    /// CPU time of the tick thread, in microseconds; 0 where the system cannot tell.
    pub cpu_micros: u64,
}

/// Upper bounds of the lateness histogram, in microseconds.
pub const LATENESS_BOUNDS_MICROS: [u64; 10] = [50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000];

/// Why a datagram was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// From a banned address.
    Banned,
    /// All slots are taken.
    ServerFull,
    /// A message from an address without a slot.
    Stranger,
    /// Sound of the wrong size, or before its format is known.
    WrongSize,
    /// Not understood.
    Malformed,
    /// A question whose answer would exceed the limits.
    AnswerLimit,
    /// Our own datagrams: more than may wait.
    OutboxFull,
}

impl DropReason {
    /// All, in the order of [`Counters::dropped`].
    pub const ALL: [Self; 7] = [
        Self::Banned,
        Self::ServerFull,
        Self::Stranger,
        Self::WrongSize,
        Self::Malformed,
        Self::AnswerLimit,
        Self::OutboxFull,
    ];

    /// Its name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Banned => "banned",
            Self::ServerFull => "server_full",
            Self::Stranger => "stranger",
            Self::WrongSize => "wrong_size",
            Self::Malformed => "malformed",
            Self::AnswerLimit => "answer_limit",
            Self::OutboxFull => "outbox_full",
        }
    }
}

impl fmt::Display for DirectoryStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.address.is_empty() {
            return f.write_str("Not listed in any directory");
        }
        let address = &self.address;
        match self.registration {
            RegistrationStatus::NotRegistered => write!(f, "Not listed in {address}"),
            RegistrationStatus::BadAddress => {
                write!(
                    f,
                    "The directory {address} has no IPv4 address. Check its name and this machine's DNS"
                )
            }
            RegistrationStatus::Requested => write!(f, "Asking {address} to list this server"),
            RegistrationStatus::TimedOut => {
                write!(f, "The directory {address} does not answer; it is asked again in a while")
            }
            RegistrationStatus::UnknownResponse => {
                write!(f, "The directory {address} answers something unknown")
            }
            RegistrationStatus::Answered(RegistrationResult::Registered) => write!(f, "Listed in {address}"),
            RegistrationStatus::Answered(RegistrationResult::ListFull) => {
                write!(f, "The list of {address} is full. Choose another directory")
            }
            RegistrationStatus::Answered(RegistrationResult::VersionTooOld) => {
                write!(f, "The directory {address} wants a newer server version")
            }
            RegistrationStatus::Answered(RegistrationResult::RequirementsNotFulfilled) => {
                write!(f, "The directory {address} does not accept this server")
            }
        }
    }
}

impl fmt::Display for RecorderStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.error.is_empty() && !self.is_available {
            return f.write_str(&self.error);
        }
        if !self.error.is_empty() {
            return write!(f, "Recording has stopped: {}", self.error);
        }
        match (self.is_enabled, self.is_recording) {
            (true, true) => write!(f, "Recording into {}", self.directory),
            (true, false) => write!(f, "Recording begins when somebody plays"),
            (false, _) => write!(f, "Not recording"),
        }
    }
}
