//! The window without a window system: what each state says, that nothing is cut off or on top of
//! something else, that a hand and a keyboard reach everything.
#![cfg(feature = "plugin")]

mod desk;
mod servers;
mod strips;

use desk::{Desk, Seen, connected, state, states};
use egui::{Event, Pos2, Rect, vec2};
use jamulet::client::{Alignment, ConnectionState, Delay, MeterReading, Snapshot};
use jamulet::plugin::params::OutputChoice;
use jamulet::plugin::user_file::Change;
use jamulet::plugin::view::{Action, Level, View};
use jamulet::protocol::{ChannelInfo, ClientEntry};
use jamulet::units::{BufferSize, ChannelId, Quality};

#[test]
fn every_state_is_tidy_at_every_size_and_scale() {
    for (name, snapshot) in states() {
        for (width, height) in [(960.0, 600.0), (1400.0, 900.0), (759.0, 600.0), (600.0, 420.0)] {
            for scale in [1.0, 1.5, 2.0] {
                let mut desk = Desk::new(width, height).with(snapshot.clone());
                desk.scale = scale;
                desk.user.recents =
                    vec!["jam.example.org".into(), "a-rather-long-name.of-a.server.example.com:22999".into()];
                let what = format!("{name} {width}×{height} @{scale}");
                desk.look().assert_tidy(desk.size, &what);
            }
        }
    }
}

#[test]
fn every_page_of_the_side_panel_is_tidy() {
    for page in ["Chat", "Network", "Me"] {
        for snapshot in [Snapshot::default(), connected()] {
            let mut desk = Desk::new(960.0, 1100.0).with(snapshot);
            desk.click(page);
            desk.look().assert_tidy(desk.size, page);
        }
    }
}

#[test]
fn states_are_told_in_words() {
    let see = |snapshot: &Snapshot| Desk::new(960.0, 600.0).with(snapshot.clone()).look();
    let states = states();
    let find = |wanted| see(&states.iter().find(|(name, _)| *name == wanted).expect("a state").1);
    assert!(find("empty").says("not connected") && find("empty").says("Join a session"));
    assert!(find("resolving").says("looking up the address"));
    assert!(find("connecting").says("connecting to 192.0.2.7:22124"));
    assert!(find("connecting").words().contains(&"Cancel"));
    let no_answer = find("no answer");
    assert!(no_answer.says("No answer from 192.0.2.7:22124 within 5 s"), "{:?}", no_answer.words());
    assert!(no_answer.says("firewall"));
    assert!(find("lost").says("trying again") && find("lost").words().contains(&"Stop trying"));
    assert!(find("full").says("is full"));
    let seen = find("connected");
    for part in [
        "jam.example.org",
        "connected as channel 1",
        "3 here",
        "3.9.1",
        "14 ms",
        "40 ms",
        "Kofi",
        "Djembe",
        "GH · Accra",
        "you",
        "mutes you",
        "server is recording",
        "48 kHz · 128 · stereo · normal",
        "buffersauto 3 / 4",
        "lost12",
        "late2",
        "486 kbit/s",
        "Friday band, 20:00.",
        "loud & clear",
        "Leave",
    ] {
        assert!(seen.says(part), "no {part:?} in {:?}", seen.words());
    }
    assert!(!seen.says("<"), "markup is shown");
    assert!(find("licence").words().contains(&"Accept"));
    assert!(find("host idle").says("host is not running this plugin"));
    assert!(find("rendering").says("host is rendering"));
    assert!(find("bursts").says("anticipative FX"));
}

#[test]
fn feedback_is_said_and_ended_here() {
    for size in [(960.0, 600.0), (600.0, 420.0)] {
        let mut desk = Desk::new(size.0, size.1).with(Snapshot { feedback: true, ..connected() });
        let seen = desk.look();
        seen.assert_tidy(desk.size, "feedback");
        assert!(seen.says("Jamulet hears itself"), "{:?}", seen.words());
        assert_eq!(desk.click("Send again"), [Action::SendAgain]);
    }
}

