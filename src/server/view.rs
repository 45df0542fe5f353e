//! How one listener wants to hear everyone.

use crate::units::{ChannelId, MAX_CHANNELS};

/// The wire's unity gain and full right pan. Source: docs/PROTOCOL.md §2.
const WIRE_ONE: u16 = 1 << 15;

/// One listener's gain and pan for every slot, taken or not.
pub(super) struct View {
    gains: [f32; MAX_CHANNELS],
    pans: [f32; MAX_CHANNELS],
}

impl View {
    /// Everyone at unity, in the centre.
    pub(super) fn new() -> Self {
        Self { gains: [1.0; MAX_CHANNELS], pans: [0.5; MAX_CHANNELS] }
    }

    /// Sets how loud `channel` is heard, from the wire. Tells whether it is muted now if that has changed.
    /// Channels that no server has are ignored.
    pub(super) fn set_gain(&mut self, channel: ChannelId, gain: u16) -> Option<bool> {
        let slot = self.gains.get_mut(channel.index())?;
        let was_muted = *slot == 0.0;
        *slot = f32::from(gain) / f32::from(WIRE_ONE);
        let is_muted = gain == 0;
        (is_muted != was_muted).then_some(is_muted)
    }

    /// Sets where `channel` is heard, from the wire; beyond full right is full right.
    pub(super) fn set_pan(&mut self, channel: ChannelId, pan: u16) {
        if let Some(slot) = self.pans.get_mut(channel.index()) {
            *slot = f32::from(pan.min(WIRE_ONE)) / f32::from(WIRE_ONE);
        }
    }

    /// Somebody else may sit in `channel` next: back to unity and centre.
    pub(super) fn reset(&mut self, channel: ChannelId) {
        self.gains[channel.index()] = 1.0;
        self.pans[channel.index()] = 0.5;
    }

    /// Linear gain for `channel`, `0.0..2.0`.
    pub(super) fn gain(&self, channel: usize) -> f32 {
        self.gains[channel]
    }

    /// Pan for `channel`: 0.0 left, 0.5 centre, 1.0 right.
    pub(super) fn pan(&self, channel: usize) -> f32 {
        self.pans[channel]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_going_to_or_from_zero_is_news() {
        let mut view = View::new();
        let told = [0, 0, 1, 32768, 65535, 0].map(|gain| view.set_gain(ChannelId(7), gain));
        assert_eq!(told, [Some(true), None, Some(false), None, None, Some(true)]);
        assert_eq!(view.set_gain(ChannelId(150), 0), None);
        view.reset(ChannelId(7));
        assert_eq!(view.gain(7), 1.0);
    }

    #[test]
    fn values_are_scaled_and_clamped() {
        let mut view = View::new();
        view.set_gain(ChannelId(0), 65535);
        assert!((view.gain(0) - 2.0).abs() < 1e-4);
        let pans = [0, 8192, 32768, 65535].map(|pan| {
            view.set_pan(ChannelId(0), pan);
            view.pan(0)
        });
        assert_eq!(pans, [0.0, 0.25, 1.0, 1.0]);
        view.set_pan(ChannelId(255), 0);
    }
}
