//! Frames of sound to bytes and back: Opus custom modes, and raw 16-bit samples.
//!
//! The only file with FFI. No crate offers Opus's custom modes, so their functions are declared
//! here and come from the libopus that `opusic-sys` builds (docs/ARCHITECTURE.md, "Codec").

use std::ffi::{c_int, c_uchar};
use std::ptr::NonNull;
use std::sync::OnceLock;

// Nothing of it is called by name, but it links libopus.
use opusic_sys as _;

use crate::units::{Coding, FrameSize, Layout, MAX_FRAME_SAMPLES, StreamFormat, WIRE_RATE_HZ};

/// Coded Opus frame sizes that we accept, in bytes.
const OPUS_BYTES: std::ops::RangeInclusive<u16> = 10..=255;
/// Interleaved samples in the longest frame.
const MAX_VALUES: usize = 2 * MAX_FRAME_SAMPLES;
/// Largest magnitude that a decoder puts out. Opus overshoots full scale a little, which a DAW can
/// still turn down; crafted bytes overshoot by any amount, which nobody's ears should meet.
const MAX_DECODED: f32 = 2.0;
/// Packet loss that the 64-sample encoder is told to expect, in percent (docs/PROTOCOL.md §3).
const EXPECTED_LOSS_PERCENT: c_int = 35;
/// Encoder complexity at 128 samples (docs/PROTOCOL.md §3); 64 samples use libopus's default.
const COMPLEXITY_128: c_int = 1;
/// The same for frames of fewer than [`FEW_BYTES`], where libopus 1.6 at complexities below 4 loses
/// up to 6 dB of a pure tone (older ones do not). It takes a fifth more time.
const COMPLEXITY_128_FEW_BYTES: c_int = 4;
/// Bytes per channel of a 128-sample frame from which on complexity 1 is as good: only "low"
/// quality has fewer.
const FEW_BYTES: usize = 35;

/// Highest bit rate that libopus 1.6 can be told, per channel.
const MAX_BITRATE: c_int = 750_000;

/// Why a codec could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// This build's libopus has no custom modes.
    #[error(
        "this build of Jamulet cannot code Jamulus's audio: its libopus lacks custom modes; build it again with CFLAGS=-DCUSTOM_MODES after `cargo clean -p opusic-sys`"
    )]
    NoCustomModes,
    /// Coded frames of this size are not used by Jamulus.
    #[error("an Opus frame of {0} bytes is outside 10..=255")]
    FrameBytes(u16),
    /// libopus refused, which only happens when memory has run out.
    #[error("libopus refused to work (error {0})")]
    Opus(i32),
    /// A sine did not survive coding and decoding.
    #[error("libopus does not reproduce sound: it was built wrongly")]
    Distorted,
}

/// Codes frames of one stream.
pub struct Encoder {
    format: StreamFormat,
    opus: Option<OpusEncoder>,
}

impl Encoder {
    /// An encoder for `format`. Allocates.
    pub fn new(format: StreamFormat) -> Result<Self, CodecError> {
        let opus = match format.coding {
            Coding::Opus { bytes } => Some(OpusEncoder::new(format.frame, format.layout, bytes)?),
            Coding::Raw => None,
        };
        Ok(Self { format, opus })
    }

    /// What it codes.
    pub fn format(&self) -> StreamFormat {
        self.format
    }

    /// Codes one frame: `pcm` holds frame × channels interleaved samples, full scale ±1, and `out`
    /// has [`StreamFormat::frame_bytes`]. Samples are clipped to full scale as stock peers do, and
    /// NaN or infinity becomes silence. A `pcm` that is too short is padded with silence.
    pub fn encode(&mut self, pcm: &[f32], out: &mut [u8]) {
        let values = self.format.layout.channels() * self.format.frame.samples();
        debug_assert_eq!(pcm.len(), values, "one whole frame");
        debug_assert_eq!(out.len(), self.format.frame_bytes(), "one whole coded frame");
        let mut clean = [0.0; MAX_VALUES];
        for (to, from) in clean[..values].iter_mut().zip(pcm) {
            *to = if from.is_finite() { from.clamp(-1.0, 1.0) } else { 0.0 };
        }
        match &mut self.opus {
            Some(opus) => opus.encode(&clean, out),
            None => encode_raw(&clean[..values], out),
        }
    }

    /// Forgets what was coded before, as if new.
    pub fn reset(&mut self) {
        if let Some(opus) = &mut self.opus {
            opus.reset();
        }
    }
}

/// Decodes frames of one stream, and conceals those that are missing.
pub struct Decoder {
    format: StreamFormat,
    opus: Option<OpusDecoder>,
}

