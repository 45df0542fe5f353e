//! The client without a host or a window.
//!
//! [`Engine`] is the audio half, [`Pump`] the pure network half, the driver thread the door
//! between `Pump` and the sockets, [`Handle`] and [`Snapshot`] what windows and parameters use.

mod engine;
mod handle;
mod settings;
mod snapshot;

pub use engine::{Controls, Engine, create};
pub use handle::{Handle, MeterReading};
pub use settings::{BufferSettings, FrameChoice, Profile, Settings, StreamSettings};
pub use snapshot::*;
