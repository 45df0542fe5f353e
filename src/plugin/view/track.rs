//! The column of our own track: what is sent, what comes back, and how loud.

use egui::{ComboBox, Response, RichText, Ui, UiBuilder, pos2, vec2};

use super::meter::{Ballistics, paint_peaks};
use super::theme::{DARK, SMALL};
use super::widgets::{body, caption, paint_slider, toggle};
use super::{Action, Level, Model, View, inside};
use crate::plugin::params::{LEVEL_MAX_DB, LEVEL_OFF_DB, OutputChoice, level_text};

/// Width of a stereo meter, in points.
const METER_WIDTH: f32 = 37.0;
/// Height of everything below the meters, in points.
const CONTROLS_HEIGHT: f32 = 192.0;
/// Height of the choice of output below them, in points.
const OUTPUT_HEIGHT: f32 = 52.0;

/// What the output can hold: a name that fits the column, and what it is for.
const OUTPUTS: [(OutputChoice, &str, &str); 4] = [
    (
        OutputChoice::Mix,
        "Full mix",
        "Everyone as the server mixes them, you too: what you hear is what the others hear.",
    ),
    (
        OutputChoice::Others,
        "Others only",
        "Everyone but you, to record you on a track of your own. After joining you hear yourself for up to three \
         seconds of playing: that is how the delay of \u{201c}Me, aligned\u{201d} is measured.",
    ),
    (
        OutputChoice::OthersAndDry,
        "Others + dry",
        "Everyone but you, and your own sound without delay. Comfortable, but you play earlier than the others hear \
         you.",
    ),
    (
        OutputChoice::Aligned,
        "Me, aligned",
        "Only your own sound, as it was before it was sent, as late as it comes back in the mix: recorded, it lies on \
         the recorded others. The Network page tells whether that delay is exact.",
    ),
];

impl View {
    pub(super) fn track(&mut self, ui: &mut Ui, model: &Model<'_>, actions: &mut Vec<Action>) {
        let inner = ui.max_rect().shrink(12.0);
        inside(ui, UiBuilder::new(), inner, |ui| {
            let height = (inner.height() - CONTROLS_HEIGHT - model.output.map_or(0.0, |_| OUTPUT_HEIGHT))
                .clamp(60.0, 260.0);
            ui.horizontal_top(|ui| {
                let half = (inner.width() - 8.0) / 2.0;
                meter(ui, "SEND", &mut self.send_meter, vec2(half, height));
                meter(ui, "RETURN", &mut self.return_meter, vec2(half, height));
            });
            ui.add_space(4.0);
            let levels = model.levels;
            level(ui, "send", Level::Send, levels.send_db, actions)
                .on_hover_text("How loud your track goes to the others. Double-click: 0 dB");
            level(ui, "return", Level::Return, levels.return_db, actions)
                .on_hover_text("How loud everyone comes back. Double-click: 0 dB");
            // Who has an output for each part has no use for it there.
            if model.output.is_some() {
                level(ui, "dry", Level::Dry, levels.dry_db, actions).on_hover_text(
                    "Your own sound directly, without the way through the server. Double-click: off",
                );
            }
            let size = vec2(ui.available_width(), 28.0);
            mute_or_bypass(ui, model, size, actions);
            if let Some(output) = model.output {
                choice_of_output(ui, output, actions);
            }
        });
    }
}

/// The button for what is not to be heard.
fn mute_or_bypass(ui: &mut Ui, model: &Model<'_>, size: egui::Vec2, actions: &mut Vec<Action>) {
    let levels = model.levels;
    if levels.bypass {
        // Nothing is sent in any case: what is offered is the way out.
        let bypassed = toggle(ui, "Bypassed", true, DARK.warn, size);
        if bypassed
            .on_hover_text("Only your own track is heard, and nothing is sent. Click to end that")
            .clicked()
        {
            actions.push(Action::EndBypass);
        }
        return;
    }
    let text = if levels.mute_me { "Muted" } else { "Mute me" };
    let muted = toggle(ui, text, levels.mute_me, DARK.mute, size);
    if muted.on_hover_text("Send silence to the others").clicked() {
        actions.push(Action::MuteMe(!levels.mute_me));
    }
}

