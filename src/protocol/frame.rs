//! Frames: the envelope of every message (`docs/PROTOCOL.md` §1).
//!
//! ```text
//! tag u16 = 0 | id u16 | counter u8 | length u16 = n | n bytes of body | crc u16
//! ```
//!
//! The CRC (CRC-16/GENIBUS) covers everything before it. A datagram that is not exactly one valid
//! frame is audio: there is no other mark.

use super::error::ParseError;
use super::wire::put_u16;
use crate::units::MAX_DATAGRAM_BYTES;

/// Id of the acknowledgement, the only connected message that is not acknowledged itself.
pub const ACK_ID: u16 = 1;
/// Id of the container for parts of long messages.
pub const SPLIT_ID: u16 = 2001;
/// Bytes of a frame before its body.
const HEADER_BYTES: usize = 7;
/// Bytes that a frame adds to its body.
pub const FRAME_OVERHEAD_BYTES: usize = HEADER_BYTES + 2;
/// Longest body of a frame, in bytes.
pub const MAX_BODY_BYTES: usize = MAX_DATAGRAM_BYTES - FRAME_OVERHEAD_BYTES;

/// What a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datagram<'a> {
    /// A valid frame; its body is still unparsed.
    Frame(Frame<'a>),
    /// Everything else, the empty datagram included.
    Audio(&'a [u8]),
}

/// A valid frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What the body is: see [`is_connless`], [`ACK_ID`] and [`SPLIT_ID`].
    pub id: u16,
    /// The sender's count of connected messages; 0 for connection-less ones.
    pub counter: u8,
    /// The message's own bytes, at most [`MAX_BODY_BYTES`].
    pub body: &'a [u8],
}

/// Tells messages from audio. Datagrams above [`MAX_DATAGRAM_BYTES`] count as audio unread, so
/// that no checksum is spent on them.
pub fn classify(datagram: &[u8]) -> Datagram<'_> {
    parse_frame(datagram).map_or(Datagram::Audio(datagram), Datagram::Frame)
}

/// Appends a whole frame to `out`. `body` has at most [`MAX_BODY_BYTES`], as everything has that
/// this room emits; what goes beyond is cut.
pub fn write_frame(id: u16, counter: u8, body: &[u8], out: &mut Vec<u8>) {
    debug_assert!(body.len() <= MAX_BODY_BYTES, "a body of {} bytes fits no datagram", body.len());
    let body = &body[..body.len().min(MAX_BODY_BYTES)];
    let start = out.len();
    out.reserve(body.len() + FRAME_OVERHEAD_BYTES);
    put_u16(out, 0);
    put_u16(out, id);
    out.push(counter);
    put_u16(out, body.len() as u16);
    out.extend_from_slice(body);
    put_u16(out, crc16(&out[start..]));
}

/// Whether messages with this id are connection-less: never acknowledged, taken from any address.
pub fn is_connless(id: u16) -> bool {
    (1000..=1999).contains(&id)
}

/// The body of an acknowledgement of a message with this id.
pub fn ack_body(id: u16) -> [u8; 2] {
    id.to_le_bytes()
}

/// The id that an acknowledgement's body names.
///
/// # Errors
/// When the body is not exactly two bytes.
pub fn parse_ack(body: &[u8]) -> Result<u16, ParseError> {
    match body {
        [low, high] => Ok(u16::from_le_bytes([*low, *high])),
        [] | [_] => Err(ParseError::Truncated),
        _ => Err(ParseError::TrailingBytes),
    }
}

fn parse_frame(datagram: &[u8]) -> Option<Frame<'_>> {
    if datagram.len() > MAX_DATAGRAM_BYTES {
        return None;
    }
    let (covered, crc) = datagram.split_last_chunk()?;
    let (header, body) = covered.split_first_chunk::<HEADER_BYTES>()?;
    let [tag0, tag1, id0, id1, counter, length0, length1] = *header;
    let is_frame = [tag0, tag1] == [0, 0]
        && usize::from(u16::from_le_bytes([length0, length1])) == body.len()
        && u16::from_le_bytes(*crc) == crc16(covered);
    is_frame.then_some(Frame { id: u16::from_le_bytes([id0, id1]), counter, body })
}

/// CRC-16/GENIBUS: polynomial 0x1021, start 0xFFFF, not reflected, result inverted.
fn crc16(bytes: &[u8]) -> u16 {
    !bytes.iter().fold(0xFFFF, |crc, byte| (crc << 8) ^ CRC_TABLE[usize::from((crc >> 8) as u8 ^ byte)])
}

/// The CRC of each byte, so that a frame costs one look-up per byte.
static CRC_TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < table.len() {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(id: u16, counter: u8, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write_frame(id, counter, body, &mut out);
        out
    }

    #[test]
    fn crc_has_the_catalogued_check_value() {
        assert_eq!(crc16(b"123456789"), 0xD64E);
    }

    #[test]
    fn a_written_frame_is_recognised() {
        let datagram = framed(18, 7, &[1, 0, b'x']);
        assert_eq!(datagram[..10], [0, 0, 18, 0, 7, 3, 0, 1, 0, b'x']);
        let expected = Frame { id: 18, counter: 7, body: &[1, 0, b'x'] };
        assert_eq!(classify(&datagram), Datagram::Frame(expected));
    }

    #[test]
    fn frames_are_appended() {
        let mut out = vec![9, 9];
        write_frame(34, 0, &[], &mut out);
        assert_eq!(out[2..], framed(34, 0, &[]));
    }

    #[test]
    fn any_single_changed_bit_makes_it_audio() {
        let datagram = framed(1001, 0, &[1, 2, 3, 4]);
        for bit in 0..datagram.len() * 8 {
            let mut changed = datagram.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(classify(&changed), Datagram::Audio(&changed), "bit {bit}");
        }
    }

    #[test]
    fn wrong_lengths_are_audio() {
        let datagram = framed(1001, 0, &[1, 2, 3, 4]);
        for length in 0..datagram.len() {
            assert_eq!(classify(&datagram[..length]), Datagram::Audio(&datagram[..length]));
        }
        let mut longer = datagram;
        longer.push(0);
        assert_eq!(classify(&longer), Datagram::Audio(&longer));
    }

    #[test]
    fn the_longest_frame_is_accepted_and_no_longer_one() {
        let longest = framed(1006, 0, &vec![0; MAX_BODY_BYTES]);
        assert_eq!(longest.len(), MAX_DATAGRAM_BYTES);
        assert!(matches!(classify(&longest), Datagram::Frame(_)));

        let mut beyond = vec![0, 0, 0xEE, 3, 0];
        put_u16(&mut beyond, MAX_BODY_BYTES as u16 + 1);
        beyond.resize(beyond.len() + MAX_BODY_BYTES + 1, 0);
        let crc = crc16(&beyond);
        put_u16(&mut beyond, crc);
        assert_eq!(classify(&beyond), Datagram::Audio(&beyond));
    }

    #[test]
    fn acknowledgements_name_an_id() {
        assert_eq!(ack_body(SPLIT_ID), [0xD1, 0x07]);
        assert_eq!(parse_ack(&[0xD1, 0x07]), Ok(SPLIT_ID));
        assert_eq!(parse_ack(&[1]), Err(ParseError::Truncated));
        assert_eq!(parse_ack(&[1, 2, 3]), Err(ParseError::TrailingBytes));
    }

    #[test]
    fn connection_less_ids_are_the_thousands() {
        assert!(!is_connless(999) && is_connless(1000) && is_connless(1999) && !is_connless(SPLIT_ID));
    }
}
