//! A plugin on a playing track: what most tests of sessions need.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::diagnostics::{Diagnostics, Snapshot};
use crate::host::{ChannelLayout, Flavour, Format, Plugin};
use crate::pace;
use crate::track::{SoundCard, Take, Track};

/// Longer than any state change that is waited for takes, on however slow a machine.
const LIMIT: Duration = Duration::from_secs(20);

/// A plugin instance whose track plays.
pub struct Player {
    /// Before the plugin, so that a player that is dropped falls silent first.
    track: Track,
    plugin: Box<dyn Plugin>,
    diagnostics: Diagnostics,
    /// Its place among the living instances of this process, in order of creation.
    index: usize,
    connect: u32,
}

impl Player {
    /// Creates the `index`-th living instance of this process, with these fields of its project,
    /// and plays what `source` gives.
    pub fn new(
        format: Format,
        index: usize,
        layout: ChannelLayout,
        card: SoundCard,
        project: Value,
        source: impl FnMut(u64, &mut [Vec<f32>]) + Send + 'static,
    ) -> Result<Self> {
        Self::with_flavour(format, Flavour::Stereo, index, layout, card, project, source)
    }

    /// Likewise, with a flavour of the plugin.
    pub fn with_flavour(
        format: Format,
        flavour: Flavour,
        index: usize,
        layout: ChannelLayout,
        card: SoundCard,
        project: Value,
        source: impl FnMut(u64, &mut [Vec<f32>]) + Send + 'static,
    ) -> Result<Self> {
        let mut plugin = format.create_flavour(flavour)?;
        plugin.change_project(project)?;
        plugin.set_layout(layout)?;
        let connect = plugin.parameter("Connect")?.id;
        let audio = plugin.activate(card.rate_hz, card.block_frames)?;
        let track = Track::play(audio, card, source)?;
        Ok(Self { plugin, track, diagnostics: Diagnostics::of_own_library()?, index, connect })
    }

    /// The plugin, for what is done on the main thread.
    pub fn plugin(&mut self) -> &mut dyn Plugin {
        &mut *self.plugin
    }

    /// Sets the parameter called `name`, 0..=1, by automation.
    pub fn automate(&mut self, name: &str, value: f64) -> Result<()> {
        let id = self.plugin.parameter(name)?.id;
        self.track.set(id, value)
    }

    /// Joins the session by the Connect parameter and waits until it is in.
    pub fn join(&mut self) -> Result<Snapshot> {
        self.track.set(self.connect, 1.0)?;
        self.wait_for("the connection", Snapshot::is_connected)
    }

    /// Leaves the session by the Connect parameter and waits until it is out.
    pub fn leave(&mut self) -> Result<Snapshot> {
        self.track.set(self.connect, 0.0)?;
        self.wait_for("the end of the connection", |snapshot| snapshot.state() == "idle")
    }

    /// The plugin about itself.
    pub fn snapshot(&self) -> Result<Snapshot> {
        self.diagnostics.instance(self.index)
    }

    /// Says something in the session.
    pub fn chat(&self, text: &str) -> Result<()> {
        self.diagnostics.chat(self.index, text)
    }

    /// Waits until the plugin is as `condition` wants it.
    pub fn wait_for(&mut self, what: &str, condition: impl Fn(&Snapshot) -> bool) -> Result<Snapshot> {
        let start = pace::now();
        loop {
            self.plugin.pump();
            let snapshot = self.snapshot()?;
            if condition(&snapshot) {
                return Ok(snapshot);
            }
            if start.elapsed() > LIMIT {
                bail!("{what} did not come within {LIMIT:?}: {}", snapshot.0);
            }
            if !self.track.is_playing() {
                bail!("the sound stopped while waiting for {what}");
            }
            pace::sleep(Duration::from_millis(5));
        }
    }

    /// Samples played so far.
    pub fn frames(&self) -> u64 {
        self.track.frames()
    }

