//! A window without a window system, and what somebody who looks at it sees.

use std::sync::Arc;

use egui::{Event, Modifiers, PointerButton, Pos2, Rect, Shape, vec2};
use jamulet::client::{
    Alignment, ConnectionState, Delay, Failure, Found, HostActivity, MeterReading, Snapshot, Stats, Strip,
};
use jamulet::plugin::params::{Levels, OutputChoice};
use jamulet::plugin::state::SavedState;
use jamulet::plugin::user_file::UserData;
use jamulet::plugin::view::{Action, Looking, Model, View, theme};
use jamulet::protocol::{ChannelInfo, ClientEntry, RecorderState, Skill};
use jamulet::units::{ChannelId, FrameSize, Layout, Quality, StreamFormat};

/// A window of some size on a screen of some scale, with what it shows.
pub(crate) struct Desk {
    pub(crate) ctx: egui::Context,
    pub(crate) view: View,
    pub(crate) size: egui::Vec2,
    pub(crate) scale: f32,
    pub(crate) time_s: f64,
    pub(crate) snapshot: Snapshot,
    pub(crate) saved: SavedState,
    pub(crate) user: UserData,
    pub(crate) found: Option<Arc<Found>>,
    pub(crate) levels: Levels,
    pub(crate) output: Option<OutputChoice>,
    pub(crate) meters: MeterReading,
    pub(crate) fault: Option<&'static str>,
    pub(crate) modifiers: Modifiers,
}

/// What one frame drew.
pub(crate) struct Seen {
    pub(crate) texts: Vec<Text>,
    /// Faders and the like, by name.
    pub(crate) controls: Vec<(String, Rect)>,
    pub(crate) actions: Vec<Action>,
    pub(crate) moving: bool,
    pub(crate) looking: Option<Looking>,
    /// Characters that no font has: they are drawn as boxes.
    pub(crate) boxes: String,
}

/// A text on the screen.
#[derive(Debug)]
pub(crate) struct Text {
    pub(crate) text: String,
    pub(crate) rect: Rect,
    pub(crate) clip: Rect,
}

impl Desk {
    pub(crate) fn new(width: f32, height: f32) -> Self {
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
            user: UserData::default(),
            found: None,
            levels: Levels::default(),
            output: Some(OutputChoice::Mix),
            meters: MeterReading::default(),
            fault: None,
            modifiers: Modifiers::NONE,
        }
    }

    pub(crate) fn with(mut self, snapshot: Snapshot) -> Self {
        self.snapshot = snapshot;
        self
    }

    pub(crate) fn frame(&mut self, mut events: Vec<Event>) -> Seen {
        events.insert(0, Event::ModifiersChanged(self.modifiers));
        self.time_s += 1.0 / 30.0;
        let mut input = egui::RawInput {
            screen_rect: Some(Rect::from_min_size(Pos2::ZERO, self.size)),
            time: Some(self.time_s),
            events,
            ..egui::RawInput::default()
        };
        input.viewports.entry(egui::ViewportId::ROOT).or_default().native_pixels_per_point = Some(self.scale);
        let mut drawn = None;
        let model = Model {
            snapshot: &self.snapshot,
            saved: &self.saved,
            user: &self.user,
            found: self.found.as_ref(),
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
        let font = egui::FontId::proportional(14.0);
        let characters = texts.iter().flat_map(|text: &Text| text.text.chars());
        let boxes =
            self.ctx.fonts_mut(|fonts| characters.filter(|char| !fonts.has_glyph(&font, *char)).collect());
        output.drop_without_applying_deltas();
        let drawn = drawn.expect("a frame");
        for action in &drawn.actions {
            match action {
                Action::Join(address) | Action::Address(address) => self.saved.address.clone_from(address),
                Action::Settings(settings) => self.saved.settings.clone_from(settings),
                Action::MuteMe(mute) => self.levels.mute_me = *mute,
                Action::Output(output) => self.output = Some(*output),
                Action::User(change) => self.user.apply(change),
                _ => {}
            }
        }
        Seen { texts, controls, actions: drawn.actions, moving: drawn.moving, looking: drawn.looking, boxes }
    }

    /// A frame after everything has found its place.
    pub(crate) fn look(&mut self) -> Seen {
        (0..3).for_each(|_| drop(self.frame(Vec::new())));
        self.frame(Vec::new())
    }

    /// Clicks on the text `label` and returns what came of it.
    pub(crate) fn click(&mut self, label: &str) -> Vec<Action> {
        let seen = self.look();
        let text = seen.texts.iter().find(|text| text.text == label);
        let position = text.unwrap_or_else(|| panic!("no {label:?} in {:?}", seen.words())).rect.center();
        self.click_at(position)
    }

    pub(crate) fn click_at(&mut self, pos: Pos2) -> Vec<Action> {
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
    pub(crate) fn drag(&mut self, from: Pos2, by: egui::Vec2, modifiers: Modifiers) -> Vec<Action> {
        let button =
            |pos, pressed| Event::PointerButton { pos, button: PointerButton::Primary, pressed, modifiers };
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

    pub(crate) fn key(&mut self, key: egui::Key) -> Vec<Action> {
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

    pub(crate) fn type_text(&mut self, text: &str) {
        self.frame(vec![Event::Text(text.to_owned())]);
    }
}

impl Seen {
    pub(crate) fn words(&self) -> Vec<&str> {
        self.texts.iter().map(|text| text.text.as_str()).collect()
    }

    pub(crate) fn says(&self, part: &str) -> bool {
        self.texts.iter().any(|text| text.text.contains(part))
    }

    pub(crate) fn at(&self, text: &str) -> Rect {
        self.texts
            .iter()
            .find(|seen| seen.text == text)
            .unwrap_or_else(|| panic!("no {text:?}: {:?}", self.words()))
            .rect
    }

    /// No text is cut off, outside of the window, or on another one, and all of it has glyphs.
    pub(crate) fn assert_tidy(&self, window: egui::Vec2, what: &str) {
        assert_eq!(self.boxes, "", "{what}: drawn as boxes");
        self.assert_tidy_but_below(window, what, &[]);
    }

    /// The same, where lists end at `bottoms`, and rows of them in the middle of it.
    pub(crate) fn assert_tidy_but_below(&self, window: egui::Vec2, what: &str, bottoms: &[f32]) {
        let window = Rect::from_min_size(Pos2::ZERO, window);
        for (index, text) in self.texts.iter().enumerate() {
            // Glyph outlines may stand over by a fraction of a point.
            let room = text.clip.intersect(window).expand(1.0);
            let ends_the_list = bottoms.iter().any(|bottom| (room.bottom() - bottom).abs() < 3.0);
            let room = if ends_the_list { room.with_max_y(f32::INFINITY) } else { room };
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

pub(crate) const SERVER: &str = "192.0.2.7:22124";

pub(crate) fn connected() -> Snapshot {
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

pub(crate) fn state(state: ConnectionState) -> Snapshot {
    Snapshot { state, address: "jam.example.org".into(), ..Snapshot::default() }
}

/// Every state that the window can be in, by name.
pub(crate) fn states() -> Vec<(&'static str, Snapshot)> {
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
