//! Connected messages (`docs/PROTOCOL.md` §2): every id of a connection but ACK (1) and the split
//! container (2001), which `frame` and `split` hold.
//!
//! The body's layout stands at each variant; longer records have their own files.

use super::audio_packet::TransportProperties;
use super::channel_info::{ChannelInfo, ClientEntry};
use super::error::ParseError;
use super::wire::{Reader, put_list, put_text, put_u16};
use crate::units::{ChannelId, MAX_BUFFER_FRAMES, MAX_CHAT_UNITS, MAX_VERSION_UNITS, MIN_BUFFER_FRAMES};

/// A connected message: acknowledged, one in flight per direction. Source: `docs/PROTOCOL.md` §2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// 10: size of a jitter buffer.
    JitterBufferSize(JitterBufferSize),
    /// 11: asks for 10.
    RequestJitterBufferSize,
    /// 13: how loud the receiver of this should hear `channel`; 32768 = unity.
    ChannelGain {
        /// Whose gain.
        channel: ChannelId,
        /// gain · 2¹⁵.
        gain: u16,
    },
    /// 16: asks for 24.
    RequestClientList,
    /// 18: chat: plain text to the server, HTML from it.
    ChatText(String),
    /// 20: stream properties.
    TransportProperties(TransportProperties),
    /// 21: asks for 20.
    RequestTransportProperties,
    /// 23: asks for 25.
    RequestChannelInfo,
    /// 24: who is connected, ascending by channel, the receiver included.
    ClientList(Vec<ClientEntry>),
    /// 25: who the sender is.
    ChannelInfo(ChannelInfo),
    /// 26: the server wants Opus (its answer to CELT).
    OpusSupported,
    /// 27: the licence to accept before playing; 0 none, 1 Creative Commons.
    LicenceRequired(u8),
    /// 28: asks for level lists (obsolete, sent by every stock client).
    RequestLevelList(u8),
    /// 29: operating system and version.
    VersionAndOs {
        /// Operating system.
        os: Os,
        /// Version text; ours stays ≤ 20 units.
        version: String,
    },
    /// 30: where the receiver of this should hear `channel`; 0 left, 16384 centre, 32768 right.
    ChannelPan {
        /// Whose pan.
        channel: ChannelId,
        /// pan · 2¹⁵.
        pan: u16,
    },
    /// 31: `channel` has muted (or unmuted) the receiver.
    MuteStateChanged {
        /// Who did it.
        channel: ChannelId,
        /// Whether the receiver is muted now.
        muted: bool,
    },
    /// 32: the receiver's channel; first message of a connection.
    ClientId(ChannelId),
    /// 33: recorder state.
    RecorderState(RecorderState),
    /// 34: asks whether split messages are understood.
    RequestSplitSupport,
    /// 35: they are.
    SplitSupported,
    /// 36: the server takes and sends uncompressed audio (4.0).
    RawAudioSupported,
}

/// Size of a jitter buffer as it travels (id 10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JitterBufferSize {
    /// This many frames, `1..=20`.
    Frames(u8),
    /// Let the server choose.
    Auto,
}

/// What the server's recorder is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RecorderState {
    /// The server cannot record.
    #[default]
    NotInitialised,
    /// It can, and does not.
    NotEnabled,
    /// Recording is on.
    Recording,
}

/// Operating system of a peer; any byte may arrive, and unknown ones are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Os(pub u8);

impl Os {
    /// Windows.
    pub const WINDOWS: Self = Self(0);
    /// macOS.
    pub const MACOS: Self = Self(1);
    /// Linux.
    pub const LINUX: Self = Self(2);
    /// Android.
    pub const ANDROID: Self = Self(3);
    /// iOS.
    pub const IOS: Self = Self(4);
    /// Another Unix.
    pub const UNIX: Self = Self(5);
}

/// "Auto" as it travels in message 10.
const AUTO_BUFFER: u16 = 21;

impl Message {
    /// The id of its frame.
    pub fn id(&self) -> u16 {
        match self {
            Self::JitterBufferSize(_) => 10,
            Self::RequestJitterBufferSize => 11,
            Self::ChannelGain { .. } => 13,
            Self::RequestClientList => 16,
            Self::ChatText(_) => 18,
            Self::TransportProperties(_) => 20,
            Self::RequestTransportProperties => 21,
            Self::RequestChannelInfo => 23,
            Self::ClientList(_) => 24,
            Self::ChannelInfo(_) => 25,
            Self::OpusSupported => 26,
            Self::LicenceRequired(_) => 27,
            Self::RequestLevelList(_) => 28,
            Self::VersionAndOs { .. } => 29,
            Self::ChannelPan { .. } => 30,
            Self::MuteStateChanged { .. } => 31,
            Self::ClientId(_) => 32,
            Self::RecorderState(_) => 33,
            Self::RequestSplitSupport => 34,
            Self::SplitSupported => 35,
            Self::RawAudioSupported => 36,
        }
    }

