//! Hosts that do odd but lawful things: any rate, any block, in place, from changing threads, activated over and over,
//! many instances, everything at once. All of it keeps the realtime rule.
#![cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]

use std::f64::consts::TAU;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use jamulet::client::Settings;
use jamulet::server::{Config, Event, Options, Server};
use jamulet_testkit::child::{is_child, run};
use jamulet_testkit::guard;
use jamulet_testkit::host::{Audio, Block, ChannelLayout, Format};
use jamulet_testkit::netem::{LinkConfig, SplitMix64};
use jamulet_testkit::player::{Player, sine};
use jamulet_testkit::signal;
use jamulet_testkit::sim::{self, Blocks, Jam};
use jamulet_testkit::track::{SoundCard, Take};
use serde_json::json;

const RATES_HZ: [f64; 5] = [44_100.0, 48_000.0, 88_200.0, 96_000.0, 192_000.0];
const LAYOUTS: [ChannelLayout; 3] =
    [ChannelLayout::STEREO, ChannelLayout::MONO, ChannelLayout::MONO_TO_STEREO];
/// The longest block that a host may ask for.
const LONGEST: usize = 8192;
const CARD: SoundCard = SoundCard { rate_hz: 48_000.0, block_frames: 128, guarded: true };

/// Each in a process of its own: instances are told apart by their order.
fn alone(test: &str, body: impl FnOnce() -> Result<()>) -> Result<()> {
    if is_child(test) {
        return body();
    }
    let ended = run(test, &[], Duration::from_secs(240))?;
    ensure!(ended.passed, "{}", ended.text);
    Ok(())
}

fn server() -> Result<(Server, String)> {
    let config = Config { max_clients: 10, ..Config::default() };
    let options = Options { port: 0, bind_ip4: Some(Ipv4Addr::LOCALHOST), config, ..Options::default() };
    let server = Server::start(options)?;
    let address = server.local_addr().to_string();
    Ok((server, address))
}

fn joined(server: &Server) -> usize {
    server.events().try_iter().filter(|event| matches!(event, Event::Joined { .. })).count()
}

/// As in `hosts_realtime`: nice-plug wakes its own thread at each value that a VST3 host automates.
fn is_clean(what: &str, format: Format, report: &guard::Report, automated: u64) -> Result<()> {
    let excused = if format == Format::Vst3 { automated } else { 0 };
    ensure!(
        report.is_clean_but_for_other_wakes() && report.other_wakes <= excused,
        "{what} ({format:?}): {report}"
    );
    Ok(())
}

/// An audio half, and what came out of it.
type Played = (Box<dyn Audio>, Vec<Vec<f32>>);

/// Feeds `input` through in blocks of the given lengths, on a new thread after every few blocks.
fn play(format: Format, mut audio: Box<dyn Audio>, input: &[Vec<f32>], lengths: &[usize]) -> Result<Played> {
    const BLOCKS_PER_THREAD: usize = 64;
    let total = input.first().map_or(0, Vec::len);
    let empty = lengths.contains(&0);
    let mut output = vec![vec![0.0_f32; total]; audio.layout().outputs];
    let (mut start, mut lengths, mut first) = (0, lengths.iter().cycle(), true);
    while start < total {
        (audio, start) = std::thread::scope(|scope| {
            let (output, lengths) = (&mut output, &mut lengths);
            let thread = scope.spawn(move || -> Result<_> {
                if first {
                    audio.start()?;
                }
                // A build with debug assertions lets nice-plug 0.4.2 log each empty CLAP block.
                let watched = format == Format::Vst3 || !empty;
                if watched {
                    guard::arm()?;
                }
                let mut start = start;
                for _ in 0..BLOCKS_PER_THREAD {
                    if start == total {
                        break;
                    }
                    let end = total.min(start + lengths.next().context("no lengths")?);
                    let inputs: Vec<&[f32]> = input.iter().map(|channel| &channel[start..end]).collect();
                    let mut outputs: Vec<&mut [f32]> =
                        output.iter_mut().map(|channel| &mut channel[start..end]).collect();
                    audio.process(&mut Block { input: &inputs, output: &mut outputs, changes: &[] })?;
                    start = end;
                }
                if watched {
                    is_clean("a changing thread", format, &guard::report(), 0)?;
                }
                Ok((audio, start))
            });
            thread.join().map_err(|_| anyhow!("the audio thread panicked"))?
        })?;
        first = false;
    }
    audio.stop();
    Ok((audio, output))
}

