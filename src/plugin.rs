//! The plugin: what a host loads, and its window.
//!
//! One instance owns one client. [`Jamulet`] is the audio half and runs on the host's threads;
//! [`editor`] opens windows, [`app`] glues a window to the client, [`view`] draws. No panic leaves
//! this room ([`guard`]).

use std::num::NonZeroU32;
use std::sync::Arc;

use nice_plug::prelude::*;

pub mod app;
pub mod diagnostics;
pub mod editor;
pub mod guard;
pub mod html;
pub mod multi_out;
pub mod params;
#[cfg(feature = "standalone")]
pub mod standalone;
pub mod state;
pub mod strips;
pub mod user_file;
mod user_folder;
pub mod view;

use self::editor::JamuletEditor;
use self::guard::{Entry, Guard};
use self::multi_out::JamuletMultiOut;
use self::params::{JamuletParams, Levels};
use self::state::{Project, SavedState};
use self::user_file::UserFile;
use crate::client::{self, Controls, Engine, ExtraOutputs, Handle, Output};

/// What the audio half and the windows of one instance share.
pub struct Instance {
    /// Commands to the client; `None` if creating it failed.
    pub handle: Option<Handle>,
    /// Parameters.
    pub params: Arc<JamuletParams>,
    /// What the project saves besides parameters.
    pub project: Arc<Project>,
    /// Contains panics.
    pub guard: Arc<Guard>,
}

/// The audio half of one instance.
pub struct Jamulet {
    instance: Arc<Instance>,
    /// `None` if creating it failed: then the track passes through.
    engine: Option<Engine>,
    /// The engine panicked and is not touched again: the track passes through.
    abandoned: bool,
    /// Channels of the track, 1 or 2.
    input_channels: usize,
    /// The host says that it renders.
    offline: bool,
    _registration: diagnostics::Registration,
}

impl Jamulet {
    fn new(saved: SavedState, user: Arc<UserFile>, levels: Levels) -> Self {
        let guard = Arc::new(Guard::from_env());
        let create = || Some(client::create(saved.settings.clone()));
        let (handle, engine) = guard.run(Entry::Create, || None, create).unzip();
        if let Some(handle) = handle.as_ref().filter(|_| guard.injects(Entry::Network)) {
            handle.panic_network_thread();
        }
        let registration = diagnostics::register(handle.clone(), Arc::clone(&guard));
        let project = Project::new(saved, user, handle.clone(), Arc::clone(&guard));
        let params = JamuletParams::new(levels, Arc::clone(&project), handle.clone(), Arc::clone(&guard));
        let params = Arc::new(params);
        let shown = Arc::downgrade(&params);
        project.on_rejoin(move || shown.upgrade().iter().for_each(|params| params.show_connect()));
        let instance = Instance { handle, params, project, guard };
        Self {
            instance: Arc::new(instance),
            engine,
            abandoned: false,
            input_channels: 2,
            offline: false,
            _registration: registration,
        }
    }

    /// Gives up an engine that panicked: it may be half changed. It is dropped with the instance, for
    /// this may be the audio thread, and its client's thread must end before a host unloads us.
    fn abandon_engine(&mut self) {
        self.abandoned = true;
        if let (Some(handle), Some(fault)) = (&self.instance.handle, self.instance.guard.fault()) {
            handle.report_fault(fault);
        }
    }
}

impl Default for Jamulet {
    fn default() -> Self {
        let user = UserFile::of_user();
        #[cfg(feature = "standalone")]
        if let Some(state) = standalone::initial_state() {
            let levels = state.levels();
            let app = Self::new(state.project, user, levels);
            standalone::made(&app.instance);
            return app;
        }
        let saved = SavedState { settings: user.data().settings.clone(), ..SavedState::default() };
        Self::new(saved, user, Levels::default())
    }
}

impl Drop for Jamulet {
    fn drop(&mut self) {
        let engine = self.engine.take();
        self.instance.guard.run(Entry::Drop, || (), || drop(engine));
    }
}

/// What hosts call, for both flavours of the plugin.
impl Jamulet {
    /// Gets ready; tells the latency to report, in samples, and whether we can work at this rate.
    fn prepare(&mut self, layout: &AudioIOLayout, config: &BufferConfig, api: PluginApi) -> (u32, bool) {
        self.input_channels = layout.main_input_channels.map_or(0, |channels| channels.get() as usize);
        // nice-plug 0.4.2 hands the mode of the setup *before* this one to VST3 plugins: after a render it would
        // be wrong for ever. There the client notices by itself that sound comes faster than time passes.
        self.offline = api != PluginApi::Vst3 && config.process_mode == ProcessMode::Offline;
        let latency_ms = f64::from(self.instance.project.saved().latency_ms);
        let latency = (latency_ms / 1000.0 * f64::from(config.sample_rate)).round() as u32;
        let Some(engine) = self.engine.as_mut().filter(|_| !self.abandoned) else { return (latency, true) };
        let mut prepare = || engine.prepare(f64::from(config.sample_rate), config.max_buffer_size as usize);
        match self.instance.guard.run(Entry::Activate, || None, || Some(prepare())) {
            // The host learns that we cannot work at this rate.
            Some(prepared) => (latency, prepared.is_ok()),
            None => {
                self.abandon_engine();
                (latency, true)
            }
        }
    }

    fn forget(&mut self) {
        // At the first automated value of a thread the framework asks which thread it is on, and the
        // answer is allocated then. Hosts reset before the first block on the audio thread, where
        // allocating is still allowed.
        let _ = std::thread::current().id();
        let Some(engine) = self.engine.as_mut().filter(|_| !self.abandoned) else { return };
        let reset = || {
            engine.reset();
            true
        };
        if !self.instance.guard.run(Entry::Reset, || false, reset) {
            self.abandon_engine();
        }
    }

