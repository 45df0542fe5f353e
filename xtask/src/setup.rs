//! Installs what the other commands need.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::cargo::run;

/// What a command needs of the system, as Debian packages it.
pub(crate) struct Needs {
    /// Debian package names.
    packages: &'static [&'static str],
    /// Programs from those packages: how other systems are checked.
    programs: &'static [&'static str],
}

/// To build everything, the standalone app included.
pub(crate) const BUILD: &Needs = &Needs {
    packages: &["gcc", "libc6-dev", "cmake", "make", "pkg-config", "libasound2-dev", "libjack-jackd2-dev"],
    programs: &["cc", "cmake", "make", "pkg-config"],
};

/// To open the editor on a screen that is none, and to photograph it.
pub(crate) const WINDOW: &Needs = &Needs {
    packages: &[
        "xvfb",
        "xdotool",
        "imagemagick",
        "x11-utils",
        "libegl1",
        "libgl1-mesa-dri",
        "libx11-6",
        "libx11-xcb1",
        "libxcb1",
        "libxkbcommon0",
        "libxkbcommon-x11-0",
    ],
    programs: &["Xvfb", "xdotool"],
};

/// Real Jamulus to test against, and a sound card that is none for it.
pub(crate) const PEERS: &Needs = &Needs { packages: &["jamulus", "jackd2"], programs: &["Jamulus", "jackd"] };

/// A sound card that is none, for the standalone app.
pub(crate) const JACK: &Needs = &Needs { packages: &["jackd2"], programs: &["jackd"] };

/// A real DAW, and a sound card that is none for it.
pub(crate) const ARDOUR: &Needs =
    &Needs { packages: &["ardour", "jackd2"], programs: &["ardour7-lua", "jackd"] };

/// The FLAC project's own program, to judge what our recorder writes.
pub(crate) const FLAC: &Needs = &Needs { packages: &["flac"], programs: &["flac"] };

/// To check the systemd unit.
pub(crate) const SERVICE: &Needs = &Needs { packages: &["systemd"], programs: &["systemd-analyze"] };

/// Installs whatever of `needs` is missing. Elsewhere than on Debian nothing can be installed:
/// there a missing program is an error that says what to install.
pub(crate) fn install(needs: &[&Needs]) -> Result<()> {
    if !cfg!(target_os = "linux") {
        return Ok(());
    }
    if !is_debian() {
        return check_programs(needs);
    }
    let missing = missing_packages(needs);
    if missing.is_empty() {
        return Ok(());
    }
    println!("Installing {}", missing.join(" "));
    if apt(&["install", "--yes", "--no-install-recommends"], &missing).is_ok() {
        return Ok(());
    }
    // The usual reason on a fresh machine: no package lists yet.
    apt(&["update"], &[])?;
    apt(&["install", "--yes", "--no-install-recommends"], &missing)
}

/// Adds rustfmt and clippy where rustup left them out.
pub(crate) fn install_lint_tools() -> Result<()> {
    for (subcommand, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        let present = crate::cargo::cargo()
            .args([subcommand, "--version"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?
            .success();
        if !present {
            run(
                Command::new("rustup").args(["component", "add", component]),
                &format!("`cargo {subcommand}` is missing, and `rustup component add {component}`"),
            )?;
        }
    }
    Ok(())
}

fn is_debian() -> bool {
    std::path::Path::new("/etc/debian_version").exists() && has_program("apt-get")
}

fn missing_packages(needs: &[&Needs]) -> Vec<&'static str> {
    let packages = needs.iter().flat_map(|needs| needs.packages);
    packages.copied().filter(|package| !is_installed(package)).collect()
}

fn is_installed(package: &str) -> bool {
    let query =
        Command::new("dpkg-query").args(["--show", "--showformat=${db:Status-Status}\n", package]).output();
    // A package of several architectures has one line each.
    query.is_ok_and(|output| {
        String::from_utf8_lossy(&output.stdout).lines().any(|status| status == "installed")
    })
}

fn apt(arguments: &[&str], packages: &[&str]) -> Result<()> {
    let mut command = if is_root() {
        Command::new("apt-get")
    } else if has_program("sudo") {
        let mut sudo = Command::new("sudo");
        sudo.args(["--preserve-env=DEBIAN_FRONTEND", "apt-get"]);
        sudo
    } else {
        bail!("as root, run: apt-get update && apt-get install {}", packages.join(" "));
    };
    command.args(arguments).args(packages).env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
    run(&mut command, &format!("apt-get {}", arguments[0]))
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn check_programs(needs: &[&Needs]) -> Result<()> {
    let missing: Vec<&str> = needs
        .iter()
        .filter(|needs| !needs.programs.iter().all(|program| has_program(program)))
        .flat_map(|needs| needs.packages)
        .copied()
        .collect();
    if !missing.is_empty() {
        bail!(
            "install what Debian packages as: {} (only Debian and its kin can be set up by this command)",
            missing.join(" ")
        );
    }
    Ok(())
}

fn has_program(name: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()))
}
