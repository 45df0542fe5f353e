//! The whole server without clock, socket or thread.
//!
//! After any call that may have changed something, drain [`Core::drain_transmits`] and
//! [`Core::poll_event`]. Same inputs, same outputs.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use crate::audio::FlushDenormals;
use crate::protocol::{
    ConnlessMessage, Datagram, Frame, Message, classify, cut_to_utf16, is_connless, utf16_len,
};
use crate::units::{ChannelId, FrameSize, MAX_CHAT_INPUT_UNITS, MAX_CHAT_UNITS, Time};

use super::channel::{Channel, Request};
use super::chat::{WallTime, chat_line};
use super::command::{Command, CommandError};
use super::config::{Config, ServerProfile, clamped_welcome};
use super::connless::{AnswerBudget, feature};
use super::event::{Event, LeaveReason};
use super::greeting::{VERSION_TEXT, our_os};
use super::mixer::Mixer;
use super::outbox::Outbox;
use super::roster::Roster;
use super::status::{Counters, DirectoryStatus, RecorderStatus, Status};

/// Levels go to everyone this often. Source: docs/PROTOCOL.md §4.
const LEVEL_INTERVAL: Duration = Duration::from_millis(269);
/// Events kept for a driver that does not fetch them; older ones are dropped.
const MAX_WAITING_EVENTS: usize = 1024;

/// A server: who is there, what they say, and their mixes.
pub struct Core {
    config: Config,
    roster: Roster,
    mixer: Mixer,
    outbox: Outbox,
    events: VecDeque<Event>,
    budget: AnswerBudget,
    wall_time: WallTime,
    /// While somebody is there.
    levels_due: Option<Time>,
    /// When the first datagram or request came, to tell how long the server runs.
    started: Time,
    counters: Counters,
    random: u64,
}

impl Core {
    /// An empty server. Everything random comes from `seed`. Values of `config` beyond their limits are clamped.
    pub fn new(config: Config, seed: u64) -> Self {
        let config = config.clamped();
        Self {
            roster: Roster::new(config.max_clients),
            mixer: Mixer::new(config.max_clients, config.frame.samples(), config.delay_pan),
            outbox: Outbox::new(),
            events: VecDeque::new(),
            budget: AnswerBudget::new(Time::ZERO),
            wall_time: WallTime::default(),
            levels_due: None,
            started: Time::ZERO,
            counters: Counters::default(),
            random: seed,
            config,
        }
    }

    /// Samples per tick.
    pub fn frame(&self) -> FrameSize {
        self.config.frame
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

    /// Carries out what an admin asks for.
    ///
    /// # Errors
    /// When it makes no sense now; nothing has changed then.
    pub fn execute(&mut self, now: Time, command: Command) -> Result<(), CommandError> {
        match command {
            Command::Reload(live) => self.config.apply(*live),
            Command::SetName(name) => {
                let profile = ServerProfile { name, ..self.config.profile.clone() };
                self.config.profile = profile.clamped();
            }
            Command::SetWelcome(welcome) => self.config.welcome = welcome.and_then(clamped_welcome),
            Command::Broadcast(text) => self.broadcast(now, text),
            Command::Whisper { to, text } => self.whisper(now, to, text)?,
            Command::Kick(id) => self.kick(now, id)?,
            _ => {}
        }
        self.collect_messages(now);
        Ok(())
    }

    /// Everything that an admin may know.
    pub fn status(&self, now: Time) -> Status {
        Status {
            uptime: now.since(self.started),
            max_clients: self.config.max_clients,
            profile: self.config.profile.clone(),
            welcome: self.config.welcome.clone().unwrap_or_default(),
            directory: DirectoryStatus::default(),
            listed_servers: None,
            recorder: RecorderStatus::default(),
            clients: self.roster.iter().map(|channel| channel.status(now)).collect(),
            bans: Vec::new(),
            counters: self.counters.clone(),
        }
    }

    /// Takes a datagram from anyone, of any content. Realtime-safe for audio of clients; joining and messages
    /// may allocate.
    pub fn handle_datagram(&mut self, now: Time, from: SocketAddr, datagram: &[u8]) {
        if datagram.is_empty() {
            return;
        }
        match classify(datagram) {
            Datagram::Audio(packet) => self.handle_audio(now, from, packet),
            Datagram::Frame(frame) if is_connless(frame.id) => self.handle_connless(now, from, &frame),
            Datagram::Frame(frame) => self.handle_message(now, from, &frame),
        }
    }

    /// Mixes one tick: [`Self::frame`] samples from and to everyone. Realtime-safe.
    pub fn tick(&mut self, _now: Time) {
        let _flush = FlushDenormals::new();
        for channel in self.roster.iter_mut() {
            channel.pull(self.mixer.source(channel.id().index()));
        }
        for channel in self.roster.iter_mut() {
            let address = channel.address();
            channel.push(&mut self.mixer, |packet| self.outbox.push_audio(address, packet));
        }
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
        self.collect_messages(now);
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.roster.iter().map(Channel::poll_timeout).chain(self.levels_due).min()
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
            Some(channel) => channel.handle_audio(now, packet),
            None => self.join(now, from),
        }
    }

