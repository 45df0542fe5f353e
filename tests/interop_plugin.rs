//! Our plugin, from the real library in real host interfaces, on Debian's Jamulus 3.9.1 server, in real time.

#![cfg(target_os = "linux")]
#![expect(clippy::disallowed_types, reason = "tests take turns")]

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use jamulet::units::{FrameSize, Layout, Quality, StreamFormat};
use jamulet_testkit::host::{ChannelLayout, Format};
use jamulet_testkit::jack::{Part, Rig};
use jamulet_testkit::pace;
use jamulet_testkit::player::{Player, in_real_time, sine};
use jamulet_testkit::signal::{self, LISTEN_WINDOW, db, listen};
use jamulet_testkit::stall_watch::StallWatch;
use jamulet_testkit::stock::unity::{TONE_PEAK, TONES_HZ, UNITY_DB};
use jamulet_testkit::stock::{JackServer, StockClient, StockServer, StockSettings};
use jamulet_testkit::track::{SoundCard, Take};
use serde_json::{Value, json};

const RATE: usize = 48_000;
/// How soon news must be at the other end.
const SOON: Duration = Duration::from_secs(5);
const QUALITIES: [Quality; 3] = [Quality::Low, Quality::Normal, Quality::High];

// The plan of a short run, in samples since the connection: the server fades in for 3 s, then tones.
const TONES_START: usize = 4 * RATE;
const SHORT: usize = 9 * RATE;
const LONG: usize = 64 * RATE;
/// The sound card stands still once, for this long, so that late packets give the server's jitter buffer a
/// reserve: a stock one keeps the place that its first packets gave it, perhaps right at its edge.
const SHAKE: usize = RATE / 2;
const SHAKE_TIME: Duration = Duration::from_millis(10);

/// A delay of the machine that may be heard, with a jitter buffer that stands at its edge.
const STALL: Duration = Duration::from_millis(2);
/// The share of a run that stalls may excuse.
const MOST_EXCUSED: f64 = 0.5;

/// These tests share two cores and one list of plugin instances: one at a time.
fn stage() -> MutexGuard<'static, ()> {
    static STAGE: Mutex<()> = Mutex::new(());
    STAGE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn clap_comes_back_at_unity_from_a_stock_server_in_every_format() -> Result<()> {
    every_format(Format::Clap)
}

#[test]
fn vst3_comes_back_at_unity_from_a_stock_server_in_every_format() -> Result<()> {
    every_format(Format::Vst3)
}

#[test]
fn a_minute_on_a_stock_server_is_without_a_dropout() -> Result<()> {
    let _stage = stage();
    let stream = Stream { frame: FrameSize::Samples128, layout: Layout::Stereo, quality: Quality::Normal };
    in_real_time(|| play(Format::Clap, &[stream], LONG))
}

/// All six sizes at once, each on a server of its own; first with frames of 64, then of 128.
fn every_format(format: Format) -> Result<()> {
    let _stage = stage();
    for frame in [FrameSize::Samples64, FrameSize::Samples128] {
        let streams: Vec<Stream> = [Layout::Mono, Layout::Stereo]
            .into_iter()
            .flat_map(|layout| QUALITIES.map(|quality| Stream { frame, layout, quality }))
            .collect();
        in_real_time(|| play(format, &streams, SHORT))?;
    }
    Ok(())
}

/// One way of sending sound.
#[derive(Clone, Copy, Debug)]
struct Stream {
    frame: FrameSize,
    layout: Layout,
    quality: Quality,
}

impl Stream {
    /// Frames in both jitter buffers: about 20 ms.
    fn buffer_frames(self) -> usize {
        1024 / self.frame.samples()
    }

    /// How far from a stall of the machine it may be heard: both buffers and the window in which it is judged.
    fn reach(self) -> usize {
        2 * self.buffer_frames() * self.frame.samples() + LISTEN_WINDOW
    }

