//! A plugin as a host sees it, whichever its format. The two hosts are [`crate::clap_host`] and
//! [`crate::vst3_host`]; what drives the audio half like a sound card is [`crate::track`].

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// One plugin instance. It stays on the thread that created it, which plays the host's main
/// thread and must call [`Plugin::pump`] often.
pub trait Plugin {
    /// Its format.
    fn format(&self) -> Format;

    /// Its parameters, in the plugin's order.
    fn parameters(&mut self) -> Vec<Parameter>;

    /// Present value of a parameter, 0..=1.
    fn value(&mut self, id: u32) -> Result<f64>;

    /// Sets a parameter, 0..=1, while no audio runs. (While it runs, automation is the way in:
    /// see [`Block::changes`].)
    fn set_value(&mut self, id: u32, value: f64) -> Result<()>;

    /// What the plugin shows for `value` of a parameter.
    fn text(&mut self, id: u32, value: f64) -> Result<String>;

    /// What the plugin reads from `text` as a value of a parameter, 0..=1.
    fn value_of_text(&mut self, id: u32, text: &str) -> Result<f64>;

    /// The state as it would be stored in a project.
    fn save(&mut self) -> Result<Vec<u8>>;

    /// Restores a state.
    fn load(&mut self, state: &[u8]) -> Result<()>;

    /// Chooses the channel layout, while inactive.
    fn set_layout(&mut self, layout: ChannelLayout) -> Result<()>;

    /// Renders from the next activation on, or plays again.
    fn set_offline(&mut self, offline: bool) -> Result<()>;

    /// Whether the plugin has declared that it cannot render.
    fn is_realtime_only(&mut self) -> Result<bool>;

    /// Delay that the plugin reports, in samples.
    fn latency(&mut self) -> Result<u32>;

    /// Prepares for audio and hands out the audio half; at most one at a time.
    fn activate(&mut self, rate_hz: f64, max_block_frames: usize) -> Result<Box<dyn Audio>>;

    /// Takes the audio half back, which must have been stopped.
    fn deactivate(&mut self, audio: Box<dyn Audio>) -> Result<()>;

    /// Whether the plugin has a window of its own to embed.
    fn has_editor(&mut self) -> bool;

    /// Opens the editor within the X11 window `parent` and returns its size in pixels.
    fn open_editor(&mut self, parent: u32) -> Result<[u32; 2]>;

    /// The editor's size in pixels, also while it is closed where the format allows to ask.
    fn editor_size(&mut self) -> Result<[u32; 2]>;

    /// Tells the open editor that the user has dragged its window to this size in pixels.
    fn resize_editor(&mut self, size: [u32; 2]) -> Result<()>;

    /// Closes the editor.
    fn close_editor(&mut self) -> Result<()>;

    /// Does what the plugin has asked the main thread for: callbacks, timers, file descriptors.
    fn pump(&mut self);

    /// The parameter that is called `name`.
    fn parameter(&mut self, name: &str) -> Result<Parameter> {
        let parameters = self.parameters();
        let names: Vec<&str> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
        let found = names.iter().position(|known| *known == name);
        let found = found.with_context(|| format!("there is no parameter {name:?} among {names:?}"))?;
        Ok(parameters[found].clone())
    }

    /// Present value of the parameter that is called `name`, 0..=1.
    fn value_of(&mut self, name: &str) -> Result<f64> {
        let id = self.parameter(name)?.id;
        self.value(id)
    }

    /// Sets the parameter that is called `name`, 0..=1, while no audio runs.
    fn set_value_of(&mut self, name: &str, value: f64) -> Result<()> {
        let id = self.parameter(name)?.id;
        self.set_value(id, value)
    }

    /// The state, taken apart.
    fn state(&mut self) -> Result<State> {
        State::parse(self.format(), &self.save()?)
    }

    /// Restores a state that was taken apart.
    fn set_state(&mut self, state: &State) -> Result<()> {
        let bytes = state.to_bytes(self.format());
        self.load(&bytes)
    }

    /// Changes fields of what the plugin keeps beside its parameters, as if the project file had
    /// been written by hand: `{"address": "host:port"}` and so on.
    fn change_project(&mut self, fields: Value) -> Result<()> {
        let mut state = self.state()?;
        state.change_project(fields)?;
        self.set_state(&state)
    }
}

/// The half of a plugin that makes sound. It lives on one audio thread at a time.
pub trait Audio: Send {
    /// Channels of the main input and output.
    fn layout(&self) -> ChannelLayout;

    /// Stereo outputs beside the main one.
    fn extra_outputs(&self) -> usize {
        0
    }

    /// Channels of all outputs.
    fn output_channels(&self) -> usize {
        self.layout().outputs + 2 * self.extra_outputs()
    }

    /// Announces audio; on the audio thread.
    fn start(&mut self) -> Result<()>;

    /// Processes one block under [`crate::guard::watch`]; on the audio thread.
    fn process(&mut self, block: &mut Block<'_>) -> Result<()>;

    /// Hands over input and output in the same memory from now on, or in different places (as at first).
    fn set_in_place(&mut self, _in_place: bool) {}

    /// Ends audio; on the audio thread.
    fn stop(&mut self);
}

/// What a host gives to one `process()` call.
pub struct Block<'a> {
    /// One slice per input channel, all of the same length, at most what was activated for.
    pub input: &'a [&'a [f32]],
    /// One slice per output channel, as long as the inputs; those of the main output come first. With no channels at
    /// all (and inputs neither) a VST3 host only hands over changes, as some do while nothing plays.
    pub output: &'a mut [&'a mut [f32]],
    /// Parameters to set at the block's start: id and value 0..=1.
    pub changes: &'a [(u32, f64)],
}

