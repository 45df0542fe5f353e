//! A headless CLAP host.

use std::cell::Cell;
use std::ffi::CString;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clack_extensions::audio_ports::{AudioPortInfoBuffer, PluginAudioPorts};
use clack_extensions::audio_ports_config::{AudioPortsConfigBuffer, PluginAudioPortsConfig};
use clack_extensions::gui::{GuiApiType, GuiConfiguration, GuiSize, HostGui, HostGuiImpl, PluginGui, Window};
use clack_extensions::latency::{HostLatency, HostLatencyImpl, PluginLatency};
use clack_extensions::params::{
    HostParams, HostParamsImplMainThread, HostParamsImplShared, ParamClearFlags, ParamInfoBuffer,
    ParamInfoFlags, ParamRescanFlags, PluginParams,
};
use clack_extensions::remote_controls::{PluginRemoteControls, RemoteControlsPageBuffer};
use clack_extensions::render::{PluginRender, RenderMode};
use clack_extensions::state::{HostState, HostStateImpl, PluginState};
use clack_host::events::event_types::ParamValueEvent;
use clack_host::prelude::*;

use crate::guard;
use crate::host::{Audio, Block, ChannelLayout, Flavour, Format, MAX_CHANGES, Parameter, Plugin};

/// One instance of a CLAP plugin.
pub struct ClapPlugin {
    instance: PluginInstance<Host>,
    requests: Arc<Requests>,
    events: Rc<MainThreadEvents>,
    editor_open: bool,
    flavour: Flavour,
}

/// Eight knobs of a controller.
#[derive(Clone, Debug, PartialEq)]
pub struct ControlPage {
    /// The section that the page belongs to.
    pub section: String,
    /// What the page is called.
    pub name: String,
    /// Ids of the parameters, by knob.
    pub parameters: [Option<u32>; 8],
}

impl ClapPlugin {
    /// Creates an instance of the stereo plugin in the library or bundle at `path`.
    pub fn load(path: &Path) -> Result<Self> {
        Self::load_flavour(path, Flavour::Stereo)
    }

    /// Creates an instance of a plugin in the library or bundle at `path`.
    pub fn load_flavour(path: &Path, flavour: Flavour) -> Result<Self> {
        // SAFETY: the file is the plugin under test, whose initialisers are ours to trust.
        let entry =
            unsafe { PluginEntry::load(path) }.map_err(|error| anyhow!("{}: {error}", path.display()))?;
        let factory = entry.get_plugin_factory().context("the library has no CLAP plugin factory")?;
        let descriptor = factory
            .plugin_descriptors()
            .find(|descriptor| {
                descriptor.name().is_some_and(|name| name.to_bytes() == flavour.name().as_bytes())
            })
            .with_context(|| format!("the factory has no {}", flavour.name()))?;
        let id: CString = descriptor.id().context("the plugin has no id")?.to_owned();

        let requests = Arc::new(Requests::default());
        let events = Rc::new(MainThreadEvents::default());
        let host = HostInfo::new("Jamulet's test host", "Jamulet", "https://example.invalid", "1")?;
        let instance = PluginInstance::new(
            |()| HostShared { requests: Arc::clone(&requests) },
            |_| HostMainThread { events: Rc::clone(&events) },
            &entry,
            &id,
            &host,
        )?;
        // The library stays loaded for ever: its thread-local values may have destructors to run.
        std::mem::forget(entry);
        Ok(Self { instance, requests, events, editor_open: false, flavour })
    }

    /// The plugin's pages for controllers with eight knobs.
    pub fn remote_controls(&mut self) -> Result<Vec<ControlPage>> {
        let handle = self.instance.plugin_handle();
        let extension: PluginRemoteControls =
            handle.get_extension().context("the plugin has no pages for controllers")?;
        let mut buffer = RemoteControlsPageBuffer::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (0..extension.count(&handle))
            .map(|index| {
                let page = extension.get(&handle, index, &mut buffer);
                let page = page.with_context(|| format!("page {index} is not there"))?;
                Ok(ControlPage {
                    section: text(page.section_name),
                    name: text(page.page_name),
                    parameters: page.param_ids.map(|id| id.map(ClapId::get)),
                })
            })
            .collect()
    }

    /// Whether the plugin has said, since last asked, that its state has changed.
    pub fn take_dirty(&mut self) -> bool {
        self.events.dirty.take()
    }

    /// Sizes in pixels that the plugin has asked for with `request_resize`: the last one.
    pub fn requested_size(&self) -> Option<[u32; 2]> {
        let size = [&self.requests.width, &self.requests.height].map(|part| part.load(Ordering::Relaxed));
        (size[0] > 0).then_some(size)
    }

