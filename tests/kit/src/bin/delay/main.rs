//! `cargo xtask bench delay`: how late the sound comes back through the real Jamulus client and through ours.
//!
//! Method, numbers and what they mean: `docs/PERFORMANCE.md`.

#[cfg(target_os = "linux")]
mod arguments;
#[cfg(target_os = "linux")]
mod compare;
#[cfg(target_os = "linux")]
mod peers;
#[cfg(target_os = "linux")]
mod reconnect;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    match run() {
        Ok(true) => std::process::ExitCode::SUCCESS,
        Ok(false) => std::process::ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    eprintln!("error: the delay is measured through JACK's dummy driver and Debian's Jamulus: on Linux");
    std::process::ExitCode::FAILURE
}

/// Measures every setting that was asked for; tells whether ours holds what issue 4 asks in all of them.
#[cfg(target_os = "linux")]
fn run() -> anyhow::Result<bool> {
    use compare::Comparison;

    let arguments = arguments::Arguments::parse(std::env::args().skip(1))?;
    let mut comparisons: Vec<Comparison> = Vec::new();
    for &server in &arguments.servers {
        for &period in &arguments.periods {
            let setting = peers::Setting { server, period, fast: arguments.fast };
            println!("{setting}");
            let reconnects = reconnect::measure(setting, &arguments)?;
            comparisons.push(Comparison { setting, reconnects });
        }
    }
    println!("\n{}", compare::table(&comparisons));
    for comparison in &comparisons {
        println!("{}", comparison.verdict());
    }
    if let Some(file) = &arguments.json {
        compare::write_json(file, &comparisons)?;
        println!("Every single reconnect: {}", file.display());
    }
    Ok(comparisons.iter().all(Comparison::holds))
}
