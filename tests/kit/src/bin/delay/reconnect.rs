//! One client after the other joins, plays clicks of noise, and is heard through the server.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jamulet_testkit::jack::{Part, Recording, Rig};
use jamulet_testkit::signal::{self, RATE_HZ};
use jamulet_testkit::stock::{JackServer, Process};

use crate::arguments::Arguments;
use crate::peers::{Client, RunningClient, RunningServer, Setting};

const RATE: usize = RATE_HZ as usize;
/// Clicks per reconnect …
const CLICKS: usize = 12;
/// … one so often, in samples; not a multiple of any block, so that they meet frames at every phase.
const CLICK_EVERY: usize = RATE / 2 + 37;
/// Length of a click, in samples: noise, which correlates with itself at one delay only.
const CLICK: usize = RATE / 10;
/// Peak of a click.
const CLICK_PEAK: f32 = 0.5;
/// Whether sound came back is judged for pieces this long, in samples: a short frame.
const PIECE: usize = 64;
/// A piece that is less like what was played than this is damaged: coding leaves 0.45 of the worst and 0.85 of most.
const DAMAGED: f32 = 0.4;
/// Longer than this nothing takes, in samples.
const LONGEST: usize = RATE * 3 / 10;
/// A click that comes back less like itself than this has been torn: its delay means nothing.
const TORN: f64 = 0.3;
/// The server has said hello and Qt's threads have settled, in samples after the start.
const JOINED: usize = RATE;
/// JACK and the client run on one processor, as if that were the player's machine …
const PLAYERS_PROCESSOR: usize = 0;
/// … and the server on the other.
const SERVERS_PROCESSOR: usize = 1;
/// A delay of the machine that counts as a disturbance.
const STALL: Duration = Duration::from_millis(1);

/// One client's time in the session.
#[derive(Clone, Debug)]
pub(crate) struct Reconnect {
    pub(crate) client: Client,
    /// Counted from 0; both clients have one in each round.
    pub(crate) round: usize,
    /// Of every click that came back whole, in samples, in order.
    pub(crate) delays: Vec<usize>,
    /// Clicks that did not.
    pub(crate) torn: usize,
    /// Pieces of those that came back, and how many of them are damaged: concealed, or joined by a slip.
    pub(crate) pieces: usize,
    pub(crate) damaged: usize,
    /// When the machine or JACK stumbled, from joining on.
    pub(crate) disturbances: usize,
}

impl Reconnect {
    /// The delay of this reconnect, in ms: that of the median click.
    pub(crate) fn delay_ms(&self) -> Option<f64> {
        let millis = self.delays.iter().map(|samples| *samples as f64 * 1000.0 / RATE_HZ);
        signal::median(millis.collect())
    }

    /// From the shortest to the longest delay within this reconnect, in ms.
    pub(crate) fn wander_ms(&self) -> f64 {
        let (least, most) = (self.delays.iter().min(), self.delays.iter().max());
        least.zip(most).map_or(0.0, |(least, most)| (most - least) as f64 * 1000.0 / RATE_HZ)
    }
}

/// Both clients take turns, `arguments.rounds` times each.
pub(crate) fn measure(setting: Setting, arguments: &Arguments) -> Result<Vec<Reconnect>> {
    let mut all = Vec::new();
    for round in 0..arguments.rounds {
        // Neither is always the first.
        let order =
            if round % 2 == 0 { [Client::Stock, Client::Ours] } else { [Client::Ours, Client::Stock] };
        for client in order {
            let reconnect = undisturbed(setting, client, round, arguments)?;
            print(&reconnect);
            all.push(reconnect);
        }
    }
    Ok(all)
}

fn print(reconnect: &Reconnect) {
    let Reconnect { client, round, torn, damaged, disturbances, .. } = reconnect;
    let delay = reconnect.delay_ms().unwrap_or(f64::NAN);
    let wander = reconnect.wander_ms();
    let mut line = format!("  round {:>2} {client:<14} {delay:6.2} ms, wanders {wander:.2}", round + 1);
    if *torn > 0 {
        line += &format!(", {torn} torn");
    }
    if *damaged > 0 {
        line += &format!(", {damaged} pieces damaged");
    }
    if *disturbances > 0 {
        line += &format!(", {disturbances} disturbances");
    }
    println!("{line}");
}

/// The first attempt in which the machine did not stumble more often than allowed, else the one in which it stumbled
/// least.
fn undisturbed(setting: Setting, client: Client, round: usize, arguments: &Arguments) -> Result<Reconnect> {
    let mut best: Option<Reconnect> = None;
    for _ in 0..arguments.attempts {
        let reconnect = match join(setting, client, round, arguments) {
            Ok(reconnect) => reconnect,
            // A machine that stalls for long throws programs off JACK.
            Err(error) => {
                println!("  round {:>2} {client:<14} once more: {error:#}", round + 1);
                continue;
            }
        };
        let better = best.as_ref().is_none_or(|best| reconnect.disturbances < best.disturbances);
        if better {
            best = Some(reconnect);
        }
        if best.as_ref().is_some_and(|best| best.disturbances <= arguments.stumbles) {
            break;
        }
    }
    best.with_context(|| format!("{client} could not be measured in {} attempts", arguments.attempts))
}