#[test]
fn a_bypass_is_said_and_ended_here() {
    for size in [(960.0, 600.0), (600.0, 420.0)] {
        let mut desk = Desk::new(size.0, size.1).with(connected());
        desk.levels.bypass = true;
        let seen = desk.look();
        seen.assert_tidy(desk.size, "bypassed");
        assert!(seen.says("Bypassed: you hear only your own track"), "{:?}", seen.words());
        assert_eq!(desk.click("Bypassed"), [Action::EndBypass]);
    }
}

#[test]
fn numbers_that_change_move_nothing() {
    let mut desk = Desk::new(960.0, 600.0).with(connected());
    let before = desk.look();
    (desk.snapshot.ping_ms, desk.snapshot.delay) =
        (Some(7.0), Some(Delay { network_ms: 128.0, ..Delay::default() }));
    desk.snapshot.server_version = Some("3.11.0".into());
    let after = desk.look();
    for still in ["jam.example.org", "Leave", "ping", "delay", "Ann", "Chat", "Mute me"] {
        assert_eq!(before.at(still), after.at(still), "{still}");
    }
    // Flush right: the end of a number stays where it is.
    assert!((before.at("14 ms").right() - after.at("7 ms").right()).abs() < 1.0);
}

#[test]
fn a_server_is_joined_by_typing_by_recents_and_left_by_the_button() {
    let mut desk = Desk::new(960.0, 600.0);
    assert_eq!(desk.click("Join"), [], "no address yet");
    let hint =
        desk.look().texts.into_iter().find(|text| text.text.starts_with("server address")).expect("a field");
    desk.click_at(hint.rect.center());
    desk.type_text("jam.example.org ");
    assert_eq!(desk.key(egui::Key::Enter), [Action::Join("jam.example.org".into())]);
    desk.user.recents = vec!["old.example.org".into()];
    assert_eq!(desk.click("old.example.org"), [Action::Join("old.example.org".into())]);
    assert_eq!(desk.click("×"), [Action::User(Change::Forget("old.example.org".into()))]);
    desk.snapshot = state(ConnectionState::Resolving);
    assert_eq!(desk.click("Cancel"), [Action::Leave]);
    desk.snapshot = connected();
    assert_eq!(desk.click("Leave"), [Action::Leave]);
}

#[test]
fn settings_and_levels_are_changed_by_hand() {
    let mut desk = Desk::new(960.0, 600.0);
    assert_eq!(desk.click("Mute me"), [Action::MuteMe(true)]);
    assert_eq!(desk.click("Muted"), [Action::MuteMe(false)]);
    desk.click("Network");
    let Some(Action::Settings(settings)) = desk.click("High").pop() else { panic!("no settings") };
    assert_eq!(settings.stream.quality, Quality::High);
    assert_eq!(settings.buffers.client, BufferSize::Auto);
    let Some(Action::Settings(settings)) = desk.click("64").pop() else { panic!("no settings") };
    assert_eq!(settings.stream.quality, Quality::High, "one choice keeps the other");
    // The send level's rail lies below its name.
    let rail = desk.look().at("send").center() + vec2(60.0, 20.0);
    let actions = desk.click_at(rail);
    assert_eq!(actions.first(), Some(&Action::BeginLevel(Level::Send)), "{actions:?}");
    assert!(matches!(actions[1], Action::SetLevel(Level::Send, db) if (-60.0..=12.0).contains(&db)));
    assert_eq!(actions.last(), Some(&Action::EndLevel(Level::Send)));
}

#[test]
fn the_delay_is_explained_where_it_stands_and_on_the_network_page() {
    let parts = [
        "host's block, in and out",
        "filling a frame",
        "codec, both ways",
        "network, both ways",
        "server's buffer",
        "my buffer",
        "together",
    ];
    let mut desk = Desk::new(960.0, 1100.0).with(connected());
    let number = desk.look().at("40 ms").center();
    // A tooltip comes once the pointer has rested.
    (0..60).for_each(|_| drop(desk.frame(vec![Event::PointerMoved(number)])));
    (0..60).for_each(|_| drop(desk.frame(Vec::new())));
    let tooltip = desk.frame(Vec::new());
    desk.frame(vec![Event::PointerGone]);
    desk.click("Network");
    let page = desk.look();
    for seen in [&tooltip, &page] {
        parts.iter().for_each(|part| assert!(seen.says(part), "no {part:?} in {:?}", seen.words()));
        assert!(seen.says("39.5 ms") && seen.says("sound card") && seen.says("estimate 31 ms"));
    }
    desk.snapshot.delay = None;
    assert!(!desk.look().says("together"), "nothing is measured, nothing is told");
}

