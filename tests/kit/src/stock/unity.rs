//! Do stock clients hear themselves at unity? One run judges several clients, each on a server of its own.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use jamulet::units::BufferSize;

use crate::jack::{Part, Recording, Rig};
use crate::signal::{self, LISTEN_WINDOW, RATE_HZ, db, delay, listen};

use super::{JackServer, Process, StockClient, StockLayout, StockSettings};

/// Pitches of the tones: left and right, or one after the other where there is only one channel. A little
/// off the round numbers, so that the tones meet the codec's frames at every phase in turn.
pub const TONES_HZ: [f64; 2] = [440.1, 660.1];
/// Peak of the tones. Opus at 12 bytes a frame errs by up to 0.5 dB depending on the level of a tone, in
/// every Jamulus alike; at this level it errs by 0.1 dB, so that the rest of the way is what is judged.
pub const TONE_PEAK: f64 = 0.55;
/// How far from unity a tone may come back, in dB (issue 2, "must show" 2).
pub const UNITY_DB: f64 = 0.2;
/// How far from its pitch a tone may come back, in Hz.
const PITCH_HZ: f64 = 0.5;
/// A window whose residual is above this, relative to the tone, is disturbed. The worst codec leaves −21 dB,
/// one missing frame of 64 samples at least −11 dB.
const DISTURBED_DB: f64 = -15.0;

// The plan of a run, in samples: connecting and the fade-in of 3 s, tones, silence, noise.
const SHAKE: usize = RATE;
const TONES: Range<usize> = 5 * RATE..13 * RATE;
const TONE_CHANGE: usize = 9 * RATE;
const NOISE: Range<usize> = TONES.end + RATE / 2..TONES.end + RATE;
const END: usize = NOISE.end + RATE / 4;
const RATE: usize = RATE_HZ as usize;
/// Runs before a machine that stumbles all the time is given up.
const MAX_RUNS: usize = 5;
/// Stalls of the machine in a run that is judged all the same.
const MAX_STALLS: usize = 3;
/// Part of the tones' windows that must be undisturbed for levels to mean something.
const MIN_CLEAN: f64 = 0.5;
/// A delay of the machine that may be heard: less than a block, since several add up on a client's way.
const STALL: Duration = Duration::from_micros(500);

/// One stock client to be judged, on a server of its own.
pub struct Case<'a> {
    /// JACK name of the client, and what messages call it.
    pub name: String,
    /// Where it connects to.
    pub address: SocketAddr,
    /// The server's process.
    pub server: &'a Process,
    /// Its ini file.
    pub settings: StockSettings,
    /// How long the server's jitter buffer may take to return to its target after a stall, slipping a frame
    /// now and then. Zero for a stock server, whose buffer stays wherever the stall has put it.
    pub settles: Duration,
}

/// What one client heard, for the test's output. `Display` is one line.
#[derive(Clone, Debug)]
pub struct Verdict {
    name: String,
    /// dB from unity of each tone, then Hz from its pitch.
    tones: Vec<(f64, f64)>,
    residual_db: f64,
    disturbed: usize,
    /// Those of them that came after a stall, when the server's buffer returned to its target.
    slips: usize,
    delay_ms: f64,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:<40}", self.name)?;
        for (level_db, off_hz) in &self.tones {
            write!(f, " {level_db:+.3} dB {off_hz:+.2} Hz")?;
        }
        write!(f, ", noise {:.1} dB, {} disturbed", self.residual_db, self.disturbed)?;
        write!(f, " ({} slips)", self.slips)?;
        write!(f, ", delay {:.1} ms", self.delay_ms)
    }
}

