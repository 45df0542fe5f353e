//! The pure network half of the client: datagrams, commands and `now` in; datagrams, effects and
//! snapshots out. The driver runs it on a thread, the simulator on a virtual clock.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::Receiver;
use rtrb::{Consumer, Producer};

use super::delay::{Gauge, Way};
use super::feedback::{FeedbackGuard, Point};
use super::host_watch::HostWatch;
use super::jam::Jam;
use super::mix_memory::Remembered;
use super::mixer::{Mixer, Move, OwnSound, Telling};
use super::reconnect::Reconnect;
use super::settings::{FrameChoice, Profile, Settings};
use super::shared::{AudioCounts, Shared};
use super::snapshot::{ConnectionState, Failure, HostActivity, MAX_CHAT_LINES, Snapshot, Stats};
use super::stream::{DownlinkFrame, Stream, Trace, UplinkFrame};
use crate::protocol::{ChannelInfo, Host, PacketLayout, ServerAddress, cut_to_utf16};
use crate::session::{ClientConfig, ClientEvent, EndReason};
use crate::units::{
    BufferSize, ChannelId, FrameSize, MAX_CITY_UNITS, MAX_NAME_UNITS, Safety, StreamFormat, Time,
    WIRE_RATE_HZ,
};

/// Figures in the snapshot are brought up to date this often while a session is up.
const REFRESH: Duration = Duration::from_millis(250);

/// A session begins once the host's first block tells which frames suit it, or after this long without one: a server's
/// buffer keeps for long what it got while frames had another length.
const LISTEN: Duration = Duration::from_millis(100);
/// How often that is looked up.
const LOOK: Duration = Duration::from_millis(5);

/// What a window, a parameter or the end of the plugin wants.
pub(super) enum Command {
    Connect(String),
    SetAddress(String),
    Disconnect,
    Settings(Settings),
    Chat(String),
    /// A movement on somebody's strip.
    Move(ChannelId, Move),
    /// A fader, and not its group.
    MoveAlone(ChannelId, f32),
    Group(ChannelId, Option<u8>),
    /// How people were heard before.
    Recall(Vec<Remembered>),
    AcceptLicence,
    /// The loop is gone.
    SendAgain,
    /// A panic was contained elsewhere; the sentence for the window.
    Fault(String),
    /// The plugin is going away.
    Shutdown,
    /// Tests only: the network thread panics.
    Panic,
}

/// What only a door can do.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Look `host` up and answer with [`Pump::handle_resolved`] and the same `request`.
    Resolve {
        /// Tells this look-up from earlier ones.
        request: u64,
        /// The name.
        host: String,
        /// The port to put into the addresses; `None` lets the name's service record decide, if it has one.
        port: Option<u16>,
    },
}

/// The network half.
pub struct Pump {
    shared: Arc<Shared>,
    links: PumpLinks,
    commands: Receiver<Command>,
    settings: Settings,
    phase: Phase,
    effects: Vec<Effect>,
    requests: u64,
    generations: u32,
    /// Made for the engine, which has not taken earlier ones yet.
    waiting_stream: Option<Box<Stream>>,
    /// What the user joined, as typed: asked for again after a loss, since addresses change.
    target: String,
    /// We have been in the session.
    joined: bool,
    /// The session was lost and is not back yet.
    reconnect: Option<Reconnect>,
    /// What to connect to once the session that is being left has ended.
    next_address: Option<String>,
    picture: Snapshot,
    dirty: bool,
    next_refresh: Time,
    audio_counts_at_start: AudioCounts,
    host: HostWatch,
    mixer: Mixer,
    feedback: FeedbackGuard,
    rate: UpstreamRate,
    gauge: Gauge,
    shut_down: bool,
}

/// The pump's ends of the rings.
pub(super) struct PumpLinks {
    pub(super) uplink: Consumer<UplinkFrame>,
    pub(super) downlink: Producer<DownlinkFrame>,
    pub(super) streams: Producer<Box<Stream>>,
    pub(super) retired: Consumer<Box<Stream>>,
    pub(super) traces: Consumer<Trace>,
    pub(super) points: Consumer<Point>,
}

enum Phase {
    Idle,
    Resolving {
        request: u64,
        host: String,
    },
    /// The address is known, the host's block is not yet.
    Listening {
        addresses: Vec<SocketAddr>,
        look: Time,
        until: Time,
    },
    Jamming {
        jam: Box<Jam>,
        others: Vec<SocketAddr>,
    },
    /// The session was lost, and the next attempt is due then.
    Waiting {
        until: Time,
    },
}

