//! Finding a session: the list of servers.

use std::sync::Arc;

use egui::{Event, Pos2};
use jamulet::client::{ConnectionState, Found, ListState, PUBLIC_DIRECTORIES, Search, ServerFacts};
use jamulet::plugin::user_file::Change;
use jamulet::plugin::view::{Action, Looking};
use jamulet::protocol::{ChannelInfo, ClientEntry, cut_to_utf16};
use jamulet::units::ChannelId;

use super::desk::{Desk, Seen, connected, state};

fn server(number: u8, name: &str, city: &str, ping_ms: Option<f32>, people: &[&str]) -> ServerFacts {
    let person = |(channel, name): (usize, &&str)| ClientEntry {
        channel: ChannelId(channel as u8),
        info: ChannelInfo {
            instrument: 2,
            country: 82,
            name: (*name).into(),
            city: "Bonn".into(),
            ..ChannelInfo::default()
        },
    };
    ServerFacts {
        address: ([192, 0, 2, number], 22124).into(),
        listed: true,
        name: name.into(),
        city: city.into(),
        country: 82,
        max_clients: 10,
        permanent: true,
        ping_ms,
        clients: ping_ms.map(|_| people.len() as u8),
        people: people.iter().enumerate().map(person).collect(),
        version: Some("3.9.1".into()),
        welcome: None,
    }
}

fn found() -> Found {
    let mut jam = server(7, "Friday jam", "Bonn", Some(41.2), &["Ann", "Kofi"]);
    jam.welcome = Some("<b>Friday band</b>, every week.".into());
    let servers = vec![
        server(1, "Far away", "Wellington", Some(290.0), &[]),
        jam,
        server(9, "A rather long name.", "Llanfairpwllgwyngyll", Some(12.0), &[]),
        server(8, "Dead", "Nowhere", None, &[]),
    ];
    Found { search: Search::List(ListState::Complete), servers, places: Vec::new() }
}

/// A window with the list of a public directory.
fn listing(width: f32, height: f32) -> Desk {
    let mut desk = Desk::new(width, height);
    desk.user.directory = PUBLIC_DIRECTORIES[0].1.into();
    desk.click("Find a session…");
    desk.found = Some(Arc::new(found()));
    desk
}

/// Server names from top to bottom.
fn order(seen: &Seen) -> Vec<&str> {
    let names = ["Far away", "Friday jam", "A rather long name.", "Dead"];
    let mut rows: Vec<(f32, &str)> = seen
        .texts
        .iter()
        .filter_map(|text| names.iter().find(|name| **name == text.text).map(|name| (text.rect.top(), *name)))
        .collect();
    rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    rows.into_iter().map(|(_, name)| name).collect()
}

#[test]
fn servers_are_listed_with_ping_players_and_place_nearest_first() {
    for (width, height) in [(960.0, 600.0), (1400.0, 900.0), (700.0, 500.0)] {
        let mut desk = listing(width, height);
        let seen = desk.look();
        seen.assert_tidy(desk.size, "servers");
        assert_eq!(
            order(&seen),
            ["A rather long name.", "Friday jam", "Far away"],
            "who does not answer is left out"
        );
        assert!(seen.says("12 ms") && seen.says("2 / 10") && seen.says("Ann, Kofi"), "{:?}", seen.words());
        assert!(seen.says("3 servers, 1 with players, 1 without an answer"), "{:?}", seen.words());
    }
}

#[test]
fn the_list_is_sorted_and_filtered_and_does_not_move_under_the_pointer() {
    let mut desk = listing(960.0, 600.0);
    desk.click("server");
    assert_eq!(order(&desk.look()), ["A rather long name.", "Far away", "Friday jam"]);
    desk.click("players");
    assert_eq!(order(&desk.look())[0], "Friday jam");
    // The header tells a ping, too.
    let pings = desk.look().texts.into_iter().filter(|text| text.text == "ping").map(|text| text.rect);
    let head = pings.max_by(|a, b| a.top().total_cmp(&b.top())).expect("a column");
    desk.click_at(head.center());
    let row = desk.look().at("Friday jam").center();
    desk.frame(vec![Event::PointerMoved(row)]);
    let mut changed = found();
    changed.servers[0].ping_ms = Some(1.0);
    desk.found = Some(Arc::new(changed));
    (0..100).for_each(|_| drop(desk.frame(Vec::new())));
    assert_eq!(order(&desk.frame(Vec::new()))[2], "Far away", "pointed at");
    desk.frame(vec![Event::PointerGone]);
    (0..100).for_each(|_| drop(desk.frame(Vec::new())));
    assert_eq!(order(&desk.frame(Vec::new()))[0], "Far away");

    let filter = desk.look().at("filter; # for occupied ones").center();
    desk.click_at(filter);
    desk.type_text("#");
    assert_eq!(order(&desk.look()), ["Friday jam"]);
    desk.type_text("nobody");
    assert_eq!(order(&desk.look()), Vec::<&str>::new());
    (0..7).for_each(|_| drop(desk.key(egui::Key::Backspace)));
    desk.type_text("kofi");
    assert_eq!(order(&desk.look()), ["Friday jam"]);
}