#[test]
fn the_network_page_tells_how_late_we_come_back_and_how_sure_that_is() {
    let mut desk = Desk::new(960.0, 1200.0).with(connected());
    desk.click("Network");
    let seen = desk.look();
    assert!(seen.says("me, aligned") && seen.says("22.7 ms (exact)") && !seen.says("grew while rolling"));
    desk.snapshot.alignment = Alignment::Estimated(24.0);
    desk.snapshot.alignment_grown = 3;
    let seen = desk.look();
    seen.assert_tidy(desk.size, "an estimate");
    assert!(seen.says("24.0 ms (estimated)") && seen.says("grew while rolling") && seen.says("3 ×"));
    desk.snapshot.alignment = Alignment::Unknown;
    assert!(desk.look().says("not known yet"));
    desk.snapshot.state = ConnectionState::Idle;
    assert!(!desk.look().says("me, aligned"), "nothing comes back");
}

#[test]
fn what_the_output_holds_is_chosen_unless_there_is_one_for_each() {
    for (width, height) in [(960.0, 600.0), (600.0, 420.0)] {
        let mut desk = Desk::new(width, height).with(connected());
        let choices = [
            (OutputChoice::Others, "Others only"),
            (OutputChoice::OthersAndDry, "Others + dry"),
            (OutputChoice::Aligned, "Me, aligned"),
            (OutputChoice::Mix, "Full mix"),
        ];
        let mut shown = "Full mix";
        for (choice, name) in choices {
            assert_eq!(desk.click(shown), [], "opens the list");
            assert_eq!(desk.click(name), [Action::Output(choice)]);
            let seen = desk.look();
            seen.assert_tidy(desk.size, name);
            let chosen = choices.iter().filter(|(_, name)| seen.words().contains(name));
            assert_eq!(chosen.count(), 1, "the list is closed: {:?}", seen.words());
            shown = name;
        }
        desk.output = None;
        let seen = desk.look();
        seen.assert_tidy(desk.size, "Multi-Out");
        assert!(!seen.words().contains(&"output") && !seen.says("Full mix"));
    }
}

#[test]
fn the_safety_slider_goes_from_tight_to_safe_and_rests_while_the_size_is_fixed() {
    let mut desk = Desk::new(960.0, 1100.0).with(connected());
    desk.click("Network");
    let seen = desk.look();
    let (tight, safe) = (seen.at("tight"), seen.at("safe"));
    let beside = |x: f32| Pos2::new(x, tight.center().y);
    let chosen = |actions: Vec<Action>| match actions.last() {
        Some(Action::Settings(settings)) => Some(settings.buffers.safety.percent()),
        _ => None,
    };
    assert_eq!(chosen(desk.click_at(beside(safe.left() - 12.0))), Some(100));
    assert_eq!(chosen(desk.click_at(beside(tight.right() + 12.0))), Some(0));
    let middle = chosen(desk.click_at(beside((tight.right() + safe.left()) / 2.0)));
    assert!(middle.is_some_and(|percent| (45..=55).contains(&percent)), "{middle:?}");
    desk.saved.settings.buffers.client = BufferSize::Frames(4);
    assert_eq!(chosen(desk.click_at(beside(safe.left() - 12.0))), None);
}

#[test]
fn a_profile_is_cut_to_its_limits_and_told_when_it_is_finished() {
    let mut desk = Desk::new(960.0, 700.0);
    desk.saved.settings.profile.name.clear();
    desk.view = View::new(&desk.saved);
    let hint = desk.look().at("your name").center();
    assert_eq!(desk.click_at(hint), []);
    desk.type_text("A name that is far too long");
    let Some(Action::Settings(settings)) = desk.key(egui::Key::Enter).pop() else { panic!("not told") };
    assert_eq!(settings.profile.name, "A name that is f");
}

