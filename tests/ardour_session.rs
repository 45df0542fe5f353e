//! Our plugin in Ardour 7, a real DAW: a session is played on one track and recorded on a second one, saved,
//! and opened again.

#![cfg(target_os = "linux")]

use std::net::Ipv4Addr;
use std::ops::Range;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jamulet::client::{BufferSettings, Handle, Profile, Settings, StreamSettings};
use jamulet::server::{Config, Options, Server, StreamCounters};
use jamulet::units::{BufferSize, Layout, Quality};
use jamulet_testkit::ardour::{Ardour, Home};
use jamulet_testkit::jack::{Part, Ports, Rig};
use jamulet_testkit::musician::Musician;
use jamulet_testkit::player::in_real_time;
use jamulet_testkit::signal::{self, db, rms};
use jamulet_testkit::stock::JackServer;
use jamulet_testkit::track::{SoundCard, Track};
use jamulet_testkit::{pace, wav};
use serde_json::json;

const RATE: usize = 48_000;
/// Ardour's own default. A late wake-up of less than a block costs JACK nothing, and delay is not tested here.
const JACK_BLOCK: u32 = 1024;
const BOBS_BLOCK: usize = 128;
/// What is recorded.
const SECONDS: usize = 30;
/// Enough music for everything that is done meanwhile.
const MUSIC_SECONDS: usize = 80;
/// In both jitter buffers, in frames of 128 samples.
const BUFFER: u8 = 16;
/// What the return is turned to: no default, to be found in the file and in the project.
const RETURN_DB: f64 = -0.5;
/// A machine that is late by more than this may be heard.
const STALL: Duration = Duration::from_millis(5);
/// What is heard now has been on its way for this long at most, in the buffers of both sides.
const REACH: usize = RATE / 4;
/// A block that JACK leaves out is missing in the music, and both buffers notice by the mean of two seconds. They
/// get back to their depth frame by frame.
const AFTERMATH: usize = 3 * RATE;
/// How often the server is asked whether it has put in or left out a frame. It may without a stall: frames that come
/// a millisecond later on the average, for the machine is busy, are reason enough.
const LOOK: usize = RATE / 4;
/// Least share of the recording that must be free of such excuses.
const LEAST_JUDGED: f64 = 0.6;
/// The file of the session that Ardour saves.
const PROJECT: &str = "session/jam.ardour";
/// The recording is judged in windows of 20 ms.
const WINDOW: usize = RATE / 50;
/// See [`Fit`].
const TAPS: usize = 3;
/// Longer than anything that is waited for takes, on however slow a machine.
const LIMIT: Duration = Duration::from_secs(40);
/// Ports of the track with the plugin.
const JAM_PORTS: Ports =
    Ports { inputs: ["jam/audio_in 1", "jam/audio_in 2"], outputs: ["jam/audio_out 1", "jam/audio_out 2"] };

/// Two tracks: the jam with the plugin, and the take that records it.
const NEW_SESSION: &str = r"
    os.execute('rm -rf session')
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

/// The plugin's track plays its input, the other one records what comes out of it, unheard. JACK does not make
/// every connection at the first try: whether all are there.
const ROUTING: &str = r"
    control(jam:monitoring_control(), 1)
    control(take:monitoring_control(), 2)
    local routed = true
    for side = 0, 1 do
      local from, to = jam:output():nth(side):name(), take:input():nth(side)
      if not to:connected_to(from) then take:input():connect(to, from, nil) end
      routed = routed and to:connected_to(from)
    end
    return routed
";

/// Ardour looks for presets once, and again when it is told to.
const LOAD_PRESET: &str = r"
    plugin:get_info():get_presets(true)
    assert(plugin:load_preset(plugin:preset_by_label('Jam')))
";

#[test]
fn a_session_is_recorded_on_a_second_track_and_comes_back_with_the_project() -> Result<()> {
    let attempt = || {
        let jack = JackServer::start(JACK_BLOCK)?;
        let server = server()?;
        let home = Home::new()?;
        let scan = home.scan()?;
        ensure!(scan.contains("Found Plugin: Jamulet"), "Ardour's scanner said:\n{scan}");
        let recorded = record(&jack, &server, &home)?;
        reopen(&server, &home)?;
        judge(&recorded)
    };
    // Stalls have their excuse in the judgement.
    in_real_time(|| Ok((0, attempt())))
}

