//! Our plugin in Ardour 7, a real DAW: a session is played on one track and recorded on a second one, saved,
//! and opened again.

#![cfg(target_os = "linux")]

use std::net::Ipv4Addr;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jamulet::client::{BufferSettings, Handle, Profile, Settings, StreamSettings};
use jamulet::server::{Config, Event, Options, Server};
use jamulet::units::{BufferSize, Layout, Quality};
use jamulet_testkit::ardour::{Ardour, Home};
use jamulet_testkit::host::State;
use jamulet_testkit::jack::{Part, Ports, Rig};
use jamulet_testkit::musician::Musician;
use jamulet_testkit::player::in_real_time;
use jamulet_testkit::signal::{self, db, rms};
use jamulet_testkit::stock::JackServer;
use jamulet_testkit::track::{SoundCard, Track};
use jamulet_testkit::{pace, wav};
use serde_json::{Value, json};

const RATE: usize = 48_000;
const BLOCK: u32 = 128;
/// What is recorded.
const SECONDS: usize = 30;
/// Enough music for everything that is done meanwhile.
const MUSIC_SECONDS: usize = 100;
/// In both jitter buffers, in frames of 128 samples.
const BUFFER: u8 = 16;
/// Longer than anything that is waited for takes, on however slow a machine.
const LIMIT: Duration = Duration::from_secs(30);
/// Ports of the track with the plugin.
const JAM_PORTS: Ports =
    Ports { inputs: ["jam/audio_in 1", "jam/audio_in 2"], outputs: ["jam/audio_out 1", "jam/audio_out 2"] };

/// Two tracks: the jam with the plugin, and the take that records it.
const NEW_SESSION: &str = r"
    create_session('session', 'jam', 48000)
    function new_track(name)
      local track
      local tracks = Session:new_audio_track(2, 2, nil, 1, name, ARDOUR.PresentationInfo.max_order, ARDOUR.TrackMode.Normal, true)
      for new in tracks:iter() do track = new end
      track:input():disconnect_all(nil)
      return track
    end
    new_track('jam')
    new_track('take')
    local processor = ARDOUR.LuaAPI.new_plugin(Session, 'Jamulet', ARDOUR.PluginType.VST3, '')
    assert(not processor:isnil(), 'Ardour does not know the plugin')
    assert(Session:route_by_name('jam'):add_processor_by_index(processor, 0, nil, true) == 0)
";

/// Names for what is in the session.
const NAMES: &str = r"
    jam = Session:route_by_name('jam'):to_track()
    take = Session:route_by_name('take'):to_track()
    processor = jam:nth_plugin(0)
    insert = processor:to_insert()
    plugin = insert:plugin(0)
    function index(name)
      for n = 0, plugin:parameter_count() - 1 do
        if plugin:parameter_label(n) == name then return n end
      end
      error('there is no parameter ' .. name)
    end
    function set(name, value) assert(ARDOUR.LuaAPI.set_processor_param(processor, index(name), value)) end
    function get(name) return string.format('%.3f', (ARDOUR.LuaAPI.get_processor_param(processor, index(name)))) end
    function control(of, value) of:set_value(value, PBD.GroupControlDisposition.NoGroup) end
";

/// The plugin's track plays its input, the other one records what comes out of it, unheard.
const ROUTING: &str = r"
    control(jam:monitoring_control(), 1)
    control(take:monitoring_control(), 2)
    take:input():disconnect_all(nil)
    for side = 0, 1 do
      local from = jam:output():nth(side):name()
      assert(take:input():connect(take:input():nth(side), from, nil) == 0, 'cannot connect ' .. from)
    end
";

#[test]
fn a_session_is_recorded_on_a_second_track_and_comes_back_with_the_project() -> Result<()> {
    in_real_time(|| {
        let jack = JackServer::start(BLOCK)?;
        let server = server()?;
        let home = Home::new()?;
        let scan = home.scan()?;
        ensure!(scan.contains("Found Plugin: Jamulet"), "Ardour's scanner said:\n{scan}");
        let recording = record(&jack, &server, &home)?;
        let stalls = recording.stalls.len();
        let judgement = judge(&recording);
        reopen(&jack, &server, &home)?;
        Ok((if judgement.is_ok() { 0 } else { stalls }, judgement))
    })
}

fn server() -> Result<Server> {
    let config = Config { max_clients: 10, ..Config::default() };
    Ok(Server::start(Options {
        port: 0,
        bind_ip4: Some(Ipv4Addr::LOCALHOST),
        config,
        ..Options::default()
    })?)
}

