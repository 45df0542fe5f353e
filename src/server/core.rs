//! The whole server without clock, socket or thread.
//!
//! After any call that may have changed something, drain [`Core::drain_transmits`] and
//! [`Core::poll_event`]. Same inputs, same outputs.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use crate::audio::FlushDenormals;
use crate::protocol::{
    ConnlessMessage, Datagram, FRAME_OVERHEAD_BYTES, Frame, Message, classify, is_connless,
};
use crate::units::{ChannelId, FrameSize, Time};

use super::allowance::Allowance;
use super::channel::{Channel, Request};
use super::chat::{WallTime, chat_line};
use super::config::Config;
use super::connless::AnswerBudget;
use super::directories::Directories;
use super::doorman::{Doorman, Verdict};
use super::event::{Event, LeaveReason};
use super::greeting::{GreetingWords, VERSION_TEXT, our_os};
use super::mixer::Mixer;
use super::outbox::Outbox;
use super::roster::Roster;
use super::status::{Counters, DropReason};

mod admin;
mod listing;
mod recording;

pub(super) use listing::DirectoryTask;
use recording::Recording;

/// Levels go to everyone this often. Source: docs/PROTOCOL.md §4.
const LEVEL_INTERVAL: Duration = Duration::from_millis(269);
/// Client lists for everyone at once, and the pace of more: on a full server each is a message for 150 clients, and
/// one client could have them sent as fast as it can change its name.
const LISTS_AT_ONCE: u32 = 8;
const LIST_PACE: Duration = Duration::from_millis(50);
/// Events kept for a driver that does not fetch them; older ones are dropped.
const MAX_WAITING_EVENTS: usize = 1024;

/// A server: who is there, what they say, and their mixes.
pub struct Core {
    config: Config,
    roster: Roster,
    mixer: Mixer,
    outbox: Outbox,
    doorman: Doorman,
    recording: Recording,
    /// `None` until [`Self::go_public`].
    directories: Option<Directories>,
    /// What the driver has to do for them: at most one look-up for each question of theirs.
    directory_tasks: VecDeque<DirectoryTask>,
    events: VecDeque<Event>,
    budget: AnswerBudget,
    wall_time: WallTime,
    /// While somebody is there.
    levels_due: Option<Time>,
    started: Time,
    /// What is counted here; the rest is collected when somebody asks.
    counters: Counters,
    /// Lost frames as told last: see [`Self::status`].
    lost_told: u64,
    list_allowance: Allowance,
    /// The client list has changed and could not be sent at once.
    list_due: Option<Time>,
    random: u64,
}

impl Core {
    /// An empty server that starts now. Everything random comes from `seed`. Values of `config` beyond their
    /// limits are clamped.
    pub fn new(now: Time, config: Config, seed: u64) -> Self {
        let config = config.clamped();
        Self {
            roster: Roster::new(config.max_clients),
            mixer: Mixer::new(config.max_clients, config.frame.samples(), config.delay_pan),
            outbox: Outbox::new(),
            doorman: Doorman::default(),
            recording: Recording::default(),
            directories: None,
            directory_tasks: VecDeque::new(),
            events: VecDeque::new(),
            budget: AnswerBudget::new(now),
            wall_time: WallTime::default(),
            levels_due: None,
            started: now,
            counters: Counters::default(),
            lost_told: 0,
            list_allowance: Allowance::new(LISTS_AT_ONCE, LIST_PACE),
            list_due: None,
            random: seed,
            config,
        }
    }

    /// Samples per tick.
    pub fn frame(&self) -> FrameSize {
        self.config.frame
    }

    /// Slots, taken or not.
    pub fn slots(&self) -> usize {
        self.config.max_clients
    }

    /// Taken slots, those of clients that are still being greeted included.
    pub fn clients(&self) -> usize {
        self.roster.len()
    }

    /// Nobody is there: ticks may pause.
    pub fn is_empty(&self) -> bool {
        self.clients() == 0
    }

    /// Tells the time of day for chat lines.
    pub fn set_wall_time(&mut self, time: WallTime) {
        self.wall_time = time;
    }

