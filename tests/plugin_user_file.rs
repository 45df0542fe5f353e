//! What all instances of a user share: many processes at once lose nothing, a fresh instance starts with it, and
//! a project's own state wins.
#![cfg(feature = "plugin")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jamulet::plugin::state::MAX_RECENTS;
use jamulet::plugin::user_file::{Change, FOLDER_VARIABLE, UserFile};
use jamulet_testkit::child::{is_child, run};
use jamulet_testkit::host::Format;
use jamulet_testkit::pace;
use serde_json::{Value, json};

/// Processes that use the file at once, and instances in each.
const PROCESSES: usize = 4;
const INSTANCES: usize = 3;
/// Changes of each instance before its last one.
const ROUNDS: usize = 25;
const LIMIT: Duration = Duration::from_secs(120);
/// Tells a child which one it is.
const NUMBER_VARIABLE: &str = "JAMULET_TEST_NUMBER";

fn user_folder() -> Result<PathBuf> {
    Ok(std::env::var_os(FOLDER_VARIABLE).context("the child knows its folder")?.into())
}

fn content(folder: &Path) -> Result<Value> {
    Ok(serde_json::from_slice(&std::fs::read(folder.join("user.json"))?)?)
}

/// Runs the body of `test` in a child process whose user has `folder`.
fn as_user(test: &str, folder: &Path, number: usize) -> Result<()> {
    let folder = folder.to_str().context("a folder with a plain name")?;
    let ended = run(test, &[(FOLDER_VARIABLE, folder), (NUMBER_VARIABLE, &number.to_string())], LIMIT)?;
    ensure!(ended.passed, "{}", ended.text);
    Ok(())
}

/// One of the instances: adds and removes servers as fast as it can, and leaves one of its own behind.
fn busy_instance(path: &Path, name: &str) {
    let file = UserFile::open(Some(path.to_owned()));
    for round in 0..ROUNDS {
        file.change(Change::Remember(format!("{name} for a moment")));
        if round % 5 == 0 {
            pace::sleep(Duration::from_millis(3));
        }
        file.change(Change::Forget(format!("{name} for a moment")));
    }
    file.change(Change::Remember(name.to_owned()));
}

#[test]
fn many_processes_at_once_lose_no_update() -> Result<()> {
    const TEST: &str = "many_processes_at_once_lose_no_update";
    if is_child(TEST) {
        let (path, number) = (user_folder()?.join("user.json"), std::env::var(NUMBER_VARIABLE)?);
        std::thread::scope(|scope| {
            for instance in 0..INSTANCES {
                let (path, number) = (&path, &number);
                scope.spawn(move || busy_instance(path, &format!("server {number}.{instance}")));
            }
        });
        return Ok(());
    }
    assert_eq!(PROCESSES * INSTANCES, MAX_RECENTS, "all of them fit");
    let folder = tempfile::tempdir()?;
    // Something that nobody here knows must survive, too.
    std::fs::write(folder.path().join("user.json"), json!({"from_the_future": 1}).to_string())?;
    let results: Vec<Result<()>> = std::thread::scope(|scope| {
        let folder = folder.path();
        let children: Vec<_> =
            (0..PROCESSES).map(|number| scope.spawn(move || as_user(TEST, folder, number))).collect();
        children.into_iter().map(|child| child.join().expect("no panic")).collect()
    });
    results.into_iter().collect::<Result<()>>()?;
    let content = content(folder.path())?;
    let mut recents: Vec<&str> =
        content["recents"].as_array().context("a list")?.iter().filter_map(Value::as_str).collect();
    recents.sort_unstable();
    let expected: Vec<String> = (0..PROCESSES)
        .flat_map(|process| (0..INSTANCES).map(move |instance| format!("server {process}.{instance}")))
        .collect();
    assert_eq!(recents, expected);
    assert_eq!(content["from_the_future"], 1);
    Ok(())
}

#[test]
fn a_fresh_instance_starts_as_the_user_and_a_project_wins() -> Result<()> {
    const TEST: &str = "a_fresh_instance_starts_as_the_user_and_a_project_wins";
    if is_child(TEST) {
        for format in Format::ALL {
            let mut plugin = format.create()?;
            let fresh = plugin.state()?.project()?;
            assert_eq!((&fresh["name"], &fresh["quality"]), (&json!("Änn"), &json!("high")), "{format:?}");
            assert!(fresh.get("recents").is_none(), "{format:?}: recents are no part of a project");
            plugin.change_project(
                json!({"name": "Bob", "quality": "low", "recents": ["of an older project"]}),
            )?;
            let loaded = plugin.state()?.project()?;
            assert_eq!((&loaded["name"], &loaded["quality"]), (&json!("Bob"), &json!("low")), "{format:?}");
            let next = format.create()?.state()?.project()?;
            assert_eq!(next["name"], "Änn", "{format:?}: a loaded project is nobody's default");
        }
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let user = json!({"version": 1, "recents": ["known"], "settings": {"name": "Änn", "quality": "high"}});
    std::fs::write(folder.path().join("user.json"), user.to_string())?;
    as_user(TEST, folder.path(), 0)?;
    let content = content(folder.path())?;
    assert_eq!(content["recents"], json!(["known", "of an older project"]));
    assert_eq!(content["settings"], user["settings"]);
    Ok(())
}

#[test]
fn an_unreadable_file_is_kept_and_the_plugin_starts() -> Result<()> {
    const TEST: &str = "an_unreadable_file_is_kept_and_the_plugin_starts";
    if is_child(TEST) {
        for format in Format::ALL {
            let mut plugin = format.create()?;
            assert_eq!(plugin.state()?.project()?["name"], "", "{format:?}");
            plugin.change_project(json!({"recents": ["of an older project"]}))?;
        }
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("user.json"), "{\"settings\": {\"name\"")?;
    as_user(TEST, folder.path(), 0)?;
    assert_eq!(content(folder.path())?["recents"], json!(["of an older project"]));
    let aside = std::fs::read_to_string(folder.path().join("user.unreadable-1.json"))?;
    assert_eq!(aside, "{\"settings\": {\"name\"");
    Ok(())
}
