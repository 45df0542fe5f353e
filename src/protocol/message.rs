//! Every message of the protocol as a type. Parsing and emitting are in the files beside this one.

use crate::units::ChannelId;

/// A participant's description of themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ChannelInfo {
    /// Qt 5 `QLocale::Country` number, 0 = none.
    pub country: u16,
    /// Index into the instrument table, 0 = none.
    pub instrument: u32,
    /// Skill level.
    pub skill: Skill,
    /// Name ("fader tag"), at most [`crate::units::MAX_NAME_UNITS`].
    pub name: String,
    /// City, at most [`crate::units::MAX_CITY_UNITS`].
    pub city: String,
}

/// Skill level; any byte may arrive, and unknown ones are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Skill(pub u8);

impl Skill {
    /// Not told.
    pub const NONE: Self = Self(0);
    /// Beginner.
    pub const BEGINNER: Self = Self(1);
    /// Intermediate.
    pub const INTERMEDIATE: Self = Self(2);
    /// Expert.
    pub const EXPERT: Self = Self(3);
}

/// One line of a client list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientEntry {
    /// The slot.
    pub channel: ChannelId,
    /// Who sits in it.
    pub info: ChannelInfo,
}

/// Stream properties as they travel (id 20). Values are what the peer sent; whether they make
/// sense is [`TransportProperties::format`]'s to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TransportProperties {
    /// Bytes of one coded frame including the counter byte, not multiplied by the factor.
    pub packet_size: u32,
    /// Frames per packet: 1, 2 or 4.
    pub block_factor: u16,
    /// Channels: 1 or 2.
    pub channels: u8,
    /// Sample rate in Hz.
    pub sample_rate: u32,
    /// Codec number: 1 CELT (obsolete), 2 OPUS, 3 OPUS64.
    pub codec: u16,
    /// Bit 0: with counter.
    pub flags: u16,
    /// Codec argument, 0.
    pub codec_argument: u32,
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

/// Size of a jitter buffer as it travels (id 10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JitterBufferSize {
    /// This many frames, `1..=20`.
    Frames(u8),
    /// Let the server choose.
    Auto,
}

/// A connected message: acknowledged, one in flight per direction. protocol.md §2.
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

/// What a server tells a directory about itself (1004, and one entry of 1006).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerRegistration {
    /// The port that the server itself listens on.
    pub internal_port: u16,
    /// Qt 5 country number.
    pub country: u16,
    /// Most clients it takes.
    pub max_clients: u8,
    /// Up for more than 48 h.
    pub permanent: bool,
    /// Server name, at most [`crate::units::MAX_SERVER_NAME_UNITS`].
    pub name: String,
    /// Text of its own local address, at most [`crate::units::MAX_ADDRESS_UNITS`].
    pub internal_address: String,
    /// City, at most [`crate::units::MAX_CITY_UNITS`].
    pub city: String,
}

/// One server of a full list (1006).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerEntry {
    /// IPv4 address; unspecified for the directory itself.
    pub ip: std::net::Ipv4Addr,
    /// The rest, with the public port in `internal_port`.
    pub registration: ServerRegistration,
}

/// One server of a reduced list (1018).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReducedServerEntry {
    /// IPv4 address and port.
    pub address: std::net::SocketAddrV4,
    /// Server name.
    pub name: String,
}

/// A directory's answer to a registration (1016).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistrationResult {
    /// In the list.
    Registered,
    /// The list is full.
    ListFull,
    /// The server is too old for this directory.
    VersionTooOld,
    /// Not on the whitelist.
    RequirementsNotFulfilled,
}

/// A connection-less message: never acknowledged, from any address. protocol.md §4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnlessMessage {
    /// 1001: echoed unchanged.
    Ping {
        /// The sender's clock in ms.
        time_ms: u32,
    },
    /// 1002: echoed with the number of clients.
    PingWithClients {
        /// The sender's clock in ms.
        time_ms: u32,
        /// Clients on the server.
        clients: u8,
    },
    /// 1003: no slot is free.
    ServerFull,
    /// 1004: registers a server.
    RegisterServer(ServerRegistration),
    /// 1005: takes it off the list.
    UnregisterServer,
    /// 1006: the list.
    ServerList(Vec<ServerEntry>),
    /// 1007: asks for 1018 and 1006.
    RequestServerList,
    /// 1008: "send 1009 there".
    SendEmptyMessage(std::net::SocketAddrV4),
    /// 1009: keeps or opens a NAT binding.
    EmptyMessage,
    /// 1010: the sender leaves.
    Disconnection,
    /// 1011: operating system and version.
    VersionAndOs {
        /// Operating system.
        os: Os,
        /// Version text.
        version: String,
    },
    /// 1012: asks for 1011.
    RequestVersionAndOs,
    /// 1013: who is connected.
    ClientList(Vec<ClientEntry>),
    /// 1014: asks for 1013.
    RequestClientList,
    /// 1015: one level 0..=9 per connected client, in channel order.
    LevelList(Vec<u8>),
    /// 1016: result of a registration.
    RegistrationResult(RegistrationResult),
    /// 1017: registers a server, with its version.
    RegisterServerEx {
        /// What 1004 says.
        registration: ServerRegistration,
        /// Operating system.
        os: Os,
        /// Version text.
        version: String,
    },
    /// 1018: the list, short enough to survive fragment loss.
    ReducedServerList(Vec<ReducedServerEntry>),
    /// 1019: feature bits (4.0).
    ServerFeatures(u32),
    /// 1020: asks for 1019.
    RequestServerFeatures,
    /// 1021: the welcome text (4.0).
    WelcomeMessage(String),
    /// 1022: asks for 1021.
    RequestWelcomeMessage,
}
