//! The table of options in `docs/hosting/README.md`: every row names tests, and they exist.

use std::fs;
use std::path::Path;

const README: &str = include_str!("../../docs/hosting/README.md");

/// The last cells of all rows of tables about options and signals.
fn cells() -> Vec<&'static str> {
    let mut is_inside = false;
    let mut cells = Vec::new();
    for line in README.lines() {
        let row = line.strip_prefix('|').and_then(|row| row.strip_suffix('|'));
        let cell = row.and_then(|row| row.rsplit('|').next()).map(str::trim);
        match cell {
            None => is_inside = false,
            Some("tested by") => is_inside = true,
            Some("---") => {}
            Some(cell) if is_inside => cells.push(cell),
            Some(_) => {}
        }
    }
    cells
}

/// Whether `file::test` or `folder::module::test` is a test.
fn exists(name: &str) -> bool {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let parts: Vec<&str> = name.split("::").collect();
    let (files, test) = match parts[..] {
        [file, test] => (vec![tests.join(format!("{file}.rs")), tests.join(file).join("main.rs")], test),
        [folder, module, test] => (vec![tests.join(folder).join(format!("{module}.rs"))], test),
        _ => return false,
    };
    let text = files.iter().find_map(|file| fs::read_to_string(file).ok()).unwrap_or_default();
    let mut above = "";
    text.lines().any(|line| {
        let is_it = line.starts_with(&format!("fn {test}()")) && above.starts_with("#[");
        above = line;
        is_it
    })
}

#[test]
fn every_option_names_its_tests() {
    let cells = cells();
    assert!(cells.len() > 40, "only {} rows", cells.len());
    for cell in cells {
        let mut module = "";
        let names: Vec<&str> = cell.split(", ").map(|name| name.trim_matches('`')).collect();
        for name in names {
            let full = match name.strip_prefix("…::") {
                Some(test) => format!("{module}::{test}"),
                None => {
                    module = name.rsplit_once("::").map_or("", |(module, _)| module);
                    name.to_owned()
                }
            };
            assert!(exists(&full), "there is no test {full:?} ({cell})");
        }
    }
    assert!(!exists("server_binary::no_such_test") && !exists("") && !exists("server_binary::help"));
}