    /// Takes a datagram from anyone, of any content. Realtime-safe for audio of clients; joining and messages
    /// may allocate.
    pub fn handle_datagram(&mut self, now: Time, from: SocketAddr, datagram: &[u8]) {
        self.counters.traffic.count_in(datagram.len());
        if datagram.is_empty() {
            return;
        }
        match self.doorman.verdict(now, from) {
            Verdict::Pass => {}
            Verdict::SayFarewell => return self.say_farewell(from, datagram),
            Verdict::Drop => return self.count_drop(DropReason::Banned),
        }
        match classify(datagram) {
            Datagram::Audio(packet) => self.handle_audio(now, from, packet),
            Datagram::Frame(frame) if is_connless(frame.id) => self.handle_connless(now, from, &frame),
            Datagram::Frame(frame) => self.handle_message(now, from, &frame),
        }
    }

    /// Mixes one tick: [`Self::frame`] samples from and to everyone. Realtime-safe.
    pub fn tick(&mut self) {
        let _flush = FlushDenormals::new();
        let tick = self.counters.ticks;
        let mut tap = self.recording.tap();
        for channel in self.roster.iter_mut() {
            let id = channel.id();
            let sound = channel.pull(self.mixer.source(id.index()));
            if let (Some(tap), Some((layout, samples))) = (&mut tap, sound) {
                tap.write(tick, id, layout, samples);
            }
        }
        if let Some(tap) = tap {
            tap.end_tick(tick);
        }
        for channel in self.roster.iter_mut() {
            let address = channel.address();
            channel.push(&mut self.mixer, |packet| self.outbox.push_audio(address, packet));
        }
        self.counters.ticks += 1;
    }

