//! The window's and the parameters' end of a client: commands in, one snapshot out.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use crossbeam::channel::Sender;
#[expect(
    clippy::disallowed_types,
    reason = "windows and the network thread meet here, never the audio thread"
)]
use parking_lot::Mutex;

use super::mix_memory::Remembered;
use super::mixer::Move;
use super::pump::Command;
use super::shared::Shared;
use super::{Settings, Snapshot};
use crate::net::Waker;
use crate::units::ChannelId;

/// One client. Cheap to clone; every method may be called from any thread but the audio thread,
/// except where it is said to be realtime-safe.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    waker: Waker,
    commands: Sender<Command>,
    notify: Arc<Notify>,
    _lifeline: Arc<Lifeline>,
}

/// Peak levels since they were last read, linear, 1.0 = 0 dBFS.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MeterReading {
    /// What is sent, left and right (equal for mono).
    pub send: [f32; 2],
    /// What comes back, left and right (equal for mono).
    pub receive: [f32; 2],
}

impl Handle {
    pub(super) fn new(
        shared: Arc<Shared>,
        waker: Waker,
        commands: Sender<Command>,
        notify: Arc<Notify>,
        lifeline: Arc<Lifeline>,
    ) -> Self {
        Self { shared, waker, commands, notify, _lifeline: lifeline }
    }

    /// Connects to `address` as typed (`host`, `host:port`, `[v6]:port`); leaves any other server first.
    /// Problems appear in the snapshot's state.
    pub fn connect(&self, address: &str) {
        self.command(Command::Connect(address.to_owned()));
    }

    /// Remembers `address` for [`Self::set_intent`], and shows it in the snapshot.
    pub fn set_address(&self, address: &str) {
        self.command(Command::SetAddress(address.to_owned()));
    }

    /// Leaves the session; the snapshot goes to `Idle`.
    pub fn disconnect(&self) {
        self.command(Command::Disconnect);
    }

    /// What the Connect parameter says: connects to the address that was last set, or leaves.
    /// Realtime-safe: one atomic and one wake-up.
    pub fn set_intent(&self, connect: bool) {
        self.shared.set_intent(connect);
        self.waker.wake();
    }

    /// Takes over changed settings; only what differs has an effect.
    pub fn set_settings(&self, settings: &Settings) {
        self.command(Command::Settings(settings.clone()));
    }

    /// Says something to everyone (plain text, cut to [`crate::units::MAX_CHAT_INPUT_UNITS`]).
    pub fn chat(&self, text: &str) {
        self.command(Command::Chat(text.to_owned()));
    }

    /// Hears `channel` otherwise. A fader takes the others of its group along by as much; who reaches an end on the
    /// way keeps the distance to them for the way back.
    pub fn move_strip(&self, channel: ChannelId, action: Move) {
        self.command(Command::Move(channel, action));
    }

    /// Puts the fader of `channel`, and of no other in its group, at `0.0..=100.0` (see [`super::FADER_MAX`]).
    pub fn set_fader_alone(&self, channel: ChannelId, fader: f32) {
        self.command(Command::MoveAlone(channel, fader));
    }

    /// Puts `channel` into a group, `1..=8` (see [`super::GROUPS`]), or none; other numbers are ignored.
    pub fn set_group(&self, channel: ChannelId, group: Option<u8>) {
        self.command(Command::Group(channel, group));
    }

    /// How people were heard before, latest first: whoever of them joins is heard as then.
    pub fn recall(&self, memory: Vec<Remembered>) {
        self.command(Command::Recall(memory));
    }

    /// What a parameter of a slot says: it acts on whoever is there now. Realtime-safe: two atomics.
    pub fn move_slot(&self, slot: usize, action: Move) {
        self.shared.slot_moves.note(slot, action);
    }

    /// The licence was accepted: sound may be sent.
    pub fn accept_licence(&self) {
        self.command(Command::AcceptLicence);
    }

    /// The user has taken the session out of the track's input: sound may be sent again. See
    /// [`Snapshot::feedback`].
    pub fn send_again(&self) {
        self.command(Command::SendAgain);
    }

    /// The picture of now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshot.load_full()
    }

    /// Peaks since the last call.
    pub fn take_meters(&self) -> MeterReading {
        self.shared.take_meters()
    }

    /// Calls `notify` after every new snapshot, from the network thread; it must not block. `None` ends it.
    pub fn set_notify(&self, notify: Option<Box<dyn Fn() + Send + Sync>>) {
        *self.notify.0.lock() = notify;
    }

    /// Records a contained panic: the engine passes dry sound, the snapshot says `sentence`.
    pub fn report_fault(&self, sentence: &str) {
        self.shared.faulted.store(true, Ordering::Release);
        let mut snapshot = (*self.snapshot()).clone();
        snapshot.fault = Some(sentence.to_owned());
        self.shared.snapshot.store(Arc::new(snapshot));
        self.command(Command::Fault(sentence.to_owned()));
        self.notify.call();
    }

    /// For tests of what happens then: the network thread panics.
    #[doc(hidden)]
    pub fn panic_network_thread(&self) {
        self.command(Command::Panic);
    }

    fn command(&self, command: Command) {
        // It fails only when the network thread is gone, which the snapshot tells as a fault.
        let _ = self.commands.send(command);
        self.waker.wake();
    }
}

/// Who wants to know about new snapshots.
#[derive(Default)]
#[expect(
    clippy::disallowed_types,
    reason = "windows and the network thread meet here, never the audio thread"
)]
pub(super) struct Notify(Mutex<Option<Box<dyn Fn() + Send + Sync>>>);

impl Notify {
    pub(super) fn call(&self) {
        if let Some(notify) = &*self.0.lock() {
            notify();
        }
    }
}

/// Held by the engine and every handle: when the last one goes, the session is left and the network thread ends.
pub(super) struct Lifeline {
    commands: Sender<Command>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl Lifeline {
    pub(super) fn new(commands: Sender<Command>, waker: Waker, thread: Option<JoinHandle<()>>) -> Self {
        Self { commands, waker, thread }
    }
}

impl Drop for Lifeline {
    /// Waits for the thread, which takes at most [`super::driver::GOODBYE`]: a host may unload us right after.
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Shutdown);
        self.waker.wake();
        // The last owner may be what the network thread itself calls after a new snapshot.
        if let Some(thread) =
            self.thread.take().filter(|thread| thread.thread().id() != std::thread::current().id())
        {
            let _ = thread.join();
        }
    }
}
