//! The server core on a virtual clock, with clients made by hand: no socket, no thread, no real time.

mod connless;
mod handshake;
mod hostile;
mod membership;
mod mix;
mod world;