    /// Parses the body of a frame, or of what an [`super::Assembler`] gave.
    ///
    /// # Errors
    /// [`ParseError::UnknownId`] for ids that are no connected message (ACK and the split
    /// container included), else what is wrong with the body.
    pub fn parse(id: u16, body: &[u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(body);
        let message = Self::read(id, &mut reader)?;
        reader.finish()?;
        Ok(message)
    }

    /// Appends the body of its frame.
    pub fn write_body(&self, out: &mut Vec<u8>) {
        match self {
            Self::JitterBufferSize(size) => size.put(out),
            Self::ChannelGain { channel, gain } => {
                out.push(channel.0);
                put_u16(out, *gain);
            }
            Self::ChatText(text) => put_text(out, text, MAX_CHAT_UNITS),
            Self::TransportProperties(properties) => properties.put(out),
            Self::ClientList(entries) => put_list(out, entries, |out, entry| entry.put(out)),
            Self::ChannelInfo(info) => info.put(out),
            Self::LicenceRequired(kind) => out.push(*kind),
            Self::RequestLevelList(wanted) => out.push(*wanted),
            Self::VersionAndOs { os, version } => put_version(out, *os, version),
            Self::ChannelPan { channel, pan } => {
                out.push(channel.0);
                put_u16(out, *pan);
            }
            Self::MuteStateChanged { channel, muted } => out.extend([channel.0, u8::from(*muted)]),
            Self::ClientId(channel) => out.push(channel.0),
            Self::RecorderState(state) => out.push(state.to_wire()),
            Self::RequestJitterBufferSize
            | Self::RequestClientList
            | Self::RequestTransportProperties
            | Self::RequestChannelInfo
            | Self::OpusSupported
            | Self::RequestSplitSupport
            | Self::SplitSupported
            | Self::RawAudioSupported => {}
        }
    }

    fn read(id: u16, reader: &mut Reader<'_>) -> Result<Self, ParseError> {
        Ok(match id {
            10 => Self::JitterBufferSize(JitterBufferSize::read(reader)?),
            11 => Self::RequestJitterBufferSize,
            13 => Self::ChannelGain { channel: ChannelId(reader.u8()?), gain: reader.u16()? },
            16 => Self::RequestClientList,
            18 => Self::ChatText(reader.text(MAX_CHAT_UNITS)?),
            20 => Self::TransportProperties(TransportProperties::read(reader)?),
            21 => Self::RequestTransportProperties,
            23 => Self::RequestChannelInfo,
            24 => Self::ClientList(reader.list(ClientEntry::read)?),
            25 => Self::ChannelInfo(ChannelInfo::read(reader)?),
            26 => Self::OpusSupported,
            27 => Self::LicenceRequired(reader.u8()?),
            28 => Self::RequestLevelList(reader.u8()?),
            29 => {
                let (os, version) = read_version(reader)?;
                Self::VersionAndOs { os, version }
            }
            30 => Self::ChannelPan { channel: ChannelId(reader.u8()?), pan: reader.u16()? },
            31 => Self::MuteStateChanged { channel: ChannelId(reader.u8()?), muted: reader.bool()? },
            32 => Self::ClientId(ChannelId(reader.u8()?)),
            33 => Self::RecorderState(RecorderState::from_wire(reader.u8()?)?),
            34 => Self::RequestSplitSupport,
            35 => Self::SplitSupported,
            36 => Self::RawAudioSupported,
            _ => return Err(ParseError::UnknownId(id)),
        })
    }
}

impl JitterBufferSize {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ParseError> {
        let value = reader.u16()?;
        match u8::try_from(value) {
            Ok(frames @ MIN_BUFFER_FRAMES..=MAX_BUFFER_FRAMES) => Ok(Self::Frames(frames)),
            _ if value == AUTO_BUFFER => Ok(Self::Auto),
            _ => Err(ParseError::InvalidValue { field: "jitter buffer size", value: value.into() }),
        }
    }