/// Names of everyone who is in the session, in channel order.
fn names(server: &Server) -> Result<Vec<String>> {
    let clients = server.handle().status()?.clients;
    Ok(clients.into_iter().filter_map(|client| Some(client.info?.name)).collect())
}

fn wait_for_names(server: &Server, wanted: &[&str]) -> Result<()> {
    let start = pace::now();
    loop {
        let names = names(server)?;
        if names == wanted {
            return Ok(());
        }
        ensure!(start.elapsed() < LIMIT, "the server lists {names:?}, not {wanted:?}");
        pace::sleep(Duration::from_millis(10));
    }
}

/// What one musician plays: noise like that of a band, mostly between 200 Hz and 3 kHz, left and right different.
fn music(seed: u64) -> [Vec<f32>; 2] {
    [2 * seed, 2 * seed + 1].map(|seed| {
        let noise = signal::noise(seed, 0.5, MUSIC_SECONDS * RATE);
        let dull = mean(&mean(&noise, 8), 8);
        let slow = mean(&dull, 240);
        dull.iter().zip(slow).map(|(dull, slow)| 2.0 * (dull - slow)).collect()
    })
}

/// The mean of each sample and those before it.
fn mean(signal: &[f32], width: usize) -> Vec<f32> {
    let mut sum = 0.0_f64;
    let mut means = Vec::with_capacity(signal.len());
    for (index, &sample) in signal.iter().enumerate() {
        sum += f64::from(sample);
        if let Some(first) = index.checked_sub(width) {
            sum -= f64::from(signal[first]);
        }
        means.push((sum / width as f64) as f32);
    }
    means
}

/// What the recording track holds, and what it should be.
struct Recorded {
    /// Of each musician, left and right, from the beginning of their music.
    played: [[Vec<f32>; 2]; 2],
    /// Left and right of the files that Ardour wrote.
    file: [Vec<f32>; 2],
    /// When the machine stalled, in samples from about the file's beginning.
    stalls: Vec<Range<usize>>,
}

/// Makes a session in Ardour, joins, records, saves, and quits.
fn record(jack: &JackServer, server: &Server, home: &Home) -> Result<Recorded> {
    let mut ardour = home.start()?;
    for piece in [NEW_SESSION, NAMES, ROUTING] {
        ardour.run(piece)?;
    }
    load_address(&mut ardour, home, &server.local_addr().to_string())?;
    ardour.run("set('Return level', -0.5)")?;
    ardour.run("set('Connect', 1)")?;
    wait_for_names(server, &["Zoë"])?;

    let bobs = music(2);
    let (bob, bobs_track) = bob(bobs.clone())?;
    bob.connect(&server.local_addr().to_string());
    wait_for_names(server, &["Zoë", "Bob"])?;
    let zoes = music(1);
    let part = Part { jack_name: "ardour".into(), play: zoes.clone() };
    let rig = Rig::start_at(jack, vec![part], MUSIC_SECONDS, JAM_PORTS)?;
    ardour.hurry();

    // Newcomers are faded in for three seconds, and buffers settle.
    rig.wait_until(6 * RATE)?;
    ardour.run("control(take:rec_enable_control(), 1)")?;
    ardour.run("Session:maybe_enable_record(false)")?;
    let watch = rig.watch_stalls(Duration::from_millis(15))?;
    let start = rig.position();
    ardour.run("Session:request_roll(ARDOUR.TransportRequestSource.TRS_UI)")?;
    ardour.wait_until("return Session:actively_recording()", "true")?;
    rig.wait_until(rig.position() + SECONDS * RATE)?;
    ardour.run("Session:request_stop(false, false, ARDOUR.TransportRequestSource.TRS_UI)")?;
    ardour.wait_until("return Session:transport_stopped()", "true")?;
    let mut stalls = watch.stop();
    let take = bobs_track.stop()?;
    bob.disconnect();
    stalls.extend(rig.stop()?.xruns);
    let stalls = stalls.iter().map(|stall| stall.start.saturating_sub(start)..stall.end.saturating_sub(start));
    let stalls = stalls.filter(|stall| stall.end > 0).collect();
    println!("Bob's sound card stalled {} times", take.stalls.len());
    wait_for_names(server, &["Zoë"])?;
    ardour.run("control(take:rec_enable_control(), 0)")?;
    save(&mut ardour)?;
    ardour.quit()?;
    println!("{}", String::from_utf8_lossy(&std::process::Command::new("find").arg(home.path()).output()?.stdout));
    wait_for_names(server, &[])?;
    Ok(Recorded { played: [zoes, bobs], file: recorded_file(home)?, stalls })
}

