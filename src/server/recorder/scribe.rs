//! The file-writing end: puts notes and sound back into order, tick by tick.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rtrb::{Consumer, Producer};

use super::session::Session;
use super::{Mark, Note, RecorderOptions, Tell, What};
use crate::units::{ChannelId, FrameSize, Layout, MAX_CHANNELS, MAX_FRAME_SAMPLES, Time};

/// Sound is in the files this long after it came, at the latest; with the pause between two turns of work it is
/// what a killed server loses.
const FLUSH_INTERVAL: Duration = Duration::from_millis(400);
/// Free space is looked at, and the projects get the lengths of now, this often.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// A session with more stays is ended, and another one begins: projects stay readable, and whoever joins and
/// leaves without end costs no more than disk space.
const MAX_STAYS: usize = 2000;
/// Reports that wait while nobody takes them; the oldest are dropped.
const MAX_WAITING_REPORTS: usize = 1024;

/// Where the scribe's side of the rings is.
pub(super) struct Ends {
    pub(super) notes: Consumer<Note>,
    pub(super) marks: Consumer<Mark>,
    pub(super) samples: Consumer<f32>,
    pub(super) reports: Producer<Tell>,
    /// Ticks that are complete.
    pub(super) ended: Arc<AtomicU64>,
}

/// Why recording had to stop. `Display` is one sentence for admin and clients.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("The recording disk has less than {} free: make room, then start recording again.", size(*.0))]
    LowSpace(u64),
    #[error("A recording cannot be written ({0}): check the recording folder, then start recording again.")]
    Io(#[from] io::Error),
}

/// The projects of a session cannot be written: its sound still is.
#[derive(Debug, thiserror::Error)]
#[error("The projects of a recording cannot be written ({0}): its sound is recorded all the same.")]
struct NoProjects(io::Error);

/// Writes the files of a recorder. File errors end the recording, never more.
pub struct Scribe {
    ends: Ends,
    options: RecorderOptions,
    tick: FrameSize,
    /// The tick that is to be recorded next.
    next_tick: u64,
    /// What the tap calls the recording that is on.
    generation: Option<u64>,
    people: Box<[Option<Person>]>,
    session: Option<Session>,
    /// That the projects of this session cannot be written has been told.
    has_complained: bool,
    reports: VecDeque<Tell>,
    moment: Moment,
    flush_due: Time,
    check_due: Time,
}

/// Somebody who is there, and the layout of the sound that is coming from there.
struct Person {
    address: SocketAddr,
    name: String,
    layout: Option<Layout>,
}

/// What time it is in the tick that comes next.
#[derive(Clone, Copy, Default)]
struct Moment {
    now: Time,
    utc: Timestamp,
    tick: u64,
}

impl Scribe {
    pub(super) fn new(ends: Ends, options: RecorderOptions, tick: FrameSize) -> Self {
        Self {
            ends,
            options,
            tick,
            next_tick: 0,
            generation: None,
            people: std::iter::repeat_with(|| None).take(MAX_CHANNELS).collect(),
            session: None,
            has_complained: false,
            reports: VecDeque::new(),
            moment: Moment::default(),
            flush_due: Time::ZERO,
            check_due: Time::ZERO,
        }
    }

    /// Takes everything that is there, and writes what is due. To be called about every 50 ms.
    pub fn work(&mut self, now: Time, utc: Timestamp) {
        // Read first: whatever belongs to these ticks is in the rings by now.
        let ended = self.ends.ended.load(Ordering::Acquire);
        self.moment = Moment { now, utc, tick: ended };
        self.catch_up(ended);
        let result = self.do_what_is_due();
        self.check(result);
        self.hand_out_reports();
    }

    /// Takes everything that is there, and completes all files.
    pub fn finish(&mut self) {
        let ended = self.ends.ended.load(Ordering::Acquire);
        self.moment.tick = ended;
        self.catch_up(ended);
        self.end_session();
        self.hand_out_reports();
    }

