//! Our own channel in our personal mix: as loud as asked for, or off while others are wanted alone.

use crate::units::ChannelId;

/// What the server was told, and what it is to be told.
pub(super) struct OwnChannel {
    channel: ChannelId,
    /// As asked for last, linear.
    gain: f32,
    off: bool,
}

impl OwnChannel {
    /// The server has just given us `channel`: everyone is heard at unity.
    pub(super) fn new(channel: ChannelId) -> Self {
        Self { channel, gain: 1.0, off: false }
    }

    pub(super) fn channel(&self) -> ChannelId {
        self.channel
    }

    pub(super) fn is_off(&self) -> bool {
        self.off
    }

    /// Somebody asks for `gain` for `channel`: what the server is to be told.
    pub(super) fn hear(&mut self, channel: ChannelId, gain: f32) -> f32 {
        if channel != self.channel {
            return gain;
        }
        self.gain = gain;
        if self.off { 0.0 } else { gain }
    }

    /// Turns our own channel `off` or on again: what the server is to be told, if that is new.
    pub(super) fn switch(&mut self, off: bool) -> Option<f32> {
        let changed = std::mem::replace(&mut self.off, off) != off;
        changed.then_some(if off { 0.0 } else { self.gain })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fader_moved_while_off_counts_when_on_again() {
        let mut own = OwnChannel::new(ChannelId(3));
        assert_eq!(own.hear(ChannelId(3), 0.5), 0.5);
        assert_eq!(own.switch(false), None);
        assert_eq!(own.switch(true), Some(0.0));
        assert_eq!(own.hear(ChannelId(3), 0.25), 0.0);
        assert_eq!(own.hear(ChannelId(4), 0.75), 0.75);
        assert_eq!(own.switch(true), None);
        assert_eq!(own.switch(false), Some(0.25));
    }
}
