//! The standalone app as a user meets it: one sentence and a bad exit code where it cannot work, its
//! state kept where it can. Run it by `cargo test --features standalone --test plugin_standalone`.
#![cfg(all(feature = "standalone", target_os = "linux"))]

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jamulet::server::{Event, LeaveReason, Options, Server};
use jamulet_testkit::pace;
use jamulet_testkit::stock::JackServer;
use jamulet_testkit::window::Screen;
use serde_json::{Value, json};

/// The app with a home of its own and no sound device, whatever the machine has.
fn app(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jamulet"));
    command
        .args(arguments)
        .env("HOME", home)
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("DISPLAY")
        .env("ALSA_CONFIG_PATH", "/nonexistent")
        .env("JACK_DEFAULT_SERVER", "jamulet-test-none")
        .env("JACK_NO_START_SERVER", "1")
        .stdin(Stdio::null());
    command
}

/// The last line of what it says, which is ours; ALSA's own complaints come before it.
fn sentence(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().lines().last().unwrap_or_default().to_owned()
}

#[test]
fn without_a_sound_device_it_says_so_and_writes_nothing() -> Result<()> {
    let home = tempfile::tempdir()?;
    for arguments in [&[][..], &["--backend", "jack"], &["--backend=alsa"]] {
        let output = app(home.path(), arguments).output()?;
        let sentence = sentence(&output);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(sentence.starts_with("No sound: ") && sentence.contains("--backend dummy"), "{sentence}");
        assert_eq!(std::fs::read_dir(home.path())?.count(), 0, "{arguments:?} left something behind");
    }
    Ok(())
}

#[test]
fn wrong_arguments_are_told() -> Result<()> {
    let home = tempfile::tempdir()?;
    for (arguments, part) in
        [(&["--connect"][..], "needs an address"), (&["--backend", "gramophone"], "--help")]
    {
        let output = app(home.path(), arguments).output()?;
        assert!(!output.status.success(), "{arguments:?}");
        assert!(sentence(&output).contains(part), "{arguments:?}: {}", sentence(&output));
    }
    Ok(())
}

#[test]
fn its_state_is_kept_and_a_broken_file_does_not_stop_it() -> Result<()> {
    let home = tempfile::tempdir()?;
    let file = home.path().join(".config/jamulet/state.json");
    std::fs::create_dir_all(file.parent().context("a folder")?)?;
    std::fs::write(&file, "{ this is no JSON")?;
    let screen = Screen::start([1280, 800])?;
    // Nobody listens there: the address is kept, the session is not.
    for arguments in [&["--connect", "127.0.0.1:9"][..], &[]] {
        let all = [&["--backend", "dummy"][..], arguments].concat();
        let mut running = app(home.path(), &all).env("DISPLAY", screen.name()).spawn()?;
        let ended = stop_by_signal(running.id());
        let status = running.wait()?;
        ended?;
        ensure!(status.success(), "{arguments:?}: {status}");
        let state: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
        assert_eq!(state["project"]["address"], json!("127.0.0.1:9"), "{arguments:?}");
        assert_eq!(state["project"]["window"]["width"], json!(960.0));
    }
    Ok(())
}

/// Signals and the window's own close both end in what nice-plug does with JACK, which can wait for ever.
#[test]
fn over_jack_it_ends_at_once_with_its_state_kept_and_the_session_left() -> Result<()> {
    let _jack = JackServer::start(256)?;
    let server =
        Server::start(Options { port: 0, bind_ip4: Some(Ipv4Addr::LOCALHOST), ..Options::default() })?;
    let address = server.local_addr().to_string();
    let screen = Screen::start([1280, 800])?;
    for _ in 0..4 {
        let home = tempfile::tempdir()?;
        let mut command = app(home.path(), &["--backend", "jack", "--connect", &address]);
        // The name that `JackServer` has chosen.
        command.env("JACK_DEFAULT_SERVER", std::env::var("JACK_DEFAULT_SERVER")?);
        let mut running = command.env("DISPLAY", screen.name()).spawn()?;
        let joined = wait_for(&server, |event| matches!(event, Event::Joined { .. }));
        let asked = stop_by_signal(running.id());
        let start = pace::now();
        while asked.is_ok() && running.try_wait()?.is_none() && start.elapsed() < Duration::from_secs(10) {
            pace::sleep(Duration::from_millis(20));
        }
        let took = start.elapsed();
        let ended = running.try_wait()?;
        if ended.is_none() {
            running.kill()?;
            running.wait()?;
        }
        asked?;
        joined?;
        let status = ended.with_context(|| format!("it is still there after {took:?}"))?;
        ensure!(status.success(), "{status}");
        wait_for(&server, |event| matches!(event, Event::Left { reason: LeaveReason::Left, .. }))?;
        let file = home.path().join(".config/jamulet/state.json");
        let state: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
        assert_eq!(state["project"]["address"], json!(address));
        println!("it ended after {took:?}");
    }
    Ok(())
}

/// Waits until the server tells what is `wanted`.
fn wait_for(server: &Server, wanted: impl Fn(&Event) -> bool) -> Result<()> {
    loop {
        let event = server.events().recv_timeout(Duration::from_secs(30));
        if wanted(&event.context("the server does not tell it")?) {
            return Ok(());
        }
    }
}

/// Asks the process to end, once it has a window and so can be asked.
fn stop_by_signal(process: u32) -> Result<()> {
    const SIGTERM: u32 = 15;
    let start = pace::now();
    loop {
        let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).context("no SigCgt")?;
        if u64::from_str_radix(caught.trim(), 16)? & (1 << (SIGTERM - 1)) != 0 {
            break;
        }
        if start.elapsed() > Duration::from_secs(30) {
            Command::new("kill").args(["-KILL", &process.to_string()]).status()?;
            anyhow::bail!("it never opened its window");
        }
        pace::sleep(Duration::from_millis(20));
    }
    ensure!(Command::new("kill").args(["-TERM", &process.to_string()]).status()?.success());
    Ok(())
}
