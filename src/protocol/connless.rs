//! Connection-less messages (`docs/PROTOCOL.md` §4): 1001 to 1022, from and to anyone.
//!
//! The body's layout stands at each variant; longer records have their own files.

use std::net::SocketAddrV4;

use super::channel_info::ClientEntry;
use super::error::ParseError;
use super::frame::write_frame;
use super::levels::{put_levels, read_levels};
use super::message::{Os, put_version, read_version};
use super::server_list::{ReducedServerEntry, ServerEntry, ServerRegistration};
use super::wire::{Reader, put_ipv4, put_list, put_text, put_u16, put_u32};
use crate::units::MAX_CHAT_UNITS;

/// A connection-less message: never acknowledged, from any address. `docs/PROTOCOL.md` §4.
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
    SendEmptyMessage(SocketAddrV4),
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

impl ConnlessMessage {
    /// The id of its frame.
    pub fn id(&self) -> u16 {
        match self {
            Self::Ping { .. } => 1001,
            Self::PingWithClients { .. } => 1002,
            Self::ServerFull => 1003,
            Self::RegisterServer(_) => 1004,
            Self::UnregisterServer => 1005,
            Self::ServerList(_) => 1006,
            Self::RequestServerList => 1007,
            Self::SendEmptyMessage(_) => 1008,
            Self::EmptyMessage => 1009,
            Self::Disconnection => 1010,
            Self::VersionAndOs { .. } => 1011,
            Self::RequestVersionAndOs => 1012,
            Self::ClientList(_) => 1013,
            Self::RequestClientList => 1014,
            Self::LevelList(_) => 1015,
            Self::RegistrationResult(_) => 1016,
            Self::RegisterServerEx { .. } => 1017,
            Self::ReducedServerList(_) => 1018,
            Self::ServerFeatures(_) => 1019,
            Self::RequestServerFeatures => 1020,
            Self::WelcomeMessage(_) => 1021,
            Self::RequestWelcomeMessage => 1022,
        }
    }

    /// Parses the body of a frame.
    ///
    /// # Errors
    /// [`ParseError::UnknownId`] for ids that are no connection-less message, else what is wrong
    /// with the body.
    pub fn parse(id: u16, body: &[u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(body);
        let message = Self::read(id, &mut reader)?;
        reader.finish()?;
        Ok(message)
    }

    /// The whole datagram: a frame with counter 0.
    pub fn to_datagram(&self) -> Vec<u8> {
        let mut body = Vec::new();
        self.write_body(&mut body);
        let mut datagram = Vec::new();
        write_frame(self.id(), 0, &body, &mut datagram);
        datagram
    }

    /// Appends the body of its frame.
    pub fn write_body(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ping { time_ms } => put_u32(out, *time_ms),
            Self::PingWithClients { time_ms, clients } => {
                put_u32(out, *time_ms);
                out.push(*clients);
            }
            Self::RegisterServer(registration) => registration.put(out),
            Self::ServerList(entries) => put_list(out, entries, |out, entry| entry.put(out)),
            Self::SendEmptyMessage(to) => {
                put_ipv4(out, *to.ip());
                put_u16(out, to.port());
            }
            Self::VersionAndOs { os, version } => put_version(out, *os, version),
            Self::ClientList(entries) => put_list(out, entries, |out, entry| entry.put(out)),
            Self::LevelList(levels) => put_levels(out, levels),
            Self::RegistrationResult(result) => out.push(result.to_wire()),
            Self::RegisterServerEx { registration, os, version } => {
                registration.put(out);
                put_version(out, *os, version);
            }
            Self::ReducedServerList(entries) => put_list(out, entries, |out, entry| entry.put(out)),
            Self::ServerFeatures(bits) => put_u32(out, *bits),
            Self::WelcomeMessage(text) => put_text(out, text, MAX_CHAT_UNITS),
            Self::ServerFull
            | Self::UnregisterServer
            | Self::RequestServerList
            | Self::EmptyMessage
            | Self::Disconnection
            | Self::RequestVersionAndOs
            | Self::RequestClientList
            | Self::RequestServerFeatures
            | Self::RequestWelcomeMessage => {}
        }
    }

