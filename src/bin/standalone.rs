//! The `jamulet` app: the plugin without a host.

use std::process::ExitCode;

fn main() -> ExitCode {
    match jamulet::plugin::standalone::run(std::env::args()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("{sentence}");
            ExitCode::FAILURE
        }
    }
}
