//! A headless VST3 host, as far as a plugin can tell.
#![allow(non_snake_case, reason = "the names are VST3's")]
#![allow(clippy::unnecessary_cast, reason = "VST3's enumerations have other types on other systems")]

use std::cell::{Cell, RefCell};
use std::ffi::{c_char, c_void};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use vst3::Steinberg::Linux::{
    FileDescriptor, IEventHandler, IEventHandlerTrait, IRunLoop, IRunLoopTrait, ITimerHandler,
    ITimerHandlerTrait, TimerInterval,
};
use vst3::Steinberg::Vst::*;
use vst3::Steinberg::*;
use vst3::{Class, ComPtr, ComRef, ComWrapper, Interface};

use crate::guard;
use crate::host::{Audio, Block, ChannelLayout, Flavour, Format, MAX_CHANGES, Parameter, Plugin};

/// Of all outputs together.
const MAX_OUTPUT_CHANNELS: usize = 6;

/// One instance of a VST3 plugin whose component is its own controller.
pub struct Vst3Plugin {
    component: ComPtr<IComponent>,
    processor: ComPtr<IAudioProcessor>,
    controller: ComPtr<IEditController>,
    view: Option<ComPtr<IPlugView>>,
    frame: ComWrapper<Frame>,
    layout: ChannelLayout,
    flavour: Flavour,
    /// Of [`ProcessModes_`].
    mode: i32,
    realtime_only: bool,
    _host: ComPtr<IHostApplication>,
    _handler: ComPtr<IComponentHandler>,
}

impl Vst3Plugin {
    /// Creates an instance of the stereo plugin in the library at `path`.
    pub fn load(path: &Path) -> Result<Self> {
        Self::load_flavour(path, Flavour::Stereo)
    }

    /// Creates an instance of a plugin in the library at `path`.
    pub fn load_flavour(path: &Path, flavour: Flavour) -> Result<Self> {
        let factory = factory(path)?;
        // SAFETY: calls of a live factory with places for their results; the interface pointers
        // that come back are owned by whoever asked for them, and `from_raw` takes that over.
        unsafe {
            let index = class_index(&factory, flavour)?;
            let mut class: PClassInfo = std::mem::zeroed();
            check("asking for the class", factory.getClassInfo(index, &mut class))?;
            let realtime_only = is_realtime_only(&factory, index);
            let mut object: *mut c_void = std::ptr::null_mut();
            let interface = IComponent::IID.as_ptr().cast::<c_char>();
            check(
                "creating the component",
                factory.createInstance(class.cid.as_ptr().cast(), interface, &mut object),
            )?;
            let component =
                ComPtr::from_raw(object.cast::<IComponent>()).context("the factory created nothing")?;
            let host = ComWrapper::new(HostApplication)
                .to_com_ptr::<IHostApplication>()
                .context("host application")?;
            check("initialising", component.initialize(host.as_ptr().cast()))?;
            let processor =
                component.cast::<IAudioProcessor>().context("the component processes no audio")?;
            let controller =
                component.cast::<IEditController>().context("the component is not its own controller")?;
            let handler =
                ComWrapper::new(ComponentHandler).to_com_ptr::<IComponentHandler>().context("handler")?;
            check("setting the handler", controller.setComponentHandler(handler.as_ptr()))?;
            let mut plugin = Self {
                component,
                processor,
                controller,
                view: None,
                frame: ComWrapper::new(Frame::default()),
                layout: ChannelLayout::STEREO,
                flavour,
                mode: ProcessModes_::kRealtime as i32,
                realtime_only,
                _host: host,
                _handler: handler,
            };
            plugin.set_layout(ChannelLayout::STEREO)?;
            Ok(plugin)
        }
    }

    /// Size in pixels that the editor asked for with `resizeView`: the last one.
    pub fn requested_size(&self) -> Option<[u32; 2]> {
        self.frame.requested.get()
    }

    /// Opens the editor within the X11 window `parent` as [`Plugin::open_editor`] does, on a screen
    /// of this scale: hosts tell it before and after attaching, some only once.
    pub fn open_scaled(&mut self, parent: u32, scale: f32) -> Result<[u32; 2]> {
        let view = self.create_view()?;
        set_scale(&view, scale)?;
        self.attach(view, parent)?;
        set_scale(self.view()?, scale)?;
        self.editor_size()
    }

