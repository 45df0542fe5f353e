//! Every sample in its place, in every format.

use jamulet::server::{RecorderReport, RecordingFormat};
use jamulet::units::{FrameSize, Layout};
use jamulet_testkit::recording::check_flac;

use crate::deck::{Deck, rounded};

#[test]
fn every_format_holds_every_sample_in_its_place() {
    for (format, ending, bits) in [
        (RecordingFormat::Wav16, "wav", 16),
        (RecordingFormat::Wav24, "wav", 24),
        (RecordingFormat::Flac, "flac", 16),
    ] {
        for (tick, samples) in [(FrameSize::Samples64, 64), (FrameSize::Samples128, 128)] {
            let mut deck = Deck::new(format, tick, 10);
            deck.tap.start(deck.next);
            deck.join(0, "Ann", Layout::Mono);
            deck.run(333);
            deck.join(7, "Bob", Layout::Stereo);
            deck.run(1000);
            let ann = deck.leave(0);
            deck.run(77);
            let bob = deck.leave(7);
            deck.run(100);
            let session = deck.only_session();
            let names: Vec<&str> = session.tracks().map(|(name, _)| name).collect();
            let expected = [
                (format!("Ann_-203_0_0_x_22000-0-1.{ending}"), Layout::Mono, 1333, ann),
                (format!("Bob_-203_0_7_x_22007-333-2.{ending}"), Layout::Stereo, 1077, bob),
            ];
            assert_eq!(names, expected.each_ref().map(|(name, ..)| name));
            for (name, layout, ticks, played) in &expected {
                let file = &session.files[name];
                assert_eq!((file.channels, file.bits), (layout.channels(), bits), "{name}");
                assert_eq!(file.samples(), ticks * samples, "{name}");
                assert_eq!(file.values, rounded(played, bits), "{name}");
            }
            assert_eq!(session.mixdown().samples(), 1410 * samples);
            for name in session.files.keys().filter(|name| name.ends_with(".flac")) {
                check_flac(&session.folder.join(name)).unwrap();
            }
        }
    }
}

#[test]
fn a_client_without_sound_for_a_while_has_silence_there() {
    let mut deck = Deck::recording();
    deck.join(0, "Ann", Layout::Stereo);
    deck.join(1, "Bob", Layout::Mono);
    deck.run(50);
    let bob = deck.players.remove(1);
    deck.run(200);
    deck.players.push(bob);
    deck.run(50);
    let bob = deck.leave(1);
    let session = deck.only_session();
    let file = &session.files["Bob_-203_0_1_x_22001-0-1.wav"];
    let (before, after) = bob.split_at(50 * 128);
    let whole = [before, &[0.0; 200 * 128], after].concat();
    assert_eq!(file.values, rounded(&whole, 16));
}

#[test]
fn a_stuck_disk_costs_sound_but_no_place() {
    let mut deck = Deck::recording();
    deck.join(0, "Ann", Layout::Stereo);
    deck.join(1, "Bob", Layout::Stereo);
    deck.run(375);
    deck.is_stuck = true;
    // Rings of ten slots hold 15 s of two stereo clients.
    deck.run(20 * 375);
    deck.is_stuck = false;
    deck.work();
    deck.run(2 * 375);
    let (ann, bob) = (deck.leave(0), deck.leave(1));
    let session = deck.only_session();
    let mut silent_ticks = 0;
    for (name, played) in [("Ann_-203_0_0_x_22000-0-2.wav", ann), ("Bob_-203_0_1_x_22001-0-2.wav", bob)] {
        let file = &session.files[name];
        let played = rounded(&played, 16);
        assert_eq!(file.values.len(), played.len(), "{name}");
        for (index, (there, wanted)) in file.values.chunks(256).zip(played.chunks(256)).enumerate() {
            let is_silent = there.iter().all(|value| *value == 0);
            assert!(is_silent || there == wanted, "tick {index} of {name}");
            assert!(
                !is_silent || (10 * 375..21 * 375 + 19).contains(&index),
                "tick {index} of {name} is silent"
            );
            silent_ticks += u64::from(is_silent);
        }
    }
    let lost: u64 = deck
        .reports
        .iter()
        .map(|report| if let RecorderReport::LostFrames(lost) = report { *lost } else { 0 })
        .sum();
    assert_eq!(lost, silent_ticks);
    assert!((2 * 4 * 375..2 * 6 * 375).contains(&lost), "{lost} ticks lost in 5 s");
    assert!(deck.stops().is_empty() && session.mixdown().samples() == 23 * 375 * 128);
}

