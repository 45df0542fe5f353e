//! The server core on a virtual clock, with clients made by hand: no socket, no thread, no real time.
#![expect(clippy::unwrap_used, reason = "a failing test is what a panic is for")]

mod connless;
mod delay;
mod handshake;
mod hostile;
mod membership;
mod mix;
mod world;
