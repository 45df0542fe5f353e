//! Recording, as options and signals say; what is in the files is shown elsewhere.

use std::path::{Path, PathBuf};

use jamulet::protocol::ConnlessMessage;
use jamulet_testkit::probe::{self, Probe};

use crate::running::{Running, wait_for};

const RECORDING: u32 = 1 << 3;

fn is_enabled(server: &Running) -> bool {
    match server.ask(&ConnlessMessage::RequestServerFeatures) {
        ConnlessMessage::ServerFeatures(bits) => bits & RECORDING != 0,
        other => panic!("{other:?}"),
    }
}

/// Files of sessions with this extension.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries =
        |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let all = entries(folder).flat_map(|session| entries(&session).collect::<Vec<_>>());
    all.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

fn sessions(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

#[test]
fn signals_turn_recording_on_and_off() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(&["-R", folder.path().to_str().unwrap(), "--norecord"]);
    assert!(!is_enabled(&server));
    for (signal, expected) in
        [(libc::SIGUSR2, true), (libc::SIGUSR2, false), (libc::SIGUSR1, true), (libc::SIGUSR1, true)]
    {
        server.signal(signal);
        wait_for("the signal's effect", || is_enabled(&server) == expected);
    }
    server.stop_by(libc::SIGTERM);
    assert_eq!(sessions(folder.path()), 0, "nobody played");
}

#[test]
fn who_plays_is_recorded_in_the_format_asked_for_and_sigusr1_begins_anew() {
    for (format, extension) in [("wav16", "wav"), ("wav24", "wav"), ("flac", "flac")] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made/by/the/server");
        let server = Running::start(&[
            "-R",
            path.to_str().unwrap(),
            "--recordingformat",
            format,
            "--minfreespace",
            "0",
        ]);
        let mut ann =
            Probe::join_playing(server.address(), "Ann", probe::USUAL, |n| (n as f32 / 20.0).sin()).unwrap();
        ann.wait_until("a file", |_| !files(&path, extension).is_empty()).unwrap();
        server.signal(libc::SIGUSR1);
        ann.wait_until("a second session", |_| sessions(&path) == 2).unwrap();
        server.stop_by(libc::SIGTERM);
        assert!(!files(&path, "rpp").is_empty() && !files(&path, "lof").is_empty(), "{format}");
    }
}

#[test]
fn norecord_waits() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(&["--recording", folder.path().to_str().unwrap(), "--norecord"]);
    let mut ann = Probe::join(server.address(), "Ann", probe::USUAL).unwrap();
    ann.wait_until("sound", |ann| ann.packets.len() > 50).unwrap();
    assert_eq!(sessions(folder.path()), 0);
}

#[test]
fn a_disk_that_is_too_full_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let mut server = Running::start(&["-R", path, "--minfreespace", "999999G"]);
    let mut ann = Probe::join(server.address(), "Ann", probe::USUAL).unwrap();
    ann.wait_until("sound", |ann| ann.packets.len() > 50).unwrap();
    server.line_with("Recording has stopped");
}

#[test]
fn a_folder_that_cannot_be_used_does_not_keep_the_jam_from_starting() {
    let mut server = Running::start(&["-R", "/dev/null/x"]);
    assert!(server.line_with("Recordings cannot be written to /dev/null/x").contains("Choose a folder"));
    let mut ann = Probe::join(server.address(), "Ann", probe::USUAL).unwrap();
    ann.wait_until("sound", |ann| ann.packets.len() > 50).unwrap();
    assert!(!is_enabled(&server));
}