    fn attach(&mut self, view: ComPtr<IPlugView>, parent: u32) -> Result<()> {
        ensure!(self.view.is_none(), "the editor is open already");
        let frame = self.frame.to_com_ptr::<IPlugFrame>().context("frame")?;
        // SAFETY: calls of a live view on the main thread; the caller keeps the window until it
        // has closed the editor, and we keep the frame.
        unsafe {
            check("setting the frame", view.setFrame(frame.as_ptr()))?;
            let attached = view.attached(parent as usize as *mut c_void, kPlatformTypeX11EmbedWindowID);
            check("attaching the editor", attached)?;
        }
        self.view = Some(view);
        Ok(())
    }

    /// Hands a key to the open editor, as hosts do that see keys first; whether it took the key.
    /// `code` is a VST3 virtual key code (1 backspace, 7 space, 11..=14 arrows), 0 for `character` alone.
    pub fn key(&mut self, character: char, code: i16, down: bool) -> Result<bool> {
        let character = u16::try_from(u32::from(character)).unwrap_or_default();
        let view = self.view()?;
        // SAFETY: calls of a live view on the main thread.
        let result = unsafe {
            if down { view.onKeyDown(character, code, 0) } else { view.onKeyUp(character, code, 0) }
        };
        Ok(result == kResultOk)
    }

    /// Restores a state the way that some hosts do it: the controller's half, too.
    pub fn load_as_controller_too(&mut self, state: &[u8]) -> Result<()> {
        self.load(state)?;
        let stream = MemoryStream::new(state).to_com_ptr::<IBStream>().context("stream")?;
        // SAFETY: the stream lives during the call.
        let result = unsafe { self.controller.setComponentState(stream.as_ptr()) };
        // A plugin whose component is its controller has nothing to do here, and may say so.
        ensure!(result == kResultOk || result == kNotImplemented || result == kResultFalse, "code {result}");
        Ok(())
    }

    fn view(&self) -> Result<&ComPtr<IPlugView>> {
        self.view.as_ref().context("the editor is not open")
    }

    /// Makes a view, opened or not, do something; hosts may ask an unopened view for its size.
    fn with_view<R>(&self, act: impl FnOnce(&ComPtr<IPlugView>) -> Result<R>) -> Result<R> {
        if let Some(view) = &self.view {
            return act(view);
        }
        act(&self.create_view()?)
    }

    fn create_view(&self) -> Result<ComPtr<IPlugView>> {
        // SAFETY: the view that comes back is ours.
        let view = unsafe { ComPtr::from_raw(self.controller.createView(ViewType::kEditor)) };
        view.context("the plugin has no editor")
    }
}

impl Plugin for Vst3Plugin {
    fn format(&self) -> Format {
        Format::Vst3
    }

    fn parameters(&mut self) -> Vec<Parameter> {
        // SAFETY: calls of a live controller with places for their results.
        unsafe {
            (0..self.controller.getParameterCount())
                .filter_map(|index| {
                    let mut info: ParameterInfo = std::mem::zeroed();
                    (self.controller.getParameterInfo(index, &mut info) == kResultOk).then(|| Parameter {
                        id: info.id,
                        name: text_of(&info.title),
                        default: info.defaultNormalizedValue,
                        automatable: info.flags & ParameterInfo_::ParameterFlags_::kCanAutomate as i32 != 0,
                        bypass: info.flags & ParameterInfo_::ParameterFlags_::kIsBypass as i32 != 0,
                    })
                })
                .collect()
        }
    }

    fn value(&mut self, id: u32) -> Result<f64> {
        // SAFETY: a call of a live controller.
        Ok(unsafe { self.controller.getParamNormalized(id) })
    }

    fn set_value(&mut self, id: u32, value: f64) -> Result<()> {
        // SAFETY: a call of a live controller.
        check("setting a parameter", unsafe { self.controller.setParamNormalized(id, value) })?;
        self.pump();
        Ok(())
    }

