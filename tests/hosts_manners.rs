//! The plugin when a host does something other than play: bypass, render, stop.

#![expect(clippy::disallowed_types, reason = "tests take turns at the machine's two cores")]

use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use jamulet::server::{Config, Event, Options, Server};
use jamulet_testkit::diagnostics::Snapshot;
use jamulet_testkit::host::{ChannelLayout, Format};
use jamulet_testkit::pace;
use jamulet_testkit::player::{Player, in_real_time, sine};
use jamulet_testkit::signal::{self, largest_step, rms, sine_step};
use jamulet_testkit::track::{self, SoundCard};
use serde_json::json;

const CARD: SoundCard = SoundCard { rate_hz: 48_000.0, block_frames: 128, guarded: false };
const AMPLITUDE: f64 = 0.25;
/// The server fades newcomers in for three seconds.
const FADE_FRAMES: u64 = 48_000 * 7 / 2;
/// Longer than any state change that is waited for takes, on however slow a machine.
const LIMIT: Duration = Duration::from_secs(20);

/// These tests share two cores and one list of instances: one at a time.
fn stage() -> MutexGuard<'static, ()> {
    static STAGE: Mutex<()> = Mutex::new(());
    STAGE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn server() -> Result<(Server, String)> {
    let config = Config { max_clients: 10, ..Config::default() };
    let options = Options { port: 0, bind_ip4: Some(Ipv4Addr::LOCALHOST), config, ..Options::default() };
    let server = Server::start(options)?;
    let address = server.local_addr().to_string();
    Ok((server, address))
}

fn player(format: Format, index: usize, address: &str, name: &str, amplitude: f64) -> Result<Player> {
    let project = json!({"address": address, "name": name});
    Player::new(format, index, ChannelLayout::STEREO, CARD, project, sine(CARD.rate_hz, 440.0, amplitude))
}

fn joined(server: &Server) -> usize {
    server.events().try_iter().filter(|event| matches!(event, Event::Joined { .. })).count()
}

/// Waits until the plugin, whose host does nothing, says so.
fn wait_until(
    snapshot: &dyn Fn() -> Result<Snapshot>,
    what: &str,
    done: impl Fn(&Snapshot) -> bool,
) -> Result<()> {
    let start = pace::now();
    while !done(&snapshot()?) {
        ensure!(start.elapsed() < LIMIT, "{what} did not come: {}", snapshot()?.0);
        pace::sleep(Duration::from_millis(5));
    }
    Ok(())
}

#[test]
fn both_formats_offer_one_bypass_and_declare_that_they_cannot_render() -> Result<()> {
    let _stage = stage();
    for format in Format::ALL {
        let mut plugin = format.create()?;
        let bypasses: Vec<_> = plugin.parameters().into_iter().filter(|parameter| parameter.bypass).collect();
        assert_eq!(bypasses.len(), 1, "{format:?}: {bypasses:?}");
        assert!(bypasses[0].name == "Bypass" && bypasses[0].automatable, "{format:?}");
        assert!(plugin.is_realtime_only()?, "{format:?}");
    }
    Ok(())
}