    /// Plays on for so many samples.
    pub fn play_on(&mut self, frames: u64) -> Result<()> {
        let end = self.track.frames() + frames;
        while self.track.frames() < end {
            if !self.track.is_playing() {
                bail!("the sound stopped");
            }
            self.plugin.pump();
            pace::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Stops the sound, as a host does when its settings change, and plays on with another card.
    pub fn change_card(
        self,
        card: SoundCard,
        source: impl FnMut(u64, &mut [Vec<f32>]) + Send + 'static,
    ) -> Result<(Self, Take)> {
        let Self { mut plugin, track, diagnostics, index, connect } = self;
        let mut take = track.stop()?;
        plugin.deactivate(take.take_audio().context("a stopped track has its audio")?)?;
        let audio = plugin.activate(card.rate_hz, card.block_frames)?;
        let track = Track::play(audio, card, source)?;
        Ok((Self { plugin, track, diagnostics, index, connect }, take))
    }

    /// Stops the sound, has `body` do something with the silent plugin, and plays on as before.
    pub fn pause(
        self,
        card: SoundCard,
        source: impl FnMut(u64, &mut [Vec<f32>]) + Send + 'static,
        body: impl FnOnce(&mut dyn Plugin, &dyn Fn() -> Result<Snapshot>) -> Result<()>,
    ) -> Result<Self> {
        let Self { mut plugin, track, diagnostics, index, connect } = self;
        let mut take = track.stop()?;
        plugin.deactivate(take.take_audio().context("a stopped track has its audio")?)?;
        body(&mut *plugin, &|| diagnostics.instance(index))?;
        let audio = plugin.activate(card.rate_hz, card.block_frames)?;
        let track = Track::play(audio, card, source)?;
        Ok(Self { plugin, track, diagnostics, index, connect })
    }

    /// Stops the sound and hands everything back.
    pub fn finish(self) -> Result<(Box<dyn Plugin>, Take)> {
        let Self { mut plugin, track, .. } = self;
        let mut take = track.stop()?;
        plugin.deactivate(take.take_audio().context("a stopped track has its audio")?)?;
        Ok((plugin, take))
    }
}

/// Plays a sine of peak `amplitude` on all channels.
pub fn sine(
    rate_hz: f64,
    frequency_hz: f64,
    amplitude: f64,
) -> impl FnMut(u64, &mut [Vec<f32>]) + Send + 'static {
    move |start, input| {
        for channel in input {
            for (index, sample) in channel.iter_mut().enumerate() {
                let turns = (frequency_hz * (start + index as u64) as f64 / rate_hz).fract();
                *sample = (amplitude * (std::f64::consts::TAU * turns).sin()) as f32;
            }
        }
    }
}

/// Runs a test that needs a machine which keeps up with real time: `attempt` says how often the
/// machine stalled and how the test went. With more than three stalls what was heard proves
/// nothing, and the test is repeated; a machine that is never quiet fails it in the end.
///
/// A run that fails with fewer stalls is repeated as well, because the pacing thread, which runs
/// ahead of everything, does not see each time that a server or a network thread had to wait. What
/// is wrong with us fails three times.
pub fn in_real_time(mut attempt: impl FnMut() -> Result<(usize, Result<()>)>) -> Result<()> {
    const MAX_STALLS: usize = 3;
    const QUIET_ATTEMPTS: usize = 3;
    const ATTEMPTS: usize = 8;
    let (mut last, mut quiet) = (Ok(()), 0);
    for number in 1..=ATTEMPTS {
        let (stalls, outcome) = attempt()?;
        if stalls <= MAX_STALLS && outcome.is_ok() {
            return Ok(());
        }
        println!("attempt {number}: the machine stalled {stalls} times ({outcome:?})");
        quiet += usize::from(stalls <= MAX_STALLS);
        last = outcome;
        if quiet == QUIET_ATTEMPTS {
            break;
        }
    }
    last?;
    bail!(
        "the machine is too busy for a test in real time: each of {ATTEMPTS} runs had more than {MAX_STALLS} stalls"
    )
}
