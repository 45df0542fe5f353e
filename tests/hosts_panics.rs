//! A panic in any entry point leaves the host alive, the track audible, and a word about it.
//!
//! `JAMULET_TEST_PANIC` makes one door of the plugin panic; each case runs in a process of its own,
//! for what is tested is whether that process survives.

use std::time::Duration;

use anyhow::{Result, ensure};
use jamulet_testkit::child::{is_child, run};
use jamulet_testkit::diagnostics::Diagnostics;
use jamulet_testkit::host::{Format, Plugin};
use jamulet_testkit::window::{HostWindow, Screen};
use jamulet_testkit::{pace, signal, track};
use serde_json::json;

const CASE: &str = "JAMULET_TEST_PANIC";
const FORMAT: &str = "JAMULET_TEST_FORMAT";

/// Doors that a panic goes through, and whether the sound is given up for it.
const DOORS: [&str; 9] =
    ["create", "activate", "reset", "process", "parameter", "state", "editor", "window", "drop"];

#[test]
fn a_panic_in_any_entry_point_leaves_the_host_alive() -> Result<()> {
    const TEST: &str = "a_panic_in_any_entry_point_leaves_the_host_alive";
    if is_child(TEST) {
        let format = if std::env::var(FORMAT)? == "clap" { Format::Clap } else { Format::Vst3 };
        return use_everything(format, &std::env::var(CASE)?);
    }
    let screen = Screen::start([1280, 800])?;
    let mut failures = Vec::new();
    for door in DOORS {
        for format in ["clap", "vst3"] {
            let variables = [(CASE, door), (FORMAT, format), ("DISPLAY", screen.name())];
            let ended = run(TEST, &variables, Duration::from_secs(60))?;
            println!("{door} ({format}): {}", if ended.passed { "survived" } else { "FAILED" });
            if !ended.passed {
                failures.push(format!("{door} ({format}):\n{}", ended.text));
            }
        }
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n\n"));
    Ok(())
}

/// Goes through every door of the plugin, as a host would.
fn use_everything(format: Format, door: &str) -> Result<()> {
    let mut plugin = format.create()?;
    let diagnostics = Diagnostics::of_own_library()?;
    let state = plugin.save()?;
    // Doors of the main thread may refuse while they panic, but must return.
    let _ = plugin.load(&state);
    let _ = plugin.change_project(json!({"address": "127.0.0.1:9", "name": "Panic"}));
    let _ = plugin.set_value_of("Send level", 0.5);
    let _ = plugin.set_value_of("Connect", 1.0);
    let _ = plugin.set_value_of("Connect", 0.0);

    let input = vec![signal::noise(5, 0.5, 4_800); 2];
    for _ in 0..2 {
        let audio = plugin.activate(48_000.0, 128)?;
        let (audio, output) = track::render(audio, &input, &[128])?;
        plugin.deactivate(audio)?;
        ensure!(output == input, "the track's own sound does not pass through");
    }

    let display = std::env::var("DISPLAY")?;
    let window = HostWindow::open(&display, [960, 600])?;
    if plugin.open_editor(window.id()).is_ok() {
        show(&mut *plugin, Duration::from_millis(700));
        let _ = plugin.resize_editor([1000, 640]);
        show(&mut *plugin, Duration::from_millis(300));
        let _ = plugin.close_editor();
    }
    plugin.save()?;

    // The instance tells what happened, unless there is none to tell, or it is yet to happen.
    if !["drop", "create"].contains(&door) {
        let fault = plugin_fault(&diagnostics)?;
        println!("{door}: {fault:?}");
    }
    drop(plugin);
    println!("alive after {door}");
    Ok(())
}

fn show(plugin: &mut dyn Plugin, time: Duration) {
    let start = pace::now();
    while start.elapsed() < time {
        plugin.pump();
        pace::sleep(Duration::from_millis(10));
    }
}

fn plugin_fault(diagnostics: &Diagnostics) -> Result<Option<String>> {
    Ok(diagnostics.instance(0)?.text("fault").map(str::to_owned))
}