/// Most parameter changes in one block.
pub const MAX_CHANGES: usize = 16;

/// A plugin format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// CLAP.
    Clap,
    /// VST3.
    Vst3,
}

impl Format {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Clap, Self::Vst3];

    /// Creates an instance of the plugin that was built together with this program.
    pub fn create(self) -> Result<Box<dyn Plugin>> {
        self.create_flavour(Flavour::Stereo)
    }

    /// Likewise, of one of its flavours.
    pub fn create_flavour(self, flavour: Flavour) -> Result<Box<dyn Plugin>> {
        let path = library()?;
        Ok(match self {
            Self::Clap => Box::new(crate::clap_host::ClapPlugin::load_flavour(&path, flavour)?),
            Self::Vst3 => Box::new(crate::vst3_host::Vst3Plugin::load_flavour(&path, flavour)?),
        })
    }
}

/// The plugins in the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// One output.
    Stereo,
    /// Three outputs, all stereo.
    MultiOut,
}

impl Flavour {
    /// What hosts list.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stereo => "Jamulet",
            Self::MultiOut => "Jamulet Multi-Out",
        }
    }

    /// Stereo outputs beside the main one.
    pub fn extra_outputs(self) -> usize {
        match self {
            Self::Stereo => 0,
            Self::MultiOut => 2,
        }
    }
}

/// Channels of a plugin's main input and output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelLayout {
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
}

impl ChannelLayout {
    /// Stereo in and out.
    pub const STEREO: Self = Self { inputs: 2, outputs: 2 };
    /// Mono in and out.
    pub const MONO: Self = Self { inputs: 1, outputs: 1 };
    /// Mono in, stereo out.
    pub const MONO_TO_STEREO: Self = Self { inputs: 1, outputs: 2 };
}

/// What a plugin says about a parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Its value in a fresh instance, 0..=1.
    pub default: f64,
    /// Whether a host may automate it.
    pub automatable: bool,
    /// Whether the host's bypass button is to move it.
    pub bypass: bool,
}

/// A saved state, taken apart: the same JSON in both formats, in CLAP with its length before it.
#[derive(Clone, Debug, PartialEq)]
pub struct State(pub Value);

/// The key under which the plugin keeps what is no parameter.
const PROJECT_KEY: &str = "jamulet";

impl State {
    /// Takes the bytes of a state apart.
    pub fn parse(format: Format, bytes: &[u8]) -> Result<Self> {
        let json = match format {
            Format::Clap => bytes.get(8..).context("a CLAP state begins with eight bytes of length")?,
            Format::Vst3 => bytes,
        };
        Ok(Self(serde_json::from_slice(json).context("the state is no JSON")?))
    }

    /// The bytes of the state.
    pub fn to_bytes(&self, format: Format) -> Vec<u8> {
        let json = self.0.to_string().into_bytes();
        match format {
            Format::Clap => [&(json.len() as u64).to_le_bytes(), &json[..]].concat(),
            Format::Vst3 => json,
        }
    }

    /// A parameter's saved value, in its own unit.
    pub fn parameter(&self, id: &str) -> Option<&Value> {
        self.0.get("params")?.get(id).map(|value| match value {
            // Each value is tagged with its type: {"f32": 0.5}.
            Value::Object(tagged) if tagged.len() == 1 => tagged.values().next().unwrap_or(value),
            plain => plain,
        })
    }

    /// What the plugin keeps beside its parameters: address, profile, window and so on.
    pub fn project(&self) -> Result<Value> {
        let field = self.0.get("fields").and_then(|fields| fields.get(PROJECT_KEY)).and_then(Value::as_str);
        serde_json::from_str(field.context("the state holds no project")?).context("the project is no JSON")
    }

    /// Sets some of the project's fields.
    pub fn change_project(&mut self, fields: Value) -> Result<()> {
        let mut project = self.project()?;
        let (Value::Object(project_fields), Value::Object(fields)) = (&mut project, fields) else {
            bail!("a project is a JSON object");
        };
        project_fields.extend(fields);
        self.0["fields"][PROJECT_KEY] = Value::String(project.to_string());
        Ok(())
    }
}

/// The plugin's library that cargo built together with this test program.
///
/// `JAMULET_LIBRARY` names another one, such as a bundle's.
///
/// # Errors
/// Also when the plugin would use the settings of whoever runs this.
pub fn library() -> Result<PathBuf> {
    if std::env::var_os("JAMULET_FOLDER").is_none() {
        bail!("run this through cargo, or set JAMULET_FOLDER, or the plugin uses your own settings");
    }
    if let Some(path) = std::env::var_os("JAMULET_LIBRARY") {
        return Ok(path.into());
    }
    // Beside the test program, in `deps`: what lies one folder up is not made anew by `cargo test`.
    let folder = std::env::current_exe()?.parent().context("a program lies in a folder")?.to_owned();
    let name = format!("{}jamulet{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let path = folder.join(name);
    if !path.exists() {
        bail!("{} is missing: run this through `cargo xtask test hosts`", path.display());
    }
    Ok(path)
}
