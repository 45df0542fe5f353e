//! The middle: who is here, or the card that gets us there.

use egui::{Color32, Frame, Margin, Rect, RichText, ScrollArea, Stroke, Ui, UiBuilder, vec2};

use super::servers::ping_text;
use super::strip::{self, Person};
use super::theme::{BODY, DARK};
use super::widgets::{body, button, caption, elided, field, large, main_button};
use super::{Action, Model, View, inside};
use crate::client::{ConnectionState, Failure, HostActivity, Strip};
use crate::plugin::user_file::Change;
use crate::units::ChannelId;

/// Space between strips, in points.
const STRIP_GAP: f32 = 8.0;
/// Width of the card, in points.
const CARD_WIDTH: f32 = 400.0;

impl View {
    pub(super) fn middle(&mut self, ui: &mut Ui, model: &Model<'_>, actions: &mut Vec<Action>) {
        let inner = ui.max_rect().shrink(12.0);
        inside(ui, UiBuilder::new(), inner, |ui| {
            if let Some(fault) = model.fault {
                banner(ui, DARK.bad, fault);
            }
            if self.servers.open {
                return self.servers_page(ui, model, actions);
            }
            match &model.snapshot.state {
                ConnectionState::Connected { channel, .. } => self.session(ui, model, *channel, actions),
                ConnectionState::Resolving => card(ui, |ui| connecting(ui, model, 0, actions)),
                ConnectionState::Connecting { .. } => card(ui, |ui| connecting(ui, model, 1, actions)),
                ConnectionState::Waiting(failure) => card(ui, |ui| waiting(ui, model, failure, actions)),
                ConnectionState::Idle => card(ui, |ui| self.entrance(ui, model, None, actions)),
                ConnectionState::Failed(failure) => {
                    card(ui, |ui| self.entrance(ui, model, Some(failure), actions));
                }
            }
        });
    }

    fn session(&mut self, ui: &mut Ui, model: &Model<'_>, own: ChannelId, actions: &mut Vec<Action>) {
        if model.snapshot.feedback {
            feedback(ui, actions);
        }
        if let Some(text) = standing_aside(model) {
            banner(ui, DARK.warn, text);
        }
        if model.snapshot.licence_required {
            licence(ui, actions);
            return;
        }
        strips(ui, model, own, actions);
    }

    /// Not connected: address, why not, recents.
    fn entrance(
        &mut self,
        ui: &mut Ui,
        model: &Model<'_>,
        failure: Option<&Failure>,
        actions: &mut Vec<Action>,
    ) {
        ui.label(large("Join a session"));
        ui.label(caption("Nobody hears you before you join."));
        ui.add_space(4.0);
        ui.horizontal(|ui| {
            let width = ui.available_width() - 80.0 - 8.0;
            let field = field(&mut self.address, "server address, such as jam.example.org");
            let edit = ui.add_sized(vec2(width, 28.0), field.desired_width(width).char_limit(300));
            let entered = edit.lost_focus() && ui.input(|input| input.key_pressed(egui::Key::Enter));
            if edit.changed() {
                actions.push(Action::Address(self.address.clone()));
            }
            let address = self.address.trim();
            let join = ui.add_enabled_ui(!address.is_empty(), |ui| main_button(ui, "Join", 80.0)).inner;
            if (join.clicked() || entered) && !address.is_empty() {
                actions.push(Action::Join(address.to_owned()));
            }
        });
        if let Some(failure) = failure {
            ui.label(RichText::new(failure.to_string()).size(BODY).color(DARK.bad));
        }
        if button(ui, "Find a session…", 136.0).clicked() {
            self.servers.open = true;
        }
        if !model.user.recents.is_empty() {
            ui.add_space(4.0);
            ui.label(caption("RECENT"));
            self.recents(ui, model, actions);
        }
        ui.add_space(4.0);
        ui.label(caption(
            "To host a session yourself, run jamulet-server on a computer that the others can reach, \
             and give them its address.",
        ));
    }