    /// A project that connects to `address` in this way. The frame size follows from the host's block.
    fn project(self, address: &str) -> Value {
        json!({
            "address": address,
            "name": "Zoë ♫",
            "layout": match self.layout { Layout::Mono => "mono", Layout::Stereo => "stereo" },
            "quality": match self.quality {
                Quality::Low => "low",
                Quality::Normal => "normal",
                Quality::High | Quality::Max => "high",
            },
            "client_buffer": self.buffer_frames(),
            "server_buffer": self.buffer_frames(),
        })
    }

    /// What the plugin plays as channel `channel` at `position` samples after the connection, in a run
    /// of `length`: a tone per channel, or one after the other where there is only one channel.
    fn tone(self, channel: usize, position: usize, length: usize) -> usize {
        match self.layout {
            Layout::Stereo => channel,
            Layout::Mono => usize::from(position >= Self::tone_change(length)),
        }
    }

    fn tone_change(length: usize) -> usize {
        (TONES_START + length) / 2
    }
}

/// One plugin in its host, on a server of its own.
struct Stage {
    stream: Stream,
    server: StockServer,
    player: Player,
    /// Sample of the track that is position 0 of the plan.
    origin: usize,
    /// Frames concealed so far, whenever that changed: samples played, count.
    concealed: Vec<(u64, u64)>,
}

/// Plays `length` samples in every one of `streams` at once: how often the machine stalled, and what was wrong.
///
/// What is heard is judged wherever the machine did not stall. A run without a flaw, or in which at least half
/// could be judged, is a proof, however busy the machine: its stalls are not counted.
fn play(format: Format, streams: &[Stream], length: usize) -> Result<(usize, Result<()>)> {
    let epoch = pace::now();
    // A server or a network thread may have to wait where the sound card does not.
    let watch = StallWatch::start(STALL, move || epoch.elapsed().as_micros() as usize)?;
    let mut stages = Vec::new();
    for (index, &stream) in streams.iter().enumerate() {
        stages.push(Stage::open(format, index, stream, length)?);
    }
    while stages.iter().any(|stage| (stage.player.frames() as usize) < stage.origin + length) {
        for stage in &mut stages {
            stage.player.plugin().pump();
            stage.note_concealed()?;
        }
        pace::sleep(Duration::from_millis(5));
    }
    let since_epoch = |micros: usize| epoch + Duration::from_micros(micros as u64);
    let stumbles: Vec<Range<Instant>> =
        watch.stop().iter().map(|stall| since_epoch(stall.start)..since_epoch(stall.end)).collect();
    let mut most_stalls = 0;
    let mut outcome = Ok(());
    // The last created is the first to go, so that the others keep their place in the list of instances.
    while let Some(stage) = stages.pop() {
        let (stalls, judgement) = stage.close(length, &stumbles)?;
        most_stalls = most_stalls.max(stalls);
        outcome = outcome.and(judgement);
    }
    Ok((most_stalls, outcome))
}