impl Pump {
    pub(super) fn new(
        shared: Arc<Shared>,
        links: PumpLinks,
        commands: Receiver<Command>,
        settings: Settings,
    ) -> Self {
        shared.set_client_buffer(settings.buffers.client);
        shared.set_safety(settings.buffers.safety);
        Self {
            shared,
            links,
            commands,
            settings,
            phase: Phase::Idle,
            effects: Vec::new(),
            requests: 0,
            generations: 0,
            waiting_stream: None,
            target: String::new(),
            joined: false,
            reconnect: None,
            next_address: None,
            picture: Snapshot::default(),
            dirty: false,
            next_refresh: Time::ZERO,
            audio_counts_at_start: AudioCounts::default(),
            host: HostWatch::default(),
            mixer: Mixer::default(),
            feedback: FeedbackGuard::default(),
            rate: UpstreamRate::default(),
            gauge: Gauge::default(),
            shut_down: false,
        }
    }

    /// Whether datagrams are wanted: a socket should be open.
    pub fn wants_socket(&self) -> bool {
        matches!(self.phase, Phase::Jamming { .. })
    }

    /// The plugin is gone and so is the session: the thread may end.
    pub(super) fn is_finished(&self) -> bool {
        self.shut_down && matches!(self.phase, Phase::Idle)
    }

    /// Whether the plugin is going away, and the session is only being left.
    pub(super) fn is_shutting_down(&self) -> bool {
        self.shut_down
    }

    /// Does what windows and parameters have asked for: call after every wake-up.
    pub fn handle_commands(&mut self, now: Time) {
        // Looked up first: what was asked for before it, the address for one, is then among the commands.
        let intent = self.shared.take_intent();
        while let Ok(command) = self.commands.try_recv() {
            self.handle_command(now, command);
        }
        if let Some(connect) = intent {
            self.handle_intent(now, connect);
        }
        let (moves, mixer) = (&self.shared.slot_moves, &mut self.mixer);
        moves.take(|slot, action| mixer.act_in_slot(slot, action));
        self.settle(now);
    }

    fn handle_command(&mut self, now: Time, command: Command) {
        match command {
            Command::Connect(address) => self.connect(now, address),
            Command::SetAddress(address) => {
                self.dirty |= self.picture.address != address;
                self.picture.address = address;
            }
            Command::Disconnect => self.disconnect(now),
            Command::Settings(settings) => self.change_settings(now, settings),
            Command::Chat(text) => self.with_jam(|jam| jam.session.chat(now, &text)),
            Command::Move(channel, action) => self.mixer.act(channel, action),
            Command::MoveAlone(channel, fader) => self.mixer.set_fader_alone(channel, fader),
            Command::Group(channel, group) => self.mixer.set_group(channel, group),
            Command::Recall(memory) => self.mixer.set_memory(memory),
            Command::AcceptLicence => {
                self.with_jam(|jam| jam.hold_sound = false);
                self.picture.licence_required = false;
                self.dirty = true;
            }
            Command::SendAgain => {
                self.feedback.restart();
                self.guard_against_feedback();
            }
            Command::Fault(sentence) => {
                self.picture.fault = Some(sentence);
                self.dirty = true;
            }
            Command::Shutdown => {
                self.shut_down = true;
                self.disconnect(now);
            }
            Command::Panic => panic!("asked to by a test"),
        }
    }

    /// The Connect parameter: connects to the address as last set, or leaves.
    fn handle_intent(&mut self, now: Time, connect: bool) {
        let busy = !matches!(self.phase, Phase::Idle);
        match (connect, busy) {
            (true, false) => self.connect(now, self.picture.address.clone()),
            (false, true) => self.disconnect(now),
            _ => {}
        }
    }

    /// The addresses of a name, best first, or `None` when it was not found.
    pub fn handle_resolved(&mut self, now: Time, request: u64, addresses: Option<Vec<SocketAddr>>) {
        let Phase::Resolving { request: wanted, host } = &self.phase else { return };
        if *wanted != request {
            return;
        }
        let failure = Failure::NotFound { host: host.clone() };
        match addresses.filter(|addresses| !addresses.is_empty()) {
            Some(mut addresses) => {
                // Stock servers before 4.0 listen on IPv4 only, so that is tried first.
                addresses.sort_by_key(SocketAddr::is_ipv6);
                self.start(now, addresses);
            }
            None => self.fail(now, failure),
        }
        self.settle(now);
    }

