//! When sessions begin and end.

use jamulet::server::{RecorderReport, RecordingFormat};
use jamulet::units::{FrameSize, Layout};

use crate::deck::Deck;

fn lengths(deck: &mut Deck) -> Vec<Vec<usize>> {
    let sessions = deck.sessions();
    sessions.iter().map(|session| session.tracks().map(|(_, file)| file.samples() / 128).collect()).collect()
}

#[test]
fn a_session_lasts_while_somebody_is_there() {
    let mut deck = Deck::recording();
    deck.run(100);
    assert!(deck.sessions().is_empty(), "nobody has played");
    deck.join(0, "Ann", Layout::Mono);
    deck.run(40);
    deck.join(1, "Bob", Layout::Mono);
    deck.leave(0);
    deck.run(60);
    deck.leave(1);
    deck.run(50);
    deck.join(2, "Eve", Layout::Mono);
    deck.run(30);
    deck.leave(2);
    assert_eq!(lengths(&mut deck), [vec![40, 60], vec![30]]);
    let told = deck.reports.iter().map(|report| match report {
        RecorderReport::SessionBegan { folder } => ("began", folder.clone()),
        RecorderReport::SessionEnded { folder } => ("ended", folder.clone()),
        other => panic!("{other:?}"),
    });
    let folders = jamulet_testkit::recording::sessions(deck.folder.path()).unwrap();
    let expected = folders.iter().flat_map(|folder| [("began", folder.clone()), ("ended", folder.clone())]);
    assert!(told.eq(expected), "{:?}", deck.reports);
}

#[test]
fn folders_are_named_by_the_first_tick() {
    let mut deck = Deck::recording();
    deck.run(5);
    deck.join(0, "Ann", Layout::Mono);
    let first = deck.next;
    // The scribe comes later.
    deck.run(15);
    let session = deck.only_session();
    let millis = 31_867 + first * 128 / 48;
    let name = format!("Jam-20261122-1436{:05}", millis);
    assert_eq!(session.folder.file_name().unwrap().to_str().unwrap(), name);
}

#[test]
fn off_means_off_and_starting_takes_everyone_who_is_there() {
    let mut deck = Deck::new(RecordingFormat::Wav16, FrameSize::Samples128, 10);
    deck.join(0, "Ann", Layout::Mono);
    deck.run(100);
    assert!(!deck.tap.is_enabled());
    deck.tap.start(deck.next);
    deck.tap.start(deck.next);
    deck.run(10);
    deck.tap.stop(deck.next);
    deck.tap.stop(deck.next);
    deck.run(100);
    deck.tap.restart(deck.next);
    assert!(deck.tap.is_enabled());
    deck.run(20);
    deck.tap.restart(deck.next);
    deck.run(30);
    deck.tap.stop(deck.next);
    assert_eq!(lengths(&mut deck), [[10], [20], [30]]);
    for session in deck.sessions() {
        assert_eq!(session.items[0].track, "Ann_-203_0_0_x_22000");
        assert_eq!(session.items[0].position, 0.0);
    }
}

#[test]
fn sessions_of_the_same_moment_have_different_folders() {
    let mut deck = Deck::recording();
    deck.join(0, "Ann", Layout::Mono);
    deck.is_stuck = true;
    deck.run(1);
    deck.is_stuck = false;
    deck.scribe.work(jamulet::units::Time::ZERO, jiff::Timestamp::UNIX_EPOCH);
    for _ in 0..2 {
        deck.tap.restart(deck.next);
        deck.is_stuck = true;
        deck.run(1);
        deck.is_stuck = false;
        deck.scribe.work(jamulet::units::Time::ZERO, jiff::Timestamp::UNIX_EPOCH);
    }
    deck.tap.stop(deck.next);
    let sessions = deck.sessions();
    let names: Vec<&str> =
        sessions.iter().map(|session| session.folder.file_name().unwrap().to_str().unwrap()).collect();
    // The tick is 3 ms before the moment that the scribe is told.
    let name = "Jam-19691231-235959997";
    assert_eq!(names, [name.to_owned(), format!("{name}_1"), format!("{name}_2")]);
}

#[test]
fn another_folder_is_used_from_the_next_session_on() {
    let mut deck = Deck::recording();
    deck.join(0, "Ann", Layout::Mono);
    deck.run(20);
    let other = deck.folder.path().join("not/yet/there");
    deck.tap.set_directory(other.clone());
    deck.run(20);
    deck.tap.restart(deck.next);
    deck.run(20);
    deck.tap.stop(deck.next);
    deck.work();
    let folders: Vec<_> = deck
        .reports
        .iter()
        .filter_map(|report| match report {
            RecorderReport::SessionEnded { folder } => folder.parent(),
            _ => None,
        })
        .collect();
    assert_eq!(folders, [deck.folder.path(), &other]);
}

#[test]
fn another_layout_is_another_file_without_a_gap() {
    let mut deck = Deck::recording();
    deck.join(3, "Ann", Layout::Mono);
    deck.run(25);
    deck.players[0].layout = Layout::Stereo;
    deck.run(35);
    deck.players[0].layout = Layout::Mono;
    deck.run(5);
    let session = deck.only_session();
    let files: Vec<(&str, usize, usize)> =
        session.tracks().map(|(name, file)| (name, file.channels, file.samples() / 128)).collect();
    assert_eq!(
        files,
        [
            ("Ann_-203_0_3_x_22003-0-1.wav", 1, 25),
            ("Ann_-203_0_3_x_22003-25-2.wav", 2, 35),
            ("Ann_-203_0_3_x_22003-60-1.wav", 1, 5)
        ]
    );
    assert!(session.items.iter().all(|item| item.track == "Ann_-203_0_3_x_22003"));
}

#[test]
fn endless_coming_and_going_begins_another_session() {
    let mut deck = Deck::recording();
    deck.join(0, "Ann", Layout::Mono);
    for _ in 0..2050 {
        deck.join(1, "Bob", Layout::Mono);
        deck.run(1);
        deck.leave(1);
    }
    deck.tap.stop(deck.next);
    let sessions = deck.sessions();
    let stays: Vec<usize> = sessions.iter().map(|session| session.items.len()).collect();
    assert_eq!(stays, [2000, 52]);
    let ticks: usize = sessions.iter().map(|session| session.mixdown().samples() / 128).sum();
    assert_eq!(ticks, 2050);
}
