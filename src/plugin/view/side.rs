//! The side panel: chat, network, and who we are.

use std::sync::LazyLock;

use egui::{Align, Align2, ComboBox, Frame, Layout, Margin, ScrollArea, Ui, UiBuilder, vec2};

use super::theme::{BODY, DARK, NAMES, SMALL};
use super::widgets::{body, caption, choices, field, paint_slider, row};
use super::{Action, Model, Page, SKILLS, View, delay, inside};
use crate::client::{BufferSettings, ConnectionState, FrameChoice};
use crate::plugin::html::ChatLine;
use crate::plugin::state::MAX_LATENCY_MS;
use crate::protocol::cut_to_utf16;
use crate::protocol::tables::{countries, instruments};
use crate::units::{
    BufferSize, Layout as Channels, MAX_BUFFER_FRAMES, MAX_CHAT_INPUT_UNITS, MAX_CITY_UNITS, MAX_NAME_UNITS,
    MIN_BUFFER_FRAMES, Quality, Safety,
};

/// Height of the tabs, in points.
const TABS_HEIGHT: f32 = 36.0;

/// Instruments, none first, then by name.
static INSTRUMENTS: LazyLock<Vec<(u32, &str)>> = LazyLock::new(|| sorted(instruments()));
/// Countries, none first, then by name.
static COUNTRIES: LazyLock<Vec<(u32, &str)>> = LazyLock::new(|| {
    let named = countries().map(|(number, country)| (u32::from(number), country.name));
    sorted(std::iter::once((0, "None")).chain(named))
});

fn sorted<'a>(list: impl Iterator<Item = (u32, &'a str)>) -> Vec<(u32, &'a str)> {
    let mut list: Vec<_> = list.collect();
    list.sort_by_key(|&(number, name)| (number != 0, name));
    list
}

impl View {
    pub(super) fn side(&mut self, ui: &mut Ui, model: &Model<'_>, actions: &mut Vec<Action>) {
        let all = ui.max_rect();
        self.tabs(ui, all);
        let mut inner = all.shrink(12.0);
        inner.min.y = all.top() + TABS_HEIGHT + 12.0;
        inside(ui, UiBuilder::new(), inner, |ui| match self.page {
            Page::Chat => self.chat_page(ui, model, actions),
            Page::Network => {
                ScrollArea::vertical()
                    .auto_shrink(false)
                    .show(ui, |ui| self.network_page(ui, model, actions));
            }
            Page::Me => {
                ScrollArea::vertical().auto_shrink(false).show(ui, |ui| self.me_page(ui, actions));
            }
        });
    }

    fn tabs(&mut self, ui: &mut Ui, all: egui::Rect) {
        let width = all.width() / 3.0;
        for (index, page) in [Page::Chat, Page::Network, Page::Me].into_iter().enumerate() {
            let min = all.min + vec2(index as f32 * width, 0.0);
            let rect = egui::Rect::from_min_size(min, vec2(width, TABS_HEIGHT));
            let response = ui.interact(rect, ui.scope_id().with(page as usize), egui::Sense::click());
            let unread = if page == Page::Chat { self.unread } else { 0 };
            let name = match page {
                Page::Chat if unread > 0 => format!("Chat ({})", unread.min(99)),
                Page::Chat => "Chat".to_owned(),
                Page::Network => "Network".to_owned(),
                Page::Me => "Me".to_owned(),
            };
            let chosen = self.page == page;
            response.widget_info(|| egui::WidgetInfo::selected(egui::Role::Tab, true, chosen, &name));
            let colour =
                if chosen || response.hovered() || response.has_focus() { DARK.text } else { DARK.second };
            let colour = if unread > 0 && !chosen { DARK.accent } else { colour };
            ui.painter().text(
                rect.center(),
                Align2::CENTER_CENTER,
                name,
                egui::FontId::proportional(BODY),
                colour,
            );
            let line = if chosen { (2.0, DARK.accent) } else { (1.0, DARK.edge_dark) };
            ui.painter().hline(rect.x_range(), rect.bottom() - line.0 / 2.0, line);
            if response.has_focus() {
                ui.painter().rect_stroke(rect.shrink(2.0), 4.0, (1.0, DARK.accent), egui::StrokeKind::Inside);
            }
            if response.clicked() {
                self.page = page;
                if page == Page::Chat {
                    self.unread = 0;
                }
            }
        }
    }