    /// One datagram, as it arrived.
    pub fn handle_datagram(&mut self, now: Time, from: SocketAddr, datagram: &[u8]) {
        let engine_sleeps = matches!(self.picture.host, HostActivity::Stopped | HostActivity::Rendering);
        if let Phase::Jamming { jam, .. } = &mut self.phase {
            jam.handle_datagram(now, from, datagram, &mut self.links.downlink, engine_sleeps);
        }
    }

    /// The engine may have made frames: call after every wake-up.
    pub fn handle_uplink(&mut self, now: Time) {
        self.watch_host(now);
        self.guard_against_feedback();
        let rendering = self.picture.host == HostActivity::Rendering;
        if let Phase::Jamming { jam, .. } = &mut self.phase {
            jam.take_uplink(now, &self.shared, &mut self.links.uplink, rendering);
            let server_buffer = self.picture.server_buffer_frames;
            // Our own server puts us where we should be, and who asks for more safety shall have it.
            let stock = self.picture.server_version.as_ref().is_some_and(|version| !is_ours(version));
            let buffers = &self.settings.buffers;
            let may_move = stock && buffers.server == BufferSize::Auto && buffers.safety <= Safety::default();
            jam.align(now, &self.shared, &mut self.links.traces, server_buffer, may_move);
        } else {
            while self.links.uplink.pop().is_ok() {}
            while self.links.traces.pop().is_ok() {}
        }
    }

    /// Timers, and everything that follows from what came in: call after datagrams and at [`Self::poll_timeout`].
    pub fn handle_timeout(&mut self, now: Time) {
        if let Phase::Waiting { until } = self.phase
            && now >= until
        {
            self.try_again(now);
        }
        self.listen(now);
        if let Phase::Jamming { jam, .. } = &mut self.phase {
            jam.handle_timeout(now);
        }
        self.settle(now);
        if now >= self.next_refresh {
            self.next_refresh = now + REFRESH;
            self.refresh(now);
        }
    }

    /// When to call [`Self::handle_timeout`] at the latest; `None`: not before something comes in.
    pub fn poll_timeout(&self) -> Option<Time> {
        let jam = match &self.phase {
            Phase::Jamming { jam, .. } => jam,
            Phase::Waiting { until } => return Some(*until),
            Phase::Listening { look, .. } => return Some(*look),
            Phase::Idle | Phase::Resolving { .. } => return None,
        };
        jam.poll_timeout().into_iter().chain([self.next_refresh]).min()
    }

    /// Hands every datagram that is due to `send`.
    pub fn drain_transmits(&mut self, now: Time, send: &mut dyn FnMut(SocketAddr, &[u8])) {
        if let Phase::Jamming { jam, .. } = &mut self.phase {
            jam.drain_transmits(now, &self.shared, send);
        }
        self.settle(now);
    }

