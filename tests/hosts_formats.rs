//! The plugin in a CLAP and in a VST3 host, without a session: parameters, layouts, state, dry sound.

use anyhow::{Context, Result, ensure};
use jamulet_testkit::host::{ChannelLayout, Format, Plugin, State};
use jamulet_testkit::{signal, track};
use serde_json::json;

const LAYOUTS: [ChannelLayout; 3] =
    [ChannelLayout::STEREO, ChannelLayout::MONO, ChannelLayout::MONO_TO_STEREO];

/// What a fresh instance offers: name, default as text, automatable.
const PARAMETERS: [(&str, &str, bool); 6] = [
    ("Send level", "0.0 dB", true),
    ("Return level", "0.0 dB", true),
    ("Dry monitor level", "off", true),
    ("Mute myself", "Off", true),
    ("Bypass", "Off", true),
    ("Connect", "Off", true),
];

#[test]
fn both_formats_offer_the_same_parameters() -> Result<()> {
    for format in Format::ALL {
        let mut plugin = format.create()?;
        for (name, default, automatable) in PARAMETERS {
            let parameter = plugin.parameter(name)?;
            assert_eq!(parameter.automatable, automatable, "{format:?} {name}");
            let text = plugin.text(parameter.id, parameter.default)?;
            ensure!(
                text.trim_end_matches(" dB") == default.trim_end_matches(" dB"),
                "{format:?} {name}: {text}"
            );
            let value = plugin.value(parameter.id)?;
            assert!((value - parameter.default).abs() < 1e-6, "{format:?} {name}");
        }
    }
    Ok(())
}

/// Inserting the plugin must not change a mix: not connected, the track's own sound passes through.
#[test]
fn dry_sound_passes_through_bit_for_bit() -> Result<()> {
    for format in Format::ALL {
        let mut plugin = format.create()?;
        for layout in LAYOUTS {
            plugin.set_layout(layout)?;
            for (rate_hz, blocks) in
                [(44_100.0, &[512][..]), (48_000.0, &[1, 16, 37, 64, 480, 512]), (96_000.0, &[100, 4096])]
            {
                let input: Vec<Vec<f32>> =
                    (0..layout.inputs).map(|channel| signal::noise(channel as u64, 0.7, 20_000)).collect();
                let most = blocks.iter().copied().max().context("there are blocks")?;
                let audio = plugin.activate(rate_hz, most)?;
                let (audio, output) = track::render(audio, &input, blocks)?;
                plugin.deactivate(audio)?;
                let last = layout.inputs - 1;
                for (channel, heard) in output.iter().enumerate() {
                    assert!(
                        heard == &input[channel.min(last)],
                        "{format:?} {layout:?} {rate_hz} channel {channel}"
                    );
                }
            }
        }
    }
    Ok(())
}

/// What a project may hold.
fn project() -> serde_json::Value {
    json!({
        "address": "jam.example.org:22125",
        "name": "Änn 🎷", "city": "Köln", "country": 82, "instrument": 7, "skill": 3,
        "quality": "high", "layout": "mono", "frame": "64", "client_buffer": 4, "server_buffer": null,
        "window": {"width": 1200.0, "height": 700.0, "zoom": 1.25},
    })
}

fn filled(format: Format) -> Result<Box<dyn Plugin>> {
    let mut plugin = format.create()?;
    plugin.change_project(project())?;
    plugin.set_value_of("Send level", 0.25)?;
    plugin.set_value_of("Return level", 0.5)?;
    plugin.set_value_of("Dry monitor level", 0.75)?;
    plugin.set_value_of("Mute myself", 1.0)?;
    Ok(plugin)
}

#[test]
fn a_saved_state_restores_everything_in_both_formats() -> Result<()> {
    for saved_by in Format::ALL {
        let state = filled(saved_by)?.state()?;
        for (key, value) in project().as_object().context("an object")? {
            assert_eq!(state.project()?.get(key), Some(value), "{saved_by:?} {key}");
        }
        for loaded_by in Format::ALL {
            let mut plugin = loaded_by.create()?;
            plugin.set_state(&state)?;
            assert_eq!(plugin.state()?, state, "{saved_by:?} to {loaded_by:?}");
            for (name, expected) in [
                ("Send level", 0.25),
                ("Return level", 0.5),
                ("Dry monitor level", 0.75),
                ("Mute myself", 1.0),
            ] {
                let value = plugin.value_of(name)?;
                assert!((value - expected).abs() < 0.01, "{saved_by:?} to {loaded_by:?}: {name} is {value}");
            }
        }
    }
    Ok(())
}

