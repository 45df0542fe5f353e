//! The project's commands, run as `cargo xtask COMMAND`.
//!
//! One file per command. This package must build before anything is installed, so it depends on
//! nothing that needs CMake or system headers: neither `jamulet` nor the test kit.

mod bench;
mod bundle;
mod cargo;
mod demo;
mod install;
mod setup;
mod test;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "\
Usage: cargo xtask COMMAND

  test [SUITE...] [--full]        run every test suite, or only those named; --full adds the long tests
  demo [--input a.wav] [--seconds 20] [--server host:port]
                                  a jam through the plugin: builds, bundles, plays, records and checks
  bundle jamulet --release        build the CLAP and VST3 bundles into target/bundled
  install                         bundle, and copy to where hosts look for plugins
  bench delay [--rounds 20] [--period 64|128] [--server stock|ours] [--fast] [--json FILE]
                                  our delay beside the real Jamulus client's, measured through JACK
  setup                           install what building, running and testing need (Debian packages)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<ExitCode> {
    let Some((command, rest)) = arguments.split_first() else {
        bail!("which command?\n\n{USAGE}");
    };
    match command.as_str() {
        "test" => test::run(rest),
        "demo" => demo::run(rest),
        "bundle" => bundle::run(rest).map(|()| ExitCode::SUCCESS),
        "install" => install::run(rest).map(|()| ExitCode::SUCCESS),
        "bench" => bench::run(rest),
        "setup" => setup::install(&[setup::BUILD, setup::WINDOW, setup::PEERS]).map(|()| ExitCode::SUCCESS),
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        unknown => bail!("there is no command `{unknown}`\n\n{USAGE}"),
    }
}
