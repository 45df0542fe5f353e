//! Other programs, and tests that need a process of their own: another environment, or the
//! right to crash.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::pace;

/// Set in the child: the test that it is to run.
const VARIABLE: &str = "JAMULET_TEST_CHILD";

/// How a child ended.
#[derive(Debug)]
pub struct Ended {
    /// Whether the test passed there, or the program succeeded.
    pub passed: bool,
    /// What it printed, both streams, and how it ended.
    pub text: String,
}

/// Whether this process is the child that shall run `test`'s body.
pub fn is_child(test: &str) -> bool {
    std::env::var(VARIABLE).is_ok_and(|name| name == test)
}

/// Runs the test called `test` of this program in a child process with these variables set.
/// In the child [`is_child`] is true. A child that takes longer than `limit` is killed and failed.
pub fn run(test: &str, variables: &[(&str, &str)], limit: Duration) -> Result<Ended> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args([test, "--exact", "--nocapture", "--include-ignored", "--test-threads=1"])
        .env(VARIABLE, test)
        .envs(variables.iter().copied());
    let mut ended = finish(&mut command, limit)?;
    // A filter that matches nothing succeeds, too: so the one test must have been counted.
    ended.passed &= ended.text.contains("1 passed; 0 failed");
    Ok(ended)
}

/// Runs a program to its end, or kills it after `limit`, which fails it.
pub fn finish(command: &mut Command, limit: Duration) -> Result<Ended> {
    // One file for both streams keeps lines in order, and needs no thread to drain it.
    let log = tempfile::NamedTempFile::new()?;
    let output = log.reopen()?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()
        .with_context(|| format!("{:?} cannot be started", command.get_program()))?;
    let start = pace::now();
    let (passed, how) = loop {
        if let Some(status) = child.try_wait()? {
            break (status.success(), status.to_string());
        }
        if start.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            break (false, format!("killed after {limit:?}"));
        }
        pace::sleep(Duration::from_millis(10));
    };
    let mut text = String::new();
    log.reopen()?.read_to_string(&mut text)?;
    Ok(Ended { passed, text: format!("{text}\n[{how}]") })
}

/// Runs `body` in a process of its own that has a screen, and fails as it fails.
pub fn with_screen(test: &str, body: impl FnOnce(&str) -> Result<()>) -> Result<()> {
    if is_child(test) {
        return body(&std::env::var("DISPLAY").context("the child has no display")?);
    }
    let screen = crate::window::Screen::start([2560, 1600])?;
    let ended = run(test, &[("DISPLAY", screen.name())], Duration::from_secs(120))?;
    anyhow::ensure!(ended.passed, "{}", ended.text);
    Ok(())
}