    /// Opens the editor within the X11 window `parent` as [`Plugin::open_editor`] does, on a screen
    /// of this scale.
    pub fn open_scaled(&mut self, parent: u32, scale: f64) -> Result<[u32; 2]> {
        self.open(parent, Some(scale))
    }

    fn open(&mut self, parent: u32, scale: Option<f64>) -> Result<[u32; 2]> {
        ensure!(!self.editor_open, "the editor is open already");
        let (gui, handle) = self.gui()?;
        gui.create(&handle, GuiConfiguration { api_type: GuiApiType::X11, is_floating: false })
            .map_err(|error| anyhow!("creating the editor: {error}"))?;
        if let Some(scale) = scale {
            gui.set_scale(&handle, scale).map_err(|error| anyhow!("scaling the editor: {error}"))?;
        }
        let size = gui.get_size(&handle).context("the editor has no size")?;
        // SAFETY: the caller keeps the window until it has closed the editor.
        unsafe { gui.set_parent(&handle, Window::from_x11_handle(parent.into())) }
            .map_err(|error| anyhow!("embedding the editor: {error}"))?;
        gui.show(&handle).map_err(|error| anyhow!("showing the editor: {error}"))?;
        self.editor_open = true;
        Ok([size.width, size.height])
    }

    fn layout(&mut self) -> Result<ChannelLayout> {
        let handle = self.instance.plugin_handle();
        let ports: PluginAudioPorts = handle.get_extension().context("the plugin has no audio ports")?;
        let mut buffer = AudioPortInfoBuffer::new();
        let extra = self.flavour.extra_outputs() as u32;
        let mut channels = |input| {
            let (count, expected) = (ports.count(&handle, input), if input { 1 } else { 1 + extra });
            ensure!(count == expected, "the plugin has {count} ports on one side, not {expected}");
            Ok(ports.get(&handle, 0, input, &mut buffer).context("a port has no description")?.channel_count
                as usize)
        };
        Ok(ChannelLayout { inputs: channels(true)?, outputs: channels(false)? })
    }

    fn ranges(&mut self) -> Vec<(u32, Range)> {
        let handle = self.instance.plugin_handle();
        let Some(extension) = handle.get_extension::<PluginParams>() else { return Vec::new() };
        let mut buffer = ParamInfoBuffer::new();
        (0..extension.count(&handle))
            .filter_map(|index| {
                let info = extension.get_info(&handle, index, &mut buffer)?;
                Some((info.id.get(), Range { min: info.min_value, max: info.max_value }))
            })
            .collect()
    }

    fn range(&mut self, id: u32) -> Result<Range> {
        find_range(&self.ranges(), id).with_context(|| format!("there is no parameter {id}"))
    }

    fn gui(&mut self) -> Result<(PluginGui, clack_host::plugin::PluginMainThreadHandle<'_>)> {
        let handle = self.instance.plugin_handle();
        let gui = handle.get_extension().context("the plugin has no editor")?;
        Ok((gui, handle))
    }
}

impl Plugin for ClapPlugin {
    fn format(&self) -> Format {
        Format::Clap
    }

    fn parameters(&mut self) -> Vec<Parameter> {
        let handle = self.instance.plugin_handle();
        let Some(extension) = handle.get_extension::<PluginParams>() else { return Vec::new() };
        let mut buffer = ParamInfoBuffer::new();
        (0..extension.count(&handle))
            .filter_map(|index| {
                let info = extension.get_info(&handle, index, &mut buffer)?;
                Some(Parameter {
                    id: info.id.get(),
                    name: String::from_utf8_lossy(info.name).into_owned(),
                    default: Range { min: info.min_value, max: info.max_value }
                        .normalised(info.default_value),
                    automatable: info.flags.contains(ParamInfoFlags::IS_AUTOMATABLE),
                    bypass: info.flags.contains(ParamInfoFlags::IS_BYPASS),
                })
            })
            .collect()
    }

    fn value(&mut self, id: u32) -> Result<f64> {
        let handle = self.instance.plugin_handle();
        let extension: PluginParams = handle.get_extension().context("the plugin has no parameters")?;
        let plain = extension.get_value(&handle, ClapId::new(id));
        let plain = plain.with_context(|| format!("parameter {id} has no value"))?;
        Ok(self.range(id)?.normalised(plain))
    }

