//! WAV: a header that is right for any length, and samples.
//!
//! A RIFF file cannot be longer than 4 GiB (four hours of 24-bit stereo). A placeholder chunk leaves room in
//! the header, so that a file that grows beyond becomes RF64 (EBU Tech 3306) in place, without being
//! rewritten. Programs that know only RIFF skip the placeholder.

use crate::units::{Layout, WIRE_RATE_HZ};

/// Bytes before the samples.
const HEADER_BYTES: u64 = 80;
/// What a RIFF chunk's length can tell at most; in RF64 it means "see ds64".
const MAX_RIFF_BYTES: u64 = u32::MAX as u64;
/// Length of the chunk that is `JUNK` or `ds64`.
const DS64_BYTES: u32 = 28;
const FORMAT_PCM: u16 = 1;

/// How one WAV file is written.
pub(super) struct Wav {
    channels: u16,
    bytes_per_value: u16,
}

impl Wav {
    /// For samples of `bits`, 16 or 24.
    pub(super) fn new(layout: Layout, bits: u32) -> Self {
        // 1 or 2, and 2 or 3.
        Self { channels: layout.channels() as u16, bytes_per_value: (bits / 8) as u16 }
    }

    /// Appends `values` to `out`.
    pub(super) fn append(&self, values: impl Iterator<Item = i32>, out: &mut Vec<u8>) {
        for value in values {
            out.extend_from_slice(&value.to_le_bytes()[..usize::from(self.bytes_per_value)]);
        }
    }

    /// The header of a file that has `end` bytes with it; 0 stands for a file that has nothing yet.
    pub(super) fn header(&self, end: u64) -> Vec<u8> {
        let data_bytes = end.saturating_sub(HEADER_BYTES);
        // No padding: ticks are even numbers of samples, so chunks have even lengths.
        let riff_bytes = HEADER_BYTES - 8 + data_bytes;
        let is_long = riff_bytes > MAX_RIFF_BYTES;
        let short = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
        let block_bytes = self.channels * self.bytes_per_value;

        let mut header = Vec::with_capacity(HEADER_BYTES as usize);
        header.extend_from_slice(if is_long { b"RF64" } else { b"RIFF" });
        header.extend_from_slice(&(if is_long { u32::MAX } else { short(riff_bytes) }).to_le_bytes());
        header.extend_from_slice(b"WAVE");
        header.extend_from_slice(if is_long { b"ds64" } else { b"JUNK" });
        header.extend_from_slice(&DS64_BYTES.to_le_bytes());
        let counts =
            if is_long { [riff_bytes, data_bytes, data_bytes / u64::from(block_bytes)] } else { [0; 3] };
        for count in counts {
            header.extend_from_slice(&count.to_le_bytes());
        }
        // No table of further long chunks.
        header.extend_from_slice(&0_u32.to_le_bytes());
        header.extend_from_slice(b"fmt ");
        header.extend_from_slice(&16_u32.to_le_bytes());
        header.extend_from_slice(&FORMAT_PCM.to_le_bytes());
        header.extend_from_slice(&self.channels.to_le_bytes());
        header.extend_from_slice(&WIRE_RATE_HZ.to_le_bytes());
        header.extend_from_slice(&(WIRE_RATE_HZ * u32::from(block_bytes)).to_le_bytes());
        header.extend_from_slice(&block_bytes.to_le_bytes());
        header.extend_from_slice(&(8 * self.bytes_per_value).to_le_bytes());
        header.extend_from_slice(b"data");
        header.extend_from_slice(&(if is_long { u32::MAX } else { short(data_bytes) }).to_le_bytes());
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn u32_at(header: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(header[at..at + 4].try_into().unwrap())
    }

    fn u64_at(header: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(header[at..at + 8].try_into().unwrap())
    }

    #[test]
    fn the_header_tells_the_length() {
        let wav = Wav::new(Layout::Stereo, 16);
        for (end, data) in [(0, 0), (80, 0), (80 + 400, 400)] {
            let header = wav.header(end);
            assert_eq!(header.len() as u64, HEADER_BYTES);
            assert_eq!((&header[..4], u32_at(&header, 4)), (&b"RIFF"[..], 72 + data));
            assert_eq!((&header[72..76], u32_at(&header, 76)), (&b"data"[..], data));
        }
    }

    #[test]
    fn beyond_4_gib_it_becomes_rf64_in_place() {
        let wav = Wav::new(Layout::Stereo, 24);
        let last_riff = wav.header(MAX_RIFF_BYTES + 8);
        assert_eq!((&last_riff[..4], u32_at(&last_riff, 4)), (&b"RIFF"[..], u32::MAX));
        assert_eq!(u32_at(&last_riff, 76), u32::MAX - 72);
        let data = 6 * 800_000_000_u64;
        let header = wav.header(HEADER_BYTES + data);
        assert_eq!((&header[..4], &header[12..16]), (&b"RF64"[..], &b"ds64"[..]));
        assert_eq!((u32_at(&header, 4), u32_at(&header, 76)), (u32::MAX, u32::MAX));
        assert_eq!((u64_at(&header, 20), u64_at(&header, 28)), (data + 72, data));
        assert_eq!((u64_at(&header, 36), header.len()), (800_000_000, last_riff.len()));
    }

    #[test]
    fn values_take_two_or_three_bytes() {
        let mut out = Vec::new();
        Wav::new(Layout::Mono, 16).append([1, -2, 32_767].into_iter(), &mut out);
        assert_eq!(out, [1, 0, 0xFE, 0xFF, 0xFF, 0x7F]);
        out.clear();
        Wav::new(Layout::Mono, 24).append([-8_388_608, 1].into_iter(), &mut out);
        assert_eq!(out, [0, 0, 0x80, 1, 0, 0]);
    }
}
