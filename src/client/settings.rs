//! What the musician chooses: all of it may change while connected.

use crate::protocol::Skill;
use crate::units::{BufferSize, Layout, Quality, Safety};

/// Who the musician is, as others see them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Name, at most [`crate::units::MAX_NAME_UNITS`] (longer ones are cut).
    pub name: String,
    /// Index into the instrument table, 0 = none.
    pub instrument: u32,
    /// Qt 5 country number, 0 = none.
    pub country: u16,
    /// City, at most [`crate::units::MAX_CITY_UNITS`] (longer ones are cut).
    pub city: String,
    /// Skill level.
    pub skill: Skill,
}

/// Samples per frame, as the user sets it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FrameChoice {
    /// 64 where the host's block is at most that long, else 128 (what stock clients do).
    #[default]
    Auto,
    /// Always 64.
    Samples64,
    /// Always 128.
    Samples128,
}

/// How the sound travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamSettings {
    /// Bytes per second.
    pub quality: Quality,
    /// Channels sent and received.
    pub layout: Layout,
    /// Samples per frame.
    pub frame: FrameChoice,
}

/// Both jitter buffers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BufferSettings {
    /// Ours, for what comes from the server.
    pub client: BufferSize,
    /// The server's, for what comes from us.
    pub server: BufferSize,
    /// How ours is sized on auto. A server sizes its own by its own rule and can be told nothing but a number.
    pub safety: Safety,
}

/// All of the musician's choices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Who they are.
    pub profile: Profile,
    /// How the sound travels.
    pub stream: StreamSettings,
    /// Jitter buffers.
    pub buffers: BufferSettings,
}