impl Decoder {
    /// A decoder for `format`. Allocates.
    pub fn new(format: StreamFormat) -> Result<Self, CodecError> {
        let opus = match format.coding {
            Coding::Opus { bytes } => {
                check_bytes(bytes)?;
                Some(OpusDecoder::new(format.frame, format.layout)?)
            }
            Coding::Raw => None,
        };
        Ok(Self { format, opus })
    }

    /// What it decodes.
    pub fn format(&self) -> StreamFormat {
        self.format
    }

    /// Decodes one frame into `out` (frame × channels interleaved samples, all finite and within
    /// ±2). `None`, or a frame of the wrong size, is a lost frame: Opus conceals it, raw audio is
    /// silent (docs/PROTOCOL.md §3).
    pub fn decode(&mut self, frame: Option<&[u8]>, out: &mut [f32]) {
        let values = self.format.layout.channels() * self.format.frame.samples();
        debug_assert_eq!(out.len(), values, "one whole frame");
        let frame = frame.filter(|frame| frame.len() == self.format.frame_bytes());
        let mut decoded = [0.0; MAX_VALUES];
        match &mut self.opus {
            Some(opus) => opus.decode(frame, &mut decoded),
            None => decode_raw(frame, &mut decoded),
        }
        out.fill(0.0);
        for (to, from) in out.iter_mut().zip(&decoded[..values]) {
            *to = if from.is_finite() { from.clamp(-MAX_DECODED, MAX_DECODED) } else { 0.0 };
        }
    }

    /// Forgets what was decoded before, as if new.
    pub fn reset(&mut self) {
        if let Some(opus) = &mut self.opus {
            opus.reset();
        }
    }
}

/// Proves that libopus really has the custom modes that Jamulus needs: sends a sine through both.
/// Call it once at start, so that a wrong build says so instead of being mute. Allocates.
pub fn check_custom_modes() -> Result<(), CodecError> {
    for frame in [FrameSize::Samples64, FrameSize::Samples128] {
        let format = StreamFormat { frame, layout: Layout::Mono, coding: Coding::Opus { bytes: 80 } };
        let (mut encoder, mut decoder) = (Encoder::new(format)?, Decoder::new(format)?);
        let samples = frame.samples();
        let mut pcm = [0.0; MAX_FRAME_SAMPLES];
        let mut coded = [0; 80];
        let mut energy = 0.0;
        let frames = 40;
        for index in 0..frames {
            for (at, sample) in pcm[..samples].iter_mut().enumerate() {
                let phase = (index * samples + at) as f32 * (440.0 / WIRE_RATE_HZ as f32);
                *sample = 0.5 * (std::f32::consts::TAU * phase).sin();
            }
            encoder.encode(&pcm[..samples], &mut coded);
            decoder.decode(Some(&coded), &mut pcm[..samples]);
            if index >= frames / 2 {
                energy += pcm[..samples].iter().map(|sample| sample * sample).sum::<f32>();
            }
        }
        let rms = (energy / (frames / 2 * samples) as f32).sqrt();
        // 0.5 · sin has an RMS of 0.354.
        if !(0.3..0.4).contains(&rms) {
            return Err(CodecError::Distorted);
        }
    }
    Ok(())
}

/// Interleaved little-endian i16, as stock peers write it.
fn encode_raw(pcm: &[f32], out: &mut [u8]) {
    for (bytes, sample) in out.chunks_exact_mut(2).zip(pcm) {
        bytes.copy_from_slice(&((sample * 32768.0).round() as i16).to_le_bytes());
    }
}

fn decode_raw(frame: Option<&[u8]>, out: &mut [f32]) {
    let Some(frame) = frame else { return };
    for (sample, bytes) in out.iter_mut().zip(frame.chunks_exact(2)) {
        *sample = f32::from(i16::from_le_bytes([bytes[0], bytes[1]])) / 32768.0;
    }
}

fn check_bytes(bytes: u16) -> Result<(), CodecError> {
    if OPUS_BYTES.contains(&bytes) { Ok(()) } else { Err(CodecError::FrameBytes(bytes)) }
}

/// The tables of a frame size, shared by all encoders and decoders and never freed.
struct Mode(NonNull<ffi::OpusCustomMode>);

// SAFETY: libopus takes modes by pointer to const and never writes to one after creating it.
unsafe impl Send for Mode {}
// SAFETY: as above.
unsafe impl Sync for Mode {}

fn mode(frame: FrameSize) -> Result<*const ffi::OpusCustomMode, CodecError> {
    static MODES: [OnceLock<Option<Mode>>; 2] = [const { OnceLock::new() }; 2];
    let cell = &MODES[usize::from(frame == FrameSize::Samples128)];
    let mode = cell.get_or_init(|| {
        // SAFETY: plain integers; the error pointer may be null.
        let mode = unsafe {
            ffi::opus_custom_mode_create(WIRE_RATE_HZ as i32, frame.samples() as c_int, std::ptr::null_mut())
        };
        NonNull::new(mode).map(Mode)
    });
    mode.as_ref().map(|mode| mode.0.as_ptr().cast_const()).ok_or(CodecError::NoCustomModes)
}