    /// What the parameters and the host say for this block.
    fn controls(&self, api: PluginApi, transport_plays: bool) -> Controls {
        // As an app the track is a microphone, and its sound from a loudspeaker would be feedback.
        let is_app = api == PluginApi::Standalone;
        let params = &self.instance.params;
        Controls {
            pass_dry: !is_app,
            offline: self.offline,
            output: params.output.value().into(),
            // An app's transport plays for ever: nobody records with it.
            rolling: !is_app && transport_plays,
            ..params.levels().controls()
        }
    }

    /// One block, in place, and into `extra` where there is any.
    fn run(&mut self, buffer: &mut Buffer<'_>, mut extra: Option<ExtraOutputs<'_>>, controls: &Controls) {
        let io = buffer.as_slice();
        let input_channels = self.input_channels;
        let Some(engine) = self.engine.as_mut().filter(|_| !self.abandoned) else {
            return pass_through(io, input_channels, extra);
        };
        let mut entered = false;
        let process = || {
            entered = true;
            match extra.as_mut().map(ExtraOutputs::reborrow) {
                Some(extra) => engine.process_multi(io, input_channels, extra, controls),
                None => engine.process(io, input_channels, controls),
            }
            true
        };
        if !self.instance.guard.run(Entry::Process, || false, process) {
            self.abandon_engine();
            if entered {
                // Half of the block may be replaced: nobody knows what is in it.
                let extra = extra.iter_mut().flat_map(ExtraOutputs::channels);
                buffer
                    .as_slice()
                    .iter_mut()
                    .map(|channel| &mut **channel)
                    .chain(extra)
                    .for_each(|channel| channel.fill(0.0));
            } else {
                pass_through(buffer.as_slice(), input_channels, extra);
            }
        }
    }
}

const fn layout(inputs: u32, outputs: u32, name: &'static str) -> AudioIOLayout {
    AudioIOLayout {
        main_input_channels: NonZeroU32::new(inputs),
        main_output_channels: NonZeroU32::new(outputs),
        names: PortNames { layout: Some(name), ..PortNames::const_default() },
        ..AudioIOLayout::const_default()
    }
}

impl Plugin for Jamulet {
    const NAME: &'static str = "Jamulet";
    const VENDOR: &'static str = "Jamulet";
    const URL: &'static str = env!("CARGO_PKG_REPOSITORY");
    const EMAIL: &'static str = "";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const AUDIO_IO_LAYOUTS: &'static [AudioIOLayout] =
        &[layout(2, 2, "Stereo"), layout(1, 1, "Mono"), layout(1, 2, "Mono to stereo")];
    const HARD_REALTIME_ONLY: bool = true;

    type Editor = JamuletEditor;
    type SysExMessage = ();
    type BackgroundTask = ();

    fn params(&self) -> Arc<dyn Params> {
        self.instance.params.clone()
    }

    fn editor(&mut self, _executor: AsyncExecutor<Self>) -> Option<JamuletEditor> {
        Some(JamuletEditor::new(Arc::clone(&self.instance), true))
    }

    fn filter_state(state: &mut PluginState) {
        // Opening a project or undoing an edit must neither send the room's sound to a server nor
        // throw the player out of a session: joining and leaving is for the user and for automation.
        state.params.remove("connect");
        strips::remove_from(state);
    }

    fn activate(
        &mut self,
        layout: &AudioIOLayout,
        config: &BufferConfig,
        context: &mut impl ActivateContext<Self>,
    ) -> bool {
        let (latency, works) = self.prepare(layout, config, context.plugin_api());
        context.set_latency_samples(latency);
        works
    }

    fn reset(&mut self) {
        self.forget();
    }

    fn process(
        &mut self,
        buffer: &mut Buffer<'_>,
        _aux: &mut AuxiliaryBuffers<'_>,
        context: &mut impl ProcessContext<Self>,
    ) -> ProcessStatus {
        let controls = self.controls(context.plugin_api(), context.transport().playing);
        self.run(buffer, None, &controls);
        // Others play on while our track is silent.
        ProcessStatus::KeepAlive
    }
}

/// The track's own sound: buffers are in place, so only a mono track on a stereo output needs work.
fn pass_through(io: &mut [&mut [f32]], input_channels: usize, extra: Option<ExtraOutputs<'_>>) {
    if let [left, right] = io
        && input_channels == 1
    {
        right.copy_from_slice(left);
    }
    if let Some(mut extra) = extra {
        extra.pass_all(io);
    }
}

impl ClapPlugin for Jamulet {
    const CLAP_ID: &'static str = "org.jamulet.jamulet";
    const CLAP_DESCRIPTION: Option<&'static str> =
        Some("Play with others over the internet: joins Jamulus sessions from a track");
    const CLAP_MANUAL_URL: Option<&'static str> = None;
    const CLAP_SUPPORT_URL: Option<&'static str> = None;
    const CLAP_FEATURES: &'static [ClapFeature] =
        &[ClapFeature::AudioEffect, ClapFeature::Utility, ClapFeature::Stereo, ClapFeature::Mono];

    fn remote_controls(&self, context: &mut impl RemoteControlsContext) {
        self.instance.params.add_remote_controls(context);
    }
}

impl Vst3Plugin for Jamulet {
    const VST3_CLASS_ID: [u8; 16] = *b"JamuletJamuletV1";
    const VST3_SUBCATEGORIES: &'static [Vst3SubCategory] =
        &[Vst3SubCategory::Fx, Vst3SubCategory::Network, Vst3SubCategory::Stereo];
}

nice_export_clap!(Jamulet, JamuletMultiOut);
nice_export_vst3!(Jamulet, JamuletMultiOut);
