//! Looks at the sound devices and completes the wrapper's arguments with what fits them.

use std::fmt;

use cpal::traits::{DeviceTrait, HostTrait};
use cpal::{Device, SupportedBufferSize, SupportedStreamConfigRange};

use super::Arguments;
use crate::units::WIRE_RATE_HZ;

/// Block that we ask a sound device for, in samples: short, and every usual device can do it.
const PREFERRED_BLOCK: u32 = 256;
/// How far a device's input is kept ahead of its output, in seconds. The wrapper's default of
/// 0.15 s would be most of the delay of a session.
const INPUT_LEAD_S: f32 = 0.02;

// The system's sound interface: for cpal, as the wrapper's option, for people.
#[cfg(target_os = "linux")]
const NATIVE: (cpal::HostId, &str, &str) = (cpal::HostId::Alsa, "alsa", "ALSA");
#[cfg(target_os = "macos")]
const NATIVE: (cpal::HostId, &str, &str) = (cpal::HostId::CoreAudio, "core-audio", "CoreAudio");
#[cfg(target_os = "windows")]
const NATIVE: (cpal::HostId, &str, &str) = (cpal::HostId::Wasapi, "wasapi", "WASAPI");

/// Where sound may come from and go to.
pub(super) enum Backend {
    /// A running JACK server.
    Jack,
    /// The system's own sound devices.
    Native,
    /// What the user named.
    Named(String),
}

impl fmt::Display for Backend {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Jack => "JACK",
            Self::Native => NATIVE.2,
            Self::Named(name) => name,
        })
    }
}

impl Backend {
    /// Arguments that complete the user's, or why this backend cannot be used.
    pub(super) fn arguments(&self, args: &Arguments) -> Result<Vec<String>, String> {
        match self {
            Self::Jack => Ok([named("backend", "jack"), jack(args)?].concat()),
            Self::Native => Ok([named("backend", NATIVE.1), native(args)?].concat()),
            Self::Named(name) if name == "jack" => jack(args),
            Self::Named(name) if name == NATIVE.1 => native(args),
            Self::Named(_) => Ok(Vec::new()),
        }
    }
}

/// The wrapper believes its arguments about the rate, so they must be JACK's.
fn jack(args: &Arguments) -> Result<Vec<String>, String> {
    jack::set_logger(jack::LoggerType::None);
    let options = jack::ClientOptions::NO_START_SERVER;
    let (client, _) =
        jack::Client::new("jamulet-look", options).map_err(|_| "JACK is not running".to_owned())?;
    let mut more = named("sample-rate", client.sample_rate());
    more.extend(named("period-size", client.buffer_size()));
    let capture = jack::PortFlags::IS_PHYSICAL | jack::PortFlags::IS_OUTPUT;
    let ports = client.ports(None, Some("32 bit float mono audio"), capture);
    if args.value(&["--connect-jack-inputs"]).is_none() && !ports.is_empty() {
        more.extend(named("connect-jack-inputs", ports[..ports.len().min(2)].join(",")));
    }
    Ok(more)
}

fn native(args: &Arguments) -> Result<Vec<String>, String> {
    let (id, _, name) = NATIVE;
    let host = cpal::host_from_id(id).map_err(|_| format!("{name} cannot be used"))?;
    let mut more = Vec::new();
    let output = match args.value(&["--output-device"]) {
        Some(wanted) => find(host.output_devices(), &wanted),
        None => host.default_output_device(),
    };
    let output = output.ok_or_else(|| format!("{name} has no sound output"))?;
    let configs: Vec<_> =
        output.supported_output_configs().map_err(|_| format!("{name}'s output cannot be used"))?.collect();
    let rate_hz = match args.value(&["-r", "--sample-rate"]) {
        Some(rate) => rate.parse().map_err(|_| format!("{rate:?} is no sample rate"))?,
        None if configs.iter().any(|config| has_rate(config, WIRE_RATE_HZ)) => WIRE_RATE_HZ,
        None => output.default_output_config().map_or(WIRE_RATE_HZ, |config| config.sample_rate()),
    };
    let block = match args.value(&["-p", "--period-size"]) {
        Some(block) => block.parse().map_err(|_| format!("{block:?} is no period size"))?,
        None => {
            configs.iter().find(|config| has_rate(config, rate_hz)).map_or(PREFERRED_BLOCK, nearest_block)
        }
    };
    if args.value(&["-r", "--sample-rate"]).is_none() {
        more.extend(named("sample-rate", rate_hz));
    }
    if args.value(&["-p", "--period-size"]).is_none() {
        more.extend(named("period-size", block));
    }
    if args.value(&["--input-latency"]).is_none() {
        more.extend(named("input-latency", INPUT_LEAD_S));
    }
    if args.value(&["--input-device"]).is_none() {
        match host.default_input_device().and_then(|device| input(&device, rate_hz, block, args)) {
            Some(input) => more.extend(input),
            None => eprintln!(
                "No sound input fits {rate_hz} Hz: you will hear the others, and they will not hear you."
            ),
        }
    }
    Ok(more)
}

/// Arguments for `device` as the input: stereo where it can, else mono.
fn input(device: &Device, rate_hz: u32, block: u32, args: &Arguments) -> Option<Vec<String>> {
    let configs: Vec<_> = device.supported_input_configs().ok()?.collect();
    let fits = |channels: u16| {
        configs.iter().any(|config| {
            config.channels() == channels
                && has_rate(config, rate_hz)
                && nearest_block_to(config, block) == Some(block)
        })
    };
    let mut more = named("input-device", device.description().ok()?.name());
    if args.value(&["-l", "--audio-layout"]).is_none() {
        // Numbers of the layouts in `AUDIO_IO_LAYOUTS`, from 1.
        let layout = if fits(2) { 1 } else { fits(1).then_some(3)? };
        more.extend(named("audio-layout", layout));
    }
    Some(more)
}

fn find(devices: Result<impl Iterator<Item = Device>, cpal::Error>, name: &str) -> Option<Device> {
    devices.ok()?.find(|device| device.description().is_ok_and(|description| description.name() == name))
}

fn has_rate(config: &SupportedStreamConfigRange, rate_hz: u32) -> bool {
    (config.min_sample_rate()..=config.max_sample_rate()).contains(&rate_hz)
}

fn nearest_block(config: &SupportedStreamConfigRange) -> u32 {
    nearest_block_to(config, PREFERRED_BLOCK).unwrap_or(PREFERRED_BLOCK)
}

fn nearest_block_to(config: &SupportedStreamConfigRange, block: u32) -> Option<u32> {
    match *config.buffer_size() {
        SupportedBufferSize::Range { min, max } => Some(block.clamp(min, max.max(min))),
        SupportedBufferSize::Unknown => None,
    }
}

fn named(name: &str, value: impl fmt::Display) -> Vec<String> {
    vec![format!("--{name}"), value.to_string()]
}