#[test]
fn any_rate_block_and_layout_passes_the_track_unharmed_from_any_thread() -> Result<()> {
    alone("any_rate_block_and_layout_passes_the_track_unharmed_from_any_thread", || {
        let mut rng = SplitMix64::new(11);
        // Zero is a length, too.
        let random: Vec<usize> = (0..97).map(|_| rng.below(LONGEST as u64 + 1) as usize % 3000).collect();
        let rounds = [
            (3_000, vec![1]),
            (40_000, vec![LONGEST]),
            (60_000, vec![0, 64, 0, 0, 37, 480, LONGEST]),
            (60_000, random),
        ];
        for format in Format::ALL {
            let mut plugin = format.create()?;
            for layout in LAYOUTS {
                plugin.set_layout(layout)?;
                for rate_hz in RATES_HZ {
                    for (total, lengths) in &rounds {
                        let mut audio = plugin.activate(rate_hz, LONGEST)?;
                        for in_place in [false, true] {
                            audio.set_in_place(in_place);
                            let input: Vec<Vec<f32>> = (0..layout.inputs)
                                .map(|channel| signal::noise(channel as u64 + 1, 0.7, *total))
                                .collect();
                            let heard;
                            (audio, heard) = play(format, audio, &input, lengths)?;
                            for (channel, heard) in heard.iter().enumerate() {
                                ensure!(
                                    heard == &input[channel.min(layout.inputs - 1)],
                                    "{format:?} {layout:?} {rate_hz} Hz {lengths:?} in place {in_place}: channel {channel}"
                                );
                            }
                        }
                        plugin.deactivate(audio)?;
                    }
                }
            }
        }
        Ok(())
    })
}

/// VST3 hosts hand over changes without any sound, also before the first block.
#[test]
fn changes_without_sound_are_taken() -> Result<()> {
    alone("changes_without_sound_are_taken", || {
        let mut plugin = Format::Vst3.create()?;
        let send = plugin.parameter("Send level")?.id;
        let mut audio = plugin.activate(48_000.0, 512)?;
        audio.start()?;
        for value in [0.25, 0.5] {
            audio.process(&mut Block { input: &[], output: &mut [], changes: &[(send, value)] })?;
            plugin.pump();
            let now = plugin.value(send)?;
            ensure!((now - value).abs() < 1e-3, "{now} instead of {value}");
        }
        audio.stop();
        plugin.deactivate(audio)
    })
}

/// How loud a pitch is.
fn level(sound: &[f32], rate_hz: f64, hz: f64) -> f64 {
    let (mut real, mut imaginary) = (0.0, 0.0);
    for (index, sample) in sound.iter().enumerate() {
        let angle = TAU * (hz * index as f64 / rate_hz).fract();
        real += f64::from(*sample) * angle.cos();
        imaginary += f64::from(*sample) * angle.sin();
    }
    2.0 * real.hypot(imaginary) / sound.len() as f64
}

/// How loud a pitch is on average over short windows: a machine that is late costs a few of them, a fault all.
fn mean_level(sound: &[f32], rate_hz: f64, hz: f64) -> f64 {
    let windows = sound.chunks_exact((0.05 * rate_hz) as usize);
    let count = windows.len().max(1) as f64;
    windows.map(|window| level(window, rate_hz, hz)).sum::<f64>() / count
}

/// What a take heard in the second before its sample number `end`.
fn hears_until(what: &str, take: &Take, end: usize, rate_hz: f64, hz: f64, amplitude: f64) -> Result<()> {
    for heard in &take.output {
        ensure!(heard.iter().all(|sample| sample.is_finite() && sample.abs() <= 2.0), "{what}: garbage");
        let heard = &heard[end.saturating_sub(rate_hz as usize)..end];
        let level = mean_level(heard, rate_hz, hz);
        ensure!(level > 0.4 * amplitude && level < 1.3 * amplitude, "{what}: {hz} Hz comes back at {level}");
    }
    Ok(())
}

fn hears(what: &str, take: &Take, rate_hz: f64, hz: f64, amplitude: f64) -> Result<()> {
    hears_until(what, take, take.output[0].len(), rate_hz, hz, amplitude)
}

