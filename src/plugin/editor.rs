//! Opens windows for hosts, and closes the gaps of nice-plug-egui 0.6 on the way:
//!
//! - Its state cannot be given a saved size: a new one is made at each opening.
//! - It sizes the first window before it knows the screen's scale: we compare afterwards, mend the
//!   window, and ask a VST3 host, which has asked for our size already, to follow.
//! - It refuses every key that a VST3 host hands over: ours go to the focused text field.
//! - It tells nobody that a window was closed: dropping our handle does.
//! - On X11 a window lives on its own thread. A panic there comes back when the window is dropped,
//!   and dropping does not always wait for the thread: [`Window`] contains the one and does the other.
//!
//! Two gaps stay, for they are out of reach: nice-plug's VST3 view refuses `setContentScaleFactor`
//! before `attached`, so a scale that only the host knows arrives when the host repeats it. And on
//! Linux each opening of a VST3 view keeps a socket pair and a handler in the host's run loop until
//! the host ends, since nice-plug's handler owns itself.

#[cfg(all(unix, not(target_os = "macos")))]
use std::cell::Cell;
use std::convert::Infallible;
use std::error::Error;
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use crossbeam::atomic::AtomicCell;
use crossbeam::queue::ArrayQueue;
use nice_plug::context::gui::GuiContext;
use nice_plug::editor::dpi::{LogicalSize, NativeSize, PhysicalSize, Size};
use nice_plug::editor::{EditorHandle, HostCallbacks, HostMethods, SpawnedEditor};
use nice_plug::prelude::*;
use nice_plug_egui::baseview;
use nice_plug_egui::{
    EguiEditorHandle, EguiEditorState, EguiNiceSettings, RepaintNotifier, create_egui_editor,
};

use super::Instance;
use super::app::App;
use super::guard::Entry;
use super::state::WindowSize;

/// Most keys from the host that wait for the next frame.
const MAX_PENDING_KEYS: usize = 64;

/// What the host's side and the drawing side of a window tell each other.
pub struct Link {
    /// Physical pixels per point before zoom, as far as known.
    scale: AtomicCell<f64>,
    /// Text is being typed: keys from the host are for us.
    pub wants_keys: AtomicBool,
    /// Keys that the host handed over.
    pub keys: ArrayQueue<egui::Event>,
    /// Asks for a frame, from any thread.
    pub repaint: RepaintNotifier,
    /// False once the host has closed the window: then nothing is drawn.
    pub open: AtomicBool,
}

impl Link {
    fn new(scale: f64) -> Arc<Self> {
        Arc::new(Self {
            scale: AtomicCell::new(scale),
            wants_keys: AtomicBool::new(false),
            keys: ArrayQueue::new(MAX_PENDING_KEYS),
            repaint: RepaintNotifier::new(),
            open: AtomicBool::new(true),
        })
    }

    /// The screen's scale is known now (or has changed).
    pub fn set_scale(&self, scale: f64) {
        self.scale.store(scale);
    }
}

/// Opens windows of one instance.
pub struct JamuletEditor {
    instance: Arc<Instance>,
    /// The scale of the last window: the best guess for the next one.
    last: AtomicCell<f64>,
    /// The window that is open now.
    link: parking_lot::RwLock<Option<Arc<Link>>>,
    chooses_output: bool,
}

impl JamuletEditor {
    /// An editor without a window. `chooses_output`: there is one output, and what it holds is chosen.
    pub fn new(instance: Arc<Instance>, chooses_output: bool) -> Self {
        let (last, link) = (AtomicCell::new(1.0), parking_lot::RwLock::new(None));
        Self { instance, last, link, chooses_output }
    }

    fn scale(&self) -> f64 {
        let link = self.link.read();
        if let Some(link) = &*link {
            self.last.store(link.scale.load());
        }
        self.last.load()
    }

