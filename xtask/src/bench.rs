//! `cargo xtask bench NAME`: the benchmarks. Methods and results stand in `docs/PERFORMANCE.md`.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::cargo::{cargo, run as run_command, target_dir};
use crate::setup;

pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    match arguments.split_first() {
        Some((name, options)) if name == "delay" => delay(options),
        Some((unknown, _)) => bail!("there is no benchmark `{unknown}`; there is: delay"),
        None => bail!("which benchmark? There is: delay"),
    }
}

/// Our client's delay beside the real client's; see `tests/kit/src/bin/delay`.
fn delay(options: &[String]) -> Result<ExitCode> {
    setup::install(&[setup::BUILD, setup::PEERS])?;
    println!("Building the app, the server and the benchmark");
    // All at once, so that what they share is built once.
    run_command(
        cargo()
            .args(["build", "--release", "--package", "jamulet", "--package", "jamulet-testkit"])
            .args(["--features", "jamulet/standalone"])
            .args(["--bin", "jamulet", "--bin", "jamulet-server", "--bin", "delay"]),
        "building what is measured",
    )?;
    let folder = target_dir()?.join("release");
    let program = |name: &str| folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    let status = Command::new(program("delay"))
        .args(options)
        .env("JAMULET_APP", program("jamulet"))
        .env("JAMULET_SERVER", program("jamulet-server"))
        .status()
        .context("the benchmark cannot be started")?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_benchmark_is_an_error_that_names_those_there_are() {
        for arguments in [&[][..], &["dealy".to_owned()]] {
            let error = run(arguments).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains("delay"), "{error}");
        }
    }
}