    fn recents(&mut self, ui: &mut Ui, model: &Model<'_>, actions: &mut Vec<Action>) {
        ui.spacing_mut().item_spacing.y = 4.0;
        // The card keeps its place: a long list scrolls inside of it.
        ScrollArea::vertical().max_height(148.0).show(ui, |ui| {
            for address in &model.user.recents {
                ui.horizontal(|ui| {
                    let width = ui.available_width() - 24.0 - 8.0;
                    let facts = model.found.and_then(|found| found.server(address));
                    let (colour, ping) = ping_text(facts.and_then(|facts| facts.ping_ms));
                    let players = facts.and_then(|facts| facts.clients).filter(|clients| *clients > 0);
                    let players = players.map_or_else(String::new, |clients| format!("{clients} here"));
                    let ping =
                        caption(ping).color(if colour == DARK.control_edge { DARK.second } else { colour });
                    let name = egui::Button::new((body(address), egui::Atom::grow(), caption(players), ping))
                        .truncate();
                    let recent = ui.add_sized(vec2(width, 24.0), name);
                    if recent.on_hover_text("Join").clicked() {
                        self.address.clone_from(address);
                        actions.push(Action::Join(address.clone()));
                    }
                    ui.spacing_mut().button_padding.x = 4.0;
                    let forget =
                        ui.add_sized(vec2(24.0, 24.0), egui::Button::new(body("×").color(DARK.second)));
                    if forget.on_hover_text("Remove from the list").clicked() {
                        actions.push(Action::User(Change::Forget(address.clone())));
                    }
                });
            }
        });
    }
}

/// The input gets the session back: what to do, and the way on.
fn feedback(ui: &mut Ui, actions: &mut Vec<Action>) {
    banner(
        ui,
        DARK.bad,
        "Jamulet hears itself: this track's input gets the session back, and the sound went round. You are muted. \
         Take the session out of the input (its routing, or a loudspeaker near the microphone), then send again.",
    );
    if button(ui, "Send again", 96.0).clicked() {
        actions.push(Action::SendAgain);
    }
    ui.add_space(8.0);
}

/// Why nobody hears us, or later than they could, although we are in the session.
fn standing_aside(model: &Model<'_>) -> Option<&'static str> {
    match model.snapshot.host {
        HostActivity::Stopped => Some(
            "The host is not running this plugin, so nobody hears you and you hear nobody. Start the transport, \
             switch on the audio engine, or enable the plugin or its track.",
        ),
        HostActivity::Rendering => Some(
            "The host is rendering. Your track's own sound goes into the file, and the others hear silence from you \
             until it is done.",
        ),
        _ if model.levels.bypass => Some(
            "Bypassed: you hear only your own track, and the others hear silence from you. You are still here.",
        ),
        HostActivity::Bursts => Some(
            "The host works ahead and hands over several blocks at once, which adds delay. Switch that off for this \
             track (REAPER: anticipative FX processing; others: record-arm or monitor the track).",
        ),
        HostActivity::Steady => None,
    }
}

/// On the way: what is done, what is being done, and the way back.
fn connecting(ui: &mut Ui, model: &Model<'_>, step: usize, actions: &mut Vec<Action>) {
    ui.label(large("Joining"));
    elided(ui, body(&model.snapshot.address));
    ui.add_space(4.0);
    let connecting = match &model.snapshot.state {
        ConnectionState::Connecting { server } => format!("Waiting for an answer from {server}"),
        _ => "Waiting for an answer".to_owned(),
    };
    for (index, text) in ["Looking up the address", &connecting].into_iter().enumerate() {
        let (mark, colour) = match index.cmp(&step) {
            std::cmp::Ordering::Less => ("done", DARK.ok),
            std::cmp::Ordering::Equal => ("now", DARK.warn),
            std::cmp::Ordering::Greater => ("next", DARK.second),
        };
        ui.horizontal(|ui| {
            let (rect, _) = ui.allocate_exact_size(vec2(36.0, 16.0), egui::Sense::hover());
            let font = egui::FontId::proportional(super::theme::SMALL);
            ui.painter().text(rect.left_center(), egui::Align2::LEFT_CENTER, mark, font, colour);
            ui.label(body(text).color(if index > step { DARK.second } else { DARK.text }));
        });
    }
    ui.add_space(4.0);
    if button(ui, "Cancel", 80.0).clicked() {
        actions.push(Action::Leave);
    }
}

/// The session was lost: nobody has to do anything.
fn waiting(ui: &mut Ui, model: &Model<'_>, failure: &Failure, actions: &mut Vec<Action>) {
    ui.label(large("Connection lost"));
    elided(ui, body(&model.snapshot.address));
    ui.label(RichText::new(failure.to_string()).size(BODY).color(DARK.warn));
    ui.label(caption(
        "Jamulet tries again by itself, for ten minutes. Your track's own sound passes through meanwhile.",
    ));
    ui.add_space(4.0);
    if button(ui, "Stop trying", 96.0).clicked() {
        actions.push(Action::Leave);
    }
}

fn licence(ui: &mut Ui, actions: &mut Vec<Action>) {
    card(ui, |ui| {
        ui.label(large("This server asks for your consent"));
        ui.label(body(
            "What is played here may be recorded and passed on under the Creative Commons licence \
             BY-NC-SA 4.0. Nothing of you is heard before you accept.",
        ));
        ui.add_space(4.0);
        ui.horizontal(|ui| {
            if main_button(ui, "Accept", 96.0).clicked() {
                actions.push(Action::AcceptLicence);
            }
            if button(ui, "Leave", 96.0).clicked() {
                actions.push(Action::Leave);
            }
        });
    });
}

/// One calm card in the middle.
fn card(ui: &mut Ui, content: impl FnOnce(&mut Ui)) {
    let room = ui.available_rect_before_wrap();
    let width = room.width().min(CARD_WIDTH);
    // A third of the free height above it: the eye looks there first. The height is last frame's.
    let height_id = ui.scope_id().with("card height");
    let height = ui.data(|data| data.get_temp(height_id)).unwrap_or(240.0_f32);
    let top = room.top() + ((room.height() - height) / 3.0).max(0.0);
    let left = (room.center().x - width / 2.0).round();
    let rect = Rect::from_min_max(egui::pos2(left, top.round()), egui::pos2(left + width, room.bottom()));
    inside(ui, UiBuilder::new(), rect, |ui| {
        ScrollArea::vertical().id_salt("card").show(ui, |ui| {
            let frame = Frame::new()
                .fill(DARK.panel)
                .stroke(Stroke::new(1.0, DARK.edge))
                .corner_radius(8)
                .inner_margin(Margin::same(20));
            let shown = frame.show(ui, |ui| {
                ui.set_width(ui.available_width());
                content(ui);
            });
            ui.data_mut(|data| data.insert_temp(height_id, shown.response.rect.height()));
        });
    });
}

/// A sentence that must be seen, above everything else.
fn banner(ui: &mut Ui, colour: Color32, text: &str) {
    let frame = Frame::new()
        .fill(DARK.panel)
        .stroke(Stroke::new(1.0, colour))
        .corner_radius(6)
        .inner_margin(Margin::symmetric(12, 8));
    frame.show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.label(body(text));
    });
}

