//! The tick's end: hands over sound and never waits.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rtrb::{Consumer, Producer};

use super::{Mark, Note, RecorderReport, Tell, What};
use crate::units::{ChannelId, FrameSize, Layout, WIRE_RATE_HZ};

/// Where the tap's side of the rings is.
pub(super) struct Ends {
    pub(super) notes: Producer<Note>,
    pub(super) marks: Producer<Mark>,
    pub(super) samples: Producer<f32>,
    pub(super) reports: Consumer<Tell>,
    /// Ticks that are complete.
    pub(super) ended: Arc<AtomicU64>,
}

/// The recorder as the core sees it: told who is there and what they play.
pub struct Tap {
    ends: Ends,
    slots: Box<[Slot]>,
    tick_samples: usize,
    is_enabled: bool,
    /// Counts starts, so that an old recording's failure does not end a new one.
    generation: u64,
    /// The tick that comes next.
    next_tick: u64,
    /// Not yet reported.
    failure: Option<&'static str>,
    /// Not yet reported.
    lost_frames: u64,
    /// No report of losses before this tick.
    losses_due: u64,
}

/// Who sits in a slot, and what of it is being recorded.
#[derive(Default)]
struct Slot {
    person: Option<Person>,
    layout: Option<Layout>,
}

struct Person {
    address: SocketAddr,
    name: String,
}

/// Room among the notes that is kept free, so that whatever happens the end of a recording can be told.
const STOP_SLOTS: usize = 1;
/// Notes did not fit.
const STUCK: &str = "The recording disk has not answered for too long: check it, then start recording again.";
/// The scribe is gone.
const GONE: &str = "The recorder has failed: restart the server to record again.";

impl Tap {
    pub(super) fn new(ends: Ends, tick: FrameSize, slots: usize) -> Self {
        Self {
            ends,
            slots: std::iter::repeat_with(Slot::default).take(slots).collect(),
            tick_samples: tick.samples(),
            is_enabled: false,
            generation: 0,
            next_tick: 0,
            failure: None,
            lost_frames: 0,
            losses_due: 0,
        }
    }

    /// Recording is on: a session runs, or begins when somebody plays.
    pub fn is_enabled(&self) -> bool {
        self.is_enabled
    }

