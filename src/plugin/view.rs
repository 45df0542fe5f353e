//! Draws the window: a picture of the client goes in, what the user did comes out.
//!
//! Nothing here knows the host, the client's handle or a clock beyond egui's: every state can be
//! shown in a test.

mod control;
mod delay;
mod footer;
mod header;
mod meter;
mod middle;
mod servers;
mod side;
mod strip;
pub mod theme;
mod track;
mod widgets;

use std::sync::Arc;

use egui::{Rect, Ui, UiBuilder, pos2};

use self::meter::Ballistics;
pub use self::servers::Looking;
use self::servers::ServersPage;
use super::html::{self, ChatLine};
use super::params::{Levels, OutputChoice};
use super::state::{SavedState, WindowSize};
use super::user_file::{Change, UserData};
use crate::client::{ConnectionState, Found, MeterReading, Move, Settings, Snapshot};
use crate::protocol::Skill;
use crate::units::ChannelId;

/// Height of the header, in points.
const HEADER_HEIGHT: f32 = 52.0;
/// Height of the footer, in points.
const FOOTER_HEIGHT: f32 = 34.0;
/// Width of the track column, in points.
const TRACK_WIDTH: f32 = 132.0;
/// Width of the side panel, in points.
const SIDE_WIDTH: f32 = 248.0;
/// Below this width the side panel is folded away.
const FOLD_WIDTH: f32 = 760.0;

/// Skill levels from none to expert (docs/PROTOCOL.md §2, 24).
const SKILLS: [(Skill, &str); 4] = [
    (Skill::NONE, "None"),
    (Skill::BEGINNER, "Beginner"),
    (Skill::INTERMEDIATE, "Intermediate"),
    (Skill::EXPERT, "Expert"),
];

/// Everything a frame shows.
pub struct Model<'a> {
    /// The client's picture of now.
    pub snapshot: &'a Snapshot,
    /// Settings, address and recents.
    pub saved: &'a SavedState,
    /// What the user has in all projects.
    pub user: &'a UserData,
    /// Servers found up to now, while [`Drawn::looking`] asks for them.
    pub found: Option<&'a Arc<Found>>,
    /// Values of the parameters.
    pub levels: Levels,
    /// What the output holds; `None` where nothing is to be chosen.
    pub output: Option<OutputChoice>,
    /// Peaks since the last frame.
    pub meters: MeterReading,
    /// What has stopped after an internal error.
    pub fault: Option<&'a str>,
}

/// A level of the track column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// See [`Levels::send_db`].
    Send,
    /// See [`Levels::return_db`].
    Return,
    /// See [`Levels::dry_db`].
    Dry,
}

/// What the user did.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Keep this address, without joining yet.
    Address(String),
    /// Join this server.
    Join(String),
    /// Leave the session, or stop trying.
    Leave,
    /// Change what the user has in all projects.
    User(Change),
    /// Say this to everyone.
    Say(String),
    /// Accept the server's licence.
    AcceptLicence,
    /// The input no longer gets the session back: send again.
    SendAgain,
    /// Use these settings.
    Settings(Settings),
    /// Join again with the project, or not.
    Reconnect(bool),
    /// Report this delay to the host, in ms.
    Latency(u16),
    /// A level is taken hold of.
    BeginLevel(Level),
    /// A level moves to so many dB.
    SetLevel(Level, f32),
    /// A level is let go.
    EndLevel(Level),
    /// Mute myself, or not.
    MuteMe(bool),
    /// The output should hold this.
    Output(OutputChoice),
    /// End the bypass.
    EndBypass,
    /// Hear this channel otherwise; a fader takes its group along.
    Move(ChannelId, Move),
    /// Put this channel's fader there, and no other of its group.
    MoveAlone(ChannelId, f32),
    /// Put this channel into a group, or none.
    Group(ChannelId, Option<u8>),
    /// Zoom the window, 1.0 = 100 %.
    Zoom(f32),
}

/// What came of a frame.
pub struct Drawn {
    /// What the user did, in order.
    pub actions: Vec<Action>,
    /// Something moves: the next frame is wanted soon.
    pub moving: bool,
    /// What is to be found out about servers; `None`: nothing.
    pub looking: Option<Looking>,
}

/// Pages of the side panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Chat,
    Network,
    Me,
}

/// What the window itself remembers between frames.
pub struct View {
    /// The address as it is being typed.
    address: String,
    /// The address in the project when last looked at: a host may load another one.
    saved_address: String,
    /// Settings as they are being edited.
    settings: Settings,
    /// Settings in the project when last looked at.
    saved_settings: Settings,
    /// The chat line as it is being typed.
    message: String,
    page: Page,
    /// In a narrow window: the side panel is shown in place of the middle.
    side_open: bool,
    servers: ServersPage,
    /// Chat as received, and the same in plain text.
    chat: (Vec<String>, Vec<ChatLine>),
    welcome: (Option<String>, String),
    /// Chat lines and welcomes that came while another page was shown.
    unread: usize,
    send_meter: [Ballistics; 2],
    return_meter: [Ballistics; 2],
}

impl View {
    /// A window that shows `saved`.
    pub fn new(saved: &SavedState) -> Self {
        // Somebody without a name meets the page where it is typed.
        let page = if saved.settings.profile.name.is_empty() { Page::Me } else { Page::Chat };
        Self {
            address: saved.address.clone(),
            saved_address: saved.address.clone(),
            settings: saved.settings.clone(),
            saved_settings: saved.settings.clone(),
            message: String::new(),
            page,
            side_open: false,
            servers: ServersPage::default(),
            chat: Default::default(),
            welcome: Default::default(),
            unread: 0,
            send_meter: Default::default(),
            return_meter: Default::default(),
        }
    }