/// Everyone who is here, we first.
fn strips(ui: &mut Ui, model: &Model<'_>, own: ChannelId, actions: &mut Vec<Action>) {
    let snapshot = model.snapshot;
    if snapshot.clients.is_empty() {
        ui.label(caption("Waiting for the list of who is here…"));
        return;
    }
    let mut order: Vec<usize> = (0..snapshot.clients.len()).collect();
    order.sort_by_key(|&index| snapshot.clients[index].channel != own);
    let room = ui.available_size();
    let pitch = strip::WIDTH + STRIP_GAP;
    let fit = (((room.x + STRIP_GAP) / pitch) as usize).max(1);
    let rows = ((room.y + STRIP_GAP) / (strip::MIN_HEIGHT + STRIP_GAP)) as usize;
    let rows = order.len().div_ceil(fit).min(rows.max(1));
    let columns = order.len().div_ceil(rows).max(fit);
    let scrolls = columns > fit;
    let height = (room.y - if scrolls { 12.0 } else { 0.0 } - STRIP_GAP * (rows as f32 - 1.0)) / rows as f32;
    let somebody_is_solo = snapshot.strips.iter().any(|strip| strip.solo);
    ScrollArea::horizontal().auto_shrink(false).show(ui, |ui| {
        ui.spacing_mut().item_spacing = vec2(STRIP_GAP, STRIP_GAP);
        for row in order.chunks(columns) {
            ui.horizontal_top(|ui| {
                for &index in row {
                    let client = &snapshot.clients[index];
                    let strip = snapshot.strips.iter().find(|strip| strip.channel == client.channel);
                    // The list of people may be a moment ahead of the mix.
                    let strip = strip.copied().unwrap_or_else(|| Strip::new(client.channel));
                    let person = Person {
                        client,
                        strip,
                        own: client.channel == own,
                        level: snapshot.levels.get(index).copied().unwrap_or(0),
                        mutes_us: snapshot.muted_by.contains(&client.channel),
                        silent: strip.mute || (somebody_is_solo && !strip.solo),
                    };
                    strip::show(ui, &person, height, actions);
                }
            });
        }
    });
}
