//! STUB of the plugin branch: dropped when main's client lands.

use std::sync::Arc;

use parking_lot::RwLock;

use super::{Settings, Snapshot};
use crate::units::ChannelId;

/// One client.
#[derive(Clone, Default)]
pub struct Handle { snapshot: Arc<RwLock<Snapshot>> }

/// Peak levels since they were last read, linear, 1.0 = 0 dBFS.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MeterReading {
    /// What is sent, left and right (equal for mono).
    pub send: [f32; 2],
    /// What comes back, left and right (equal for mono).
    pub receive: [f32; 2],
}
#[allow(missing_docs)]
impl Handle {
    pub fn connect(&self, address: &str) { let mut s = self.snapshot.write(); s.address = address.to_owned(); s.state = super::ConnectionState::Resolving; }
    pub fn disconnect(&self) { self.snapshot.write().state = super::ConnectionState::Idle; }
    pub fn set_settings(&self, settings: &Settings) { let _ = settings; }
    pub fn set_address(&self, address: &str) { self.snapshot.write().address = address.to_owned(); }
    pub fn set_intent(&self, connect: bool) { let _ = connect; }
    pub fn chat(&self, text: &str) { let _ = text; }
    pub fn set_gain(&self, channel: ChannelId, gain: f32) { let _ = (channel, gain); }
    pub fn set_pan(&self, channel: ChannelId, pan: f32) { let _ = (channel, pan); }
    pub fn accept_licence(&self) { }
    pub fn snapshot(&self) -> Arc<Snapshot> { Arc::new(self.snapshot.read().clone()) }
    pub fn take_meters(&self) -> MeterReading { MeterReading::default() }
    pub fn set_notify(&self, notify: Option<Box<dyn Fn() + Send + Sync>>) { drop(notify); }
    pub fn report_fault(&self, sentence: &str) { self.snapshot.write().fault = Some(sentence.to_owned()); }
}
