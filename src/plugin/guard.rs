//! No panic of ours reaches a host: its stack may be C++, and unwinding into it ends the process.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use crossbeam::atomic::AtomicCell;

/// A door through which a host or the window system calls us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Creating an instance.
    Create,
    /// `activate` and `deactivate`: rates and buffer sizes.
    Activate,
    /// `reset`, on the audio thread.
    Reset,
    /// `process`, on the audio thread.
    Process,
    /// The callback of a parameter.
    Parameter,
    /// Saving or loading the project's state.
    State,
    /// Opening, resizing and closing the window.
    Editor,
    /// Drawing the window.
    Window,
    /// The end of an instance.
    Drop,
}

impl Entry {
    /// Its name in `JAMULET_TEST_PANIC`.
    const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Activate => "activate",
            Self::Reset => "reset",
            Self::Process => "process",
            Self::Parameter => "parameter",
            Self::State => "state",
            Self::Editor => "editor",
            Self::Window => "window",
            Self::Drop => "drop",
        }
    }

    const ALL: [Self; 9] = [
        Self::Create,
        Self::Activate,
        Self::Reset,
        Self::Process,
        Self::Parameter,
        Self::State,
        Self::Editor,
        Self::Window,
        Self::Drop,
    ];
}

/// Environment variable that makes one door panic once on purpose, read when an instance is created.
/// Tests use it to prove on the real library, in a real host process, that the host stays alive.
pub const TEST_PANIC_VARIABLE: &str = "JAMULET_TEST_PANIC";

/// Contains panics and remembers the first one, which is the cause of those that may follow.
#[derive(Debug, Default)]
pub struct Guard {
    /// Panics once at this door.
    injected: AtomicCell<Option<Entry>>,
    fault: OnceLock<String>,
}

impl Guard {
    /// A guard that injects what [`TEST_PANIC_VARIABLE`] asks for: nothing, unless it is set.
    pub fn from_env() -> Self {
        Self::injecting(std::env::var(TEST_PANIC_VARIABLE).ok().as_deref())
    }

    fn injecting(name: Option<&str>) -> Self {
        let injected = name.and_then(|name| Entry::ALL.into_iter().find(|entry| entry.name() == name));
        Self { injected: AtomicCell::new(injected), fault: OnceLock::new() }
    }

    /// Runs `body`; if it panics, remembers the fault and returns `otherwise()` instead.
    ///
    /// Whatever `body` was changing may be half changed: the caller must not use it again.
    pub fn run<T>(&self, entry: Entry, otherwise: impl FnOnce() -> T, body: impl FnOnce() -> T) -> T {
        let guarded = || {
            let inject = self.injected.compare_exchange(Some(entry), None).is_ok();
            assert!(!inject, "injected by {TEST_PANIC_VARIABLE}={}", entry.name());
            body()
        };
        catch_unwind(AssertUnwindSafe(guarded)).unwrap_or_else(|panic| {
            self.fault.get_or_init(|| sentence(entry, &*panic));
            otherwise()
        })
    }

    /// What stopped, in words for the musician; `None` while all is well.
    pub fn fault(&self) -> Option<&str> {
        self.fault.get().map(String::as_str)
    }
}

fn sentence(entry: Entry, panic: &(dyn Any + Send)) -> String {
    let cause = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("unknown cause");
    let stopped = match entry {
        Entry::Create | Entry::Activate | Entry::Reset | Entry::Process => {
            "Jamulet's sound stopped after an internal error; your track passes through unchanged"
        }
        Entry::Parameter | Entry::State => "A setting was lost in an internal error",
        Entry::Editor | Entry::Window | Entry::Drop => "The window stopped after an internal error",
    };
    format!("{stopped}. Remove Jamulet from the track and insert it again. ({}: {cause})", entry.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_contained_and_the_first_one_is_told() {
        let guard = Guard::default();
        assert_eq!(guard.run(Entry::Process, || 1, || 2), 2);
        assert_eq!(guard.fault(), None);
        assert_eq!(guard.run(Entry::Process, || 1, || panic!("first")), 1);
        assert_eq!(guard.run(Entry::Window, || 1, || panic!("second {}", 2)), 1);
        let fault = guard.fault().expect("a fault");
        assert!(fault.contains("first") && fault.contains("passes through"), "{fault}");
    }

    #[test]
    fn injection_hits_only_the_door_it_names() {
        for named in Entry::ALL {
            let guard = Guard::injecting(Some(named.name()));
            for entry in Entry::ALL {
                assert_eq!(guard.run(entry, || true, || false), entry == named);
                assert!(!guard.run(entry, || true, || false), "only once");
            }
        }
        assert_eq!(Guard::injecting(Some("nonsense")).injected.load(), None);
    }
}
