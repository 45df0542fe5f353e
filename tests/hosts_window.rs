//! The editor as hosts embed it, on a screen that is none.

use std::time::Duration;

use anyhow::{Result, ensure};
use jamulet_testkit::child::with_screen;
use jamulet_testkit::clap_host::ClapPlugin;
use jamulet_testkit::host::{Format, Plugin, library};
use jamulet_testkit::pace;
use jamulet_testkit::vst3_host::Vst3Plugin;
use jamulet_testkit::window::{HostWindow, Picture};
use serde_json::json;

/// A drawn window has more colours than this, by the smoothed edges of its text.
const COLOURS: usize = 100;

/// Plays the host's main thread until `condition` holds.
fn until(plugin: &mut dyn Plugin, what: &str, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = pace::now();
    while !condition()? {
        ensure!(start.elapsed() < Duration::from_secs(20), "{what} did not happen within 20 s");
        plugin.pump();
        pace::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn drawn(plugin: &mut dyn Plugin, window: &HostWindow) -> Result<Picture> {
    until(plugin, "drawing", || Ok(window.picture()?.colours() > COLOURS))?;
    window.picture()
}

#[test]
fn the_editor_opens_closes_and_opens_again() -> Result<()> {
    with_screen("the_editor_opens_closes_and_opens_again", |display| {
        for format in Format::ALL {
            let mut plugin = format.create()?;
            ensure!(plugin.has_editor(), "{format:?}: no editor to embed");
            for _ in 0..3 {
                let window = HostWindow::open(display, [1200, 800])?;
                let size = plugin.open_editor(window.id())?;
                assert_eq!(size, [960, 600], "{format:?}");
                window.resize(size)?;
                let picture = drawn(&mut *plugin, &window)?;
                assert_eq!([picture.width, picture.height], size);
                assert_eq!(window.embedded()?, [size], "{format:?}");
                plugin.close_editor()?;
                until(&mut *plugin, "closing", || Ok(window.embedded()?.is_empty()))?;
            }
        }
        Ok(())
    })
}

/// Threads and open files of this process.
fn held() -> Result<usize> {
    let count = |folder: &str| std::fs::read_dir(folder).map(Iterator::count);
    Ok(count("/proc/self/task")? + count("/proc/self/fd")?)
}

/// Somebody who looks every now and then, and somebody whose host cannot make up its mind.
#[test]
fn a_hundred_openings() -> Result<()> {
    with_screen("a_hundred_openings", |display| {
        for format in Format::ALL {
            let mut plugin = format.create()?;
            let window = HostWindow::open(display, [1200, 800])?;
            // nice-plug 0.4.2 never closes the socket pair by which a VST3 view wakes the host's main thread.
            let kept = if format == Format::Vst3 { 2 * 90 } else { 0 };
            let mut begun_with = 0;
            for round in 0..100 {
                let size = plugin.open_editor(window.id())?;
                match round % 10 {
                    0 => window.resize(size).and_then(|()| drawn(&mut *plugin, &window)).map(drop)?,
                    odd if odd % 2 == 1 => plugin.pump(),
                    _ => {}
                }
                plugin.close_editor()?;
                until(&mut *plugin, "closing", || Ok(window.embedded()?.is_empty()))?;
                if round == 9 {
                    begun_with = held()?;
                }
            }
            // A few may come and go.
            until(&mut *plugin, "giving everything back", || Ok(held()? <= begun_with + kept + 8))?;
        }
        Ok(())
    })
}

#[test]
fn the_first_opening_has_the_saved_size() -> Result<()> {
    with_screen("the_first_opening_has_the_saved_size", |display| {
        for format in Format::ALL {
            let mut saved = format.create()?;
            saved.change_project(json!({"window": {"width": 1111.0, "height": 777.0, "zoom": 1.0}}))?;
            let state = saved.save()?;
            let mut plugin = format.create()?;
            plugin.load(&state)?;
            assert_eq!(plugin.editor_size()?, [1111, 777], "{format:?} before opening");
            let window = HostWindow::open(display, [1200, 800])?;
            assert_eq!(plugin.open_editor(window.id())?, [1111, 777], "{format:?}");
            drawn(&mut *plugin, &window)?;
            assert_eq!(window.embedded()?, [[1111, 777]], "{format:?}");
            plugin.close_editor()?;
            drop(plugin);
        }
        Ok(())
    })
}

#[test]
fn a_dragged_size_is_saved() -> Result<()> {
    with_screen("a_dragged_size_is_saved", |display| {
        for format in Format::ALL {
            let mut plugin = format.create()?;
            let window = HostWindow::open(display, [1400, 900])?;
            plugin.open_editor(window.id())?;
            drawn(&mut *plugin, &window)?;
            plugin.resize_editor([1234, 765])?;
            until(&mut *plugin, "resizing", || Ok(window.embedded()? == [[1234, 765]]))?;
            // Asked for from outside the loop: the plugin learns of it when it draws.
            let start = pace::now();
            loop {
                let size = plugin.state()?.project()?["window"].clone();
                if size["width"] == json!(1234.0) && size["height"] == json!(765.0) {
                    break;
                }
                ensure!(start.elapsed() < Duration::from_secs(20), "{format:?}: saved as {size}");
                plugin.pump();
                pace::sleep(Duration::from_millis(10));
            }
            plugin.close_editor()?;
        }
        Ok(())
    })
}

/// On a screen of twice the density everything is twice as large, at the first opening, too.
#[test]
fn a_scale_of_two_draws_twice_as_large() -> Result<()> {
    with_screen("a_scale_of_two_draws_twice_as_large", |display| {
        let mut clap = ClapPlugin::load(&library()?)?;
        let window = HostWindow::open(display, [2000, 1300])?;
        clap.open_scaled(window.id(), 2.0)?;
        until(&mut clap, "the large window", || Ok(window.embedded()? == [[1920, 1200]]))?;
        drawn(&mut clap, &window)?;
        clap.close_editor()?;

        let mut vst3 = Vst3Plugin::load(&library()?)?;
        let window = HostWindow::open(display, [2000, 1300])?;
        vst3.open_scaled(window.id(), 2.0)?;
        until(&mut vst3, "the large window", || Ok(window.embedded()? == [[1920, 1200]]))?;
        drawn(&mut vst3, &window)?;
        vst3.close_editor()
    })
}
