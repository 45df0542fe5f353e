//! FLAC: frames as they fill, and a STREAMINFO that is right for what is in the file.

use std::io;

use flacenc::bitsink::ByteSink;
use flacenc::component::{BitRepr, StreamInfo};
use flacenc::config::Encoder;
use flacenc::error::{Verified, Verify};
use flacenc::source::{Context, Fill, FrameBuf};

use crate::units::{Layout, WIRE_RATE_HZ};

/// Samples per channel in a block.
const BLOCK_SAMPLES: usize = 4096;
/// Bytes of the only metadata block.
const STREAMINFO_BYTES: u8 = 34;

/// How one FLAC file is written.
pub(super) struct Flac {
    config: Verified<Encoder>,
    info: StreamInfo,
    channels: usize,
    bits: u32,
    block: FrameBuf,
    /// Of the block being collected, interleaved.
    collected: Vec<i32>,
    digest: Context,
    blocks: usize,
    samples: u64,
    /// Shortest and longest coded block, in bytes.
    coded_bytes: Option<(u32, u32)>,
    is_finished: bool,
}

impl Flac {
    /// For samples of `bits`, 8..=24.
    ///
    /// # Errors
    /// When the encoder does not take this format.
    pub(super) fn new(layout: Layout, bits: u32) -> io::Result<Self> {
        let channels = layout.channels();
        let mut config = Encoder::default();
        config.block_size = BLOCK_SAMPLES;
        // Linear prediction would save a few percent and cost many times the work: a server has other things to do.
        config.subframe_coding.use_lpc = false;
        Ok(Self {
            config: config.into_verified().map_err(|(_, error)| io::Error::other(error.to_string()))?,
            info: StreamInfo::new(WIRE_RATE_HZ as usize, channels, bits as usize).map_err(io_error)?,
            channels,
            bits,
            block: FrameBuf::with_size(channels, BLOCK_SAMPLES).map_err(io_error)?,
            collected: Vec::with_capacity(BLOCK_SAMPLES * channels),
            digest: Context::new(bits as usize, channels),
            blocks: 0,
            samples: 0,
            coded_bytes: None,
            is_finished: false,
        })
    }

    /// Takes `values` and appends every block that they complete to `out`.
    ///
    /// # Errors
    /// When the encoder does not take them.
    pub(super) fn append(&mut self, values: impl Iterator<Item = i32>, out: &mut Vec<u8>) -> io::Result<()> {
        for value in values {
            self.collected.push(value);
            if self.collected.len() == BLOCK_SAMPLES * self.channels {
                self.write_block(out)?;
            }
        }
        Ok(())
    }

    /// Appends the last block, which may be shorter.
    ///
    /// # Errors
    /// When the encoder does not take it.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        if !self.collected.is_empty() {
            self.write_block(out)?;
        }
        self.is_finished = true;
        Ok(())
    }

    /// Everything before the first block. The digest is left out until the end: a program that is killed after a
    /// block and before this header leaves more sound than the header tells, which is no fault without a digest.
    pub(super) fn header(&self) -> Vec<u8> {
        let (shortest, longest) = self.coded_bytes.unwrap_or_default();
        let mut header = b"fLaC".to_vec();
        // The last metadata block, of type 0.
        header.extend_from_slice(&[0x80, 0, 0, STREAMINFO_BYTES]);
        for _ in 0..2 {
            header.extend_from_slice(&(BLOCK_SAMPLES as u16).to_be_bytes());
        }
        for bytes in [shortest, longest] {
            header.extend_from_slice(&bytes.to_be_bytes()[1..]);
        }
        // Rate (20 bits), channels − 1 (3), bits − 1 (5), samples (36).
        let format = u64::from(WIRE_RATE_HZ) << 44
            | (self.channels as u64 - 1) << 41
            | u64::from(self.bits - 1) << 36
            | self.samples & ((1 << 36) - 1);
        header.extend_from_slice(&format.to_be_bytes());
        let digest = if self.is_finished { self.digest.md5_digest() } else { [0; 16] };
        header.extend_from_slice(&digest);
        header
    }

    fn write_block(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.block.fill_interleaved(&self.collected).map_err(io_error)?;
        self.digest.fill_interleaved(&self.collected).map_err(io_error)?;
        let frame = flacenc::encode_fixed_size_frame(&self.config, &self.block, self.blocks, &self.info)
            .map_err(io_error)?;
        let mut sink = ByteSink::new();
        frame.write(&mut sink).map_err(io_error)?;
        let bytes = sink.as_slice();
        out.extend_from_slice(bytes);
        let length = u32::try_from(bytes.len()).unwrap_or(0);
        let (shortest, longest) = self.coded_bytes.unwrap_or((length, length));
        self.coded_bytes = Some((shortest.min(length), longest.max(length)));
        self.samples += (self.collected.len() / self.channels) as u64;
        self.blocks += 1;
        self.collected.clear();
        Ok(())
    }
}

fn io_error(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(error.to_string())
}