    fn handle_message(&mut self, now: Time, from: SocketAddr, frame: &Frame<'_>) {
        let Some(channel) = self.roster.at_mut(from) else { return };
        let id = channel.id();
        if let Some(request) = channel.handle_frame(now, frame) {
            self.fulfil(now, id, request);
        }
        self.collect_messages(now);
    }

    fn handle_connless(&mut self, now: Time, from: SocketAddr, frame: &Frame<'_>) {
        let Ok(question) = ConnlessMessage::parse(frame.id, frame.body) else { return };
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
        }
    }

    fn features(&self) -> u32 {
        let when = |condition, bit| if condition { bit } else { 0 };
        feature::RAW_AUDIO
            | when(self.config.frame == FrameSize::Samples64, feature::FAST_UPDATE)
            | when(self.config.told.ipv6, feature::IPV6)
            | when(self.config.welcome.is_some(), feature::WELCOME_MESSAGE)
    }

    fn join(&mut self, now: Time, from: SocketAddr) {
        let Some(id) = self.roster.free_slot() else {
            self.outbox.push(from, &ConnlessMessage::ServerFull.to_datagram());
            return;
        };
        let first_counter = self.next_random() as u8;
        for channel in self.roster.iter_mut() {
            channel.reset_view_of(id);
        }
        self.roster.insert(Channel::new(now, id, from, &self.config, first_counter));
        self.levels_due.get_or_insert(now + LEVEL_INTERVAL);
        self.collect_messages(now);
    }

    fn leave(&mut self, now: Time, id: ChannelId, reason: LeaveReason) {
        let Some(channel) = self.roster.remove(id) else { return };
        self.mixer.vacate(id.index());
        let name = channel.info().map(|info| info.name.clone());
        let was_listed = name.is_some();
        self.report(Event::Left { channel: id, address: channel.address(), name, reason });
        if was_listed {
            self.send_list_to_everyone(now);
        }
        if self.is_empty() {
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
            Request::ShareInfo => self.send_list_to_everyone(now),
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
        let line = Message::ChatText(chat_line(self.wall_time, id, name, text));
        for channel in self.listed_mut() {
            channel.send(now, &line);
        }
    }

    /// Everyone who has told who they are. Ghosts, opened by a single forged datagram, are not listed,
    /// metered or told anything beyond the greeting.
    fn listed_mut(&mut self) -> impl Iterator<Item = &mut Channel> {
        self.roster.iter_mut().filter(|channel| channel.info().is_some())
    }

    /// Says `text` to everyone as it is.
    fn broadcast(&mut self, now: Time, text: String) {
        let line = Message::ChatText(cut_to_utf16(&text, MAX_CHAT_UNITS).to_owned());
        for channel in self.listed_mut() {
            channel.send(now, &line);
        }
        self.report(Event::Chat { channel: None, line: text });
    }

    fn whisper(&mut self, now: Time, to: ChannelId, text: String) -> Result<(), CommandError> {
        if text.is_empty() || utf16_len(&text) > MAX_CHAT_INPUT_UNITS {
            return Err(CommandError::BadText);
        }
        let channel = self.roster.get_mut(to).ok_or(CommandError::NoSuchClient(to.0))?;
        channel.send(now, &Message::ChatText(text));
        Ok(())
    }

    fn kick(&mut self, now: Time, id: ChannelId) -> Result<(), CommandError> {
        let channel = self.roster.get_mut(id).ok_or(CommandError::NoSuchClient(id.0))?;
        self.outbox.push(channel.address(), &ConnlessMessage::Disconnection.to_datagram());
        self.leave(now, id, LeaveReason::Kicked);
        Ok(())
    }

    fn entries(&self) -> Vec<crate::protocol::ClientEntry> {
        self.roster.iter().filter_map(Channel::entry).collect()
    }

    fn send_list_to_everyone(&mut self, now: Time) {
        let list = Message::ClientList(self.entries());
        for channel in self.listed_mut() {
            channel.send(now, &list);
        }
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
        self.report(event);
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
