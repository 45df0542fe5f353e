//! The window without a window system: what each state says, that nothing is cut off or on top of
//! something else, that a hand and a keyboard reach everything.
#![cfg(feature = "plugin")]

use egui::{Event, Modifiers, PointerButton, Pos2, Rect, Shape, vec2};
use jamulet::client::{
    Alignment, ConnectionState, Delay, Failure, HostActivity, MeterReading, Move, Snapshot, Stats, Strip,
};
use jamulet::plugin::params::{Levels, OutputChoice};
use jamulet::plugin::state::SavedState;
use jamulet::plugin::view::{Action, Level, Model, View, theme};
use jamulet::protocol::{ChannelInfo, ClientEntry, RecorderState, Skill};
use jamulet::units::{BufferSize, ChannelId, FrameSize, Layout, Quality, StreamFormat};

/// A window of some size on a screen of some scale, with what it shows.
struct Desk {
    ctx: egui::Context,
    view: View,
    size: egui::Vec2,
    scale: f32,
    time_s: f64,
    snapshot: Snapshot,
    saved: SavedState,
    levels: Levels,
    output: Option<OutputChoice>,
    meters: MeterReading,
    fault: Option<&'static str>,
    modifiers: Modifiers,
}

/// What one frame drew.
struct Seen {
    texts: Vec<Text>,
    /// Faders and the like, by name.
    controls: Vec<(String, Rect)>,
    actions: Vec<Action>,
    moving: bool,
}

/// A text on the screen.
#[derive(Debug)]
struct Text {
    text: String,
    rect: Rect,
    clip: Rect,
}

impl Desk {
    fn new(width: f32, height: f32) -> Self {
        let ctx = egui::Context::default();
        theme::apply(&ctx);
        ctx.enable_accesskit();
        let mut saved = SavedState::default();
        saved.settings.profile.name = "Ann".to_owned();
        Self {
            ctx,
            view: View::new(&saved),
            size: vec2(width, height),
            scale: 1.0,
            time_s: 0.0,
            snapshot: Snapshot::default(),
            saved,
            levels: Levels::default(),
            output: Some(OutputChoice::Mix),
            meters: MeterReading::default(),
            fault: None,
            modifiers: Modifiers::NONE,
        }
    }

    fn with(mut self, snapshot: Snapshot) -> Self {
        self.snapshot = snapshot;
        self
    }

    fn frame(&mut self, events: Vec<Event>) -> Seen {
        self.time_s += 1.0 / 30.0;
        let mut input = egui::RawInput {
            screen_rect: Some(Rect::from_min_size(Pos2::ZERO, self.size)),
            time: Some(self.time_s),
            events,
            modifiers: self.modifiers,
            ..egui::RawInput::default()
        };
        input.viewports.entry(egui::ViewportId::ROOT).or_default().native_pixels_per_point = Some(self.scale);
        let mut drawn = None;
        let model = Model {
            snapshot: &self.snapshot,
            saved: &self.saved,
            levels: self.levels,
            output: self.output,
            meters: self.meters,
            fault: self.fault,
        };
        let output = self.ctx.run_ui(input, |ui| drawn = Some(self.view.ui(ui, &model)));
        let mut texts = Vec::new();
        output.shapes.iter().for_each(|clipped| collect(&clipped.shape, clipped.clip_rect, &mut texts));
        let nodes = output.platform_output.accesskit_update.iter().flat_map(|update| &update.nodes);
        let controls = nodes.filter_map(|(_, node)| {
            let (name, bounds) = (node.label()?.to_owned(), node.bounds()?);
            let corner = |x: f64, y: f64| Pos2::new(x as f32, y as f32);
            Some((name, Rect::from_min_max(corner(bounds.x0, bounds.y0), corner(bounds.x1, bounds.y1))))
        });
        let controls = controls.collect();
        output.drop_without_applying_deltas();
        let drawn = drawn.expect("a frame");
        for action in &drawn.actions {
            match action {
                Action::Join(address) | Action::Address(address) => self.saved.address.clone_from(address),
                Action::Settings(settings) => self.saved.settings.clone_from(settings),
                Action::MuteMe(mute) => self.levels.mute_me = *mute,
                Action::Output(output) => self.output = Some(*output),
                _ => {}
            }
        }
        Seen { texts, controls, actions: drawn.actions, moving: drawn.moving }
    }

