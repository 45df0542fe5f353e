//! A participant's strip: who it is, and how we hear them.

use egui::{Align, CornerRadius, FontId, Layout, Popup, Rect, StrokeKind, Ui, UiBuilder, pos2, vec2};

use super::control::{Axis, Control};
use super::meter::{STEPS, paint_level};
use super::theme::{BODY, DARK, SMALL};
use super::widgets::{body, caption, elided, instrument_text, listed, toggle};
use super::{Action, SKILLS, inside};
use crate::client::{FADER_MAX, GROUPS, Move, Strip};
use crate::plugin::html::clean;
use crate::protocol::tables::country;
use crate::protocol::{ClientEntry, MAX_LEVEL};
use crate::units::{ChannelId, fader_gain, gain_to_db};

/// Width of a strip, in points.
pub(super) const WIDTH: f32 = 88.0;
/// Smallest height at which everything in it can be used, in points.
pub(super) const MIN_HEIGHT: f32 = 300.0;
/// Between a strip's edge and what is in it, in points.
const MARGIN: f32 = 8.0;
/// Height of name, instrument, place and mark, in points.
const HEAD: f32 = 62.0;
/// Height of the pan control, in points.
const PAN_HEIGHT: f32 = 16.0;
/// Height of the decibels below the fader, in points.
const DB_HEIGHT: f32 = 18.0;
/// Height of the buttons, in points.
const BUTTON_HEIGHT: f32 = 24.0;
/// The fader's cap, in points.
const CAP: egui::Vec2 = vec2(25.0, 34.0);
/// Where the fader's rail lies, from the left, in points.
const RAIL: f32 = 26.0;
/// Where the meter lies, from the left, and its width, in points.
const METER: (f32, f32) = (49.0, 10.0);
/// One step of a pan: a fiftieth of the way from left to right.
const PAN_STEP: f32 = 0.02;

/// Who a strip belongs to, and how we hear them.
pub(super) struct Person<'a> {
    pub(super) client: &'a ClientEntry,
    pub(super) strip: Strip,
    pub(super) own: bool,
    /// As the server tells it, 0..=[`MAX_LEVEL`].
    pub(super) level: u8,
    /// They have muted us.
    pub(super) mutes_us: bool,
    /// We hear nothing of them: muted, or others are on solo.
    pub(super) silent: bool,
}

impl Person<'_> {
    fn channel(&self) -> ChannelId {
        self.client.channel
    }

    fn name(&self) -> String {
        let name = clean(&self.client.info.name);
        if name.is_empty() { format!("Channel {}", self.channel().0) } else { name }
    }

    fn place(&self) -> String {
        let info = &self.client.info;
        let code =
            country(info.country).map_or("", |row| if row.iso.is_empty() { row.name } else { row.iso });
        listed(&[code, &clean(&info.city)], " · ")
    }
}

/// Shows one participant, `height` points high.
pub(super) fn show(ui: &mut Ui, person: &Person<'_>, height: f32, actions: &mut Vec<Action>) {
    let (rect, _) = ui.allocate_exact_size(vec2(WIDTH, height), egui::Sense::hover());
    let edge = if person.own { DARK.accent } else { DARK.edge };
    ui.painter().rect(rect, CornerRadius::same(6), DARK.panel, (1.0, edge), StrokeKind::Inside);
    let inner = rect.shrink(MARGIN);
    let layout = Layout::top_down(Align::LEFT);
    let id = ("strip", person.channel().0);
    inside(ui, UiBuilder::new().id_salt(id).layout(layout), inner, |ui| {
        let head = Rect::from_min_size(inner.min, vec2(inner.width(), HEAD));
        inside(ui, UiBuilder::new().id_salt("head"), head, |ui| who(ui, person));
        let pan_rect =
            Rect::from_min_size(pos2(inner.left(), head.bottom()), vec2(inner.width(), PAN_HEIGHT));
        pan(ui, pan_rect, person, actions);
        let buttons = Rect::from_min_max(pos2(inner.left(), inner.bottom() - BUTTON_HEIGHT), inner.max);
        let rail = Rect::from_min_max(
            pos2(inner.left(), pan_rect.bottom() + 6.0),
            pos2(inner.right(), buttons.top() - DB_HEIGHT),
        );
        fader(ui, rail, person, actions);
        inside(ui, UiBuilder::new().id_salt("buttons"), buttons, |ui| switches(ui, person, actions));
    });
}

