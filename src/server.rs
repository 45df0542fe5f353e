//! The server without `main`: a private session that stock Jamulus clients join.
//!
//! [`Core`] is the whole server without clock, socket or thread: datagrams and the time go in, datagrams
//! and events come out, and a tick mixes. [`Server`] is the door around it: one thread that owns the core
//! and the socket. What one client is and says lives in `channel`, its sound in `stream`.

pub mod admin;
mod allowance;
mod channel;
mod chat;
mod command;
mod config;
mod connless;
mod core;
mod directories;
mod directory_file;
mod doorman;
mod driver;
mod event;
mod greeting;
mod handle;
mod lookup;
mod mixer;
mod outbox;
mod plain;
mod reachable;
mod recorder;
mod roster;
mod status;
mod stream;
mod view;
mod wall_time;

pub use self::core::Core;
pub use chat::WallTime;
pub use command::{BanTarget, Command, CommandError, MAX_BAN, MAX_BANS, RecordCommand};
pub use config::{Config, DirectoryChoice, LiveConfig, OwnDirectory, ServerProfile, ToldFeatures};
pub use directories::{DirectoryKind, OwnAddress};
pub use driver::{Options, Server, ServerStats, StartError};
pub use event::{Event, LeaveReason};
pub use handle::Handle;
pub use plain::is_disruptive;
pub use reachable::reachable_addresses;
pub use recorder::{
    DEFAULT_MIN_FREE_BYTES, DirectoryError, Recorder, RecorderOptions, RecorderReport, RecordingFormat,
    Scribe, Tap, recorder,
};
pub use status::{
    ClientStatus, Counters, DirectoryStatus, DropReason, LATENESS_BOUNDS_MICROS, RecorderStatus,
    RegistrationStatus, Status, StreamCounters, TrafficCounters,
};
