//! One peer's protocol state, without clocks, sockets or threads.
//!
//! [`Connection`] is the reliable channel that client and server share; [`ClientSession`] is
//! everything a client does on top of it; [`Registration`] is a server's entry in a directory,
//! [`Browser`] looks for servers in one. All follow one contract: `now` and datagrams go in; after any call that may have changed something, drain
//! `poll_transmit` and `poll_event`, and call `handle_timeout` when the moment of `poll_timeout` has
//! come. Same inputs, same outputs.

mod browser;
mod client;
mod connection;
mod mix_changes;
mod ping;
mod registration;
mod repeats;
mod version;

pub use browser::{Browser, LIST_PING_INTERVAL, ListState, MAX_LISTED, MAX_WATCHED, ServerFacts};
pub use client::{ClientConfig, ClientEvent, ClientSession, EndReason, PeerFacts};
pub use connection::{Connection, MAX_QUEUED_CHATS, SPLIT_PATIENCE};
pub use ping::PING_INTERVAL;
pub use registration::{
    Announcement, NAT_KEEP_ALIVE, REGISTRATION_INTERVAL, Registration, RegistrationStatus,
};
pub use version::Version;
