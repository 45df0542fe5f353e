//! The parameters as hosts of both formats see them: what there is, what it is called, what it does in a session,
//! and what survives a project.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use jamulet::server::{Options, Server};
use jamulet::units::fader_gain;
use jamulet_testkit::child::{is_child, run};
use jamulet_testkit::clap_host::ClapPlugin;
use jamulet_testkit::diagnostics::Snapshot;
use jamulet_testkit::host::{ChannelLayout, Format, Plugin, library};
use jamulet_testkit::player::{Player, in_real_time, sine};
use jamulet_testkit::signal::{db, listen};
use jamulet_testkit::track::{SoundCard, Take};
use serde_json::json;

const CARD: SoundCard = SoundCard { rate_hz: 48_000.0, block_frames: 128, guarded: false };
const SLOTS: usize = 16;
const CONTROLS: [&str; 4] = ["fader", "pan", "mute", "solo"];
const AMPLITUDE: f64 = 0.25;
/// The server fades newcomers in for three seconds.
const FADE_FRAMES: u64 = 48_000 * 7 / 2;
/// Long enough to hear a level.
const LISTEN_FRAMES: usize = 48_000;

/// In a process of its own: instances are told apart by their order.
fn alone(test: &str, body: impl FnOnce() -> Result<()>) -> Result<()> {
    if is_child(test) {
        return body();
    }
    let ended = run(test, &[], Duration::from_secs(170))?;
    ensure!(ended.passed, "{}", ended.text);
    Ok(())
}

fn server() -> Result<(Server, String)> {
    let server =
        Server::start(Options { port: 0, bind_ip4: Some(Ipv4Addr::LOCALHOST), ..Options::default() })?;
    let address = server.local_addr().to_string();
    Ok((server, address))
}

fn player(format: Format, index: usize, address: &str, name: &str, hz: f64) -> Result<Player> {
    let project = json!({"address": address, "name": name});
    Player::new(format, index, ChannelLayout::STEREO, CARD, project, sine(CARD.rate_hz, hz, AMPLITUDE))
}

/// A number in the strip of who is called `name`.
fn in_strip(snapshot: &Snapshot, name: &str, key: &str) -> Option<f64> {
    let index = snapshot.names().iter().position(|known| *known == name)?;
    snapshot.0["strips"].get(index)?.get(key)?.as_f64()
}

/// Whether anybody is muted.
fn is_anybody_muted(snapshot: &Snapshot) -> bool {
    let strips = snapshot.0["strips"].as_array();
    strips.into_iter().flatten().any(|strip| strip["mute"] == true)
}

/// Level of `hz` at the end of what was heard, in dB relative to how it was played.
fn heard_db(take: &Take, hz: [f64; 2], index: usize) -> f64 {
    let heard = &take.output[0];
    db(listen(&heard[heard.len() - LISTEN_FRAMES..], &hz, 0.05).amplitudes[index], AMPLITUDE)
}

#[test]
fn every_strip_has_its_parameters_with_ids_of_their_own() -> Result<()> {
    let mut ids = Vec::new();
    for format in Format::ALL {
        let parameters = format.create()?.parameters();
        let distinct: BTreeSet<u32> = parameters.iter().map(|parameter| parameter.id).collect();
        assert_eq!(distinct.len(), parameters.len(), "{format:?}: two parameters share an id");
        for number in 1..=SLOTS {
            for control in CONTROLS {
                let name = format!("Strip {number} {control}");
                let found = parameters.iter().find(|parameter| parameter.name == name);
                let found = found.with_context(|| format!("{format:?}: {name} is not there"))?;
                let default = match control {
                    "fader" => 1.0,
                    "pan" => 0.5,
                    _ => 0.0,
                };
                assert!(
                    found.automatable && !found.bypass && found.default == default,
                    "{format:?}: {found:?}"
                );
            }
        }
        let mut others: Vec<&str> = parameters
            .iter()
            .filter(|parameter| parameter.automatable && !parameter.name.starts_with("Strip"))
            .map(|parameter| parameter.name.as_str())
            .collect();
        others.sort_unstable();
        for name in ["Bypass", "Dry monitor level", "Mute myself", "Return level", "Send level"] {
            assert!(others.contains(&name), "{format:?}: {name} is not among {others:?}");
        }
        ids.push(parameters);
    }
    // Ids are part of projects. These are hashes of `strip_fader_1` and `strip_solo_16`: they stay.
    for (name, id) in [("Strip 1 fader", FIRST_ID), ("Strip 16 solo", LAST_ID)] {
        for parameters in &ids {
            let found = parameters.iter().find(|parameter| parameter.name == name).context(name)?;
            assert_eq!(found.id, id, "{name}");
        }
    }
    Ok(())
}

/// As hashed by the framework from the first and the last id.
const FIRST_ID: u32 = hash("strip_fader_1");
const LAST_ID: u32 = hash("strip_solo_16");

