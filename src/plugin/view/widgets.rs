//! Small pieces that several parts of the window use.

use std::f32::consts::TAU;

use egui::{
    Align, Color32, Layout, Painter, Pos2, Response, RichText, Shape, Stroke, Ui, Vec2, WidgetText, pos2,
    vec2,
};

use super::theme::{BODY, DARK, LARGE, SMALL};
use crate::protocol::tables::instrument_name;

/// Small grey text.
pub(super) fn caption(text: impl Into<String>) -> RichText {
    RichText::new(text).size(SMALL).color(DARK.second)
}

/// Text of the normal size.
pub(super) fn body(text: impl Into<String>) -> RichText {
    RichText::new(text).size(BODY).color(DARK.text)
}

/// Large text.
pub(super) fn large(text: impl Into<String>) -> RichText {
    RichText::new(text).size(LARGE).color(DARK.text)
}

/// What is known of somebody or something, in one line: `parts` without those that are empty, between `separator`s.
pub(super) fn listed(parts: &[&str], separator: &str) -> String {
    let known: Vec<&str> = parts.iter().copied().filter(|part| !part.is_empty()).collect();
    known.join(separator)
}

/// The name of an instrument; empty where none is told or known.
pub(super) fn instrument_text(instrument: u32) -> &'static str {
    instrument_name(instrument).filter(|_| instrument != 0).unwrap_or_default()
}

/// A text that says all of itself when pointed at, and is cut with `…` where it does not fit.
pub(super) fn elided(ui: &mut Ui, text: impl Into<WidgetText>) -> Response {
    ui.add(egui::Label::new(text).truncate().selectable(false))
}

/// A button of a fixed width, so that a changing text moves nothing.
pub(super) fn button(ui: &mut Ui, text: &str, width: f32) -> Response {
    ui.add_sized(vec2(width, 28.0), egui::Button::new(body(text)))
}

/// A button that is the next thing to do.
pub(super) fn main_button(ui: &mut Ui, text: &str, width: f32) -> Response {
    let text = RichText::new(text).size(BODY).color(DARK.white);
    let stroke = Stroke::new(1.0, DARK.accent);
    ui.add_sized(vec2(width, 28.0), egui::Button::new(text).fill(DARK.pressed).stroke(stroke))
}

/// A button that stays down while `on`, in `colour` under white text.
pub(super) fn toggle(ui: &mut Ui, text: &str, on: bool, colour: Color32, size: egui::Vec2) -> Response {
    let colour_text = if on { DARK.white } else { DARK.text };
    let text = RichText::new(text).size(BODY).color(colour_text);
    let mut button = egui::Button::new(text).selected(on);
    if on {
        button = button.fill(colour);
    }
    ui.add_sized(size, button)
}

/// Choices side by side, of which one is chosen; true when that changed.
pub(super) fn choices<T: PartialEq + Copy>(ui: &mut Ui, value: &mut T, choices: &[(T, &str)]) -> bool {
    let mut changed = false;
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = 4.0;
        ui.spacing_mut().button_padding.x = 4.0;
        let width = (ui.available_width() - 4.0 * (choices.len() as f32 - 1.0)) / choices.len() as f32;
        for (choice, text) in choices {
            if toggle(ui, text, value == choice, DARK.pressed, vec2(width, 24.0)).clicked() && value != choice
            {
                *value = *choice;
                changed = true;
            }
        }
    });
    changed
}

/// A single-line field with a hint, as wide as there is room.
pub(super) fn field<'a>(text: &'a mut String, hint: &str) -> egui::TextEdit<'a> {
    egui::TextEdit::singleline(text)
        .hint_text(caption(hint).size(BODY))
        .margin(egui::Margin::symmetric(8, 6))
        .desired_width(f32::INFINITY)
        .text_color(DARK.text)
}

/// A name on the left, a value on the right.
pub(super) fn row(ui: &mut Ui, name: &str, value: impl FnOnce(&mut Ui)) {
    ui.horizontal(|ui| {
        ui.label(caption(name));
        ui.with_layout(Layout::right_to_left(Align::Center), value);
    });
}

/// Paints the design's slider over egui's, which knows only one colour for rail and knob; `share` of the rail, 0..=1,
/// is filled. `ground` is what lies behind it.
pub(super) fn paint_slider(ui: &Ui, response: &Response, share: f32, ground: Color32) {
    const RADIUS: f32 = 7.0;
    let rect = response.rect;
    let y = rect.center().y;
    let (left, right) = (rect.left() + RADIUS, rect.right() - RADIUS);
    let knob = pos2(left + share.clamp(0.0, 1.0) * (right - left), y);
    let painter = ui.painter();
    painter.rect_filled(rect, 0.0, ground);
    painter.hline(rect.left()..=rect.right(), y, (4.0, DARK.control_edge));
    painter.hline(rect.left()..=knob.x, y, (4.0, DARK.accent));
    let colour = if response.hovered() || response.dragged() { DARK.white } else { DARK.text };
    painter.circle_filled(knob, RADIUS, colour);
    if response.has_focus() {
        painter.circle_stroke(knob, RADIUS + 2.0, (1.5, DARK.accent));
    }
}

/// A five-pointed star around `centre`; fonts have none.
pub(super) fn paint_star(painter: &Painter, centre: Pos2, radius: f32, colour: Color32) {
    let at = |tenth: f32, radius: f32| centre + radius * Vec2::angled(TAU * (tenth / 10.0 - 0.25));
    let inner = 0.45 * radius;
    let pentagon = (0..5).map(|point| at(2.0 * point as f32 + 1.0, inner)).collect();
    painter.add(Shape::convex_polygon(pentagon, colour, Stroke::NONE));
    for point in 0..5 {
        let tenth = 2.0 * point as f32;
        let ray = vec![at(tenth, radius), at(tenth + 1.0, inner), at(tenth - 1.0, inner)];
        painter.add(Shape::convex_polygon(ray, colour, Stroke::NONE));
    }
}

/// A small triangle that points down, as long as `radius` from `centre`.
pub(super) fn paint_downwards(painter: &Painter, centre: Pos2, radius: f32, colour: Color32) {
    let corners = [vec2(-radius, -0.6 * radius), vec2(radius, -0.6 * radius), vec2(0.0, 0.8 * radius)];
    let corners = corners.map(|corner| centre + corner).to_vec();
    painter.add(Shape::convex_polygon(corners, colour, Stroke::NONE));
}

/// A coloured dot in a square as high as a line of text.
pub(super) fn dot(ui: &mut Ui, colour: Color32) {
    let (rect, _) = ui.allocate_exact_size(vec2(10.0, 16.0), egui::Sense::hover());
    ui.painter().circle_filled(rect.center(), 4.0, colour);
}
