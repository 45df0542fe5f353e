//! Debian's Jamulus 3.9.1 clients on our server: they hear themselves and each other as on a stock server,
//! their mixers, chat and lists work, and the server notices how they leave.

#![cfg(target_os = "linux")]

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};
use jamulet::units::{Quality, fader_gain};
use jamulet_testkit::jack::{Part, Recording, Rig};
use jamulet_testkit::pace;
use jamulet_testkit::signal::{self, db, listen};
use jamulet_testkit::stock::unity::{Case, TONES_HZ, UNITY_DB, judge};
use jamulet_testkit::stock::{JackServer, Process, Rpc, StockClient, StockLayout, StockSettings, free_port};
use jamulet_testkit::window::Screen;
use serde_json::{Value, json};

/// Our server's buffer of 16 frames is at most 8 off its target after a stall, and slips two a second.
const SETTLES: Duration = Duration::from_secs(4);
/// How soon news must be at the other end.
const SOON: Duration = Duration::from_secs(5);

/// Ticks of 64 samples.
const FAST: &[&str] = &["--fastupdate"];
/// Ticks of 128 samples.
const USUAL: &[&str] = &[];

#[test]
fn stock_clients_hear_themselves_at_unity_in_frames_of_64() -> Result<()> {
    for layout in [StockLayout::Mono, StockLayout::Stereo] {
        hear_themselves(64, &QUALITIES.map(|quality| (settings(layout, quality), FAST)))?;
    }
    // Where the server ticks every 128 samples, and where the client insists on frames of 128.
    let long_frames = StockSettings { small_frames: false, ..settings(StockLayout::Stereo, Quality::Normal) };
    let cases = [
        (settings(StockLayout::Stereo, Quality::Normal), USUAL),
        (settings(StockLayout::Mono, Quality::High), USUAL),
        (long_frames, FAST),
    ];
    hear_themselves(64, &cases)
}

#[test]
fn stock_clients_hear_themselves_at_unity_in_frames_of_128() -> Result<()> {
    let mono = QUALITIES.map(|quality| (settings(StockLayout::Mono, quality), USUAL));
    let stereo = QUALITIES.map(|quality| (settings(StockLayout::Stereo, quality), USUAL));
    // Where the server ticks every 64 samples.
    let fast = (settings(StockLayout::MonoInStereoOut, Quality::High), FAST);
    hear_themselves(128, &[mono[0], mono[1], mono[2], fast])?;
    hear_themselves(128, &stereo)
}

#[test]
fn stock_clients_hear_themselves_at_unity_with_two_frames_to_a_packet() -> Result<()> {
    let [mono, stereo] = [StockLayout::Mono, StockLayout::Stereo].map(|l| settings(l, Quality::Normal));
    hear_themselves(256, &[(mono, USUAL), (stereo, USUAL), (stereo, FAST)])
}

const QUALITIES: [Quality; 3] = [Quality::Low, Quality::Normal, Quality::High];

fn settings(layout: StockLayout, quality: Quality) -> StockSettings {
    StockSettings { layout, quality, ..Default::default() }
}

/// Lets stock clients hear themselves, each on a server of ours with these options.
fn hear_themselves(period: u32, clients: &[(StockSettings, &[&str])]) -> Result<()> {
    let servers: Vec<OurServer> =
        clients.iter().map(|(_, options)| OurServer::start(options)).collect::<Result<_>>()?;
    let cases: Vec<Case<'_>> = servers
        .iter()
        .zip(clients)
        .enumerate()
        .map(|(number, (server, &(settings, options)))| Case {
            name: format!("{number} {:?} {:?} {}", settings.layout, settings.quality, options.concat()),
            address: server.address,
            server: &server.process,
            settings,
            settles: SETTLES,
        })
        .collect();
    for verdict in judge(period, &cases)? {
        println!("{verdict}");
    }
    Ok(())
}

