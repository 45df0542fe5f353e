//! Debian's Jamulus 3.9.1 clients on our server: they hear themselves and each other as on a stock server,
//! their mixers, chat and lists work, and the server notices how they leave.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use jamulet::units::{Quality, fader_gain};
use jamulet_testkit::jack::{Part, Recording, Rig};
use jamulet_testkit::signal::{self, db, listen};
use jamulet_testkit::stock::unity::{Case, TONES_HZ, UNITY_DB, judge};
use jamulet_testkit::stock::{JackServer, Process, Rpc, StockClient, StockLayout, StockSettings, free_port};
use serde_json::{Value, json};

/// Our server's buffer of 16 frames is at most 8 off its target after a stall, and slips two a second.
const SETTLES: Duration = Duration::from_secs(4);
/// How soon news must be at the other end.
const SOON: Duration = Duration::from_secs(5);

#[test]
fn stock_clients_hear_themselves_at_unity_in_every_format() {
    let formats = [StockLayout::Mono, StockLayout::Stereo]
        .into_iter()
        .flat_map(|layout| [Quality::Low, Quality::Normal, Quality::High].map(|quality| (layout, quality)));
    let settings: Vec<StockSettings> =
        formats.map(|(layout, quality)| StockSettings { layout, quality, ..Default::default() }).collect();
    // Frames of 64 on a server that ticks every 64 samples, and of 128 on one that ticks every 128.
    hear_themselves(64, &settings, &["--fastupdate"]);
    hear_themselves(128, &settings, &[]);
}

#[test]
fn stock_clients_hear_themselves_at_unity_where_frames_and_ticks_differ() {
    let stereo = StockSettings::default();
    let mono = StockSettings { layout: StockLayout::Mono, quality: Quality::High, ..stereo };
    let mono_to_stereo = StockSettings { layout: StockLayout::MonoInStereoOut, ..stereo };
    // Frames of 64 on 128-sample ticks.
    hear_themselves(64, &[stereo, mono], &[]);
    // Frames of 128 on 64-sample ticks; in blocks of 64, too.
    hear_themselves(128, &[mono_to_stereo, mono], &["--fastupdate"]);
    hear_themselves(64, &[StockSettings { small_frames: false, ..stereo }], &["--fastupdate"]);
    // Two frames to a packet.
    hear_themselves(256, &[stereo, mono], &[]);
}

/// Lets stock clients hear themselves, each on a server of ours.
fn hear_themselves(period: u32, settings: &[StockSettings], options: &[&str]) {
    let servers: Vec<OurServer> = settings.iter().map(|_| OurServer::start(options)).collect();
    let cases: Vec<Case<'_>> = servers
        .iter()
        .zip(settings)
        .map(|(server, &settings)| Case {
            name: format!("{:?} {:?}", settings.layout, settings.quality),
            address: server.address,
            server: &server.process,
            settings,
            settles: SETTLES,
        })
        .collect();
    for verdict in judge(period, &cases).unwrap() {
        println!("{verdict}");
    }
}

#[test]
fn two_stock_clients_play_together() {
    let mut server = OurServer::start(&["-u", "2", "--welcomemessage", "Be <i>kind</i>."]);
    let jack = JackServer::start(128).unwrap();
    let settings = StockSettings { quality: Quality::High, ..Default::default() };
    let mut zoe = StockClient::start_with_window(&jack, "Zoe", server.address, settings).unwrap();
    let mut zoe_rpc = zoe.rpc().unwrap();
    let welcome = next_chat(&mut zoe_rpc);
    assert_eq!(welcome, "<b>Server Welcome Message:</b> Be <i>kind</i>.");
    let mut bob = StockClient::start(&jack, "Bob", server.address, settings).unwrap();
    let mut bob_rpc = bob.rpc().unwrap();

    // Names, with everything that may be in them, reach both lists and the log.
    zoe_rpc.call("jamulusclient/setName", json!({ "name": "Zoë ♫" })).unwrap();
    bob_rpc.call("jamulusclient/setName", json!({ "name": "Bob <b>&" })).unwrap();
    bob_rpc.call("jamulusclient/setSkillLevel", json!({ "skillLevel": "expert" })).unwrap();
    for rpc in [&mut zoe_rpc, &mut bob_rpc] {
        rpc.wait_for("jamulusclient/clientListReceived", SOON, |list| {
            names(list) == ["Zoë ♫", "Bob <b>&"] && list["clients"][1]["skillLevel"] == "expert"
        })
        .unwrap();
    }

    // Chat, from either, to both.
    zoe_rpc.call("jamulusclient/sendChatText", json!({ "chatText": "1 < 2 & so on" })).unwrap();
    for rpc in [&mut zoe_rpc, &mut bob_rpc] {
        let line = next_chat(rpc);
        assert!(line.contains("<b>Zoë ♫</b></font> 1 &lt; 2 &amp; so on"), "{line}");
    }
    bob_rpc.call("jamulusclient/sendChatText", json!({ "chatText": "Grüße" })).unwrap();
    for rpc in [&mut zoe_rpc, &mut bob_rpc] {
        let line = next_chat(rpc);
        assert!(line.contains("<b>Bob &lt;b&gt;&amp;</b></font> Grüße"), "{line}");
    }

    mix(&jack, [&mut zoe, &mut bob], &server, &mut bob_rpc);

    // A third musician finds the server full, waits, and comes in when Bob leaves.
    let mut late = StockClient::start(&jack, "Late", server.address, settings).unwrap();
    let mut late_rpc = late.rpc().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let connected =
        |rpc: &mut Rpc| rpc.call("jamulusclient/getClientInfo", json!({})).unwrap()["connected"] == true;
    assert!(!connected(&mut late_rpc), "there were three on a server for two");
    assert_eq!(names(&zoe_rpc.call("jamulusclient/getClientList", json!({})).unwrap()).len(), 2);
    assert!(bob.process_mut().stop(), "Bob's client does not obey");
    server.process.wait_for_log("Bob <b>& left", SOON).unwrap();
    zoe_rpc
        .wait_for("jamulusclient/clientListReceived", SOON, |list| names(list) == ["Zoë ♫", "No Name"])
        .unwrap();
    assert!(connected(&mut late_rpc));
}