fn save(ardour: &mut Ardour) -> Result<()> {
    ardour.run("return Session:save_state('', false, false, false, false, false)").map(drop)
}

/// Gives the plugin its address as a user of presets does: the state that Ardour saved, changed, loaded again.
fn load_address(ardour: &mut Ardour, home: &Home, address: &str) -> Result<()> {
    ardour.run("plugin:save_preset('Empty')")?;
    let mut state = home.preset("Empty")?;
    state.change_project(json!({
        "address": address, "name": "Zoë", "city": "Köln", "quality": "high", "reconnect": true,
        "client_buffer": BUFFER, "server_buffer": BUFFER,
    }))?;
    home.add_preset("Empty", "Jam", &state)?;
    ardour.run("for preset in plugin:get_info():get_presets(true):iter() do known = preset.label end")?;
    ardour.run("assert(plugin:load_preset(plugin:preset_by_label('Jam')))")?;
    Ok(())
}

/// The second musician, in this process.
fn bob(music: [Vec<f32>; 2]) -> Result<(Handle, Track)> {
    let settings = Settings {
        profile: Profile { name: "Bob".into(), ..Profile::default() },
        stream: StreamSettings { quality: Quality::High, layout: Layout::Stereo, ..StreamSettings::default() },
        buffers: BufferSettings { client: BufferSize::Frames(BUFFER), server: BufferSize::Frames(BUFFER) },
    };
    let card = SoundCard { rate_hz: RATE as f64, block_frames: BLOCK as usize, guarded: false };
    let (handle, audio) = Musician::create(settings, card.rate_hz, card.block_frames)?;
    let source = move |start: u64, input: &mut [Vec<f32>]| {
        for (block, music) in input.iter_mut().zip(&music) {
            let rest = music.get(start as usize..).unwrap_or_default();
            block.fill(0.0);
            block.iter_mut().zip(rest).for_each(|(to, &from)| *to = from);
        }
    };
    Ok((handle, Track::play(audio, card, source)?))
}

/// Left and right of the one recording in the session.
fn recorded_file(home: &Home) -> Result<[Vec<f32>; 2]> {
    // Ardour names this folder after the session's own.
    let folder = home.path().join("session/interchange/session/audiofiles");
    let side = |end: &str| -> Result<Vec<f32>> {
        let mut found: Vec<PathBuf> = Vec::new();
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            found.push(entry?.path());
        }
        found.retain(|path| path.to_str().is_some_and(|path| path.ends_with(end)));
        ensure!(found.len() == 1, "there are {found:?}, not one file like *{end}");
        let [sound, _] = wav::read(&found[0], RATE as f64)?;
        Ok(sound)
    };
    Ok([side("%L.wav")?, side("%R.wav")?])
}

fn judge(recorded: &Recorded) -> Result<()> {
    for side in 0..2 {
        let file = &recorded.file[side];
        ensure!(file.len() >= (SECONDS - 1) * RATE, "only {} samples were recorded", file.len());
        println!("{} samples, rms {:.4}", file.len(), rms(file));
        for (name, played) in ["Zoë", "Bob"].iter().zip(&recorded.played) {
            for second in (1..SECONDS - 1).step_by(7) {
                let block = &file[second * RATE..][..RATE];
                let found = signal::delay_and_clearness(block, &played[side], MUSIC_SECONDS * RATE - RATE, 48);
                let (found, clearness) = found.context("silence")?;
                println!(
                    "{name} {side} second {second}: {} before, correlation {:.3}, {clearness:.1} times any other; {:.2} dB",
                    found.samples - second * RATE, found.correlation, db(rms(block), rms(&played[side][found.samples..][..RATE])),
                );
            }
        }
    }
    println!("stalls {:?}", recorded.stalls);
    Ok(())
}

/// Opens the project again.
fn reopen(_jack: &JackServer, server: &Server, home: &Home) -> Result<()> {
    server.events().try_iter().for_each(drop);
    let file = std::fs::read_to_string(home.path().join("session/jam.ardour"))?;
    println!("{file}");
    let mut ardour = home.start()?;
    ardour.run("load_session('session', 'jam')")?;
    ardour.run(NAMES)?;
    println!("return {} connect {}", ardour.run("return get('Return level')")?, ardour.run("return get('Connect')")?);
    wait_for_names(server, &["Zoë"])?;
    save(&mut ardour)?;
    ardour.quit()?;
    for event in server.events().try_iter() { if let Event::Joined { .. } = event { println!("{event:?}"); } }
    let _ = (Value::Null, State(Value::Null));
    Ok(())
}
