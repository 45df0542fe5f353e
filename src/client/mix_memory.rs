//! How everyone was heard, by name: whoever comes back, to whatever server, is heard as before.

use super::mixer::{FADER_MAX, GROUPS, Strip};

/// Most names that are remembered.
pub const MAX_REMEMBERED: usize = 250;

/// How somebody was heard when their strip was last moved.
#[derive(Clone, Debug, PartialEq)]
pub struct Remembered {
    /// Who; never empty.
    pub name: String,
    /// See [`Strip::fader`].
    pub fader: f32,
    /// See [`Strip::pan`].
    pub pan: f32,
    /// See [`Strip::mute`].
    pub mute: bool,
    /// See [`Strip::solo`].
    pub solo: bool,
    /// See [`Strip::group`].
    pub group: Option<u8>,
}

impl Remembered {
    /// What of `strip` is worth remembering of `name`.
    pub fn new(name: &str, strip: &Strip) -> Self {
        let Strip { fader, pan, mute, solo, group, .. } = *strip;
        Self { name: name.to_owned(), fader, pan, mute, solo, group }
    }

    /// The same within limits; what is no number is as for a stranger.
    pub fn clamped(self) -> Self {
        let within = |value: f32, max: f32, default: f32| {
            if value.is_nan() { default } else { value.clamp(0.0, max) }
        };
        let group = self.group.filter(|group| (1..=GROUPS).contains(group));
        Self {
            fader: within(self.fader, FADER_MAX, FADER_MAX),
            pan: within(self.pan, 1.0, 0.5),
            group,
            ..self
        }
    }

    /// `strip`, as it was then.
    pub fn recall(&self, strip: Strip) -> Strip {
        let Self { fader, pan, mute, solo, group, .. } = *self;
        Strip { fader, pan, mute, solo, group, ..strip }
    }
}

/// Puts `new` first in `list`, in place of what was remembered of the same name; the oldest is forgotten.
pub fn remember(list: &mut Vec<Remembered>, new: Remembered) {
    list.retain(|known| known.name != new.name);
    list.insert(0, new);
    list.truncate(MAX_REMEMBERED);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::ChannelId;

    #[test]
    fn the_latest_of_250_names_are_kept_and_nonsense_is_mended() {
        let strip = Strip::new(ChannelId(1));
        let mut list = Vec::new();
        for number in 0..300 {
            remember(&mut list, Remembered::new(&format!("{number}"), &strip));
        }
        remember(&mut list, Remembered { mute: true, ..Remembered::new("299", &strip) });
        assert_eq!((list.len(), list[0].name.as_str(), list[0].mute), (MAX_REMEMBERED, "299", true));
        assert_eq!(list[1].name, "298");
        let nonsense = Remembered { fader: f32::NAN, pan: 7.0, group: Some(9), ..list.remove(0) }.clamped();
        assert_eq!((nonsense.fader, nonsense.pan, nonsense.group), (FADER_MAX, 1.0, None));
    }
}