fn server() -> Result<Server> {
    let config = Config { max_clients: 10, ..Config::default() };
    Ok(Server::start(Options { port: 0, bind_ip4: Some(Ipv4Addr::LOCALHOST), config, ..Options::default() })?)
}

/// Names of everyone who is in the session, in channel order.
fn names(server: &Server) -> Result<Vec<String>> {
    let clients = server.handle().status()?.clients;
    Ok(clients.into_iter().filter_map(|client| Some(client.info?.name)).collect())
}

/// What became of everyone's frames in the server.
fn counters(server: &Server) -> Result<Vec<StreamCounters>> {
    Ok(server.handle().status()?.clients.into_iter().map(|client| client.stream).collect())
}

/// Waits while Ardour records; where the server did without a frame or made one up since `before` (a position of the
/// rig and what was counted then), in samples of the rig.
fn watch_server(
    server: &Server,
    rig: &Rig,
    before: (usize, Vec<StreamCounters>),
) -> Result<Vec<Range<usize>>> {
    let unplayed = |counters: &[StreamCounters]| -> u64 {
        counters.iter().map(|counters| counters.concealed + counters.slipped).sum()
    };
    let end = rig.position() + SECONDS * RATE;
    let (mut position, mut last) = before.clone();
    let mut slips = Vec::new();
    while position < end {
        rig.wait_until(end.min(position + LOOK))?;
        let (now, now_at) = (counters(server)?, rig.position());
        if unplayed(&now) != unplayed(&last) {
            slips.push(position..now_at);
        }
        (position, last) = (now_at, now);
    }
    println!("the server's counters: {:?}, at the end {last:?}, changed at {slips:?}", before.1);
    Ok(slips)
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
    zoe: Performance,
    bob: Performance,
    /// Left and right of the files that Ardour wrote.
    file: [Vec<f32>; 2],
}

/// What a musician played, left and right, and where something happened then that may be heard, in samples of it.
struct Performance {
    played: [Vec<f32>; 2],
    excuses: Vec<Range<usize>>,
}

/// Makes a session in Ardour, joins, records, saves, and quits.
fn record(jack: &JackServer, server: &Server, home: &Home) -> Result<Recorded> {
    let mut ardour = new_project(server, home)?;
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
    let watch = rig.watch_stalls(STALL)?;
    let before = (rig.position(), counters(server)?);
    ardour.run("Session:request_roll(ARDOUR.TransportRequestSource.TRS_UI)")?;
    ardour.wait_until("return Session:actively_recording()", "true")?;
    let mut excuses = watch_server(server, &rig, before)?;
    stop(&mut ardour)?;
    let stalls = watch.stop();
    bob.disconnect();
    let bobs_stalls = bobs_track.stop()?.stalled_at();
    let xruns = rig.stop()?.xruns;
    println!("the machine stalled at {stalls:?}, JACK at {xruns:?}, Bob at {bobs_stalls:?}");
    excuses.extend(stalls);
    excuses.extend(xruns.into_iter().map(|xrun| xrun.start..xrun.end + AFTERMATH));
    wait_for_names(server, &["Zoë"])?;
    ardour.run("control(take:rec_enable_control(), 0)")?;
    save(&mut ardour)?;
    ardour.quit()?;
    wait_for_names(server, &[])?;
    Ok(Recorded {
        zoe: Performance { played: zoes, excuses },
        bob: Performance { played: bobs, excuses: bobs_stalls },
        file: [audio_file(home, "Take1_take-1%L.wav")?, audio_file(home, "Take1_take-1%R.wav")?],
    })
}

fn stop(ardour: &mut Ardour) -> Result<()> {
    ardour.run("Session:request_stop(false, false, ARDOUR.TransportRequestSource.TRS_UI)")?;
    ardour.wait_until("return Session:transport_stopped()", "true")
}

