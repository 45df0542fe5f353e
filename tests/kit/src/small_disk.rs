//! A disk that is soon full.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

/// A file system of its own in memory; gone when dropped. Only root may have one.
pub struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    /// An empty one of `kib` KiB.
    pub fn mount(kib: usize) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let options = format!("size={kib}k");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "jamulet-test"]).arg(folder.path());
        let output = mount.output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "a small disk cannot be mounted, run this test as root: {error}");
        Ok(Self { folder })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a program may still have a file open.
        let _ = Command::new("umount").arg("--lazy").arg(self.folder.path()).status();
    }
}
