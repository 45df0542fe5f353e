//! The parameters that a host sees and automates.

use std::sync::Arc;

use nice_plug::prelude::*;

use super::guard::{Entry, Guard};
use super::state::{Project, ProjectField};
use super::strips::{self, StripParams};
use crate::client::{Controls, Handle, Output, SLOTS};
use crate::units::db_to_gain;

/// Lowest level, in dB: shown and heard as silence.
pub const LEVEL_OFF_DB: f32 = -60.0;
/// Highest level, in dB.
pub const LEVEL_MAX_DB: f32 = 12.0;

/// Values of the parameters that a fresh instance starts with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Levels {
    /// How loud the track is sent, in dB.
    pub send_db: f32,
    /// How loud the mix of everyone comes back, in dB.
    pub return_db: f32,
    /// How loud the track's own sound is added directly, without the way through the server, in dB.
    pub dry_db: f32,
    /// Nothing is sent.
    pub mute_me: bool,
    /// The track's own sound passes and nothing is sent; the session goes on.
    pub bypass: bool,
}

impl Default for Levels {
    fn default() -> Self {
        // The server's mix already holds our own sound, so the direct way starts silent.
        Self { send_db: 0.0, return_db: 0.0, dry_db: LEVEL_OFF_DB, mute_me: false, bypass: false }
    }
}

impl Levels {
    /// The same as linear gains; [`LEVEL_OFF_DB`] is silence.
    pub fn controls(&self) -> Controls {
        // A value from a project's file may be beyond the ends, or no number: the framework takes it as it is.
        let gain = |db: f32| if db > LEVEL_OFF_DB { db_to_gain(db.min(LEVEL_MAX_DB)) } else { 0.0 };
        Controls {
            send_gain: gain(self.send_db),
            return_gain: gain(self.return_db),
            dry_gain: gain(self.dry_db),
            mute_me: self.mute_me,
            bypass: self.bypass,
            ..Controls::default()
        }
    }
}

/// What the output holds while connected. Ids are part of saved projects: never change one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum OutputChoice {
    /// See [`Output::Mix`].
    #[id = "mix"]
    #[name = "Full mix"]
    Mix,
    /// See [`Output::Others`].
    #[id = "others"]
    #[name = "Others only"]
    Others,
    /// See [`Output::OthersAndDry`].
    #[id = "others-dry"]
    #[name = "Others and my dry sound"]
    OthersAndDry,
    /// See [`Output::Aligned`].
    #[id = "aligned"]
    #[name = "Me, aligned"]
    Aligned,
}

impl From<OutputChoice> for Output {
    fn from(choice: OutputChoice) -> Self {
        match choice {
            OutputChoice::Mix => Self::Mix,
            OutputChoice::Others => Self::Others,
            OutputChoice::OthersAndDry => Self::OthersAndDry,
            OutputChoice::Aligned => Self::Aligned,
        }
    }
}

/// Parameters and persisted state of one instance. Ids are part of saved projects: never change one.
#[derive(Params)]
pub struct JamuletParams {
    /// See [`Levels::send_db`].
    #[id = "send"]
    pub send: FloatParam,
    /// See [`Levels::return_db`].
    #[id = "return"]
    pub receive: FloatParam,
    /// See [`Levels::dry_db`].
    #[id = "dry"]
    pub dry: FloatParam,
    /// See [`Levels::mute_me`].
    #[id = "mute"]
    pub mute_me: BoolParam,
    /// See [`Levels::bypass`]; hosts tie their own bypass button to it.
    #[id = "bypass"]
    pub bypass: BoolParam,
    /// See [`OutputChoice`].
    #[id = "output"]
    pub output: EnumParam<OutputChoice>,
    /// What the user or the host *wants*; what is so is in the snapshot. Acts when it changes.
    #[id = "connect"]
    pub connect: BoolParam,
    /// How the others are heard, by slot.
    #[nested(array, group = "Strip")]
    pub strips: [StripParams; SLOTS],
    /// Address, profile, stream, buffers, window.
    #[persist = "jamulet"]
    pub project: ProjectField,
}

