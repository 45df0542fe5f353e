//! The tick's end: hands over sound and never waits.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rtrb::{Consumer, Producer};

use super::{Mark, Note, RecorderReport, Tell, What};
use crate::units::{ChannelId, FrameSize, Layout};

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
    /// Slots whose client the scribe knows.
    told: usize,
    /// Where the next session goes; not yet told.
    directory: Option<PathBuf>,
    /// Not yet reported.
    failure: Option<&'static str>,
    /// Not yet reported.
    lost_frames: u64,
}

/// Who sits in a slot, and what of it is being recorded.
#[derive(Default)]
struct Slot {
    person: Option<Person>,
    /// The scribe knows the person.
    is_told: bool,
    /// The scribe knows the person by another name.
    is_renamed: bool,
    layout: Option<Layout>,
}

struct Person {
    address: SocketAddr,
    name: String,
    /// The name once more, for the scribe: the tick, which tells of a person, must not allocate.
    spare: String,
}

/// Room among the notes that is kept free beside a leave for everyone the scribe knows, so that whatever happens the
/// end of a recording can be told.
const STOP_SLOTS: usize = 1;
/// The start did not fit.
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
            told: 0,
            directory: None,
            failure: None,
            lost_frames: 0,
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
        self.told = 0;
        self.tell_directory();
        if self.directory.is_some() || !self.has_room(1) {
            self.failure = Some(STUCK);
            return;
        }
        self.generation += 1;
        self.is_enabled = true;
        self.push(What::Start { generation: self.generation });
        for slot in &mut self.slots {
            (slot.is_told, slot.is_renamed, slot.layout) = (false, false, None);
            if let Some(person) = &mut slot.person {
                person.spare.clone_from(&person.name);
            }
        }
    }

    /// Turns recording off and ends the session. Between ticks; `tick` comes next.
    pub fn stop(&mut self, tick: u64) {
        self.next_tick = tick;
        if self.is_enabled {
            // Takes the room of leaves that are not told any more.
            self.tell_names(STOP_SLOTS);
            (self.is_enabled, self.told) = (false, 0);
            self.push(What::Stop);
        }
    }

    /// Ends the session and lets a new one begin; turns recording on if it is off. Between ticks; `tick` comes next.
    pub fn restart(&mut self, tick: u64) {
        self.stop(tick);
        self.start(tick);
    }

    /// Sets where the next session goes. Between ticks.
    pub fn set_directory(&mut self, directory: PathBuf) {
        self.directory = Some(directory);
        self.tell_directory();
    }

    /// Somebody sits in `channel` now; told whether recording is on or not. Between ticks; `tick` comes next.
    pub fn join(&mut self, tick: u64, channel: ChannelId, address: SocketAddr, name: &str) {
        self.leave(tick, channel);
        let Some(slot) = self.slots.get_mut(channel.index()) else { return };
        let person = Person { address, name: name.to_owned(), spare: name.to_owned() };
        *slot = Slot { person: Some(person), ..Slot::default() };
    }

    /// Whoever sits in `channel` is called `name` now. Between ticks. The scribe is told at the next
    /// [`Self::poll_report`]: however often somebody takes another name, the last one counts.
    pub fn rename(&mut self, channel: ChannelId, name: &str) {
        let Some(slot) = self.slots.get_mut(channel.index()) else { return };
        let Some(person) = slot.person.as_mut().filter(|person| person.name != name) else { return };
        name.clone_into(&mut person.name);
        if slot.is_told {
            slot.is_renamed = true;
        } else {
            name.clone_into(&mut person.spare);
        }
    }

    /// Nobody sits in `channel` any more. Between ticks; `tick` comes next: the stay ends there.
    pub fn leave(&mut self, tick: u64, channel: ChannelId) {
        self.next_tick = tick;
        let Some(slot) = self.slots.get_mut(channel.index()) else { return };
        let Slot { person, is_told, is_renamed, .. } = std::mem::take(slot);
        if is_told && self.is_enabled {
            // Room for it has been kept since the join.
            self.told -= 1;
            self.push(What::Leave {
                channel,
                last_name: person.filter(|_| is_renamed).map(|person| person.name),
            });
        }
    }

    /// The next thing that the recorder has to tell. Between ticks.
    pub fn poll_report(&mut self) -> Option<RecorderReport> {
        self.tell_directory();
        if self.is_enabled {
            self.tell_names(self.told + STOP_SLOTS);
        }
        if self.is_enabled && self.ends.reports.is_abandoned() {
            self.is_enabled = false;
            self.failure = Some(GONE);
        }
        while let Ok(tell) = self.ends.reports.pop() {
            match tell {
                Tell::Began(folder) => return Some(RecorderReport::SessionBegan { folder }),
                Tell::Ended(folder) => return Some(RecorderReport::SessionEnded { folder }),
                Tell::Warning(reason) => return Some(RecorderReport::Warning { reason }),
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
        let lost = std::mem::take(&mut self.lost_frames);
        (lost > 0).then_some(RecorderReport::LostFrames(lost))
    }

    /// Records a tick of a client's sound, interleaved in `layout`, ±1.0 is full scale: as it came, before
    /// anybody's fader and without the fade-in. To be called in every tick for every client that has a stream
    /// and infos, before [`Self::end_tick`]. Realtime-safe.
    pub fn write(&mut self, tick: u64, channel: ChannelId, layout: Layout, samples: &[f32]) {
        self.next_tick = tick;
        let Some(slot) = self.slots.get_mut(channel.index()) else { return };
        let is_whole = samples.len() == layout.channels() * self.tick_samples;
        debug_assert!(is_whole, "one tick of {layout:?}, not {} values", samples.len());
        if !self.is_enabled || slot.person.is_none() || !is_whole {
            return;
        }
        let is_known = self.tell_sound(channel, layout);
        let has_room = is_known && self.ends.marks.slots() > 0;
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

    /// Makes sure that the scribe knows who sits in `channel` and in which layout sound comes from there; `false` when
    /// that has to wait for room. Realtime-safe.
    fn tell_sound(&mut self, channel: ChannelId, layout: Layout) -> bool {
        let slot = &self.slots[channel.index()];
        let is_new = !slot.is_told;
        if !is_new && slot.layout == Some(layout) {
            return true;
        }
        // Join, sound, and in the end leave.
        if !self.has_room(if is_new { 3 } else { 1 }) {
            return false;
        }
        let slot = &mut self.slots[channel.index()];
        slot.layout = Some(layout);
        if let Some(person) = slot.person.as_mut().filter(|_| is_new) {
            slot.is_told = true;
            let join =
                What::Join { channel, address: person.address, name: std::mem::take(&mut person.spare) };
            self.told += 1;
            self.push(join);
        }
        self.push(What::Sound { channel, layout });
        true
    }

    /// Tells the scribe all names that it does not know yet, as long as `kept` notes still fit.
    fn tell_names(&mut self, kept: usize) {
        for index in 0..self.slots.len() {
            let room = self.ends.notes.slots();
            let slot = &mut self.slots[index];
            if let Some(person) = slot.person.as_ref().filter(|_| slot.is_renamed && room > kept) {
                slot.is_renamed = false;
                // Below `slots`, which is at most 150.
                let rename = What::Rename { channel: ChannelId(index as u8), name: person.name.clone() };
                self.push(rename);
            }
        }
    }

    /// Tells the scribe where the next session goes, or does so later.
    fn tell_directory(&mut self) {
        if self.has_room(1)
            && let Some(directory) = self.directory.take()
        {
            self.push(What::Directory(directory));
        }
    }

    /// So many notes fit beside those for which room is kept.
    fn has_room(&self, notes: usize) -> bool {
        self.ends.notes.slots() >= notes + self.told + STOP_SLOTS
    }

    /// Sends a note, which stays in order with the ticks. Realtime-safe when the note is.
    fn push(&mut self, what: What) {
        // There is room, and nobody else writes.
        let _ = self.ends.notes.push(Note { tick: self.next_tick, what });
    }
}