    fn text(&mut self, id: u32, value: f64) -> Result<String> {
        // SAFETY: a call of a live controller with a place for its result.
        unsafe {
            let mut text: String128 = std::mem::zeroed();
            check("asking for a text", self.controller.getParamStringByValue(id, value, &mut text))?;
            Ok(text_of(&text))
        }
    }

    fn value_of_text(&mut self, id: u32, text: &str) -> Result<f64> {
        let mut text: Vec<TChar> = text.encode_utf16().chain([0]).map(|unit| unit as TChar).collect();
        let mut value = 0.0;
        // SAFETY: a call of a live controller with a text that ends with NUL and a place for its result.
        let result = unsafe { self.controller.getParamValueByString(id, text.as_mut_ptr(), &mut value) };
        check("reading a text", result)?;
        Ok(value)
    }

    fn save(&mut self) -> Result<Vec<u8>> {
        let stream = MemoryStream::new(&[]);
        let pointer = stream.to_com_ptr::<IBStream>().context("stream")?;
        // SAFETY: the stream lives during the call.
        check("saving the state", unsafe { self.component.getState(pointer.as_ptr()) })?;
        Ok(stream.data.borrow().clone())
    }

    fn load(&mut self, state: &[u8]) -> Result<()> {
        let stream = MemoryStream::new(state).to_com_ptr::<IBStream>().context("stream")?;
        // SAFETY: the stream lives during the call.
        check("loading the state", unsafe { self.component.setState(stream.as_ptr()) })?;
        self.pump();
        Ok(())
    }

    fn set_layout(&mut self, layout: ChannelLayout) -> Result<()> {
        let speakers = |channels| match channels {
            1 => Ok(SpeakerArr::kMono),
            2 => Ok(SpeakerArr::kStereo),
            other => bail!("there is no arrangement of {other} speakers here"),
        };
        let mut input = speakers(layout.inputs)?;
        let mut outputs = vec![SpeakerArr::kStereo; 1 + self.flavour.extra_outputs()];
        outputs[0] = speakers(layout.outputs)?;
        let output_count = outputs.len() as i32;
        // SAFETY: calls of a live plugin with one arrangement per bus.
        unsafe {
            let (audio, inward, outward) =
                (MediaTypes_::kAudio, BusDirections_::kInput, BusDirections_::kOutput);
            for (direction, expected) in [(inward, 1), (outward, output_count)] {
                let count = self.component.getBusCount(audio as i32, direction as i32);
                ensure!(count == expected, "the plugin has {count} buses on one side, not {expected}");
            }
            let outputs = outputs.as_mut_ptr();
            let chosen = self.processor.setBusArrangements(&mut input, 1, outputs, output_count);
            check("choosing a layout", chosen)?;
        }
        self.layout = layout;
        Ok(())
    }

    fn set_offline(&mut self, offline: bool) -> Result<()> {
        let mode = if offline { ProcessModes_::kOffline } else { ProcessModes_::kRealtime };
        self.mode = mode as i32;
        Ok(())
    }

    fn is_realtime_only(&mut self) -> Result<bool> {
        Ok(self.realtime_only)
    }

    fn latency(&mut self) -> Result<u32> {
        // SAFETY: a call of a live plugin.
        Ok(unsafe { self.processor.getLatencySamples() })
    }