    fn open(
        &self,
        parent: Option<ParentWindowHandle>,
        wait_for_parent: bool,
        fallback_scale_factor: Option<f64>,
        gui_context: GuiContext,
        host: Option<HostMethods>,
    ) -> Result<SpawnedEditor<JamuletEditorHandle>, Box<dyn Error>> {
        let saved = self.instance.project.saved().window.clamped();
        let announced = native_size(saved, self.scale());
        let link = Link::new(fallback_scale_factor.unwrap_or_else(|| self.scale()));
        *self.link.write() = Some(Arc::clone(&link));
        let (alive, thread_ended) = thread_end();
        let app = App::new(Arc::clone(&self.instance), Arc::clone(&link), alive, self.chooses_output);
        let points = LogicalSize::new(f64::from(saved.width), f64::from(saved.height));
        let state = EguiEditorState::from_size(Size::Logical(points), saved.zoom);
        let settings = EguiNiceSettings::new().with_tile("Jamulet").with_resize_hint(resize_hint());
        let egui_editor = create_egui_editor(state, link.repaint.clone(), settings, app)
            .ok_or("the window toolkit offers no editor")?;
        let (host, resizer) = share_callbacks(host);
        let SpawnedEditor { handle, window } =
            egui_editor.spawn(parent, wait_for_parent, fallback_scale_factor, gui_context, host)?;

        let scale = window.size().scale_factor;
        link.set_scale(scale);
        let wanted = native_size(saved, scale);
        if native(window.size()) != wanted {
            window.resize(wanted)?;
        }
        if parent.is_some() && announced != wanted {
            // A host that refuses shows a part of the window, which is better than none of it.
            let size: PhysicalSize<u32> = wanted.to_physical(scale);
            resizer.and_then(|mut host| host.request_resize(size.into(), scale).ok());
        }
        let handle = JamuletEditorHandle { inner: handle, instance: Arc::clone(&self.instance), link };
        Ok(SpawnedEditor { handle, window: Window { window: ManuallyDrop::new(window), thread_ended } })
    }
}

impl Editor for JamuletEditor {
    type Handle = JamuletEditorHandle;

    fn spawn(
        &self,
        parent: Option<ParentWindowHandle>,
        wait_for_parent: bool,
        fallback_scale_factor: Option<f64>,
        gui_context: GuiContext,
        host: Option<HostMethods>,
    ) -> Result<SpawnedEditor<JamuletEditorHandle>, Box<dyn Error>> {
        self.instance.guard.run(
            Entry::Editor,
            || Err("the window could not be opened after an internal error".into()),
            || self.open(parent, wait_for_parent, fallback_scale_factor, gui_context, host),
        )
    }

    fn size(&self) -> NativeSize<u32> {
        native_size(self.instance.project.saved().window.clamped(), self.scale())
    }

    fn resize_hint(&self) -> ResizeHint {
        resize_hint()
    }
}

/// An open window as the host sees it. Dropping it is how the host closes the window.
pub struct JamuletEditorHandle {
    inner: EguiEditorHandle,
    instance: Arc<Instance>,
    link: Arc<Link>,
}

impl JamuletEditorHandle {
    fn guarded(&self, body: impl FnOnce() -> Result<(), baseview::Error>) -> Result<(), baseview::Error> {
        // After a panic the window is as it was before: nothing that the host could do about it.
        self.instance.guard.run(Entry::Editor, || Ok(()), body)
    }
}

impl EditorHandle for JamuletEditorHandle {
    type Window = Window;
    type Error = baseview::Error;

    fn run_until_closed(window: Window) -> Result<(), baseview::Error> {
        EguiEditorHandle::run_until_closed(window.into_inner())
    }

    fn set_parent(&self, parent: ParentWindowHandle, window: &Window) -> Result<(), baseview::Error> {
        self.guarded(|| self.inner.set_parent(parent, &window.window))
    }

    fn show(&self, window: &Window) -> Result<(), baseview::Error> {
        self.guarded(|| self.inner.show(&window.window))
    }

    fn hide(&self, window: &Window) -> Result<(), baseview::Error> {
        self.guarded(|| self.inner.hide(&window.window))
    }

