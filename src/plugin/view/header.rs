//! The header: where we are, the way in and out, and the two numbers a musician reads.

use egui::{Align, Color32, Layout, Rect, Response, Ui, UiBuilder, vec2};

use super::theme::{DARK, LARGE};
use super::widgets::{body, button, caption, dot, elided, large, toggle};
use super::{Action, Model, View, delay, inside, is_busy};
use crate::client::{ConnectionState, Delay, Snapshot};

/// Width of one of the two numbers, in points.
const NUMBER_WIDTH: f32 = 58.0;
/// Up to this overall delay playing together is comfortable, in ms (docs/PROTOCOL.md §9).
const GOOD_DELAY_MS: f32 = 43.0;
/// Up to this overall delay it is possible, in ms.
const FAIR_DELAY_MS: f32 = 68.0;

impl View {
    pub(super) fn header(&mut self, ui: &mut Ui, model: &Model<'_>, wide: bool, actions: &mut Vec<Action>) {
        let inner = ui.max_rect().shrink2(vec2(12.0, 10.0));
        inside(ui, UiBuilder::new().layout(Layout::left_to_right(Align::Center)), inner, |ui| {
            ui.spacing_mut().item_spacing.x = 0.0;
            ui.label(large("Jam").color(DARK.accent));
            ui.label(large("ulet"));
            ui.add_space(16.0);
            ui.spacing_mut().item_spacing.x = 8.0;
            let right = 2.0 * NUMBER_WIDTH + 8.0 + 84.0 + 24.0 + if wide { 84.0 } else { 76.0 };
            let width = (ui.available_width() - right).max(80.0);
            let (well, _) = ui.allocate_exact_size(vec2(width, 32.0), egui::Sense::hover());
            address_well(ui, well, model.snapshot, &self.address, wide);
            ui.add_space(4.0);
            if wide {
                let servers = toggle(ui, "Servers", self.servers.open, DARK.pressed, vec2(76.0, 28.0));
                if servers.on_hover_text("Find a session").clicked() {
                    self.servers.open = !self.servers.open;
                }
            }
            self.join_or_leave(ui, model, actions);
            if !wide {
                let text = if self.side_open { "Back" } else { "Panels" };
                if button(ui, text, 68.0).clicked() {
                    self.side_open = !self.side_open;
                }
            }
            let snapshot = model.snapshot;
            number(ui, "ping", snapshot.ping_ms, DARK.text);
            let delay = snapshot.delay;
            let response = number(ui, "delay", delay.map(|delay| delay.total_ms()), delay_colour(delay));
            if let Some(delay) = delay {
                response.on_hover_ui(|ui| delay::tooltip(ui, &delay));
            }
        });
    }

    /// The one button that is always there: Join, Cancel or Leave.
    fn join_or_leave(&mut self, ui: &mut Ui, model: &Model<'_>, actions: &mut Vec<Action>) {
        let state = &model.snapshot.state;
        if is_busy(state) {
            let text = if matches!(state, ConnectionState::Connected { .. }) { "Leave" } else { "Cancel" };
            if button(ui, text, 84.0).clicked() {
                actions.push(Action::Leave);
            }
        } else {
            let address = self.address.trim();
            ui.add_enabled_ui(!address.is_empty(), |ui| {
                if button(ui, "Join", 84.0).clicked() {
                    actions.push(Action::Join(address.to_owned()));
                }
            });
        }
    }
}

/// Where we are: a dot, the address, and one line about the server; on two lines where it is narrow.
fn address_well(ui: &mut Ui, rect: Rect, snapshot: &Snapshot, typed: &str, wide: bool) {
    let palette = &DARK;
    ui.painter().rect(rect, 6.0, palette.well, (1.0, palette.edge), egui::StrokeKind::Inside);
    let (colour, line) = state_line(snapshot);
    let address = if is_busy(&snapshot.state) { &snapshot.address } else { typed };
    let mut inner = rect.shrink2(vec2(8.0, 1.0));
    inside(ui, UiBuilder::new().layout(Layout::left_to_right(Align::Center)), inner, |ui| {
        dot(ui, colour);
        if !wide {
            return;
        }
        if !address.is_empty() {
            // The address may be long: the state beside it is worth more.
            let room = (ui.available_width() * 0.55).max(60.0);
            ui.scope(|ui| {
                ui.set_max_width(room);
                elided(ui, body(address));
            });
        }
        elided(ui, caption(line.as_str()));
    });
    if !wide {
        inner.min.x += 18.0;
        inside(ui, UiBuilder::new().layout(Layout::top_down(Align::LEFT)), inner, |ui| {
            ui.spacing_mut().item_spacing.y = 0.0;
            elided(ui, body(if address.is_empty() { "No address" } else { address }));
            elided(ui, caption(line.as_str()));
        });
    }
}

/// The state's colour and words.
fn state_line(snapshot: &Snapshot) -> (Color32, String) {
    match &snapshot.state {
        ConnectionState::Idle => (DARK.second, "not connected".to_owned()),
        ConnectionState::Resolving => (DARK.warn, "looking up the address…".to_owned()),
        ConnectionState::Connecting { server } => (DARK.warn, format!("connecting to {server}…")),
        ConnectionState::Connected { channel, .. } => {
            let mut line = format!("connected as channel {}", channel.0);
            if !snapshot.clients.is_empty() {
                line.push_str(&format!(" · {} here", snapshot.clients.len()));
            }
            if let Some(version) = &snapshot.server_version {
                line.push_str(&format!(" · {version}"));
            }
            (DARK.ok, line)
        }
        ConnectionState::Waiting(_) => (DARK.warn, "connection lost, trying again…".to_owned()),
        ConnectionState::Failed(_) => (DARK.bad, "not connected: see below".to_owned()),
    }
}

/// Jamulus's colours go by its own estimate: the same connection has the same colour here and there.
fn delay_colour(delay: Option<Delay>) -> Color32 {
    match delay.map(|delay| delay.jamulus_ms) {
        None => DARK.second,
        Some(delay_ms) if delay_ms <= GOOD_DELAY_MS => DARK.ok,
        Some(delay_ms) if delay_ms <= FAIR_DELAY_MS => DARK.warn,
        Some(_) => DARK.bad,
    }
}

/// A number under its name, flush right in a fixed width.
fn number(ui: &mut Ui, name: &str, value_ms: Option<f32>, colour: Color32) -> Response {
    let text = value_ms.map_or_else(|| "– ms".to_owned(), |value| format!("{value:.0} ms"));
    let (rect, response) = ui.allocate_exact_size(vec2(NUMBER_WIDTH, 32.0), egui::Sense::hover());
    let painter = ui.painter();
    let small = egui::FontId::proportional(super::theme::SMALL);
    painter.text(rect.right_top(), egui::Align2::RIGHT_TOP, name, small, DARK.second);
    let font = egui::FontId::proportional(LARGE);
    painter.text(rect.right_bottom(), egui::Align2::RIGHT_BOTTOM, text, font, colour);
    response
}