    fn activate(&mut self, rate_hz: f64, max_block_frames: usize) -> Result<Box<dyn Audio>> {
        let mut setup = ProcessSetup {
            processMode: self.mode,
            symbolicSampleSize: SymbolicSampleSizes_::kSample32 as i32,
            maxSamplesPerBlock: i32::try_from(max_block_frames)?,
            sampleRate: rate_hz,
        };
        // SAFETY: calls of a live plugin on the main thread, in the order that VST3 prescribes.
        unsafe {
            let size = self.processor.canProcessSampleSize(setup.symbolicSampleSize);
            check("asking for 32-bit audio", size)?;
            check("setting up audio", self.processor.setupProcessing(&mut setup))?;
            let (audio, input) = (MediaTypes_::kAudio as i32, BusDirections_::kInput as i32);
            self.component.activateBus(audio, input, 0, 1);
            for bus in 0..=self.flavour.extra_outputs() as i32 {
                self.component.activateBus(audio, BusDirections_::kOutput as i32, bus, 1);
            }
            check("activating", self.component.setActive(1))?;
        }
        let queues = (0..MAX_CHANGES).map(|_| ComWrapper::new(Queue::default())).collect::<Vec<_>>();
        let pointers = queues.iter().filter_map(ComWrapper::to_com_ptr).collect();
        let changes = ComWrapper::new(Changes { queues: pointers, count: Cell::new(0) });
        Ok(Box::new(Vst3Audio {
            processor: self.processor.clone(),
            layout: self.layout,
            extra_outputs: self.flavour.extra_outputs(),
            mode: self.mode,
            rate_hz,
            input: vec![vec![0.0; max_block_frames]; self.layout.inputs],
            changes_pointer: changes.to_com_ptr().context("parameter changes")?,
            changes,
            queues,
            frames: 0,
            in_place: false,
        }))
    }

    fn deactivate(&mut self, audio: Box<dyn Audio>) -> Result<()> {
        drop(audio);
        // SAFETY: a call of a live plugin on the main thread, after its audio has stopped.
        check("deactivating", unsafe { self.component.setActive(0) })
    }

    fn has_editor(&mut self) -> bool {
        let supported = self.with_view(|view| {
            // SAFETY: a call of a live view on the main thread.
            Ok(unsafe { view.isPlatformTypeSupported(kPlatformTypeX11EmbedWindowID) } == kResultOk)
        });
        supported.unwrap_or(false)
    }

    fn open_editor(&mut self, parent: u32) -> Result<[u32; 2]> {
        let view = self.create_view()?;
        self.attach(view, parent)?;
        self.editor_size()
    }

    fn editor_size(&mut self) -> Result<[u32; 2]> {
        self.with_view(|view| {
            let mut rectangle = ViewRect { left: 0, top: 0, right: 0, bottom: 0 };
            // SAFETY: a call of a live view with a place for its result.
            check("asking for the editor's size", unsafe { view.getSize(&mut rectangle) })?;
            let (width, height) = (rectangle.right - rectangle.left, rectangle.bottom - rectangle.top);
            Ok([u32::try_from(width)?, u32::try_from(height)?])
        })
    }

    fn resize_editor(&mut self, [width, height]: [u32; 2]) -> Result<()> {
        let view = self.view()?;
        let mut rectangle =
            ViewRect { left: 0, top: 0, right: i32::try_from(width)?, bottom: i32::try_from(height)? };
        // SAFETY: calls of a live view with a rectangle that it may change.
        unsafe {
            check("asking for a fitting size", view.checkSizeConstraint(&mut rectangle))?;
            check("resizing the editor", view.onSize(&mut rectangle))
        }
    }

    fn close_editor(&mut self) -> Result<()> {
        let view = self.view.take().context("the editor is not open")?;
        // SAFETY: calls of a live view on the main thread.
        unsafe {
            check("removing the editor", view.removed())?;
            view.setFrame(std::ptr::null_mut());
        }
        Ok(())
    }

    fn pump(&mut self) {
        self.frame.run();
    }
}

impl Drop for Vst3Plugin {
    fn drop(&mut self) {
        if self.view.is_some() {
            // A host that quits closes editors first; nothing is left to do when that fails.
            let _ = self.close_editor();
        }
        // SAFETY: the last calls of a live plugin on the main thread.
        unsafe {
            self.controller.setComponentHandler(std::ptr::null_mut());
            self.component.terminate();
        }
    }
}

/// The audio half.
struct Vst3Audio {
    processor: ComPtr<IAudioProcessor>,
    layout: ChannelLayout,
    /// Of two channels each.
    extra_outputs: usize,
    mode: i32,
    rate_hz: f64,
    /// The plugin may write to its input buffers: these are copies.
    input: Vec<Vec<f32>>,
    changes: ComWrapper<Changes>,
    changes_pointer: ComPtr<IParameterChanges>,
    queues: Vec<ComWrapper<Queue>>,
    frames: i64,
    in_place: bool,
}

