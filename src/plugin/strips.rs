//! The parameters of the strips: fader, pan, mute and solo of sixteen people, for automation and controllers.
//!
//! Who has which strip is up to the client (`client/mixer.rs`). A parameter says where a control was moved to, not
//! where it is: it acts when it changes, on whoever has the strip then. So somebody who joins is heard as everyone
//! else, whatever a parameter showed before, and opening a project moves nobody's fader. The framework cannot
//! tell a host of values that change outside of a window, therefore a newcomer's parameters keep showing what
//! they last said until they are moved.

use std::sync::Arc;

use nice_plug::prelude::*;

use super::guard::{Entry, Guard};
use crate::client::{FADER_MAX, Handle, Move, SLOTS};

/// What the ids of these parameters, and of no others, begin with.
const ID_PREFIX: &str = "strip_";

/// One strip's parameters. The ids are part of saved projects: never change one.
#[derive(Params)]
pub struct StripParams {
    /// 0 silent to 100 unity, as in Jamulus.
    #[id = "strip_fader"]
    pub fader: FloatParam,
    /// −1 left, 0 centre, 1 right.
    #[id = "strip_pan"]
    pub pan: FloatParam,
    /// Not heard.
    #[id = "strip_mute"]
    pub mute: BoolParam,
    /// Heard alone, or with others on solo.
    #[id = "strip_solo"]
    pub solo: BoolParam,
}

/// All strips, whose changes go to `handle`.
pub fn strips(handle: Option<&Handle>, guard: &Arc<Guard>) -> [StripParams; SLOTS] {
    std::array::from_fn(|slot| StripParams::new(slot, handle.cloned(), Arc::clone(guard)))
}

/// Takes the strips out of a state that is to be loaded: whom it was about is not here.
pub fn remove_from(state: &mut PluginState) {
    state.params.retain(|id, _| !id.starts_with(ID_PREFIX));
}

/// Lays the strips out for controllers with eight knobs: the same control of eight strips on each page.
pub fn add_remote_controls(strips: &[StripParams], context: &mut impl RemoteControlsContext) {
    const KNOBS: usize = 8;
    for (index, strips) in strips.chunks(KNOBS).enumerate() {
        let section = format!("Strips {}-{}", index * KNOBS + 1, index * KNOBS + strips.len());
        context.add_section(section, |section| {
            section.add_page("Faders", |page| strips.iter().for_each(|strip| page.add_param(&strip.fader)));
            section.add_page("Pans", |page| strips.iter().for_each(|strip| page.add_param(&strip.pan)));
            section.add_page("Mutes", |page| strips.iter().for_each(|strip| page.add_param(&strip.mute)));
            section.add_page("Solos", |page| strips.iter().for_each(|strip| page.add_param(&strip.solo)));
        });
    }
}

impl StripParams {
    fn new(slot: usize, handle: Option<Handle>, guard: Arc<Guard>) -> Self {
        // A host may set parameters inside its audio callback: `move_slot` is two atomics.
        let act = Arc::new(move |action| {
            let act = || handle.iter().for_each(|handle| handle.move_slot(slot, action));
            guard.run(Entry::Parameter, || (), act);
        });
        let (fader, pan, mute, solo) = (Arc::clone(&act), Arc::clone(&act), Arc::clone(&act), act);
        let name = |control| format!("Strip {} {control}", slot + 1);
        let fader_range = FloatRange::Linear { min: 0.0, max: FADER_MAX };
        Self {
            fader: FloatParam::new(name("fader"), FADER_MAX, fader_range)
                .with_step_size(0.1)
                .with_value_to_string(Arc::new(fader_text))
                .with_string_to_value(Arc::new(parse_fader))
                .with_callback(Arc::new(move |value| fader(Move::Fader(value)))),
            pan: FloatParam::new(name("pan"), 0.0, FloatRange::Linear { min: -1.0, max: 1.0 })
                .with_step_size(0.01)
                .with_value_to_string(Arc::new(pan_text))
                .with_string_to_value(Arc::new(parse_pan))
                .with_callback(Arc::new(move |value| pan(Move::Pan(0.5 + 0.5 * value)))),
            mute: BoolParam::new(name("mute"), false)
                .with_callback(Arc::new(move |value| mute(Move::Mute(value)))),
            solo: BoolParam::new(name("solo"), false)
                .with_callback(Arc::new(move |value| solo(Move::Solo(value)))),
        }
    }
}

/// A fader as text: `100`, `73.5`.
pub fn fader_text(fader: f32) -> String {
    format!("{}", (fader * 10.0).round() / 10.0)
}

/// Reads what [`fader_text`] writes.
pub fn parse_fader(text: &str) -> Option<f32> {
    text.trim().parse().ok().filter(|fader: &f32| fader.is_finite()).map(|fader| fader.clamp(0.0, FADER_MAX))
}

/// A pan as text: `C`, `L30`, `R100`.
pub fn pan_text(pan: f32) -> String {
    match (pan * 100.0).round() {
        0.0 => "C".to_owned(),
        left if left < 0.0 => format!("L{}", -left),
        right => format!("R{right}"),
    }
}

/// Reads what [`pan_text`] writes, and numbers from −100 to 100.
pub fn parse_pan(text: &str) -> Option<f32> {
    let text = text.trim().to_ascii_uppercase().replace('−', "-");
    if matches!(text.as_str(), "C" | "CENTRE" | "CENTER") {
        return Some(0.0);
    }
    let (sign, number) = match (text.strip_prefix('L'), text.strip_prefix('R')) {
        (Some(number), _) => (-1.0, number),
        (_, Some(number)) => (1.0, number),
        _ => (1.0, text.as_str()),
    };
    let percent: f32 = number.trim().parse().ok()?;
    percent.is_finite().then(|| (sign * percent / 100.0).clamp(-1.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_the_way_through_text() {
        for fader in [0.0, 0.1, 50.0, 73.5, 100.0] {
            assert_eq!(parse_fader(&fader_text(fader)), Some(fader));
        }
        for (pan, text) in [(0.0, "C"), (-0.3, "L30"), (1.0, "R100"), (-1.0, "L100"), (0.01, "R1")] {
            assert_eq!((pan_text(pan).as_str(), parse_pan(text)), (text, Some(pan)));
        }
        assert_eq!(
            (pan_text(-0.001), parse_pan(" l 25 "), parse_pan("-50")),
            ("C".into(), Some(-0.25), Some(-0.5))
        );
        assert_eq!(
            (parse_fader("400"), parse_fader("-1"), parse_pan("R400")),
            (Some(100.0), Some(0.0), Some(1.0))
        );
        for nonsense in ["", "nan", "inf", "loud", "L", "LR5"] {
            assert_eq!((parse_fader(nonsense), parse_pan(nonsense)), (None, None), "{nonsense:?}");
        }
    }

    #[test]
    fn ids_tell_a_strip_from_everything_else() {
        for strip in strips(None, &Arc::default()) {
            let map = strip.param_map();
            assert_eq!(map.len(), 4);
            assert!(map.iter().all(|(id, ..)| id.starts_with(ID_PREFIX)), "{map:?}");
        }
    }
}
