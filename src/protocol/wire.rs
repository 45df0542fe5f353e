//! The primitive fields that all bodies are made of (`docs/PROTOCOL.md` §1).
//!
//! ```text
//! integers   little-endian, unsigned
//! IPv4       u32, a.b.c.d as a<<24 | b<<16 | c<<8 | d
//! text       length u16 | UTF-8 bytes
//! short text length u8  | UTF-8 bytes
//! ```

use std::net::Ipv4Addr;

use super::error::ParseError;
use super::split::{MAX_PART_BYTES, MAX_PARTS};
use super::text::{cut_to_bytes, cut_to_utf16, utf16_len};

/// Longest list that we emit, in bytes: what a split message can carry.
const MAX_LIST_BYTES: usize = MAX_PARTS * MAX_PART_BYTES;

/// Takes fields off the front of a body.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self(body)
    }

    pub(super) fn u8(&mut self) -> Result<u8, ParseError> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, ParseError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, ParseError> {
        self.array().map(u32::from_le_bytes)
    }

    /// A byte that is 0 for false; senders use 1 for true, and any other value counts as true.
    pub(super) fn bool(&mut self) -> Result<bool, ParseError> {
        Ok(self.u8()? != 0)
    }

    pub(super) fn ipv4(&mut self) -> Result<Ipv4Addr, ParseError> {
        self.u32().map(Ipv4Addr::from_bits)
    }

    /// Text of at most `max_units` UTF-16 code units; invalid UTF-8 becomes U+FFFD before counting.
    pub(super) fn text(&mut self, max_units: usize) -> Result<String, ParseError> {
        let length = usize::from(self.u16()?);
        let text = String::from_utf8_lossy(self.bytes(length)?);
        if utf16_len(&text) > max_units {
            return Err(ParseError::TextTooLong { max_units });
        }
        Ok(text.into_owned())
    }

    /// Text whose only limit is its one length byte.
    pub(super) fn short_text(&mut self) -> Result<String, ParseError> {
        let length = usize::from(self.u8()?);
        Ok(String::from_utf8_lossy(self.bytes(length)?).into_owned())
    }

    /// Entries up to the end of the body. Every entry takes at least one byte, so the list is
    /// never longer than the body.
    pub(super) fn list<T>(
        &mut self,
        entry: impl Fn(&mut Self) -> Result<T, ParseError>,
    ) -> Result<Vec<T>, ParseError> {
        let mut entries = Vec::new();
        while !self.0.is_empty() {
            entries.push(entry(self)?);
        }
        Ok(entries)
    }

    /// Everything that is left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// Refuses a body that goes on.
    pub(super) fn finish(self) -> Result<(), ParseError> {
        if self.0.is_empty() { Ok(()) } else { Err(ParseError::TrailingBytes) }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ParseError> {
        let (head, tail) = self.0.split_first_chunk().ok_or(ParseError::Truncated)?;
        self.0 = tail;
        Ok(*head)
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], ParseError> {
        let (head, tail) = self.0.split_at_checked(length).ok_or(ParseError::Truncated)?;
        self.0 = tail;
        Ok(head)
    }
}

pub(super) fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn put_ipv4(out: &mut Vec<u8>, ip: Ipv4Addr) {
    put_u32(out, ip.to_bits());
}

/// Appends text, cut to `max_units` UTF-16 code units (at most 21 845, so that its bytes fit the
/// length field).
pub(super) fn put_text(out: &mut Vec<u8>, text: &str, max_units: usize) {
    let text = cut_to_utf16(text, max_units);
    put_u16(out, text.len() as u16);
    out.extend_from_slice(text.as_bytes());
}

/// Appends text with a one-byte length, cut to 255 bytes.
pub(super) fn put_short_text(out: &mut Vec<u8>, text: &str) {
    let text = cut_to_bytes(text, usize::from(u8::MAX));
    out.push(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}

/// Appends entries as long as whole ones fit into [`MAX_LIST_BYTES`].
pub(super) fn put_list<T>(out: &mut Vec<u8>, entries: &[T], put: impl Fn(&mut Vec<u8>, &T)) {
    let start = out.len();
    for entry in entries {
        let end = out.len();
        put(out, entry);
        if out.len() - start > MAX_LIST_BYTES {
            out.truncate(end);
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_little_endian() {
        let mut reader = Reader::new(&[1, 2, 1, 4, 3, 2, 1]);
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.u16(), Ok(0x0102));
        assert_eq!(reader.u32(), Ok(0x0102_0304));
        assert_eq!(reader.u8(), Err(ParseError::Truncated));
    }

    #[test]
    fn ipv4_travels_reversed() {
        let bytes = [7, 2, 0, 192];
        let ip = Reader::new(&bytes).ipv4().unwrap();
        assert_eq!(ip, Ipv4Addr::new(192, 0, 2, 7));
        let mut out = Vec::new();
        put_ipv4(&mut out, ip);
        assert_eq!(out, bytes);
    }

    #[test]
    fn text_counts_utf16_units_after_replacing_invalid_bytes() {
        // A note (two units), then an invalid byte (one unit once replaced).
        let bytes = [5, 0, 0xF0, 0x9F, 0x8E, 0xB5, 0xFF];
        assert_eq!(Reader::new(&bytes).text(3), Ok("\u{1F3B5}\u{FFFD}".into()));
        assert_eq!(Reader::new(&bytes).text(2), Err(ParseError::TextTooLong { max_units: 2 }));
    }

    #[test]
    fn text_longer_than_the_body_is_truncated_input() {
        assert_eq!(Reader::new(&[2, 0, b'a']).text(9), Err(ParseError::Truncated));
        assert_eq!(Reader::new(&[2]).text(9), Err(ParseError::Truncated));
        assert_eq!(Reader::new(&[2, b'a']).short_text(), Err(ParseError::Truncated));
    }

    #[test]
    fn emitted_text_is_cut_on_a_character() {
        let mut out = Vec::new();
        put_text(&mut out, "a\u{1F3B5}", 2);
        assert_eq!(out, [1, 0, b'a']);
        out.clear();
        put_short_text(&mut out, &"é".repeat(200));
        assert_eq!(out.len(), 255);
        assert_eq!(out[0], 254);
    }

    #[test]
    fn emitted_lists_end_with_the_last_entry_that_fits() {
        let mut out = vec![9];
        put_list(&mut out, &[7u8; 100], |out, entry| out.resize(out.len() + 700, *entry));
        assert_eq!(out.len(), 1 + 28 * 700);
    }
}
