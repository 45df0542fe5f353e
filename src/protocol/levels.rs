//! The level list (1015): how loud everyone is, for the meters (`docs/PROTOCOL.md` §4).
//!
//! ```text
//! one nibble per connected client, in channel order, low nibble first, 0..=9;
//! 0xF fills the last byte of an odd list
//! ```

use super::error::ParseError;
use super::wire::Reader;

/// Highest level: 0 dBFS and above.
pub const MAX_LEVEL: u8 = 9;
/// What stands in for the missing last level of an odd list.
const FILLER: u8 = 0xF;

pub(super) fn read_levels(reader: &mut Reader<'_>) -> Result<Vec<u8>, ParseError> {
    let bytes = reader.rest();
    let mut levels: Vec<u8> = bytes.iter().flat_map(|byte| [byte & 0xF, byte >> 4]).collect();
    levels.pop_if(|last| *last == FILLER);
    match levels.iter().find(|level| **level > MAX_LEVEL) {
        Some(&level) => Err(ParseError::InvalidValue { field: "level", value: level.into() }),
        None => Ok(levels),
    }
}

pub(super) fn put_levels(out: &mut Vec<u8>, levels: &[u8]) {
    let (pairs, last) = levels.as_chunks();
    out.extend(pairs.iter().map(|&[low, high]| nibble(low) | nibble(high) << 4));
    out.extend(last.iter().map(|&low| nibble(low) | FILLER << 4));
}

fn nibble(level: u8) -> u8 {
    level.min(MAX_LEVEL)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<u8>, ParseError> {
        read_levels(&mut Reader::new(bytes))
    }

    fn put(levels: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        put_levels(&mut out, levels);
        out
    }

    #[test]
    fn nibbles_have_this_layout() {
        for (levels, bytes) in
            [(&[][..], &[][..]), (&[4], &[0xF4]), (&[4, 9], &[0x94]), (&[1, 2, 3], &[0x21, 0xF3])]
        {
            assert_eq!(read(bytes).as_deref(), Ok(levels));
            assert_eq!(put(levels), bytes);
        }
    }

    #[test]
    fn levels_out_of_range_are_refused_and_never_sent() {
        assert!(read(&[0x0A]).is_err());
        assert!(read(&[0x0F]).is_err());
        assert!(read(&[0xFF]).is_err());
        assert!(read(&[0xF1, 0x11]).is_err());
        assert_eq!(put(&[200, 10, 77]), [0x99, 0xF9]);
    }
}
