//! Glues one open window to the instance: picture in, actions out.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nice_plug::context::gui::GuiContext;
use nice_plug::prelude::*;
use nice_plug_egui::{Frame, NiceEguiApp, baseview};

use super::Instance;
use super::editor::{Alive, Link};
use super::guard::Entry;
use super::view::{Action, Level, Looking, Model, View};
use crate::client::{ConnectionState, Finder, MeterReading, Snapshot};

/// Time between frames while something moves.
const FRAME_MOVING: Duration = Duration::from_millis(33);
/// Time between frames in silence.
const FRAME_STILL: Duration = Duration::from_millis(500);

/// The drawing side of one window.
pub struct App {
    instance: Arc<Instance>,
    link: Arc<Link>,
    /// Until the window's thread holds it.
    alive: Option<Alive>,
    /// There is one output, and what it holds is chosen.
    chooses_output: bool,
    gui: Option<GuiContext>,
    view: View,
    /// While the window shows servers to join: the search, and what was asked of it.
    finder: Option<(Finder, Looking)>,
    /// The view panicked: only the reason is shown from now on.
    broken: bool,
    /// Whether the last frame was connected, to notice a success.
    was_connected: bool,
}

impl App {
    /// The app of a window that is about to open.
    pub fn new(instance: Arc<Instance>, link: Arc<Link>, alive: Alive, chooses_output: bool) -> Self {
        let view = View::new(&instance.project.saved());
        Self {
            instance,
            link,
            alive: Some(alive),
            chooses_output,
            gui: None,
            view,
            finder: None,
            broken: false,
            was_connected: false,
        }
    }

    fn draw(&mut self, ui: &mut egui::Ui) {
        while let Some(key) = self.link.keys.pop() {
            ui.input_mut(|input| input.events.push(key));
        }
        let instance = Arc::clone(&self.instance);
        let handle = instance.handle.as_ref();
        let snapshot = handle.map_or_else(Arc::<Snapshot>::default, |handle| handle.snapshot());
        self.remember_success(&snapshot);
        instance.project.keep_mix(&snapshot.remembered);
        let found = self.finder.as_ref().map(|(finder, _)| finder.found());
        let model = Model {
            snapshot: &snapshot,
            saved: &instance.project.saved(),
            user: &instance.project.user(),
            found: found.as_ref(),
            levels: instance.params.levels(),
            output: self.chooses_output.then(|| instance.params.output.value()),
            meters: handle.map_or_else(MeterReading::default, |handle| handle.take_meters()),
            fault: instance.guard.fault().or(snapshot.fault.as_deref()),
        };
        let drawn = self.view.ui(ui, &model);
        self.link.wants_keys.store(ui.ctx().text_edit_focused(), Ordering::Relaxed);
        ui.ctx().request_repaint_after(if drawn.moving { FRAME_MOVING } else { FRAME_STILL });
        self.look(drawn.looking);
        for action in drawn.actions {
            self.act(ui.ctx(), action);
        }
    }

    /// Searches for what the window shows, and for nothing when it shows none of it.
    fn look(&mut self, looking: Option<Looking>) {
        let Some(looking) = looking else {
            self.finder = None;
            return;
        };
        if self.finder.is_none() {
            let repaint = self.link.repaint.clone();
            // Without a socket or a thread there is nothing to be found; the next frame tries again.
            let Ok(finder) = Finder::start(move || repaint.request_repaint()) else { return };
            self.finder = Some((finder, Looking::default()));
        }
        let Some((finder, before)) = &mut self.finder else { return };
        if looking.watched != before.watched {
            finder.watch(&looking.watched);
        }
        if (&looking.directory, looking.afresh) != (&before.directory, before.afresh) {
            finder.look_into(looking.directory.as_deref());
        }
        if let Some(examined) = looking.examined.filter(|_| looking.examined != before.examined) {
            finder.examine(examined);
        }
        *before = looking;
    }

    /// A server that let us in belongs to the recents.
    fn remember_success(&mut self, snapshot: &Snapshot) {
        let connected = matches!(snapshot.state, ConnectionState::Connected { .. });
        if connected && !self.was_connected && !snapshot.address.is_empty() {
            self.instance.project.remember(&snapshot.address);
        }
        self.was_connected = connected;
    }

