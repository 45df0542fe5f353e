//! The delay in its parts: in words, so that a player knows which of them can be made smaller.

use egui::{Ui, vec2};

use super::theme::DARK;
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
        ui.spacing_mut().interact_size.y = 16.0;
        for (name, ms) in delay.parts() {
            row(ui, name, |ui| {
                ui.label(body(format!("{ms:.1} ms")));
            });
        }
        let edge = egui::Stroke::new(1.0, DARK.control_edge);
        let (line, _) = ui.allocate_exact_size(vec2(ui.available_width(), 1.0), egui::Sense::hover());
        ui.painter().hline(line.x_range(), line.center().y, edge);
        row(ui, "together", |ui| {
            ui.label(body(format!("{:.1} ms", delay.total_ms())).strong());
        });
    });
    ui.label(caption(
        "The host counts as one block in and one block out. What your sound card adds to that is unknown here.",
    ));
    ui.label(caption(format!("Jamulus itself would estimate {:.0} ms.", delay.jamulus_ms)));
}
