//! The jam itself: who plays what, and what came of it.

use std::io::{IsTerminal, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use jamulet::client::{ConnectionState, Handle, Profile, Settings, Stats};
use jamulet::server::{Options, Server};
use jamulet_testkit::clap_host::ClapPlugin;
use jamulet_testkit::diagnostics::{Diagnostics, Snapshot};
use jamulet_testkit::host::Plugin;
use jamulet_testkit::musician::Musician;
use jamulet_testkit::pace::{self, Stall};
use jamulet_testkit::part::{self, Stereo};
use jamulet_testkit::track::{SoundCard, Take, Track};
use jamulet_testkit::wav;
use jamulet_testkit::window::{HostWindow, Picture};
use serde_json::json;

use crate::arguments::Arguments;
use crate::{BLOCK_FRAMES, RATE_HZ};

/// From both being connected until levels are judged, in seconds: the server fades newcomers in
/// for three, and jitter buffers find their size.
pub(crate) const SETTLING_SECONDS: u32 = 4;
/// A server that has not answered by then never will.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Frames that one stall of the machine may cost: as many as a jitter buffer can hold.
pub(crate) const FRAMES_PER_STALL: u64 = 20;

/// What both musicians play, over and over.
pub(crate) struct Music {
    track: Stereo,
    partner: Stereo,
}

impl Music {
    /// The user's recording or the demo's own, and the demo's other part.
    pub(crate) fn choose(arguments: &Arguments) -> Result<Self> {
        let seconds = arguments.seconds as f32;
        let track = match &arguments.input {
            Some(path) => wav::read(path, RATE_HZ.into())?,
            None => part::guitar(seconds),
        };
        Ok(Self { track, partner: part::rhythm(seconds) })
    }
}

/// What was played, heard and counted, from the moment that both were connected.
pub(crate) struct Jam {
    /// What the plugin gave to the host.
    pub(crate) heard: Stereo,
    /// What the host gave to the plugin.
    pub(crate) track: Stereo,
    /// What the second musician played, at the time of `heard`.
    pub(crate) partner: Stereo,
    /// The editor, connected.
    pub(crate) editor: Picture,
    /// Size of the editor's window within the host's, in pixels.
    pub(crate) editor_size: [u32; 2],
    /// When the machine was late, in samples of `heard`.
    pub(crate) stalls: Vec<usize>,
    /// The worst of them.
    pub(crate) worst_stall: Duration,
    /// Duration of each `process()` call.
    pub(crate) cost: Vec<Duration>,
    /// The plugin about itself, [`SETTLING_SECONDS`] after the start and at the end.
    pub(crate) plugin: [Snapshot; 2],
    /// The second musician's counters at the same times.
    pub(crate) musician: [Stats; 2],
    /// How long it took to be connected.
    pub(crate) connected_after: Duration,
    /// The plugin left the session when it was told to.
    pub(crate) left: bool,
    /// Ticks that our own server began late.
    pub(crate) late_ticks: Option<u64>,
}

/// Plays.
pub(crate) fn play(arguments: &Arguments, music: Music, bundle: &Path, display: &str) -> Result<Jam> {
    let server = match arguments.server {
        Some(_) => None,
        None => {
            let options = Options { port: 0, bind_ip4: Some(Ipv4Addr::LOCALHOST), ..Options::default() };
            Some(Server::start(options).context("the demo's server did not start")?)
        }
    };
    let address = match (&arguments.server, &server) {
        (Some(address), _) => address.clone(),
        (None, Some(server)) => server.local_addr().to_string(),
        (None, None) => bail!("there is no server"),
    };

    let mut plugin = ClapPlugin::load(bundle)?;
    let diagnostics = Diagnostics::of(bundle)?;
    plugin.change_project(json!({"address": address, "name": "Guitar", "city": "Demo"}))?;
    let audio = plugin.activate(RATE_HZ.into(), BLOCK_FRAMES)?;
    let card = SoundCard { rate_hz: RATE_HZ.into(), block_frames: BLOCK_FRAMES, guarded: false };
    let connect = plugin.parameter("Connect")?.id;
    let track = Track::play(audio, card, looped(music.track))?;

    let profile = Profile { name: "Rhythm section".to_owned(), ..Profile::default() };
    let settings = Settings { profile, ..Settings::default() };
    let (musician, instrument) = Musician::create(settings, card.rate_hz, card.block_frames)?;
    let partner = Track::play(instrument, card, looped(music.partner))?;

    let mut stage = Stage { plugin, diagnostics, track, partner, musician, progress: Progress::new() };
    let connected_after = stage.connect(&address, connect)?;
    let begin = stage.track.frames() as usize;
    let (editor, editor_size, plugin, musician) = stage.perform(arguments.seconds, begin, display)?;
    let end = stage.track.frames() as usize;
    let left = stage.leave(connect)?;
    stage.progress.end();

    let Stage { plugin: mut host, track, partner, musician: handle, .. } = stage;
    let (mut track, partner) = (track.stop()?, partner.stop()?);
    handle.disconnect();
    let offset = seconds_between(&track, &partner) * f64::from(RATE_HZ);
    let jam = Jam {
        heard: cut(&track.output, begin as i64, end - begin),
        track: cut(&track.input, begin as i64, end - begin),
        partner: cut(&partner.input, begin as i64 - offset.round() as i64, end - begin),
        editor,
        editor_size,
        stalls: stalls_in(&track.stalls, begin, end),
        worst_stall: track.stalls.iter().map(|stall| stall.late).max().unwrap_or_default(),
        cost: track.cost[begin / BLOCK_FRAMES..end / BLOCK_FRAMES].to_vec(),
        plugin,
        musician,
        connected_after,
        left,
        late_ticks: server.as_ref().map(|server| server.stats().late_ticks),
    };
    host.deactivate(track.take_audio().context("a stopped track has its audio")?)?;
    Ok(jam)
}

/// Everybody, while they play.
struct Stage {
    /// Before the plugin, so that it falls silent first when something goes wrong.
    track: Track,
    partner: Track,
    plugin: ClapPlugin,
    diagnostics: Diagnostics,
    musician: Handle,
    progress: Progress,
}

impl Stage {
    /// Joins the session with both, and says how long the plugin took for it.
    fn connect(&mut self, address: &str, connect: u32) -> Result<Duration> {
        self.progress.say(&format!("connecting to {address}"));
        let start = pace::now();
        self.musician.connect(address);
        self.track.set(connect, 1.0)?;
        let mut plugin_took = None;
        loop {
            self.plugin.pump();
            let snapshot = self.diagnostics.instance(0)?;
            if let Some(reason) = snapshot.text("reason") {
                bail!("the plugin did not connect: {}", reason.trim_end_matches('.'));
            }
            if snapshot.is_connected() {
                plugin_took.get_or_insert(start.elapsed());
            }
            match (&self.musician.snapshot().state, plugin_took) {
                (ConnectionState::Failed(failure), _) => {
                    bail!(
                        "the second musician did not connect: {}",
                        failure.to_string().trim_end_matches('.')
                    )
                }
                (ConnectionState::Connected { .. }, Some(took)) => return Ok(took),
                _ => {}
            }
            ensure!(start.elapsed() < CONNECT_LIMIT, "nobody was connected after {CONNECT_LIMIT:?}");
            pace::sleep(Duration::from_millis(2));
        }
    }

    /// Plays for `seconds`, with the editor open from a third of that time on.
    #[expect(clippy::type_complexity, reason = "parts of one `Jam`, used in one place")]
    fn perform(
        &mut self,
        seconds: u32,
        begin: usize,
        display: &str,
    ) -> Result<(Picture, [u32; 2], [Snapshot; 2], [Stats; 2])> {
        let at = |second: f64| begin as u64 + (second * f64::from(RATE_HZ)) as u64;
        self.play_until(at(f64::from(SETTLING_SECONDS)), begin, seconds)?;
        let settled = (self.diagnostics.instance(0)?, self.musician.snapshot().stats);
        self.play_until(at(f64::from(seconds) / 3.0), begin, seconds)?;

        let size = self.plugin.editor_size()?;
        let window = HostWindow::open(display, size)?;
        let size = self.plugin.open_editor(window.id())?;
        window.resize(size)?;
        self.play_until(at(f64::from(seconds)), begin, seconds)?;
        let (picture, embedded) = (window.picture()?, window.embedded()?);
        let finished = (self.diagnostics.instance(0)?, self.musician.snapshot().stats);
        self.plugin.close_editor()?;
        // The window stays until the plugin's own is gone, as a host's does.
        let closed = pace::now();
        while !window.embedded()?.is_empty() && closed.elapsed() < Duration::from_secs(2) {
            self.plugin.pump();
            pace::sleep(Duration::from_millis(10));
        }
        let editor_size = embedded.first().copied().unwrap_or_default();
        Ok((picture, editor_size, [settled.0, finished.0], [settled.1, finished.1]))
    }

    fn play_until(&mut self, frame: u64, begin: usize, seconds: u32) -> Result<()> {
        while self.track.frames() < frame {
            self.plugin.pump();
            ensure!(self.track.is_playing() && self.partner.is_playing(), "the sound stopped");
            let snapshot = self.diagnostics.instance(0)?;
            if let Some(fault) = snapshot.text("fault") {
                bail!("{}", fault.trim_end_matches('.'));
            }
            ensure!(snapshot.is_connected(), "the connection was lost: {}", snapshot.0);
            let second = (self.track.frames() as usize - begin) / RATE_HZ as usize;
            self.progress.say(&format!(
                "{second:3} of {seconds} s, {} in the session, ping {:.1} ms, {} packets received, {} frames concealed",
                snapshot.names().len(),
                snapshot.number("ping_ms").unwrap_or(f64::NAN),
                snapshot.count("received"),
                snapshot.count("concealed"),
            ));
            pace::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Leaves the session by the parameter; whether that was done within two seconds.
    fn leave(&mut self, connect: u32) -> Result<bool> {
        self.progress.say("leaving");
        self.track.set(connect, 0.0)?;
        let start = pace::now();
        while self.diagnostics.instance(0)?.state() != "idle" {
            if start.elapsed() > Duration::from_secs(2) {
                return Ok(false);
            }
            self.plugin.pump();
            pace::sleep(Duration::from_millis(5));
        }
        Ok(true)
    }
}

/// One line that is written again and again on a terminal, and every few seconds elsewhere.
struct Progress {
    terminal: bool,
    said: Option<std::time::Instant>,
}

impl Progress {
    fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), said: None }
    }

    fn say(&mut self, text: &str) {
        let pause = Duration::from_millis(if self.terminal { 100 } else { 5000 });
        if self.said.is_some_and(|said| said.elapsed() < pause) {
            return;
        }
        self.said = Some(pace::now());
        if self.terminal {
            eprint!("\r\x1b[K{text}");
            // Progress that cannot be shown is no reason to stop.
            let _ = std::io::stderr().flush();
        } else {
            eprintln!("{text}");
        }
    }

    fn end(&mut self) {
        if self.terminal {
            eprintln!("\r\x1b[K");
        }
    }
}

