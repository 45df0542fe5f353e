//! "Me, aligned" from the real library in a real host interface, in real time: on Debian's Jamulus 3.9.1 server and on
//! ours. First the full mix is recorded, then "me, aligned". Each is cut into windows, and in each both have to be as late
//! as was told. Excused are only windows in which, or within a second after which, another delay was told, or none called
//! exact: then the server's buffer has slipped a frame because the machine had other things to do.

#![cfg(target_os = "linux")]
#![expect(clippy::disallowed_types, reason = "tests take turns")]

use std::net::Ipv4Addr;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Result, bail, ensure};
use jamulet::server::{Options, Server};
use jamulet_testkit::host::{ChannelLayout, Format};
use jamulet_testkit::player::{Player, in_real_time};
use jamulet_testkit::signal;
use jamulet_testkit::stock::StockServer;
use jamulet_testkit::track::{SoundCard, Take};
use serde_json::json;

const RATE: usize = 48_000;
/// Our buffer and the server's at each connect, in frames.
const BUFFERS: [(u8, u8); 10] =
    [(8, 8), (6, 12), (12, 6), (10, 10), (16, 8), (8, 16), (7, 9), (20, 20), (9, 7), (14, 11)];
/// The parameter's value for the full mix, and for "me, aligned".
const MIX: f64 = 0.0;
const ALIGNED: f64 = 1.0;
/// The longest delay looked for, in samples.
const MAX_DELAY: usize = RATE / 2;

/// These tests share two cores and one list of plugin instances: one at a time.
fn stage() -> MutexGuard<'static, ()> {
    static STAGE: Mutex<()> = Mutex::new(());
    STAGE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Noise that depends on the sample's number only, louder and softer like syllables.
fn syllables(start: u64, input: &mut [Vec<f32>]) {
    for channel in input {
        for (number, sample) in (start..).zip(channel) {
            let hash = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let hash = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40;
            let noise = hash as f32 / (1 << 23) as f32 - 1.0;
            let phase = (number % 9600) as f32 / 9600.0;
            *sample = 0.2 * noise * (std::f32::consts::PI * phase).sin();
        }
    }
}

/// One connect's part of the take.
struct Recorded {
    what: String,
    /// The full mix is at the output …
    mix: Range<usize>,
    /// … and then "me, aligned".
    aligned: Range<usize>,
    /// What the window would have said, by sample.
    told: Vec<Told>,
}

/// What was told when the take was so long.
#[derive(Clone, Copy)]
struct Told {
    at: usize,
    /// The delay of "me, aligned" in samples, when it was called exact.
    exact: Option<f64>,
}

/// Sound of each kind that is recorded at each connect.
const SPAN: u64 = RATE as u64 * 5 / 4;
/// Sound that is compared at once.
const WINDOW: usize = RATE / 4;
/// Most recordings at each connect: a server's buffer that slips ends what was the same until then.
const ATTEMPTS: usize = 4;
/// Windows of each that have to be compared at each connect, of eight.
const ENOUGH: usize = 2;
/// Automation has reached the output after so much.
const SWITCHED: u64 = RATE as u64 / 8;
/// A server that slips a frame is noticed within this much of music: the alignment told has changed then.
const NOTICED: usize = RATE;
/// An old alignment is faded out, and a change is told, within this much.
const TOLD: usize = RATE / 10;

/// Ten connects to the server at `address`: how often the machine stalled, and what was wrong.
fn ten_reconnects(format: Format, address: &str) -> Result<(usize, Result<()>)> {
    let card = SoundCard { rate_hz: RATE as f64, block_frames: 128, guarded: true };
    let project = json!({"address": address, "name": "Zoë", "quality": "normal"});
    let mut player = Player::new(format, 0, ChannelLayout::STEREO, card, project, syllables)?;
    let mut recorded = Vec::new();
    let outcome = BUFFERS.iter().try_for_each(|&(client, server)| -> Result<()> {
        player.plugin().change_project(json!({"client_buffer": client, "server_buffer": server}))?;
        player.join()?;
        for attempt in 1..=ATTEMPTS {
            let what = format!("buffers {client}/{server}, recording {attempt}");
            let next = record(&mut player, what)?;
            let is_enough = next.is_enough();
            recorded.push(next);
            if is_enough {
                player.leave()?;
                return Ok(());
            }
        }
        bail!("buffers {client}/{server}: something changed all the time in {ATTEMPTS} recordings")
    });
    let (_, take) = player.finish()?;
    println!("{}", take.report);
    // nice-plug wakes its own thread for every automated value: joining, leaving, and two for each recording.
    let automated = 2 * (BUFFERS.len() + recorded.len()) as u64;
    let excused = if format == Format::Vst3 { automated } else { 0 };
    ensure!(
        take.report.is_clean_but_for_other_wakes() && take.report.other_wakes <= excused,
        "{}",
        take.report
    );
    let outcome = outcome.and_then(|()| {
        // All are printed, the first that is wrong is named.
        let judged: Vec<_> = recorded.iter().map(|recorded| judge(&take, recorded)).collect();
        judged.into_iter().collect()
    });
    Ok((if outcome.is_ok() { 0 } else { take.stalls.len() }, outcome))
}

