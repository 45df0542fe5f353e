//! The split container: parts of a message of more than 550 bytes (`docs/PROTOCOL.md` §1).
//!
//! ```text
//! original id u16 | number of parts u8 | part index u8 | up to 550 bytes of the original body
//! ```
//!
//! Each part is the body of its own acknowledged frame with id 2001. Use it only when the peer
//! has said that it understands it.

use super::error::ParseError;
use super::wire::{Reader, put_u16};

/// Most bytes of the original body in one part, and the longest body that travels unsplit.
pub const MAX_PART_BYTES: usize = 550;
/// Most parts of one message.
pub const MAX_PARTS: usize = 36;

/// One part, borrowed from a frame's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartRef<'a> {
    /// Id of the message that was split.
    pub original_id: u16,
    /// Number of parts, `1..=MAX_PARTS`.
    pub parts: u8,
    /// Which part this is, `0..parts`.
    pub index: u8,
    /// This part of the original body, at most [`MAX_PART_BYTES`].
    pub data: &'a [u8],
}

impl<'a> PartRef<'a> {
    /// Parses the body of a frame with id 2001.
    ///
    /// # Errors
    /// When it is too short or too long, or its numbers contradict each other.
    pub fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(body);
        let (original_id, parts, index) = (reader.u16()?, reader.u8()?, reader.u8()?);
        if parts == 0 || usize::from(parts) > MAX_PARTS {
            return Err(ParseError::InvalidValue { field: "number of parts", value: parts.into() });
        }
        if index >= parts {
            return Err(ParseError::InvalidValue { field: "part index", value: index.into() });
        }
        let data = reader.rest();
        if data.len() > MAX_PART_BYTES {
            return Err(ParseError::TrailingBytes);
        }
        Ok(Self { original_id, parts, index, data })
    }

    /// Appends the body of a frame with id 2001.
    pub fn write(&self, out: &mut Vec<u8>) {
        put_u16(out, self.original_id);
        out.push(self.parts);
        out.push(self.index);
        out.extend_from_slice(self.data);
    }
}

/// The bodies of the 2001 frames that carry `body`, in the order of sending.
///
/// A body of more than `MAX_PARTS * MAX_PART_BYTES` cannot travel: it gives none. No
/// [`super::Message`] has such a body.
pub fn split_bodies(id: u16, body: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let parts = body.len().div_ceil(MAX_PART_BYTES);
    let parts = if parts <= MAX_PARTS { parts } else { 0 };
    body.chunks(MAX_PART_BYTES).take(parts).enumerate().map(move |(index, data)| {
        let mut out = Vec::with_capacity(data.len() + 4);
        PartRef { original_id: id, parts: parts as u8, index: index as u8, data }.write(&mut out);
        out
    })
}

/// Puts parts together again, by the original's rule: parts come one after the other, and
/// whatever breaks the row discards what was collected *and* the part that broke it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assembler {
    /// Id and number of parts, from the first part; meaningless while `next` is 0.
    row: (u16, u8),
    /// Index that the next part must have.
    next: u8,
    /// Data so far, at most `MAX_PARTS * MAX_PART_BYTES`.
    collected: Vec<u8>,
}

impl Assembler {
    /// An assembler that waits for a first part.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the body of a frame with id 2001; gives the id and body of the original message when
    /// this was its last part. Resends must have been sorted out before.
    pub fn push(&mut self, body: &[u8]) -> Option<(u16, Vec<u8>)> {
        let part = PartRef::parse(body).ok().filter(|part| self.continues(part));
        let Some(part) = part else {
            self.reset();
            return None;
        };
        self.row = (part.original_id, part.parts);
        self.next += 1;
        self.collected.extend_from_slice(part.data);
        if self.next < part.parts {
            return None;
        }
        let whole = std::mem::take(&mut self.collected);
        self.reset();
        Some((part.original_id, whole))
    }

    /// Discards what was collected: call it for every other connected message, ACKs aside.
    pub fn reset(&mut self) {
        *self = Self::new();
    }

    fn continues(&self, part: &PartRef<'_>) -> bool {
        part.index == self.next && (self.next == 0 || (part.original_id, part.parts) == self.row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(original_id: u16, parts: u8, index: u8, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        PartRef { original_id, parts, index, data }.write(&mut out);
        out
    }

    #[test]
    fn a_part_has_this_layout() {
        let bytes = [18, 0, 3, 1, 0xAA, 0xBB];
        let expected = PartRef { original_id: 18, parts: 3, index: 1, data: &[0xAA, 0xBB] };
        assert_eq!(PartRef::parse(&bytes), Ok(expected));
        assert_eq!(part(18, 3, 1, &[0xAA, 0xBB]), bytes);
    }

    #[test]
    fn impossible_parts_are_refused() {
        assert_eq!(PartRef::parse(&[18, 0, 1]), Err(ParseError::Truncated));
        assert!(PartRef::parse(&part(18, 0, 0, &[])).is_err());
        assert!(PartRef::parse(&part(18, 37, 0, &[])).is_err());
        assert!(PartRef::parse(&part(18, 2, 2, &[])).is_err());
        assert!(PartRef::parse(&part(18, 2, 0, &[0; 550])).is_ok());
        assert!(PartRef::parse(&part(18, 2, 0, &[0; 551])).is_err());
    }

    #[test]
    fn bodies_split_and_join() {
        for length in [1, 549, 550, 551, 1100, 1101, MAX_PARTS * MAX_PART_BYTES] {
            let body: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            let parts: Vec<_> = split_bodies(24, &body).collect();
            assert_eq!(parts.len(), length.div_ceil(MAX_PART_BYTES));
            let mut assembler = Assembler::new();
            let (last, first) = parts.split_last().unwrap();
            assert!(first.iter().all(|part| assembler.push(part).is_none()));
            assert_eq!(assembler.push(last), Some((24, body)));
            assert_eq!(assembler, Assembler::new());
        }
    }

    #[test]
    fn what_needs_more_parts_than_there_are_gives_none() {
        assert_eq!(split_bodies(24, &vec![0; MAX_PARTS * MAX_PART_BYTES + 1]).count(), 0);
    }

    #[test]
    fn whatever_breaks_the_row_discards_all_of_it() {
        let good = [part(18, 2, 0, b"a"), part(18, 2, 1, b"b")];
        let whole = Some((18, b"ab".to_vec()));
        let breakers = [
            part(18, 2, 0, b"a"),  // the first again
            part(18, 3, 2, b"c"),  // one left out
            part(18, 3, 1, b"b"),  // another number of parts
            part(24, 2, 1, b"b"),  // another message
            part(18, 99, 1, b"b"), // nonsense
            vec![],
        ];
        for breaker in breakers {
            let mut assembler = Assembler::new();
            assert_eq!(assembler.push(&good[0]), None);
            assert_eq!(assembler.push(&breaker), None);
            assert_eq!(assembler.push(&good[1]), None, "the rest of a broken row is no message");
            assert_eq!(assembler.push(&good[0]), None);
            assert_eq!(assembler.push(&good[1]), whole, "a new row works");
        }
    }

    #[test]
    fn another_message_in_between_discards() {
        let mut assembler = Assembler::new();
        assembler.push(&part(18, 2, 0, b"a"));
        assembler.reset();
        assert_eq!(assembler.push(&part(18, 2, 1, b"b")), None);
    }
}