    fn set_value(&mut self, id: u32, value: f64) -> Result<()> {
        let value = self.range(id)?.plain(value);
        let handle = self.instance.plugin_handle();
        let extension: PluginParams = handle.get_extension().context("the plugin has no parameters")?;
        let mut inactive =
            self.instance.inactive_plugin_handle().context("the plugin is active: use automation")?;
        let events = [ParamValueEvent::new(0, ClapId::new(id), Pckn::match_all(), value)];
        let mut answers = EventBuffer::new();
        extension.flush(
            &mut inactive,
            &InputEvents::from_buffer(&events),
            &mut OutputEvents::from_buffer(&mut answers),
        );
        self.pump();
        Ok(())
    }

    fn text(&mut self, id: u32, value: f64) -> Result<String> {
        let value = self.range(id)?.plain(value);
        let handle = self.instance.plugin_handle();
        let extension: PluginParams = handle.get_extension().context("the plugin has no parameters")?;
        let mut buffer = [0; 256];
        let text = extension
            .value_to_text(&handle, ClapId::new(id), value, &mut buffer)
            .map_err(|_| anyhow!("parameter {id} has no text for {value}"))?;
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    fn value_of_text(&mut self, id: u32, text: &str) -> Result<f64> {
        let range = self.range(id)?;
        let handle = self.instance.plugin_handle();
        let extension: PluginParams = handle.get_extension().context("the plugin has no parameters")?;
        let value = extension.text_to_value(&handle, ClapId::new(id), &CString::new(text)?);
        value
            .map(|plain| range.normalised(plain))
            .with_context(|| format!("parameter {id} cannot read {text:?}"))
    }

    fn save(&mut self) -> Result<Vec<u8>> {
        let handle = self.instance.plugin_handle();
        let extension: PluginState = handle.get_extension().context("the plugin has no state")?;
        let mut bytes = Vec::new();
        extension.save(&handle, &mut bytes).map_err(|_| anyhow!("the plugin did not save its state"))?;
        Ok(bytes)
    }

    fn load(&mut self, state: &[u8]) -> Result<()> {
        let handle = self.instance.plugin_handle();
        let extension: PluginState = handle.get_extension().context("the plugin has no state")?;
        let mut source = state;
        extension.load(&handle, &mut source).map_err(|_| anyhow!("the plugin did not take the state"))?;
        self.pump();
        Ok(())
    }

    fn set_layout(&mut self, layout: ChannelLayout) -> Result<()> {
        let handle = self.instance.plugin_handle();
        let extension: PluginAudioPortsConfig =
            handle.get_extension().context("the plugin has only one layout")?;
        let mut buffer = AudioPortsConfigBuffer::new();
        let found = (0..extension.count(&handle)).find_map(|index| {
            let config = extension.get(&handle, index, &mut buffer)?;
            let inputs = config.main_input.as_ref().map_or(0, |port| port.channel_count as usize);
            let outputs = config.main_output.as_ref().map_or(0, |port| port.channel_count as usize);
            (ChannelLayout { inputs, outputs } == layout).then_some(config.id)
        });
        let id = found.with_context(|| format!("the plugin has no layout {layout:?}"))?;
        extension.select(&handle, id).map_err(|_| anyhow!("the plugin refused layout {layout:?}"))?;
        ensure!(self.layout()? == layout, "the plugin selected another layout than {layout:?}");
        Ok(())
    }

    fn set_offline(&mut self, offline: bool) -> Result<()> {
        let handle = self.instance.plugin_handle();
        let extension: PluginRender =
            handle.get_extension().context("the plugin cannot be told to render")?;
        let mode = if offline { RenderMode::Offline } else { RenderMode::Realtime };
        extension.set(&handle, mode).map_err(|error| anyhow!("{error}"))
    }

    fn is_realtime_only(&mut self) -> Result<bool> {
        let handle = self.instance.plugin_handle();
        let extension: PluginRender =
            handle.get_extension().context("the plugin cannot be told to render")?;
        Ok(extension.has_realtime_requirement(&handle))
    }

    fn latency(&mut self) -> Result<u32> {
        let handle = self.instance.plugin_handle();
        let extension: PluginLatency = handle.get_extension().context("the plugin reports no latency")?;
        Ok(extension.get(&handle))
    }

    fn activate(&mut self, rate_hz: f64, max_block_frames: usize) -> Result<Box<dyn Audio>> {
        let layout = self.layout()?;
        let configuration = PluginAudioConfiguration {
            sample_rate: rate_hz,
            min_frames_count: 1,
            max_frames_count: u32::try_from(max_block_frames)?,
        };
        let processor = self.instance.activate(|_, _| (), configuration)?;
        let extra = self.flavour.extra_outputs();
        Ok(Box::new(ClapAudio {
            processor: processor.into(),
            layout,
            extra_outputs: extra,
            input: vec![vec![0.0; max_block_frames]; layout.inputs],
            input_ports: AudioPorts::with_capacity(layout.inputs, 1),
            output_ports: AudioPorts::with_capacity(layout.outputs + 2 * extra, 1 + extra),
            ranges: self.ranges(),
            events: Vec::with_capacity(MAX_CHANGES),
            answers: EventBuffer::with_capacity(256),
            frames: 0,
            in_place: false,
        }))
    }

    fn deactivate(&mut self, audio: Box<dyn Audio>) -> Result<()> {
        drop(audio);
        Ok(self.instance.try_deactivate()?)
    }

    fn has_editor(&mut self) -> bool {
        self.gui().is_ok_and(|(gui, handle)| {
            gui.is_api_supported(&handle, GuiConfiguration { api_type: GuiApiType::X11, is_floating: false })
        })
    }

    fn open_editor(&mut self, parent: u32) -> Result<[u32; 2]> {
        self.open(parent, None)
    }

    fn editor_size(&mut self) -> Result<[u32; 2]> {
        let (gui, handle) = self.gui()?;
        let size = gui.get_size(&handle).context("the editor has no size")?;
        Ok([size.width, size.height])
    }

    fn resize_editor(&mut self, [width, height]: [u32; 2]) -> Result<()> {
        let (gui, handle) = self.gui()?;
        let wanted = GuiSize { width, height };
        let size = gui.adjust_size(&handle, wanted).unwrap_or(wanted);
        gui.set_size(&handle, size).map_err(|error| anyhow!("resizing the editor: {error}"))
    }

    fn close_editor(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.editor_open) {
            bail!("the editor is not open");
        }
        let (gui, handle) = self.gui()?;
        gui.destroy(&handle);
        Ok(())
    }

