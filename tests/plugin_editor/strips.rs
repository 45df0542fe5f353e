//! Participants' strips: faders, pans and buttons.

use egui::{Event, Modifiers, Pos2, vec2};
use jamulet::client::{Move, Strip};
use jamulet::plugin::view::Action;
use jamulet::units::ChannelId;

use super::desk::{Desk, connected};

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
        source: egui::MouseWheelSource::Wheel,
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