/// A new project whose jam track is in the session as Zoë.
fn new_project(server: &Server, home: &Home) -> Result<Ardour> {
    let mut ardour = home.start(&[NEW_SESSION, NAMES], ROUTING)?;
    ardour.run("plugin:save_preset('Fresh')")?;
    add_preset(home, server, true)?;
    ardour.run(LOAD_PRESET)?;
    ardour.run(&format!("set('Return level', {RETURN_DB})"))?;
    ardour.run("set('Connect', 1)")?;
    wait_for_names(server, &["Zoë"])?;
    Ok(ardour)
}

fn save(ardour: &mut Ardour) -> Result<()> {
    ardour.run("return Session:save_state('', false, false, false, false, false)").map(drop)
}

/// Writes the preset that [`LOAD_PRESET`] loads: the state that Ardour saved from a fresh plugin, changed as a user
/// changes it in the window, which is not there.
fn add_preset(home: &Home, server: &Server, reconnect: bool) -> Result<()> {
    let mut state = home.preset("Fresh")?;
    state.change_project(json!({
        "address": server.local_addr().to_string(), "name": "Zoë", "city": "Köln", "quality": "high",
        "client_buffer": BUFFER, "server_buffer": BUFFER, "reconnect": reconnect,
    }))?;
    home.add_preset("Fresh", "Jam", &state)
}

