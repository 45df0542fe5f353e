//! What goes wrong ends the recording with one sentence, never the jam.

use std::fs;

use jamulet::server::{RecorderOptions, RecorderReport, RecordingFormat, recorder};
use jamulet::units::{ChannelId, FrameSize, Layout};

use crate::deck::Deck;

fn deck_for(directory: &str, min_free_bytes: u64) -> Deck {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join(directory);
    let options = RecorderOptions { directory, format: RecordingFormat::Wav16, min_free_bytes };
    let mut deck = Deck::with_options(folder, options, FrameSize::Samples128, 10);
    deck.tap.start(deck.next);
    deck
}

#[test]
fn too_little_space_stops_recording_before_it_begins() {
    let mut deck = deck_for("", u64::MAX - 1);
    deck.join(0, "Ann", Layout::Mono);
    deck.run(100);
    let free = u64::MAX >> 20;
    let reason =
        format!("The recording disk has less than {free} MiB free: make room, then start recording again.");
    assert_eq!(deck.reports, [RecorderReport::Stopped { reason }]);
    assert!(!deck.tap.is_enabled());
    assert!(deck.sessions().is_empty(), "no empty folder is left behind");
}

#[test]
fn a_folder_that_is_none_stops_recording_until_it_is_started_again() {
    let mut deck = deck_for("taken/by/a/file", 0);
    let file = deck.folder.path().join("taken");
    fs::write(&file, "not a folder").unwrap();
    deck.join(0, "Ann", Layout::Mono);
    deck.run(100);
    let [reason] = deck.stops()[..] else { panic!("{:?}", deck.reports) };
    let is_sentence = reason.starts_with("A recording cannot be written (")
        && reason.ends_with("): check the recording folder, then start recording again.");
    assert!(is_sentence && !reason.contains("taken"), "{reason}");
    fs::remove_file(&file).unwrap();
    deck.run(100);
    assert_eq!(deck.reports.len(), 1, "off is off: {:?}", deck.reports);
    deck.tap.start(deck.next);
    deck.run(100);
    deck.tap.stop(deck.next);
    deck.work();
    assert!(matches!(
        deck.reports[1..],
        [RecorderReport::SessionBegan { .. }, RecorderReport::SessionEnded { .. }]
    ));
}

#[test]
fn an_old_recordings_failure_does_not_end_a_new_one() {
    let mut deck = deck_for("taken", 0);
    fs::write(deck.folder.path().join("taken"), "not a folder").unwrap();
    deck.join(0, "Ann", Layout::Mono);
    deck.is_stuck = true;
    deck.run(10);
    deck.tap.stop(deck.next);
    let good = deck.folder.path().join("good");
    deck.tap.set_directory(good.clone());
    deck.tap.start(deck.next);
    deck.run(10);
    deck.is_stuck = false;
    deck.work();
    assert_eq!(deck.stops(), [""; 0]);
    assert!(deck.tap.is_enabled());
    assert_eq!(jamulet_testkit::recording::sessions(&good).unwrap().len(), 1);
}

#[test]
fn a_scribe_that_is_stuck_for_long_ends_the_recording_cleanly() {
    let mut deck = Deck::recording();
    deck.join(0, "Ann", Layout::Mono);
    deck.run(100);
    deck.is_stuck = true;
    for _ in 0..2100 {
        deck.join(1, "Bob", Layout::Mono);
        deck.leave(1);
    }
    deck.run(10);
    deck.leave(0);
    assert!(!deck.tap.is_enabled());
    deck.work();
    let stuck = "The recording disk has not answered for too long: check it, then start recording again.";
    assert_eq!(deck.stops(), [stuck]);
    deck.tap.start(deck.next);
    assert!(!deck.tap.is_enabled(), "still stuck");
    deck.is_stuck = false;
    deck.run(19);
    let sessions = deck.sessions();
    assert_eq!(sessions.len(), 1);
    assert_eq!(sessions[0].mixdown().samples() / 128, 100, "everything up to the note that did not fit");
    deck.tap.start(deck.next);
    deck.join(0, "Ann", Layout::Mono);
    deck.run(30);
    deck.tap.stop(deck.next);
    assert_eq!(deck.sessions().len(), 2);
    assert_eq!(deck.stops(), [stuck, stuck]);
}

#[test]
fn a_scribe_that_is_gone_is_told() {
    let options = RecorderOptions::new(tempfile::tempdir().unwrap().path().to_owned());
    let (mut tap, scribe) = recorder(options, FrameSize::Samples128, 10);
    tap.start(0);
    assert_eq!(tap.poll_report(), None);
    drop(scribe);
    tap.join(0, ChannelId(0), Deck::address(0), "Ann");
    tap.write(0, ChannelId(0), Layout::Mono, &[0.0; 128]);
    tap.end_tick(0);
    let reason = "The recorder has failed: restart the server to record again.".to_owned();
    assert_eq!(tap.poll_report(), Some(RecorderReport::Stopped { reason }));
    assert!(!tap.is_enabled() && tap.poll_report().is_none());
}

#[test]
fn slots_that_are_none_and_strangers_are_ignored() {
    let mut deck = Deck::recording();
    deck.tap.join(deck.next, ChannelId(10), Deck::address(10), "Out of range");
    deck.tap.rename(ChannelId(255), "Nobody");
    deck.tap.leave(deck.next, ChannelId(200));
    deck.tap.write(deck.next, ChannelId(10), Layout::Mono, &[0.5; 128]);
    deck.tap.write(deck.next, ChannelId(3), Layout::Mono, &[0.5; 128]);
    deck.tap.end_tick(deck.next);
    deck.next += 1;
    assert!(deck.sessions().is_empty());
}
