//! `cargo xtask bench`: the benchmarks under `benches/`.

use std::process::ExitCode;

use anyhow::Result;

use crate::cargo::{cargo, run as run_command, workspace_root};
use crate::setup;

pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    if !workspace_root().join("benches").is_dir() {
        println!("There are no benchmarks yet: they go into benches/, and this command runs them.");
        return Ok(ExitCode::SUCCESS);
    }
    setup::install(&[setup::BUILD])?;
    run_command(
        cargo().args(["bench", "--package", "jamulet", "--bench", "*", "--"]).args(arguments),
        "cargo bench",
    )?;
    Ok(ExitCode::SUCCESS)
}