    /// Draws one frame.
    pub fn ui(&mut self, ui: &mut Ui, model: &Model<'_>) -> Drawn {
        self.follow(model);
        let now_s = ui.input(|input| input.time);
        let mut moving = false;
        for (meter, peak) in self.send_meter.iter_mut().zip(model.meters.send) {
            moving |= meter.update(peak, now_s);
        }
        for (meter, peak) in self.return_meter.iter_mut().zip(model.meters.receive) {
            moving |= meter.update(peak, now_s);
        }
        let mut actions = Vec::new();
        self.frame(ui, model, &mut actions);
        Drawn { actions, moving, looking: self.looking(model) }
    }

    fn frame(&mut self, ui: &mut Ui, model: &Model<'_>, actions: &mut Vec<Action>) {
        let palette = &theme::DARK;
        ui.painter().rect_filled(ui.max_rect(), 0.0, palette.window);
        // Hosts may open smaller windows than we ask for: then a part is seen, in its usual order.
        let all = Rect::from_min_size(ui.max_rect().min, ui.max_rect().size().max(WindowSize::MIN.into()));
        let wide = all.width() >= FOLD_WIDTH;
        let top = all.top() + HEADER_HEIGHT;
        let bottom = all.bottom() - FOOTER_HEIGHT;
        let side = if wide { SIDE_WIDTH } else { 0.0 };
        let header = Rect::from_min_max(all.min, pos2(all.right(), top));
        let track = Rect::from_min_max(pos2(all.left(), top), pos2(all.left() + TRACK_WIDTH, bottom));
        let middle = Rect::from_min_max(pos2(track.right(), top), pos2(all.right() - side, bottom));
        let footer = Rect::from_min_max(pos2(all.left(), bottom), all.max);

        part(ui, "header", header, palette.panel, |ui| self.header(ui, model, wide, actions));
        part(ui, "track", track, palette.panel, |ui| self.track(ui, model, actions));
        if wide {
            let side = Rect::from_min_max(pos2(middle.right(), top), pos2(all.right(), bottom));
            part(ui, "middle", middle, palette.window, |ui| self.middle(ui, model, actions));
            part(ui, "side", side, palette.panel_low, |ui| self.side(ui, model, actions));
        } else if self.side_open {
            part(ui, "side", middle, palette.panel_low, |ui| self.side(ui, model, actions));
        } else {
            part(ui, "middle", middle, palette.window, |ui| self.middle(ui, model, actions));
        }
        part(ui, "footer", footer, palette.panel, |ui| self.footer(ui, model, actions));
        let edge = egui::Stroke::new(1.0, palette.edge_dark);
        let painter = ui.painter();
        painter.hline(all.x_range(), top, edge);
        painter.hline(all.x_range(), bottom, edge);
        painter.vline(track.right(), track.y_range(), edge);
        if wide {
            painter.vline(middle.right(), middle.y_range(), edge);
        }
    }

    /// Takes over what changed outside of this window.
    fn follow(&mut self, model: &Model<'_>) {
        if model.saved.address != self.saved_address {
            self.saved_address.clone_from(&model.saved.address);
            self.address.clone_from(&model.saved.address);
        }
        if model.saved.settings != self.saved_settings {
            self.saved_settings.clone_from(&model.saved.settings);
            self.settings.clone_from(&model.saved.settings);
        }
        let (source, lines) = &mut self.chat;
        if *source != model.snapshot.chat {
            let reading = self.page == Page::Chat;
            let new = model.snapshot.chat.len().saturating_sub(source.len()).max(1);
            self.unread = if reading || model.snapshot.chat.is_empty() { 0 } else { self.unread + new };
            source.clone_from(&model.snapshot.chat);
            *lines = source.iter().map(|line| html::chat_line(line)).collect();
        }
        let (source, text) = &mut self.welcome;
        if *source != model.snapshot.welcome {
            source.clone_from(&model.snapshot.welcome);
            *text = html::plain_text(source.as_deref().unwrap_or_default());
            if source.is_some() && self.page != Page::Chat {
                self.unread += 1;
            }
        }
    }
}

/// Shows why there is nothing else to show.
pub fn paint_fault(ui: &Ui, fault: &str) {
    let all = ui.max_rect();
    ui.painter().rect_filled(all, 0.0, theme::DARK.window);
    let font = egui::FontId::proportional(theme::BODY);
    let galley = ui.painter().layout(fault.to_owned(), font, theme::DARK.text, all.width() - 48.0);
    ui.painter().galley(all.min + egui::vec2(24.0, 24.0), galley, theme::DARK.text);
}

/// A connection exists or is being made.
fn is_busy(state: &ConnectionState) -> bool {
    !matches!(state, ConnectionState::Idle | ConnectionState::Failed(_))
}

/// A part of the window with its own ground; what does not fit is cut off, never drawn elsewhere.
fn part(ui: &mut Ui, name: &str, rect: Rect, fill: egui::Color32, content: impl FnOnce(&mut Ui)) {
    ui.painter().rect_filled(rect, 0.0, fill);
    inside(ui, UiBuilder::new().id_salt(name), rect, content);
}

/// Lays `content` out inside of `rect`, which the caller has allocated, and cuts off what does not fit.
fn inside(ui: &mut Ui, builder: UiBuilder, rect: Rect, content: impl FnOnce(&mut Ui)) {
    let mut ui = ui.new_child(builder.max_rect(rect));
    // Letters like j reach a little to the left of where a text begins.
    ui.set_clip_rect(rect.expand(2.0).intersect(ui.clip_rect()));
    content(&mut ui);
}
