//! The personal mix on the virtual clock: what a musician moves is what the server mixes, also after a loss.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use jamulet::client::{Move, Profile, Settings, Strip};
use jamulet::protocol::{Datagram, classify};
use jamulet::server::{Config, Core};
use jamulet::units::fader_gain;
use jamulet_testkit::netem::LinkConfig;
use jamulet_testkit::signal::{db, listen};
use jamulet_testkit::sim::{Blocks, Jam, Musician, SERVER};

const RATE_HZ: f64 = 48_000.0;
/// Id of the message that sets a gain (docs/PROTOCOL.md §2).
const CHANNEL_GAIN: u16 = 13;
/// Who plays what.
const PLAYERS: [(&str, f64); 3] = [("Ann", 440.0), ("Bob", 660.0), ("Cay", 990.0)];
const AMPLITUDE: f64 = 0.2;
/// The server fades newcomers in for three seconds.
const FADE: Duration = Duration::from_secs(4);
/// Long enough for messages, both buffers and the codec's memory.
const SETTLE: Duration = Duration::from_millis(1500);

fn link() -> LinkConfig {
    LinkConfig { delay: Duration::from_millis(10), ..LinkConfig::default() }
}

fn musician(index: usize) -> Musician {
    let (name, hz) = PLAYERS[index];
    let source = Box::new(move |sample: u64| {
        let turns = (hz * sample as f64 / RATE_HZ).fract();
        [(AMPLITUDE * (std::f64::consts::TAU * turns).sin()) as f32; 2]
    });
    let profile = Profile { name: name.to_owned(), ..Profile::default() };
    let settings = Settings { profile, ..Settings::default() };
    let address = ([192, 0, 2, 10 + index as u8], 50_000).into();
    let musician =
        Musician::new(address, settings, RATE_HZ, Blocks::Constant(128), source, link(), index as u64);
    musician.handle.connect(SERVER);
    musician
}

/// Everybody, joined one after the other.
fn jam() -> Jam {
    let mut jam = Jam::new(Config::default(), 1);
    for index in 0..PLAYERS.len() {
        jam.musicians.push(musician(index));
        jam.run(Duration::from_millis(500));
    }
    jam.run(FADE);
    jam
}

/// How Ann hears the three now, left and right, in dB relative to how they play.
fn heard(jam: &Jam) -> [[f64; 2]; 3] {
    let frequencies = PLAYERS.map(|(_, hz)| hz);
    let heard = jam.musicians[0].heard.each_ref().map(|channel| {
        let tail = &channel[channel.len() - (RATE_HZ / 2.0) as usize..];
        listen(tail, &frequencies, 0.05).amplitudes
    });
    std::array::from_fn(|index| [db(heard[0][index], AMPLITUDE), db(heard[1][index], AMPLITUDE)])
}

fn assert_heard(jam: &Jam, what: &str, expected: [[f64; 2]; 3]) {
    /// Below this somebody is silent: what is left is the codec's noise.
    const SILENT_DB: f64 = -42.0;
    let heard = heard(jam);
    for (heard, expected) in heard.iter().flatten().zip(expected.iter().flatten()) {
        let fits = if expected.is_finite() { (heard - expected).abs() < 0.5 } else { *heard < SILENT_DB };
        assert!(fits, "{what}: {heard:.1} dB, not {expected:.1}: {:?}", self::heard(jam));
    }
}

fn strip(jam: &Jam, name: &str) -> Strip {
    let snapshot = jam.musicians[0].handle.snapshot();
    let index = snapshot.clients.iter().position(|client| client.info.name == name).expect("is there");
    assert_eq!(snapshot.strips[index].channel, snapshot.clients[index].channel);
    snapshot.strips[index]
}

fn fader_db(fader: f32) -> f64 {
    db(f64::from(fader_gain(fader)), 1.0)
}

const SILENT: [f64; 2] = [f64::NEG_INFINITY; 2];
const UNITY: [f64; 2] = [0.0; 2];

#[test]
fn what_is_moved_is_what_is_heard() {
    let mut jam = jam();
    assert_heard(&jam, "at first", [UNITY; 3]);
    let handle = jam.musicians[0].handle.clone();
    let bob = strip(&jam, "Bob").channel;
    handle.move_strip(bob, Move::Fader(50.0));
    handle.move_strip(strip(&jam, "Cay").channel, Move::Pan(0.0));
    jam.run(SETTLE);
    let (half, left) = ([fader_db(50.0); 2], [0.0, f64::NEG_INFINITY]);
    assert_heard(&jam, "fader and pan", [UNITY, half, left]);
    assert_eq!((strip(&jam, "Bob").fader, strip(&jam, "Cay").pan), (50.0, 0.0));
    handle.move_strip(bob, Move::Solo(true));
    jam.run(SETTLE);
    assert_heard(&jam, "solo", [SILENT, half, SILENT]);
    handle.move_strip(bob, Move::Mute(true));
    handle.move_strip(bob, Move::Solo(false));
    jam.run(SETTLE);
    assert_heard(&jam, "mute", [UNITY, SILENT, left]);
}