// SAFETY: VST3 allows `process` and `setProcessing` on the audio thread, and nothing else of the
// plugin is reachable from here; the parameter queues belong to this struct alone.
unsafe impl Send for Vst3Audio {}

impl Audio for Vst3Audio {
    fn layout(&self) -> ChannelLayout {
        self.layout
    }

    fn extra_outputs(&self) -> usize {
        self.extra_outputs
    }

    fn start(&mut self) -> Result<()> {
        // SAFETY: a call of a live, active plugin.
        let result = unsafe { self.processor.setProcessing(1) };
        ensure!(result == kResultOk || result == kNotImplemented, "starting audio failed with code {result}");
        Ok(())
    }

    fn process(&mut self, block: &mut Block<'_>) -> Result<()> {
        let frames = block.output.first().map_or(0, |channel| channel.len());
        let mut inputs = [std::ptr::null_mut(); 2];
        for ((pointer, buffer), input) in inputs.iter_mut().zip(&mut self.input).zip(block.input) {
            buffer[..frames].copy_from_slice(input);
            *pointer = buffer.as_mut_ptr();
        }
        let mut outputs = [std::ptr::null_mut(); MAX_OUTPUT_CHANNELS];
        for (pointer, channel) in outputs.iter_mut().zip(block.output.iter_mut()) {
            *pointer = channel.as_mut_ptr();
        }
        if self.in_place {
            for ((pointer, output), input) in inputs.iter_mut().zip(block.output.iter_mut()).zip(block.input)
            {
                output.copy_from_slice(input);
                *pointer = output.as_mut_ptr();
            }
        }
        // Only changes: no buses, no sound.
        let buses = i32::from(!block.output.is_empty());
        let changes = &block.changes[..block.changes.len().min(MAX_CHANGES)];
        for (queue, &(id, value)) in self.queues.iter().zip(changes) {
            queue.id.set(id);
            queue.value.set(value);
        }
        self.changes.count.set(changes.len());
        let bus = |channels: usize, pointers: &mut [*mut f32]| AudioBusBuffers {
            numChannels: channels as i32,
            silenceFlags: 0,
            __field0: AudioBusBuffers__type0 { channelBuffers32: pointers.as_mut_ptr() },
        };
        let mut input_bus = bus(self.layout.inputs, &mut inputs);
        let (main, extra) = outputs.split_at_mut(self.layout.outputs);
        let mut output_buses = [bus(self.layout.outputs, main), bus(0, &mut []), bus(0, &mut [])];
        for (output, pointers) in output_buses[1..=self.extra_outputs].iter_mut().zip(extra.chunks_mut(2)) {
            *output = bus(2, pointers);
        }
        // SAFETY: an all-zero context is a valid one in which no field is marked as valid.
        let mut context: ProcessContext = unsafe { std::mem::zeroed() };
        context.sampleRate = self.rate_hz;
        context.projectTimeSamples = self.frames;
        context.state = ProcessContext_::StatesAndFlags_::kPlaying as uint32;
        let mut data = ProcessData {
            processMode: self.mode,
            symbolicSampleSize: SymbolicSampleSizes_::kSample32 as i32,
            numSamples: frames as i32,
            numInputs: buses,
            numOutputs: if buses > 0 { 1 + self.extra_outputs as i32 } else { 0 },
            inputs: if buses > 0 { &mut input_bus } else { std::ptr::null_mut() },
            outputs: if buses > 0 { output_buses.as_mut_ptr() } else { std::ptr::null_mut() },
            inputParameterChanges: self.changes_pointer.as_ptr(),
            outputParameterChanges: std::ptr::null_mut(),
            inputEvents: std::ptr::null_mut(),
            outputEvents: std::ptr::null_mut(),
            processContext: &mut context,
        };
        let processor = &self.processor;
        // SAFETY: all that `data` points to outlives the call; buffers hold `numSamples` samples.
        let result = guard::watch(|| unsafe { processor.process(&mut data) });
        self.frames += frames as i64;
        check("processing", result)
    }

    fn set_in_place(&mut self, in_place: bool) {
        self.in_place = in_place;
    }

