//! What files, tracks and folders are called.

use jamulet::units::{ChannelId, Layout};

use crate::deck::Deck;

#[test]
fn files_have_the_first_name_and_projects_the_last() {
    let mut deck = Deck::recording();
    deck.join(0, "", Layout::Mono);
    deck.join(1, "Bob", Layout::Mono);
    deck.run(10);
    deck.tap.rename(ChannelId(0), "Jörg");
    deck.run(10);
    deck.tap.rename(ChannelId(0), "Jörgen");
    deck.tap.rename(ChannelId(1), "Bob");
    deck.run(10);
    let session = deck.only_session();
    let found: Vec<(&str, &str)> =
        session.items.iter().map(|item| (item.file.as_str(), item.name.as_str())).collect();
    assert_eq!(
        found,
        [
            ("____-203_0_0_x_22000-0-1.wav", "Jörgen-203_0_0_x_22000 (1)"),
            ("Bob_-203_0_1_x_22001-0-1.wav", "Bob_-203_0_1_x_22001 (1)"),
        ]
    );
}

#[test]
fn a_name_told_while_recording_is_in_the_projects_at_once() {
    let mut deck = Deck::recording();
    deck.join(0, "", Layout::Mono);
    deck.run(38);
    deck.tap.rename(ChannelId(0), "Ann");
    // One turn to tell the scribe, and one for it to write.
    deck.run(38);
    let folder = jamulet_testkit::recording::sessions(deck.folder.path()).unwrap().remove(0);
    let session = jamulet_testkit::recording::Session::read(&folder).unwrap();
    assert_eq!(session.items[0].track, "Ann_-203_0_0_x_22000");
}

#[test]
fn who_cannot_be_told_apart_gets_a_number() {
    let mut deck = Deck::recording();
    for channel in 0..3 {
        // Only the hidden part differs.
        deck.join_from(channel, ([198, 51, 100, channel], 22_134).into(), "", Layout::Mono);
    }
    deck.run(10);
    let session = deck.only_session();
    let names: Vec<&str> = session.items.iter().map(|item| item.file.as_str()).collect();
    assert_eq!(
        names,
        [
            "____-198_51_100_x_22134-0-1.wav",
            "____-198_51_100_x_22134-0-1_1.wav",
            "____-198_51_100_x_22134-0-1_2.wav"
        ]
    );
}

#[test]
fn hostile_names_stay_within_the_folder_and_the_project() {
    let names = [
        "../../../../up",
        "/etc/passwd",
        "C:\\nul",
        "a\"\n  >\n>\n<X",
        "\u{0}\u{7}\u{1b}",
        "mixdown.wav",
        "..",
        "\u{202e}gpj.exe",
        "e\u{301}\u{200b}",
        "😀😀😀",
    ];
    let mut deck = Deck::recording();
    for (channel, name) in names.iter().enumerate() {
        deck.join(channel as u8, name, Layout::Mono);
    }
    deck.run(10);
    for (channel, name) in names.iter().enumerate() {
        // Renamed to something hostile, too.
        deck.tap.rename(ChannelId(channel as u8), &format!("{name}'`"));
    }
    deck.run(10);
    let folder = deck.folder.path().to_owned();
    let session = deck.only_session();
    assert_eq!(session.items.len(), names.len());
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "nothing beside the session's folder");
    for item in &session.items {
        let is_harmless = |text: &str| text.chars().all(|c| c.is_alphanumeric() || "_-. ()".contains(c));
        assert!(is_harmless(&item.track) && is_harmless(&item.name), "{item:?}");
        assert!(item.file.is_ascii() && is_harmless(&item.file) && !item.file.contains(".."), "{item:?}");
    }
}
