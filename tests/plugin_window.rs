//! A hand on the real window, embedded in hosts of both formats: what is clicked and typed there
//! reaches the plugin's parameters and state, and keys that a VST3 host holds back reach the field.
#![cfg(all(feature = "plugin", target_os = "linux"))]

use std::time::Duration;

use anyhow::{Result, ensure};
use jamulet_testkit::child::with_screen;
use jamulet_testkit::host::{Format, Plugin, library};
use jamulet_testkit::pace;
use jamulet_testkit::vst3_host::Vst3Plugin;
use jamulet_testkit::window::{HostWindow, Picture, set_dots_per_inch};
use serde_json::json;

/// Where "Mute me" is in a window of 960×600 points.
const MUTE_ME: [i16; 2] = [66, 500];
/// Where the address field is in the same window.
const ADDRESS: [i16; 2] = [340, 260];
/// Where the choice of output is in a window of 960×900 points, and then "Others only" in its list.
const OUTPUT: [[i16; 2]; 2] = [[66, 549], [66, 612]];
/// X11 key codes of `a` and `b`.
const LETTERS: [u8; 2] = [38, 56];
/// VST3's codes of keys (`pluginterfaces/base/keycodes.h`).
const BACKSPACE: i16 = 1;
const SPACE: i16 = 7;

fn until(
    plugin: &mut dyn Plugin,
    what: &str,
    mut condition: impl FnMut(&mut dyn Plugin) -> Result<bool>,
) -> Result<()> {
    let start = pace::now();
    while !condition(plugin)? {
        ensure!(start.elapsed() < Duration::from_secs(20), "{what} did not happen within 20 s");
        plugin.pump();
        pace::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn open(plugin: &mut dyn Plugin, display: &str) -> Result<HostWindow> {
    let window = HostWindow::open(display, [960, 600])?;
    plugin.open_editor(window.id())?;
    until(plugin, "drawing", |_| Ok(window.picture()?.colours() > 100))?;
    Ok(window)
}

/// Waits until `text` is in the address field, and so in the state.
fn typed(plugin: &mut dyn Plugin, text: &str) -> Result<()> {
    until(plugin, text, |plugin| Ok(plugin.state()?.project()?["address"] == json!(text)))
}

/// A screen that is dense by itself: the plugin learns of it only from its own window, after a VST3
/// host has asked for the size, so it must ask the host to follow.
#[test]
fn the_screens_own_scale_is_applied_at_the_first_opening() -> Result<()> {
    with_screen("the_screens_own_scale_is_applied_at_the_first_opening", |display| {
        set_dots_per_inch(display, 192)?;
        let mut vst3 = Vst3Plugin::load(&library()?)?;
        let window = HostWindow::open(display, [2000, 1300])?;
        vst3.open_editor(window.id())?;
        until(&mut vst3, "the large window", |_| Ok(window.embedded()? == [[1920, 1200]]))?;
        let start = pace::now();
        while vst3.requested_size() != Some([1920, 1200]) {
            ensure!(start.elapsed() < Duration::from_secs(20), "asked for {:?}", vst3.requested_size());
            vst3.pump();
            pace::sleep(Duration::from_millis(20));
        }
        vst3.close_editor()?;

        let mut clap = Format::Clap.create()?;
        assert_eq!(clap.open_editor(window.id())?, [1920, 1200]);
        until(&mut *clap, "the large window", |_| Ok(window.embedded()? == [[1920, 1200]]))?;
        let size = clap.state()?.project()?["window"].clone();
        assert_eq!((&size["width"], &size["height"]), (&json!(960.0), &json!(600.0)), "points, not pixels");
        clap.close_editor()
    })
}

/// The host does not call `process()` here: the button acts all the same, and the host is told.
#[test]
fn a_button_of_the_window_shows_in_the_hosts_parameter() -> Result<()> {
    with_screen("a_button_of_the_window_shows_in_the_hosts_parameter", |display| {
        for format in Format::ALL {
            let mut plugin = format.create()?;
            let window = open(&mut *plugin, display)?;
            window.click(MUTE_ME)?;
            until(&mut *plugin, &format!("{format:?}: muting"), |plugin| {
                Ok(plugin.value_of("Mute myself")? == 1.0)
            })?;
            plugin.close_editor()?;
        }
        Ok(())
    })
}

/// The pixels of a short line through `at`, where text is.
fn around(picture: &Picture, at: [i16; 2]) -> Vec<u8> {
    let [x, y] = at.map(|place| place as usize);
    let start = 3 * (y * picture.width as usize + x);
    picture.rgb[start - 60..start + 60].to_vec()
}

/// As above, with a list that opens and closes.
#[test]
fn an_output_chosen_in_the_window_shows_in_the_hosts_parameter() -> Result<()> {
    with_screen("an_output_chosen_in_the_window_shows_in_the_hosts_parameter", |display| {
        for format in Format::ALL {
            let mut plugin = format.create()?;
            plugin.change_project(json!({"window": {"width": 960.0, "height": 900.0, "zoom": 1.0}}))?;
            let window = HostWindow::open(display, [960, 900])?;
            plugin.open_editor(window.id())?;
            until(&mut *plugin, "drawing", |_| Ok(window.picture()?.colours() > 100))?;
            let closed = around(&window.picture()?, OUTPUT[1]);
            window.click(OUTPUT[0])?;
            until(&mut *plugin, "the list", |_| Ok(around(&window.picture()?, OUTPUT[1]) != closed))?;
            window.click(OUTPUT[1])?;
            until(&mut *plugin, &format!("{format:?}: others only"), |plugin| {
                Ok((plugin.value_of("Output")? - 1.0 / 3.0).abs() < 0.01)
            })?;
            plugin.close_editor()?;
        }
        Ok(())
    })
}

#[test]
fn keys_that_a_vst3_host_holds_back_edit_the_field_that_has_the_focus() -> Result<()> {
    with_screen("keys_that_a_vst3_host_holds_back_edit_the_field_that_has_the_focus", |display| {
        let mut plugin = Vst3Plugin::load(&library()?)?;
        let window = open(&mut plugin, display)?;
        assert!(!plugin.key(' ', SPACE, true)?, "nothing is typed yet: space is the host's");
        window.click(ADDRESS)?;
        let start = pace::now();
        while !plugin.key(' ', SPACE, true)? {
            ensure!(start.elapsed() < Duration::from_secs(20), "the field never got the focus");
            pace::sleep(Duration::from_millis(20));
        }
        typed(&mut plugin, " ")?;
        for (letter, text) in LETTERS.into_iter().zip([" a", " ab"]) {
            window.key(letter)?;
            typed(&mut plugin, text)?;
        }
        assert!(plugin.key('\0', BACKSPACE, true)?);
        typed(&mut plugin, " a")?;
        plugin.close_editor()
    })
}