/// A project that is opened must not join a session, nor one that is undone leave it.
#[test]
fn a_state_does_not_connect() -> Result<()> {
    for format in Format::ALL {
        let mut plugin = format.create()?;
        let mut state = plugin.state()?;
        state.change_project(json!({"address": "127.0.0.1:9"}))?;
        state.0["params"]["connect"] = json!({"bool": true});
        plugin.set_state(&state)?;
        assert_eq!(plugin.value_of("Connect")?, 0.0, "{format:?}");
    }
    Ok(())
}

/// What the host is told is the user's number, and nothing without one.
#[test]
fn the_reported_latency_is_what_the_user_set() -> Result<()> {
    for format in Format::ALL {
        let mut plugin = format.create()?;
        for (latency_ms, rate_hz, samples) in
            [(0, 48_000.0, 0), (25, 48_000.0, 1200), (25, 44_100.0, 1103), (0, 96_000.0, 0)]
        {
            plugin.change_project(json!({"latency_ms": latency_ms}))?;
            let audio = plugin.activate(rate_hz, 512)?;
            assert_eq!(plugin.latency()?, samples, "{format:?}: {latency_ms} ms at {rate_hz} Hz");
            plugin.deactivate(audio)?;
        }
    }
    Ok(())
}

/// A project may be of a version to come: what is known is taken, what is not is ignored.
#[test]
fn older_and_newer_states_are_taken_as_far_as_they_are_known() -> Result<()> {
    for format in Format::ALL {
        let mut plugin = format.create()?;
        let mut newer = plugin.state()?;
        newer.change_project(
            json!({"version": 99, "name": "Ann", "hologram": {"depth": 3}, "quality": "hyper"}),
        )?;
        newer.0["params"]["warp"] = json!({"f32": 0.5});
        newer.0["version"] = json!("99.0.0");
        plugin.set_state(&newer)?;
        assert_eq!(plugin.state()?.project()?["name"], json!("Ann"), "{format:?}");
        assert_eq!(plugin.state()?.project()?["quality"], json!("normal"), "{format:?}");
        // Version 1 knew neither of these, nor the bypass.
        let mut older = plugin.state()?;
        let mut project = older.project()?;
        let fields = project.as_object_mut().context("an object")?;
        for key in ["reconnect", "joined", "number", "latency_ms"] {
            assert!(fields.remove(key).is_some(), "{key}");
        }
        fields.insert("version".to_owned(), json!(1));
        older.0["fields"]["jamulet"] = json!(project.to_string());
        older.0["params"].as_object_mut().context("an object")?.remove("bypass");
        plugin.set_state(&older)?;
        let project = plugin.state()?.project()?;
        assert_eq!((&project["name"], &project["latency_ms"]), (&json!("Ann"), &json!(0)), "{format:?}");
    }
    Ok(())
}

/// A project file may be damaged, or come from the future.
#[test]
fn a_damaged_state_harms_nothing() -> Result<()> {
    for format in Format::ALL {
        let whole = filled(format)?.save()?;
        let mut damaged: Vec<Vec<u8>> = vec![Vec::new(), vec![0xFF; 64], b"{}".to_vec(), vec![b'['; 10_000]];
        damaged.push(State(json!({})).to_bytes(format));
        damaged.push(
            State(json!({"version": "9", "params": {"send": "loud"}, "fields": {"jamulet": 7}}))
                .to_bytes(format),
        );
        damaged.push(State(json!({"version": "", "params": {"send": {"f32": 1e30}}, "fields": {"jamulet": "{\"name\":[]}"}})).to_bytes(format));
        damaged.extend((0..whole.len()).step_by(97).map(|length| whole[..length].to_vec()));
        let mut plugin = format.create()?;
        for state in damaged {
            // Whether the plugin refuses it or takes what it can: it lives, and works.
            let _ = plugin.load(&state);
            plugin.state()?;
        }
        let send = plugin.value_of("Send level")?;
        assert!((0.0..=1.0).contains(&send), "{format:?}: {send}");
        let input = vec![signal::noise(1, 0.5, 1_000); 2];
        let audio = plugin.activate(48_000.0, 100)?;
        let (audio, output) = track::render(audio, &input, &[100])?;
        plugin.deactivate(audio)?;
        assert_eq!(output, input, "{format:?}");
        plugin.load(&whole)?;
        assert_eq!(plugin.state()?.project()?["name"], json!("Änn 🎷"));
    }
    Ok(())
}
