//! `cargo xtask demo`: a jam through the bundled plugin; see `tests/kit/src/bin/demo.rs`.

use std::fs::File;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::cargo::{cargo, run as run_command, target_dir};
use crate::{bundle, setup};

pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    check(arguments)?;
    // Where the user is: what their paths are relative to.
    let folder = std::env::current_dir()?;
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
        .current_dir(folder)
        // What the demo is given, not what its user chooses.
        .env("JAMULET_CLAP", &bundles.clap)
        .env("JAMULET_DEMO_FOLDER", target.join("demo"))
        .status()
        .with_context(|| format!("{} cannot be started", program.display()))?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

/// Finds the mistakes that can be seen before minutes of building; the demo itself finds the rest.
fn check(arguments: &[String]) -> Result<()> {
    for pair in arguments.chunks(2) {
        match pair {
            [name, file] if name == "--input" => {
                File::open(file).with_context(|| format!("{file} cannot be read"))?;
            }
            [name, _] if ["--seconds", "--server"].contains(&name.as_str()) => {}
            [name] if ["--input", "--seconds", "--server"].contains(&name.as_str()) => {
                bail!("{name} needs a value")
            }
            _ => bail!(
                "the demo knows --input FILE.wav, --seconds N and --server HOST:PORT, but not `{}`",
                pair[0]
            ),
        }
    }
    Ok(())
}
