//! Audio packets and the properties that announce them (`docs/PROTOCOL.md` §2 and §3).
//!
//! ```text
//! packet: factor × (coded frame | counter u8, if properties say so), and nothing else
//! 20:     packet size u32 (one coded frame and its counter) | block factor u16 | channels u8
//!         | sample rate u32 | codec u16 | flags u16 (1 = with counter) | codec argument u32 = 0
//! ```
//!
//! A packet has no mark of its own: its size is all there is to recognise it by.

use super::error::ParseError;
use super::wire::{Reader, put_u16, put_u32};
use crate::units::{Coding, FrameSize, Layout, StreamFormat, WIRE_RATE_HZ};

/// Smallest and largest Opus frame that we take, in bytes without counter. Jamulus takes up to
/// 20 000, which lets twenty small packets a second draw 7.5 MB/s (`docs/PROTOCOL.md` §5).
const OPUS_BYTES: std::ops::RangeInclusive<u32> = 10..=255;
/// Codec number of the obsolete CELT.
const CODEC_CELT: u16 = 1;
/// Codec number of frames of 128 samples.
const CODEC_OPUS: u16 = 2;
/// Codec number of frames of 64 samples.
const CODEC_OPUS64: u16 = 3;
/// Bit in `flags`: every frame is followed by its counter.
const FLAG_COUNTER: u16 = 1;

/// Stream properties as they travel (id 20). Values are what the peer sent; whether they make
/// sense is [`TransportProperties::layout`]'s to say.
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

/// What the audio packets of a connection look like, in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PacketLayout {
    /// What each frame is.
    pub format: StreamFormat,
    /// Frames per packet: 1, 2 or 4.
    pub block_factor: u8,
    /// Whether a counter byte follows each frame.
    pub counter: bool,
}

impl PacketLayout {
    /// Bytes of one packet: the only size that counts as audio of this connection.
    pub fn packet_bytes(&self) -> usize {
        usize::from(self.block_factor) * self.unit_bytes()
    }

    /// Bytes of one frame and its counter, if it has one.
    pub fn unit_bytes(&self) -> usize {
        self.format.frame_bytes() + usize::from(self.counter)
    }

    /// The frames of a packet, each with its counter, oldest first; `None` when its size is wrong.
    pub fn frames<'a>(
        &self,
        packet: &'a [u8],
    ) -> Option<impl Iterator<Item = (&'a [u8], Option<u8>)> + use<'a>> {
        let frame_bytes = self.format.frame_bytes();
        let fits = !packet.is_empty() && packet.len() == self.packet_bytes();
        fits.then(|| {
            packet.chunks_exact(self.unit_bytes()).map(move |unit| {
                let (frame, counter) = unit.split_at(frame_bytes);
                (frame, counter.first().copied())
            })
        })
    }
}

impl TransportProperties {
    /// The properties that announce packets of this layout.
    pub fn new(layout: PacketLayout) -> Self {
        Self {
            // Frames have at most 512 bytes.
            packet_size: layout.unit_bytes() as u32,
            block_factor: layout.block_factor.into(),
            channels: layout.format.layout.channels() as u8,
            sample_rate: WIRE_RATE_HZ,
            codec: match layout.format.frame {
                FrameSize::Samples128 => CODEC_OPUS,
                FrameSize::Samples64 => CODEC_OPUS64,
            },
            flags: if layout.counter { FLAG_COUNTER } else { 0 },
            codec_argument: 0,
        }
    }