/// Records both, and what is told meanwhile and for as long after it as a change takes to be noticed.
fn record(player: &mut Player, what: String) -> Result<Recorded> {
    player.wait_for("the alignment", |snapshot| snapshot.text("alignment") == Some("exact"))?;
    let mut told = Vec::new();
    let mix = listen(player, &mut told, SPAN)?;
    player.automate("Output", ALIGNED)?;
    listen(player, &mut told, SWITCHED)?;
    let aligned = listen(player, &mut told, SPAN)?;
    player.automate("Output", MIX)?;
    listen(player, &mut told, (NOTICED + TOLD) as u64)?;
    let snapshot = player.snapshot()?;
    let counts = ["lost", "late", "concealed", "slipped"].map(|key| format!("{key} {}", snapshot.count(key)));
    Ok(Recorded { what: format!("{what}, so far {}", counts.join(", ")), mix, aligned, told })
}

/// Plays on for so many samples: which ones, and what was told.
fn listen(player: &mut Player, told: &mut Vec<Told>, samples: u64) -> Result<Range<usize>> {
    let start = player.frames();
    while player.frames() < start + samples {
        player.play_on(RATE as u64 / 50)?;
        let snapshot = player.snapshot()?;
        let ms = snapshot.number("alignment_ms").filter(|_| snapshot.text("alignment") == Some("exact"));
        told.push(Told { at: player.frames() as usize, exact: ms.map(|ms| ms * RATE as f64 / 1000.0) });
    }
    Ok(start as usize..player.frames() as usize)
}

impl Recorded {
    /// The alignment that was called exact without a change from just before `window` until a change in it would have
    /// been noticed.
    fn told_in(&self, window: &Range<usize>) -> Option<f64> {
        let reach = window.start - TOLD..window.end + NOTICED;
        let mut told = self.told.iter().filter(|told| reach.contains(&told.at)).map(|told| told.exact);
        let first = told.next()??;
        told.all(|exact| exact.is_some_and(|exact| (exact - first).abs() < 0.5)).then_some(first)
    }

    /// Enough of both was called exact throughout.
    fn is_enough(&self) -> bool {
        let told = |span| windows(span).filter(|window| self.told_in(window).is_some()).count();
        told(&self.mix).min(told(&self.aligned)) >= ENOUGH
    }

    /// By how many samples the windows of `span` in which nothing changed are later than was told.
    fn off(&self, take: &Take, span: &Range<usize>) -> Vec<i64> {
        let off = windows(span).filter_map(|window| {
            let told = self.told_in(&window)?;
            let played = &take.input[0][window.start - MAX_DELAY..window.end];
            // Silence and what cannot be found are as wrong as can be.
            let found = signal::delay(&take.output[0][window.clone()], played, MAX_DELAY);
            let found = found.filter(|found| found.correlation > 0.5);
            let late = found.map_or(MAX_DELAY, |found| MAX_DELAY - found.samples);
            Some(late as i64 - told.round() as i64)
        });
        off.collect()
    }
}

/// What is compared, half of each also with the next.
fn windows(span: &Range<usize>) -> impl Iterator<Item = Range<usize>> {
    (span.start + TOLD..span.end - WINDOW).step_by(WINDOW / 2).map(|start| start..start + WINDOW)
}

/// In every window that was called exact, and went on to be, both lie where they were said to be.
fn judge(take: &Take, recorded: &Recorded) -> Result<()> {
    let (mix, aligned) = (recorded.off(take, &recorded.mix), recorded.off(take, &recorded.aligned));
    let mut told: Vec<_> = recorded.told.iter().map(|told| told.exact.map(f64::round)).collect();
    told.dedup();
    let whole = recorded.mix.start..recorded.aligned.end + NOTICED;
    let stalls = take.stalled_at().iter().filter(|stall| whole.contains(&stall.start)).count();
    let what = &recorded.what;
    println!("{what}: told {told:?}, mix off by {mix:?}, aligned off by {aligned:?}, {stalls} stalls");
    ensure!(
        aligned.iter().all(|off| *off == 0),
        "{what}: \"me, aligned\" is not where it was said: {aligned:?}"
    );
    ensure!(mix.iter().all(|off| off.abs() <= 1), "{what}: called exact, but the mix is off by {mix:?}");
    Ok(())
}

#[test]
fn on_a_stock_server() -> Result<()> {
    let _stage = stage();
    in_real_time(|| {
        let server = StockServer::start(&[])?;
        server.process().hurry();
        ten_reconnects(Format::Clap, &server.address().to_string())
    })
}

#[test]
fn on_our_server() -> Result<()> {
    let _stage = stage();
    in_real_time(|| {
        let options = Options { port: 0, bind_ip4: Some(Ipv4Addr::LOCALHOST), ..Options::default() };
        let server = Server::start(options)?;
        ten_reconnects(Format::Vst3, &server.local_addr().to_string())
    })
}