/// The second musician, in this process.
fn bob(music: [Vec<f32>; 2]) -> Result<(Handle, Track)> {
    let settings = Settings {
        profile: Profile { name: "Bob".into(), ..Profile::default() },
        stream: StreamSettings {
            quality: Quality::High,
            layout: Layout::Stereo,
            ..StreamSettings::default()
        },
        buffers: BufferSettings {
            client: BufferSize::Frames(BUFFER),
            server: BufferSize::Frames(BUFFER),
            ..BufferSettings::default()
        },
    };
    let card = SoundCard { rate_hz: RATE as f64, block_frames: BOBS_BLOCK, guarded: false };
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

/// One channel of what Ardour recorded or bounced. It names the folder after the session's own.
fn audio_file(home: &Home, name: &str) -> Result<Vec<f32>> {
    let [sound, _] =
        wav::read(&home.path().join("session/interchange/session/audiofiles").join(name), RATE as f64)?;
    Ok(sound)
}

/// Both musicians are in the recording, as loud as they played, from its beginning to its end.
fn judge(recorded: &Recorded) -> Result<()> {
    let length = recorded.file[0].len();
    ensure!(length >= (SECONDS - 1) * RATE, "Ardour recorded only {length} samples");
    for side in 0..2 {
        let (zoe, bob, file) = (&recorded.zoe, &recorded.bob, &recorded.file[side]);
        let mut lags = [0; 2];
        for (lag, (name, musician)) in lags.iter_mut().zip([("Zoë", zoe), ("Bob", bob)]) {
            let clear = (1..SECONDS - 2).find_map(|second| {
                let block = &file[second * RATE..][..RATE];
                let music = &musician.played[side];
                let (found, clearness) = signal::clear_delay(block, music, music.len() - RATE, 48)?;
                println!("{name} {side}, second {second}: {found:?}, {clearness:.1} times any other");
                (clearness >= 4.0).then(|| found.samples.saturating_sub(second * RATE))
            });
            *lag = clear.with_context(|| format!("{name} is not in the recording"))?;
        }
        let excused = |window: usize, lags: [usize; 2]| {
            let window = window..window + WINDOW;
            zoe.is_excused(lags[0], window.clone()) || bob.is_excused(lags[1], window)
        };
        let windows = (0..length).step_by(WINDOW);
        let judged =
            windows.clone().filter(|window| !excused(*window, lags)).count() as f64 / windows.len() as f64;
        ensure!(judged >= LEAST_JUDGED, "a busy machine: only {judged:.3} of the recording can be judged");
        let heard = Heard::listen(file, [&zoe.played[side], &bob.played[side]], lags);
        println!(
            "side {side}: levels {:?} dB, rest {:.1} dB, {judged:.3} judged, disturbed {:?}",
            heard.levels_db, heard.rest_db, heard.disturbed
        );
        let undisturbed = 1.0 - heard.disturbed.len() as f64 * WINDOW as f64 / length as f64;
        ensure!(undisturbed > 0.9, "only {undisturbed:.3} of the recording is undisturbed");
        let unexcused: Vec<_> =
            heard.disturbed.iter().filter(|(window, lags)| !excused(*window, *lags)).collect();
        ensure!(unexcused.is_empty(), "side {side} is disturbed without an excuse at {unexcused:?}");
        for level_db in heard.levels_db {
            ensure!((level_db - RETURN_DB).abs() < 0.5, "side {side}: {level_db:.2} dB, not {RETURN_DB}");
        }
    }
    Ok(())
}

impl Performance {
    /// Whether this part of a file that is `lag` samples behind the music has an excuse.
    fn is_excused(&self, lag: usize, part: Range<usize>) -> bool {
        let part = part.start + lag..part.end + lag + REACH;
        self.excuses.iter().any(|excuse| excuse.start < part.end && part.start <= excuse.end)
    }
}

/// What is in a recording of two musicians.
#[derive(Debug)]
struct Heard {
    /// Median level of each against what they played, in dB.
    levels_db: [f64; 2],
    /// Median level of what neither explains against the whole, in dB: what the codec adds.
    rest_db: f64,
    /// First samples of windows that the two do not explain, and how far each musician was behind there.
    disturbed: Vec<(usize, [usize; 2])>,
}

impl Heard {
    /// Explains `file` window by window by what was `played`, which begins `lags` samples before it.
    fn listen(file: &[f32], played: [&[f32]; 2], mut lags: [usize; 2]) -> Self {
        /// A window whose rest is louder than this, relative to the window, is disturbed.
        const DISTURBED_DB: f64 = -9.0;
        let mut levels = [Vec::new(), Vec::new()];
        let mut rests = Vec::new();
        let mut disturbed = Vec::new();
        // The first moments are Ardour's fade-in.
        for start in (RATE / 4..file.len() - RATE / 4).step_by(WINDOW) {
            let window = &file[start..start + WINDOW];
            let mut fit = Fit::new(window, played, lags, start);
            if fit.rest_db > DISTURBED_DB {
                disturbed.push((start, lags));
                if disturbed.len() * WINDOW > file.len() / 10 {
                    break;
                }
                lags = [0, 1].map(|who| {
                    track(&file[start..start + RATE / 5], played[who], lags[who] + start)
                        .saturating_sub(start)
                });
                fit = Fit::new(window, played, lags, start);
            }
            // A clock that runs away from the other moves the middle.
            lags = [0, 1].map(|who| (lags[who] as isize + fit.off[who]) as usize);
            levels.iter_mut().zip(fit.levels_db).for_each(|(levels, level)| levels.push(level));
            rests.push(fit.rest_db);
        }
        let median = |values| signal::median(values).unwrap_or(f64::NAN);
        Self { levels_db: levels.map(median), rest_db: median(rests), disturbed }
    }
}

/// Finds where `music`, which was at `place`, goes on in `file` after a gap.
fn track(file: &[f32], music: &[f32], place: usize) -> usize {
    const FAR: usize = RATE / 10;
    let first = place.saturating_sub(FAR);
    let found = signal::delay(file, &music[first..], 2 * FAR);
    found.map_or(place, |found| first + found.samples)
}

/// One window as the sum of both musicians, each through a filter of [`TAPS`] taps around their lag, so that
/// fractions of a sample do not matter.
struct Fit {
    levels_db: [f64; 2],
    rest_db: f64,
    /// By how many samples the strongest tap is off the middle.
    off: [isize; 2],
}

impl Fit {
    fn new(window: &[f32], played: [&[f32]; 2], lags: [usize; 2], start: usize) -> Self {
        let voice = |index: usize| -> &[f32] {
            let (who, tap) = (index / TAPS, index % TAPS);
            &played[who][start + lags[who] + tap - TAPS / 2..][..WINDOW]
        };
        let dot =
            |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
        let mut equations = [[0.0; 2 * TAPS + 1]; 2 * TAPS];
        for (row, equation) in equations.iter_mut().enumerate() {
            for (column, place) in equation[..2 * TAPS].iter_mut().enumerate() {
                *place = dot(voice(row), voice(column));
            }
            // A little stiffness: neighbouring taps of dull music are nearly the same.
            equation[row] *= 1.0 + 1e-6;
            equation[2 * TAPS] = dot(voice(row), window);
        }
        let taps = solve(equations);
        let sum = |voices: Range<usize>| -> Vec<f32> {
            let mut sum = vec![0.0; WINDOW];
            for index in voices {
                let weighted = voice(index).iter().map(|sample| sample * taps[index] as f32);
                sum.iter_mut().zip(weighted).for_each(|(to, from)| *to += from);
            }
            sum
        };
        let rest: Vec<f32> = window.iter().zip(sum(0..2 * TAPS)).map(|(heard, sum)| heard - sum).collect();
        let strongest = |who: usize| {
            let mine = &taps[who * TAPS..(who + 1) * TAPS];
            let strongest = (0..TAPS).max_by(|&a, &b| mine[a].total_cmp(&mine[b])).unwrap_or(TAPS / 2);
            strongest as isize - (TAPS / 2) as isize
        };
        let level =
            |who: usize| db(rms(&sum(who * TAPS..(who + 1) * TAPS)), rms(voice(who * TAPS + TAPS / 2)));
        Self {
            levels_db: [0, 1].map(level),
            rest_db: db(rms(&rest), rms(window)),
            off: [0, 1].map(strongest),
        }
    }
}

/// Solves linear equations by Gauss and Jordan; the matrix is symmetric and positive definite.
fn solve<const N: usize, const M: usize>(mut equations: [[f64; M]; N]) -> [f64; N] {
    for pivot in 0..N {
        let scale = equations[pivot][pivot];
        equations[pivot].iter_mut().for_each(|value| *value /= scale);
        let row = equations[pivot];
        for (_, other) in equations.iter_mut().enumerate().filter(|(index, _)| *index != pivot) {
            let factor = other[pivot];
            other.iter_mut().zip(row).for_each(|(value, part)| *value -= factor * part);
        }
    }
    equations.map(|equation| equation[M - 1])
}

/// Opens the project again, twice: one that joins by itself, as its user chose, and one that must not.
fn reopen(server: &Server, home: &Home) -> Result<()> {
    let saved = home.saved_state(PROJECT)?;
    let project = saved.project()?;
    ensure!(project["name"] == "Zoë" && project["client_buffer"] == BUFFER, "saved: {project}");
    ensure!(project["joined"] == true && project["reconnect"] == true, "saved: {project}");
    ensure!(saved.parameter("return") == Some(&json!(RETURN_DB)), "saved: {saved:?}");

    let mut ardour = open_project(home)?;
    wait_for_names(server, &["Zoë"])?;
    ensure!(ardour.run("return get('Return level')")? == format!("{RETURN_DB:.3}"));
    save(&mut ardour)?;
    let again = home.saved_state(PROJECT)?;
    ensure!(again.project()? == project, "{} has become {}", project, again.project()?);
    for parameter in ["send", "return", "dry", "mute", "bypass"] {
        ensure!(again.parameter(parameter) == saved.parameter(parameter), "{saved:?} has become {again:?}");
    }

    // In the middle of the session the user chooses otherwise, by a preset: nobody leaves.
    add_preset(home, server, false)?;
    ardour.run(LOAD_PRESET)?;
    save(&mut ardour)?;
    ensure!(names(server)? == ["Zoë"], "a preset ended the session");
    // Ardour shows what the project has done by itself, and can undo it.
    ensure!(ardour.run("return get('Connect')")? == "1.000", "Connect is off in the session");
    ardour.run("set('Connect', 0)")?;
    wait_for_names(server, &[])?;
    ardour.quit()?;
    let project = home.saved_state(PROJECT)?.project()?;
    ensure!(project["joined"] == true && project["reconnect"] == false, "saved: {project}");

    server.events().try_iter().for_each(drop);
    let mut ardour = open_project(home)?;
    ardour.run("Session:request_roll(ARDOUR.TransportRequestSource.TRS_UI)")?;
    ardour.wait_until("return Session:transport_sample() > 48000", "true")?;
    ensure!(server.events().try_iter().next().is_none(), "the project joined by itself");
    ardour.run("set('Connect', 1)")?;
    wait_for_names(server, &["Zoë"])?;
    ardour.quit().map(drop)
}

fn open_project(home: &Home) -> Result<Ardour> {
    home.start(&["load_session('session', 'jam')", NAMES], ROUTING)
}

#[test]
fn a_bypassed_or_bounced_plugin_passes_the_track_and_stays_in_the_session() -> Result<()> {
    let attempt = || {
        let jack = JackServer::start(JACK_BLOCK)?;
        let server = server()?;
        let home = Home::new()?;
        home.scan()?;
        let mut ardour = new_project(&server, &home)?;
        let part = Part { jack_name: "ardour".into(), play: music(1) };
        let _rig = Rig::start_at(&jack, vec![part], MUSIC_SECONDS, JAM_PORTS)?;
        ardour.hurry();
        wait_for_level(&server, "sound", |level_db| level_db > -20.0)?;

        // Ardour's bypass button moves the plugin's own bypass. Both tracks are recorded meanwhile.
        ardour.run("insert:enable(false)")?;
        ensure!(ardour.run("return get('Bypass')")? == "1.000", "Ardour's button is not our bypass");
        wait_for_level(&server, "silence", |level_db| level_db < -60.0)?;
        for piece in ["control(jam:rec_enable_control(), 1)", "control(take:rec_enable_control(), 1)"] {
            ardour.run(piece)?;
        }
        ardour.run("Session:maybe_enable_record(false)")?;
        ardour.run("Session:request_roll(ARDOUR.TransportRequestSource.TRS_UI)")?;
        ardour.wait_until("return Session:transport_sample() > 240000", "true")?;
        stop(&mut ardour)?;
        for piece in ["control(jam:rec_enable_control(), 0)", "control(take:rec_enable_control(), 0)"] {
            ardour.run(piece)?;
        }
        ensure!(names(&server)? == ["Zoë"], "the bypass ended the session");
        ardour.run("insert:enable(true)")?;
        wait_for_level(&server, "sound", |level_db| level_db > -20.0)?;

        // A plugin that Ardour has switched off is not called any more.
        ardour.run("processor:deactivate()")?;
        wait_for_level(&server, "silence", |level_db| level_db < -60.0)?;
        ensure!(names(&server)? == ["Zoë"], "switching the plugin off ended the session");
        ardour.run("processor:activate()")?;
        wait_for_level(&server, "sound", |level_db| level_db > -20.0)?;

        ardour.run("progress = ARDOUR.InterThreadInfo()")?;
        let bounce = "return jam:bounce_range(48000, 192000, progress, processor, true, 'bounced'):isnil()";
        ensure!(ardour.run(bounce)? == "false", "Ardour did not bounce");
        ensure!(names(&server)? == ["Zoë"], "the bounce ended the session");
        wait_for_level(&server, "sound", |level_db| level_db > -20.0)?;
        ardour.quit()?;

        let [track, take] = ["Take1_jam-1%L.wav", "Take1_take-1%L.wav"].map(|name| audio_file(&home, name));
        let (track, take, bounced) = (track?, take?, audio_file(&home, "bounced%L.wav")?);
        ensure!(bounced == track[48_000..192_000], "the bounce is not the track's own sound");
        let lag =
            signal::delay(&take[RATE..2 * RATE], &track, 3 * RATE).context("silence was recorded")?.samples;
        let pairs = take[RATE..4 * RATE].iter().zip(&track[lag..]);
        let equal = pairs.filter(|(a, b)| a == b).count() as f64 / (3 * RATE) as f64;
        // Where JACK leaves out a block, the two differ for as long as one is behind the other.
        ensure!(equal > 0.95, "{equal:.3} of what passed is the track's");
        Ok(())
    };
    in_real_time(|| Ok((0, attempt())))
}

/// Waits until the server hears the only musician at a level, in dBFS, that is `wanted`.
fn wait_for_level(server: &Server, what: &str, wanted: impl Fn(f32) -> bool) -> Result<()> {
    let start = pace::now();
    loop {
        let levels: Vec<f32> =
            server.handle().status()?.clients.iter().map(|client| client.level_db).collect();
        if levels.iter().any(|&level_db| wanted(level_db)) {
            return Ok(());
        }
        ensure!(start.elapsed() < LIMIT, "no {what}: the server hears {levels:?} dBFS");
        pace::sleep(Duration::from_millis(10));
    }
}