#[test]
fn too_loud_and_nonsense_stays_within_full_scale() {
    for format in [RecordingFormat::Wav16, RecordingFormat::Wav24, RecordingFormat::Flac] {
        let mut deck = Deck::new(format, FrameSize::Samples64, 2);
        deck.tap.start(deck.next);
        deck.join(0, "", Layout::Mono);
        deck.players.clear();
        let mut sound = [0.0; 64];
        sound[..6].copy_from_slice(&[2.0, -2.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1.0]);
        deck.tap.write(deck.next, jamulet::units::ChannelId(0), Layout::Mono, &sound);
        deck.tap.end_tick(deck.next);
        deck.next += 1;
        deck.tap.stop(deck.next);
        deck.work();
        let folder = jamulet_testkit::recording::sessions(deck.folder.path()).unwrap().remove(0);
        let session = jamulet_testkit::recording::Session::read(&folder).unwrap();
        let file = session.tracks().next().unwrap().1;
        let full = 1 << (file.bits - 1);
        assert_eq!(file.values[..6], [full - 1, -full, full - 1, -full, 0, full - 1]);
        assert_eq!(session.mixdown().samples(), 64);
    }
}

/// Whoever kills the server now finds files that can be read.
#[test]
fn files_and_projects_are_whole_while_they_grow() {
    for format in [RecordingFormat::Wav16, RecordingFormat::Flac] {
        let mut deck = Deck::new(format, FrameSize::Samples128, 3);
        deck.tap.start(deck.next);
        deck.join(0, "Ann", Layout::Mono);
        for second in 0..5_usize {
            deck.run(375);
            let folder = jamulet_testkit::recording::sessions(deck.folder.path()).unwrap().remove(0);
            let session = jamulet_testkit::recording::Session::read(&folder).unwrap();
            for (name, file) in &session.files {
                let missing = (second + 1) * 48_000 - file.samples();
                assert!(missing <= 30_000, "{missing} samples of {name} are missing after second {second}");
                let played = rounded(&deck.players[0].played, 16);
                assert_eq!(*file.channel(0).collect::<Vec<_>>(), played[..file.samples()], "{name}");
            }
            assert_eq!((session.items.len(), session.list.len()), (1, 1));
            assert!(
                (second..second + 2).contains(&(session.items[0].length.ceil() as usize)),
                "{:?}",
                session.items
            );
        }
    }
}

/// What a server that is killed at the worst moment leaves: sound that came up to 0.4 s ago is not in the files yet, and
/// the scribe was about to work after a pause of 50 ms.
#[test]
fn at_any_moment_no_more_than_450_ms_are_missing_from_the_files() {
    // FLAC is written in blocks of 4096 samples.
    for (format, block) in
        [(RecordingFormat::Wav16, 0), (RecordingFormat::Wav24, 0), (RecordingFormat::Flac, 4096)]
    {
        let mut deck = Deck::new(format, FrameSize::Samples128, 10);
        deck.tap.start(deck.next);
        deck.join(0, "Ann", Layout::Mono);
        deck.join(1, "Bob", Layout::Stereo);
        // The session begins with the scribe's first turn; a FLAC file has no length before the first turn after its
        // first block.
        deck.run(if block == 0 { 19 } else { 375 });
        let began = 1000;
        let mut most = 0;
        for _ in 0..375 * 3 {
            deck.run(1);
            let folder = jamulet_testkit::recording::sessions(deck.folder.path()).unwrap().remove(0);
            let session = jamulet_testkit::recording::Session::read(&folder).unwrap();
            assert_eq!(session.files.len(), 3);
            let shortest = session.files.values().map(|file| file.samples()).min().unwrap();
            let ended = (deck.next - began) as usize * 128;
            most = most.max(ended - shortest);
        }
        println!("{format:?}: at most {} ms missing", most / 48);
        assert!(most <= 450 * 48 + block, "{format:?}: {} ms missing", most / 48);
        assert!(most >= 300 * 48, "files are not written all the time: {} ms", most / 48);
    }
}