#[test]
fn two_stock_clients_play_together() -> Result<()> {
    let mut server = OurServer::start(&["-u", "2", "--welcomemessage", "Be <i>kind</i>."])?;
    let jack = JackServer::start(128)?;
    let settings = StockSettings { quality: Quality::High, ..Default::default() };
    // The server waits until somebody listens to what Zoe's client is told.
    server.process.signal(libc::SIGSTOP);
    let mut zoe = StockClient::start_with_window(&jack, "Zoe", server.address, settings)?;
    let mut zoe_rpc = zoe.rpc()?;
    server.process.signal(libc::SIGCONT);
    let welcome = next_chat(&mut zoe_rpc)?;
    assert_eq!(welcome, "<b>Server Welcome Message:</b> Be <i>kind</i>.");
    let mut bob = StockClient::start(&jack, "Bob", server.address, settings)?;
    let mut bob_rpc = bob.rpc()?;

    // Names, with everything that may be in them, reach both lists and the log.
    zoe_rpc.call("jamulusclient/setName", json!({ "name": "Zoë ♫" }))?;
    bob_rpc.call("jamulusclient/setName", json!({ "name": "Bob <b>&" }))?;
    bob_rpc.call("jamulusclient/setSkillLevel", json!({ "skillLevel": "expert" }))?;
    for rpc in [&mut zoe_rpc, &mut bob_rpc] {
        rpc.wait_for("jamulusclient/clientListReceived", SOON, |list| {
            names(list) == ["Zoë ♫", "Bob <b>&"] && list["clients"][1]["skillLevel"] == "expert"
        })?;
    }

    // Chat, from either, to both.
    zoe_rpc.call("jamulusclient/sendChatText", json!({ "chatText": "1 < 2 & so on" }))?;
    for rpc in [&mut zoe_rpc, &mut bob_rpc] {
        let line = next_chat(rpc)?;
        assert!(line.contains("<b>Zoë ♫</b></font> 1 &lt; 2 &amp; so on"), "{line}");
    }
    bob_rpc.call("jamulusclient/sendChatText", json!({ "chatText": "Grüße" }))?;
    for rpc in [&mut zoe_rpc, &mut bob_rpc] {
        let line = next_chat(rpc)?;
        assert!(line.contains("<b>Bob &lt;b&gt;&amp;</b></font> Grüße"), "{line}");
    }

    mix(&jack, [&mut zoe, &mut bob], &server, &mut bob_rpc)?;

    // A third musician finds the server full, waits, and comes in when Bob leaves.
    let mut late = StockClient::start(&jack, "Late", server.address, settings)?;
    let mut late_rpc = late.rpc()?;
    pace::sleep(Duration::from_secs(2));
    assert!(!is_connected(&mut late_rpc)?, "there were three on a server for two");
    assert_eq!(names(&zoe_rpc.call("jamulusclient/getClientList", json!({}))?).len(), 2);
    assert!(bob.process_mut().stop(), "Bob's client does not obey");
    server.process.wait_for_log("Bob <b>& left", SOON)?;
    zoe_rpc.wait_for("jamulusclient/clientListReceived", SOON, |list| names(list) == ["Zoë ♫", "No Name"])?;
    assert!(is_connected(&mut late_rpc)?);
    Ok(())
}

