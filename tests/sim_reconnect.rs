//! Sessions that are lost, computers that sleep: the client comes back by itself, on the virtual clock.

use std::time::Duration;

use jamulet::client::{ConnectionState, Failure, Settings};
use jamulet::server::Config;
use jamulet_testkit::netem::LinkConfig;
use jamulet_testkit::signal::rms;
use jamulet_testkit::sim::{Blocks, Jam, Musician};

const RATE_HZ: f64 = 48_000.0;

fn link() -> LinkConfig {
    LinkConfig { delay: Duration::from_millis(5), ..LinkConfig::default() }
}

/// Somebody in a session, who joined it by name.
fn jam() -> Jam {
    let mut jam = Jam::new(Config::default(), 1);
    let source = Box::new(|index: u64| {
        [0.25 * (std::f64::consts::TAU * (440.0 * index as f64 / RATE_HZ).fract()).sin() as f32; 2]
    });
    let address = ([192, 0, 2, 9], 50_000).into();
    let blocks = Blocks::Constant(128);
    let musician = Musician::new(address, Settings::default(), RATE_HZ, blocks, source, link(), 7);
    musician.handle.connect("jam.example.org");
    jam.musicians.push(musician);
    jam.run(Duration::from_secs(5));
    assert!(is_connected(&jam));
    assert_eq!(jam.musicians[0].lookups, 1);
    jam
}

fn state(jam: &Jam) -> ConnectionState {
    jam.musicians[0].handle.snapshot().state.clone()
}

fn is_connected(jam: &Jam) -> bool {
    matches!(state(jam), ConnectionState::Connected { .. })
}

fn loudness(jam: &Jam, seconds: f64) -> f64 {
    let heard = &jam.musicians[0].heard[0];
    rms(&heard[heard.len() - (seconds * RATE_HZ) as usize..])
}

/// Whether the output is the track's own sound, bit for bit.
fn hears_own_sound(jam: &Jam, seconds: f64) -> bool {
    let heard = &jam.musicians[0].heard[0];
    let start = heard.len() - (seconds * RATE_HZ) as usize;
    (start..heard.len()).all(|index| {
        let turns = (440.0 * index as f64 / RATE_HZ).fract();
        heard[index] == 0.25 * (std::f64::consts::TAU * turns).sin() as f32
    })
}

#[test]
fn a_lost_session_comes_back_by_itself_and_the_name_is_asked_again() {
    let mut jam = jam();
    jam.musicians[0].set_link(LinkConfig::DEAD);
    // Long before the loss is certain, the track's own sound takes over.
    jam.run(Duration::from_secs(2));
    assert!((loudness(&jam, 0.5) - 0.25 / 2f64.sqrt()).abs() < 1e-3, "{}", loudness(&jam, 0.5));
    jam.run(Duration::from_secs(40));
    assert!(!is_connected(&jam) && hears_own_sound(&jam, 5.0));
    let asked = jam.musicians[0].lookups;
    assert!(asked >= 2, "asked {asked} times");
    jam.musicians[0].set_link(link());
    // The longest wait between attempts, and one attempt.
    jam.run(Duration::from_secs(26));
    assert!(is_connected(&jam), "{:?}", state(&jam));
    jam.run(Duration::from_secs(4));
    assert!(!hears_own_sound(&jam, 0.5) && (0.15..0.2).contains(&loudness(&jam, 0.5)), "the return is back");
}

#[test]
fn attempts_become_seldom_end_after_ten_minutes_and_can_be_stopped() {
    let mut jam = jam();
    jam.musicians[0].set_link(LinkConfig::DEAD);
    jam.run(Duration::from_secs(5 * 60));
    let asked = jam.musicians[0].lookups;
    assert!((8..25).contains(&asked), "{asked} attempts in five minutes");
    jam.run(Duration::from_secs(7 * 60));
    assert!(matches!(state(&jam), ConnectionState::Failed(Failure::NoAnswer { .. })), "{:?}", state(&jam));
    let asked = jam.musicians[0].lookups;
    jam.run(Duration::from_secs(60));
    assert_eq!(jam.musicians[0].lookups, asked);

    let mut jam = self::jam();
    jam.musicians[0].set_link(LinkConfig::DEAD);
    jam.run(Duration::from_secs(45));
    jam.musicians[0].handle.disconnect();
    jam.run(Duration::from_secs(5));
    assert_eq!(state(&jam), ConnectionState::Idle);
    let asked = jam.musicians[0].lookups;
    jam.musicians[0].set_link(link());
    jam.run(Duration::from_secs(60));
    assert_eq!((state(&jam), jam.musicians[0].lookups), (ConnectionState::Idle, asked));
}

#[test]
fn who_was_never_in_a_session_is_not_put_into_one() {
    let mut jam = Jam::new(Config::default(), 1);
    let address = ([192, 0, 2, 9], 50_000).into();
    let source = Box::new(|_| [0.0; 2]);
    let blocks = Blocks::Constant(128);
    let musician = Musician::new(address, Settings::default(), RATE_HZ, blocks, source, LinkConfig::DEAD, 7);
    musician.handle.connect("jam.example.org");
    jam.musicians.push(musician);
    jam.run(Duration::from_secs(10));
    jam.musicians[0].set_link(link());
    jam.run(Duration::from_secs(60));
    assert!(matches!(state(&jam), ConnectionState::Failed(Failure::NoAnswer { .. })), "{:?}", state(&jam));
    assert_eq!(jam.musicians[0].lookups, 1);
}

/// A laptop that is closed and opened again, whether its clock counts the time asleep or not.
#[test]
fn after_sleep_the_session_is_back_within_a_second() {
    for seconds in [1, 10, 25, 29, 31, 300, 3600] {
        for clock_stands in [false, true] {
            let what = format!("{seconds} s, clock stands: {clock_stands}");
            let mut jam = jam();
            // What is heard is the return, and nothing else.
            jam.musicians[0].controls.pass_dry = false;
            let now = jam.now;
            jam.musicians[0].sleep(now, Duration::from_secs(seconds), clock_stands);
            jam.run(Duration::from_secs(seconds) + Duration::from_secs(1));
            assert!(is_connected(&jam), "{what}: {:?}", state(&jam));
            // Who comes back as a newcomer is faded in for three seconds.
            assert!(loudness(&jam, 0.1) > 1e-3, "{what}: heard {}", loudness(&jam, 0.1));
            jam.run(Duration::from_secs(4));
            assert!((0.15..0.2).contains(&loudness(&jam, 0.5)), "{what}: heard {}", loudness(&jam, 0.5));
        }
    }
}
