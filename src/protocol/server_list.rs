//! Servers as directories know them: the bodies of 1004, 1017, 1006 and 1018
//! (`docs/PROTOCOL.md` §4).
//!
//! ```text
//! registration:  internal port u16 | country u16 | max clients u8 | permanent u8
//!                | name text | internal address text | city text
//! list entry:    IPv4 u32 | registration, with the public port and an empty address
//! reduced entry: IPv4 u32 | port u16 | name short text
//! ```

use std::net::{Ipv4Addr, SocketAddrV4};

use super::error::ParseError;
use super::wire::{Reader, put_ipv4, put_short_text, put_text, put_u16};
use crate::units::{MAX_ADDRESS_UNITS, MAX_CITY_UNITS, MAX_SERVER_NAME_UNITS};

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
    /// Server name, at most [`MAX_SERVER_NAME_UNITS`].
    pub name: String,
    /// Text of its own local address, at most [`MAX_ADDRESS_UNITS`].
    pub internal_address: String,
    /// City, at most [`MAX_CITY_UNITS`].
    pub city: String,
}

/// One server of a full list (1006).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerEntry {
    /// IPv4 address; unspecified for the directory itself.
    pub ip: Ipv4Addr,
    /// The rest, with the public port in `internal_port`.
    pub registration: ServerRegistration,
}

/// One server of a reduced list (1018).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReducedServerEntry {
    /// IPv4 address and port.
    pub address: SocketAddrV4,
    /// Server name, at most 255 bytes: this list has no other limit.
    pub name: String,
}

impl ServerRegistration {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, ParseError> {
        Ok(Self {
            internal_port: reader.u16()?,
            country: reader.u16()?,
            max_clients: reader.u8()?,
            permanent: reader.bool()?,
            name: reader.text(MAX_SERVER_NAME_UNITS)?,
            internal_address: reader.text(MAX_ADDRESS_UNITS)?,
            city: reader.text(MAX_CITY_UNITS)?,
        })
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_u16(out, self.internal_port);
        put_u16(out, self.country);
        out.push(self.max_clients);
        out.push(self.permanent.into());
        put_text(out, &self.name, MAX_SERVER_NAME_UNITS);
        put_text(out, &self.internal_address, MAX_ADDRESS_UNITS);
        put_text(out, &self.city, MAX_CITY_UNITS);
    }
}

impl ServerEntry {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, ParseError> {
        Ok(Self { ip: reader.ipv4()?, registration: ServerRegistration::read(reader)? })
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_ipv4(out, self.ip);
        self.registration.put(out);
    }
}

impl ReducedServerEntry {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, ParseError> {
        let address = SocketAddrV4::new(reader.ipv4()?, reader.u16()?);
        Ok(Self { address, name: reader.short_text()? })
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_ipv4(out, *self.address.ip());
        put_u16(out, self.address.port());
        put_short_text(out, &self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &[u8] = b"\x01\x02\x00\xC0\x6C\x56\x52\x00\x0A\x01\x03\x00Jam\x00\x00\x04\x00Ulm!";
    const REDUCED: &[u8] = b"\x01\x02\x00\xC0\x6C\x56\x03Jam";

    fn jam() -> ServerEntry {
        ServerEntry {
            ip: Ipv4Addr::new(192, 0, 2, 1),
            registration: ServerRegistration {
                internal_port: 22124,
                country: 82,
                max_clients: 10,
                permanent: true,
                name: "Jam".into(),
                internal_address: String::new(),
                city: "Ulm!".into(),
            },
        }
    }

    #[test]
    fn list_entry_has_this_layout() {
        assert_eq!(ServerEntry::read(&mut Reader::new(ENTRY)), Ok(jam()));
        let mut out = Vec::new();
        jam().put(&mut out);
        assert_eq!(out, ENTRY);
    }

    #[test]
    fn reduced_entry_has_this_layout() {
        let entry = ReducedServerEntry {
            address: SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 22124),
            name: "Jam".into(),
        };
        assert_eq!(ReducedServerEntry::read(&mut Reader::new(REDUCED)).as_ref(), Ok(&entry));
        let mut out = Vec::new();
        entry.put(&mut out);
        assert_eq!(out, REDUCED);
    }

    #[test]
    fn every_cut_is_truncated() {
        for length in 0..ENTRY.len() {
            let cut = ServerEntry::read(&mut Reader::new(&ENTRY[..length]));
            assert_eq!(cut, Err(ParseError::Truncated), "{length} bytes");
        }
        for length in 0..REDUCED.len() {
            let cut = ReducedServerEntry::read(&mut Reader::new(&REDUCED[..length]));
            assert_eq!(cut, Err(ParseError::Truncated), "{length} bytes");
        }
    }
}