/// Name, instrument, place and mark; more of it when pointed at.
fn who(ui: &mut Ui, person: &Person<'_>) {
    let (name, instrument, place) =
        (person.name(), instrument_text(person.client.info.instrument), person.place());
    ui.spacing_mut().item_spacing.y = 1.0;
    let colour = if person.silent { DARK.second } else { DARK.text };
    elided(ui, body(name.as_str()).strong().color(colour));
    elided(ui, caption(if instrument.is_empty() { " " } else { instrument }));
    elided(ui, caption(if place.is_empty() { " " } else { place.as_str() }));
    let (word, colour) = match (person.own, person.mutes_us) {
        (true, _) => ("you", DARK.accent),
        (false, true) => ("mutes you", DARK.warn),
        (false, false) => (" ", DARK.second),
    };
    elided(ui, caption(word).color(colour));
    let skill = SKILLS.iter().find(|(skill, _)| *skill == person.client.info.skill && *skill != SKILLS[0].0);
    let whole = ui.interact(ui.max_rect(), ui.scope_id().with("who"), egui::Sense::hover());
    whole.on_hover_ui(|ui| {
        let texts =
            [Some(name.as_str()), Some(instrument), skill.map(|(_, name)| *name), Some(place.as_str())];
        for text in texts.into_iter().flatten().filter(|text| !text.is_empty()) {
            ui.label(body(text));
        }
    });
}

fn pan(ui: &Ui, rect: Rect, person: &Person<'_>, actions: &mut Vec<Action>) {
    let pan = Control {
        name: format!("Pan of {}", person.name()),
        value: person.strip.pan,
        max: 1.0,
        home: 0.5,
        step: PAN_STEP,
        axis: Axis::Horizontal,
        travel: rect.shrink2(vec2(2.0, 0.0)),
    };
    let moved = pan.show(ui, rect);
    let y = rect.center().y;
    let knob = Rect::from_center_size(pos2(pan.place(moved.shown), y), vec2(4.0, 12.0));
    let painter = ui.painter();
    painter.hline(rect.x_range(), y, (4.0, DARK.control));
    let colour = if moved.response.hovered() || moved.response.dragged() { DARK.white } else { DARK.second };
    painter.rect_filled(knob, 1.0, colour);
    if moved.response.has_focus() {
        painter.rect_stroke(knob.expand(3.0), 3.0, (1.5, DARK.accent), StrokeKind::Inside);
    }
    if let Some(value) = moved.value {
        actions.push(Action::Move(person.channel(), Move::Pan(value)));
    }
    moved.response.on_hover_text(pan_words(moved.shown));
}

/// A pan in words.
fn pan_words(pan: f32) -> String {
    let percent = ((pan - 0.5) * 200.0).round();
    match percent {
        0.0 => "Heard from the middle. Drag to move it; double-click: middle".to_owned(),
        left if left < 0.0 => format!("Heard {} % from the left", -left),
        right => format!("Heard {right} % from the right"),
    }
}

