//! The wire: bytes to messages and back, without state, time or panics.
//!
//! Facts come from `docs/PROTOCOL.md`; each file holds one format: its layout, its type, parsing,
//! emitting and golden bytes. Parsing takes anything and costs no more than a small multiple of
//! the bytes given. Emitting never fails: text beyond its limit is cut, and lists end with the
//! last entry that fits, because a peer would drop the whole message otherwise.

mod address;
mod audio_packet;
mod channel_info;
mod connless;
mod error;
mod frame;
mod levels;
mod message;
mod server_list;
mod split;
pub mod tables;
mod text;
mod wire;

pub use address::*;
pub use audio_packet::*;
pub use channel_info::*;
pub use connless::*;
pub use error::*;
pub use frame::*;
pub use levels::MAX_LEVEL;
pub use message::*;
pub use server_list::*;
pub use split::*;
pub use text::*;