    fn chat_page(&mut self, ui: &mut Ui, model: &Model<'_>, actions: &mut Vec<Action>) {
        let connected = matches!(model.snapshot.state, ConnectionState::Connected { .. });
        let height = (ui.available_height() - 40.0).max(0.0);
        let scroll = ScrollArea::vertical().auto_shrink(false).max_height(height).stick_to_bottom(true);
        scroll.show(ui, |ui| {
            if !self.welcome.1.is_empty() {
                let frame = Frame::new().fill(DARK.well).corner_radius(6).inner_margin(Margin::same(10));
                frame.show(ui, |ui| {
                    ui.set_width(ui.available_width());
                    ui.label(body(self.welcome.1.as_str()));
                });
            }
            for line in &self.chat.1 {
                chat_line(ui, line);
            }
            if self.chat.1.is_empty() && self.welcome.1.is_empty() {
                let text =
                    if connected { "Nothing was said yet." } else { "The chat of the session appears here." };
                ui.label(caption(text));
            }
        });
        ui.with_layout(Layout::bottom_up(Align::LEFT), |ui| {
            ui.add_enabled_ui(connected, |ui| {
                let hint = if connected { "Write to everyone…" } else { "Join to write" };
                let edit = ui.add(field(&mut self.message, hint).id_salt("message"));
                let entered = edit.lost_focus() && ui.input(|input| input.key_pressed(egui::Key::Enter));
                if edit.changed() {
                    self.message = cut_to_utf16(&self.message, MAX_CHAT_INPUT_UNITS).to_owned();
                }
                if entered && !self.message.trim().is_empty() {
                    actions.push(Action::Say(std::mem::take(&mut self.message).trim().to_owned()));
                    edit.request_focus();
                }
            });
        });
    }

    fn network_page(&mut self, ui: &mut Ui, model: &Model<'_>, actions: &mut Vec<Action>) {
        let stream = &mut self.settings.stream;
        let mut changed = false;
        ui.label(caption("QUALITY"));
        let qualities = [
            (Quality::Low, "Low"),
            (Quality::Normal, "Normal"),
            (Quality::High, "High"),
            (Quality::Max, "Max"),
        ];
        changed |= choices(ui, &mut stream.quality, &qualities);
        if stream.quality == Quality::Max {
            ui.label(caption("Max is uncompressed. Servers before 4.0 do not know it: they get High."));
        }
        ui.label(caption("CHANNELS"));
        changed |= choices(ui, &mut stream.layout, &[(Channels::Mono, "Mono"), (Channels::Stereo, "Stereo")]);
        ui.label(caption("FRAME, IN SAMPLES"));
        let frames =
            [(FrameChoice::Auto, "Auto"), (FrameChoice::Samples64, "64"), (FrameChoice::Samples128, "128")];
        changed |= choices(ui, &mut stream.frame, &frames);
        ui.label(caption("64 has less delay and needs more upstream. Auto follows your host's buffer."));
        ui.add_space(4.0);
        ui.label(caption("JITTER BUFFERS, IN FRAMES"));
        let snapshot = model.snapshot;
        let connected = matches!(snapshot.state, ConnectionState::Connected { .. });
        let now = |frames: Option<u8>| frames.filter(|_| connected);
        let buffers = &mut self.settings.buffers;
        changed |= buffer(ui, "mine", &mut buffers.client, now(Some(snapshot.client_buffer_frames)));
        changed |= safety(ui, buffers);
        changed |= buffer(ui, "server's", &mut buffers.server, now(snapshot.server_buffer_frames));
        ui.label(caption(
            "Tight has less delay, safe has fewer dropouts: that is how mine is sized on auto. The server decides \
             about its own.",
        ));
        if changed {
            actions.push(Action::Settings(self.settings.clone()));
        }
        if let Some(delay) = snapshot.delay.filter(|_| connected) {
            ui.add_space(4.0);
            ui.label(caption("DELAY"));
            delay::parts(ui, &delay);
        }
        if connected {
            delay::alignment(ui, snapshot);
        }
        project_options(ui, model, actions);
        if connected {
            ui.add_space(4.0);
            ui.label(caption("PACKETS AND FRAMES"));
            let stats = &snapshot.stats;
            for (name, value) in [
                ("sent", stats.sent),
                ("received", stats.received),
                ("lost", stats.lost),
                ("late", stats.late),
                ("concealed", stats.concealed),
                ("wrong size", stats.wrong_size),
            ] {
                row(ui, name, |ui| {
                    ui.label(body(value.to_string()));
                });
            }
        }
    }