    /// Turns recording on; nothing changes if it is on. Between ticks; `tick` comes next.
    pub fn start(&mut self, tick: u64) {
        self.next_tick = tick;
        if self.is_enabled {
            return;
        }
        // The start and everyone who is there have to fit, or somebody's file would lack its name.
        if self.ends.notes.slots() < 1 + self.slots.len() + STOP_SLOTS {
            self.failure = Some(STUCK);
            return;
        }
        self.generation += 1;
        self.is_enabled = true;
        self.tell(What::Start { generation: self.generation });
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            slot.layout = None;
            if let Some(Person { address, name }) = &slot.person {
                // Below `slots`, which is at most 150.
                let channel = ChannelId(index as u8);
                let join = What::Join { channel, address: *address, name: name.clone() };
                self.tell(join);
            }
        }
    }

    /// Turns recording off and ends the session. Between ticks; `tick` comes next.
    pub fn stop(&mut self, tick: u64) {
        self.next_tick = tick;
        if self.is_enabled {
            self.end();
        }
    }

    /// Ends the session and lets a new one begin; turns recording on if it is off. Between ticks; `tick` comes next.
    pub fn restart(&mut self, tick: u64) {
        self.stop(tick);
        self.start(tick);
    }

    /// Sets where the next session goes. Between ticks.
    pub fn set_directory(&mut self, directory: PathBuf) {
        self.tell(What::Directory(directory));
    }

    /// Somebody sits in `channel` now; told whether recording is on or not. Between ticks; `tick` comes next.
    pub fn join(&mut self, tick: u64, channel: ChannelId, address: SocketAddr, name: &str) {
        self.leave(tick, channel);
        let Some(slot) = self.slots.get_mut(channel.index()) else { return };
        *slot = Slot { person: Some(Person { address, name: name.to_owned() }), layout: None };
        if self.is_enabled {
            self.tell(What::Join { channel, address, name: name.to_owned() });
        }
    }

    /// Whoever sits in `channel` is called `name` now. Between ticks.
    pub fn rename(&mut self, channel: ChannelId, name: &str) {
        let slot = self.slots.get_mut(channel.index());
        let Some(person) = slot.and_then(|slot| slot.person.as_mut()).filter(|person| person.name != name)
        else {
            return;
        };
        name.clone_into(&mut person.name);
        if self.is_enabled {
            self.tell(What::Rename { channel, name: name.to_owned() });
        }
    }

    /// Nobody sits in `channel` any more. Between ticks; `tick` comes next: the stay ends there.
    pub fn leave(&mut self, tick: u64, channel: ChannelId) {
        self.next_tick = tick;
        let Some(slot) = self.slots.get_mut(channel.index()) else { return };
        let was_there = std::mem::take(slot).person.is_some();
        if was_there && self.is_enabled {
            self.tell(What::Leave { channel });
        }
    }

    /// The next thing that the recorder has to tell. Between ticks.
    pub fn poll_report(&mut self) -> Option<RecorderReport> {
        if self.is_enabled && self.ends.reports.is_abandoned() {
            self.is_enabled = false;
            self.failure = Some(GONE);
        }
        while let Ok(tell) = self.ends.reports.pop() {
            match tell {
                Tell::Began(folder) => return Some(RecorderReport::SessionBegan { folder }),
                Tell::Ended(folder) => return Some(RecorderReport::SessionEnded { folder }),
                Tell::Failed { generation, reason } if generation == self.generation && self.is_enabled => {
                    self.is_enabled = false;
                    return Some(RecorderReport::Stopped { reason });
                }
                // Stopped already, or started anew since.
                Tell::Failed { .. } => {}
            }
        }
        if let Some(reason) = self.failure.take() {
            return Some(RecorderReport::Stopped { reason: reason.to_owned() });
        }
        if self.lost_frames > 0 && self.next_tick >= self.losses_due {
            self.losses_due = self.next_tick + u64::from(WIRE_RATE_HZ) / self.tick_samples as u64;
            return Some(RecorderReport::LostFrames(std::mem::take(&mut self.lost_frames)));
        }
        None
    }

    /// Records a tick of a client's sound, interleaved in `layout`, ±1.0 is full scale: as it came, before
    /// anybody's fader and without the fade-in. To be called in every tick for every client that has a stream, before
    /// [`Self::end_tick`]. Realtime-safe.
    pub fn write(&mut self, tick: u64, channel: ChannelId, layout: Layout, samples: &[f32]) {
        self.next_tick = tick;
        let Some(slot) = self.slots.get_mut(channel.index()) else { return };
        let is_whole = samples.len() == layout.channels() * self.tick_samples;
        debug_assert!(is_whole, "one tick of {layout:?}, not {} values", samples.len());
        if !self.is_enabled || slot.person.is_none() || !is_whole {
            return;
        }
        if slot.layout != Some(layout) {
            slot.layout = Some(layout);
            self.tell(What::Sound { channel, layout });
        }
        let has_room = self.ends.marks.slots() > 0;
        if has_room && self.ends.samples.push_entire_slice(samples).is_ok() {
            // There is room, and nobody else writes.
            let _ = self.ends.marks.push(Mark { tick, channel, layout });
        } else {
            self.lost_frames += 1;
        }
    }

    /// Everyone's sound of `tick` has been written. Realtime-safe.
    pub fn end_tick(&mut self, tick: u64) {
        self.next_tick = tick + 1;
        // Whoever sees the count also sees what has been pushed before.
        self.ends.ended.store(tick + 1, Ordering::Release);
    }

    /// Sends a note, which stays in order with the ticks. Realtime-safe when the note is.
    fn tell(&mut self, what: What) {
        if self.ends.notes.slots() > STOP_SLOTS {
            self.push(what);
            return;
        }
        self.failure = Some(STUCK);
        if self.is_enabled {
            // A leave may be what did not fit: nothing after this moment could be trusted.
            self.end();
        }
    }

    /// Recording is off from the tick that comes next. Realtime-safe.
    fn end(&mut self) {
        self.is_enabled = false;
        self.push(What::Stop);
    }

    fn push(&mut self, what: What) {
        // There is room, and nobody else writes.
        let _ = self.ends.notes.push(Note { tick: self.next_tick, what });
    }
}