impl JamuletParams {
    /// Parameters that start at `levels`; changes of `connect` go to `handle`.
    pub fn new(levels: Levels, project: Arc<Project>, handle: Option<Handle>, guard: Arc<Guard>) -> Self {
        let strips = strips::strips(handle.as_ref(), &guard);
        // A host may set parameters inside its audio callback: `set_intent` is one atomic and one wake.
        let on_connect = move |connect| {
            let act = || handle.iter().for_each(|handle| handle.set_intent(connect));
            guard.run(Entry::Parameter, || (), act);
        };
        Self {
            send: level("Send level", levels.send_db),
            receive: level("Return level", levels.return_db),
            dry: level("Dry monitor level", levels.dry_db),
            mute_me: BoolParam::new("Mute myself", levels.mute_me),
            bypass: BoolParam::new("Bypass", levels.bypass).make_bypass(),
            output: EnumParam::new("Output", OutputChoice::Mix),
            // Automatable, although hardly anybody will automate it: Ardour shows no other parameters.
            connect: BoolParam::new("Connect", false).with_callback(Arc::new(on_connect)),
            strips,
            project: ProjectField(project),
        }
    }

    /// Connect is on, for a project that is just being loaded joins by itself: the host, which reads all values after
    /// loading, shows it so, and can turn it off.
    pub fn show_connect(&self) {
        // SAFETY: the pointer is to a parameter that lives as long as `self`. nice-plug keeps this call to itself
        // because hosts must learn of changes; while a state is loaded it makes the same one for every parameter.
        unsafe { self.connect.as_ptr()._internal_set_normalized_value(1.0) };
    }

    /// Lays everything out for controllers with eight knobs.
    pub fn add_remote_controls(&self, context: &mut impl RemoteControlsContext) {
        context.add_section("Jam", |section| {
            section.add_page("Jam", |page| {
                [&self.send, &self.receive, &self.dry].into_iter().for_each(|level| page.add_param(level));
                [&self.mute_me, &self.bypass, &self.connect]
                    .into_iter()
                    .for_each(|switch| page.add_param(switch));
            });
        });
        strips::add_remote_controls(&self.strips, context);
    }

    /// Present values.
    pub fn levels(&self) -> Levels {
        Levels {
            send_db: self.send.value(),
            return_db: self.receive.value(),
            dry_db: self.dry.value(),
            mute_me: self.mute_me.value(),
            bypass: self.bypass.value(),
        }
    }
}

/// A level parameter. The engine ramps to the new gain: here is only where it goes.
fn level(name: &str, initial_db: f32) -> FloatParam {
    FloatParam::new(name, initial_db, FloatRange::Linear { min: LEVEL_OFF_DB, max: LEVEL_MAX_DB })
        .with_step_size(0.1)
        .with_unit(" dB")
        .with_value_to_string(Arc::new(level_text))
        .with_string_to_value(Arc::new(parse_level))
}

/// A level as text, without unit: `-3.0`, `off`.
pub fn level_text(db: f32) -> String {
    // Adding zero turns −0.0 into 0.0, which would read "-0.0".
    if db <= LEVEL_OFF_DB { "off".to_owned() } else { format!("{:.1}", (db * 10.0).round() / 10.0 + 0.0) }
}

/// Reads what [`level_text`] writes, with or without unit.
pub fn parse_level(text: &str) -> Option<f32> {
    let text = text.trim().trim_end_matches(['d', 'D', 'b', 'B']).trim().replace('−', "-");
    if text.eq_ignore_ascii_case("off") || text.eq_ignore_ascii_case("-inf") {
        return Some(LEVEL_OFF_DB);
    }
    text.parse().ok().filter(|db: &f32| db.is_finite()).map(|db| db.clamp(LEVEL_OFF_DB, LEVEL_MAX_DB))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_survive_the_way_through_text() {
        for db in [LEVEL_OFF_DB, -59.9, -3.0, 0.0, LEVEL_MAX_DB] {
            assert_eq!(parse_level(&level_text(db)), Some(db));
        }
        assert_eq!(level_text(-0.04), "0.0");
        assert_eq!(parse_level(" −6 dB"), Some(-6.0));
        assert_eq!(parse_level("400"), Some(LEVEL_MAX_DB));
        assert_eq!(parse_level("loud"), None);
        assert_eq!(parse_level("nan"), None);
    }

    #[test]
    fn off_is_silence_and_zero_is_unity() {
        let controls = Levels::default().controls();
        assert_eq!((controls.send_gain, controls.return_gain, controls.dry_gain), (1.0, 1.0, 0.0));
    }
}
