//! The delay in its parts: in words, so that a player knows which of them can be made smaller.

use egui::{Ui, vec2};

use super::theme::DARK;
use super::widgets::{body, caption, row};
use crate::client::{Alignment, Delay, Snapshot};

/// How late our own sound comes back, as far as that is known, and how often that had to grow in a recording.
pub(super) fn alignment(ui: &mut Ui, snapshot: &Snapshot) {
    let (text, hint) = match snapshot.alignment {
        Alignment::Unknown => (
            "not known yet".to_owned(),
            "Play something: it is measured by your own sound in what comes back, within a few seconds.",
        ),
        Alignment::Estimated(ms) => (
            format!("{ms:.1} ms (estimated)"),
            "From the network's delay and the sizes of buffers; it may be off by some milliseconds. It becomes exact \
             once you play and are in the mix.",
        ),
        Alignment::Exact(ms) => (
            format!("{ms:.1} ms (exact)"),
            "Measured by your own sound in what came back. The output \u{201c}Me, aligned\u{201d} is as late.",
        ),
    };
    row(ui, "me, aligned", |ui| {
        ui.label(body(text)).on_hover_text(hint);
    });
    if snapshot.alignment_grown > 0 {
        row(ui, "grew while rolling", |ui| {
            let times = ui.label(body(format!("{} ×", snapshot.alignment_grown)).color(DARK.warn));
            times.on_hover_text(
                "The network became worse while the transport rolled, so a buffer had to grow: from there on a \
                 recording is later than before.",
            );
        });
    }
}

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