#[test]
fn chat_is_written_and_unread_lines_are_counted() {
    let mut desk = Desk::new(960.0, 600.0).with(connected());
    let hint = desk.look().at("Write to everyone…").center();
    desk.click_at(hint);
    desk.type_text("hello");
    assert_eq!(desk.key(egui::Key::Enter), [Action::Say("hello".into())]);
    desk.type_text("again");
    assert_eq!(desk.key(egui::Key::Enter), [Action::Say("again".into())], "the field keeps the focus");
    desk.click("Network");
    desk.snapshot.chat.push("<b>news</b>".into());
    desk.snapshot.chat.push("<b>more</b>".into());
    desk.click("Chat (2)");
    assert!(desk.look().words().contains(&"Chat") && desk.look().says("news"));
}

#[test]
fn a_narrow_window_folds_the_side_panel_away_and_opens_it_on_demand() {
    let mut desk = Desk::new(700.0, 600.0).with(connected());
    assert!(!desk.look().words().contains(&"Network"));
    desk.click("Panels");
    assert!(desk.look().words().contains(&"Network"));
    desk.click("Back");
    assert!(desk.look().words().contains(&"Kofi"));
}

#[test]
fn a_fault_is_told_and_nothing_hostile_breaks_the_window() {
    let mut desk = Desk::new(960.0, 600.0).with(connected());
    desk.fault = Some("Jamulet's sound stopped after an internal error.");
    assert!(desk.look().says("internal error"));
    desk.snapshot.levels = vec![255; 300];
    desk.snapshot.welcome = Some("<".repeat(20_000));
    desk.snapshot.chat = vec!["&".repeat(1800); 500];
    desk.snapshot.clients = (0..=255)
        .map(|channel| ClientEntry {
            channel: ChannelId(channel),
            info: ChannelInfo {
                country: 65_535,
                instrument: u32::MAX,
                name: "\u{202E}🎷".repeat(8),
                ..ChannelInfo::default()
            },
        })
        .collect();
    desk.snapshot.ping_ms = Some(f32::NAN);
    desk.snapshot.delay = Some(Delay { network_ms: f32::INFINITY, jamulus_ms: f32::NAN, ..Delay::default() });
    desk.snapshot.upstream_kbps = f32::MAX;
    desk.meters = MeterReading { send: [f32::NAN; 2], receive: [f32::INFINITY; 2] };
    desk.look();
    desk.size = vec2(1.0, 1.0);
    desk.look();
}

#[test]
fn frames_are_wanted_only_while_something_moves() {
    let mut desk = Desk::new(960.0, 600.0).with(connected());
    assert!(!desk.look().moving);
    desk.meters.send = [0.5; 2];
    assert!(desk.look().moving);
    desk.meters = MeterReading::default();
    (0..300).for_each(|_| drop(desk.frame(Vec::new())));
    assert!(!desk.look().moving);
}

#[test]
fn tab_reaches_every_control_in_reading_order() {
    let mut desk = Desk::new(960.0, 700.0).with(connected());
    desk.click("Network");
    let mut stops = Vec::new();
    for _ in 0..60 {
        desk.key(egui::Key::Tab);
        let Some(id) = desk.ctx.memory(|memory| memory.focused()) else { continue };
        if stops.contains(&id) {
            break;
        }
        stops.push(id);
    }
    let rects: Vec<_> =
        stops.iter().filter_map(|id| desk.ctx.read_response(*id)).map(|response| response.rect).collect();
    let reaches = |rects: &[Rect], seen: &Seen, label: &str| {
        rects.iter().any(|rect| rect.contains(seen.at(label).center()))
    };
    let seen = desk.look();
    for label in
        ["Leave", "Mute me", "Chat", "Network", "Me", "Low", "Max", "Mono", "Stereo", "Auto", "128", "100 %"]
    {
        assert!(reaches(&rects, &seen, label), "{label} is out of reach: {rects:?}");
    }
    let place =
        |label: &str| rects.iter().position(|rect| rect.contains(seen.at(label).center())).expect("reached");
    assert!(
        place("Leave") < place("Mute me")
            && place("Mute me") < place("Chat")
            && place("Low") < place("100 %")
    );
}
