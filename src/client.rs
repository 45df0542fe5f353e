//! The client without a host or a window.
//!
//! [`Engine`] is the audio half, [`Pump`] the pure network half, the driver thread the door between
//! `Pump` and the sockets, [`Handle`] and [`Snapshot`] what windows and parameters use. [`create`]
//! makes a running client; [`simulated`] one without thread or socket, for tests on a virtual clock.

mod align;
mod delay;
mod drift;
mod driver;
mod engine;
mod feedback;
mod finder;
mod handle;
mod host_watch;
mod jam;
mod look_up;
mod mix_memory;
mod mixer;
mod pacer;
mod place;
mod pump;
mod reconnect;
mod settings;
mod shared;
mod slot_moves;
mod snapshot;
mod stream;

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam::channel::{Sender, unbounded};
use rtrb::RingBuffer;

pub use delay::Delay;
pub use engine::{Controls, Engine, ExtraOutputs, Output};
pub use finder::{Finder, Found, PUBLIC_DIRECTORIES, Search};
pub use handle::{Handle, MeterReading};
pub use mix_memory::{MAX_REMEMBERED, Remembered, remember};
pub use mixer::{FADER_MAX, GROUPS, Move, SLOTS, Strip};
pub use pump::{Effect, Pump};
pub use settings::{BufferSettings, FrameChoice, Profile, Settings, StreamSettings};
pub use snapshot::*;

pub use crate::session::{ListState, ServerFacts};

use crate::net::{Waiter, Waker};
use driver::Driver;
use engine::EngineLinks;
use feedback::Ear;
use handle::{Lifeline, Notify};
use pump::{Command, PumpLinks};
use shared::Shared;

/// Frames between the threads: more than the largest block makes, and a good while of a stalled host.
const RING_FRAMES: usize = 512;
/// Frames on their way to be compared: those of the largest block, sent and played.
const RING_TRACES: usize = 1024;
/// Streams on their way to the engine.
const RING_STREAMS: usize = 4;

/// Makes a client with its network thread. When the last of the engine and all handles is dropped,
/// the session is left (which takes up to 0.4 s) and the thread ends.
///
/// When the system gives no thread the client is made all the same: it passes the track's own sound, and
/// its snapshot says why.
pub fn create(settings: Settings) -> (Handle, Engine) {
    let waiter = Waiter::new();
    let waker = waiter.as_ref().map_or_else(|_| Waker::inert(), Waiter::waker);
    let (parts, pump) = Parts::new(waker, settings);
    let (shared, notify) = (Arc::clone(&parts.shared), Arc::clone(&parts.notify));
    let thread = waiter.and_then(|waiter| {
        let driver = Driver { waiter, pump, shared, notify };
        std::thread::Builder::new().name("jamulet-net".to_owned()).spawn(move || driver.run())
    });
    if let Err(error) = &thread {
        let sentence = format!(
            "The system refused a network thread ({error}). Close other programs and load Jamulet again."
        );
        parts.shared.snapshot.store(Arc::new(Snapshot { fault: Some(sentence), ..Snapshot::default() }));
    }
    parts.join(thread.ok())
}

/// Makes a client without thread, socket or clock: the caller moves time and datagrams through the [`Pump`].
pub fn simulated(settings: Settings) -> (Handle, Engine, Pump) {
    let (parts, pump) = Parts::new(Waker::inert(), settings);
    let (handle, engine) = parts.join(None);
    (handle, engine, pump)
}

/// What handle and engine are made of, before the thread is known.
struct Parts {
    shared: Arc<Shared>,
    waker: Waker,
    commands: Sender<Command>,
    notify: Arc<Notify>,
    engine_links: EngineLinks,
    ear: Ear,
}

impl Parts {
    fn new(waker: Waker, settings: Settings) -> (Self, Pump) {
        let shared = Shared::new();
        let (commands, command_receiver) = unbounded();
        let (uplink, uplink_out) = RingBuffer::new(RING_FRAMES);
        let (downlink_in, downlink) = RingBuffer::new(RING_FRAMES);
        let (streams_in, streams) = RingBuffer::new(RING_STREAMS);
        let (traces, traces_out) = RingBuffer::new(RING_TRACES);
        // Every stream under way, the one in use and one being exchanged.
        let (retired, retired_out) = RingBuffer::new(RING_STREAMS + 2);
        let (points, points_out) = RingBuffer::new(feedback::RING_POINTS);
        let pump_links = PumpLinks {
            uplink: uplink_out,
            downlink: downlink_in,
            streams: streams_in,
            retired: retired_out,
            traces: traces_out,
            points: points_out,
        };
        let pump = Pump::new(Arc::clone(&shared), pump_links, command_receiver, settings);
        let engine_links = EngineLinks { uplink, downlink, streams, retired, traces };
        let ear = Ear::new(points, engine::DEFAULT_RATE_HZ);
        (Self { shared, waker, commands, notify: Arc::default(), engine_links, ear }, pump)
    }

    fn join(self, thread: Option<JoinHandle<()>>) -> (Handle, Engine) {
        let Self { shared, waker, commands, notify, engine_links, ear } = self;
        let lifeline = Arc::new(Lifeline::new(commands.clone(), waker.clone(), thread));
        let engine =
            Engine::new(Arc::clone(&shared), waker.clone(), engine_links, ear, Arc::clone(&lifeline));
        (Handle::new(shared, waker, commands, notify, lifeline), engine)
    }
}
