//! The server program records in real time: it is killed, stopped, and runs out of disk.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a failing test is what a panic is for")]
#![expect(clippy::disallowed_methods, reason = "a real program takes real time")]

mod folders;
mod full_disk;
mod killed;
mod program;
mod stuck;