    fn put(self, out: &mut Vec<u8>) {
        put_u16(
            out,
            match self {
                Self::Frames(frames) => frames.clamp(MIN_BUFFER_FRAMES, MAX_BUFFER_FRAMES).into(),
                Self::Auto => AUTO_BUFFER,
            },
        );
    }
}

impl RecorderState {
    fn from_wire(value: u8) -> Result<Self, ParseError> {
        match value {
            1 => Ok(Self::NotInitialised),
            2 => Ok(Self::NotEnabled),
            3 => Ok(Self::Recording),
            _ => Err(ParseError::InvalidValue { field: "recorder state", value: value.into() }),
        }
    }

    fn to_wire(self) -> u8 {
        match self {
            Self::NotInitialised => 1,
            Self::NotEnabled => 2,
            Self::Recording => 3,
        }
    }
}

/// Operating system and version: the body of 29 and 1011, and the end of 1017.
pub(super) fn read_version(reader: &mut Reader<'_>) -> Result<(Os, String), ParseError> {
    Ok((Os(reader.u8()?), reader.text(MAX_VERSION_UNITS)?))
}

/// Writes what [`read_version`] reads.
pub(super) fn put_version(out: &mut Vec<u8>, os: Os, version: &str) {
    out.push(os.0);
    put_text(out, version, MAX_VERSION_UNITS);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{MAX_PART_BYTES, MAX_PARTS};
    use crate::units::{MAX_CHANNELS, MAX_CITY_UNITS, MAX_NAME_UNITS};

    fn body(message: &Message) -> Vec<u8> {
        let mut out = Vec::new();
        message.write_body(&mut out);
        out
    }

    /// Every shape of body once; `tests/protocol_golden.rs` has every id and direction.
    #[test]
    fn bodies_have_these_layouts() {
        let channel = ChannelId(7);
        for (message, bytes) in [
            (Message::JitterBufferSize(JitterBufferSize::Frames(20)), &b"\x14\x00"[..]),
            (Message::JitterBufferSize(JitterBufferSize::Auto), b"\x15\x00"),
            (Message::ChannelGain { channel, gain: 0x8000 }, b"\x07\x00\x80"),
            (Message::ChatText("é".into()), b"\x02\x00\xC3\xA9"),
            (Message::VersionAndOs { os: Os::LINUX, version: "3.9".into() }, b"\x02\x03\x003.9"),
            (Message::ChannelPan { channel, pan: 0x4000 }, b"\x07\x00\x40"),
            (Message::MuteStateChanged { channel, muted: true }, b"\x07\x01"),
            (Message::RecorderState(RecorderState::Recording), b"\x03"),
            (Message::ClientList(vec![]), b""),
            (Message::SplitSupported, b""),
        ] {
            assert_eq!(body(&message), bytes);
            assert_eq!(Message::parse(message.id(), bytes), Ok(message));
        }
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for value in [0u16, 22, 257, u16::MAX] {
            assert!(Message::parse(10, &value.to_le_bytes()).is_err(), "buffer size {value}");
        }
        assert!(Message::parse(33, &[0]).is_err());
        assert!(Message::parse(33, &[4]).is_err());
    }

    #[test]
    fn acknowledgements_containers_and_connection_less_ids_are_no_messages() {
        for id in [0, 1, 12, 37, 1001, 2001] {
            assert_eq!(Message::parse(id, &[]), Err(ParseError::UnknownId(id)));
        }
    }

    #[test]
    fn bytes_after_the_end_are_refused() {
        assert_eq!(Message::parse(34, &[0]), Err(ParseError::TrailingBytes));
        assert_eq!(Message::parse(32, &[0, 0]), Err(ParseError::TrailingBytes));
    }

    #[test]
    fn the_longest_messages_can_travel_split() {
        let info = ChannelInfo {
            name: "\u{FFFD}".repeat(MAX_NAME_UNITS),
            city: "\u{FFFD}".repeat(MAX_CITY_UNITS),
            ..ChannelInfo::default()
        };
        let list = (0..MAX_CHANNELS as u8)
            .map(|channel| ClientEntry { channel: ChannelId(channel), info: info.clone() })
            .collect();
        let list = Message::ClientList(list);
        assert!(body(&list).len() <= MAX_PARTS * MAX_PART_BYTES);
        assert_eq!(Message::parse(24, &body(&list)), Ok(list));
        let chat = Message::ChatText("\u{FFFD}".repeat(MAX_CHAT_UNITS));
        assert!(body(&chat).len() <= MAX_PARTS * MAX_PART_BYTES);
        assert_eq!(Message::parse(18, &body(&chat)), Ok(chat));
    }
}