#[test]
fn tones_come_back_at_any_rate_and_block() -> Result<()> {
    alone("tones_come_back_at_any_rate_and_block", || {
        let cards =
            [(48_000.0, 1), (88_200.0, 1000), (192_000.0, 64), (192_000.0, LONGEST), (44_100.0, LONGEST)];
        for format in Format::ALL {
            let (server, address) = server()?;
            let project = json!({"address": address, "name": "Odd"});
            let source = sine(CARD.rate_hz, 440.0, 0.25);
            let mut player = Player::new(format, 0, ChannelLayout::STEREO, CARD, project, source)?;
            player.join()?;
            // The server fades newcomers in.
            player.play_on(48_000 * 3)?;
            for (rate_hz, block_frames) in cards {
                let what = format!("{format:?}, {rate_hz} Hz, blocks of {block_frames}");
                let card = SoundCard { rate_hz, block_frames, guarded: true };
                player = player.change_card(card, sine(rate_hz, 440.0, 0.25))?.0;
                player.play_on((3.0 * rate_hz) as u64)?;
                let take;
                (player, take) = player.change_card(CARD, sine(CARD.rate_hz, 440.0, 0.25))?;
                is_clean(&what, format, &take.report, 0)?;
                hears(&what, &take, rate_hz, 440.0, 0.25)?;
                ensure!(player.snapshot()?.is_connected(), "{what}: {}", player.snapshot()?.0);
            }
            player.finish()?;
            ensure!(joined(&server) == 1, "{format:?} joined again");
        }
        Ok(())
    })
}

#[test]
fn eight_instances_hear_each_other() -> Result<()> {
    alone("eight_instances_hear_each_other", || {
        let (_server, address) = server()?;
        let pitch = |index: usize| 300.0 + 100.0 * index as f64;
        let mut players = Vec::new();
        for index in 0..8 {
            let format = Format::ALL[index % 2];
            let project = json!({"address": address, "name": format!("P{index}")});
            let source = sine(CARD.rate_hz, pitch(index), 0.1);
            let mut player = Player::new(format, index, ChannelLayout::STEREO, CARD, project, source)?;
            player.join()?;
            players.push(player);
        }
        for player in &mut players {
            player.wait_for("all eight names", |snapshot| snapshot.names().len() == 8)?;
        }
        for player in &mut players {
            player.play_on(48_000)?;
        }
        players[0].play_on(48_000 * 4)?;
        // Until here all of them have played.
        let ends: Vec<usize> = players.iter().map(|player| player.frames() as usize).collect();
        let takes: Vec<Take> = players
            .into_iter()
            .rev()
            .map(|player| player.finish().map(|(_, take)| take))
            .collect::<Result<_>>()?;
        for (index, take) in takes.iter().rev().enumerate() {
            is_clean("eight instances", Format::ALL[index % 2], &take.report, 1)?;
            for other in 0..8 {
                let what = format!("P{index} of P{other}");
                hears_until(&what, take, ends[index], CARD.rate_hz, pitch(other), 0.1)?;
            }
        }
        Ok(())
    })
}

#[test]
fn storms_of_activations_keep_the_session_and_the_sound() -> Result<()> {
    alone("storms_of_activations_keep_the_session_and_the_sound", || {
        for format in Format::ALL {
            let (server, address) = server()?;
            let project = json!({"address": address, "name": "Storm"});
            let source = || sine(CARD.rate_hz, 440.0, 0.25);
            let mut player = Player::new(format, 0, ChannelLayout::STEREO, CARD, project, source())?;
            player.join()?;
            player.play_on(48_000 * 3)?;
            player = player.pause(CARD, source(), |plugin, _| {
                let input = vec![signal::noise(1, 0.1, 4_000); 2];
                for round in 0..100 {
                    let layout = LAYOUTS[round % 3];
                    if round % 5 == 0 {
                        plugin.set_layout(layout)?;
                    }
                    let audio = plugin.activate(RATES_HZ[round % 5], [1, 64, 480, LONGEST][round % 4])?;
                    let channels = audio.layout().inputs;
                    let lengths = [[1, 64, 480, LONGEST][round % 4]];
                    let audio = match round % 3 {
                        // Activated and never started.
                        0 => audio,
                        _ => play(format, audio, &input[..channels], &lengths)?.0,
                    };
                    plugin.deactivate(audio)?;
                }
                plugin.set_layout(ChannelLayout::STEREO)
            })?;
            player.wait_for("playing again", |snapshot| snapshot.text("host") == Some("steady"))?;
            player.play_on(48_000 * 4)?;
            ensure!(player.snapshot()?.is_connected(), "{}", player.snapshot()?.0);
            let (_, take) = player.finish()?;
            is_clean("after a storm", format, &take.report, 0)?;
            hears("after a storm", &take, CARD.rate_hz, 440.0, 0.25)?;
            ensure!(joined(&server) == 1, "{format:?} joined again");
        }
        Ok(())
    })
}