    /// The packets that these properties announce, if we take such packets: OPUS or OPUS64 at
    /// 48 kHz, 1 or 2 channels, factor 1, 2 or 4, and frames of raw audio's size or of 10 to 255
    /// bytes. Raw audio is known by its size alone, so an Opus frame of that size is impossible.
    ///
    /// # Errors
    /// [`ParseError::ObsoleteCodec`] for CELT, else [`ParseError::InvalidValue`].
    pub fn layout(&self) -> Result<PacketLayout, ParseError> {
        let frame = match self.codec {
            CODEC_OPUS => FrameSize::Samples128,
            CODEC_OPUS64 => FrameSize::Samples64,
            CODEC_CELT => return Err(ParseError::ObsoleteCodec),
            other => return Err(invalid("codec", other.into())),
        };
        let layout = match self.channels {
            1 => Layout::Mono,
            2 => Layout::Stereo,
            other => return Err(invalid("number of channels", other.into())),
        };
        let block_factor = match self.block_factor {
            factor @ (1 | 2 | 4) => factor as u8,
            other => return Err(invalid("block factor", other.into())),
        };
        if self.sample_rate != WIRE_RATE_HZ {
            return Err(invalid("sample rate", self.sample_rate));
        }
        let counter = self.flags & FLAG_COUNTER != 0;
        let coding = self.coding(frame, layout, counter)?;
        Ok(PacketLayout { format: StreamFormat { frame, layout, coding }, block_factor, counter })
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, ParseError> {
        Ok(Self {
            packet_size: reader.u32()?,
            block_factor: reader.u16()?,
            channels: reader.u8()?,
            sample_rate: reader.u32()?,
            codec: reader.u16()?,
            flags: reader.u16()?,
            codec_argument: reader.u32()?,
        })
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_u32(out, self.packet_size);
        put_u16(out, self.block_factor);
        out.push(self.channels);
        put_u32(out, self.sample_rate);
        put_u16(out, self.codec);
        put_u16(out, self.flags);
        put_u32(out, self.codec_argument);
    }

    fn coding(&self, frame: FrameSize, layout: Layout, counter: bool) -> Result<Coding, ParseError> {
        let raw = StreamFormat { frame, layout, coding: Coding::Raw };
        let bytes = self.packet_size.saturating_sub(counter.into());
        if bytes == raw.frame_bytes() as u32 {
            Ok(Coding::Raw)
        } else if OPUS_BYTES.contains(&bytes) {
            Ok(Coding::Opus { bytes: bytes as u16 })
        } else {
            Err(invalid("packet size", self.packet_size))
        }
    }
}

fn invalid(field: &'static str, value: u32) -> ParseError {
    ParseError::InvalidValue { field, value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Quality;

    /// OPUS64, stereo high, with counter, two frames a packet.
    const BYTES: &[u8] = b"\x4A\0\0\0\x02\0\x02\x80\xBB\0\0\x03\0\x01\0\0\0\0\0";

    fn layout() -> PacketLayout {
        let format = StreamFormat::stock(FrameSize::Samples64, Layout::Stereo, Quality::High);
        PacketLayout { format, block_factor: 2, counter: true }
    }

    fn with(change: impl FnOnce(&mut TransportProperties)) -> Result<PacketLayout, ParseError> {
        let mut properties = TransportProperties::new(layout());
        change(&mut properties);
        properties.layout()
    }

    #[test]
    fn properties_have_this_layout() {
        let properties = TransportProperties::read(&mut Reader::new(BYTES)).unwrap();
        assert_eq!(properties, TransportProperties::new(layout()));
        let mut out = Vec::new();
        properties.put(&mut out);
        assert_eq!(out, BYTES);
    }

    #[test]
    fn every_stock_layout_is_understood() {
        for frame in [FrameSize::Samples64, FrameSize::Samples128] {
            for channels in [Layout::Mono, Layout::Stereo] {
                for quality in [Quality::Low, Quality::Normal, Quality::High, Quality::Max] {
                    for (block_factor, counter) in [(1, true), (2, true), (4, true), (1, false)] {
                        let format = StreamFormat::stock(frame, channels, quality);
                        let layout = PacketLayout { format, block_factor, counter };
                        assert_eq!(TransportProperties::new(layout).layout(), Ok(layout));
                    }
                }
            }
        }
    }

    #[test]
    fn nonsense_and_amplifying_sizes_are_refused() {
        assert_eq!(with(|p| p.codec = CODEC_CELT), Err(ParseError::ObsoleteCodec));
        for codec in [0, 4] {
            assert_eq!(with(|p| p.codec = codec), Err(invalid("codec", codec.into())));
        }
        for channels in [0, 3] {
            assert_eq!(with(|p| p.channels = channels), Err(invalid("number of channels", channels.into())));
        }
        for factor in [0, 3, 5, 257, 258] {
            assert_eq!(with(|p| p.block_factor = factor), Err(invalid("block factor", factor.into())));
        }
        for rate in [0, 44_100, 96_000] {
            assert_eq!(with(|p| p.sample_rate = rate), Err(invalid("sample rate", rate)));
        }
        for size in [0, 1, 10, 258, 513, 20_000, u32::MAX] {
            assert_eq!(with(|p| p.packet_size = size), Err(invalid("packet size", size)));
        }
    }

    #[test]
    fn the_limits_of_sizes_exclude_the_counter() {
        let coding = |size| with(|p| p.packet_size = size).map(|layout| layout.format.coding);
        assert_eq!(coding(11), Ok(Coding::Opus { bytes: 10 }));
        assert_eq!(coding(256), Ok(Coding::Opus { bytes: 255 }));
        assert_eq!(coding(257), Ok(Coding::Raw));
        assert!(with(|p| (p.packet_size, p.flags) = (10, 0)).is_ok());
        assert!(with(|p| (p.packet_size, p.flags) = (9, 0)).is_err());
    }

    #[test]
    fn packets_come_apart_into_frames_and_counters() {
        let format = StreamFormat {
            frame: FrameSize::Samples64,
            layout: Layout::Mono,
            coding: Coding::Opus { bytes: 10 },
        };
        let layout = PacketLayout { format, block_factor: 2, counter: true };
        let packet: Vec<u8> = (0..22).collect();
        assert_eq!(layout.packet_bytes(), 22);
        let frames: Vec<_> = layout.frames(&packet).unwrap().collect();
        assert_eq!(frames, [(&packet[..10], Some(10)), (&packet[11..21], Some(21))]);
        assert!(layout.frames(&packet[..21]).is_none());
        assert!(layout.frames(&packet[..11]).is_none());
        assert!(layout.frames(&[]).is_none());

        let bare = PacketLayout { counter: false, ..layout };
        let frames: Vec<_> = bare.frames(&packet[..20]).unwrap().collect();
        assert_eq!(frames, [(&packet[..10], None), (&packet[10..20], None)]);
    }

    #[test]
    fn a_layout_without_bytes_takes_no_packet() {
        let mut layout = PacketLayout { counter: false, ..layout() };
        layout.format.coding = Coding::Opus { bytes: 0 };
        assert!(layout.frames(&[]).is_none());
    }
}