/// Both hear both at unity; then one turns the knobs of her mixer and hears the difference alone.
fn mix(
    jack: &JackServer,
    players: [&mut StockClient; 2],
    server: &OurServer,
    bob_rpc: &mut Rpc,
) -> Result<()> {
    const PEAK: f64 = 0.25;
    const SECONDS: usize = 30;
    const STEP: usize = 48_000 * 6 / 5;
    let (zoe, bob) = (0, 1);
    let parts = players.iter().zip(TONES_HZ).map(|(player, hz)| {
        let tone = signal::sine(hz, PEAK, SECONDS * 48_000);
        Part { jack_name: player.jack_name().into(), play: [tone.clone(), tone] }
    });
    let rig = Rig::start(jack, parts.collect(), SECONDS)?;
    for process in players.iter().map(|player| player.process()).chain([&server.process]) {
        process.hurry();
    }
    // The fade-in has begun with the connection; this leaves it time in any case.
    rig.wait_until(4 * 48_000)?;

    // Plays on for a while and returns the part of it that has settled.
    let settle = || -> Result<Range<usize>> {
        let start = rig.position();
        rig.wait_until(start + STEP)?;
        Ok(start + STEP / 3..start + STEP - STEP / 12)
    };
    let turn = |knob: Knob, value: u8| {
        rig.control_change(zoe, knob as u8, value);
        settle()
    };
    let untouched = settle()?;
    let level = bob_rpc
        .wait_for("jamulusclient/channelLevelListReceived", SOON, |levels| {
            // A peak of 0.25 is −12 dBFS: ceil((−12 + 50) · 8 / 50) = 7.
            levels["channelLevelList"] == json!([7, 7])
        })
        .map(|_| ());
    let half = turn(Knob::FaderOfBob, 64)?;
    let closed = turn(Knob::FaderOfBob, 0)?;
    turn(Knob::FaderOfBob, 127)?;
    let left = turn(Knob::PanOfBob, 0)?;
    let right = turn(Knob::PanOfBob, 127)?;
    turn(Knob::PanOfBob, 64)?;
    let muted = turn(Knob::MuteBob, 127)?;
    turn(Knob::MuteBob, 0)?;
    let solo = turn(Knob::SoloZoe, 127)?;
    turn(Knob::SoloZoe, 0)?;
    let restored = settle()?;
    let recording = rig.stop()?;
    level?;

    let silent = f64::NEG_INFINITY;
    // MIDI's 64 of 127 is position 50 of 100.
    let half_db = db(f64::from(fader_gain(50.0)), 1.0);
    let expected = [
        ("at first", untouched, [0.0, 0.0]),
        ("with the fader half closed", half, [half_db, half_db]),
        ("with the fader closed", closed, [silent, silent]),
        ("panned left", left, [0.0, silent]),
        ("panned right", right, [silent, 0.0]),
        ("muted", muted, [silent, silent]),
        ("while Zoe is solo", solo, [silent, silent]),
        ("in the end", restored, [0.0, 0.0]),
    ];
    let heard_db = |recording: &Recording, player: usize, side: usize, span: &Range<usize>| {
        let heard = listen(&recording.tracks[player][side][span.clone()], &TONES_HZ, PEAK / 10.0);
        [0, 1].map(|tone| db(heard.amplitudes[tone], PEAK))
    };
    for (when, span, bob_db) in expected {
        for (side, bob_db) in bob_db.into_iter().enumerate() {
            let [own, other] = heard_db(&recording, zoe, side, &span);
            println!("{when}: Zoe hears herself at {own:+.2} dB and Bob at {other:+.2} dB");
            assert!(own.abs() <= UNITY_DB, "{when} Zoe hears herself at {own:+.2} dB");
            let close = if bob_db == silent { other < -40.0 } else { (other - bob_db).abs() <= UNITY_DB };
            assert!(close, "{when} Zoe hears Bob at {other:+.2} dB, side {side}");
            // Bob's mix is his own.
            let [zoe_db, own] = heard_db(&recording, bob, side, &span);
            assert!(own.abs() <= UNITY_DB, "{when} Bob hears himself at {own:+.2} dB");
            assert!(zoe_db.abs() <= UNITY_DB, "{when} Bob hears Zoe at {zoe_db:+.2} dB");
        }
    }
    Ok(())
}

/// MIDI controllers of the mixer of [`StockClient::start_with_window`].
#[derive(Clone, Copy)]
enum Knob {
    FaderOfBob = 1,
    PanOfBob = 17,
    SoloZoe = 32,
    MuteBob = 49,
}

