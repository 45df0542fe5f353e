//! STUB of the plugin branch: dropped when main's client lands.
#![allow(missing_docs)]
use super::{Handle, Settings};
pub struct Engine {}
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Controls { pub send_gain: f32, pub return_gain: f32, pub dry_gain: f32, pub mute_me: bool }
impl Engine {
    pub fn prepare(&mut self, _rate_hz: f64, _max_block: usize) {}
    pub fn process(&mut self, io: &mut [&mut [f32]], input_channels: usize, _controls: &Controls) {
        if let [first, second] = io && input_channels == 1 { second.copy_from_slice(first); }
    }
    pub fn reset(&mut self) {}
}
pub fn create(_settings: Settings) -> (Handle, Engine) { (Handle::default(), Engine {}) }
