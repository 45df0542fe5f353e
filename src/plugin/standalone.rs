//! The plugin as an app of its own: it finds a sound device, keeps its state, and would rather end
//! with a sentence than run without sound unasked.
//!
//! nice-plug's standalone wrapper does the work. It falls back to a silent backend, leaves inputs
//! unconnected, takes JACK's rate from its arguments and keeps no state: so we look at the devices
//! first and hand it complete arguments.

mod devices;
mod farewell;
mod state_file;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use nice_plug::prelude::nice_export_standalone_with_args;
use parking_lot::RwLock;

use self::devices::Backend;
use self::farewell::Farewell;
use self::state_file::AppState;
use super::{Instance, Jamulet};

/// The app that this process is, if it is one.
static APP: RwLock<Option<App>> = RwLock::new(None);
/// A signal asked us to end.
static QUIT: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

struct App {
    /// What the instance starts with.
    state: AppState,
    /// Joined as soon as the instance exists.
    connect: Option<String>,
    /// The instance, once the sound device works.
    instance: Option<Arc<Instance>>,
    farewell: Arc<Farewell>,
}

/// Runs the app with the process's arguments until its window is closed.
///
/// # Errors
/// One sentence on what is wrong and what to do.
pub fn run(args: impl Iterator<Item = String>) -> Result<(), String> {
    let mut args = Arguments::new(args);
    if args.has(&["-h", "--help", "-V", "--version"]) {
        println!("Jamulet as an app. `--connect ADDRESS` joins a server at once. The sound options are:\n");
        nice_export_standalone_with_args::<Jamulet, _>(args.list);
        return Ok(());
    }
    let connect = args.take("--connect")?;
    let state = state_file::load();
    let farewell = Arc::<Farewell>::default();
    *APP.write() = Some(App { state, connect, instance: None, farewell: Arc::clone(&farewell) });
    let result = run_backend(&args);
    let instance = APP.write().take().and_then(|app| app.instance);
    let Some(instance) = instance else { return result };
    let saved = farewell.save(&instance);
    // Here too: the sound system may have stopped before the farewell's thread is out of the session.
    farewell::leave(&instance);
    result.and(saved)
}

/// The state that a new instance starts with; `None` in a host.
pub(super) fn initial_state() -> Option<AppState> {
    APP.read().as_ref().map(|app| app.state.clone())
}

/// An instance of the app was made.
pub(super) fn made(instance: &Arc<Instance>) {
    let Some(app) = &mut *APP.write() else { return };
    if let (Some(address), Some(handle)) = (app.connect.take(), &instance.handle) {
        instance.project.change(|saved| saved.address.clone_from(&address));
        handle.connect(&address);
    }
    app.instance = Some(Arc::clone(instance));
}

/// The window has opened: from now on signals close it. The wrapper's own handler ends only apps
/// without a window, and replaces earlier handlers, so ours comes after it and calls it, too.
pub(super) fn catch_signals() {
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // Without a handler a signal ends the app at once and only its state is not saved.
        let _ = signal_hook::flag::register(signal, Arc::clone(&QUIT));
    }
}

/// The window is closing, and with it the app.
pub(super) fn closing() {
    let app = APP.read();
    let Some((farewell, instance)) =
        app.as_ref().and_then(|app| Some((&app.farewell, app.instance.as_ref()?)))
    else {
        return;
    };
    farewell.begin(instance);
}

/// Whether the window should close now.
pub(super) fn quit_requested() -> bool {
    QUIT.load(Ordering::Relaxed)
}

fn run_backend(args: &Arguments) -> Result<(), String> {
    let asked = args.value(&["-b", "--backend"]).filter(|backend| backend != "auto");
    let candidates = match asked.as_deref() {
        Some(name) => vec![Backend::Named(name.to_owned())],
        None => vec![Backend::Jack, Backend::Native],
    };
    let mut problems = Vec::new();
    for backend in candidates {
        match backend.arguments(args) {
            Ok(more) => {
                let all = args.list.iter().cloned().chain(more);
                if nice_export_standalone_with_args::<Jamulet, _>(all) {
                    return Ok(());
                }
                if APP.read().as_ref().is_some_and(|app| app.instance.is_some()) {
                    return Err("The window could not be opened. Is a display available?".to_owned());
                }
                problems.push(format!("{backend} refused to start"));
            }
            Err(problem) => problems.push(problem),
        }
    }
    Err(format!(
        "No sound: {}. Start JACK or connect a sound device; `--backend dummy` runs without sound.",
        problems.join("; ")
    ))
}

/// The command line, whose options are the wrapper's but for ours.
struct Arguments {
    /// As given, program name first.
    list: Vec<String>,
}

impl Arguments {
    fn new(args: impl Iterator<Item = String>) -> Self {
        Self { list: args.collect() }
    }

    fn has(&self, names: &[&str]) -> bool {
        self.list.iter().skip(1).any(|arg| names.contains(&arg.as_str()))
    }

    /// Value of an option, in any of the forms `--name value`, `--name=value`, `-n value`, `-nvalue`.
    fn value(&self, names: &[&str]) -> Option<String> {
        let mut args = self.list.iter().skip(1);
        while let Some(arg) = args.next() {
            for name in names {
                let Some(rest) = arg.strip_prefix(name) else { continue };
                let is_short = !name.starts_with("--");
                match rest.strip_prefix('=') {
                    Some(value) => return Some(value.to_owned()),
                    None if rest.is_empty() => return args.next().cloned(),
                    None if is_short => return Some(rest.to_owned()),
                    None => {}
                }
            }
        }
        None
    }

    /// Takes the option `name` and its value out of the list.
    fn take(&mut self, name: &str) -> Result<Option<String>, String> {
        let Some(value) = self.value(&[name]) else {
            return if self.has(&[name]) { Err(format!("{name} needs an address.")) } else { Ok(None) };
        };
        let position = self.list.iter().position(|arg| arg == name);
        match position {
            Some(at) => drop(self.list.drain(at..at + 2)),
            None => self.list.retain(|arg| !arg.starts_with(&format!("{name}="))),
        }
        Ok(Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(line: &str) -> Arguments {
        Arguments::new(line.split(' ').map(str::to_owned))
    }

    #[test]
    fn options_are_found_in_every_form() {
        for line in ["jamulet -b jack", "jamulet -bjack", "jamulet --backend=jack", "jamulet --backend jack"]
        {
            assert_eq!(arguments(line).value(&["-b", "--backend"]).as_deref(), Some("jack"), "{line}");
        }
        assert_eq!(arguments("jamulet --backends x").value(&["-b", "--backend"]), None);
    }

    #[test]
    fn our_own_options_are_not_handed_on() {
        for line in ["jamulet --connect a:1 -p 64", "jamulet --connect=a:1 -p 64"] {
            let mut args = arguments(line);
            assert_eq!(args.take("--connect"), Ok(Some("a:1".to_owned())));
            assert_eq!(args.list, ["jamulet", "-p", "64"]);
        }
        assert!(arguments("jamulet --connect").take("--connect").is_err());
        assert_eq!(arguments("jamulet").take("--connect"), Ok(None));
    }
}