    /// Does what is due: resends, timeouts, level lists.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some(lost) = self.find_expired(now) {
            self.leave(now, lost, LeaveReason::TimedOut);
        }
        for channel in self.roster.iter_mut() {
            channel.handle_timeout(now);
        }
        if let Some(due) = self.levels_due.filter(|due| *due <= now) {
            self.send_levels();
            for channel in self.roster.iter_mut() {
                channel.tell_buffer_size(now);
            }
            let next = due + LEVEL_INTERVAL;
            self.levels_due = Some(if next > now { next } else { now + LEVEL_INTERVAL });
        }
        if self.list_due.is_some_and(|due| due <= now) {
            self.send_list_to_everyone(now);
        }
        if self.recorder_look_due().is_some_and(|due| due <= now) {
            self.follow_recorder(now);
        }
        if let Some(directories) = &mut self.directories
            && directories.poll_timeout().is_some_and(|due| due <= now)
        {
            directories.handle_timeout(now);
            self.collect_directories();
        }
        self.collect_messages(now);
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Time> {
        let channels = self.roster.iter().map(Channel::poll_timeout);
        let directories = self.directories.as_ref().and_then(Directories::poll_timeout);
        channels
            .chain(self.levels_due)
            .chain(self.list_due)
            .chain(self.recorder_look_due())
            .chain(directories)
            .min()
    }

    /// Hands every datagram that is to be sent to `send`, oldest first.
    pub fn drain_transmits(&mut self, send: impl FnMut(SocketAddr, &[u8])) {
        self.outbox.drain(send);
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn handle_audio(&mut self, now: Time, from: SocketAddr, packet: &[u8]) {
        match self.roster.at_mut(from) {
            Some(channel) => {
                channel.count_in(packet.len());
                if !channel.handle_audio(now, packet) {
                    self.count_drop(DropReason::WrongSize);
                }
            }
            None => self.join(now, from),
        }
    }

    fn handle_message(&mut self, now: Time, from: SocketAddr, frame: &Frame<'_>) {
        let Some(channel) = self.roster.at_mut(from) else { return self.count_drop(DropReason::Stranger) };
        let id = channel.id();
        channel.count_in(frame.body.len() + FRAME_OVERHEAD_BYTES);
        if let Some(request) = channel.handle_frame(now, frame) {
            self.fulfil(now, id, request);
        }
        self.collect_messages(now);
    }

    fn handle_connless(&mut self, now: Time, from: SocketAddr, frame: &Frame<'_>) {
        let Ok(question) = ConnlessMessage::parse(frame.id, frame.body) else {
            if let Some(directories) = &mut self.directories {
                directories.handle_malformed(from, frame.id);
            }
            self.collect_directories();
            return self.count_drop(DropReason::Malformed);
        };
        if self.handle_for_directory(now, from, &question) {
            return;
        }
        let answer = match question {
            ConnlessMessage::Ping { .. } => question,
            ConnlessMessage::PingWithClients { time_ms, .. } => {
                // At most 150.
                ConnlessMessage::PingWithClients { time_ms, clients: self.clients() as u8 }
            }
            ConnlessMessage::RequestVersionAndOs => {
                ConnlessMessage::VersionAndOs { os: our_os(), version: VERSION_TEXT.to_owned() }
            }
            ConnlessMessage::RequestServerFeatures => ConnlessMessage::ServerFeatures(self.features()),
            ConnlessMessage::RequestClientList => ConnlessMessage::ClientList(self.entries()),
            ConnlessMessage::RequestWelcomeMessage => {
                ConnlessMessage::WelcomeMessage(self.config.welcome.clone().unwrap_or_default())
            }
            ConnlessMessage::Disconnection => {
                if let Some(id) = self.roster.at(from) {
                    self.leave(now, id, LeaveReason::Left);
                    self.collect_messages(now);
                }
                return;
            }
            // Directories and clients are asked for the rest, not servers.
            _ => return,
        };
        let is_long = matches!(answer, ConnlessMessage::ClientList(_) | ConnlessMessage::WelcomeMessage(_));
        let datagram = answer.to_datagram();
        if !is_long || self.budget.allows(now, from, datagram.len()) {
            self.outbox.push(from, &datagram);
        } else {
            self.count_drop(DropReason::AnswerLimit);
        }
    }

    fn join(&mut self, now: Time, from: SocketAddr) {
        let Some(id) = self.roster.free_slot() else {
            self.outbox.push(from, &ConnlessMessage::ServerFull.to_datagram());
            return self.count_drop(DropReason::ServerFull);
        };
        let first_counter = self.next_random() as u8;
        for channel in self.roster.iter_mut() {
            channel.reset_view_of(id);
        }
        let greeting = GreetingWords { recorder: self.recorder_state(), ..GreetingWords::of(&self.config) };
        self.roster.insert(Channel::new(now, id, from, &greeting, self.config.frame, first_counter));
        self.levels_due.get_or_insert(now + LEVEL_INTERVAL);
        if let Some(tap) = self.recording.tap() {
            tap.join(self.counters.ticks, id, from, "");
            self.recording.look_by(now);
        }
        self.report(Event::Connected { channel: id, address: from, clients: self.clients() });
        self.collect_messages(now);
    }

    fn leave(&mut self, now: Time, id: ChannelId, reason: LeaveReason) {
        let Some(channel) = self.roster.remove(id) else { return };
        self.counters.frames.add(channel.counters());
        self.mixer.vacate(id.index());
        if let Some(tap) = self.recording.tap() {
            tap.leave(self.counters.ticks, id);
        }
        let name = channel.info().map(|info| info.name.clone());
        let was_listed = name.is_some();
        self.report(Event::Left { channel: id, address: channel.address(), name, reason });
        if was_listed {
            self.send_list_to_everyone(now);
        }
        if self.is_empty() {
            self.list_due = None;
            self.levels_due = None;
        }
    }

    fn find_expired(&self, now: Time) -> Option<ChannelId> {
        self.roster.iter().find(|channel| channel.is_expired(now)).map(Channel::id)
    }

    fn fulfil(&mut self, now: Time, id: ChannelId, request: Request) {
        match request {
            Request::Join => {
                self.report_join(id);
                self.send_list_to_everyone(now);
            }
            Request::ShareInfo => {
                self.report_new_name(id);
                self.send_list_to_everyone(now);
            }
            Request::TellList => {
                let list = Message::ClientList(self.entries());
                if let Some(channel) = self.roster.get_mut(id) {
                    channel.send(now, &list);
                }
            }
            Request::TellMute { target, muted } => {
                if let Some(target) = self.roster.get_mut(target) {
                    target.send(now, &Message::MuteStateChanged { channel: id, muted });
                }
            }
            Request::Say(text) => self.say(now, id, &text),
        }
    }

    fn say(&mut self, now: Time, id: ChannelId, text: &str) {
        let Some(channel) = self.roster.get_mut(id) else { return };
        let name = channel.info().map_or("", |info| &info.name);
        let line = chat_line(self.wall_time, id, name, text);
        self.chat(now, Some(id), line);
    }

    /// Writes a finished line into everyone's chat; `from` nobody when it is an admin's or the server's.
    fn chat(&mut self, now: Time, from: Option<ChannelId>, line: String) {
        self.tell_everyone(now, &Message::ChatText(line.clone()));
        self.report(Event::Chat { channel: from, line });
    }

    fn tell_everyone(&mut self, now: Time, message: &Message) {
        for channel in self.listed_mut() {
            channel.send(now, message);
        }
    }

    /// Tells a client that was sent away, and did not hear it, once more.
    fn say_farewell(&mut self, to: SocketAddr, datagram: &[u8]) {
        if matches!(classify(datagram), Datagram::Audio(_)) {
            self.outbox.push(to, &ConnlessMessage::Disconnection.to_datagram());
        }
    }

    /// Everyone who has told who they are. Ghosts, opened by a single forged datagram, are not listed,
    /// metered or told anything beyond the greeting.
    fn listed_mut(&mut self) -> impl Iterator<Item = &mut Channel> {
        self.roster.iter_mut().filter(|channel| channel.info().is_some())
    }

    fn entries(&self) -> Vec<crate::protocol::ClientEntry> {
        self.roster.iter().filter_map(Channel::entry).collect()
    }

    /// Sends the list to everyone, or a little later when it has just been sent several times.
    fn send_list_to_everyone(&mut self, now: Time) {
        if self.list_due.is_none_or(|due| due <= now) && self.list_allowance.take(now) {
            self.list_due = None;
        } else {
            self.list_due = Some(self.list_allowance.next());
            return;
        }
        let list = Message::ClientList(self.entries());
        self.tell_everyone(now, &list);
    }

    fn send_levels(&mut self) {
        let levels: Vec<u8> = self.listed_mut().map(|channel| channel.level()).collect();
        if levels.is_empty() {
            return;
        }
        let datagram = ConnlessMessage::LevelList(levels).to_datagram();
        for channel in self.roster.iter().filter(|channel| channel.info().is_some()) {
            self.outbox.push(channel.address(), &datagram);
        }
    }

    fn collect_messages(&mut self, now: Time) {
        for channel in self.roster.iter_mut() {
            while let Some(datagram) = channel.poll_transmit(now) {
                self.outbox.push(channel.address(), &datagram);
            }
        }
    }

    fn report_join(&mut self, id: ChannelId) {
        let Some(channel) = self.roster.get_mut(id) else { return };
        let name = channel.info().map(|info| info.name.clone()).unwrap_or_default();
        let event = Event::Joined { channel: id, address: channel.address(), name };
        self.tell_recorder_the_name(id);
        self.counters.joined += 1;
        self.report(event);
    }

    fn report_new_name(&mut self, id: ChannelId) {
        let Some(channel) = self.roster.get_mut(id) else { return };
        let name = channel.info().map(|info| info.name.clone()).unwrap_or_default();
        self.tell_recorder_the_name(id);
        self.report(Event::Renamed { channel: id, name });
    }

    fn count_drop(&mut self, reason: DropReason) {
        self.counters.dropped[reason as usize] += 1;
    }

    fn report(&mut self, event: Event) {
        if self.events.len() == MAX_WAITING_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// SplitMix64: good enough to begin counters anywhere.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}