    fn catch_up(&mut self, ended: u64) {
        while self.next_tick < ended {
            self.skip_idle_ticks(ended);
            self.take_notes(self.next_tick);
            if self.next_tick < ended {
                let result = self.record_tick();
                self.check(result);
                self.next_tick += 1;
            }
        }
        // Between the last tick and the next one.
        self.take_notes(ended);
    }

    /// Without a session nothing has to be written for ticks from which nothing came.
    fn skip_idle_ticks(&mut self, ended: u64) {
        if self.session.is_none() {
            let note = self.ends.notes.peek().map_or(ended, |note| note.tick);
            let mark = self.ends.marks.peek().map_or(ended, |mark| mark.tick);
            self.next_tick = self.next_tick.max(note.min(mark).min(ended));
        }
    }

    /// Everything that comes before the sound of `tick`.
    fn take_notes(&mut self, tick: u64) {
        while self.ends.notes.peek().is_ok_and(|note| note.tick <= tick) {
            let Ok(note) = self.ends.notes.pop() else { break };
            let result = self.take_note(note.what);
            self.check(result);
        }
        if self.session.as_ref().is_some_and(Session::is_empty) {
            self.end_session();
        }
    }

    fn take_note(&mut self, what: What) -> Result<(), Failure> {
        match what {
            What::Start { generation } => {
                self.generation = Some(generation);
                self.people.fill_with(|| None);
            }
            What::Stop => {
                self.end_session();
                self.generation = None;
            }
            What::Directory(directory) => self.options.directory = directory,
            What::Join { channel, address, name } => {
                *self.person(channel) = Some(Person { address, name, layout: None });
            }
            What::Rename { channel, name } => {
                if let Some(session) = &mut self.session {
                    session.rename(channel, &name);
                }
                if let Some(person) = self.person(channel) {
                    person.name = name;
                }
            }
            What::Sound { channel, layout } => {
                if let Some(person) = self.person(channel) {
                    person.layout = Some(layout);
                }
                self.begin_track(channel)?;
            }
            What::Leave { channel, last_name } => {
                *self.person(channel) = None;
                if let Some(session) = &mut self.session {
                    if let Some(name) = last_name {
                        session.rename(channel, &name);
                    }
                    session.remove(channel)?;
                }
            }
        }
        Ok(())
    }

    /// The tap names only channels of its slots.
    fn person(&mut self, channel: ChannelId) -> &mut Option<Person> {
        &mut self.people[channel.index()]
    }

    /// Somebody's sound begins, or goes on in another layout.
    fn begin_track(&mut self, channel: ChannelId) -> Result<(), Failure> {
        if self.generation.is_none() {
            return Ok(());
        }
        if self.session.as_ref().is_some_and(|session| session.stays() >= MAX_STAYS) {
            self.end_session();
        }
        match &mut self.session {
            Some(session) => {
                session.remove(channel)?;
                add(session, channel, &self.people[channel.index()])
            }
            None => self.begin_session(),
        }
    }

    /// Begins a session with everyone who is heard.
    fn begin_session(&mut self) -> Result<(), Failure> {
        let utc = self.utc_of_next_tick();
        let RecorderOptions { directory, format, min_free_bytes } = &self.options;
        // Before the session's folder: what has no room leaves no empty folders behind.
        std::fs::create_dir_all(directory)?;
        check_space(directory, *min_free_bytes)?;
        let session = Session::begin(directory, *format, self.tick.samples(), utc)?;
        let began = Tell::Began(session.folder().to_owned());
        self.has_complained = false;
        let session = self.session.insert(session);
        let result = self.people.iter().enumerate().try_for_each(|(index, person)| {
            // Below MAX_CHANNELS.
            add(session, ChannelId(index as u8), person)
        });
        // What has come before this turn is in the files after it.
        self.flush_due = self.moment.now;
        self.check_due = self.moment.now + CHECK_INTERVAL;
        self.report(began);
        result
    }

    fn utc_of_next_tick(&self) -> Timestamp {
        let Moment { utc, tick, .. } = self.moment;
        let ago = tick.saturating_sub(self.next_tick).saturating_mul(self.tick.nanos());
        let ago = SignedDuration::from_nanos(i64::try_from(ago).unwrap_or(0));
        utc.checked_sub(ago).unwrap_or(utc)
    }

