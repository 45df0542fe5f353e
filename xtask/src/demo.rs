//! `cargo xtask demo`: a jam through the bundled plugin; see `tests/kit/src/bin/demo.rs`.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::cargo::{cargo, run as run_command, target_dir};
use crate::{bundle, setup};

pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    setup::install(&[setup::BUILD, setup::WINDOW])?;
    println!("Building the demo's host, server and second musician");
    run_command(
        cargo().args(["build", "--release", "--package", "jamulet-testkit", "--bin", "demo"]),
        "building the demo",
    )?;
    println!("Building the plugin");
    let bundles = bundle::bundle(&["jamulet".to_owned(), "--release".to_owned()])?;

    let target = target_dir()?;
    let program = target.join("release").join(format!("demo{}", std::env::consts::EXE_SUFFIX));
    let status = Command::new(&program)
        .args(arguments)
        // What the demo is given, not what its user chooses.
        .env("JAMULET_CLAP", &bundles.clap)
        .env("JAMULET_DEMO_FOLDER", target.join("demo"))
        .status()
        .with_context(|| format!("{} cannot be started", program.display()))?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}
