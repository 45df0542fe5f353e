//! The footer: what is recorded, how the sound travels, and how well.

use egui::{Align, ComboBox, Layout, Ui, UiBuilder, vec2};

use super::theme::{DARK, SMALL};
use super::widgets::{caption, dot};
use super::{Action, Model, View, inside};
use crate::client::{ConnectionState, Snapshot};
use crate::protocol::RecorderState;
use crate::units::{BufferSize, Coding, Layout as Channels, Quality, StreamFormat};

/// Zooms to choose from, in percent.
const ZOOMS: [u16; 6] = [75, 100, 125, 150, 175, 200];

impl View {
    pub(super) fn footer(&mut self, ui: &mut Ui, model: &Model<'_>, actions: &mut Vec<Action>) {
        let inner = ui.max_rect().shrink2(vec2(12.0, 4.0));
        inside(ui, UiBuilder::new().layout(Layout::right_to_left(Align::Center)), inner, |ui| {
            ui.spacing_mut().item_spacing.x = 16.0;
            zoom(ui, model.saved.window.zoom, actions);
            let snapshot = model.snapshot;
            if !matches!(snapshot.state, ConnectionState::Connected { .. }) {
                return;
            }
            fact(ui, "up", &format!("{:.0} kbit/s", snapshot.upstream_kbps));
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                ui.set_clip_rect(ui.max_rect().intersect(ui.clip_rect()));
                recorder(ui, snapshot.recorder);
                if let Some(format) = snapshot.format {
                    fact(ui, &format_text(format, model.saved.settings.stream.quality), "");
                }
                fact(ui, "buffers", &buffers_text(model));
                fact(ui, "lost", &snapshot.stats.lost.to_string());
                fact(ui, "late", &snapshot.stats.late.to_string());
            });
        });
    }
}

fn zoom(ui: &mut Ui, zoom: f32, actions: &mut Vec<Action>) {
    let percent = (zoom * 100.0).round() as u16;
    let text = caption(format!("{percent} %")).color(DARK.text);
    ui.spacing_mut().button_padding = vec2(6.0, 2.0);
    ui.spacing_mut().interact_size.y = 20.0;
    ComboBox::from_id_salt("zoom").width(58.0).selected_text(text).show_ui(ui, |ui| {
        for choice in ZOOMS {
            if ui.selectable_label(choice == percent, format!("{choice} %")).clicked() && choice != percent {
                actions.push(Action::Zoom(f32::from(choice) / 100.0));
            }
        }
    });
    ui.label(caption("zoom"));
}

/// A name and its value, where there is room left for it.
fn fact(ui: &mut Ui, name: &str, value: &str) {
    let mut job = egui::text::LayoutJob::default();
    let format =
        |color| egui::TextFormat { font_id: egui::FontId::proportional(SMALL), color, ..Default::default() };
    job.append(name, 0.0, format(DARK.second));
    let gap = if name.is_empty() || value.is_empty() { 0.0 } else { 4.0 };
    job.append(value, gap, format(DARK.text));
    let galley = ui.painter().layout_job(job);
    if galley.size().x <= ui.available_width() {
        ui.label(galley);
    }
}

fn recorder(ui: &mut Ui, state: RecorderState) {
    if state == RecorderState::Recording {
        ui.scope(|ui| {
            ui.spacing_mut().item_spacing.x = 4.0;
            dot(ui, DARK.bad);
            ui.label(caption("server is recording").color(DARK.bad));
        });
    }
}

fn buffers_text(model: &Model<'_>) -> String {
    let Snapshot { client_buffer_frames, server_buffer_frames, .. } = *model.snapshot;
    let buffers = &model.saved.settings.buffers;
    let auto = buffers.client == BufferSize::Auto || buffers.server == BufferSize::Auto;
    let server = server_buffer_frames.map_or_else(|| "–".to_owned(), |frames| frames.to_string());
    format!("{}{client_buffer_frames} / {server}", if auto { "auto " } else { "" })
}

/// The stream in words: `48 kHz · 128 · stereo · high`.
fn format_text(format: StreamFormat, chosen: Quality) -> String {
    let layout = match format.layout {
        Channels::Mono => "mono",
        Channels::Stereo => "stereo",
    };
    let quality = match (format.coding, chosen) {
        (Coding::Raw, _) => "max",
        (_, Quality::Low) => "low",
        (_, Quality::Normal) => "normal",
        (_, Quality::High | Quality::Max) => "high",
    };
    format!("48 kHz · {} · {layout} · {quality}", format.frame.samples())
}
