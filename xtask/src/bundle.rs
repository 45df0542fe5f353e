//! `cargo xtask bundle PACKAGE [--release]`: the plugin as hosts want it, in `target/bundled`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result, bail, ensure};

use crate::cargo::{cargo, run as run_command, target_dir, workspace_root};
use crate::setup;

/// What `bundler.toml` calls the bundles of package `jamulet`.
const BUNDLE_NAME: &str = "Jamulet";

/// Where the bundles are.
pub(crate) struct Bundles {
    /// A file, on macOS a folder.
    pub(crate) clap: PathBuf,
    /// A folder.
    pub(crate) vst3: PathBuf,
}

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    setup::install(&[setup::BUILD])?;
    bundle(arguments).map(drop)
}

/// Builds and bundles package `jamulet`, in release or debug according to `arguments`.
pub(crate) fn bundle(arguments: &[String]) -> Result<Bundles> {
    let mut release = false;
    for argument in arguments {
        match argument.as_str() {
            "jamulet" => {}
            "--release" => release = true,
            other => bail!("bundle takes `jamulet` and `--release`, not `{other}`"),
        }
    }
    let target = target_dir()?;
    let profile: &[String] = if release { &["--release".to_owned()] } else { &[] };
    let library = Library::new(&target, if release { "release" } else { "debug" });
    library.forget_if_not_ours()?;
    // `cargo build` would make cdylib and rlib together, and then silently leaves out LTO.
    run_command(
        cargo().args(["rustc", "--package", "jamulet", "--lib", "--crate-type", "cdylib"]).args(profile),
        "building the plugin",
    )?;
    library.remember()?;

    // Which is where the bundler looks for its bundler.toml.
    std::env::set_current_dir(workspace_root())?;
    nice_plug_xtask::bundle(&target, "jamulet", profile, false)?;
    let folder = target.join("bundled");
    let bundles = Bundles {
        clap: folder.join(format!("{BUNDLE_NAME}.clap")),
        vst3: folder.join(format!("{BUNDLE_NAME}.vst3")),
    };
    for bundle in [&bundles.clap, &bundles.vst3] {
        ensure!(bundle.exists(), "the library has no entry point for {}", bundle.display());
    }
    Ok(bundles)
}

/// The built library. Other builds (the test kit's, the server's) write a library of the same
/// name but of other features and without LTO to the same place, and cargo takes it for the one
/// it built: so the file that was bundled last is remembered, and any other is deleted first.
struct Library {
    files: [PathBuf; 2],
    stamp: PathBuf,
}

impl Library {
    fn new(target: &Path, profile: &str) -> Self {
        let name = format!("{}jamulet{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
        let folder = target.join(profile);
        Self {
            files: [folder.join("deps").join(&name), folder.join(name)],
            stamp: folder.join("jamulet-bundled.stamp"),
        }
    }

    fn forget_if_not_ours(&self) -> Result<()> {
        let remembered = fs::read_to_string(&self.stamp).ok();
        if remembered.is_some() && remembered == self.identity() {
            return Ok(());
        }
        for file in self.files.iter().filter(|file| file.exists()) {
            fs::remove_file(file).with_context(|| format!("{} cannot be removed", file.display()))?;
        }
        Ok(())
    }

    fn remember(&self) -> Result<()> {
        let identity = self.identity().context("the build left no library behind")?;
        fs::write(&self.stamp, identity)
            .with_context(|| format!("{} cannot be written", self.stamp.display()))
    }

    fn identity(&self) -> Option<String> {
        let metadata = fs::metadata(&self.files[0]).ok()?;
        let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(format!("{} bytes, {} ns\n", metadata.len(), modified.as_nanos()))
    }
}