#[test]
fn a_bypass_passes_the_track_bit_for_bit_and_keeps_the_session() -> Result<()> {
    let _stage = stage();
    for format in Format::ALL {
        in_real_time(|| {
            let (server, address) = server()?;
            let mut player = self::player(format, 0, &address, "Ann", AMPLITUDE)?;
            let mut ear = self::player(format, 1, &address, "Ben", 0.0)?;
            let channel = player.join()?.count("channel");
            ear.join()?;
            player.play_on(FADE_FRAMES)?;
            let sent = player.snapshot()?.count("sent");
            let (bypassed, heard) = (player.frames() as usize, ear.frames() as usize);
            player.automate("Bypass", 1.0)?;
            player.play_on(96_000)?;
            let snapshot = player.snapshot()?;
            let (passed, silent) = (player.frames() as usize, ear.frames() as usize);
            player.automate("Bypass", 0.0)?;
            player.play_on(96_000)?;
            let ended = ear.frames() as usize;
            ensure!(snapshot.is_connected() && snapshot.count("channel") == channel, "{}", snapshot.0);
            ensure!(snapshot.count("sent") > sent + 600, "packets go on: {}", snapshot.0);
            ensure!(player.snapshot()?.is_connected(), "{}", player.snapshot()?.0);
            let (_, take) = player.finish()?;
            let (_, others) = ear.finish()?;
            ensure!(joined(&server) == 2, "{format:?} joined again");
            // 0.2 s for the automation's way and the ramp.
            let settled = bypassed + 9_600..passed;
            let exact =
                (0..2).all(|side| take.output[side][settled.clone()] == take.input[side][settled.clone()]);
            ensure!(exact, "{format:?}: not the track's own sound");
            let outcome = || -> Result<()> {
                // Both are sines of the same pitch and level: a step would be a click.
                let edges = &take.output[0][bypassed - 4_800..];
                let step = sine_step(440.0 / CARD.rate_hz * 48_000.0, AMPLITUDE);
                ensure!(
                    largest_step(edges) < 2.0 * step,
                    "{format:?}: a step of {}",
                    largest_step(edges) / step
                );
                let before = rms(&others.output[0][heard - 24_000..heard]);
                let during = rms(&others.output[0][silent - 48_000..silent - 4_800]);
                let after = rms(&others.output[0][ended - 24_000..ended]);
                ensure!(before > 0.16 && after > 0.16, "{format:?}: the other hears {before}, then {after}");
                ensure!(during < 1e-3, "{format:?}: the other hears {during} of a bypassed track");
                Ok(())
            };
            Ok((take.stalls.len() + others.stalls.len(), outcome()))
        })?;
    }
    Ok(())
}

/// A host that renders all the same, whether it says so or not (nice-plug tells VST3 plugins too late).
#[test]
fn a_render_keeps_the_take_and_sends_nothing_faster_than_time() -> Result<()> {
    let _stage = stage();
    for format in Format::ALL {
        let (server, address) = server()?;
        let mut player = self::player(format, 0, &address, "Ann", AMPLITUDE)?;
        player.join()?;
        player.play_on(FADE_FRAMES)?;
        // Twice: what a host has said before must not be what counts.
        for round in 0..2 {
            player = player.pause(CARD, sine(CARD.rate_hz, 440.0, AMPLITUDE), |plugin, snapshot| {
                plugin.set_offline(true)?;
                let (start, sent) = (pace::now(), snapshot()?.count("sent"));
                let mut audio = plugin.activate(CARD.rate_hz, CARD.block_frames)?;
                let input: Vec<Vec<f32>> = (0..2).map(|side| signal::noise(side, 0.7, 10 * 48_000)).collect();
                let mut seconds = 0;
                while start.elapsed() < Duration::from_secs(4) {
                    let output;
                    (audio, output) = track::render(audio, &input, &[CARD.block_frames])?;
                    ensure!(output == input, "{format:?}, round {round}: not the take");
                    seconds += 10;
                }
                let (passed, packets) = (start.elapsed(), snapshot()?.count("sent") - sent);
                let told = snapshot()?;
                plugin.deactivate(audio)?;
                plugin.set_offline(false)?;
                println!("{format:?}: rendered {seconds} s in {passed:?}, {packets} packets");
                ensure!(seconds >= 20, "this machine renders too slowly to prove anything");
                ensure!(told.text("host") == Some("rendering"), "{format:?}: {}", told.0);
                ensure!(told.is_connected(), "{format:?}: {}", told.0);
                let due = passed.as_secs_f64() * 48_000.0 / 128.0;
                ensure!((packets as f64) < due + 200.0, "{format:?}: {packets} packets, {due} were due");
                Ok(())
            })?;
            player.wait_for("playing again", |snapshot| snapshot.text("host") == Some("steady"))?;
            let start = player.frames();
            player.play_on(96_000)?;
            ensure!(player.snapshot()?.is_connected(), "{}", player.snapshot()?.0);
            ensure!(start > 0, "it plays");
        }
        let (_, take) = player.finish()?;
        let end = &take.output[0][take.output[0].len() - 24_000..];
        ensure!(end != &take.input[0][take.input[0].len() - 24_000..], "{format:?}: the return is back");
        ensure!((0.15..0.2).contains(&rms(end)), "{format:?}: the return is back at {}", rms(end));
        ensure!(joined(&server) == 1, "{format:?} joined again");
    }
    Ok(())
}

