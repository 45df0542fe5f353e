//! The window's and the parameters' end of a client: commands in, one snapshot out.

use std::sync::Arc;

use super::{Settings, Snapshot};
use crate::units::ChannelId;

/// One client. Cheap to clone; every method may be called from any thread but the audio thread.
#[derive(Clone)]
pub struct Handle {}

/// Peak levels since they were last read, linear, 1.0 = 0 dBFS.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MeterReading {
    /// What is sent, left and right (equal for mono).
    pub send: [f32; 2],
    /// What comes back, left and right (equal for mono).
    pub receive: [f32; 2],
}

impl Handle {
    /// Connects to `address` as typed (`host`, `host:port`, `[v6]:port`); leaves any other server first.
    /// Problems appear in the snapshot's state.
    pub fn connect(&self, address: &str) {
        let _ = address;
        unimplemented!()
    }
    /// Leaves the session; the snapshot goes to `Idle`.
    pub fn disconnect(&self) {
        unimplemented!()
    }
    /// Takes over changed settings; only what differs has an effect.
    pub fn set_settings(&self, settings: &Settings) {
        let _ = settings;
        unimplemented!()
    }
    /// Says something to everyone (plain text, cut to [`crate::units::MAX_CHAT_INPUT_UNITS`]).
    pub fn chat(&self, text: &str) {
        let _ = text;
        unimplemented!()
    }
    /// How loud we hear `channel`: linear gain 0.0..=1.0 (clamped).
    pub fn set_gain(&self, channel: ChannelId, gain: f32) {
        let _ = (channel, gain);
        unimplemented!()
    }
    /// Where we hear `channel`: 0.0 left, 0.5 centre, 1.0 right (clamped).
    pub fn set_pan(&self, channel: ChannelId, pan: f32) {
        let _ = (channel, pan);
        unimplemented!()
    }
    /// The licence was accepted (or none is asked for): sound may be sent.
    pub fn accept_licence(&self) {
        unimplemented!()
    }
    /// The picture of now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        unimplemented!()
    }
    /// Peaks since the last call.
    pub fn take_meters(&self) -> MeterReading {
        unimplemented!()
    }
    /// Calls `notify` after every new snapshot (from the network thread; must not block). `None` ends it.
    pub fn set_notify(&self, notify: Option<Box<dyn Fn() + Send + Sync>>) {
        let _ = notify;
        unimplemented!()
    }
    /// Records a contained panic; shown in the snapshot as `fault`.
    pub fn report_fault(&self, sentence: &str) {
        let _ = sentence;
        unimplemented!()
    }
}