    fn end_session(&mut self) {
        if let Some(mut session) = self.session.take() {
            let folder = session.folder().to_owned();
            let written = session.write_projects();
            self.complain(written);
            let result = session.finish();
            self.report(Tell::Ended(folder));
            self.check(result.map_err(Failure::from));
        }
    }

    /// Takes the marks of the tick that is due with their sound.
    fn record_tick(&mut self) -> Result<(), Failure> {
        let mut result = Ok(());
        let mut sound = [0.0; 2 * MAX_FRAME_SAMPLES];
        while self.ends.marks.peek().is_ok_and(|mark| mark.tick <= self.next_tick) {
            let Ok(mark) = self.ends.marks.pop() else { break };
            let sound = &mut sound[..mark.layout.channels() * self.tick.samples()];
            // Pushed before the mark.
            let is_there = self.ends.samples.pop_entire_slice(sound).is_ok();
            if let Some(session) = self.session.as_mut().filter(|_| is_there && mark.tick == self.next_tick) {
                result = result.and(session.write(mark.channel, mark.layout, sound));
            }
        }
        if let Some(session) = &mut self.session {
            result = result.and(session.end_tick());
        }
        Ok(result?)
    }

    fn do_what_is_due(&mut self) -> Result<(), Failure> {
        let now = self.moment.now;
        let is_flush_due = now >= self.flush_due;
        let is_check_due = now >= self.check_due;
        let Some(session) = &mut self.session else { return Ok(()) };
        if is_flush_due {
            self.flush_due = now + FLUSH_INTERVAL;
            session.flush()?;
        }
        if !is_check_due {
            let written = session.write_changes();
            self.complain(written);
            return Ok(());
        }
        self.check_due = now + CHECK_INTERVAL;
        let written = session.write_projects();
        // Where the sound goes now: the next session may go elsewhere.
        let space = check_space(session.folder(), self.options.min_free_bytes);
        self.complain(written);
        space
    }

    /// Ends the recording if something went wrong; it is off until it is started again.
    fn check(&mut self, result: Result<(), Failure>) {
        let Err(failure) = result else { return };
        // Off first: that not everything can be finished now is no news.
        let generation = self.generation.take();
        self.end_session();
        if let Some(generation) = generation {
            self.report(Tell::Failed { generation, reason: failure.to_string() });
        }
    }

    /// Projects that cannot be written are tried again every second; told once a session.
    fn complain(&mut self, written: io::Result<()>) {
        if let Err(error) = written
            && !self.has_complained
        {
            self.has_complained = true;
            self.report(Tell::Warning(NoProjects(error).to_string()));
        }
    }

    fn report(&mut self, tell: Tell) {
        if self.reports.len() == MAX_WAITING_REPORTS {
            self.reports.pop_front();
        }
        self.reports.push_back(tell);
    }

    fn hand_out_reports(&mut self) {
        while !self.ends.reports.is_full()
            && let Some(tell) = self.reports.pop_front()
        {
            // There is room, and nobody else writes.
            let _ = self.ends.reports.push(tell);
        }
    }
}

fn check_space(folder: &Path, min_free_bytes: u64) -> Result<(), Failure> {
    // A file system that cannot tell will say so when it is full.
    match fs4::available_space(folder) {
        Ok(free) if free < min_free_bytes => Err(Failure::LowSpace(min_free_bytes)),
        _ => Ok(()),
    }
}

/// Records `person` from the next tick on if there is sound from it.
fn add(session: &mut Session, channel: ChannelId, person: &Option<Person>) -> Result<(), Failure> {
    if let Some(Person { address, name, layout: Some(layout) }) = person {
        session.add(channel, *address, name, *layout)?;
    }
    Ok(())
}

/// Bytes as people read them.
fn size(bytes: u64) -> String {
    match bytes {
        0..0x10_0000 => format!("{bytes} bytes"),
        _ => format!("{} MiB", bytes >> 20),
    }
}
