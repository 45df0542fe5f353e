//! The cables between stock clients and a test: what each of them hears is played to it, what it plays is
//! recorded, sample by sample on the JACK server's own clock.

#![expect(clippy::disallowed_methods, reason = "JACK runs in real time")]

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use ::jack::{
    AsyncClient, AudioIn, AudioOut, Client, Control, Frames, MidiOut, NotificationHandler, Port, PortFlags,
    ProcessHandler, ProcessScope, RawMidi,
};
use anyhow::{Context as _, Result, bail};

use crate::stall_watch::StallWatch;
use crate::stock::JackServer;

/// JACK's name for ports that carry sound.
const SOUND: &str = "32 bit float mono audio";
/// How long a client may take to open its ports.
const PATIENCE: Duration = Duration::from_secs(10);

/// One program at the rig, a client of sessions for the most part.
pub struct Part {
    /// Name of its JACK client: [`crate::stock::StockClient::jack_name`]. Where no [`Ports`] are named it has two
    /// inputs and two outputs for sound, whose names come left before right in the alphabet.
    pub jack_name: String,
    /// What it hears at its left and right input, from the rig's start; silence afterwards.
    pub play: [Vec<f32>; 2],
}

/// Names of a part's ports, left and right, after the colon.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// Where it is played to.
    pub inputs: [&'static str; 2],
    /// Where it is recorded from.
    pub outputs: [&'static str; 2],
}

/// Plays to and records from stock clients.
///
/// Position 0 is the rig's start, for what is played and for what is recorded, in samples at 48 kHz.
pub struct Rig {
    // Two JACK clients: one that both plays and records would close a loop in JACK's graph, and JACK
    // would delay one of its ends by a block.
    player: AsyncClient<(), Player>,
    recorder: AsyncClient<XrunLog, Recorder>,
    position: Arc<AtomicUsize>,
    midi: Sender<MidiCommand>,
    xruns: Receiver<Frames>,
    start: Arc<Start>,
}

/// What a [`Rig`] recorded.
pub struct Recording {
    /// Left and right output of each part, in the order of the parts.
    pub tracks: Vec<[Vec<f32>; 2]>,
    /// Where JACK itself stumbled, as positions: blocks that it skipped, began late or did not finish in
    /// time, and the xruns that it reports.
    pub xruns: Vec<Range<usize>>,
}

impl Rig {
    /// Waits for the ports of every stock client, connects them, and starts to play and to record at most
    /// `seconds` of it.
    pub fn start(server: &JackServer, parts: Vec<Part>, seconds: usize) -> Result<Self> {
        Self::connected(server, parts, seconds, None)
    }

    /// The same for programs that have more ports than these.
    pub fn start_at(server: &JackServer, parts: Vec<Part>, seconds: usize, ports: Ports) -> Result<Self> {
        Self::connected(server, parts, seconds, Some(ports))
    }

    fn connected(
        server: &JackServer,
        parts: Vec<Part>,
        seconds: usize,
        ports: Option<Ports>,
    ) -> Result<Self> {
        let (player, recorder) = (server.open("rig play")?, server.open("rig record")?);
        let position = Arc::new(AtomicUsize::new(0));
        let start = Arc::new(Start::default());
        let (midi, midi_commands) = channel();
        let (xrun_log, xruns) = channel();

        let mut outputs = Vec::new();
        let mut inputs = Vec::new();
        for (index, part) in parts.iter().enumerate() {
            outputs.push(PlayedPart {
                ports: [
                    player.register_port(&format!("{index} left"), AudioOut::default())?,
                    player.register_port(&format!("{index} right"), AudioOut::default())?,
                ],
                midi: player.register_port(&format!("{index} midi"), MidiOut::default())?,
                play: part.play.clone(),
            });
            inputs.push(RecordedPart {
                ports: [
                    recorder.register_port(&format!("{index} left"), AudioIn::default())?,
                    recorder.register_port(&format!("{index} right"), AudioIn::default())?,
                ],
                track: [vec![0.0; seconds * 48_000], vec![0.0; seconds * 48_000]],
            });
        }
        let player =
            player.activate_async((), Player { parts: outputs, start: Arc::clone(&start), midi_commands })?;
        let recorder = recorder.activate_async(
            XrunLog { log: xrun_log },
            Recorder {
                parts: inputs,
                start: Arc::clone(&start),
                position: Arc::clone(&position),
                expected: 0,
                last_block_usecs: 0,
                stumbles: Vec::with_capacity(10_000),
                period: server.period(),
            },
        )?;
        for (index, part) in parts.iter().enumerate() {
            let name = &part.jack_name;
            let (inputs, outputs) = match ports {
                Some(Ports { inputs, outputs }) => {
                    let full = |ports: [&str; 2]| ports.map(|port| format!("{name}:{port}"));
                    (full(inputs), full(outputs))
                }
                None => (
                    sound_ports(player.as_client(), name, PortFlags::IS_INPUT)?,
                    sound_ports(player.as_client(), name, PortFlags::IS_OUTPUT)?,
                ),
            };
            for (side, (input, output)) in ["left", "right"].iter().zip(inputs.iter().zip(&outputs)) {
                connect(player.as_client(), &format!("rig play:{index} {side}"), input)?;
                connect(recorder.as_client(), output, &format!("rig record:{index} {side}"))?;
            }
            let midi_input = format!("{}:input midi", part.jack_name);
            if player.as_client().port_by_name(&midi_input).is_some() {
                connect(player.as_client(), &format!("rig play:{index} midi"), &midi_input)?;
            }
        }
        start.go();
        Ok(Self { player, recorder, position, midi, xruns, start })
    }

    /// Samples recorded so far.
    pub fn position(&self) -> usize {
        self.position.load(Ordering::Relaxed)
    }

    /// Waits until `position` samples are recorded.
    pub fn wait_until(&self, position: usize) -> Result<()> {
        let missing = position.saturating_sub(self.position());
        let deadline = Instant::now() + Duration::from_secs_f64(missing as f64 / 48_000.0) + PATIENCE;
        while self.position() < position {
            if Instant::now() > deadline {
                bail!("JACK stopped at sample {} on the way to {position}", self.position());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Turns a MIDI controller (0..=127, on channel 1) of the mixer of the client of `part`.
    pub fn control_change(&self, part: usize, controller: u8, value: u8) {
        // The receiver lives in the player, which lives as long as the rig.
        let _ = self.midi.send(MidiCommand { part, bytes: [0xB0, controller & 0x7F, value & 0x7F] });
    }

    /// Starts to watch for delays of the machine of more than `tolerance`.
    pub fn watch_stalls(&self, tolerance: Duration) -> Result<StallWatch> {
        let position = Arc::clone(&self.position);
        StallWatch::start(tolerance, move || position.load(Ordering::Relaxed))
    }

    /// Ends playing and recording.
    pub fn stop(self) -> Result<Recording> {
        self.player.deactivate().context("JACK's player")?;
        let (_, _, recorder) = self.recorder.deactivate().context("JACK's recorder")?;
        let mut xruns = recorder.stumbles;
        xruns.extend(self.xruns.try_iter().map(|frame| {
            let position = self.start.position(frame).unwrap_or(0);
            position.saturating_sub(recorder.period as usize)..position
        }));
        let length = recorder.position.load(Ordering::Relaxed);
        let tracks = recorder
            .parts
            .into_iter()
            .map(|part| {
                part.track.map(|mut track| {
                    track.truncate(length);
                    track
                })
            })
            .collect();
        Ok(Recording { tracks, xruns })
    }
}

/// When position 0 was, by JACK's clock.
///
/// It is the beginning of a block, so that every run meets the clients' codecs in the same phase.
#[derive(Default)]
struct Start {
    may_begin: AtomicBool,
    /// Frame time plus 2³², or 0 before the start.
    frame: AtomicU64,
}

impl Start {
    /// Lets the player begin with its next block.
    fn go(&self) {
        self.may_begin.store(true, Ordering::Release);
    }

    /// Position of the block that starts at `frame`, which may become the first.
    fn position_of_block(&self, frame: Frames) -> Option<usize> {
        if self.may_begin.load(Ordering::Acquire) && self.frame.load(Ordering::Acquire) == 0 {
            self.frame.store(u64::from(frame) | 1 << 32, Ordering::Release);
        }
        self.position(frame)
    }

    /// Position of the moment `frame`; `None` before the start.
    fn position(&self, frame: Frames) -> Option<usize> {
        let start = self.frame.load(Ordering::Acquire);
        let position = frame.wrapping_sub(start as u32) as i32;
        if start == 0 { None } else { usize::try_from(position).ok() }
    }
}

struct MidiCommand {
    part: usize,
    bytes: [u8; 3],
}

struct PlayedPart {
    ports: [Port<AudioOut>; 2],
    midi: Port<MidiOut>,
    play: [Vec<f32>; 2],
}

struct Player {
    parts: Vec<PlayedPart>,
    start: Arc<Start>,
    midi_commands: Receiver<MidiCommand>,
}

impl ProcessHandler for Player {
    fn process(&mut self, _: &Client, scope: &ProcessScope) -> Control {
        let position = self.start.position_of_block(scope.last_frame_time());
        for part in &mut self.parts {
            for (port, play) in part.ports.iter_mut().zip(&part.play) {
                let block = port.as_mut_slice(scope);
                block.fill(0.0);
                if let Some(music) = position.and_then(|position| play.get(position..)) {
                    block.iter_mut().zip(music).for_each(|(to, &from)| *to = from);
                }
            }
        }
        let commands: Vec<MidiCommand> = self.midi_commands.try_iter().collect();
        for (index, part) in self.parts.iter_mut().enumerate() {
            let mut writer = part.midi.writer(scope);
            for command in commands.iter().filter(|command| command.part == index) {
                // A full buffer loses the command, and the test that waits for its effect says so.
                let _ = writer.write(&RawMidi { time: 0, bytes: &command.bytes });
            }
        }
        Control::Continue
    }
}

struct RecordedPart {
    ports: [Port<AudioIn>; 2],
    track: [Vec<f32>; 2],
}

struct Recorder {
    parts: Vec<RecordedPart>,
    start: Arc<Start>,
    position: Arc<AtomicUsize>,
    expected: usize,
    last_block_usecs: u64,
    stumbles: Vec<Range<usize>>,
    period: u32,
}

impl ProcessHandler for Recorder {
    fn process(&mut self, _: &Client, scope: &ProcessScope) -> Control {
        let Some(position) = self.start.position(scope.last_frame_time()) else {
            return Control::Continue;
        };
        let mut end = position;
        for part in &mut self.parts {
            for (port, track) in part.ports.iter().zip(&mut part.track) {
                let block = port.as_slice(scope);
                end = (position + block.len()).min(track.len());
                if position < end {
                    track[position..end].copy_from_slice(&block[..end - position]);
                }
            }
        }
        self.watch_jack(position, scope);
        self.position.store(end, Ordering::Relaxed);
        Control::Continue
    }
}

impl Recorder {
    /// Notes what JACK's clock tells: reports of xruns come late and not for everything.
    fn watch_jack(&mut self, position: usize, scope: &ProcessScope) {
        let period = self.period as usize;
        let block_usecs = scope.cycle_times().map_or(0, |times| times.current_usecs);
        let begins_late = self.last_block_usecs > 0
            && block_usecs.saturating_sub(self.last_block_usecs) * 48 > 1500 * u64::from(self.period);
        // The recorder is the last in JACK's graph: the clients before it have used up this much of the block.
        let ends_late = scope.frames_since_cycle_start() > self.period * 3 / 4;
        let skipped = self.expected > 0 && position > self.expected;
        if begins_late || ends_late || skipped {
            self.stumbles.push(self.expected.min(position)..position + period);
        }
        self.expected = position + period;
        self.last_block_usecs = block_usecs;
    }
}

struct XrunLog {
    log: Sender<Frames>,
}

impl NotificationHandler for XrunLog {
    fn xrun(&mut self, client: &Client) -> Control {
        // Nobody listens any more once the rig has stopped.
        let _ = self.log.send(client.frame_time());
        Control::Continue
    }
}

/// Left and right of a client's ports in one direction, as soon as both exist.
fn sound_ports(client: &Client, name: &str, direction: PortFlags) -> Result<[String; 2]> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut ports = client.ports(Some(&format!("^{name}:")), Some(SOUND), direction);
        ports.sort();
        match <[String; 2]>::try_from(ports) {
            Ok(ports) => return Ok(ports),
            Err(ports) if Instant::now() > deadline => {
                bail!("{name} should have two ports for sound ({direction:?}), but has {ports:?}")
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Connects two ports as soon as both exist.
fn connect(client: &Client, from: &str, to: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match client.connect_ports_by_name(from, to) {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => {
                return Err(error).with_context(|| format!("JACK cannot connect {from} to {to}"));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}
