//! Hosts that do not play as sound passes, on the virtual clock.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use jamulet::client::{ConnectionState, Controls, HostActivity, Settings};
use jamulet::server::Config;
use jamulet::units::Time;
use jamulet_testkit::netem::LinkConfig;
use jamulet_testkit::signal::rms;
use jamulet_testkit::sim::{Blocks, Jam, Musician, SERVER};

const RATE_HZ: f64 = 48_000.0;

fn jam(block: usize) -> Jam {
    let mut jam = Jam::new(Config::default(), 1);
    let link = LinkConfig { delay: Duration::from_millis(5), ..LinkConfig::default() };
    let source = Box::new(|index: u64| {
        [0.25 * (std::f64::consts::TAU * (440.0 * index as f64 / RATE_HZ).fract()).sin() as f32; 2]
    });
    let address = ([192, 0, 2, 9], 50_000).into();
    let musician =
        Musician::new(address, Settings::default(), RATE_HZ, Blocks::Constant(block), source, link, 7);
    musician.handle.connect(SERVER);
    jam.musicians.push(musician);
    jam.run(Duration::from_secs(5));
    jam
}

fn activity(jam: &Jam) -> HostActivity {
    let snapshot = jam.musicians[0].handle.snapshot();
    assert!(matches!(snapshot.state, ConnectionState::Connected { .. }), "{:?}", snapshot.state);
    snapshot.host
}

/// When packets reach the server.
fn arrivals(jam: &mut Jam) -> Rc<RefCell<Vec<Time>>> {
    let arrivals = Rc::new(RefCell::new(Vec::new()));
    let list = Rc::clone(&arrivals);
    jam.tap = Some(Box::new(move |now, _, _| list.borrow_mut().push(now)));
    arrivals
}

/// Most packets within any second.
fn most_in_a_second(arrivals: &[Time]) -> usize {
    let within = |(index, first): (usize, &Time)| {
        arrivals[index..].iter().take_while(|time| time.since(*first) < Duration::from_secs(1)).count()
    };
    arrivals.iter().enumerate().map(within).max().unwrap_or(0)
}

/// Whether the host says so or not, the session gets silence at frame rate, and not a packet more.
#[test]
fn a_render_sends_silence_at_frame_rate() {
    for (announced, reactivated) in [(true, true), (true, false), (false, true), (false, false)] {
        for block in [64, 512, 4096] {
            let what = format!("announced {announced}, reactivated {reactivated}, blocks of {block}");
            let mut jam = jam(block);
            // Frames of 64 samples for blocks of 64.
            let per_second = if block == 64 { 750 } else { 375 };
            let sent = arrivals(&mut jam);
            jam.musicians[0].calls = (50, 1);
            jam.musicians[0].controls = Controls { offline: announced, ..Controls::default() };
            if reactivated {
                jam.musicians[0].reactivate();
            }
            let rendered = jam.musicians[0].heard[0].len();
            jam.run(Duration::from_secs(4));
            assert_eq!(activity(&jam), HostActivity::Rendering, "{what}");
            let sent = sent.borrow().clone();
            // What an unannounced render sends before it is noticed is limited, too.
            let most = if announced || reactivated { per_second * 11 / 10 } else { per_second * 2 };
            assert!(most_in_a_second(&sent) <= most, "{what}: {} in a second", most_in_a_second(&sent));
            assert!(
                sent.len() > 4 * per_second - per_second / 3,
                "{what}: {} packets keep the session",
                sent.len()
            );
            let take = &jam.musicians[0].heard[0][rendered..];
            assert!(
                !announced && !reactivated || (rms(take) - 0.25 / 2f64.sqrt()).abs() < 1e-3,
                "{what}: the take"
            );

            jam.musicians[0].calls = (1, 1);
            jam.musicians[0].controls = Controls::default();
            if reactivated {
                jam.musicians[0].reactivate();
            }
            jam.run(Duration::from_secs(4));
            assert_eq!(activity(&jam), HostActivity::Steady, "{what}");
            let heard = &jam.musicians[0].heard[0];
            let level = rms(&heard[heard.len() - 24_000..]);
            assert!((0.15..0.2).contains(&level), "{what}: the return is back at {level}");
        }
    }
}

#[test]
fn a_host_that_works_ahead_is_named_and_one_with_long_blocks_is_not() {
    for (block, calls, expected) in [
        (128, 1, HostActivity::Steady),
        (128, 8, HostActivity::Bursts),
        (512, 16, HostActivity::Bursts),
        (2048, 1, HostActivity::Steady),
        (4096, 1, HostActivity::Steady),
    ] {
        let mut jam = jam(block);
        jam.musicians[0].calls = (calls, calls);
        jam.run(Duration::from_secs(8));
        assert_eq!(activity(&jam), expected, "{calls} blocks of {block}");
        jam.musicians[0].calls = (1, 1);
        jam.run(Duration::from_secs(8));
        assert_eq!(activity(&jam), HostActivity::Steady, "{calls} blocks of {block}, then one");
    }
}

#[test]
fn a_bypass_is_the_track_itself_and_then_the_return_again() {
    let mut jam = jam(128);
    jam.musicians[0].controls.bypass = true;
    jam.run(Duration::from_secs(2));
    let source =
        |index: usize| 0.25 * (std::f64::consts::TAU * (440.0 * index as f64 / RATE_HZ).fract()).sin() as f32;
    let heard = &jam.musicians[0].heard[0];
    let settled = heard.len() - 48_000;
    assert!(heard[settled..].iter().enumerate().all(|(index, sample)| *sample == source(settled + index)));
    let total = heard.len();
    jam.musicians[0].controls.bypass = false;
    jam.run(Duration::from_secs(2));
    let heard = &jam.musicians[0].heard[0];
    let step = jamulet_testkit::signal::largest_step(&heard[total - 48_000..]);
    assert!(step < 2.0 * jamulet_testkit::signal::sine_step(440.0, 0.25), "a click of {step}");
    assert!((0.15..0.2).contains(&rms(&heard[heard.len() - 24_000..])), "the return is back");
}
