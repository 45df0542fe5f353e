//! The vocabulary that every room shares: newtypes with units, and every limit by name.
//! Nothing here behaves beyond converting between its own units.

use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

/// Sample rate of everything on the wire, in Hz.
pub const WIRE_RATE_HZ: u32 = 48_000;
/// UDP port of a Jamulus server unless told otherwise.
pub const DEFAULT_PORT: u16 = 22124;
/// Most participants that a server may have: channel ids are below this.
pub const MAX_CHANNELS: usize = 150;
/// Largest datagram accepted or sent, in bytes (an unsplit server list or welcome is the longest).
pub const MAX_DATAGRAM_BYTES: usize = 20_000;
/// Largest audio packet in bytes: factor 4 of raw stereo frames of 128 samples with their counters.
pub const MAX_AUDIO_PACKET_BYTES: usize = 4 * (MAX_FRAME_BYTES + 1);
/// Largest coded frame in bytes, without its counter: raw stereo, 128 samples of 16 bits.
pub const MAX_FRAME_BYTES: usize = 512;
/// Samples per channel in the longest frame.
pub const MAX_FRAME_SAMPLES: usize = 128;
/// Longest participant name, in UTF-16 code units.
pub const MAX_NAME_UNITS: usize = 16;
/// Longest city, in UTF-16 code units.
pub const MAX_CITY_UNITS: usize = 20;
/// Longest server name, in UTF-16 code units.
pub const MAX_SERVER_NAME_UNITS: usize = 20;
/// Longest chat or welcome text that is accepted, in UTF-16 code units.
pub const MAX_CHAT_UNITS: usize = 1800;
/// Longest chat text that we send, in UTF-16 code units: the server adds name and markup to it.
pub const MAX_CHAT_INPUT_UNITS: usize = 1600;
/// Longest text of an internal IP address in a registration, in UTF-16 code units.
pub const MAX_ADDRESS_UNITS: usize = 15;
/// Longest version text accepted, in UTF-16 code units.
pub const MAX_VERSION_UNITS: usize = 50;
/// A peer that sends nothing but valid messages, or nothing at all, for this long is gone.
pub const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
/// An unacknowledged message is sent again this often.
pub const RESEND_INTERVAL: Duration = Duration::from_millis(400);

/// A moment on a monotonic clock: microseconds since an arbitrary start.
///
/// The pure middle never reads a clock: doors read it and pass it in, tests invent it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The start of the clock.
    pub const ZERO: Self = Self(0);

    /// The moment `micros` microseconds after the start of the clock.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the start of the clock.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Time passed since `earlier`, or zero when `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(rhs.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl AddAssign<Duration> for Time {
    fn add_assign(&mut self, rhs: Duration) {
        *self = *self + rhs;
    }
}

impl Sub<Duration> for Time {
    type Output = Self;

    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(rhs.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// A participant's slot on a server, `0..MAX_CHANNELS` for channels of a real server; a hostile
/// peer may name any u8, so index with care.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub u8);

impl ChannelId {
    /// The id as an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Samples per channel in one coded frame at 48 kHz.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FrameSize {
    /// 64 samples, 1.33 ms ("OPUS64").
    Samples64,
    /// 128 samples, 2.67 ms ("OPUS").
    #[default]
    Samples128,
}

impl FrameSize {
    /// Samples per channel.
    pub const fn samples(self) -> usize {
        match self {
            Self::Samples64 => 64,
            Self::Samples128 => 128,
        }
    }

    /// Time that one frame lasts, rounded down to microseconds: use [`Self::nanos`] to add up.
    pub const fn duration(self) -> Duration {
        Duration::from_nanos(self.nanos())
    }

    /// Time that one frame lasts, in nanoseconds, rounded down.
    pub const fn nanos(self) -> u64 {
        self.samples() as u64 * 1_000_000_000 / WIRE_RATE_HZ as u64
    }

    /// Time that one frame lasts, in milliseconds.
    pub const fn millis(self) -> f32 {
        self.samples() as f32 * 1000.0 / WIRE_RATE_HZ as f32
    }
}

/// Channels in a stream: mono or stereo.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layout {
    /// One channel.
    Mono,
    /// Two channels, left then right.
    #[default]
    Stereo,
}

impl Layout {
    /// Number of channels, 1 or 2.
    pub const fn channels(self) -> usize {
        match self {
            Self::Mono => 1,
            Self::Stereo => 2,
        }
    }
}

/// How the bytes of one frame carry its sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coding {
    /// Opus custom mode, hard CBR, this many bytes a frame (without counter), `10..=255`.
    Opus {
        /// Bytes per frame.
        bytes: u16,
    },
    /// Interleaved little-endian i16 samples (Jamulus 4.0's "max" quality).
    Raw,
}