    fn pump(&mut self) {
        if self.requests.callback.swap(false, Ordering::AcqRel) {
            self.instance.call_on_main_thread_callback();
        }
        if self.requests.flush.swap(false, Ordering::AcqRel) {
            let handle = self.instance.plugin_handle();
            let extension: Option<PluginParams> = handle.get_extension();
            if let (Some(extension), Some(mut inactive)) = (extension, self.instance.inactive_plugin_handle())
            {
                let mut answers = EventBuffer::new();
                extension.flush(
                    &mut inactive,
                    &InputEvents::empty(),
                    &mut OutputEvents::from_buffer(&mut answers),
                );
            }
        }
    }
}

impl Drop for ClapPlugin {
    fn drop(&mut self) {
        if self.editor_open {
            // A host that quits closes editors first; that this one cannot fail is `destroy`'s type.
            let _ = self.close_editor();
        }
    }
}

/// The audio half.
struct ClapAudio {
    processor: PluginAudioProcessor<Host>,
    layout: ChannelLayout,
    /// Of two channels each.
    extra_outputs: usize,
    /// The plugin may write to its input buffers: these are copies.
    input: Vec<Vec<f32>>,
    input_ports: AudioPorts,
    output_ports: AudioPorts,
    ranges: Vec<(u32, Range)>,
    events: Vec<ParamValueEvent>,
    answers: EventBuffer,
    frames: u64,
    in_place: bool,
}

impl Audio for ClapAudio {
    fn layout(&self) -> ChannelLayout {
        self.layout
    }

    fn extra_outputs(&self) -> usize {
        self.extra_outputs
    }

    fn start(&mut self) -> Result<()> {
        self.processor
            .ensure_processing_started()
            .map(drop)
            .map_err(|error| anyhow!("starting audio: {error}"))
    }

