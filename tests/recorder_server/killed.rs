//! kill -9 leaves files and projects that can be used, and takes a second at most.

use std::path::Path;
use std::time::Duration;

use jamulet::units::{FrameSize, Layout};
use jamulet_testkit::probe::{Probe, layout};
use jamulet_testkit::recording::{Session, sessions};

use crate::program::Program;

/// What a killed server may lose.
const MAX_LOSS_TICKS: usize = 375;
/// On a busy machine the server may not get to write in time: a run that lost too much is repeated, the third fails.
const RUNS: usize = 3;

fn tone(index: usize) -> f32 {
    ((index as f64 * 440.0 / 48_000.0).fract() * std::f64::consts::TAU).sin() as f32 / 4.0
}

/// Plays into a server that is ended by `signal` after a while; tells what was recorded and how many ticks the client
/// heard, which is how many the server had when it ended, or a little less.
fn record_until(signal: libc::c_int, directory: &Path, format: &str, millis: u64) -> (Session, usize) {
    let server = Program::record_into(directory, &["--recordingformat", format, "--minfreespace", "0"]);
    let usual = layout(FrameSize::Samples128, Layout::Mono);
    let mut probe = Probe::join_playing(server.address, "Ann", usual, tone).unwrap();
    probe.wait_until("sound", |probe| probe.packets.len() > 375).unwrap();
    probe.run_for(Duration::from_millis(millis)).unwrap();
    server.end_by(signal);
    let folders = sessions(directory).unwrap();
    assert_eq!(folders.len(), 1);
    (Session::read(&folders[0]).unwrap(), probe.packets.len())
}

/// The track holds the tone up to its end, and both projects place it.
fn check_usable(session: &Session) {
    assert_eq!((session.items.len(), session.list.len(), session.files.len()), (1, 1, 2));
    let track = &session.files[&session.items[0].file];
    let (length, told) = (track.samples() as f64 / 48_000.0, session.items[0].length);
    assert!((length - told).abs() <= 2.0, "{told} s in the project, {length} s in the file");
    assert_eq!(session.items[0].track.split('-').next(), Some("Ann_"));
    let last_second = &track.values[track.values.len() - 48_000..];
    assert!(last_second.iter().filter(|value| value.abs() > 4000).count() > 24_000, "the tone is there");
}

#[test]
fn kill_9_costs_a_second_at_most_and_leaves_everything_usable() {
    for (format, millis) in [("wav16", 1500), ("wav24", 1900), ("flac", 1730)] {
        let mut losses = Vec::new();
        while losses.len() < RUNS && losses.iter().all(|lost| *lost > MAX_LOSS_TICKS) {
            let folder = tempfile::tempdir().unwrap();
            let (session, heard) = record_until(libc::SIGKILL, folder.path(), format, millis);
            let shortest = session.files.values().map(|file| file.samples() / 128).min().unwrap();
            let lost = heard.saturating_sub(shortest);
            if lost <= MAX_LOSS_TICKS {
                check_usable(&session);
            }
            losses.push(lost);
        }
        println!("{format}: {losses:?} ticks lost");
        assert!(losses.iter().any(|lost| *lost <= MAX_LOSS_TICKS), "{format}: {losses:?} ticks lost");
    }
}

#[test]
fn a_server_that_is_told_to_stop_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (session, heard) = record_until(libc::SIGTERM, folder.path(), "wav16", 700);
    session.check(128).unwrap();
    check_usable(&session);
    let ticks = session.mixdown().samples() / 128;
    assert!(ticks >= heard, "{ticks} of {heard} ticks");
}