#[test]
fn a_server_is_looked_at_kept_and_joined() {
    let mut desk = listing(960.0, 600.0);
    desk.click("Friday jam");
    let seen = desk.look();
    seen.assert_tidy(desk.size, "details");
    let jam = "192.0.2.7:22124";
    assert_eq!(seen.looking.as_ref().and_then(|looking| looking.examined), Some(jam.parse().unwrap()));
    assert!(seen.says("version 3.9.1") && seen.says("Friday band, every week."), "{:?}", seen.words());
    assert_eq!(desk.click("Keep"), [Action::User(Change::Favour(jam.into()))]);
    assert_eq!(desk.click("Favourite"), [Action::User(Change::Disfavour(jam.into()))]);
    // The header has a Join of its own: the lower one is meant.
    let joins = desk.look().texts.into_iter().filter(|text| text.text == "Join").map(|text| text.rect);
    let lower = joins.max_by(|a, b| a.top().total_cmp(&b.top())).expect("a button");
    assert_eq!(desk.click_at(lower.center()), [Action::Join(jam.into())]);
    assert!(desk.look().says("Join a session"), "the page is closed");
}

#[test]
fn directories_are_chosen_added_and_removed() {
    let mut desk = listing(960.0, 600.0);
    let looking = |desk: &mut Desk| desk.look().looking.expect("it looks");
    assert_eq!(looking(&mut desk).directory.as_deref(), Some(PUBLIC_DIRECTORIES[0].1));
    desk.click("Any genre 1");
    assert_eq!(desk.click("Jazz"), [Action::User(Change::LookInto("jazz.jamulus.app:22324".into()))]);
    let afresh = looking(&mut desk).afresh;
    desk.click("Refresh");
    assert_eq!(looking(&mut desk).afresh, afresh + 1);
    desk.click("Jazz");
    desk.click("Add a directory…");
    let field = desk.look().at("directory address, such as dir.example.org:22124").center();
    desk.click_at(field);
    desk.type_text("dir.example.org:5");
    assert_eq!(desk.key(egui::Key::Enter), [Action::User(Change::AddDirectory("dir.example.org:5".into()))]);
    assert_eq!(looking(&mut desk).directory.as_deref(), Some("dir.example.org:5"));
    desk.click("dir.example.org:5");
    let removed = Change::RemoveDirectory("dir.example.org:5".into());
    assert_eq!(desk.click("Remove this directory"), [Action::User(removed)]);
    assert_eq!(looking(&mut desk).directory, None);
    desk.click("Close");
    assert_eq!(desk.look().looking, None, "nobody wants to know");
}

#[test]
fn failures_of_the_search_are_told_with_a_remedy() {
    for (search, words) in [
        (Search::LookingUp, "looking up"),
        (Search::NoAddress, "was not found"),
        (Search::List(ListState::Asked), "asking the directory"),
        (Search::List(ListState::Silent), "try another"),
        (Search::List(ListState::Reduced), "short list"),
        (Search::Failed("No socket: close programs.".into()), "No socket"),
    ] {
        let mut desk = listing(960.0, 600.0);
        desk.found = Some(Arc::new(Found { search, ..Found::default() }));
        let seen = desk.look();
        seen.assert_tidy(desk.size, words);
        assert!(seen.says(words), "{words:?} in {:?}", seen.words());
    }
}

#[test]
fn ones_own_servers_are_pinged_on_the_way_in_and_listed() {
    let mut desk = Desk::new(960.0, 600.0);
    assert_eq!(desk.look().looking, None);
    desk.user.recents = vec!["old.example.org".into()];
    desk.user.favourites = vec!["best.example.org".into()];
    let watched = |names: &[&str]| Looking {
        watched: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Looking::default()
    };
    assert_eq!(desk.look().looking, Some(watched(&["old.example.org"])));
    let old = ServerFacts { listed: false, name: String::new(), ..server(3, "", "", Some(17.0), &["Ann"]) };
    let places = vec![("old.example.org".to_owned(), old.address)];
    desk.found = Some(Arc::new(Found { servers: vec![old], places, ..Found::default() }));
    let seen = desk.look();
    seen.assert_tidy(desk.size, "recents");
    assert!(seen.says("17 ms") && seen.says("1 here"), "{:?}", seen.words());
    desk.click("Find a session…");
    let seen = desk.look();
    assert_eq!(seen.looking, Some(watched(&["best.example.org", "old.example.org"])));
    assert!(seen.says("best.example.org") && seen.says("old.example.org"), "{:?}", seen.words());
    desk.snapshot = state(ConnectionState::Resolving);
    desk.click("Close");
    assert_eq!(desk.look().looking, None, "on the way in");
}

#[test]
fn servers_are_looked_for_while_playing_and_hostile_ones_are_shown_harmlessly() {
    let mut desk = Desk::new(960.0, 600.0).with(connected());
    desk.user.directory = PUBLIC_DIRECTORIES[0].1.into();
    desk.click("Servers");
    let hostile = |units| cut_to_utf16(&"\u{202E}<b>&#x202e;\u{7}🎷".repeat(9), units).to_owned();
    let (name, person) = (hostile(20), hostile(16));
    let servers = (0..250).map(|number| ServerFacts {
        ping_ms: Some(f32::NAN),
        clients: Some(255),
        country: u16::MAX,
        welcome: Some("<".repeat(20_000)),
        version: Some(hostile(50)),
        ..server(number, &name, &name, None, &[person.as_str(); 10])
    });
    let all = Found { servers: servers.collect(), ..found() };
    desk.found = Some(Arc::new(all));
    let seen = desk.look();
    seen.assert_tidy_but_below(desk.size, "hostile", &[554.0]);
    assert!(!seen.says("\u{202E}"));
    desk.click_at(Pos2::new(400.0, 300.0));
    desk.look().assert_tidy_but_below(desk.size, "hostile details", &[398.0, 544.0]);
}