    /// A frame after everything has found its place.
    fn look(&mut self) -> Seen {
        (0..3).for_each(|_| drop(self.frame(Vec::new())));
        self.frame(Vec::new())
    }

    /// Clicks on the text `label` and returns what came of it.
    fn click(&mut self, label: &str) -> Vec<Action> {
        let seen = self.look();
        let text = seen.texts.iter().find(|text| text.text == label);
        let position = text.unwrap_or_else(|| panic!("no {label:?} in {:?}", seen.words())).rect.center();
        self.click_at(position)
    }

    fn click_at(&mut self, pos: Pos2) -> Vec<Action> {
        let button = |pressed| Event::PointerButton {
            pos,
            button: PointerButton::Primary,
            pressed,
            modifiers: Modifiers::NONE,
        };
        let mut actions = self.frame(vec![Event::PointerMoved(pos)]).actions;
        actions.extend(self.frame(vec![button(true)]).actions);
        actions.extend(self.frame(vec![button(false)]).actions);
        self.frame(vec![Event::PointerGone]);
        actions
    }

    /// Takes hold of what is at `from`, and lets go of it `by` further on; what it ended with.
    fn drag(&mut self, from: Pos2, by: egui::Vec2, modifiers: Modifiers) -> Vec<Action> {
        let button = |pos, pressed| Event::PointerButton { pos, button: PointerButton::Primary, pressed, modifiers };
        self.modifiers = modifiers;
        self.frame(vec![Event::PointerMoved(from)]);
        self.frame(vec![button(from, true)]);
        let mut actions = Vec::new();
        for step in 1..=4 {
            let at = from + by * (step as f32 / 4.0);
            actions.extend(self.frame(vec![Event::PointerMoved(at)]).actions);
        }
        actions.extend(self.frame(vec![button(from + by, false)]).actions);
        self.modifiers = Modifiers::NONE;
        self.frame(vec![Event::PointerGone]);
        actions.split_off(actions.len().saturating_sub(1))
    }

    fn key(&mut self, key: egui::Key) -> Vec<Action> {
        let event = |pressed| Event::Key {
            key,
            physical_key: None,
            pressed,
            repeat: false,
            modifiers: Modifiers::NONE,
        };
        let mut actions = self.frame(vec![event(true)]).actions;
        actions.extend(self.frame(vec![event(false)]).actions);
        actions
    }

    fn type_text(&mut self, text: &str) {
        self.frame(vec![Event::Text(text.to_owned())]);
    }
}

impl Seen {
    fn words(&self) -> Vec<&str> {
        self.texts.iter().map(|text| text.text.as_str()).collect()
    }

    fn says(&self, part: &str) -> bool {
        self.texts.iter().any(|text| text.text.contains(part))
    }

    fn at(&self, text: &str) -> Rect {
        self.texts
            .iter()
            .find(|seen| seen.text == text)
            .unwrap_or_else(|| panic!("no {text:?}: {:?}", self.words()))
            .rect
    }

    /// No text is cut off, outside of the window, or on another one.
    fn assert_tidy(&self, window: egui::Vec2, what: &str) {
        let window = Rect::from_min_size(Pos2::ZERO, window);
        for (index, text) in self.texts.iter().enumerate() {
            // Glyph outlines may stand over by a fraction of a point.
            let room = text.clip.intersect(window).expand(1.0);
            assert!(room.contains_rect(text.rect), "{what}: cut off: {text:?}");
            for other in &self.texts[index + 1..] {
                let both = text.rect.shrink(1.5).intersect(other.rect.shrink(1.5));
                assert!(!both.is_positive(), "{what}: {text:?} is on {other:?}");
            }
        }
    }
}

fn collect(shape: &Shape, clip: Rect, texts: &mut Vec<Text>) {
    match shape {
        Shape::Vec(shapes) => shapes.iter().for_each(|shape| collect(shape, clip, texts)),
        Shape::Text(text) if !text.galley.text().trim().is_empty() => {
            let rect = text.galley.mesh_bounds.translate(text.pos.to_vec2());
            texts.push(Text { text: shown(&text.galley), rect, clip });
        }
        _ => {}
    }
}