    fn act(&mut self, ctx: &egui::Context, action: Action) {
        let Instance { handle, params, project, .. } = &*self.instance;
        let Some(handle) = handle else { return };
        match action {
            Action::Address(address) => project.change(|saved| saved.address = address),
            Action::Join(address) => {
                project.change(|saved| saved.address.clone_from(&address));
                project.recall_mix();
                handle.connect(&address);
                self.mirror(&params.connect, true);
            }
            Action::Leave => {
                handle.disconnect();
                self.mirror(&params.connect, false);
            }
            Action::User(change) => project.change_user(change),
            Action::Say(text) => handle.chat(&text),
            Action::AcceptLicence => handle.accept_licence(),
            Action::SendAgain => handle.send_again(),
            Action::Settings(settings) => project.choose(settings),
            Action::Reconnect(reconnect) => project.change(|saved| saved.reconnect = reconnect),
            Action::Latency(latency_ms) => {
                project.change(|saved| saved.latency_ms = latency_ms);
                // Hosts ask for the delay when they activate us.
                self.gui.iter().for_each(GuiContext::request_restart);
            }
            Action::BeginLevel(level) => self.gui.iter().for_each(|gui| {
                gui.param_setter().begin_set_parameter(self.level(level));
            }),
            Action::SetLevel(level, db) => self.gui.iter().for_each(|gui| {
                gui.param_setter().set_parameter(self.level(level), db);
            }),
            Action::EndLevel(level) => self.gui.iter().for_each(|gui| {
                gui.param_setter().end_set_parameter(self.level(level));
            }),
            Action::MuteMe(mute) => self.mirror(&params.mute_me, mute),
            Action::Output(output) => self.mirror(&params.output, output),
            Action::EndBypass => self.mirror(&params.bypass, false),
            Action::Move(channel, movement) => handle.move_strip(channel, movement),
            Action::MoveAlone(channel, fader) => handle.set_fader_alone(channel, fader),
            Action::Group(channel, group) => handle.set_group(channel, group),
            Action::Zoom(zoom) => ctx.set_zoom_factor(zoom),
        }
    }

    fn level(&self, level: Level) -> &FloatParam {
        match level {
            Level::Send => &self.instance.params.send,
            Level::Return => &self.instance.params.receive,
            Level::Dry => &self.instance.params.dry,
        }
    }

    /// Shows the host what the window has done: the parameter follows the button.
    fn mirror<P: Param>(&self, param: &P, value: P::Plain) {
        let Some(gui) = &self.gui else { return };
        let setter = gui.param_setter();
        setter.begin_set_parameter(param);
        setter.set_parameter(param, value);
        setter.end_set_parameter(param);
    }
}

/// Where there is no host, the window's end is the app's.
#[cfg(feature = "standalone")]
impl Drop for App {
    fn drop(&mut self) {
        if self.gui.as_ref().is_some_and(|gui| gui.plugin_api() == PluginApi::Standalone) {
            super::standalone::closing();
        }
    }
}

impl NiceEguiApp for App {
    fn build(
        &mut self,
        egui_ctx: egui::Context,
        nice_gui_ctx: GuiContext,
        _frame: &mut Frame,
    ) -> Result<(), baseview::HandlerError> {
        #[cfg(feature = "standalone")]
        if nice_gui_ctx.plugin_api() == PluginApi::Standalone {
            super::standalone::catch_signals();
        }
        self.gui = Some(nice_gui_ctx);
        if let Some(alive) = self.alive.take() {
            alive.hold_by_this_thread();
        }
        let instance = Arc::clone(&self.instance);
        let build = || {
            super::view::theme::apply(&egui_ctx);
            self.instance.project.refresh();
            if let Some(handle) = &self.instance.handle {
                let repaint = self.link.repaint.clone();
                handle.set_notify(Some(Box::new(move || repaint.request_repaint())));
            }
        };
        instance.guard.run(Entry::Window, || (), build);
        Ok(())
    }

    fn ui(&mut self, ui: &mut egui::Ui, _frame: &mut Frame) {
        if !self.link.open.load(Ordering::Acquire) {
            return;
        }
        #[cfg(feature = "standalone")]
        if super::standalone::quit_requested() {
            super::standalone::closing();
            ui.ctx().send_viewport_cmd(egui::ViewportCommand::Close);
        }
        let instance = Arc::clone(&self.instance);
        if !self.broken {
            let draw = || {
                self.draw(ui);
                false
            };
            self.broken = instance.guard.run(Entry::Window, || true, draw);
        }
        if self.broken {
            let fault = instance.guard.fault().unwrap_or_default();
            instance.guard.run(Entry::Window, || (), || super::view::paint_fault(ui, fault));
        }
    }

    fn resized(&mut self, new_size: baseview::WindowSize) {
        let instance = Arc::clone(&self.instance);
        let resized = || {
            let zoom = instance.project.saved().window.zoom;
            self.link.set_scale(new_size.scale_factor / f64::from(zoom));
            instance.project.set_window(|window| {
                window.width = new_size.logical.width as f32;
                window.height = new_size.logical.height as f32;
            });
        };
        instance.guard.run(Entry::Window, || (), resized);
    }

    fn zoom_factor_changed(&mut self, zoom_factor: f32) {
        let instance = Arc::clone(&self.instance);
        let changed = || instance.project.set_window(|window| window.zoom = zoom_factor);
        instance.guard.run(Entry::Window, || (), changed);
    }
}