#[test]
fn parameters_of_slots_move_whoever_is_there_and_nobody_later() {
    let mut jam = jam();
    let handle = jam.musicians[0].handle.clone();
    assert_eq!(
        (strip(&jam, "Ann").slot, strip(&jam, "Bob").slot, strip(&jam, "Cay").slot),
        (None, Some(0), Some(1))
    );
    handle.move_slot(0, Move::Fader(30.0));
    handle.move_slot(7, Move::Mute(true));
    jam.run(SETTLE);
    assert_heard(&jam, "slot 1", [UNITY, [fader_db(30.0); 2], UNITY]);
    // Bob leaves and comes back as he was heard: by name, not because of the parameter, which another may have by now.
    jam.musicians[1].handle.disconnect();
    jam.run(SETTLE);
    jam.musicians[1].handle.connect(SERVER);
    jam.run(FADE + SETTLE);
    assert_eq!((strip(&jam, "Bob").slot, strip(&jam, "Bob").fader), (Some(0), 30.0));
    assert_heard(&jam, "after coming back", [UNITY, [fader_db(30.0); 2], UNITY]);
    // What is moved while nobody is connected moves nobody afterwards.
    handle.disconnect();
    jam.run(SETTLE);
    handle.move_slot(0, Move::Fader(0.0));
    jam.run(SETTLE);
    handle.connect(SERVER);
    jam.run(FADE + SETTLE);
    assert_heard(&jam, "after a pause", [UNITY, [fader_db(30.0); 2], UNITY]);
}

/// An automated fader says something new at every block: the reliable channel carries a fraction of that.
#[test]
fn automation_in_motion_is_thinned_out_and_its_last_value_arrives() {
    let mut jam = jam();
    let handle = jam.musicians[0].handle.clone();
    let gains = Rc::new(Cell::new(0));
    let count = Rc::clone(&gains);
    jam.message_tap = Some(Box::new(move |_, _, datagram| {
        if matches!(classify(datagram), Datagram::Frame(frame) if frame.id == CHANNEL_GAIN) {
            count.set(count.get() + 1);
        }
    }));
    for step in 0..2000_u32 {
        for slot in 0..2 {
            handle.move_slot(slot, Move::Fader(100.0 - (step % 100) as f32));
        }
        jam.run(Duration::from_micros(2667));
    }
    let seconds = 2000.0 * 2667e-6;
    let told = f64::from(gains.get()) / seconds;
    // Two channels, every 50 ms each.
    assert!((10.0..=42.0).contains(&told), "{told:.0} gains a second");
    handle.move_slot(0, Move::Fader(40.0));
    handle.move_slot(1, Move::Fader(60.0));
    jam.run(SETTLE);
    assert_heard(&jam, "at rest", [UNITY, [fader_db(40.0); 2], [fader_db(60.0); 2]]);
}

#[test]
fn the_mix_is_made_again_after_the_servers_restart_and_after_a_loss() {
    let mut jam = jam();
    let handle = jam.musicians[0].handle.clone();
    handle.move_slot(0, Move::Fader(40.0));
    handle.move_slot(1, Move::Pan(1.0));
    handle.move_strip(strip(&jam, "Ann").channel, Move::Mute(true));
    let mixed = [SILENT, [fader_db(40.0); 2], [f64::NEG_INFINITY, 0.0]];
    jam.run(SETTLE);
    assert_heard(&jam, "at first", mixed);
    // Everybody sends on, and the new server takes them in any order.
    jam.server = Core::new(jam.now, Config::default(), 2);
    jam.musicians.swap(1, 2);
    jam.run(FADE + SETTLE);
    assert_eq!(jam.musicians[0].handle.snapshot().strips.len(), 3);
    assert_eq!((strip(&jam, "Bob").slot, strip(&jam, "Cay").slot), (Some(0), Some(1)));
    assert_heard(&jam, "after the restart", mixed);

    jam.musicians[0].set_link(LinkConfig::DEAD);
    jam.run(Duration::from_secs(45));
    assert_eq!(jam.musicians[0].handle.snapshot().strips.len(), 0);
    jam.musicians[0].set_link(link());
    jam.run(Duration::from_secs(30));
    assert_heard(&jam, "after a loss", mixed);
}
