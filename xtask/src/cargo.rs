//! Running cargo, and knowing where its things are.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The folder of the workspace's `Cargo.toml`.
pub(crate) fn workspace_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace")
}

/// Cargo, to be run in the workspace root.
///
/// The variables that `cargo run` sets for this program are taken away again: with them build
/// scripts would run anew each time that a command is started by hand and then through us.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace_root());
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR") {
            command.env_remove(name);
        }
    }
    command
}

/// Cargo's target folder: `target` unless the user has set another one.
pub(crate) fn target_dir() -> Result<PathBuf> {
    let output = cargo().args(["metadata", "--format-version=1", "--no-deps", "--offline"]).output()?;
    let text = String::from_utf8(output.stdout).context("cargo metadata is no UTF-8")?;
    // One field of a document whose other fields do not matter here: no JSON parser for that.
    let rest = text.split_once("\"target_directory\":\"").context("cargo metadata names no target folder")?.1;
    let folder = rest.split_once('"').context("cargo metadata names no target folder")?.0;
    Ok(PathBuf::from(folder.replace("\\\\", "\\")))
}

/// Runs `command` to its end; an exit code other than 0 is an error that says `what` failed.
pub(crate) fn run(command: &mut Command, what: &str) -> Result<()> {
    let status =
        command.status().with_context(|| format!("{what}: {:?} cannot be started", command.get_program()))?;
    if !status.success() {
        bail!("{what} failed ({status})");
    }
    Ok(())
}