/// Plays `sound` from its start, over and over.
fn looped(sound: Stereo) -> impl FnMut(u64, &mut [Vec<f32>]) + Send + 'static {
    move |start, input| {
        for (channel, sound) in input.iter_mut().zip(&sound) {
            for (index, sample) in channel.iter_mut().enumerate() {
                *sample = sound[(start as usize + index) % sound.len()];
            }
        }
    }
}

/// How much later than `first`'s the sound card of `second` was started, in seconds.
fn seconds_between(first: &Take, second: &Take) -> f64 {
    match second.start.checked_duration_since(first.start) {
        Some(later) => later.as_secs_f64(),
        None => -first.start.duration_since(second.start).as_secs_f64(),
    }
}

/// `length` samples from `start` on; silence where there is nothing.
fn cut(sound: &[Vec<f32>], start: i64, length: usize) -> Stereo {
    let channel = |channel: &Vec<f32>| -> Vec<f32> {
        (start..start + length as i64)
            .map(|index| {
                usize::try_from(index).ok().and_then(|index| channel.get(index)).copied().unwrap_or(0.0)
            })
            .collect()
    };
    [channel(&sound[0]), channel(&sound[1])]
}

fn stalls_in(stalls: &[Stall], begin: usize, end: usize) -> Vec<usize> {
    let frames = stalls.iter().map(|stall| stall.block as usize * BLOCK_FRAMES);
    frames.filter(|frame| (begin..end).contains(frame)).map(|frame| frame - begin).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_that_is_no_sound_is_refused_in_a_sentence() {
        for path in ["no/such/file.wav", "Cargo.toml"] {
            let arguments = Arguments { input: Some(path.into()), seconds: 20, server: None };
            let error = format!("{:#}", Music::choose(&arguments).err().expect("an error"));
            assert!(
                error.starts_with(&format!("{path} cannot be read as a WAV file")) && !error.contains('\n'),
                "{error}"
            );
        }
    }
}
