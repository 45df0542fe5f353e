//! What goes wrong ends the recording with one sentence, never the jam.

use std::fs;

use jamulet::server::{RecorderOptions, RecorderReport, RecordingFormat, recorder};
use jamulet::units::{ChannelId, FrameSize, Layout};

use crate::deck::{Deck, rounded};

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

fn lost_frames(deck: &Deck) -> u64 {
    let lost =
        |report: &RecorderReport| if let RecorderReport::LostFrames(lost) = report { *lost } else { 0 };
    deck.reports.iter().map(lost).sum()
}

#[test]
fn strangers_cannot_end_a_recording_while_the_disk_stands_still() {
    let mut deck = Deck::recording();
    deck.join(0, "Ann", Layout::Mono);
    deck.run(100);
    deck.is_stuck = true;
    for number in 0..100_000_u32 {
        // One byte from a forged address opens a channel; nothing more comes.
        let ghost = ([198, 51, 100, number as u8], 1024 + (number >> 8) as u16).into();
        deck.tap.join(deck.next, ChannelId(1), ghost, "");
        deck.tap.rename(ChannelId(0), &format!("Ann {number}"));
        deck.tap.rename(ChannelId(1), &format!("Ghost {number}"));
        deck.tap.leave(deck.next, ChannelId(1));
        if number.is_multiple_of(1000) {
            deck.run(1);
        }
    }
    deck.is_stuck = false;
    deck.run(100);
    assert_eq!(deck.stops(), [""; 0]);
    assert_eq!(lost_frames(&deck), 0);
    let sound = deck.leave(0);
    let session = deck.only_session();
    assert_eq!(session.items.len(), 1, "nobody hears ghosts");
    assert_eq!(session.items[0].track, "Ann_99999-203_0_0_x_22000");
    let (_, track) = session.tracks().next().unwrap();
    assert_eq!(track.values, rounded(&sound, 16));
}

#[test]
fn a_last_name_is_in_the_projects_even_if_its_owner_leaves_at_once() {
    let mut deck = Deck::recording();
    deck.join(0, "Ann", Layout::Mono);
    deck.join(1, "Bob", Layout::Mono);
    deck.run(5);
    deck.tap.rename(ChannelId(0), "Zoe");
    deck.leave(0);
    deck.run(5);
    deck.tap.rename(ChannelId(1), "Rob");
    let session = deck.only_session();
    let tracks: Vec<&str> = session.items.iter().map(|item| item.track.as_str()).collect();
    assert_eq!(tracks, ["Zoe_-203_0_0_x_22000", "Rob_-203_0_1_x_22001"]);
}

#[test]
fn coming_and_going_with_sound_while_the_disk_stands_still_costs_sound_and_nothing_else() {
    let mut deck = Deck::recording();
    deck.join(0, "Ann", Layout::Mono);
    deck.run(100);
    deck.is_stuck = true;
    // Each stay is worth three notes; 4096 fit.
    for _ in 0..5000 {
        deck.join(1, "Bob", Layout::Mono);
        deck.run(1);
        deck.leave(1);
    }
    let restarts_at = deck.next;
    deck.leave(0);
    deck.work();
    assert!(deck.tap.is_enabled() && deck.stops().is_empty());
    let lost = lost_frames(&deck);
    assert!((3000..10_000).contains(&lost), "{lost}");
    deck.is_stuck = false;
    deck.work();
    deck.join(0, "Ann", Layout::Mono);
    deck.run(30);
    deck.tap.stop(deck.next);
    let sessions = deck.sessions();
    let ticks: u64 = sessions.iter().map(|session| session.mixdown().samples() as u64 / 128).sum();
    assert_eq!(ticks, restarts_at - 1000 + 30, "Ann's whole stay, and her next one");
    assert!(sessions.iter().all(|session| session.items.iter().all(|item| item.track.len() > 10)));
}