    /// What the door is to do next.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        (!self.effects.is_empty()).then(|| self.effects.remove(0))
    }

    /// Publishes the picture if it has changed; tells whether it had.
    pub fn publish(&mut self) -> bool {
        let changed = std::mem::take(&mut self.dirty) && **self.shared.snapshot.load() != self.picture;
        if changed {
            self.shared.snapshot.store(Arc::new(self.picture.clone()));
        }
        changed
    }

    /// The socket cannot be opened or used.
    pub(super) fn handle_socket_error(&mut self, now: Time, reason: String) {
        self.next_address = None;
        self.end_sound();
        self.fail(now, Failure::Socket { reason });
    }

    fn connect(&mut self, now: Time, address: String) {
        self.picture.address.clone_from(&address);
        self.dirty = true;
        if let Phase::Jamming { jam, .. } = &mut self.phase {
            jam.leave(now);
            self.next_address = Some(address);
            return;
        }
        let remembered = std::mem::take(&mut self.picture.remembered);
        self.picture =
            Snapshot { address, remembered, fault: self.picture.fault.take(), ..Snapshot::default() };
        self.target.clone_from(&self.picture.address);
        (self.joined, self.reconnect) = (false, None);
        self.mixer.clear();
        self.feedback.restart();
        self.approach(now);
    }

    /// Another attempt to get back into the session that was lost.
    fn try_again(&mut self, now: Time) {
        self.phase = Phase::Idle;
        self.approach(now);
    }

    /// Looks the target up, or goes there.
    fn approach(&mut self, now: Time) {
        self.dirty = true;
        let server: ServerAddress = match self.target.parse() {
            Ok(server) => server,
            Err(error) => return self.fail(now, Failure::BadAddress(format!("{error}"))),
        };
        let port = server.port_or_default();
        match server.host {
            Host::V4(ip) => self.start(now, vec![SocketAddr::from((ip, port))]),
            Host::V6(ip) => self.start(now, vec![SocketAddr::from((ip, port))]),
            Host::Name(host) => {
                self.requests += 1;
                self.phase = Phase::Resolving { request: self.requests, host: host.clone() };
                self.picture.state = ConnectionState::Resolving;
                self.effects.push(Effect::Resolve { request: self.requests, host, port: server.port });
            }
        }
    }

    fn disconnect(&mut self, now: Time) {
        self.next_address = None;
        (self.joined, self.reconnect) = (false, None);
        match &mut self.phase {
            Phase::Jamming { jam, .. } => jam.leave(now),
            Phase::Resolving { .. } | Phase::Listening { .. } | Phase::Waiting { .. } | Phase::Idle => {
                self.mixer.clear();
                self.phase = Phase::Idle;
                self.picture.state = ConnectionState::Idle;
                self.dirty = true;
            }
        }
    }

    /// Begins a session with `addresses` as soon as it is clear which frames to send.
    fn start(&mut self, now: Time, addresses: Vec<SocketAddr>) {
        let (look, until) = (now + LOOK, now + LISTEN);
        self.picture.state = ConnectionState::Connecting { server: addresses[0] };
        self.dirty = true;
        self.phase = Phase::Listening { addresses, look, until };
        self.listen(now);
    }

    fn listen(&mut self, now: Time) {
        let Phase::Listening { look, until, .. } = &mut self.phase else { return };
        let clear = self.settings.stream.frame != FrameChoice::Auto || self.shared.block_seconds().is_some();
        if !clear && now < *until {
            *look = now + LOOK;
        } else if let Phase::Listening { addresses, .. } = std::mem::replace(&mut self.phase, Phase::Idle) {
            self.begin(now, addresses);
        }
    }

    /// Begins a session with the first of `addresses`; the others are tried when it does not answer.
    fn begin(&mut self, now: Time, mut addresses: Vec<SocketAddr>) {
        let server = addresses.remove(0);
        let config = ClientConfig {
            server,
            info: channel_info(&self.settings.profile),
            layout: self.wanted_layout(),
            server_buffer: self.settings.buffers.server,
        };
        let generation = self.next_generation();
        match Jam::start(now, config, generation, &self.shared) {
            Ok((jam, stream)) => {
                self.phase = Phase::Jamming { jam: Box::new(jam), others: addresses };
                self.hand_over(stream);
                self.audio_counts_at_start = self.shared.audio_counts();
                self.rate = UpstreamRate::default();
                self.gauge = Gauge::default();
                self.host = HostWatch::new(now, self.shared.host_calls());
                self.shared.set_trusted(self.host.trusted());
                self.next_refresh = now + REFRESH;
                self.picture.state = ConnectionState::Connecting { server };
                self.picture.server_buffer_frames = fixed_frames(self.settings.buffers.server);
                self.dirty = true;
            }
            Err(error) => self.fail(now, Failure::Audio { reason: error.to_string() }),
        }
    }

    /// No connection: a session that was lost is tried again, everything else is the user's turn.
    fn fail(&mut self, now: Time, failure: Failure) {
        let lost = matches!(failure, Failure::TimedOut { .. } | Failure::Socket { .. });
        if lost && std::mem::take(&mut self.joined) {
            self.reconnect = Some(Reconnect::new(now));
            self.mixer.lose();
        }
        let passing = lost
            || matches!(
                failure,
                Failure::NoAnswer { .. } | Failure::NotFound { .. } | Failure::ServerFull { .. }
            );
        let next = self.reconnect.as_mut().filter(|_| passing).and_then(|reconnect| reconnect.next(now));
        (self.phase, self.picture.state) = match next {
            Some(until) => (Phase::Waiting { until }, ConnectionState::Waiting(failure)),
            None => {
                self.reconnect = None;
                self.mixer.clear();
                (Phase::Idle, ConnectionState::Failed(failure))
            }
        };
        self.dirty = true;
    }

    fn change_settings(&mut self, now: Time, settings: Settings) {
        let old = std::mem::replace(&mut self.settings, settings);
        self.shared.set_client_buffer(self.settings.buffers.client);
        self.shared.set_safety(self.settings.buffers.safety);
        let info = channel_info(&self.settings.profile);
        let (server_buffer, old_server_buffer) = (self.settings.buffers.server, old.buffers.server);
        let info_changed = info != channel_info(&old.profile);
        self.with_jam(|jam| {
            if info_changed {
                jam.session.set_info(now, info);
            }
            if server_buffer != old_server_buffer {
                jam.session.set_server_buffer(now, server_buffer);
            }
        });
        if server_buffer != old_server_buffer {
            self.picture.server_buffer_frames = fixed_frames(server_buffer);
            self.with_jam(|jam| jam.aligner.doubt(now));
            self.dirty = true;
        }
        self.apply_layout(now);
    }

    /// Tells the session when the settings, or the host's block, ask for another stream.
    fn apply_layout(&mut self, now: Time) {
        let layout = self.wanted_layout();
        self.with_jam(|jam| jam.session.set_layout(now, layout));
    }

    fn wanted_layout(&self) -> PacketLayout {
        let stream = self.settings.stream;
        let frame = match stream.frame {
            FrameChoice::Samples64 => FrameSize::Samples64,
            FrameChoice::Samples128 => FrameSize::Samples128,
            FrameChoice::Auto => {
                let block = self.shared.block_seconds().map(|seconds| seconds * f64::from(WIRE_RATE_HZ));
                let short = block.is_some_and(|block| block <= FrameSize::Samples64.samples() as f64);
                if short { FrameSize::Samples64 } else { FrameSize::Samples128 }
            }
        };
        let format = StreamFormat::stock(frame, stream.layout, stream.quality);
        PacketLayout { format, block_factor: 1, counter: true }
    }

    /// Everything that follows from the session's state: events, another format, its end.
    fn settle(&mut self, now: Time) {
        while let Phase::Jamming { jam, .. } = &mut self.phase {
            let Some(event) = jam.session.poll_event() else { break };
            self.handle_event(now, event);
        }
        self.tell_mix(now);
        self.follow_format(now);
        // A host that does not call takes no streams: the newest waits until the ring has room.
        if !self.links.streams.is_full()
            && let Some(stream) = self.waiting_stream.take()
        {
            let _ = self.links.streams.push(stream);
        }
        // Streams that the engine no longer uses are freed here.
        while self.links.retired.pop().is_ok() {}
    }

    /// Tells the server, and the world, what has changed in the personal mix.
    fn tell_mix(&mut self, now: Time) {
        for change in self.mixer.take_changes() {
            match change {
                Telling::Gain(channel, gain) => self.with_jam(|jam| jam.session.set_gain(now, channel, gain)),
                Telling::Pan(channel, pan) => self.with_jam(|jam| jam.session.set_pan(now, channel, pan)),
            }
        }
        if let Some(memory) = self.mixer.changed_memory() {
            self.picture.remembered = memory.into();
            self.dirty = true;
        }
        if !self.mixer.strips().eq(self.picture.strips.iter().copied()) {
            self.picture.strips = self.mixer.strips().collect();
            self.dirty = true;
        }
    }

    /// Turns our own channel off in our mix where others are wanted alone, once it is no longer needed to find
    /// out how late it comes back; and on again.
    fn follow_output(&mut self, now: Time) {
        let Phase::Jamming { jam, .. } = &mut self.phase else { return };
        let needed = jam.aligner.wants_own(now, self.shared.rolling());
        self.mixer.hear_own(match self.shared.others_only() {
            true if needed => OwnSound::On,
            true => OwnSound::Off,
            false if self.shared.nobody_listens() => OwnSound::On,
            false => OwnSound::AsSet,
        });
        jam.aligner.set_in_mix(now, self.mixer.hears_own());
    }

    fn follow_format(&mut self, now: Time) {
        let next_generation = self.generations.checked_add(1).unwrap_or(1);
        let Phase::Jamming { jam, .. } = &mut self.phase else { return };
        match jam.follow_format(now, next_generation, &self.shared) {
            Ok(None) => {}
            Ok(Some(stream)) => {
                self.generations = next_generation;
                self.hand_over(stream);
                self.dirty = true;
            }
            Err(error) => {
                self.end_sound();
                self.fail(now, Failure::Audio { reason: error.to_string() });
            }
        }
    }

    fn handle_event(&mut self, now: Time, event: ClientEvent) {
        self.dirty = true;
        let picture = &mut self.picture;
        match event {
            ClientEvent::Connected { channel } => {
                (self.joined, self.reconnect) = (true, None);
                if let Phase::Jamming { jam, .. } = &self.phase {
                    picture.state = ConnectionState::Connected { server: jam.server, channel };
                }
                self.mixer.set_own(channel);
            }
            ClientEvent::ServerRestarted => {
                picture.clients.clear();
                picture.levels.clear();
                picture.muted_by.clear();
                self.mixer.lose();
                self.with_jam(|jam| jam.aligner.doubt(now));
            }
            ClientEvent::ClientList(clients) => {
                picture.muted_by.retain(|channel| clients.iter().any(|entry| entry.channel == *channel));
                if picture.levels.len() != clients.len() {
                    picture.levels.clear();
                }
                self.mixer.set_clients(now, &clients);
                picture.clients = clients;
            }
            ClientEvent::Levels(levels) => picture.levels = levels,
            ClientEvent::Chat(line) => {
                if picture.chat.len() == MAX_CHAT_LINES {
                    picture.chat.remove(0);
                }
                picture.chat.push(line);
            }
            ClientEvent::Welcome(text) => picture.welcome = Some(text),
            ClientEvent::Licence(kind) => {
                picture.licence_required = kind != 0;
                self.with_jam(|jam| jam.hold_sound = kind != 0);
            }
            ClientEvent::Recorder(state) => picture.recorder = state,
            ClientEvent::MuteChanged { channel, muted } => {
                picture.muted_by.retain(|other| *other != channel);
                if muted {
                    picture.muted_by.push(channel);
                }
            }
            ClientEvent::ServerBuffer(frames) => {
                let changed = picture.server_buffer_frames.replace(frames) != Some(frames);
                self.with_jam(|jam| {
                    if changed {
                        jam.aligner.doubt(now);
                    }
                });
            }
            ClientEvent::ServerVersion(version) => picture.server_version = Some(version),
            ClientEvent::RawAudioSupported | ClientEvent::LayoutChanged => {}
            ClientEvent::Ended(reason) => self.handle_end(now, reason),
        }
    }

    fn handle_end(&mut self, now: Time, reason: EndReason) {
        self.end_sound();
        let Phase::Jamming { jam, others } = std::mem::replace(&mut self.phase, Phase::Idle) else { return };
        let server = jam.server;
        let failure = match reason {
            EndReason::Left => None,
            EndReason::NoAnswer if !others.is_empty() && self.next_address.is_none() => {
                return self.start(now, others);
            }
            EndReason::NoAnswer => Some(Failure::NoAnswer { server }),
            EndReason::ServerFull => Some(Failure::ServerFull { server }),
            EndReason::Closed => Some(Failure::Closed { server }),
            EndReason::TimedOut => Some(Failure::TimedOut { server }),
        };
        match failure {
            Some(failure) => self.fail(now, failure),
            None => {
                self.mixer.clear();
                self.feedback.restart();
            }
        }
        if let Some(address) = self.next_address.take() {
            self.connect(now, address);
        }
    }

    /// The engine goes back to the track's own sound. Who was there and the figures belong to the session; chat
    /// stays readable.
    fn end_sound(&mut self) {
        self.shared.set_live_generation(0);
        let picture = &mut self.picture;
        *picture = Snapshot {
            address: std::mem::take(&mut picture.address),
            chat: std::mem::take(&mut picture.chat),
            fault: picture.fault.take(),
            stats: picture.stats,
            remembered: std::mem::take(&mut picture.remembered),
            ..Snapshot::default()
        };
        self.dirty = true;
    }

    /// Gives the engine a new stream and calls it the live one.
    fn hand_over(&mut self, stream: Box<Stream>) {
        self.shared.set_live_generation(stream.generation);
        self.waiting_stream = Some(stream);
    }

    fn next_generation(&mut self) -> u32 {
        self.generations = self.generations.checked_add(1).unwrap_or(1);
        self.generations
    }

    /// Takes over what the engine has heard, and tells it what follows.
    fn guard_against_feedback(&mut self) {
        while let Ok(point) = self.links.points.pop() {
            self.feedback.note(point);
        }
        let muted = self.feedback.is_muted();
        self.shared.set_feedback(muted, self.feedback.question());
        self.dirty |= self.picture.feedback != muted;
        self.picture.feedback = muted;
    }

    /// Takes note of how the host calls, and tells the engine when that cannot be playing.
    fn watch_host(&mut self, now: Time) {
        if !matches!(self.phase, Phase::Jamming { .. }) {
            return;
        }
        self.host.observe(now, self.shared.host_calls());
        self.shared.set_trusted(self.host.trusted());
        let activity = self.host.activity(now);
        self.dirty |= self.picture.host != activity;
        self.picture.host = activity;
    }

    /// Brings figures up to date.
    fn refresh(&mut self, now: Time) {
        self.watch_host(now);
        self.guard_against_feedback();
        self.apply_layout(now);
        self.follow_output(now);
        self.settle(now);
        let Phase::Jamming { jam, .. } = &self.phase else { return };
        let counts = self.shared.audio_counts();
        let start = self.audio_counts_at_start;
        let picture = &mut self.picture;
        picture.format = Some(jam.format());
        picture.client_buffer_frames = self.shared.buffer_frames();
        picture.client_surplus_frames = self.shared.surplus();
        picture.drift_ppm = jam.drift().map(|drift| (1e6 * drift) as f32);
        picture.ping_ms = jam.session.ping_ms();
        (picture.alignment, picture.alignment_grown) = self.shared.alignment();
        picture.stats = Stats {
            sent: jam.counts.sent,
            received: jam.counts.received,
            lost: counts.lost.saturating_sub(start.lost),
            late: counts.late.saturating_sub(start.late),
            concealed: counts.concealed.saturating_sub(start.concealed),
            slipped: counts.slipped.saturating_sub(start.slipped),
            held_back: jam.counts.held_back,
            wrong_size: jam.session.rejected_packets(),
        };
        picture.upstream_kbps = self.rate.update(now, jam.counts.sent, jam.counts.sent_bytes);
        let waited_ms = self.shared.waited_ms().filter(|_| picture.host != HostActivity::Stopped);
        picture.delay = picture.ping_ms.zip(waited_ms).map(|(ping_ms, waited_ms)| {
            self.gauge.read(&Way {
                format: jam.format(),
                block_ms: (1000.0 * self.shared.block_seconds().unwrap_or(0.0)) as f32,
                resampling_ms: self.shared.resampling_ms(),
                held_samples: jam.held_samples(),
                ping_ms,
                my_buffer_frames: picture.client_buffer_frames,
                waited_ms,
                grid_ms: self.shared.grid_ms(),
                server_buffer_frames: picture.server_buffer_frames,
            })
        });
        self.dirty = true;
    }

    fn with_jam(&mut self, act: impl FnOnce(&mut Jam)) {
        if let Phase::Jamming { jam, .. } = &mut self.phase {
            act(jam);
        }
    }
}

