//! `cargo xtask demo`: a jam through the bundled plugin, recorded and judged.
//!
//! A server, a host with the plugin on a track, and a second musician play together for a while;
//! the files in `target/demo` are for the ear, the table is for everybody else.

mod arguments;
mod jam;
mod judge;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use jamulet_testkit::wav;
use jamulet_testkit::window::Screen;

use arguments::Arguments;

/// Sample rate of the demo's sound card, in Hz.
const RATE_HZ: u32 = 48_000;
/// Its block, in samples.
const BLOCK_FRAMES: usize = 128;
/// Size of the screen that the editor is opened on, in pixels.
const SCREEN_SIZE: [u32; 2] = [1920, 1200];

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}.");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    let arguments = Arguments::parse(std::env::args().skip(1))?;
    let bundle =
        PathBuf::from(std::env::var_os("JAMULET_CLAP").context("start this with `cargo xtask demo`")?);
    let folder =
        PathBuf::from(std::env::var_os("JAMULET_DEMO_FOLDER").unwrap_or_else(|| "target/demo".into()));
    let music = jam::Music::choose(&arguments)?;

    let screen = Screen::start(SCREEN_SIZE)?;
    // SAFETY: no other thread has been started yet.
    unsafe { std::env::set_var("DISPLAY", screen.name()) };
    let jam = jam::play(&arguments, music, &bundle, screen.name())?;

    std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be created", folder.display()))?;
    wav::write(&folder.join("jam.wav"), &jam.heard, RATE_HZ)?;
    wav::write(&folder.join("track.wav"), &jam.track, RATE_HZ)?;
    wav::write(&folder.join("partner.wav"), &jam.partner, RATE_HZ)?;
    jam.editor.save(&folder.join("editor.png"))?;

    let verdict = judge::judge(&jam);
    println!("{}", verdict.table);
    println!(
        "Recorded {0}/jam.wav (what the track heard), {0}/track.wav, {0}/partner.wav;",
        folder.display()
    );
    println!("the editor while connected: {}/editor.png", folder.display());
    for problem in &verdict.problems {
        println!("WRONG: {problem}");
    }
    println!("{}", if verdict.problems.is_empty() { "The jam was good." } else { "The jam was not good." });
    Ok(verdict.problems.is_empty())
}