/// Undo, automation, bypass and rendering at the same time.
#[test]
fn everything_at_once_keeps_the_session_and_the_rule() -> Result<()> {
    alone("everything_at_once_keeps_the_session_and_the_rule", || {
        for format in Format::ALL {
            let (server, address) = server()?;
            let project = json!({"address": address, "name": "Busy"});
            let source = sine(CARD.rate_hz, 440.0, 0.25);
            let mut player = Player::new(format, 0, ChannelLayout::STEREO, CARD, project, source)?;
            player.join()?;
            let state = player.plugin().state()?;
            let mut automated = 1;
            for round in 0..60 {
                let value = f64::from(round % 7) / 6.0;
                for name in ["Send level", "Return level", "Dry monitor level", "Mute myself", "Bypass"] {
                    player.automate(name, value)?;
                    automated += 1;
                }
                player.plugin().set_offline(round % 3 == 1)?;
                if round % 2 == 0 {
                    player.plugin().set_state(&state)?;
                    automated += 16;
                }
                if round % 10 == 3 {
                    let quality = if round % 20 == 3 { "low" } else { "high" };
                    player.plugin().change_project(json!({"quality": quality}))?;
                    automated += 16;
                }
                player.play_on(960)?;
            }
            player.plugin().set_offline(false)?;
            player.plugin().set_state(&state)?;
            for name in ["Mute myself", "Bypass"] {
                player.automate(name, 0.0)?;
                automated += 17;
            }
            player.play_on(48_000 * 4)?;
            ensure!(player.snapshot()?.is_connected(), "{}", player.snapshot()?.0);
            let (_, take) = player.finish()?;
            is_clean("everything at once", format, &take.report, automated)?;
            hears("everything at once", &take, CARD.rate_hz, 440.0, 0.25)?;
            ensure!(joined(&server) == 1, "{format:?} joined again");
        }
        Ok(())
    })
}

/// Clocks that differ: `process()` resamples by another ratio at every block, on the virtual clock.
#[test]
fn a_steered_engine_keeps_the_rule() -> Result<()> {
    alone("a_steered_engine_keeps_the_rule", || {
        for (rate_hz, ppm) in [(48_000.0, 200.0), (44_100.0, -200.0), (96_000.0, 80.0)] {
            for blocks in [Blocks::Constant(64), Blocks::Varying { max: 1024, rng: SplitMix64::new(3) }] {
                let thread = std::thread::Builder::new().spawn(move || -> Result<()> {
                    guard::arm()?;
                    let mut jam = Jam::new(Config::default(), 1);
                    let link = LinkConfig { delay: Duration::from_millis(5), ..LinkConfig::default() };
                    let source = Box::new(move |index: u64| {
                        [0.25 * (TAU * (440.0 * index as f64 / rate_hz).fract()).sin() as f32; 2]
                    });
                    let address = ([192, 0, 2, 9], 50_000).into();
                    let musician = sim::Musician::new(
                        address,
                        Settings::default(),
                        rate_hz,
                        blocks.clone(),
                        source,
                        link,
                        7,
                    );
                    jam.musicians.push(musician.with_clock(ppm));
                    jam.musicians[0].handle.connect(sim::SERVER);
                    jam.run(Duration::from_secs(40));
                    let steered = jam.musicians[0].most_steered;
                    ensure!(steered > 50e-6, "steered by {steered} only");
                    let report = guard::report();
                    ensure!(report.is_clean(), "{rate_hz} Hz, {blocks:?}: {report}");
                    Ok(())
                })?;
                thread.join().map_err(|_| anyhow!("it panicked"))??;
            }
        }
        Ok(())
    })
}