/// The framework's hash of an id: a polynomial over its bytes, without the highest bit, which VST3 keeps.
const fn hash(id: &str) -> u32 {
    let (bytes, mut index, mut hash) = (id.as_bytes(), 0, 0_u32);
    while index < bytes.len() {
        hash = hash.wrapping_mul(31).wrapping_add(bytes[index] as u32);
        index += 1;
    }
    hash & !(1 << 31)
}

#[test]
fn values_are_shown_and_read_as_people_write_them() -> Result<()> {
    for format in Format::ALL {
        let mut plugin = format.create()?;
        for (name, value, text) in [
            ("Strip 1 fader", 1.0, "100"),
            ("Strip 16 fader", 0.0, "0"),
            ("Strip 2 fader", 0.735, "73.5"),
            ("Strip 3 pan", 0.5, "C"),
            ("Strip 3 pan", 0.0, "L100"),
            ("Strip 16 pan", 0.65, "R30"),
            ("Strip 4 mute", 1.0, "On"),
            ("Strip 4 solo", 0.0, "Off"),
        ] {
            let id = plugin.parameter(name)?.id;
            assert_eq!(plugin.text(id, value)?, text, "{format:?}: {name}");
            let read = plugin.value_of_text(id, text)?;
            assert!((read - value).abs() < 1e-3, "{format:?}: {name} reads {text:?} as {read}");
        }
        let fader = plugin.parameter("Strip 1 fader")?.id;
        assert!(plugin.value_of_text(fader, "loud").is_err(), "{format:?}");
    }
    Ok(())
}

#[test]
fn controllers_get_pages_of_eight_knobs() -> Result<()> {
    let mut plugin = ClapPlugin::load(&library()?)?;
    let names: std::collections::BTreeMap<u32, String> =
        plugin.parameters().into_iter().map(|parameter| (parameter.id, parameter.name)).collect();
    let pages = plugin.remote_controls()?;
    let titles: Vec<String> = pages.iter().map(|page| format!("{}: {}", page.section, page.name)).collect();
    let mut expected = vec!["Jam: Jam".to_owned()];
    for section in ["Strips 1-8", "Strips 9-16"] {
        expected.extend(["Faders", "Pans", "Mutes", "Solos"].map(|page| format!("{section}: {page}")));
    }
    assert_eq!(titles, expected);
    let knobs = |page: usize| -> Vec<&str> {
        pages[page].parameters.iter().flatten().filter_map(|id| names.get(id)).map(String::as_str).collect()
    };
    let jam = knobs(0);
    for name in ["Send level", "Return level", "Dry monitor level", "Mute myself", "Bypass", "Connect"] {
        assert!(jam.contains(&name), "{name} is not among {jam:?}");
    }
    for (page, control) in CONTROLS.iter().enumerate() {
        let strips = |first: usize| (first..first + 8).map(|number| format!("Strip {number} {control}"));
        assert_eq!(knobs(1 + page), strips(1).collect::<Vec<_>>());
        assert_eq!(knobs(5 + page), strips(9).collect::<Vec<_>>());
    }
    Ok(())
}

#[test]
fn an_automated_fader_is_heard_and_a_loaded_project_moves_none() -> Result<()> {
    alone("an_automated_fader_is_heard_and_a_loaded_project_moves_none", || {
        for format in Format::ALL {
            in_real_time(|| {
                let (_server, address) = server()?;
                let mut me = player(format, 0, &address, "Me", 440.0)?;
                me.join()?;
                let mut ann = player(Format::Clap, 1, &address, "Ann", 660.0)?;
                ann.join()?;
                me.wait_for("Ann in slot 1", |snapshot| in_strip(snapshot, "Ann", "slot") == Some(0.0))?;
                let snapshot = me.snapshot()?;
                assert_eq!(in_strip(&snapshot, "Me", "slot"), None, "our own channel has no slot");
                // As automation moves: a little at every block.
                for step in 1..=50 {
                    me.automate("Strip 1 fader", 1.0 - f64::from(step) / 100.0)?;
                    me.play_on(128)?;
                }
                me.wait_for("the fader", |snapshot| in_strip(snapshot, "Ann", "fader") == Some(50.0))?;
                me.play_on(FADE_FRAMES + LISTEN_FRAMES as u64)?;

                // A project that is loaded moves nobody's fader, whatever it was saved with.
                let mut state = me.plugin().state()?;
                state.0["params"]["strip_fader_1"] = json!({"f32": 5.0});
                state.0["params"]["strip_mute_1"] = json!({"bool": true});
                me.plugin().set_state(&state)?;
                me.play_on(24_000)?;
                assert_eq!(
                    in_strip(&me.snapshot()?, "Ann", "fader"),
                    Some(50.0),
                    "{format:?}: loading acted"
                );
                assert!((me.plugin().value_of("Strip 1 fader")? - 0.5).abs() < 1e-6, "{format:?}");
                let (_, take) = me.finish()?;
                let (level_db, expected_db) =
                    (heard_db(&take, [440.0, 660.0], 1), db(f64::from(fader_gain(50.0)), 1.0));
                let outcome = if (level_db - expected_db).abs() < 0.5 {
                    Ok(())
                } else {
                    Err(anyhow!("{format:?}: Ann at {level_db:.1} dB, not {expected_db:.1}"))
                };
                Ok((take.stalls.len(), outcome))
            })?;
        }
        Ok(())
    })
}