/// Runs all `cases` at once over a JACK server with blocks of `period` samples, and fails with what is
/// wrong: a level, a pitch, a delay beyond both buffers, or a disturbance that no stall of the machine
/// explains. Cases that fail in a run in which the machine stalled too often to judge are run again, without
/// the others: fewer clients stall less.
pub fn judge(period: u32, cases: &[Case<'_>]) -> Result<Vec<Verdict>> {
    let mut verdicts: Vec<Option<Verdict>> = cases.iter().map(|_| None).collect();
    for run in 1.. {
        let open: Vec<usize> = (0..cases.len()).filter(|&index| verdicts[index].is_none()).collect();
        let asked: Vec<&Case<'_>> = open.iter().map(|&index| &cases[index]).collect();
        let (recording, stalls) = record(period, &asked)?;
        let mut problems = String::new();
        for ((&index, case), track) in open.iter().zip(&asked).zip(&recording.tracks) {
            match judge_one(period, case, track, &stalls) {
                Ok(verdict) => verdicts[index] = Some(verdict),
                Err(problem) => problems += &format!("{problem}\n"),
            }
        }
        println!(
            "blocks of {period}, run {run}: {} clients, {} stalls, {} xruns\n{problems}",
            asked.len(),
            stalls.len(),
            recording.xruns.len()
        );
        if problems.is_empty() {
            break;
        }
        // Without stalls to blame, a second run would only hide the fault.
        ensure!(
            run < MAX_RUNS && stalls.len() > MAX_STALLS,
            "{problems}{} stalls of the machine",
            stalls.len()
        );
    }
    Ok(verdicts.into_iter().flatten().collect())
}

/// One run: what every client played, and when the machine stalled (xruns of JACK included).
fn record(period: u32, cases: &[&Case<'_>]) -> Result<(Recording, Vec<Range<usize>>)> {
    let jack = JackServer::start(period)?;
    let mut clients = Vec::new();
    for case in cases {
        clients.push(StockClient::start(&jack, &case.name, case.address, case.settings)?);
    }
    let parts = clients.iter().zip(cases).map(|(client, case)| Part {
        jack_name: client.jack_name().into(),
        play: music(case.settings.layout),
    });
    let rig = Rig::start(&jack, parts.collect(), END / RATE + 2)?;
    rig.wait_until(SHAKE)?;
    for (client, case) in clients.iter().zip(cases) {
        client.process().hurry();
        case.server.hurry();
        shake(client.process(), case, period);
    }
    let watch = rig.watch_stalls(STALL)?;
    rig.wait_until(END)?;
    let mut stalls = watch.stop();
    let recording = rig.stop()?;
    stalls.extend(recording.xruns.iter().cloned());
    Ok((recording, stalls))
}

/// Gives every jitter buffer a reserve. A stock one keeps whatever place its first packets gave it, perhaps
/// right at its edge, where any wink of the machine is heard; packets that are once late move it off.
fn shake(client: &Process, case: &Case<'_>, period: u32) {
    let frame = if period == 64 && case.settings.small_frames { 64 } else { 128 };
    let reserve = Duration::from_secs(8 * frame) / 48_000;
    if case.settles.is_zero() {
        client.freeze(reserve);
    }
    case.server.freeze(reserve);
}

/// What a client hears: left and right.
fn music(layout: StockLayout) -> [Vec<f32>; 2] {
    let noise = signal::noise(1, 0.5, NOISE.len());
    let [mut left, mut right] = TONES_HZ.map(|hz| {
        let mut part = signal::sine(hz, TONE_PEAK, TONES.end);
        part.resize(NOISE.start, 0.0);
        part.extend(&noise);
        part
    });
    if layout != StockLayout::Stereo {
        left[TONE_CHANGE..].copy_from_slice(&right[TONE_CHANGE..]);
        right.copy_from_slice(&left);
    }
    if layout == StockLayout::MonoInStereoOut {
        // Such a client sends the sum of its inputs, a mono one their mean.
        right.fill(0.0);
    }
    [left, right]
}

fn judge_one(
    period: u32,
    case: &Case<'_>,
    track: &[Vec<f32>; 2],
    stalls: &[Range<usize>],
) -> Result<Verdict> {
    let name = &case.name;
    ensure!(track[0].len() >= END, "{name}: JACK recorded only {} of {END} samples", track[0].len());
    let depth_ms = buffer_depth_ms(period, case.settings);
    let reach = (depth_ms / 1000.0 * RATE_HZ) as usize + LISTEN_WINDOW;
    let settles = (case.settles.as_secs_f64() * RATE_HZ) as usize;
    // The tone that changes takes the buffers' depth to arrive.
    let margin = RATE / 4;
    let spans: [(usize, Range<usize>); 2] = match case.settings.layout {
        StockLayout::Stereo => [(0, TONES.start..TONES.end), (1, TONES.start..TONES.end)],
        _ => [(0, TONES.start..TONE_CHANGE), (1, TONE_CHANGE + margin..TONES.end)],
    };
    let mut verdict = Verdict {
        name: name.clone(),
        tones: Vec::new(),
        residual_db: f64::NEG_INFINITY,
        disturbed: 0,
        slips: 0,
        delay_ms: 0.0,
    };
    for (tone, span) in spans {
        let hz = TONES_HZ[tone];
        let side = &track[if case.settings.layout == StockLayout::Stereo { tone } else { 0 }];
        let heard = listen(&side[span.clone()], &[hz], TONE_PEAK / 2f64.sqrt() * signal::gain(DISTURBED_DB));
        let shifted = |settles: usize| -> Vec<Range<usize>> {
            let relative = |position: usize| position.saturating_sub(span.start);
            stalls.iter().map(|stall| relative(stall.start)..relative(stall.end + settles)).collect()
        };
        verdict.slips += heard.unexcused(&shifted(0), reach).len();
        let unexcused = heard.unexcused(&shifted(settles), reach);
        ensure!(unexcused.is_empty(), "{name}: {hz} Hz was disturbed at {unexcused:?} after {}", span.start);
        let disturbed: usize = heard.disturbed.iter().map(Range::len).sum();
        let clean = 1.0 - disturbed as f64 / span.len() as f64;
        ensure!(
            clean >= MIN_CLEAN,
            "{name}: {hz} Hz was undisturbed only {:.0} % of the time",
            clean * 100.0
        );
        let level_db = db(heard.amplitudes[0], TONE_PEAK);
        ensure!(level_db.abs() <= UNITY_DB, "{name}: {hz} Hz came back at {level_db:+.2} dB");
        let off_hz = heard.frequencies_hz[0] - hz;
        ensure!(off_hz.abs() <= PITCH_HZ, "{name}: {hz} Hz came back {off_hz:+.2} Hz off");
        verdict.tones.push((level_db, off_hz));
        verdict.disturbed += heard.disturbed.len();
        verdict.residual_db = verdict.residual_db.max(db(heard.residual_rms, TONE_PEAK / 2f64.sqrt()));
    }
    let played = signal::noise(1, 0.5, NOISE.len());
    let found =
        delay(&played, &track[0][NOISE.start..END], END - NOISE.end).filter(|found| found.correlation > 0.2);
    let Some(found) = found else { bail!("{name}: the noise did not come back") };
    verdict.delay_ms = found.samples as f64 / RATE_HZ * 1000.0;
    ensure!(verdict.delay_ms <= depth_ms, "{name}: {:.1} ms of delay", verdict.delay_ms);
    Ok(verdict)
}

/// Longest way through both jitter buffers, JACK's blocks, the server's tick and the codec, in ms.
fn buffer_depth_ms(period: u32, settings: StockSettings) -> f64 {
    let frames = |size| match size {
        BufferSize::Auto => 20.0,
        BufferSize::Frames(frames) => f64::from(frames),
    };
    let frame = if period == 64 && settings.small_frames { 64.0 } else { 128.0 };
    let buffers = (frames(settings.client_buffer) + frames(settings.server_buffer)) * frame;
    (buffers + 3.0 * f64::from(period) + 3.0 * 128.0) / RATE_HZ * 1000.0
}