/// Everything that both ends must agree on to exchange frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamFormat {
    /// Samples per frame.
    pub frame: FrameSize,
    /// Channels.
    pub layout: Layout,
    /// How samples become bytes.
    pub coding: Coding,
}

impl StreamFormat {
    /// The format that stock clients use for these choices.
    pub const fn stock(frame: FrameSize, layout: Layout, quality: Quality) -> Self {
        // protocol.md §3, "Bytes per frame (without counter)".
        let bytes = match (frame, layout, quality) {
            (FrameSize::Samples128, Layout::Mono, Quality::Low) => 25,
            (FrameSize::Samples128, Layout::Mono, Quality::Normal) => 45,
            (FrameSize::Samples128, Layout::Mono, Quality::High) => 82,
            (FrameSize::Samples128, Layout::Stereo, Quality::Low) => 47,
            (FrameSize::Samples128, Layout::Stereo, Quality::Normal) => 71,
            (FrameSize::Samples128, Layout::Stereo, Quality::High) => 165,
            (FrameSize::Samples64, Layout::Mono, Quality::Low) => 12,
            (FrameSize::Samples64, Layout::Mono, Quality::Normal) => 22,
            (FrameSize::Samples64, Layout::Mono, Quality::High) => 36,
            (FrameSize::Samples64, Layout::Stereo, Quality::Low) => 24,
            (FrameSize::Samples64, Layout::Stereo, Quality::Normal) => 35,
            (FrameSize::Samples64, Layout::Stereo, Quality::High) => 73,
            (_, _, Quality::Max) => return Self { frame, layout, coding: Coding::Raw },
        };
        Self { frame, layout, coding: Coding::Opus { bytes } }
    }

    /// Bytes of one coded frame, without its counter: at most [`MAX_FRAME_BYTES`].
    pub const fn frame_bytes(self) -> usize {
        match self.coding {
            Coding::Opus { bytes } => bytes as usize,
            Coding::Raw => 2 * self.layout.channels() * self.frame.samples(),
        }
    }
}

/// Audio quality as a Jamulus user knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quality {
    /// Smallest packets.
    Low,
    /// Jamulus's default.
    #[default]
    Normal,
    /// Largest Opus packets.
    High,
    /// Uncompressed; only where the server offers it (4.0), else [`Quality::High`] is used.
    Max,
}

/// Size of a jitter buffer as the user sets it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BufferSize {
    /// Follows the network.
    #[default]
    Auto,
    /// This many frames, `MIN_BUFFER_FRAMES..=MAX_BUFFER_FRAMES`.
    Frames(u8),
}

/// What an automatic jitter buffer weighs more, in percent: 0 "tight" is the least delay, 100 "safe" the fewest
/// dropouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Safety(u8);

impl Safety {
    /// The least delay.
    pub const TIGHT: Self = Self(0);
    /// The fewest dropouts.
    pub const SAFE: Self = Self(100);

    /// This many percent, 100 at most.
    pub const fn from_percent(percent: u8) -> Self {
        Self(if percent > 100 { 100 } else { percent })
    }

    /// In percent, 0..=100.
    pub const fn percent(self) -> u8 {
        self.0
    }
}

impl Default for Safety {
    /// The middle.
    fn default() -> Self {
        Self(50)
    }
}

/// Smallest jitter buffer, in frames.
pub const MIN_BUFFER_FRAMES: u8 = 1;
/// Largest jitter buffer that the protocol can name, in frames.
pub const MAX_BUFFER_FRAMES: u8 = 20;

/// Position of Jamulus's fader (0..=100) as linear gain: 0 at 0, else 35 dB below unity to unity.
/// Source: protocol.md §3.
pub fn fader_gain(fader: f32) -> f32 {
    if fader <= 0.0 { 0.0 } else { 10f32.powf((fader.min(100.0) / 100.0 - 1.0) * 35.0 / 20.0) }
}

/// Linear gain as decibels, −∞ for zero.
pub fn gain_to_db(gain: f32) -> f32 {
    20.0 * gain.log10()
}

/// Decibels as linear gain.
pub fn db_to_gain(db: f32) -> f32 {
    10f32.powf(db / 20.0)
}