/// Undo, presets, hosts that load twice: the session goes on as if nothing had been.
#[test]
fn a_state_that_is_loaded_in_a_session_changes_only_what_differs() -> Result<()> {
    let _stage = stage();
    for format in Format::ALL {
        let (server, address) = server()?;
        let mut player = self::player(format, 0, &address, "Ann", AMPLITUDE)?;
        let before = player.plugin().state()?;
        let channel = player.join()?.count("channel");
        player.play_on(24_000)?;
        for _ in 0..20 {
            player.plugin().set_state(&before)?;
            player.play_on(1_024)?;
        }
        player.plugin().change_project(json!({"name": "Renamed", "address": "elsewhere.invalid"}))?;
        let snapshot = player.wait_for("the new name", |snapshot| snapshot.names() == ["Renamed"])?;
        ensure!(snapshot.is_connected() && snapshot.count("channel") == channel, "{}", snapshot.0);
        player.play_on(24_000)?;
        ensure!(player.snapshot()?.is_connected(), "{}", player.snapshot()?.0);
        player.finish()?;
        ensure!(joined(&server) == 1, "{format:?} joined again");
    }
    Ok(())
}

/// Only where the user wants it, only the first time, and never a duplicated track.
#[test]
fn a_project_joins_again_only_if_it_was_asked_to() -> Result<()> {
    let _stage = stage();
    for format in Format::ALL {
        let (server, address) = server()?;
        let mut first = self::player(format, 0, &address, "Ann", AMPLITUDE)?;
        first.plugin().change_project(json!({"reconnect": true}))?;
        first.join()?;
        let wanted = first.plugin().state()?;
        assert_eq!(wanted.project()?["joined"], json!(true), "{format:?}");
        let mut unwanted = wanted.clone();
        unwanted.change_project(json!({"reconnect": false}))?;
        ensure!(joined(&server) == 1, "{format:?}: one is here");

        // A duplicated track: the same state while the first one lives.
        let mut duplicate = format.create()?;
        duplicate.set_state(&wanted)?;
        pace::sleep(Duration::from_millis(500));
        ensure!(joined(&server) == 0, "{format:?}: a duplicate joined");
        drop(duplicate);
        first.leave()?;
        first.finish()?;

        let mut opened = format.create()?;
        opened.set_state(&unwanted)?;
        pace::sleep(Duration::from_millis(500));
        ensure!(joined(&server) == 0, "{format:?}: it joined unasked");
        drop(opened);

        let mut opened = format.create()?;
        opened.set_state(&wanted)?;
        let event = std::iter::repeat_with(|| server.events().recv_timeout(LIMIT))
            .map_while(Result::ok)
            .any(|event| matches!(event, Event::Joined { .. }));
        ensure!(event, "{format:?}: it did not join again");

        // The host shows that it is joined, and so can turn it off.
        ensure!(opened.value_of("Connect")? == 1.0, "{format:?}: Connect is off while joined");
        opened.set_value_of("Connect", 0.0)?;
        let left = std::iter::repeat_with(|| server.events().recv_timeout(LIMIT))
            .map_while(Result::ok)
            .any(|event| matches!(event, Event::Left { .. }));
        ensure!(left, "{format:?}: Connect does not end what the project has joined");
    }
    Ok(())
}

#[test]
fn a_host_that_stops_is_named_and_the_session_stays() -> Result<()> {
    let _stage = stage();
    for format in Format::ALL {
        let (server, address) = server()?;
        let mut player = self::player(format, 0, &address, "Ann", AMPLITUDE)?;
        player.join()?;
        player.play_on(48_000)?;
        let mut player = player.pause(CARD, sine(CARD.rate_hz, 440.0, AMPLITUDE), |_, snapshot| {
            wait_until(snapshot, "the stop", |snapshot| snapshot.text("host") == Some("stopped"))?;
            let sent = snapshot()?.count("sent");
            wait_until(snapshot, "packets", |snapshot| snapshot.count("sent") > sent + 375)?;
            ensure!(snapshot()?.is_connected(), "{}", snapshot()?.0);
            Ok(())
        })?;
        player.wait_for("the host's return", |snapshot| snapshot.text("host") == Some("steady"))?;
        player.finish()?;
        ensure!(joined(&server) == 1, "{format:?} joined again");
    }
    Ok(())
}