    fn process(&mut self, block: &mut Block<'_>) -> Result<()> {
        let frames = block.output.first().map_or(0, |channel| channel.len());
        for (buffer, input) in self.input.iter_mut().zip(block.input) {
            buffer[..frames].copy_from_slice(input);
        }
        let mut places = [std::ptr::null_mut::<f32>(); 2];
        for (index, place) in places.iter_mut().enumerate().take(self.layout.inputs) {
            *place = match block.output.get_mut(index).filter(|_| self.in_place) {
                Some(output) => {
                    output.copy_from_slice(block.input[index]);
                    output.as_mut_ptr()
                }
                None => self.input[index].as_mut_ptr(),
            };
        }
        self.events.clear();
        for &(id, value) in block.changes.iter().take(MAX_CHANGES) {
            if let Some(range) = find_range(&self.ranges, id) {
                self.events.push(ParamValueEvent::new(
                    0,
                    ClapId::new(id),
                    Pckn::match_all(),
                    range.plain(value),
                ));
            }
        }
        self.answers.clear();
        let input_ports = self.input_ports.with_input_buffers([AudioPortBuffer {
            latency: 0,
            channels: AudioPortBufferType::f32_input_only(places[..self.layout.inputs].iter().map(|place| {
                // SAFETY: each place holds so many samples; where it is an output's, the plugin alone uses both,
                // and knows that they may be the same.
                InputChannel::variable(unsafe { std::slice::from_raw_parts_mut(*place, frames) })
            })),
        }]);
        // Extra outputs are stereo, and only a stereo main output has them.
        let outputs = block.output.chunks_mut(self.layout.outputs);
        let mut output_ports = self.output_ports.with_output_buffers(outputs.map(|port| AudioPortBuffer {
            latency: 0,
            channels: AudioPortBufferType::f32_output_only(port.iter_mut().map(|channel| &mut **channel)),
        }));
        let processor = self.processor.as_started_mut()?;
        let (events, mut answers) =
            (InputEvents::from_buffer(&self.events), OutputEvents::from_buffer(&mut self.answers));
        let time = self.frames;
        guard::watch(|| {
            processor.process(&input_ports, &mut output_ports, &events, &mut answers, Some(time), None)
        })?;
        self.frames += frames as u64;
        Ok(())
    }

    fn set_in_place(&mut self, in_place: bool) {
        self.in_place = in_place;
    }

    fn stop(&mut self) {
        self.processor.ensure_processing_stopped();
    }
}

/// CLAP parameters have values of their own; hosts of other formats see 0..=1.
#[derive(Clone, Copy)]
struct Range {
    min: f64,
    max: f64,
}

impl Range {
    fn normalised(self, plain: f64) -> f64 {
        if self.max > self.min { (plain - self.min) / (self.max - self.min) } else { 0.0 }
    }

    fn plain(self, normalised: f64) -> f64 {
        self.min + normalised * (self.max - self.min)
    }
}

fn find_range(ranges: &[(u32, Range)], id: u32) -> Option<Range> {
    ranges.iter().find(|(known, _)| *known == id).map(|(_, range)| *range)
}

/// What the plugin asks for from any thread: flags only, for `process()` may ask, too.
#[derive(Default)]
struct Requests {
    callback: AtomicBool,
    flush: AtomicBool,
    width: AtomicU32,
    height: AtomicU32,
}

/// What the plugin tells the main thread.
#[derive(Default)]
struct MainThreadEvents {
    dirty: Cell<bool>,
}

struct HostShared {
    requests: Arc<Requests>,
}

impl SharedHandler<'_> for HostShared {
    fn request_restart(&self) {}

    fn request_process(&self) {}

    fn request_callback(&self) {
        self.requests.callback.store(true, Ordering::Release);
    }
}

impl HostParamsImplShared for HostShared {
    fn request_flush(&self) {
        self.requests.flush.store(true, Ordering::Release);
    }
}

impl HostGuiImpl for HostShared {
    fn resize_hints_changed(&self) {}

    fn request_resize(&self, size: GuiSize) -> Result<(), HostError> {
        self.requests.width.store(size.width, Ordering::Relaxed);
        self.requests.height.store(size.height, Ordering::Relaxed);
        Ok(())
    }

    fn request_show(&self) -> Result<(), HostError> {
        Err(HostError::Message("windows of this host are always shown"))
    }

    fn request_hide(&self) -> Result<(), HostError> {
        Err(HostError::Message("windows of this host are always shown"))
    }

    fn closed(&self, _was_destroyed: bool) {}
}

struct HostMainThread {
    events: Rc<MainThreadEvents>,
}

impl MainThreadHandler<'_> for HostMainThread {}

impl HostParamsImplMainThread for HostMainThread {
    fn rescan(&self, _flags: ParamRescanFlags) {}

    fn clear(&self, _id: ClapId, _flags: ParamClearFlags) {}
}

impl HostStateImpl for HostMainThread {
    fn mark_dirty(&self) {
        self.events.dirty.set(true);
    }
}

impl HostLatencyImpl for HostMainThread {
    fn changed(&self) {}
}

/// Ties the handlers together.
struct Host;

impl HostHandlers for Host {
    type Shared<'a> = HostShared;
    type MainThread<'a> = HostMainThread;
    type AudioProcessor<'a> = ();

    fn declare_extensions(builder: &mut HostExtensions<Self>, _shared: &Self::Shared<'_>) {
        builder
            .register::<HostGui>()
            .register::<HostParams>()
            .register::<HostState>()
            .register::<HostLatency>();
    }
}