    fn set_size(&self, new_size: NativeSize<u32>, window: &Window) -> Result<(), baseview::Error> {
        self.guarded(|| self.inner.set_size(new_size, &window.window))
    }

    fn host_main_thread_callback(&self, window: &Window) {
        self.instance.guard.run(
            Entry::Editor,
            || (),
            || self.inner.host_main_thread_callback(&window.window),
        );
    }

    fn adjust_size(&self, new_size: NativeSize<u32>, window: &Window) -> Option<NativeSize<u32>> {
        // The inner editor knows neither the zoom nor a scale that came after opening.
        let zoom = f64::from(self.instance.project.saved().window.zoom);
        let current = native(window.window.size());
        Some(resize_hint().adjust_size(new_size, current, self.link.scale.load() * zoom))
    }

    fn set_fallback_scale_factor(&self, scale_factor: f64, window: &Window) -> Result<(), baseview::Error> {
        // Where the platform knows better this changes nothing, and `App::resized` is not called.
        self.guarded(|| self.inner.set_fallback_scale_factor(scale_factor, &window.window))
    }

    fn on_virtual_key_from_host(&self, key: VirtualKeyCode, is_down: bool, modifiers: Modifiers) -> bool {
        if !self.link.wants_keys.load(Ordering::Relaxed) {
            return false;
        }
        let Some(key) = egui_key(key) else { return false };
        let events = key_events(key, is_down, modifiers);
        // A full queue means that nothing is drawn: those keys are lost, like typing into a frozen window.
        events.into_iter().flatten().for_each(|event| drop(self.link.keys.push(event)));
        self.link.repaint.request_repaint();
        true
    }

    fn state_changed(&self) {
        self.inner.state_changed();
    }

    fn param_value_changed(&self, id: &str, normalized_value: f32) {
        self.inner.param_value_changed(id, normalized_value);
    }

    fn param_modulation_changed(&self, id: &str, modulation_offset: f32) {
        self.inner.param_modulation_changed(id, modulation_offset);
    }
}

impl Drop for JamuletEditorHandle {
    fn drop(&mut self) {
        self.link.open.store(false, Ordering::Release);
        let handle = self.instance.handle.as_ref();
        self.instance.guard.run(
            Entry::Editor,
            || (),
            || handle.iter().for_each(|handle| handle.set_notify(None)),
        );
    }
}

/// The window system's window. On X11 it has its own thread, whose panics surface when it is dropped.
pub struct Window {
    window: ManuallyDrop<baseview::Window>,
    thread_ended: Receiver<Infallible>,
}

/// A thread that hangs in the window system is left to itself after this long.
const THREAD_END_LIMIT: Duration = Duration::from_secs(5);