/// Whether a server that calls itself `version` is ours (docs/PROTOCOL.md §2).
fn is_ours(version: &str) -> bool {
    version.contains("jamulet")
}

fn fixed_frames(size: BufferSize) -> Option<u8> {
    match size {
        BufferSize::Auto => None,
        BufferSize::Frames(frames) => Some(frames),
    }
}

/// A profile as it travels: texts cut to what the protocol takes.
fn channel_info(profile: &Profile) -> ChannelInfo {
    ChannelInfo {
        country: profile.country,
        instrument: profile.instrument,
        skill: profile.skill,
        name: cut_to_utf16(&profile.name, MAX_NAME_UNITS).to_owned(),
        city: cut_to_utf16(&profile.city, MAX_CITY_UNITS).to_owned(),
    }
}

/// Upstream rate between two refreshes.
#[derive(Default)]
struct UpstreamRate {
    measured: Option<(Time, u64)>,
    kbps: f32,
}

impl UpstreamRate {
    fn update(&mut self, now: Time, packets: u64, bytes: u64) -> f32 {
        /// UDP and IPv4 headers of a datagram.
        const HEADER_BYTES: u64 = 28;
        let total = bytes + packets * HEADER_BYTES;
        if let Some((then, before)) = self.measured {
            let seconds = now.since(then).as_secs_f32();
            if seconds > 0.0 {
                self.kbps = total.saturating_sub(before) as f32 * 8.0 / 1000.0 / seconds;
            }
        }
        self.measured = Some((now, total));
        self.kbps
    }
}