fn fader(ui: &Ui, rect: Rect, person: &Person<'_>, actions: &mut Vec<Action>) {
    let x = rect.left() + RAIL;
    let grip =
        Rect::from_min_max(pos2(rect.left(), rect.top()), pos2(rect.left() + METER.0 - 2.0, rect.bottom()));
    let fader = Control {
        name: format!("Fader of {}", person.name()),
        value: person.strip.fader,
        max: FADER_MAX,
        home: FADER_MAX,
        step: 1.0,
        axis: Axis::Vertical,
        travel: grip.shrink2(vec2(0.0, CAP.y / 2.0)),
    };
    let moved = fader.show(ui, grip);
    let painter = ui.painter();
    let meter = Rect::from_min_size(pos2(rect.left() + METER.0, rect.top()), vec2(METER.1, rect.height()));
    let level = person.level.min(MAX_LEVEL);
    let colour = if level == MAX_LEVEL { DARK.bad } else { DARK.ok };
    paint_level(ui, meter, usize::from(level) * STEPS / usize::from(MAX_LEVEL), colour);
    painter.vline(x, grip.y_range(), (3.0, DARK.edge_dark));
    let cap = Rect::from_center_size(pos2(x, fader.place(moved.shown)), CAP);
    let held = moved.response.hovered() || moved.response.dragged();
    let edge = if moved.response.has_focus() {
        DARK.accent
    } else if held {
        DARK.second
    } else {
        DARK.control_edge
    };
    painter.rect(cap, CornerRadius::same(4), DARK.control, (1.0, edge), StrokeKind::Inside);
    painter.hline(
        cap.shrink(4.0).x_range(),
        cap.center().y,
        (2.0, if person.silent { DARK.second } else { DARK.white }),
    );
    let colour = if person.silent { DARK.second } else { DARK.text };
    let below = pos2(rect.center().x, rect.bottom() + DB_HEIGHT / 2.0);
    painter.text(
        below,
        egui::Align2::CENTER_CENTER,
        db_text(moved.shown),
        FontId::proportional(SMALL),
        colour,
    );
    if let Some(value) = moved.value {
        actions.push(if moved.fine {
            Action::MoveAlone(person.channel(), value)
        } else {
            Action::Move(person.channel(), Move::Fader(value))
        });
    }
    moved.response.on_hover_text(
        "How loud you hear them; nobody else does. Double-click: 0 dB. Shift moves finely, and one of a group alone",
    );
}

/// A fader's position in decibels, never wider than seven characters.
fn db_text(fader: f32) -> String {
    let db = gain_to_db(fader_gain(fader));
    if db.is_finite() {
        format!("{db:.1} dB").replace('-', "−").replace("−0.0", "0.0")
    } else {
        "off".to_owned()
    }
}

/// Mute, solo and group.
fn switches(ui: &mut Ui, person: &Person<'_>, actions: &mut Vec<Action>) {
    let (channel, strip) = (person.channel(), person.strip);
    ui.spacing_mut().button_padding.x = 0.0;
    let gap = 3.0;
    let size = vec2((ui.available_width() - 2.0 * gap) / 3.0, BUTTON_HEIGHT);
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = gap;
        let mute = toggle(ui, "M", strip.mute, DARK.mute, size);
        if mute.on_hover_text("Mute: you no longer hear them, and they are told").clicked() {
            actions.push(Action::Move(channel, Move::Mute(!strip.mute)));
        }
        let solo = toggle(ui, "S", strip.solo, DARK.solo, size);
        if solo.on_hover_text("Solo: you hear only who is on solo").clicked() {
            actions.push(Action::Move(channel, Move::Solo(!strip.solo)));
        }
        let text = strip.group.map_or_else(|| "–".to_owned(), |group| group.to_string());
        let group = toggle(ui, &text, strip.group.is_some(), DARK.pressed, size)
            .on_hover_text("Group: faders of one group move together");
        Popup::menu(&group).width(96.0).show(|ui| {
            ui.spacing_mut().item_spacing.y = 2.0;
            for choice in std::iter::once(None).chain((1..=GROUPS).map(Some)) {
                let text = choice.map_or_else(|| "No group".to_owned(), |group| format!("Group {group}"));
                let text = egui::RichText::new(text).size(BODY);
                if ui.selectable_label(choice == strip.group, text).clicked() && choice != strip.group {
                    actions.push(Action::Group(channel, choice));
                }
            }
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decibels_follow_jamuluss_law() {
        for (fader, text) in [(100.0, "0.0 dB"), (50.0, "−17.5 dB"), (99.9, "0.0 dB"), (0.0, "off")] {
            assert_eq!(db_text(fader), text, "{fader}");
        }
    }

    #[test]
    fn a_pan_is_told_in_words() {
        assert!(pan_words(0.5).contains("middle"));
        assert!(pan_words(0.25).contains("50 % from the left"));
        assert!(pan_words(1.0).contains("100 % from the right"));
    }
}
