//! `cargo xtask test [SUITE...] [--full]`: every test of the project, counted.

use std::io::{BufRead, BufReader};
use std::ops::AddAssign;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};

use crate::cargo::{cargo, workspace_root};
use crate::setup::{self, Needs};

/// A group of tests that is run by one name.
struct Suite {
    name: &'static str,
    /// Starts of the names of its files in `tests/`.
    prefixes: &'static [&'static str],
    /// What must be installed besides what builds.
    needs: &'static [&'static Needs],
    /// Further runs of cargo, for what needs other features.
    more: &'static [&'static [&'static str]],
}

/// The standalone app is not part of the default features. A target folder of its own, because this
/// build's library would else replace the one that the host tests load.
const STANDALONE: &[&str] = &[
    "test",
    "--package",
    "jamulet",
    "--features",
    "standalone",
    "--lib",
    "--test",
    "plugin_standalone",
    "--target-dir",
    "target/standalone",
];

/// In the order in which they run: what fails fastest comes first. `lint` has no files, and
/// `unit` has, beside the tests within `src`, every file that no other suite claims.
const SUITES: &[Suite] = &[
    Suite { name: "lint", prefixes: &[], needs: &[], more: &[] },
    Suite { name: "unit", prefixes: &[], needs: &[setup::SERVICE], more: &[] },
    Suite { name: "sim", prefixes: &["sim_", "session_sim"], needs: &[], more: &[] },
    Suite { name: "recorder", prefixes: &["recorder_"], needs: &[setup::FLAC], more: &[] },
    Suite {
        name: "hosts",
        prefixes: &["hosts_", "plugin_"],
        needs: &[setup::WINDOW, setup::JACK],
        more: &[STANDALONE],
    },
    Suite { name: "ardour", prefixes: &["ardour_"], needs: &[setup::ARDOUR], more: &[] },
    Suite { name: "interop", prefixes: &["interop_"], needs: &[setup::PEERS, setup::WINDOW], more: &[] },
];

/// Parts of the names of crates that a server's build must do without.
const FORBIDDEN_IN_SERVER: &[&str] = &[
    "x11",
    "xcb",
    "xkb",
    "egl",
    "glow",
    "glutin",
    "khronos",
    "alsa",
    "jack",
    "cpal",
    "baseview",
    "egui",
    "nice-plug",
];

pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let full = arguments.iter().any(|argument| argument == "--full");
    let suites = choose(arguments)?;
    let mut needs = vec![setup::BUILD];
    needs.extend(suites.iter().flat_map(|suite| suite.needs).copied());
    setup::install(&needs)?;

    let mut counts = Counts::default();
    for suite in suites {
        println!("\n== {} ==", suite.name);
        counts += match suite.name {
            "lint" => lint()?,
            _ => cargo_tests(suite, full)?,
        };
    }
    if counts.passed + counts.failed == 0 {
        println!("\nNothing ran, so nothing is known to work.");
    }
    println!("\n{} passed, {} failed, {} skipped", counts.passed, counts.failed, counts.skipped);
    let good = counts.failed == 0 && counts.passed > 0;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What has been counted so far.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Counts {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, more: Self) {
        self.passed += more.passed;
        self.failed += more.failed;
        self.skipped += more.skipped;
    }
}

/// The suites that `arguments` name, in running order; all of them when none is named.
fn choose(arguments: &[String]) -> Result<Vec<&'static Suite>> {
    let mut names: Vec<&str> = Vec::new();
    for argument in arguments {
        match argument.as_str() {
            "--full" => {}
            name if SUITES.iter().any(|suite| suite.name == name) => names.push(name),
            unknown => {
                let known: Vec<&str> = SUITES.iter().map(|suite| suite.name).collect();
                bail!(
                    "there is no test suite `{unknown}`; there are: {} (and the option --full)",
                    known.join(", ")
                );
            }
        }
    }
    Ok(SUITES.iter().filter(|suite| names.is_empty() || names.contains(&suite.name)).collect())
}

/// Formatting, lints, and the promise that the server builds without sound card and window.
fn lint() -> Result<Counts> {
    setup::install_lint_tools()?;
    let mut counts = Counts::default();
    counts += step("formatting", cargo().args(["fmt", "--all", "--check"]))?;
    counts += step(
        "clippy",
        cargo()
            .args(["clippy", "--workspace", "--all-targets", "--features", "jamulet/standalone"])
            .args(["--", "--deny", "warnings"]),
    )?;
    // Only looked at, not built: a library without the plugin would take the place of the one that the host
    // tests load. The program itself is built like this, and run, by `server_static`.
    counts += step(
        "the server alone",
        cargo()
            .args(["clippy", "--package", "jamulet", "--no-default-features", "--features", "server"])
            .args(["--lib", "--bin", "jamulet-server", "--", "--deny", "warnings"]),
    )?;
    counts += server_dependencies()?;
    Ok(counts)
}

fn step(name: &str, command: &mut Command) -> Result<Counts> {
    let status = command.status().with_context(|| format!("{name} cannot be started"))?;
    Ok(verdict(name, status.success()))
}