#[test]
fn a_client_that_falls_silent_is_gone_after_thirty_seconds() -> Result<()> {
    let mut server = OurServer::start(&[])?;
    let jack = JackServer::start(128)?;
    let settings = StockSettings::default();
    let mut client = StockClient::start(&jack, "Mute", server.address, settings)?;
    let mut rpc = client.rpc()?;
    rpc.call("jamulusclient/setName", json!({ "name": "Mute" }))?;
    server.process.wait_for_log("joined from", SOON)?;
    // Unlike SIGTERM this leaves no time for a goodbye.
    client.process_mut().kill();
    let killed = pace::now();
    // Others may have JACK meanwhile.
    drop((client, jack));
    server.process.wait_for_log("was lost", Duration::from_secs(60))?;
    let waited = killed.elapsed();
    assert!(waited >= Duration::from_secs(29), "given up after {waited:?}");
    let log = server.process.log();
    assert!(log.lines().any(|line| line.contains("Mute") && line.contains("was lost")), "{log}");
    Ok(())
}

#[test]
fn a_stock_clients_window_shows_licence_welcome_and_recording() -> Result<()> {
    /// The banner over the mixer while somebody records.
    const RED: [u8; 3] = [255, 0, 0];
    let jack = JackServer::start(128)?;
    let screen = Screen::start([1400, 900])?;
    let recordings = tempfile::tempdir()?;
    let folder = recordings.path().to_string_lossy().into_owned();
    let seen = |options: &[&str], windows: usize, is_recording: bool| -> Result<()> {
        let server = OurServer::start(options)?;
        let _client =
            StockClient::start_on_screen(&jack, "Seer", server.address, StockSettings::default(), &screen)?;
        let start = pace::now();
        loop {
            let red = screen.picture()?.share(RED) > 1e-4;
            let sizes = screen.windows()?;
            if sizes.len() == windows && red == is_recording {
                return Ok(());
            }
            if start.elapsed() > Duration::from_secs(20) {
                let path = std::env::temp_dir().join("jamulet-stock-client.png");
                screen.picture()?.save(&path)?;
                bail!("with {options:?} there are {sizes:?}, red: {red}; see {}", path.display());
            }
            pace::sleep(Duration::from_millis(100));
        }
    };
    // The mixer's window; with the chat's, which opens for the welcome; with the licence's.
    seen(&[], 1, false)?;
    seen(&["-w", "Be kind."], 2, false)?;
    seen(&["-w", "Be kind.", "-L", "-R", &folder], 3, true)
}

/// `jamulet-server` on a free port of the loopback.
struct OurServer {
    process: Process,
    address: SocketAddr,
}

impl OurServer {
    fn start(options: &[&str]) -> Result<Self> {
        let port = free_port();
        let mut command = Command::new(env!("CARGO_BIN_EXE_jamulet-server"));
        command
            .args(["--logformat", "text", "--serverbindip4", "127.0.0.1", "--port"])
            .arg(port.to_string())
            .args(options);
        let mut process = Process::start("jamulet-server", command)?;
        // It prints where others can connect once they can.
        process.wait_for_log(&port.to_string(), SOON)?;
        Ok(Self { process, address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)) })
    }
}

fn is_connected(rpc: &mut Rpc) -> Result<bool> {
    Ok(rpc.call("jamulusclient/getClientInfo", json!({}))?["connected"] == true)
}

fn next_chat(rpc: &mut Rpc) -> Result<String> {
    let chat = rpc.wait_for("jamulusclient/chatTextReceived", SOON, |_| true)?;
    Ok(chat["chatText"].as_str().unwrap_or_default().to_owned())
}

fn names(list: &Value) -> Vec<&str> {
    list["clients"].as_array().into_iter().flatten().filter_map(|client| client["name"].as_str()).collect()
}
