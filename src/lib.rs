//! Jamulet: play in Jamulus sessions from inside the DAW, and host them.
//!
//! The crate is a pure middle with thin doors. [`protocol`], [`session`] and [`audio`] are
//! deterministic: `now` and bytes go in; bytes, events and a next deadline come out. [`net`],
//! [`client`], `server` and `plugin` hold the threads, sockets and windows. `docs/ARCHITECTURE.md`
//! tells which room owns what and which way dependencies point.

pub mod audio;
pub mod client;
pub mod net;
#[cfg(feature = "plugin")]
pub mod plugin;
pub mod protocol;
#[cfg(feature = "server")]
pub mod server;
pub mod session;
pub mod units;
