//! "Me, aligned" from the real library in a real host interface, in real time: on Debian's Jamulus 3.9.1 server and on
//! ours. First the full mix is recorded, then "me, aligned": both are equally late.

#![cfg(target_os = "linux")]
#![expect(clippy::disallowed_types, reason = "tests take turns")]

use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};
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

/// Two spans of the take in which nothing changed.
struct Recorded {
    what: String,
    mix: usize,
    aligned: usize,
}

const SPAN: usize = 2 * RATE;

/// Ten connects to the server at `address`: how often the machine stalled, and what was wrong.
fn ten_reconnects(format: Format, address: &str) -> Result<(usize, Result<()>)> {
    let card = SoundCard { rate_hz: RATE as f64, block_frames: 128, guarded: true };
    let project = json!({"address": address, "name": "Zoë", "quality": "normal"});
    let mut player = Player::new(format, 0, ChannelLayout::STEREO, card, project, syllables)?;
    let mut recorded = Vec::new();
    let outcome = BUFFERS.iter().try_for_each(|&(client, server)| -> Result<()> {
        player.plugin().change_project(json!({"client_buffer": client, "server_buffer": server}))?;
        player.join()?;
        recorded.push(record(&mut player, client, server)?);
        player.leave()?;
        Ok(())
    });
    let (_, take) = player.finish()?;
    println!("{}", take.report);
    let excused = if format == Format::Vst3 { 4 * BUFFERS.len() as u64 } else { 0 };
    ensure!(
        take.report.is_clean_but_for_other_wakes() && take.report.other_wakes <= excused,
        "{}",
        take.report
    );
    let outcome = outcome.and_then(|()| recorded.iter().try_for_each(|recorded| judge(&take, recorded)));
    Ok((if outcome.is_ok() { 0 } else { take.stalls.len() }, outcome))
}

/// Records both until nothing changes from the first to the last sample.
fn record(player: &mut Player, client: u8, server: u8) -> Result<Recorded> {
    const ATTEMPTS: usize = 5;
    for _ in 0..ATTEMPTS {
        player.wait_for("the alignment", |snapshot| snapshot.text("alignment") == Some("exact"))?;
        let state = |player: &Player| -> Result<_> {
            let snapshot = player.snapshot()?;
            Ok((snapshot.text("alignment") == Some("exact"), snapshot.number("alignment_ms")))
        };
        let before = state(player)?;
        let mix = player.frames() as usize;
        player.play_on(SPAN as u64)?;
        player.automate("Output", ALIGNED)?;
        player.play_on(RATE as u64 / 4)?;
        let aligned = player.frames() as usize;
        player.play_on(SPAN as u64)?;
        player.automate("Output", MIX)?;
        player.play_on(RATE as u64)?;
        let after = state(player)?;
        if before == after && before.0 {
            let what = format!("buffers {client}/{server}, {before:?}");
            return Ok(Recorded { what, mix, aligned });
        }
        println!("buffers {client}/{server}: {before:?} became {after:?}, once more");
    }
    anyhow::bail!("buffers {client}/{server}: something changed in each of {ATTEMPTS} recordings")
}

fn judge(take: &Take, recorded: &Recorded) -> Result<()> {
    let Recorded { what, mix, aligned } = recorded;
    let delay = |start: usize| {
        // What is heard from `start + MAX_DELAY` on was played at `start` at the earliest.
        let reference = &take.input[0][start..start + SPAN - MAX_DELAY];
        signal::delay(reference, &take.output[0][start..start + SPAN], MAX_DELAY)
    };
    let (mix, aligned) = (delay(*mix).context("a mix")?, delay(*aligned).context("me, aligned")?);
    println!("{what}: {mix:?} {aligned:?}");
    ensure!(mix.correlation > 0.5 && aligned.correlation > 0.9, "{what}: {mix:?} {aligned:?}");
    ensure!(mix.samples.abs_diff(aligned.samples) <= 1, "{what}: {mix:?} {aligned:?}");
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