impl Stage {
    fn open(format: Format, index: usize, stream: Stream, length: usize) -> Result<Self> {
        let fast: &[&str] = if stream.frame == FrameSize::Samples64 { &["-F"] } else { &[] };
        let mut server = StockServer::start(fast)?;
        let address = server.address().to_string();
        let layout = match stream.layout {
            Layout::Mono => ChannelLayout::MONO,
            Layout::Stereo => ChannelLayout::STEREO,
        };
        let card = SoundCard { rate_hz: RATE as f64, block_frames: stream.frame.samples(), guarded: false };
        // Tells the sound card when the plan begins.
        let origin = Arc::new(AtomicU64::new(u64::MAX));
        let plan = Arc::clone(&origin);
        let mut shaken = false;
        let source = move |start: u64, input: &mut [Vec<f32>]| {
            let position = start.saturating_sub(plan.load(Ordering::Acquire)) as usize;
            if !shaken && position >= SHAKE {
                shaken = true;
                pace::sleep(SHAKE_TIME);
            }
            for (channel, block) in input.iter_mut().enumerate() {
                let hz = TONES_HZ[stream.tone(channel, position, length)];
                sine(RATE as f64, hz, TONE_PEAK)(start, std::slice::from_mut(block));
            }
        };
        let mut player = Player::new(format, index, layout, card, stream.project(&address), source)?;
        player.join()?;
        let wanted = StreamFormat::stock(stream.frame, stream.layout, stream.quality);
        player.wait_for("the stream's format", |snapshot| {
            snapshot.count("frame_samples") == wanted.frame.samples() as u64
                && snapshot.count("frame_bytes") == wanted.frame_bytes() as u64
                && snapshot.count("channels") == wanted.layout.channels() as u64
        })?;
        server.process().hurry();
        let start = player.frames();
        origin.store(start, Ordering::Release);
        let clients = server.rpc()?.call("jamulusserver/getClients", json!({}))?;
        let client = &clients["clients"][0];
        ensure!(client["name"] == "Zoë ♫", "the server lists {clients}");
        ensure!(client["channels"] == stream.layout.channels(), "the server lists {clients}");
        ensure!(client["jitterBufferSize"] == stream.buffer_frames(), "the server lists {clients}");
        Ok(Self { stream, server, player, origin: start as usize, concealed: Vec::new() })
    }

    fn note_concealed(&mut self) -> Result<()> {
        let count = self.player.snapshot()?.count("concealed");
        if self.concealed.last().is_none_or(|&(_, last)| last != count) {
            self.concealed.push((self.player.frames(), count));
        }
        Ok(())
    }

    /// Leaves, and judges what was heard where the machine did not stumble.
    fn close(mut self, length: usize, stumbles: &[Range<Instant>]) -> Result<(usize, Result<()>)> {
        self.player.leave()?;
        // A clean goodbye: the server knows at once, not after 30 s.
        let mut rpc = self.server.rpc()?;
        let start = pace::now();
        loop {
            let clients = rpc.call("jamulusserver/getClients", json!({}))?;
            if clients["clients"].as_array().is_some_and(Vec::is_empty) {
                break;
            }
            ensure!(start.elapsed() < SOON, "the server still lists {clients}");
            pace::sleep(Duration::from_millis(20));
        }
        let Self { stream, player, origin, concealed, .. } = self;
        let (_, take) = player.finish()?;
        let samples =
            |time: Instant| (time.saturating_duration_since(take.start).as_secs_f64() * RATE as f64) as usize;
        let stumbles = stumbles.iter().map(|stumble| samples(stumble.start)..samples(stumble.end));
        let judged = origin + TONES_START..origin + length;
        let stalls: Vec<Range<usize>> = take
            .stalled_at()
            .into_iter()
            .chain(stumbles)
            .filter(|stall| stall.start < judged.end && judged.start < stall.end + stream.reach())
            .collect();
        let judgement = judge(stream, &take, origin, length, &stalls).and_then(|disturbed| {
            Ok(disturbed + judge_concealment(stream, origin, length, &concealed, &stalls)?)
        });
        let is_proof = match judgement {
            Ok(disturbed) => disturbed == 0 || excused(judged, &stalls, stream.reach()) <= MOST_EXCUSED,
            Err(_) => false,
        };
        Ok((if is_proof { 0 } else { stalls.len() }, judgement.map(|_| ())))
    }
}

/// The share of `span` within `reach` of one of `stalls`.
fn excused(span: Range<usize>, stalls: &[Range<usize>], reach: usize) -> f64 {
    let mut stalls = stalls.to_vec();
    stalls.sort_by_key(|stall| stall.start);
    let (mut covered, mut from) = (0, span.start);
    for stall in stalls {
        let start = stall.start.saturating_sub(reach).clamp(from, span.end);
        let end = (stall.end + reach).clamp(start, span.end);
        covered += end - start;
        from = end;
    }
    covered as f64 / span.len() as f64
}