#[test]
fn an_admin_who_starts_and_stops_while_the_disk_stands_still_is_told() {
    let mut deck = Deck::recording();
    deck.join(0, "Ann", Layout::Mono);
    deck.run(100);
    deck.is_stuck = true;
    for _ in 0..2100 {
        deck.tap.restart(deck.next);
    }
    let last = deck.folder.path().join("last");
    deck.tap.set_directory(deck.folder.path().join("other"));
    deck.tap.set_directory(last.clone());
    deck.work();
    let stuck = "The recording disk has not answered for too long: check it, then start recording again.";
    assert_eq!(deck.stops(), [stuck]);
    assert!(!deck.tap.is_enabled());
    deck.is_stuck = false;
    deck.work();
    deck.tap.start(deck.next);
    deck.run(30);
    deck.tap.stop(deck.next);
    assert_eq!(deck.stops(), [stuck]);
    deck.work();
    let sessions = jamulet_testkit::recording::sessions(&last).unwrap();
    assert_eq!(sessions.len(), 1, "the last folder that was chosen");
    let session = jamulet_testkit::recording::Session::read(&sessions[0]).unwrap();
    assert_eq!((session.mixdown().samples() / 128, session.items.len()), (30, 1));
}

/// Something in the way of the projects' next file, in the only session's folder.
fn block_projects(deck: &Deck) -> std::path::PathBuf {
    let folder = jamulet_testkit::recording::sessions(deck.folder.path()).unwrap().remove(0);
    let name = folder.file_name().unwrap().to_str().unwrap();
    let path = folder.join(format!(".{name}.rpp.part"));
    fs::create_dir(&path).unwrap();
    path
}

#[test]
fn projects_that_cannot_be_written_are_told_once_and_tried_again() {
    let mut deck = Deck::recording();
    deck.join(0, "Ann", Layout::Mono);
    deck.run(100);
    let obstacle = block_projects(&deck);
    deck.reports.clear();
    deck.run(375 * 5);
    let [RecorderReport::Warning { reason }] = &deck.reports[..] else { panic!("{:?}", deck.reports) };
    assert!(reason.starts_with("The projects of a recording cannot be written ("), "{reason}");
    assert!(!reason.contains(".part") && deck.tap.is_enabled(), "{reason}");
    fs::remove_dir(obstacle).unwrap();
    // Within a second without anything new.
    deck.run(400);
    let folder = jamulet_testkit::recording::sessions(deck.folder.path()).unwrap().remove(0);
    let items = jamulet_testkit::recording::Session::read(&folder).unwrap().items;
    assert!(items[0].length > 5.0, "{items:?}");
    let sound = deck.leave(0);
    let session = deck.only_session();
    assert_eq!(session.tracks().next().unwrap().1.values, rounded(&sound, 16));
}

#[test]
fn projects_that_cannot_be_written_at_the_end_leave_the_sound() {
    let mut deck = Deck::recording();
    deck.join(0, "Ann", Layout::Mono);
    deck.run(100);
    block_projects(&deck);
    deck.tap.stop(deck.next);
    deck.reports.clear();
    deck.work();
    let is_expected =
        matches!(deck.reports[..], [RecorderReport::Warning { .. }, RecorderReport::SessionEnded { .. }]);
    assert!(is_expected, "{:?}", deck.reports);
}

/// The session is on a disk that fills up; the next one is to go to a large one.
#[cfg(target_os = "linux")]
#[test]
fn room_is_looked_for_where_the_session_is() {
    let disk = jamulet_testkit::small_disk::SmallDisk::mount(2048).unwrap();
    let options = RecorderOptions {
        directory: disk.path().to_owned(),
        format: RecordingFormat::Wav16,
        min_free_bytes: 1 << 20,
    };
    let mut deck = Deck::with_options(tempfile::tempdir().unwrap(), options, FrameSize::Samples128, 10);
    deck.tap.start(deck.next);
    deck.join(0, "Ann", Layout::Mono);
    deck.run(100);
    deck.tap.set_directory(deck.folder.path().to_owned());
    // 281 KiB a second come, and 1 MiB is free above the limit.
    deck.run(375 * 6);
    let [reason] = deck.stops()[..] else { panic!("{:?}", deck.reports) };
    assert!(reason.starts_with("The recording disk has less than 1 MiB free"), "{reason}");
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