    fn read(id: u16, reader: &mut Reader<'_>) -> Result<Self, ParseError> {
        Ok(match id {
            1001 => Self::Ping { time_ms: reader.u32()? },
            1002 => Self::PingWithClients { time_ms: reader.u32()?, clients: reader.u8()? },
            1003 => Self::ServerFull,
            1004 => Self::RegisterServer(ServerRegistration::read(reader)?),
            1005 => Self::UnregisterServer,
            1006 => Self::ServerList(reader.list(ServerEntry::read)?),
            1007 => Self::RequestServerList,
            1008 => Self::SendEmptyMessage(SocketAddrV4::new(reader.ipv4()?, reader.u16()?)),
            1009 => Self::EmptyMessage,
            1010 => Self::Disconnection,
            1011 => {
                let (os, version) = read_version(reader)?;
                Self::VersionAndOs { os, version }
            }
            1012 => Self::RequestVersionAndOs,
            1013 => Self::ClientList(reader.list(ClientEntry::read)?),
            1014 => Self::RequestClientList,
            1015 => Self::LevelList(read_levels(reader)?),
            1016 => Self::RegistrationResult(RegistrationResult::from_wire(reader.u8()?)?),
            1017 => {
                let registration = ServerRegistration::read(reader)?;
                let (os, version) = read_version(reader)?;
                Self::RegisterServerEx { registration, os, version }
            }
            1018 => Self::ReducedServerList(reader.list(ReducedServerEntry::read)?),
            1019 => Self::ServerFeatures(reader.u32()?),
            1020 => Self::RequestServerFeatures,
            1021 => Self::WelcomeMessage(reader.text(MAX_CHAT_UNITS)?),
            1022 => Self::RequestWelcomeMessage,
            _ => return Err(ParseError::UnknownId(id)),
        })
    }
}

impl RegistrationResult {
    fn from_wire(value: u8) -> Result<Self, ParseError> {
        match value {
            0 => Ok(Self::Registered),
            1 => Ok(Self::ListFull),
            2 => Ok(Self::VersionTooOld),
            3 => Ok(Self::RequirementsNotFulfilled),
            _ => Err(ParseError::InvalidValue { field: "registration result", value: value.into() }),
        }
    }

    fn to_wire(self) -> u8 {
        match self {
            Self::Registered => 0,
            Self::ListFull => 1,
            Self::VersionTooOld => 2,
            Self::RequirementsNotFulfilled => 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn body(message: &ConnlessMessage) -> Vec<u8> {
        let mut out = Vec::new();
        message.write_body(&mut out);
        out
    }

    /// Every shape of body once; `tests/protocol_golden.rs` has every id and direction.
    #[test]
    fn bodies_have_these_layouts() {
        let to = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 22134);
        for (message, bytes) in [
            (ConnlessMessage::Ping { time_ms: 0x0102_0304 }, &b"\x04\x03\x02\x01"[..]),
            (ConnlessMessage::PingWithClients { time_ms: 1, clients: 2 }, b"\x01\0\0\0\x02"),
            (ConnlessMessage::SendEmptyMessage(to), b"\x01\x02\x00\xC0\x76\x56"),
            (ConnlessMessage::VersionAndOs { os: Os::WINDOWS, version: "4".into() }, b"\0\x01\x004"),
            (ConnlessMessage::RegistrationResult(RegistrationResult::VersionTooOld), b"\x02"),
            (ConnlessMessage::ServerFeatures(0x1041), b"\x41\x10\0\0"),
            (ConnlessMessage::WelcomeMessage("hi".into()), b"\x02\x00hi"),
            (ConnlessMessage::Disconnection, b""),
        ] {
            assert_eq!(body(&message), bytes);
            assert_eq!(ConnlessMessage::parse(message.id(), bytes), Ok(message));
        }
    }

    #[test]
    fn a_datagram_is_a_frame_with_counter_zero() {
        let datagram = ConnlessMessage::Disconnection.to_datagram();
        assert_eq!(datagram[..7], [0, 0, 0xF2, 0x03, 0, 0, 0]);
        assert_eq!(datagram.len(), 9);
    }

    #[test]
    fn other_ids_and_values_are_refused() {
        for id in [0, 10, 1000, 1023, 1999, 2001] {
            assert_eq!(ConnlessMessage::parse(id, &[]), Err(ParseError::UnknownId(id)));
        }
        assert!(ConnlessMessage::parse(1016, &[4]).is_err());
        assert_eq!(ConnlessMessage::parse(1010, &[0]), Err(ParseError::TrailingBytes));
    }
}
