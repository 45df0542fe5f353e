//! The recorder's two ends without a core: what is handed over tick by tick, and what is in the files then.
#![expect(clippy::unwrap_used, reason = "a failing test is what a panic is for")]

mod core;
mod deck;
mod names;
mod sessions;
mod sound;
mod trouble;
