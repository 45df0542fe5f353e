//! Changes of the personal mix on their way to the server.
//!
//! A fader in motion changes far more often than the reliable channel can carry, so changes are
//! collected, and one timer sends the last value of everything that changed.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::protocol::Message;
use crate::units::{ChannelId, Time};

/// Changes are collected for this long, or for twice the ping when that is longer.
const BATCH_INTERVAL: Duration = Duration::from_millis(50);
/// 1.0 on the wire, for gains and pans.
const WIRE_UNITY: f32 = 32768.0;

/// Gains and pans that wait for the timer.
#[derive(Clone, Debug, Default)]
pub(super) struct MixChanges {
    due: Option<Time>,
    gains: BTreeMap<ChannelId, u16>,
    pans: BTreeMap<ChannelId, u16>,
}

impl MixChanges {
    /// Notes a gain, linear, clamped to 0.0..2.0. NaN is no gain and is ignored.
    pub(super) fn set_gain(&mut self, now: Time, ping: Option<Duration>, channel: ChannelId, gain: f32) {
        if !gain.is_nan() {
            // The conversion saturates at what the wire can say.
            self.gains.insert(channel, (gain * WIRE_UNITY).round() as u16);
            self.start_timer(now, ping);
        }
    }

    /// Notes a pan, 0.0 left to 1.0 right, clamped. NaN is no pan and is ignored.
    pub(super) fn set_pan(&mut self, now: Time, ping: Option<Duration>, channel: ChannelId, pan: f32) {
        if !pan.is_nan() {
            self.pans.insert(channel, (pan.clamp(0.0, 1.0) * WIRE_UNITY).round() as u16);
            self.start_timer(now, ping);
        }
    }

    /// When [`Self::take_due`] will have something.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.due
    }

    /// The messages to send, once the timer has run out.
    pub(super) fn take_due(&mut self, now: Time) -> Vec<Message> {
        if self.due.is_none_or(|due| now < due) {
            return Vec::new();
        }
        let changes = std::mem::take(self);
        let gains = changes.gains.into_iter().map(|(channel, gain)| Message::ChannelGain { channel, gain });
        let pans = changes.pans.into_iter().map(|(channel, pan)| Message::ChannelPan { channel, pan });
        gains.chain(pans).collect()
    }

    /// Forgets changes of channels that are gone: whoever gets their slot next starts afresh.
    pub(super) fn retain(&mut self, is_present: impl Fn(ChannelId) -> bool) {
        self.gains.retain(|&channel, _| is_present(channel));
        self.pans.retain(|&channel, _| is_present(channel));
        if self.gains.is_empty() && self.pans.is_empty() {
            self.due = None;
        }
    }

    fn start_timer(&mut self, now: Time, ping: Option<Duration>) {
        let interval = ping.map_or(BATCH_INTERVAL, |ping| BATCH_INTERVAL.max(2 * ping));
        self.due.get_or_insert(now + interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: ChannelId = ChannelId(3);
    const BOB: ChannelId = ChannelId(7);

    #[test]
    fn the_last_value_of_each_is_sent_when_the_timer_runs_out() {
        let mut changes = MixChanges::default();
        changes.set_gain(Time::ZERO, None, BOB, 0.25);
        for step in 1..=100 {
            let now = Time::from_micros(step * 400);
            changes.set_gain(now, None, ALICE, step as f32 / 200.0);
            changes.set_pan(now, None, ALICE, 1.0);
        }
        let due = Time::ZERO + BATCH_INTERVAL;
        assert_eq!(changes.poll_timeout(), Some(due), "later changes do not push the timer back");
        assert_eq!(changes.take_due(due - Duration::from_micros(1)), []);
        let expected = [
            Message::ChannelGain { channel: ALICE, gain: 16384 },
            Message::ChannelGain { channel: BOB, gain: 8192 },
            Message::ChannelPan { channel: ALICE, pan: 32768 },
        ];
        assert_eq!(changes.take_due(due), expected);
        assert_eq!(changes.poll_timeout(), None);
    }

    #[test]
    fn a_long_ping_makes_the_timer_longer() {
        let mut changes = MixChanges::default();
        changes.set_pan(Time::ZERO, Some(Duration::from_millis(40)), ALICE, 0.0);
        assert_eq!(changes.poll_timeout(), Some(Time::from_micros(80_000)));
        let mut changes = MixChanges::default();
        changes.set_pan(Time::ZERO, Some(Duration::from_millis(20)), ALICE, 0.0);
        assert_eq!(changes.poll_timeout(), Some(Time::from_micros(50_000)));
    }

    #[test]
    fn values_are_clamped_and_nan_is_ignored() {
        let mut changes = MixChanges::default();
        changes.set_gain(Time::ZERO, None, ALICE, f32::NAN);
        changes.set_pan(Time::ZERO, None, ALICE, f32::NAN);
        assert_eq!(changes.poll_timeout(), None);
        for (gain, wire) in [(-1.0, 0), (f32::INFINITY, 65535), (1.0, 32768), (3.0, 65535)] {
            changes.set_gain(Time::ZERO, None, ALICE, gain);
            assert_eq!(changes.gains[&ALICE], wire);
        }
        for (pan, wire) in [(-1.0, 0), (f32::INFINITY, 32768), (0.5, 16384)] {
            changes.set_pan(Time::ZERO, None, ALICE, pan);
            assert_eq!(changes.pans[&ALICE], wire);
        }
    }

    #[test]
    fn who_left_needs_no_gain() {
        let mut changes = MixChanges::default();
        changes.set_gain(Time::ZERO, None, ALICE, 0.5);
        changes.set_pan(Time::ZERO, None, BOB, 0.5);
        changes.retain(|channel| channel == BOB);
        assert_eq!(changes.take_due(Time::from_micros(50_000)).len(), 1);
        changes.set_gain(Time::ZERO, None, ALICE, 0.5);
        changes.retain(|_| false);
        assert_eq!(changes.poll_timeout(), None);
    }
}