fn server_dependencies() -> Result<Counts> {
    let output = cargo()
        .args(["tree", "--package", "jamulet", "--no-default-features", "--features", "server"])
        .args(["--edges", "normal,build", "--prefix", "none", "--format", "{p}"])
        .output()
        .context("cargo tree cannot be started")?;
    let tree = String::from_utf8_lossy(&output.stdout);
    let crates = || tree.lines().filter_map(|line| line.split_whitespace().next());
    let found: Vec<&str> =
        crates().filter(|name| FORBIDDEN_IN_SERVER.iter().any(|part| name.contains(part))).collect();
    if !found.is_empty() {
        println!("the server's build pulls in {}", found.join(", "));
    }
    // A tree that was not printed has nothing forbidden in it either.
    let complete = output.status.success() && crates().any(|name| name == "opusic-sys");
    Ok(verdict("server without window and sound card", complete && found.is_empty()))
}

fn verdict(name: &str, good: bool) -> Counts {
    println!("lint {name} ... {}", if good { "ok" } else { "FAILED" });
    Counts { passed: good.into(), failed: (!good).into(), skipped: 0 }
}

/// Runs a suite's tests through cargo.
fn cargo_tests(suite: &Suite, full: bool) -> Result<Counts> {
    let files = test_files(suite)?;
    // Always the whole workspace: a narrower choice of packages may choose other features of
    // shared dependencies, and all of them would be built twice.
    let mut arguments = vec!["test", "--workspace", "--no-fail-fast"];
    if suite.name == "unit" {
        arguments.extend(["--lib", "--bins"]);
    } else if files.is_empty() {
        println!("no test files yet");
        return Ok(Counts::default());
    }
    arguments.extend(files.iter().flat_map(|file| ["--test", file]));
    let mut counts = cargo_test(&arguments, full)?;
    for arguments in suite.more {
        counts += cargo_test(arguments, full)?;
    }
    Ok(counts)
}

/// Runs cargo, showing what it prints as it comes.
fn cargo_test(arguments: &[&str], full: bool) -> Result<Counts> {
    let mut command = cargo();
    command.args(arguments);
    if full {
        command.args(["--", "--include-ignored"]);
    }
    let mut child = command.stdout(Stdio::piped()).spawn().context("cargo test cannot be started")?;
    let output = child.stdout.take().context("cargo's output is piped")?;
    let mut counts = Counts::default();
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        if let Some(more) = parse_result(&line) {
            counts += more;
        }
    }
    let status = child.wait()?;
    if !status.success() && counts.failed == 0 {
        println!(
            "cargo test ended with {status} although no test reported a failure: a test program died, or did not build"
        );
        counts.failed += 1;
    }
    Ok(counts)
}

/// Names of the suite's tests in `tests/`, sorted: files without `.rs`, and folders with a `main.rs`.
fn test_files(suite: &Suite) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(workspace_root().join("tests"))? {
        let path = entry?.path();
        let is_test =
            path.extension().is_some_and(|extension| extension == "rs") || path.join("main.rs").is_file();
        if is_test
            && let Some(name) = path.file_stem().and_then(|name| name.to_str())
            && owner(name).name == suite.name
        {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// The suite that a file of `tests/` belongs to.
fn owner(name: &str) -> &'static Suite {
    let claims = |suite: &&Suite| suite.prefixes.iter().any(|prefix| name.starts_with(prefix));
    SUITES.iter().find(claims).unwrap_or_else(|| {
        SUITES.iter().find(|suite| suite.name == "unit").expect("the table of suites has `unit`")
    })
}

/// Counts from a line such as `test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; ...`.
fn parse_result(line: &str) -> Option<Counts> {
    let (_, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |what: &str| {
        let part = numbers.split("; ").find(|part| part.ends_with(what))?;
        part.split(' ').next()?.parse().ok()
    };
    Some(Counts { passed: count(" passed")?, failed: count(" failed")?, skipped: count(" ignored")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_counted() {
        let line =
            "test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.00s";
        assert_eq!(parse_result(line), Some(Counts { passed: 5, failed: 0, skipped: 1 }));
        let line = "test result: FAILED. 12 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.50s";
        assert_eq!(parse_result(line), Some(Counts { passed: 12, failed: 2, skipped: 0 }));
        assert_eq!(parse_result("test result_of_something ... ok"), None);
        assert_eq!(parse_result("running 3 tests"), None);
    }

    #[test]
    fn folders_are_found_as_cargo_finds_them() {
        let names: Vec<String> =
            SUITES.iter().flat_map(|suite| test_files(suite).unwrap_or_default()).collect();
        for name in ["protocol", "server_core", "session_sim", "sim_jam"] {
            assert!(names.iter().any(|found| found == name), "{name} is missing from {names:?}");
        }
        assert!(!names.iter().any(|name| name == "kit" || name == "data"), "{names:?}");
    }

    #[test]
    fn files_belong_to_the_suite_of_their_prefix() {
        assert_eq!(owner("hosts_clap").name, "hosts");
        assert_eq!(owner("plugin_state").name, "hosts");
        assert_eq!(owner("sim_network").name, "sim");
        assert_eq!(owner("interop_server").name, "interop");
        assert_eq!(owner("ardour_session").name, "ardour");
        assert_eq!(owner("protocol_captures").name, "unit");
    }

    #[test]
    fn an_unknown_suite_is_an_error_that_lists_them() {
        let error = choose(&["hots".to_owned()]).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("`hots`") && error.contains("hosts"), "{error}");
    }

    #[test]
    fn suites_run_in_their_own_order_once() {
        let names = |arguments: &[&str]| -> Vec<&str> {
            let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
            choose(&arguments).unwrap().iter().map(|suite| suite.name).collect()
        };
        assert_eq!(names(&["sim", "lint", "sim", "--full"]), ["lint", "sim"]);
        assert_eq!(names(&["--full"]).len(), SUITES.len());
    }
}
