//! Sound, without threads or clocks: codec, jitter buffer, resampler, mixing, meters.
//!
//! Everything here is realtime-safe once `new` has returned: it does not allocate, lock, log, read
//! a clock or fail. It runs on the host's audio thread, on the server's tick thread and its workers.

mod codec;
mod denormal;
mod jitter_buffer;
mod limiter;
mod meter;
mod mix;
mod playout;
mod resampler;
mod sanitise;

pub use codec::{CodecError, Decoder, Encoder, check_custom_modes};
pub use denormal::FlushDenormals;
pub use jitter_buffer::{BufferStats, CounterUnwrapper, JitterBuffer, Slot};
pub use limiter::Limiter;
pub use meter::{PeakMeter, level_0_to_9};
pub use mix::{
    FadeIn, MAX_PAN_DELAY_SAMPLES, PanDelay, StereoGain, convert_layout, mix_delayed_into, mix_into,
    mix_ramped_into,
};
pub use playout::{Played, Playout};
pub use resampler::{Resampler, ResamplerError, SampleFifo};
pub use sanitise::{DcBlocker, tame};