/// What the output holds, with what each choice is for.
fn choice_of_output(ui: &mut Ui, output: OutputChoice, actions: &mut Vec<Action>) {
    ui.spacing_mut().item_spacing.y = 2.0;
    ui.label(caption("output"));
    // The longest name has to fit.
    ui.spacing_mut().button_padding.x = 6.0;
    ui.spacing_mut().icon_width = 10.0;
    let (_, name, hint) = OUTPUTS.into_iter().find(|(choice, ..)| *choice == output).unwrap_or(OUTPUTS[0]);
    let width = ui.available_width();
    let list = ComboBox::from_id_salt("output").width(width).truncate();
    let shown = list.selected_text(body(name)).show_ui(ui, |ui| {
        for (choice, name, hint) in OUTPUTS {
            let choose = ui.selectable_label(choice == output, name).on_hover_text(hint);
            if choose.clicked() && choice != output {
                actions.push(Action::Output(choice));
            }
        }
    });
    shown.response.on_hover_text(hint);
}

/// A stereo meter with its name above and the held peak below; a click forgives a clip.
fn meter(ui: &mut Ui, name: &str, meters: &mut [Ballistics], size: egui::Vec2) {
    let (rect, response) = ui.allocate_exact_size(size, egui::Sense::click());
    let painter = ui.painter();
    let font = egui::FontId::proportional(SMALL);
    let clipped = Ballistics::clipped(meters);
    let (title, colour) = if clipped { ("CLIP", DARK.bad) } else { (name, DARK.second) };
    painter.text(rect.center_top(), egui::Align2::CENTER_TOP, title, font.clone(), colour);
    let peak = format!("{} dB", Ballistics::peak_text(meters));
    painter.text(rect.center_bottom(), egui::Align2::CENTER_BOTTOM, peak, font, DARK.text);
    let left = rect.center().x - METER_WIDTH / 2.0;
    let bars = egui::Rect::from_min_max(
        pos2(left, rect.top() + 18.0),
        pos2(left + METER_WIDTH, rect.bottom() - 18.0),
    );
    paint_peaks(ui, bars, meters);
    if response.on_hover_text("Peak in dBFS. Click to clear CLIP").clicked() {
        Ballistics::forgive(meters);
    }
}

/// A level with its name and value above; keys, wheel-free drags and double-clicks move it.
fn level(ui: &mut Ui, name: &str, level: Level, db: f32, actions: &mut Vec<Action>) -> Response {
    ui.scope(|ui| {
        ui.spacing_mut().item_spacing.y = 0.0;
        ui.horizontal(|ui| {
            ui.label(caption(name));
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                let unit = if db <= LEVEL_OFF_DB { "" } else { " dB" };
                let text = format!("{}{unit}", level_text(db)).replace('-', "−");
                ui.label(RichText::new(text).size(SMALL).color(DARK.text));
            });
        });
        ui.spacing_mut().slider_width = ui.available_width();
        ui.spacing_mut().interact_size.y = 18.0;
        // While it is dragged the slider shows where the hand is: the host may answer late.
        let dragged = ui.scope_id().with(name);
        let mut value = ui.data(|data| data.get_temp(dragged)).unwrap_or(db);
        let slider =
            egui::Slider::new(&mut value, LEVEL_OFF_DB..=LEVEL_MAX_DB).show_value(false).step_by(0.1);
        let response = ui.add(slider);
        let share = (value - LEVEL_OFF_DB) / (LEVEL_MAX_DB - LEVEL_OFF_DB);
        paint_slider(ui, &response, share, DARK.panel);
        if response.drag_started() {
            actions.push(Action::BeginLevel(level));
        }
        if response.changed() {
            set(actions, level, value, response.dragged() || response.drag_stopped());
        }
        if response.drag_stopped() {
            actions.push(Action::EndLevel(level));
        }
        if response.dragged() {
            ui.data_mut(|data| data.insert_temp(dragged, value));
        } else {
            ui.data_mut(|data| data.remove_temp::<f32>(dragged));
        }
        let doubled = ui.input(|input| input.pointer.button_double_clicked(egui::PointerButton::Primary));
        if doubled && response.contains_pointer() {
            set(actions, level, if level == Level::Dry { LEVEL_OFF_DB } else { 0.0 }, false);
        }
        response
    })
    .inner
}

fn set(actions: &mut Vec<Action>, level: Level, db: f32, in_gesture: bool) {
    if in_gesture {
        actions.push(Action::SetLevel(level, db));
    } else {
        actions.extend([Action::BeginLevel(level), Action::SetLevel(level, db), Action::EndLevel(level)]);
    }
}