    fn me_page(&mut self, ui: &mut Ui, actions: &mut Vec<Action>) {
        ui.label(caption("How the others see you."));
        let profile = &mut self.settings.profile;
        let mut done = false;
        ui.label(caption("NAME"));
        done |= text(ui, "name", &mut profile.name, "your name", MAX_NAME_UNITS);
        ui.label(caption("INSTRUMENT"));
        done |= pick(ui, "instrument", &INSTRUMENTS, &mut profile.instrument);
        ui.label(caption("COUNTRY"));
        let mut country = u32::from(profile.country);
        if pick(ui, "country", &COUNTRIES, &mut country) {
            profile.country = u16::try_from(country).unwrap_or_default();
            done = true;
        }
        ui.label(caption("CITY"));
        done |= text(ui, "city", &mut profile.city, "your city", MAX_CITY_UNITS);
        ui.label(caption("SKILL"));
        ui.spacing_mut().interact_size.y = 24.0;
        let chosen = SKILLS.iter().find(|(skill, _)| *skill == profile.skill).unwrap_or(&SKILLS[0]);
        combo(ui, "skill", chosen.1, |ui| {
            for (skill, name) in SKILLS {
                done |= ui.selectable_value(&mut profile.skill, skill, name).changed();
            }
        });
        if done && self.settings != self.saved_settings {
            actions.push(Action::Settings(self.settings.clone()));
        }
    }
}

/// What concerns the project and the host, not the network.
fn project_options(ui: &mut Ui, model: &Model<'_>, actions: &mut Vec<Action>) {
    ui.add_space(4.0);
    ui.label(caption("RECONNECT WITH THE PROJECT"));
    let mut reconnect = model.saved.reconnect;
    if choices(ui, &mut reconnect, &[(false, "Off"), (true, "On")]) {
        actions.push(Action::Reconnect(reconnect));
    }
    row(ui, "reported latency", |ui| {
        // Hosts start the plugin anew to hear of it: not at every step of a drag.
        let id = ui.scope_id().with("latency while dragged");
        let saved = model.saved.latency_ms;
        let mut latency_ms = ui.data(|data| data.get_temp(id)).unwrap_or(saved);
        let value = egui::DragValue::new(&mut latency_ms).range(0..=MAX_LATENCY_MS).suffix(" ms");
        let response = ui.add(value.update_while_editing(false));
        let hint = "What your host is told and makes up for. 0 unless you know why.";
        if response.on_hover_text(hint).dragged() {
            ui.data_mut(|data| data.insert_temp(id, latency_ms));
            return;
        }
        ui.data_mut(|data| data.remove::<u16>(id));
        if latency_ms != saved {
            actions.push(Action::Latency(latency_ms));
        }
    });
}