/// Both hear both at unity; then one turns the knobs of her mixer and hears the difference alone.
fn mix(jack: &JackServer, players: [&mut StockClient; 2], server: &OurServer, bob_rpc: &mut Rpc) {
    const PEAK: f64 = 0.25;
    const SECONDS: usize = 30;
    const STEP: usize = 48_000 * 6 / 5;
    let (zoe, bob) = (0, 1);
    let parts = players.iter().zip(TONES_HZ).map(|(player, hz)| {
        let tone = signal::sine(hz, PEAK, SECONDS * 48_000);
        Part { jack_name: player.jack_name().into(), play: [tone.clone(), tone] }
    });
    let rig = Rig::start(jack, parts.collect(), SECONDS).unwrap();
    for process in players.iter().map(|player| player.process()).chain([&server.process]) {
        process.hurry();
    }
    // The fade-in has begun with the connection; this leaves it time in any case.
    rig.wait_until(4 * 48_000).unwrap();

    // Plays on for a while and returns the part of it that has settled.
    let settle = || {
        let start = rig.position();
        rig.wait_until(start + STEP).unwrap();
        start + STEP / 3..start + STEP - STEP / 12
    };
    let turn = |knob: Knob, value: u8| {
        rig.control_change(zoe, knob as u8, value);
        settle()
    };
    let untouched = settle();
    let level = bob_rpc
        .wait_for("jamulusclient/channelLevelListReceived", SOON, |levels| {
            // A peak of 0.25 is −12 dBFS: ceil((−12 + 50) · 8 / 50) = 7.
            levels["channelLevelList"] == json!([7, 7])
        })
        .map(|_| ());
    let half = turn(Knob::FaderOfBob, 64);
    let closed = turn(Knob::FaderOfBob, 0);
    turn(Knob::FaderOfBob, 127);
    let left = turn(Knob::PanOfBob, 0);
    let right = turn(Knob::PanOfBob, 127);
    turn(Knob::PanOfBob, 64);
    let muted = turn(Knob::MuteBob, 127);
    turn(Knob::MuteBob, 0);
    let solo = turn(Knob::SoloZoe, 127);
    turn(Knob::SoloZoe, 0);
    let restored = settle();
    let recording = rig.stop().unwrap();
    level.unwrap();

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
    let heard_db = |recording: &Recording, player: usize, side: usize, span: &std::ops::Range<usize>| {
        let heard = listen(&recording.tracks[player][side][span.clone()], &TONES_HZ, 1.0);
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
fn a_client_that_falls_silent_is_gone_after_thirty_seconds() {
    let mut server = OurServer::start(&[]);
    let jack = JackServer::start(128).unwrap();
    let settings = StockSettings::default();
    let mut client = StockClient::start(&jack, "Mute", server.address, settings).unwrap();
    let mut rpc = client.rpc().unwrap();
    rpc.call("jamulusclient/setName", json!({ "name": "Mute" })).unwrap();
    server.process.wait_for_log("joined from", SOON).unwrap();
    // Unlike SIGTERM this leaves no time for a goodbye.
    client.process_mut().kill();
    let killed = now();
    // Others may have JACK meanwhile.
    drop((client, jack));
    server.process.wait_for_log("was lost", Duration::from_secs(60)).unwrap();
    let waited = killed.elapsed();
    assert!(waited >= Duration::from_secs(29), "given up after {waited:?}");
    let log = server.process.log();
    assert!(log.lines().any(|line| line.contains("Mute") && line.contains("was lost")), "{log}");
}

/// `jamulet-server` on a free port of the loopback.
struct OurServer {
    process: Process,
    address: SocketAddr,
}

impl OurServer {
    fn start(options: &[&str]) -> Self {
        let port = free_port();
        let mut command = Command::new(env!("CARGO_BIN_EXE_jamulet-server"));
        command.args(["--serverbindip4", "127.0.0.1", "--port"]).arg(port.to_string()).args(options);
        let mut process = Process::start("jamulet-server", command).unwrap();
        // It prints where others can connect once they can.
        process.wait_for_log(&port.to_string(), SOON).unwrap();
        Self { process, address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)) }
    }
}

fn next_chat(rpc: &mut Rpc) -> String {
    let chat = rpc.wait_for("jamulusclient/chatTextReceived", SOON, |_| true).unwrap();
    chat["chatText"].as_str().unwrap().to_owned()
}

fn names(list: &Value) -> Vec<&str> {
    list["clients"].as_array().unwrap().iter().map(|client| client["name"].as_str().unwrap()).collect()
}

#[expect(clippy::disallowed_methods, reason = "a timeout of 30 s on the real clock")]
fn now() -> Instant {
    Instant::now()
}