impl Window {
    fn into_inner(self) -> baseview::Window {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is never used again, and its own `drop` does not run.
        unsafe {
            std::ptr::drop_in_place(&mut this.thread_ended);
            ManuallyDrop::take(&mut this.window)
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        let drop_window = || {
            // SAFETY: dropped once, here; `into_inner` skips this.
            unsafe { ManuallyDrop::drop(&mut self.window) }
        };
        // The panic was reported when it happened: this is only its echo.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(drop_window));
        // baseview 0.4.2 joins the thread unless it stops before it has answered a last request. Then
        // it still tears GL down while the host unloads us or ends, and the host crashes.
        let _ = self.thread_ended.recv_timeout(THREAD_END_LIMIT);
    }
}

/// Held by a window's own thread to its end; nothing else is ever said through it.
pub struct Alive(#[expect(dead_code, reason = "dropping it is the message")] Sender<Infallible>);

/// What the window's thread holds, and how its end is noticed.
fn thread_end() -> (Alive, Receiver<Infallible>) {
    let (sender, receiver) = std::sync::mpsc::channel();
    (Alive(sender), receiver)
}

impl Alive {
    /// Lasts as long as the calling thread, where that is the window's own. On other systems windows
    /// live on the host's main thread, and there is no end to wait for.
    pub fn hold_by_this_thread(self) {
        #[cfg(all(unix, not(target_os = "macos")))]
        {
            thread_local!(static ALIVE: Cell<Option<Alive>> = const { Cell::new(None) });
            ALIVE.set(Some(self));
        }
    }
}

fn resize_hint() -> ResizeHint {
    let [width, height] = WindowSize::MIN;
    ResizeHint::resizable().with_min_logical_size(LogicalSize::new(width, height))
}

/// What a host calls the size of a window of `size` on a screen of `scale`.
fn native_size(size: WindowSize, scale: f64) -> NativeSize<u32> {
    let points = LogicalSize::new(f64::from(size.width * size.zoom), f64::from(size.height * size.zoom));
    NativeSize::from_size(points.into(), scale)
}

fn native(size: baseview::WindowSize) -> NativeSize<u32> {
    NativeSize::from_logical_or_physical(size.logical, size.physical)
}

/// Lets us ask the host for a size once, besides the window that gets the callbacks.
fn share_callbacks(host: Option<HostMethods>) -> (Option<HostMethods>, Option<SharedCallbacks>) {
    let Some(HostMethods { callbacks, main_thread_caller }) = host else { return (None, None) };
    let shared = SharedCallbacks(Rc::new(callbacks.into()));
    let copy = SharedCallbacks(Rc::clone(&shared.0));
    (Some(HostMethods { callbacks: Box::new(copy), main_thread_caller }), Some(shared))
}

struct SharedCallbacks(Rc<std::cell::RefCell<Box<dyn HostCallbacks>>>);

impl HostCallbacks for SharedCallbacks {
    fn request_resize(&mut self, new_size: Size, scale_factor: f64) -> Result<(), Box<dyn Error>> {
        self.0.try_borrow_mut()?.request_resize(new_size, scale_factor)
    }

    fn destroyed(&mut self) {
        if let Ok(mut host) = self.0.try_borrow_mut() {
            host.destroyed();
        }
    }
}

fn key_events(key: egui::Key, pressed: bool, modifiers: Modifiers) -> [Option<egui::Event>; 2] {
    let command = modifiers.contains(Modifiers::COMMAND);
    let control = modifiers.contains(Modifiers::CONTROL);
    let is_mac = cfg!(target_os = "macos");
    let modifiers = egui::Modifiers {
        alt: modifiers.contains(Modifiers::ALT),
        ctrl: if is_mac { control } else { command || control },
        shift: modifiers.contains(Modifiers::SHIFT),
        mac_cmd: is_mac && command,
        command,
    };
    let event = egui::Event::Key { key, physical_key: None, pressed, repeat: false, modifiers };
    let is_text = key == egui::Key::Space && pressed && !modifiers.command && !modifiers.ctrl;
    [Some(event), is_text.then(|| egui::Event::Text(" ".to_owned()))]
}

/// The keys that edit text; all others stay the host's.
fn egui_key(key: VirtualKeyCode) -> Option<egui::Key> {
    Some(match key {
        VirtualKeyCode::Backspace => egui::Key::Backspace,
        VirtualKeyCode::Delete => egui::Key::Delete,
        VirtualKeyCode::Space => egui::Key::Space,
        VirtualKeyCode::Return | VirtualKeyCode::NumpadEnter => egui::Key::Enter,
        VirtualKeyCode::Escape => egui::Key::Escape,
        VirtualKeyCode::Tab => egui::Key::Tab,
        VirtualKeyCode::Home => egui::Key::Home,
        VirtualKeyCode::End => egui::Key::End,
        VirtualKeyCode::ArrowLeft => egui::Key::ArrowLeft,
        VirtualKeyCode::ArrowRight => egui::Key::ArrowRight,
        VirtualKeyCode::ArrowUp => egui::Key::ArrowUp,
        VirtualKeyCode::ArrowDown => egui::Key::ArrowDown,
        _ => return None,
    })
}
