//! `cargo xtask install`: the bundles to where hosts look for plugins.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::{bundle, setup};

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    if let Some(argument) = arguments.first() {
        bail!("install takes no arguments, not `{argument}`");
    }
    setup::install(&[setup::BUILD])?;
    let bundles = bundle::bundle(&["jamulet".to_owned(), "--release".to_owned()])?;
    let (clap_folder, vst3_folder) = plugin_folders()?;
    for (bundle, folder) in [(&bundles.clap, clap_folder), (&bundles.vst3, vst3_folder)] {
        let name = bundle.file_name().context("a bundle has a name")?;
        let target = folder.join(name);
        replace(bundle, &target)?;
        println!("Installed {}", target.display());
    }
    println!("In the DAW, rescan plugins if Jamulet is not in the list yet.");
    Ok(())
}

/// Where CLAP and VST3 plugins of this user (on Windows: of the machine) live.
fn plugin_folders() -> Result<(PathBuf, PathBuf)> {
    let variable =
        |name: &str| std::env::var_os(name).map(PathBuf::from).with_context(|| format!("{name} is not set"));
    Ok(if cfg!(target_os = "windows") {
        let common = variable("COMMONPROGRAMFILES")?;
        (common.join("CLAP"), common.join("VST3"))
    } else if cfg!(target_os = "macos") {
        let plugins = variable("HOME")?.join("Library/Audio/Plug-Ins");
        (plugins.join("CLAP"), plugins.join("VST3"))
    } else {
        let home = variable("HOME")?;
        (home.join(".clap"), home.join(".vst3"))
    })
}

/// Puts a copy of `source` in the place of `target`. The copy is made beside it first: a running
/// host keeps the old file, and a failure leaves the old one in place.
fn replace(source: &Path, target: &Path) -> Result<()> {
    let folder = target.parent().context("a plugin folder")?;
    fs::create_dir_all(folder).with_context(|| format!("{} cannot be created", folder.display()))?;
    let fresh = target.with_extension("new");
    remove(&fresh)?;
    copy(source, &fresh)
        .with_context(|| format!("{} cannot be copied to {}", source.display(), folder.display()))?;
    remove(target)?;
    fs::rename(&fresh, target).with_context(|| format!("{} cannot be put in place", target.display()))
}

fn copy(source: &Path, target: &Path) -> std::io::Result<()> {
    if !source.is_dir() {
        return fs::copy(source, target).map(drop);
    }
    fs::create_dir(target)?;
    for entry in fs::read_dir(source)? {
        let entry = entry?;
        copy(&entry.path(), &target.join(entry.file_name()))?;
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    let result = if path.is_dir() {
        fs::remove_dir_all(path)
    } else if path.exists() {
        fs::remove_file(path)
    } else {
        Ok(())
    };
    result.with_context(|| format!("{} cannot be removed", path.display()))
}