/// Level, pitch and dropouts of what came back: how often stalls of the machine disturbed it.
fn judge(
    stream: Stream,
    take: &Take,
    origin: usize,
    length: usize,
    stalls: &[Range<usize>],
) -> Result<usize> {
    /// RMS relative to the tone's above which a window is disturbed: the worst codec leaves −20 dB, one
    /// missing frame −11 dB.
    const DISTURBED_DB: f64 = -15.0;
    let change = Stream::tone_change(length);
    let spans = match stream.layout {
        Layout::Stereo => [(0, 0, TONES_START..length), (1, 1, TONES_START..length)],
        Layout::Mono => [(0, 0, TONES_START..change), (0, 1, change + RATE / 4..length)],
    };
    let mut disturbed = 0;
    let mut line = format!("{:?} {:?} {:?}:", stream.frame, stream.layout, stream.quality);
    for (channel, tone, span) in spans {
        let (hz, start) = (TONES_HZ[tone], origin + span.start);
        let bound = TONE_PEAK / 2f64.sqrt() * signal::gain(DISTURBED_DB);
        let heard = listen(&take.output[channel][start..origin + span.end], &[hz], bound);
        let level_db = db(heard.amplitudes[0], TONE_PEAK);
        let off_hz = heard.frequencies_hz[0] - hz;
        disturbed += heard.disturbed.len();
        line += &format!(" {level_db:+.3} dB {off_hz:+.2} Hz, {} disturbed;", heard.disturbed.len());
        ensure!(level_db.abs() <= UNITY_DB, "{line} not at unity");
        ensure!(off_hz.abs() <= 0.1, "{line} off pitch");
        let excuses: Vec<_> = stalls
            .iter()
            .filter(|stall| stall.end + stream.reach() >= start)
            .map(|stall| stall.start.saturating_sub(start)..stall.end.saturating_sub(start))
            .collect();
        let dropouts = heard.unexcused(&excuses, stream.reach());
        ensure!(dropouts.is_empty(), "{line} disturbed without a stall at {dropouts:?} after {}", span.start);
    }
    println!("{line} {} stalls", stalls.len());
    Ok(disturbed)
}

/// Frames are concealed only within one buffer depth of a stall: how many were.
fn judge_concealment(
    stream: Stream,
    origin: usize,
    length: usize,
    concealed: &[(u64, u64)],
    stalls: &[Range<usize>],
) -> Result<usize> {
    /// The plugin tells its counters this often, in samples.
    const NEWS: usize = RATE / 4;
    let depth = stream.buffer_frames() * stream.frame.samples();
    let mut concealed_frames = 0;
    for pair in concealed.windows(2) {
        let (noticed, count) = (pair[1].0 as usize, pair[1].1 - pair[0].1);
        if !(origin + TONES_START..origin + length).contains(&noticed) {
            continue;
        }
        let excused =
            stalls.iter().any(|stall| stall.start <= noticed && noticed <= stall.end + depth + NEWS);
        ensure!(
            excused,
            "{stream:?}: {count} frames concealed without a stall, {} samples after the connection",
            noticed - origin
        );
        concealed_frames += count as usize;
    }
    Ok(concealed_frames)
}

#[test]
fn the_plugin_and_a_stock_client_play_and_chat_together() -> Result<()> {
    let _stage = stage();
    for format in Format::ALL {
        in_real_time(|| jam(format))?;
    }
    Ok(())
}