#[test]
fn slots_stay_with_people_and_newcomers_get_no_old_value() -> Result<()> {
    alone("slots_stay_with_people_and_newcomers_get_no_old_value", || {
        for format in Format::ALL {
            let (_server, address) = server()?;
            let mut me = player(format, 0, &address, "Me", 440.0)?;
            me.join()?;
            let mut ann = player(Format::Clap, 1, &address, "Ann", 550.0)?;
            ann.join()?;
            me.wait_for("Ann", |snapshot| in_strip(snapshot, "Ann", "slot") == Some(0.0))?;
            let mut bob = player(Format::Vst3, 2, &address, "Bob", 660.0)?;
            bob.join()?;
            me.wait_for("Bob", |snapshot| in_strip(snapshot, "Bob", "slot") == Some(1.0))?;
            me.automate("Strip 1 fader", 0.2)?;
            me.automate("Strip 1 mute", 1.0)?;
            me.automate("Strip 2 pan", 0.0)?;
            me.wait_for("three movements", |snapshot| {
                in_strip(snapshot, "Ann", "fader") == Some(20.0)
                    && is_anybody_muted(snapshot)
                    && in_strip(snapshot, "Bob", "pan") == Some(0.0)
            })?;
            ann.leave()?;
            me.wait_for("Ann's leaving", |snapshot| snapshot.names() == ["Me", "Bob"])?;
            assert_eq!(in_strip(&me.snapshot()?, "Bob", "slot"), Some(1.0), "{format:?}");
            let mut cay = player(Format::Clap, 3, &address, "Cay", 770.0)?;
            cay.join()?;
            let snapshot = me.wait_for("Cay", |snapshot| in_strip(snapshot, "Cay", "slot") == Some(0.0))?;
            assert_eq!(in_strip(&snapshot, "Cay", "fader"), Some(100.0), "{format:?}");
            assert!(!is_anybody_muted(&snapshot), "{format:?}");
            // The same value again changes nothing, another one does.
            me.automate("Strip 1 fader", 0.2)?;
            me.play_on(12_000)?;
            assert_eq!(in_strip(&me.snapshot()?, "Cay", "fader"), Some(100.0), "{format:?}");
            me.automate("Strip 1 fader", 0.3)?;
            me.wait_for("the next movement", |snapshot| in_strip(snapshot, "Cay", "fader") == Some(30.0))?;
            // Who comes back is heard as before, by name.
            ann.join()?;
            let snapshot =
                me.wait_for("Ann's return", |snapshot| in_strip(snapshot, "Ann", "slot") == Some(2.0))?;
            assert_eq!(in_strip(&snapshot, "Ann", "fader"), Some(20.0), "{format:?}");
            assert!(is_anybody_muted(&snapshot), "{format:?}");
        }
        Ok(())
    })
}

/// Sixteen values at a time, block after block, in and out of a session: nothing but atomics.
#[test]
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
fn moving_strips_keeps_the_realtime_rule() -> Result<()> {
    alone("moving_strips_keeps_the_realtime_rule", || {
        for format in Format::ALL {
            let (_server, address) = server()?;
            let project = json!({"address": address, "name": "Me"});
            let card = SoundCard { guarded: true, ..CARD };
            let source = sine(CARD.rate_hz, 440.0, AMPLITUDE);
            let mut me = Player::new(format, 0, ChannelLayout::STEREO, card, project, source)?;
            let mut changes = 0;
            for is_connected in [false, true] {
                if is_connected {
                    me.join()?;
                    changes += 1;
                }
                for step in 0..20 {
                    for number in [1, 2, 8, 16] {
                        for control in CONTROLS {
                            me.automate(&format!("Strip {number} {control}"), f64::from(step % 2))?;
                            changes += 1;
                        }
                    }
                    me.play_on(256)?;
                }
            }
            let (_, take) = me.finish()?;
            // What nice-plug does of itself in VST3: see `clean` in `hosts_realtime.rs`.
            let excused = if format == Format::Vst3 { changes } else { 0 };
            let report = &take.report;
            ensure!(
                report.is_clean_but_for_other_wakes() && report.other_wakes <= excused,
                "{format:?}: {report}"
            );
        }
        Ok(())
    })
}