fn join(setting: Setting, client: Client, round: usize, arguments: &Arguments) -> Result<Reconnect> {
    let first_click = arguments.settle_seconds * RATE;
    let end = first_click + CLICKS * CLICK_EVERY + LONGEST;
    let clicks: Vec<Vec<f32>> =
        (0..CLICKS).map(|click| dull(&signal::noise(click as u64 + 1, CLICK_PEAK, CLICK))).collect();
    let mut music = phrases(first_click - RATE);
    music.resize(end, 0.0);
    for (index, click) in clicks.iter().enumerate() {
        music[first_click + index * CLICK_EVERY..][..CLICK].copy_from_slice(click);
    }

    // New ones each time: nobody is left in them, and where ticks lie within JACK's blocks is drawn anew.
    let jack = JackServer::start(setting.period)?;
    let server = RunningServer::start(setting)?;
    let running = RunningClient::start(client, &jack, server.address())?;
    let pin = || {
        [jack.process(), running.process()].into_iter().for_each(|process| process.pin(PLAYERS_PROCESSOR));
        server.process().pin(SERVERS_PROCESSOR);
    };
    pin();
    let part = Part { jack_name: running.jack_name().into(), play: [music.clone(), music] };
    let rig = Rig::start(&jack, vec![part], end / RATE + 1)?;
    rig.wait_until(JOINED)?;
    // Everybody's network threads get what a quiet machine would give them.
    [running.process(), server.process()].into_iter().for_each(Process::hurry);
    pin();
    let watch = rig.watch_stalls(STALL)?;
    rig.wait_until(end)?;
    let mut disturbances = watch.stop().len();
    let recording = rig.stop()?;
    running.stop()?;
    disturbances += recording.xruns.iter().filter(|xrun| xrun.start > JOINED).count();

    let echoes = echoes(&recording, &clicks, first_click);
    ensure!(!echoes.is_empty(), "{client} heard none of its {CLICKS} clicks");
    Ok(Reconnect {
        client,
        round,
        torn: CLICKS - echoes.len(),
        pieces: echoes.len() * (CLICK / PIECE),
        damaged: echoes.iter().map(|echo| echo.damaged).sum(),
        delays: echoes.iter().map(|echo| echo.delay).collect(),
        disturbances,
    })
}

/// What somebody who plays is heard as, before the clicks: phrases with rests between them, from joining on.
fn phrases(length: usize) -> Vec<f32> {
    const PHRASE: usize = RATE * 8 / 10;
    const PERIOD: usize = RATE;
    const PEAK: f32 = 0.2;
    let mut music = dull(&signal::noise(0, PEAK, length));
    for (index, sample) in music.iter_mut().enumerate() {
        if index < JOINED || index % PERIOD >= PHRASE {
            *sample = 0.0;
        }
    }
    music
}

/// `noise` without its highest tones, by which alone half a sample's delay would make it unlike itself: what is resampled
/// comes back between two samples.
fn dull(noise: &[f32]) -> Vec<f32> {
    let smooth = |sound: &[f32]| -> Vec<f32> {
        let padded = [&[0.0], sound, &[0.0]].concat();
        padded.windows(3).map(|near| 0.25 * near[0] + 0.5 * near[1] + 0.25 * near[2]).collect()
    };
    smooth(&smooth(noise))
}

/// A click that came back.
struct Echo {
    /// In samples.
    delay: usize,
    damaged: usize,
}

fn echoes(recording: &Recording, clicks: &[Vec<f32>], first_click: usize) -> Vec<Echo> {
    let [left, _] = &recording.tracks[0];
    let of_click = |(index, click): (usize, &Vec<f32>)| {
        let heard = left.get(first_click + index * CLICK_EVERY..)?;
        let delay = signal::delay(click, &heard[..heard.len().min(CLICK + LONGEST)], LONGEST)?;
        let damaged = damaged(click, heard, delay.samples);
        (delay.correlation > TORN).then_some(Echo { delay: delay.samples, damaged })
    };
    clicks.iter().enumerate().filter_map(of_click).collect()
}

/// Pieces of the click that are not heard `delay` samples later, nor some frames before or after that: buffers slip.
fn damaged(click: &[f32], heard: &[f32], delay: usize) -> usize {
    /// Frames of 64 that slips may add up to, either way.
    const SLIPS: usize = 6;
    let found = |(index, piece): (usize, &[f32])| {
        let around = (0..=2 * SLIPS).filter_map(|slips| (delay + slips * PIECE).checked_sub(SLIPS * PIECE));
        let alike = around.filter_map(|delay| heard.get(delay + index * PIECE..)?.get(..PIECE));
        alike.map(|heard| likeness(piece, heard)).fold(0.0, f32::max)
    };
    click.chunks_exact(PIECE).enumerate().map(found).filter(|likeness| *likeness < DAMAGED).count()
}

/// Correlation of two equally long pieces, −1..=1; 0 with silence.
fn likeness(a: &[f32], b: &[f32]) -> f32 {
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let scale = (product(a, a) * product(b, b)).sqrt();
    if scale > 0.0 { product(a, b) / scale } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_damages_its_joint_and_a_gap_what_is_missing() {
        let click = signal::noise(1, CLICK_PEAK, CLICK);
        let delayed: Vec<f32> = [vec![0.0; 500], click.clone(), vec![0.0; 500]].concat();
        assert_eq!(damaged(&click, &delayed, 500), 0);
        let mut slipped = delayed.clone();
        slipped.drain(2000..2128);
        assert!((1..=2).contains(&damaged(&click, &slipped, 500)), "{}", damaged(&click, &slipped, 500));
        let mut holed = delayed;
        holed[500 + 10 * PIECE..500 + 13 * PIECE].fill(0.0);
        assert_eq!(damaged(&click, &holed, 500), 3);
    }
}
