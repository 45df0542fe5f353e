//! A control that is dragged along a line: faders and pans. What it looks like is its owner's business.

use egui::{EventFilter, Key, Rect, Response, Sense, Ui, WidgetInfo};

/// How much slower a control follows with shift.
const FINE: f32 = 0.1;
/// Steps of a key that goes far.
const FAR: f32 = 10.0;

/// Which way a control is dragged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Axis {
    /// 0 on the left.
    Horizontal,
    /// 0 at the bottom.
    Vertical,
}

/// A control from 0 to `max`.
pub(super) struct Control {
    /// For those who hear the window.
    pub(super) name: String,
    pub(super) value: f32,
    pub(super) max: f32,
    /// Where a double-click puts it.
    pub(super) home: f32,
    /// What an arrow key, or the wheel with ctrl, moves it by.
    pub(super) step: f32,
    pub(super) axis: Axis,
    /// Where its ends are, in points.
    pub(super) travel: Rect,
}

/// What came of it in this frame.
pub(super) struct Moved {
    pub(super) response: Response,
    /// Where it stands for the eye: the hand's place while it is held, since the answer comes late.
    pub(super) shown: f32,
    /// Moved here, `0..=max`.
    pub(super) value: Option<f32>,
    /// With shift.
    pub(super) fine: bool,
}

impl Control {
    /// Takes what hand, wheel and keys do inside of `rect`. Identified by its name among what is in `ui`.
    pub(super) fn show(&self, ui: &Ui, rect: Rect) -> Moved {
        let id = ui.scope_id().with(&self.name);
        let response = ui.interact(rect, id, Sense::click_and_drag());
        let fine = ui.input(|input| input.modifiers.shift);
        if response.clicked() || response.drag_started() {
            response.request_focus();
        }
        // Beyond the ends, too: whoever comes back has to come back all the way.
        let mut hand: f32 = ui.data(|data| data.get_temp(id)).unwrap_or(self.value);
        let mut value = None;
        if response.dragged() {
            hand += self.along(response.drag_delta()) * if fine { FINE } else { 1.0 };
            ui.data_mut(|data| data.insert_temp(id, hand));
            value = (response.drag_delta() != egui::Vec2::ZERO).then_some(hand);
        } else {
            ui.data_mut(|data| data.remove_temp::<f32>(id));
            hand = self.value;
        }
        if response.double_clicked() {
            value = Some(self.home);
        } else if response.clicked()
            && let Some(pointer) = response.interact_pointer_pos()
        {
            value = self.clicked(pointer);
        }
        let steps = self.keys(ui, &response) + if response.contains_pointer() { wheel(ui) } else { 0.0 };
        if steps != 0.0 {
            value = Some(self.value + steps * self.step * if fine { FINE } else { 1.0 });
        }
        let value = value.map(|value| value.clamp(0.0, self.max));
        let shown = value.unwrap_or(hand).clamp(0.0, self.max);
        response.widget_info(|| WidgetInfo::slider(true, f64::from(shown), &self.name));
        Moved { response, shown, value, fine }
    }

    /// Where `value` lies on the axis, in points.
    pub(super) fn place(&self, value: f32) -> f32 {
        let share = value / self.max;
        match self.axis {
            Axis::Horizontal => egui::lerp(self.travel.x_range(), share),
            Axis::Vertical => egui::lerp(self.travel.bottom()..=self.travel.top(), share),
        }
    }

    /// A click beside the knob goes there; one on the knob only takes hold of it.
    fn clicked(&self, pointer: egui::Pos2) -> Option<f32> {
        /// Half of the larger knob, in points.
        const KNOB: f32 = 17.0;
        let (at, start) = match self.axis {
            Axis::Horizontal => (pointer.x, self.travel.left()),
            Axis::Vertical => (pointer.y, self.travel.bottom()),
        };
        let knob = if self.axis == Axis::Vertical { KNOB } else { 4.0 };
        let on_knob = (at - self.place(self.value)).abs() <= knob;
        (!on_knob).then(|| {
            self.along(match self.axis {
                Axis::Horizontal => egui::vec2(at - start, 0.0),
                Axis::Vertical => egui::vec2(0.0, at - start),
            })
        })
    }

    /// What a movement of the hand changes.
    fn along(&self, delta: egui::Vec2) -> f32 {
        let share = match self.axis {
            Axis::Horizontal => delta.x / self.travel.width().max(1.0),
            Axis::Vertical => -delta.y / self.travel.height().max(1.0),
        };
        share * self.max
    }

    /// Steps that keys ask for.
    fn keys(&self, ui: &Ui, response: &Response) -> f32 {
        if !response.has_focus() {
            return 0.0;
        }
        let vertical = self.axis == Axis::Vertical;
        let filter =
            EventFilter { vertical_arrows: vertical, horizontal_arrows: !vertical, ..EventFilter::default() };
        ui.memory_mut(|memory| memory.set_focus_lock_filter(response.id, filter));
        let (more, less) =
            if vertical { (Key::ArrowUp, Key::ArrowDown) } else { (Key::ArrowRight, Key::ArrowLeft) };
        ui.input(|input| {
            let pressed = |key| input.num_presses(key) as f32;
            let ends = self.max / self.step;
            pressed(more) - pressed(less)
                + FAR * (pressed(Key::PageUp) - pressed(Key::PageDown))
                + ends * (pressed(Key::End) - pressed(Key::Home))
        })
    }
}

/// Steps of the wheel while ctrl is held.
fn wheel(ui: &Ui) -> f32 {
    ui.input(|input| {
        let steps = input.events.iter().filter_map(|event| match event {
            egui::Event::MouseWheel { delta, modifiers, .. } if modifiers.ctrl || modifiers.command => {
                (delta.y != 0.0).then(|| delta.y.signum())
            }
            _ => None,
        });
        steps.sum()
    })
}
