//! Level meters: how they move, and how they are painted.

use egui::{Color32, CornerRadius, Rect, Ui, pos2, vec2};

use super::theme::DARK;
use crate::units::gain_to_db;

/// Bottom of the scale, in dBFS.
const FLOOR_DB: f32 = -60.0;
/// How fast a meter falls, in dB/s.
const FALL_DB_PER_S: f32 = 24.0;
/// How long a peak is held, in seconds.
const HOLD_S: f64 = 1.5;
/// Steps of a meter.
pub(super) const STEPS: usize = 24;
/// Height of a gap between steps, as a share of a step.
const GAP: f32 = 0.25;

/// How one channel's meter moves: up at once, down slowly, and its peak is held for a while.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ballistics {
    level_db: f32,
    peak_db: f32,
    peak_until_s: f64,
    updated_s: f64,
    clipped: bool,
}

impl Default for Ballistics {
    fn default() -> Self {
        Self { level_db: FLOOR_DB, peak_db: FLOOR_DB, peak_until_s: 0.0, updated_s: 0.0, clipped: false }
    }
}

impl Ballistics {
    /// Takes the peak since the last call (linear, 1.0 = 0 dBFS); true while anything moves.
    pub(super) fn update(&mut self, peak: f32, now_s: f64) -> bool {
        let peak_db = gain_to_db(if peak.is_finite() { peak.abs() } else { 0.0 }).max(FLOOR_DB);
        let fall = FALL_DB_PER_S * (now_s - self.updated_s).max(0.0) as f32;
        self.updated_s = now_s;
        self.level_db = (self.level_db - fall).max(peak_db);
        if peak_db >= self.peak_db || now_s > self.peak_until_s {
            self.peak_db = self.level_db.max(peak_db);
            self.peak_until_s = now_s + HOLD_S;
        }
        self.clipped |= peak >= 1.0;
        self.level_db > FLOOR_DB || self.peak_db > FLOOR_DB
    }

    /// The held peak as text: `−9.4`, or `−∞` below the scale. Always five characters or fewer.
    pub(super) fn peak_text(meters: &[Self]) -> String {
        let peak = meters.iter().map(|meter| meter.peak_db).fold(FLOOR_DB, f32::max);
        if peak <= FLOOR_DB { "−∞".to_owned() } else { format!("{peak:.1}").replace('-', "−") }
    }

    /// Whether full scale was reached since the user last looked.
    pub(super) fn clipped(meters: &[Self]) -> bool {
        meters.iter().any(|meter| meter.clipped)
    }

    /// The user has seen it.
    pub(super) fn forgive(meters: &mut [Self]) {
        meters.iter_mut().for_each(|meter| meter.clipped = false);
    }
}

/// Paints the bars of `meters` side by side into `rect`.
pub(super) fn paint_peaks(ui: &Ui, rect: Rect, meters: &[Ballistics]) {
    let step =
        |db: f32| ((db - FLOOR_DB) / -FLOOR_DB * STEPS as f32).ceil().clamp(0.0, STEPS as f32) as usize;
    let width = (rect.width() - 3.0 * (meters.len() as f32 - 1.0)) / meters.len() as f32;
    for (index, meter) in meters.iter().enumerate() {
        let left = rect.left() + index as f32 * (width + 3.0);
        let bar = Rect::from_min_size(pos2(left, rect.top()), vec2(width, rect.height()));
        paint_steps(ui, bar, step(meter.level_db), step(meter.peak_db), peak_colour);
    }
}

/// Paints a bar of `lit` of [`STEPS`] steps.
pub(super) fn paint_level(ui: &Ui, rect: Rect, lit: usize, colour: Color32) {
    paint_steps(ui, rect, lit, 0, |_| colour);
}

fn paint_steps(ui: &Ui, rect: Rect, lit: usize, held: usize, colour: impl Fn(usize) -> Color32) {
    let step = rect.height() / STEPS as f32;
    for index in 0..STEPS {
        let bottom = rect.bottom() - index as f32 * step;
        let top = bottom - step * (1.0 - GAP);
        let colour = if index < lit || index + 1 == held { colour(index) } else { DARK.edge };
        let rect = Rect::from_min_max(pos2(rect.left(), top), pos2(rect.right(), bottom));
        ui.painter().rect_filled(rect, CornerRadius::same(1), colour);
    }
}

fn peak_colour(step: usize) -> Color32 {
    let top_db = FLOOR_DB + (step + 1) as f32 * -FLOOR_DB / STEPS as f32;
    if top_db > -2.0 {
        DARK.bad
    } else if top_db > -9.0 {
        DARK.warn
    } else {
        DARK.ok
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meter_rises_at_once_holds_its_peak_and_falls_to_rest() {
        let mut meter = Ballistics::default();
        assert!(!meter.update(0.0, 0.0));
        assert!(meter.update(0.5, 0.1));
        assert_eq!(Ballistics::peak_text(&[meter]), "−6.0");
        assert!(meter.update(0.0, 1.0));
        assert!(meter.level_db < -20.0, "falls");
        assert_eq!(Ballistics::peak_text(&[meter]), "−6.0", "held");
        let mut now_s = 1.0;
        while meter.update(0.0, now_s) {
            now_s += 0.033;
            assert!(now_s < 10.0, "never comes to rest");
        }
        assert_eq!(Ballistics::peak_text(&[meter]), "−∞");
    }

    #[test]
    fn clipping_stays_until_forgiven_and_nonsense_is_silence() {
        let mut meters = [Ballistics::default(); 2];
        meters[1].update(1.0, 0.0);
        meters[1].update(0.0, 60.0);
        assert!(Ballistics::clipped(&meters));
        Ballistics::forgive(&mut meters);
        assert!(!Ballistics::clipped(&meters));
        assert!(!Ballistics::default().update(f32::NAN, 0.0));
    }
}