struct OpusEncoder {
    state: NonNull<ffi::OpusCustomEncoder>,
    frame: FrameSize,
    bytes: u16,
}

// SAFETY: the state is plain memory that only this owner touches; libopus keeps no thread affinity.
unsafe impl Send for OpusEncoder {}

impl OpusEncoder {
    fn new(frame: FrameSize, layout: Layout, bytes: u16) -> Result<Self, CodecError> {
        check_bytes(bytes)?;
        let mut error = ffi::OPUS_OK;
        // SAFETY: the mode is valid for ever, `channels` is 1 or 2, and `error` is writable.
        let state =
            unsafe { ffi::opus_custom_encoder_create(mode(frame)?, layout.channels() as c_int, &mut error) };
        let state = NonNull::new(state).ok_or(CodecError::Opus(error))?;
        let mut encoder = Self { state, frame, bytes };
        encoder.set(ffi::OPUS_SET_VBR, 0)?;
        encoder.set(ffi::OPUS_SET_BITRATE, bitrate(frame, layout, bytes))?;
        match frame {
            FrameSize::Samples64 => encoder.set(ffi::OPUS_SET_PACKET_LOSS_PERC, EXPECTED_LOSS_PERCENT)?,
            FrameSize::Samples128 if usize::from(bytes) < FEW_BYTES * layout.channels() => {
                encoder.set(ffi::OPUS_SET_COMPLEXITY, COMPLEXITY_128_FEW_BYTES)?;
            }
            FrameSize::Samples128 => encoder.set(ffi::OPUS_SET_COMPLEXITY, COMPLEXITY_128)?,
        }
        // Custom encoders have no other application than restricted low delay: asking for it, as
        // docs/PROTOCOL.md §3 has it, is answered with "unimplemented" and changes nothing.
        Ok(encoder)
    }

    fn set(&mut self, request: c_int, value: c_int) -> Result<(), CodecError> {
        // SAFETY: the state is valid and owned; every request made here takes one opus_int32 (c_int).
        match unsafe { ffi::opus_custom_encoder_ctl(self.state.as_ptr(), request, value) } {
            ffi::OPUS_OK => Ok(()),
            error => Err(CodecError::Opus(error)),
        }
    }

    fn encode(&mut self, pcm: &[f32; MAX_VALUES], out: &mut [u8]) {
        let bytes = usize::from(self.bytes).min(out.len());
        // SAFETY: the state is valid and owned; `pcm` holds at least frame × channels samples, and
        // `out` at least `bytes`.
        let written = unsafe {
            ffi::opus_custom_encode_float(
                self.state.as_ptr(),
                pcm.as_ptr(),
                self.frame.samples() as c_int,
                out.as_mut_ptr(),
                bytes as c_int,
            )
        };
        debug_assert_eq!(written, c_int::from(self.bytes), "hard CBR fills the frame");
        // Never seen; zeros are a frame that every decoder takes.
        out[usize::try_from(written).unwrap_or(0).min(bytes)..].fill(0);
    }

    fn reset(&mut self) {
        // SAFETY: the state is valid and owned; this request takes no argument.
        unsafe { ffi::opus_custom_encoder_ctl(self.state.as_ptr(), ffi::OPUS_RESET_STATE) };
    }
}

impl Drop for OpusEncoder {
    fn drop(&mut self) {
        // SAFETY: made by opus_custom_encoder_create and not used again.
        unsafe { ffi::opus_custom_encoder_destroy(self.state.as_ptr()) };
    }
}

/// Bits per second of frames of `bytes` bytes.
fn bitrate(frame: FrameSize, layout: Layout, bytes: u16) -> c_int {
    let bits = WIRE_RATE_HZ as c_int / frame.samples() as c_int * c_int::from(bytes) * 8;
    // libopus cuts higher ones, and frames would come out too short. "As much as fits" is their
    // equal, but changes how lower rates are coded.
    if bits <= MAX_BITRATE * layout.channels() as c_int { bits } else { ffi::OPUS_BITRATE_MAX }
}

struct OpusDecoder {
    state: NonNull<ffi::OpusCustomDecoder>,
    frame: FrameSize,
}

// SAFETY: the state is plain memory that only this owner touches; libopus keeps no thread affinity.
unsafe impl Send for OpusDecoder {}

