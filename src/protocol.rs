//! The wire: bytes to messages and back, without state, time or panics.
//!
//! Facts come from `docs/PROTOCOL.md`; each file holds one format and its limits.

mod message;

pub use message::*;
