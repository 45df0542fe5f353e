//! The delay in its parts: in words, so that a player knows which of them can be made smaller.

use egui::Ui;

use super::widgets::{body, caption, row};
use crate::client::Delay;

/// What the number in the header is made of.
pub(super) fn tooltip(ui: &mut Ui, delay: &Delay) {
    ui.set_width(232.0);
    ui.label(body("From your playing to your ear, through the server"));
    parts(ui, delay);
}

/// The parts and their sum, and what is not in it.
pub(super) fn parts(ui: &mut Ui, delay: &Delay) {
    ui.scope(|ui| {
        ui.spacing_mut().item_spacing.y = 2.0;
        for (name, ms) in delay.parts() {
            millis(ui, name, ms);
        }
        millis(ui, "together", delay.total_ms());
    });
    ui.label(caption(
        "The host counts as one block in and one block out. What your sound card adds to that is unknown here.",
    ));
    ui.label(caption(format!("Jamulus itself would estimate {:.0} ms.", delay.jamulus_ms)));
}

fn millis(ui: &mut Ui, name: &str, ms: f32) {
    row(ui, name, |ui| {
        ui.label(body(format!("{ms:.1} ms")));
    });
}