impl OpusDecoder {
    fn new(frame: FrameSize, layout: Layout) -> Result<Self, CodecError> {
        let mut error = ffi::OPUS_OK;
        // SAFETY: the mode is valid for ever, `channels` is 1 or 2, and `error` is writable.
        let state =
            unsafe { ffi::opus_custom_decoder_create(mode(frame)?, layout.channels() as c_int, &mut error) };
        Ok(Self { state: NonNull::new(state).ok_or(CodecError::Opus(error))?, frame })
    }

    fn decode(&mut self, frame: Option<&[u8]>, out: &mut [f32; MAX_VALUES]) {
        let (data, bytes) = frame.map_or((std::ptr::null(), 0), |frame| (frame.as_ptr(), frame.len()));
        // SAFETY: the state is valid and owned; `data` holds `bytes` bytes, or is null to conceal;
        // `out` has room for the longest stereo frame.
        let decoded = unsafe {
            ffi::opus_custom_decode_float(
                self.state.as_ptr(),
                data,
                bytes as c_int,
                out.as_mut_ptr(),
                self.frame.samples() as c_int,
            )
        };
        if decoded != self.frame.samples() as c_int {
            // Bytes that are no Opus frame at all: silence.
            out.fill(0.0);
        }
    }

    fn reset(&mut self) {
        // SAFETY: the state is valid and owned; this request takes no argument.
        unsafe { ffi::opus_custom_decoder_ctl(self.state.as_ptr(), ffi::OPUS_RESET_STATE) };
    }
}

impl Drop for OpusDecoder {
    fn drop(&mut self) {
        // SAFETY: made by opus_custom_decoder_create and not used again.
        unsafe { ffi::opus_custom_decoder_destroy(self.state.as_ptr()) };
    }
}

/// libopus's `opus_custom.h`, as far as it is used.
mod ffi {
    use super::{c_int, c_uchar};

    #[repr(C)]
    pub(super) struct OpusCustomMode {
        _opaque: [u8; 0],
    }
    #[repr(C)]
    pub(super) struct OpusCustomEncoder {
        _opaque: [u8; 0],
    }
    #[repr(C)]
    pub(super) struct OpusCustomDecoder {
        _opaque: [u8; 0],
    }

    pub(super) const OPUS_OK: c_int = 0;
    pub(super) const OPUS_BITRATE_MAX: c_int = -1;
    pub(super) const OPUS_SET_BITRATE: c_int = 4002;
    pub(super) const OPUS_SET_VBR: c_int = 4006;
    pub(super) const OPUS_SET_COMPLEXITY: c_int = 4010;
    pub(super) const OPUS_SET_PACKET_LOSS_PERC: c_int = 4014;
    pub(super) const OPUS_RESET_STATE: c_int = 4028;

    unsafe extern "C" {
        pub(super) fn opus_custom_mode_create(
            rate_hz: i32,
            frame_samples: c_int,
            error: *mut c_int,
        ) -> *mut OpusCustomMode;
        pub(super) fn opus_custom_encoder_create(
            mode: *const OpusCustomMode,
            channels: c_int,
            error: *mut c_int,
        ) -> *mut OpusCustomEncoder;
        pub(super) fn opus_custom_encoder_destroy(encoder: *mut OpusCustomEncoder);
        pub(super) fn opus_custom_encoder_ctl(encoder: *mut OpusCustomEncoder, request: c_int, ...) -> c_int;
        pub(super) fn opus_custom_encode_float(
            encoder: *mut OpusCustomEncoder,
            pcm: *const f32,
            frame_samples: c_int,
            out: *mut c_uchar,
            max_bytes: c_int,
        ) -> c_int;
        pub(super) fn opus_custom_decoder_create(
            mode: *const OpusCustomMode,
            channels: c_int,
            error: *mut c_int,
        ) -> *mut OpusCustomDecoder;
        pub(super) fn opus_custom_decoder_destroy(decoder: *mut OpusCustomDecoder);
        pub(super) fn opus_custom_decoder_ctl(decoder: *mut OpusCustomDecoder, request: c_int, ...) -> c_int;
        pub(super) fn opus_custom_decode_float(
            decoder: *mut OpusCustomDecoder,
            data: *const c_uchar,
            bytes: c_int,
            pcm: *mut f32,
            frame_samples: c_int,
        ) -> c_int;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_build_has_custom_modes() {
        assert_eq!(check_custom_modes(), Ok(()));
    }

    #[test]
    fn frame_sizes_that_jamulus_does_not_use_are_refused() {
        for bytes in [0, 9, 256, u16::MAX] {
            let format = StreamFormat {
                frame: FrameSize::Samples128,
                layout: Layout::Stereo,
                coding: Coding::Opus { bytes },
            };
            assert_eq!(Encoder::new(format).err(), Some(CodecError::FrameBytes(bytes)));
            assert_eq!(Decoder::new(format).err(), Some(CodecError::FrameBytes(bytes)));
        }
    }
}