fn chat_line(ui: &mut Ui, line: &ChatLine) {
    let mut job = egui::text::LayoutJob::default();
    let format = |size: f32, color| egui::TextFormat {
        font_id: egui::FontId::proportional(size),
        color,
        ..Default::default()
    };
    if !line.time.is_empty() {
        job.append(&line.time, 0.0, format(SMALL, DARK.second));
    }
    let gap = if line.time.is_empty() { 0.0 } else { 6.0 };
    if !line.name.is_empty() {
        let colour =
            line.name.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        job.append(&line.name, gap, format(BODY, NAMES[colour % NAMES.len()]));
    }
    let gap = if job.is_empty() { 0.0 } else { 6.0 };
    job.append(&line.text, gap, format(BODY, DARK.text));
    ui.add(egui::Label::new(job).wrap());
}

/// A jitter buffer's size: auto with what it is now, or a number of frames.
fn buffer(ui: &mut Ui, name: &str, size: &mut BufferSize, now: Option<u8>) -> bool {
    let before = *size;
    let auto = now.map_or_else(|| "Auto".to_owned(), |frames| format!("Auto (now {frames})"));
    let chosen = match *size {
        BufferSize::Auto => auto.clone(),
        BufferSize::Frames(frames) => frames.to_string(),
    };
    ui.horizontal(|ui| {
        ui.label(caption(name));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ComboBox::from_id_salt(name).width(120.0).selected_text(body(chosen)).show_ui(ui, |ui| {
                ui.selectable_value(size, BufferSize::Auto, auto);
                for frames in MIN_BUFFER_FRAMES..=MAX_BUFFER_FRAMES {
                    ui.selectable_value(size, BufferSize::Frames(frames), frames.to_string());
                }
            });
        });
    });
    *size != before
}

/// What our buffer weighs more on auto; true when that changed.
fn safety(ui: &mut Ui, buffers: &mut BufferSettings) -> bool {
    let mut percent = buffers.safety.percent();
    let auto = buffers.client == BufferSize::Auto;
    let slider = |ui: &mut Ui| {
        ui.label(caption("safe"));
        ui.spacing_mut().slider_width = ui.available_width();
        ui.spacing_mut().interact_size.y = 18.0;
        let slider = egui::Slider::new(&mut percent, 0..=100).step_by(5.0).show_value(false);
        let response = ui.add(slider);
        let doubled = ui.input(|input| input.pointer.button_double_clicked(egui::PointerButton::Primary));
        if doubled && response.contains_pointer() {
            percent = Safety::default().percent();
        }
        paint_slider(ui, &response, f32::from(percent) / 100.0, DARK.panel_low);
        let hint = if auto { "Double-click: the middle" } else { "Has an effect while mine is on auto" };
        response.on_hover_text(hint);
    };
    ui.horizontal(|ui| {
        ui.label(caption("tight"));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| ui.add_enabled_ui(auto, slider));
    });
    let before = std::mem::replace(&mut buffers.safety, Safety::from_percent(percent));
    before != buffers.safety
}

/// A text that others see; true when it is finished.
fn text(ui: &mut Ui, id: &str, value: &mut String, hint: &str, max_units: usize) -> bool {
    let edit = ui.add(field(value, hint).id_salt(id));
    if edit.changed() {
        *value = cut_to_utf16(value, max_units).to_owned();
    }
    edit.lost_focus()
}

/// An entry of a list by name; true when another one was picked.
fn pick(ui: &mut Ui, id: &str, list: &[(u32, &str)], number: &mut u32) -> bool {
    let before = *number;
    let chosen = list.iter().find(|(known, _)| known == number);
    let chosen = chosen.map_or_else(|| format!("Number {number}"), |(_, name)| (*name).to_owned());
    combo(ui, id, &chosen, |ui| {
        for (choice, name) in list {
            ui.selectable_value(number, *choice, *name);
        }
    });
    *number != before
}

fn combo(ui: &mut Ui, id: &str, chosen: &str, content: impl FnOnce(&mut Ui)) {
    let width = ui.available_width();
    ComboBox::from_id_salt(id)
        .width(width)
        .height(260.0)
        .truncate()
        .selected_text(body(chosen))
        .show_ui(ui, content);
}