    fn stop(&mut self) {
        // SAFETY: a call of a live, active plugin.
        unsafe { self.processor.setProcessing(0) };
    }
}

/// Opens the library once per process and keeps it: its thread-local values may have destructors.
fn factory(path: &Path) -> Result<ComPtr<IPluginFactory>> {
    // SAFETY: the file is the plugin under test, whose initialisers are ours to trust; the symbols
    // are called as VST3 declares them. `ModuleEntry` may be called once for every time of loading.
    unsafe {
        let library = libloading::Library::new(path)?;
        #[cfg(target_os = "linux")]
        {
            let enter: libloading::Symbol<'_, unsafe extern "C" fn(*mut c_void) -> bool> =
                library.get(b"ModuleEntry")?;
            ensure!(enter(std::ptr::null_mut()), "ModuleEntry refused");
        }
        let get: libloading::Symbol<'_, unsafe extern "system" fn() -> *mut IPluginFactory> =
            library.get(b"GetPluginFactory")?;
        let factory = ComPtr::from_raw(get()).context("the library has no VST3 factory")?;
        std::mem::forget(library);
        Ok(factory)
    }
}

/// Where in the factory's list a flavour is.
fn class_index(factory: &ComPtr<IPluginFactory>, flavour: Flavour) -> Result<i32> {
    // SAFETY: calls of a live factory with a place for their results, whose texts end with NUL.
    let found = unsafe {
        (0..factory.countClasses()).find(|index| {
            let mut class: PClassInfo = std::mem::zeroed();
            factory.getClassInfo(*index, &mut class) == kResultOk
                && std::ffi::CStr::from_ptr(class.name.as_ptr()).to_bytes() == flavour.name().as_bytes()
        })
    };
    found.with_context(|| format!("the factory has no {}", flavour.name()))
}

/// Whether this class of the factory says that it works in real time only.
fn is_realtime_only(factory: &ComPtr<IPluginFactory>, index: i32) -> bool {
    let Some(factory) = factory.cast::<IPluginFactory2>() else { return false };
    // SAFETY: a call of a live factory with a place for its result, whose texts end with NUL.
    unsafe {
        let mut class: PClassInfo2 = std::mem::zeroed();
        factory.getClassInfo2(index, &mut class) == kResultOk
            && std::ffi::CStr::from_ptr(class.subCategories.as_ptr())
                .to_string_lossy()
                .split('|')
                .any(|category| category == "OnlyRT")
    }
}

/// Tells a view the scale of its screen; it may not want to know yet.
fn set_scale(view: &ComPtr<IPlugView>, scale: f32) -> Result<()> {
    let support = view.cast::<IPlugViewContentScaleSupport>().context("the editor takes no scale")?;
    // SAFETY: a call of a live view on the main thread.
    let result = unsafe { support.setContentScaleFactor(scale) };
    ensure!(result == kResultOk || result == kResultFalse, "telling the scale failed with code {result}");
    Ok(())
}

fn check(what: &str, result: tresult) -> Result<()> {
    ensure!(result == kResultOk, "{what} failed with code {result}");
    Ok(())
}

fn text_of(text: &String128) -> String {
    let units: Vec<u16> = text.iter().map(|unit| *unit as u16).take_while(|unit| *unit != 0).collect();
    String::from_utf16_lossy(&units)
}

/// A stream of bytes in memory.
struct MemoryStream {
    data: RefCell<Vec<u8>>,
    position: Cell<usize>,
}

impl MemoryStream {
    fn new(data: &[u8]) -> ComWrapper<Self> {
        ComWrapper::new(Self { data: RefCell::new(data.to_vec()), position: Cell::new(0) })
    }
}

impl Class for MemoryStream {
    type Interfaces = (IBStream,);
}

impl IBStreamTrait for MemoryStream {
    unsafe fn read(&self, buffer: *mut c_void, count: int32, done: *mut int32) -> tresult {
        let (data, position) = (self.data.borrow(), self.position.get());
        let count = usize::try_from(count).unwrap_or(0).min(data.len() - position);
        // SAFETY: the caller's buffer holds the bytes it asked for, and so many are left.
        unsafe { std::ptr::copy_nonoverlapping(data[position..].as_ptr(), buffer.cast::<u8>(), count) };
        self.position.set(position + count);
        if !done.is_null() {
            // SAFETY: the caller's place for the count.
            unsafe { *done = count as int32 };
        }
        kResultOk
    }