/// The text as it is drawn: elided where it is.
fn shown(galley: &egui::Galley) -> String {
    let rows = galley.rows.iter().map(|row| row.glyphs.iter().map(|glyph| glyph.chr).collect::<String>());
    rows.collect::<Vec<_>>().join(" ").trim().to_owned()
}

const SERVER: &str = "192.0.2.7:22124";

fn connected() -> Snapshot {
    let person = |channel, name: &str, instrument, country, city: &str| ClientEntry {
        channel: ChannelId(channel),
        info: ChannelInfo { country, instrument, skill: Skill::EXPERT, name: name.into(), city: city.into() },
    };
    Snapshot {
        state: ConnectionState::Connected { server: SERVER.parse().expect("address"), channel: ChannelId(1) },
        address: "jam.example.org".into(),
        clients: vec![
            person(0, "Kofi", 2, 83, "Accra"),
            person(1, "Ann", 8, 74, "Lyon"),
            person(4, "Maximiliane-Luise", 38, 179, "Llanfairpwllgwyngyll"),
        ],
        levels: vec![5, 7, 9],
        strips: [0, 1, 4].map(|channel| Strip::new(ChannelId(channel))).into(),
        muted_by: vec![ChannelId(4)],
        chat: vec![r#"<font color="red">(08:02:11 PM) <b>Kofi</b></font> loud &amp; <b>clear</b>"#.into()],
        welcome: Some("<b>Friday band</b>, 20:00.<br>Wear headphones.".into()),
        recorder: RecorderState::Recording,
        server_version: Some("3.9.1".into()),
        ping_ms: Some(14.4),
        delay: Some(Delay {
            host_ms: 5.3,
            resampling_ms: 0.7,
            framing_ms: 2.7,
            pacing_ms: 0.0,
            codec_ms: 5.3,
            network_ms: 14.4,
            my_buffer_ms: 4.4,
            server_buffer_ms: 6.7,
            jamulus_ms: 31.2,
        }),
        format: Some(StreamFormat::stock(FrameSize::Samples128, Layout::Stereo, Quality::Normal)),
        alignment: Alignment::Exact(22.71),
        client_buffer_frames: 3,
        server_buffer_frames: Some(4),
        stats: Stats { lost: 12, late: 2, ..Stats::default() },
        upstream_kbps: 486.4,
        ..Snapshot::default()
    }
}

fn state(state: ConnectionState) -> Snapshot {
    Snapshot { state, address: "jam.example.org".into(), ..Snapshot::default() }
}

/// Every state that the window can be in, by name.
fn states() -> Vec<(&'static str, Snapshot)> {
    let server = SERVER.parse().expect("address");
    let mut licence = connected();
    licence.licence_required = true;
    let mut idle_host = connected();
    idle_host.host = HostActivity::Stopped;
    let mut rendering = connected();
    rendering.host = HostActivity::Rendering;
    let mut bursts = connected();
    bursts.host = HostActivity::Bursts;
    vec![
        ("empty", Snapshot::default()),
        ("resolving", state(ConnectionState::Resolving)),
        ("connecting", state(ConnectionState::Connecting { server })),
        ("no answer", state(ConnectionState::Failed(Failure::NoAnswer { server }))),
        ("lost", state(ConnectionState::Waiting(Failure::TimedOut { server }))),
        ("full", state(ConnectionState::Failed(Failure::ServerFull { server }))),
        ("connected", connected()),
        ("licence", licence),
        ("host idle", idle_host),
        ("rendering", rendering),
        ("bursts", bursts),
        ("feedback", Snapshot { feedback: true, ..connected() }),
    ]
}

#[test]
fn every_state_is_tidy_at_every_size_and_scale() {
    for (name, snapshot) in states() {
        for (width, height) in [(960.0, 600.0), (1400.0, 900.0), (759.0, 600.0), (600.0, 420.0)] {
            for scale in [1.0, 1.5, 2.0] {
                let mut desk = Desk::new(width, height).with(snapshot.clone());
                desk.scale = scale;
                desk.saved.recents =
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
fn our_own_strip_comes_first() {
    let seen = Desk::new(960.0, 600.0).with(connected()).look();
    assert!(seen.at("Ann").left() < seen.at("Kofi").left());
}

/// The strip of this channel in [`connected`].
fn strip(desk: &mut Desk, channel: u8) -> &mut Strip {
    let strip = desk.snapshot.strips.iter_mut().find(|strip| strip.channel == ChannelId(channel));
    strip.expect("somebody is there")
}

/// Where a fader's or a pan's middle is, by what those hear who hear the window.
fn middle_of(desk: &mut Desk, name: &str) -> Pos2 {
    let seen = desk.look();
    let control = seen.controls.iter().find(|(label, _)| label == name);
    control.unwrap_or_else(|| panic!("no {name:?} in {:?}", seen.controls)).1.center()
}

#[test]
fn a_fader_is_dragged_finely_with_shift_and_reset_by_a_double_click() {
    let mut desk = Desk::new(960.0, 600.0).with(connected());
    strip(&mut desk, 0).fader = 50.0;
    let fader = middle_of(&mut desk, "Fader of Kofi");
    let moved = desk.drag(fader, vec2(0.0, -20.0), Modifiers::NONE);
    let [Action::Move(ChannelId(0), Move::Fader(coarse))] = moved[..] else { panic!("{moved:?}") };
    assert!((52.0..70.0).contains(&coarse), "{coarse}");
    let moved = desk.drag(fader, vec2(0.0, -20.0), Modifiers::SHIFT);
    let [Action::MoveAlone(ChannelId(0), fine)] = moved[..] else { panic!("{moved:?}") };
    assert!(((coarse - 50.0) / 10.0 - (fine - 50.0)).abs() < 0.1, "{coarse}, {fine}");
    let moved = desk.drag(fader, vec2(0.0, 2000.0), Modifiers::NONE);
    assert_eq!(moved, [Action::Move(ChannelId(0), Move::Fader(0.0))]);
    let pan = middle_of(&mut desk, "Pan of Kofi");
    strip(&mut desk, 0).pan = 0.1;
    for (position, reset) in [(fader, Move::Fader(100.0)), (pan, Move::Pan(0.5))] {
        desk.click_at(position);
        let actions = desk.click_at(position);
        assert_eq!(actions.last(), Some(&Action::Move(ChannelId(0), reset)), "{actions:?}");
        // The next click is no third one.
        (0..30).for_each(|_| drop(desk.frame(Vec::new())));
    }
}

#[test]
fn keys_and_the_wheel_with_ctrl_step() {
    let mut desk = Desk::new(960.0, 600.0).with(connected());
    strip(&mut desk, 0).fader = 50.0;
    let fader = middle_of(&mut desk, "Fader of Kofi");
    let wheel = |modifiers| Event::MouseWheel {
        unit: egui::MouseWheelUnit::Line,
        delta: vec2(0.0, -1.0),
        phase: egui::TouchPhase::Move,
        modifiers,
    };
    desk.frame(vec![Event::PointerMoved(fader)]);
    assert_eq!(desk.frame(vec![wheel(Modifiers::NONE)]).actions, []);
    let stepped = desk.frame(vec![wheel(Modifiers::CTRL)]).actions;
    assert_eq!(stepped, [Action::Move(ChannelId(0), Move::Fader(49.0))]);
    desk.click_at(fader);
    for (key, expected) in [(egui::Key::ArrowUp, 51.0), (egui::Key::PageDown, 40.0), (egui::Key::Home, 0.0)] {
        assert_eq!(desk.key(key), [Action::Move(ChannelId(0), Move::Fader(expected))], "{key:?}");
    }
}

#[test]
fn mute_solo_and_group_are_pressed_and_who_is_silent_is_seen() {
    let mut desk = Desk::new(960.0, 600.0).with(connected());
    // Our own strip is the first: its buttons come first.
    assert_eq!(desk.click("M"), [Action::Move(ChannelId(1), Move::Mute(true))]);
    assert_eq!(desk.click("S"), [Action::Move(ChannelId(1), Move::Solo(true))]);
    desk.click("–");
    assert_eq!(desk.click("Group 3"), [Action::Group(ChannelId(1), Some(3))]);
    strip(&mut desk, 1).group = Some(3);
    strip(&mut desk, 0).fader = 0.0;
    let seen = desk.look();
    assert!(seen.says("3") && seen.says("off") && seen.says("0.0 dB"), "{:?}", seen.words());
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
    desk.saved.recents = vec!["old.example.org".into()];
    assert_eq!(desk.click("old.example.org"), [Action::Join("old.example.org".into())]);
    assert_eq!(desk.click("×"), [Action::Forget("old.example.org".into())]);
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