fn jam(format: Format) -> Result<(usize, Result<()>)> {
    const SECONDS: usize = 8;
    let mut server = StockServer::start(&["-w", "Be <i>kind</i>."])?;
    let jack = JackServer::start(128)?;
    let mut bob = StockClient::start(&jack, "Bob", server.address(), StockSettings::default())?;
    let mut rpc = bob.rpc()?;
    rpc.call("jamulusclient/setName", json!({ "name": "Bob <b>&" }))?;
    // Bob is there first.
    rpc.wait_for("jamulusclient/clientListReceived", SOON, |list| list["clients"][0]["name"] == "Bob <b>&")?;
    let project = json!({
        "address": server.address().to_string(), "name": "Zoë ♫", "city": "Köln",
        "client_buffer": 8, "server_buffer": 8,
    });
    let card = SoundCard { rate_hz: RATE as f64, block_frames: 128, guarded: false };
    let source = sine(card.rate_hz, TONES_HZ[0], 0.25);
    let mut zoe = Player::new(format, 0, ChannelLayout::STEREO, card, project, source)?;
    zoe.join()?;

    // Who is there, as both see it.
    zoe.wait_for("both names", |snapshot| snapshot.names() == ["Bob <b>&", "Zoë ♫"])?;
    rpc.wait_for("jamulusclient/clientListReceived", SOON, |list| {
        list["clients"][1]["name"] == "Zoë ♫" && list["clients"][1]["city"] == "Köln"
    })?;
    // Chat, both ways.
    zoe.wait_for("the welcome", |snapshot| {
        snapshot.chat().iter().chain(&snapshot.text("welcome")).any(|line| line.contains("Be kind."))
    })?;
    zoe.chat("1 < 2 & so on")?;
    rpc.wait_for("jamulusclient/chatTextReceived", SOON, |chat| {
        chat["chatText"]
            .as_str()
            .is_some_and(|text| text.contains("<b>Zoë ♫</b></font> 1 &lt; 2 &amp; so on"))
    })?;
    rpc.call("jamulusclient/sendChatText", json!({ "chatText": "Grüße <3" }))?;
    zoe.wait_for("Bob's greeting", |snapshot| {
        snapshot.chat().iter().any(|line| line.contains("Bob <b>&") && line.ends_with("Grüße <3"))
    })?;

    // Both hear both.
    let tone = signal::sine(TONES_HZ[1], 0.25, SECONDS * RATE);
    let part = Part { jack_name: bob.jack_name().into(), play: [tone.clone(), tone] };
    let rig = Rig::start(&jack, vec![part], SECONDS)?;
    bob.process().hurry();
    server.process().hurry();
    let zoe_start = zoe.frames() as usize;
    while rig.position() < (SECONDS - 1) * RATE {
        zoe.plugin().pump();
        pace::sleep(Duration::from_millis(5));
    }
    let recording = rig.stop()?;

    // Gone is gone, also when the plugin is thrown out of the project while connected.
    let (plugin, take) = zoe.finish()?;
    drop(plugin);
    rpc.wait_for("jamulusclient/clientListReceived", SOON, |list| {
        list["clients"].as_array().is_some_and(|clients| clients.len() == 1)
    })?;
    let clients = server.rpc()?.call("jamulusserver/getClients", json!({}))?;
    ensure!(clients["clients"].as_array().is_some_and(|clients| clients.len() == 1), "{clients}");

    let span = 4 * RATE..(SECONDS - 1) * RATE - RATE / 4;
    let zoe_heard = &take.output[0][zoe_start + span.start..zoe_start + span.end];
    let outcome = [("Zoë", zoe_heard), ("Bob", &recording.tracks[0][0][span])].into_iter().try_for_each(
        |(who, heard)| {
            let heard = listen(heard, &TONES_HZ, 0.02);
            for (tone, amplitude) in heard.amplitudes.iter().enumerate() {
                let level_db = db(*amplitude, 0.25);
                ensure!(level_db.abs() <= UNITY_DB, "{who} hears {} Hz at {level_db:+.2} dB", TONES_HZ[tone]);
            }
            Ok(())
        },
    );
    let stalls = if outcome.is_ok() { 0 } else { take.stalls.len() };
    Ok((stalls, outcome))
}