    unsafe fn write(&self, buffer: *mut c_void, count: int32, done: *mut int32) -> tresult {
        let mut data = self.data.borrow_mut();
        // SAFETY: the caller's buffer holds the bytes it names.
        let bytes =
            unsafe { std::slice::from_raw_parts(buffer.cast::<u8>(), usize::try_from(count).unwrap_or(0)) };
        data.truncate(self.position.get());
        data.extend_from_slice(bytes);
        self.position.set(data.len());
        if !done.is_null() {
            // SAFETY: the caller's place for the count.
            unsafe { *done = count };
        }
        kResultOk
    }

    unsafe fn seek(&self, position: int64, mode: int32, result: *mut int64) -> tresult {
        let length = self.data.borrow().len() as i64;
        let base = match mode {
            0 => 0,
            1 => self.position.get() as i64,
            _ => length,
        };
        self.position.set(base.saturating_add(position).clamp(0, length) as usize);
        if !result.is_null() {
            // SAFETY: the caller's place for the position.
            unsafe { *result = self.position.get() as i64 };
        }
        kResultOk
    }

    unsafe fn tell(&self, position: *mut int64) -> tresult {
        // SAFETY: the caller's place for the position.
        unsafe { *position = self.position.get() as i64 };
        kResultOk
    }
}

/// One parameter's change at the start of a block.
#[derive(Default)]
struct Queue {
    id: Cell<u32>,
    value: Cell<f64>,
}

impl Class for Queue {
    type Interfaces = (IParamValueQueue,);
}

impl IParamValueQueueTrait for Queue {
    unsafe fn getParameterId(&self) -> ParamID {
        self.id.get()
    }

    unsafe fn getPointCount(&self) -> int32 {
        1
    }

    unsafe fn getPoint(&self, _index: int32, offset: *mut int32, value: *mut ParamValue) -> tresult {
        // SAFETY: the caller's places for both.
        unsafe {
            *offset = 0;
            *value = self.value.get();
        }
        kResultOk
    }

    unsafe fn addPoint(&self, _offset: int32, _value: ParamValue, _index: *mut int32) -> tresult {
        kResultFalse
    }
}

/// All changes of a block: the first `count` queues.
struct Changes {
    queues: Vec<ComPtr<IParamValueQueue>>,
    count: Cell<usize>,
}

impl Class for Changes {
    type Interfaces = (IParameterChanges,);
}

impl IParameterChangesTrait for Changes {
    unsafe fn getParameterCount(&self) -> int32 {
        self.count.get() as int32
    }

    unsafe fn getParameterData(&self, index: int32) -> *mut IParamValueQueue {
        let queue = usize::try_from(index).ok().and_then(|index| self.queues.get(index));
        queue.map_or(std::ptr::null_mut(), ComPtr::as_ptr)
    }

    unsafe fn addParameterData(&self, _id: *const ParamID, _index: *mut int32) -> *mut IParamValueQueue {
        std::ptr::null_mut()
    }
}

struct HostApplication;

impl Class for HostApplication {
    type Interfaces = (IHostApplication,);
}

impl IHostApplicationTrait for HostApplication {
    unsafe fn getName(&self, name: *mut String128) -> tresult {
        // SAFETY: the caller's place for 128 units.
        let name = unsafe { &mut *name };
        for (place, unit) in name.iter_mut().zip("Jamulet's test host\0".encode_utf16()) {
            *place = unit as _;
        }
        kResultOk
    }

    unsafe fn createInstance(
        &self,
        _class: *mut TUID,
        _interface: *mut TUID,
        object: *mut *mut c_void,
    ) -> tresult {
        // SAFETY: the caller's place for a pointer.
        unsafe { *object = std::ptr::null_mut() };
        kNotImplemented
    }
}

/// Takes note of nothing: what the editor changes, the tests read from the plugin itself.
struct ComponentHandler;

impl Class for ComponentHandler {
    type Interfaces = (IComponentHandler,);
}

