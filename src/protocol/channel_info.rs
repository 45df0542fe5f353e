//! Who sits in a channel: the body of 25, and one entry of the client lists 24 and 1013
//! (`docs/PROTOCOL.md` §2).
//!
//! ```text
//! 25:         country u16 | instrument u32 | skill u8 | name text | city text
//! list entry: channel u8 | country u16 | instrument u32 | skill u8 | 4 zero bytes | name | city
//! ```

use super::error::ParseError;
use super::wire::{Reader, put_text, put_u16, put_u32};
use crate::units::{ChannelId, MAX_CITY_UNITS, MAX_NAME_UNITS};

/// A participant's description of themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ChannelInfo {
    /// Qt 5 `QLocale::Country` number, 0 = none; any number may arrive. See [`super::tables`].
    pub country: u16,
    /// Index into the instrument table, 0 = none; any number may arrive. See [`super::tables`].
    pub instrument: u32,
    /// Skill level.
    pub skill: Skill,
    /// Name ("fader tag"), at most [`MAX_NAME_UNITS`].
    pub name: String,
    /// City, at most [`MAX_CITY_UNITS`].
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

impl ChannelInfo {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, ParseError> {
        let mut info = Self::read_numbers(reader)?;
        info.read_texts(reader)?;
        Ok(info)
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        self.put_numbers(out);
        self.put_texts(out);
    }

    fn read_numbers(reader: &mut Reader<'_>) -> Result<Self, ParseError> {
        let (country, instrument, skill) = (reader.u16()?, reader.u32()?, Skill(reader.u8()?));
        Ok(Self { country, instrument, skill, ..Self::default() })
    }

    fn read_texts(&mut self, reader: &mut Reader<'_>) -> Result<(), ParseError> {
        self.name = reader.text(MAX_NAME_UNITS)?;
        self.city = reader.text(MAX_CITY_UNITS)?;
        Ok(())
    }

    fn put_numbers(&self, out: &mut Vec<u8>) {
        put_u16(out, self.country);
        put_u32(out, self.instrument);
        out.push(self.skill.0);
    }

    fn put_texts(&self, out: &mut Vec<u8>) {
        put_text(out, &self.name, MAX_NAME_UNITS);
        put_text(out, &self.city, MAX_CITY_UNITS);
    }
}

impl ClientEntry {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, ParseError> {
        let channel = ChannelId(reader.u8()?);
        let mut info = ChannelInfo::read_numbers(reader)?;
        // Four bytes that once held an IP address: nobody reads them.
        reader.u32()?;
        info.read_texts(reader)?;
        Ok(Self { channel, info })
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.push(self.channel.0);
        self.info.put_numbers(out);
        put_u32(out, 0);
        self.info.put_texts(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &[u8] = b"\x52\x00\x05\x00\x00\x00\x03\x04\x00Zo\xC3\xAB\x02\x00Le";
    const ENTRY: &[u8] = b"\x07\x52\x00\x05\x00\x00\x00\x03\0\0\0\0\x04\x00Zo\xC3\xAB\x02\x00Le";

    fn zoe() -> ChannelInfo {
        ChannelInfo {
            country: 82,
            instrument: 5,
            skill: Skill::EXPERT,
            name: "Zoë".into(),
            city: "Le".into(),
        }
    }

    #[test]
    fn info_has_this_layout() {
        assert_eq!(ChannelInfo::read(&mut Reader::new(INFO)), Ok(zoe()));
        let mut out = Vec::new();
        zoe().put(&mut out);
        assert_eq!(out, INFO);
    }

    #[test]
    fn list_entry_has_this_layout() {
        let entry = ClientEntry { channel: ChannelId(7), info: zoe() };
        assert_eq!(ClientEntry::read(&mut Reader::new(ENTRY)).as_ref(), Ok(&entry));
        let mut out = Vec::new();
        entry.put(&mut out);
        assert_eq!(out, ENTRY);
    }

    #[test]
    fn every_cut_is_truncated() {
        for length in 0..ENTRY.len() {
            let cut = ClientEntry::read(&mut Reader::new(&ENTRY[..length]));
            assert_eq!(cut, Err(ParseError::Truncated), "{length} bytes");
        }
    }

    #[test]
    fn a_name_too_long_makes_it_invalid() {
        let mut bytes = INFO[..7].to_vec();
        put_text(&mut bytes, &"n".repeat(MAX_NAME_UNITS + 1), usize::MAX);
        put_text(&mut bytes, "", MAX_CITY_UNITS);
        let too_long = ParseError::TextTooLong { max_units: MAX_NAME_UNITS };
        assert_eq!(ChannelInfo::read(&mut Reader::new(&bytes)), Err(too_long));
    }
}