impl IComponentHandlerTrait for ComponentHandler {
    unsafe fn beginEdit(&self, _id: ParamID) -> tresult {
        kResultOk
    }

    unsafe fn performEdit(&self, _id: ParamID, _value: ParamValue) -> tresult {
        kResultOk
    }

    unsafe fn endEdit(&self, _id: ParamID) -> tresult {
        kResultOk
    }

    unsafe fn restartComponent(&self, _flags: int32) -> tresult {
        kResultOk
    }
}

/// The host's side of an open editor: its frame and, as every Linux host has, a run loop.
#[derive(Default)]
struct Frame {
    requested: Cell<Option<[u32; 2]>>,
    handlers: RefCell<Vec<(ComPtr<IEventHandler>, FileDescriptor)>>,
    timers: RefCell<Vec<Timer>>,
}

#[derive(Clone)]
struct Timer {
    handler: ComPtr<ITimerHandler>,
    period: Duration,
    due: Instant,
}

impl Frame {
    /// Calls every handler whose file has something to read, and every timer that is due.
    fn run(&self) {
        // Copies, for a handler may add and remove others.
        let handlers = self.handlers.borrow().clone();
        for (handler, file) in handlers {
            let mut poll = libc::pollfd { fd: file, events: libc::POLLIN, revents: 0 };
            // SAFETY: one entry, and no waiting.
            if unsafe { libc::poll(&mut poll, 1, 0) } > 0 {
                // SAFETY: the handler is alive as long as we hold it.
                unsafe { handler.onFDIsSet(file) };
            }
        }
        let now = now();
        let timers = self.timers.borrow().clone();
        for timer in timers.into_iter().filter(|timer| timer.due <= now) {
            // SAFETY: the handler is alive as long as we hold it.
            unsafe { timer.handler.onTimer() };
            for own in &mut *self.timers.borrow_mut() {
                if own.handler.as_ptr() == timer.handler.as_ptr() {
                    own.due = now + own.period;
                }
            }
        }
    }
}

impl Class for Frame {
    type Interfaces = (IPlugFrame, IRunLoop);
}

impl IPlugFrameTrait for Frame {
    unsafe fn resizeView(&self, view: *mut IPlugView, size: *mut ViewRect) -> tresult {
        // SAFETY: the caller's rectangle and its own view.
        unsafe {
            let (width, height) = ((*size).right - (*size).left, (*size).bottom - (*size).top);
            self.requested.set(Some([width.max(0) as u32, height.max(0) as u32]));
            ComRef::from_raw(view).map_or(kInvalidArgument, |view| view.onSize(size))
        }
    }
}

impl IRunLoopTrait for Frame {
    unsafe fn registerEventHandler(&self, handler: *mut IEventHandler, file: FileDescriptor) -> tresult {
        // SAFETY: the caller's handler, of which we take a reference of our own.
        let Some(handler) = (unsafe { ComRef::from_raw(handler) }) else { return kInvalidArgument };
        self.handlers.borrow_mut().push((handler.to_com_ptr(), file));
        kResultOk
    }

    unsafe fn unregisterEventHandler(&self, handler: *mut IEventHandler) -> tresult {
        self.handlers.borrow_mut().retain(|(known, _)| known.as_ptr() != handler);
        kResultOk
    }

    unsafe fn registerTimer(&self, handler: *mut ITimerHandler, period_ms: TimerInterval) -> tresult {
        // SAFETY: the caller's handler, of which we take a reference of our own.
        let Some(handler) = (unsafe { ComRef::from_raw(handler) }) else { return kInvalidArgument };
        let period = Duration::from_millis(period_ms);
        self.timers.borrow_mut().push(Timer { handler: handler.to_com_ptr(), period, due: now() + period });
        kResultOk
    }

    unsafe fn unregisterTimer(&self, handler: *mut ITimerHandler) -> tresult {
        self.timers.borrow_mut().retain(|timer| timer.handler.as_ptr() != handler);
        kResultOk
    }
}

#[expect(clippy::disallowed_methods, reason = "a host's timers run on the real clock")]
fn now() -> Instant {
    Instant::now()
}
