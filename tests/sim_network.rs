//! Sessions over bad networks on the virtual clock: our client's two halves and our server's core establish, talk,
//! end and recover, with no real clock or socket, the same from the same seed.

use std::time::Duration;

use jamulet::client::{ConnectionState, Failure, HostActivity, Profile, Settings};
use jamulet::server::Config;
use jamulet_testkit::netem::LinkConfig;
use jamulet_testkit::signal::rms;
use jamulet_testkit::sim::{Blocks, Jam, Musician, SERVER};

const RATE_HZ: f64 = 48_000.0;
/// A message may need several 400 ms resends, and the greeting is eleven of them, one after the other.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a peer needs to notice that the other is gone, and a little more.
const TIMEOUT: Duration = Duration::from_secs(32);

/// Loss, duplication and reordering as probabilities, delay and jitter in ms.
#[derive(Clone, Copy, Debug)]
struct Network {
    loss: f64,
    oddities: f64,
    jitter_ms: u64,
}

impl Network {
    fn link(self) -> LinkConfig {
        LinkConfig {
            delay: Duration::from_millis(15),
            jitter: Duration::from_millis(self.jitter_ms),
            loss: self.loss,
            duplication: self.oddities,
            reordering: self.oddities,
        }
    }
}

/// Every mixture of these.
fn networks() -> impl Iterator<Item = Network> {
    let losses = [0.0, 0.02, 0.1, 0.2];
    losses.into_iter().flat_map(|loss| {
        [0.0, 0.1]
            .into_iter()
            .flat_map(move |oddities| [0, 10, 50].map(|jitter_ms| Network { loss, oddities, jitter_ms }))
    })
}

fn musician(name: &str, port: u16, tone_hz: f64, link: LinkConfig, seed: u64) -> Musician {
    let settings =
        Settings { profile: Profile { name: name.to_owned(), ..Profile::default() }, ..Settings::default() };
    let source = Box::new(move |index: u64| {
        let turns = (tone_hz * index as f64 / RATE_HZ).fract();
        [0.25 * (turns * std::f64::consts::TAU).sin() as f32; 2]
    });
    let address = ([192, 0, 2, 7], port).into();
    Musician::new(address, settings, RATE_HZ, Blocks::Constant(128), source, link, seed)
}

/// Ann and Ben on one server, both joining.
fn two_musicians(link: LinkConfig, seed: u64) -> Jam {
    let mut jam = Jam::new(Config::default(), seed);
    jam.musicians.push(musician("Ann", 50_001, 440.0, link, seed + 1));
    jam.musicians.push(musician("Ben", 50_002, 660.0, link, seed + 2));
    for musician in &jam.musicians {
        musician.handle.connect(SERVER);
    }
    jam
}

/// Runs until `done`, at most for `limit`.
fn run_until(jam: &mut Jam, limit: Duration, what: &str, mut done: impl FnMut(&Jam) -> bool) {
    const STEP: Duration = Duration::from_millis(100);
    let end = jam.now + limit;
    while !done(jam) {
        assert!(jam.now < end, "{what}: not within {limit:?}: {:?}", states(jam));
        jam.run(STEP);
    }
}

fn states(jam: &Jam) -> Vec<ConnectionState> {
    jam.musicians.iter().map(|musician| musician.handle.snapshot().state.clone()).collect()
}

fn names(musician: &Musician) -> Vec<String> {
    musician.handle.snapshot().clients.iter().map(|entry| entry.info.name.clone()).collect()
}

fn everybody_sees_everybody(jam: &Jam) -> bool {
    jam.musicians.iter().all(|musician| {
        let connected = matches!(musician.handle.snapshot().state, ConnectionState::Connected { .. });
        let mut names = names(musician);
        names.sort();
        connected && names == ["Ann", "Ben"]
    })
}

fn heard_chat(musician: &Musician, text: &str) -> usize {
    musician.handle.snapshot().chat.iter().filter(|line| line.contains(text)).count()
}

/// What the output was in the last `seconds`.
fn loudness(musician: &Musician, seconds: f64) -> f64 {
    let heard = &musician.heard[0];
    rms(&heard[heard.len().saturating_sub((seconds * RATE_HZ) as usize)..])
}

#[test]
fn sessions_establish_talk_and_end_on_every_network() {
    for (index, network) in networks().enumerate() {
        let what = format!("{network:?}");
        let mut jam = two_musicians(network.link(), 100 * index as u64);
        run_until(&mut jam, PATIENCE, &what, everybody_sees_everybody);

        jam.musicians[0].handle.chat("from Ann");
        jam.musicians[1].handle.chat("from Ben");
        run_until(&mut jam, PATIENCE, &what, |jam| {
            jam.musicians
                .iter()
                .all(|musician| heard_chat(musician, "from Ann") > 0 && heard_chat(musician, "from Ben") > 0)
        });

        // Both tones together are 0.25 of RMS; much is concealed where much is lost.
        jam.run(Duration::from_secs(6));
        for musician in &jam.musicians {
            let loudness = loudness(musician, 2.0);
            assert!((0.05..0.5).contains(&loudness), "{what}: heard {loudness}");
            for text in ["from Ann", "from Ben"] {
                assert_eq!(heard_chat(musician, text), 1, "{what}: said once, heard once");
            }
        }

        jam.musicians[1].handle.disconnect();
        run_until(&mut jam, TIMEOUT, &what, |jam| names(&jam.musicians[0]) == ["Ann"]);
        run_until(&mut jam, TIMEOUT, &what, |jam| states(jam)[1] == ConnectionState::Idle);
        jam.musicians[0].handle.disconnect();
        run_until(&mut jam, TIMEOUT, &what, |jam| jam.server.is_empty());
    }
}

#[test]
fn an_outage_is_survived_or_said_and_mends_itself() {
    for (index, network) in networks().enumerate() {
        let what = format!("{network:?}");
        let mut jam = two_musicians(network.link(), 7000 + 100 * index as u64);
        run_until(&mut jam, PATIENCE, &what, everybody_sees_everybody);

        // Ten seconds without network: the session is still there afterwards, and sound comes back.
        jam.musicians[0].set_link(LinkConfig::DEAD);
        jam.run(Duration::from_secs(10));
        jam.musicians[0].set_link(network.link());
        jam.run(Duration::from_secs(5));
        assert!(everybody_sees_everybody(&jam), "{what}: {:?}", states(&jam));
        let loudness = loudness(&jam.musicians[0], 1.0);
        assert!((0.05..0.5).contains(&loudness), "{what}: heard {loudness} after the outage");

        // Too long without: both ends say so, the others go on, and it mends itself.
        jam.musicians[0].set_link(LinkConfig::DEAD);
        run_until(&mut jam, TIMEOUT, &what, |jam| {
            matches!(states(jam)[0], ConnectionState::Waiting(_) | ConnectionState::Connecting { .. })
        });
        run_until(&mut jam, TIMEOUT, &what, |jam| names(&jam.musicians[1]) == ["Ben"]);
        jam.musicians[0].set_link(network.link());
        run_until(&mut jam, PATIENCE, &what, everybody_sees_everybody);
    }
}

#[test]
fn a_server_that_is_not_there_or_full_is_told() {
    let mut jam = Jam::new(Config { max_clients: 1, ..Config::default() }, 1);
    jam.musicians.push(musician("Ann", 50_001, 440.0, LinkConfig::DEAD, 2));
    jam.musicians.push(musician("Ben", 50_002, 660.0, LinkConfig::default(), 3));
    jam.musicians.push(musician("Cal", 50_003, 880.0, LinkConfig::default(), 4));
    jam.musicians[0].handle.connect(SERVER);
    jam.musicians[1].handle.connect(SERVER);
    jam.run(Duration::from_millis(4900));
    assert!(matches!(states(&jam)[0], ConnectionState::Connecting { .. }));
    assert!(matches!(states(&jam)[1], ConnectionState::Connected { .. }));
    jam.musicians[2].handle.connect(SERVER);
    jam.run(Duration::from_millis(400));
    assert!(matches!(states(&jam)[0], ConnectionState::Failed(Failure::NoAnswer { .. })));
    assert!(matches!(states(&jam)[2], ConnectionState::Failed(Failure::ServerFull { .. })));
    // Who is not connected hears the own track, bit for bit.
    for index in [0, 2] {
        let musician = &jam.musicians[index];
        assert!(loudness(musician, 0.2) > 0.17, "the track's own sound passes");
    }
}

#[test]
fn the_session_outlives_a_host_that_stops_calling() {
    let mut jam = two_musicians(LinkConfig::default(), 5);
    run_until(&mut jam, PATIENCE, "joining", everybody_sees_everybody);
    jam.run(Duration::from_secs(5));
    jam.musicians[0].host_runs = false;
    jam.run(Duration::from_secs(60));
    let snapshot = jam.musicians[0].handle.snapshot();
    assert!(
        matches!(snapshot.state, ConnectionState::Connected { .. }) && snapshot.host == HostActivity::Stopped
    );
    assert!(everybody_sees_everybody(&jam));
    let others = loudness(&jam.musicians[1], 1.0);
    assert!((0.15..0.2).contains(&others), "Ben hears himself only, and no noise: {others}");
    jam.musicians[0].host_runs = true;
    jam.run(Duration::from_secs(2));
    assert_eq!(jam.musicians[0].handle.snapshot().host, HostActivity::Steady);
    let both = loudness(&jam.musicians[0], 0.5);
    assert!((0.22..0.28).contains(&both), "Ann hears both again: {both}");
}

#[test]
fn the_same_seed_gives_the_same_jam() {
    let network = Network { loss: 0.1, oddities: 0.1, jitter_ms: 20 };
    let run = || {
        let mut jam = two_musicians(network.link(), 42);
        jam.run(Duration::from_secs(8));
        let stats: Vec<_> = jam.musicians.iter().map(|musician| musician.handle.snapshot().stats).collect();
        (jam.musicians[0].heard.clone(), jam.musicians[1].heard.clone(), stats)
    };
    let (first, second) = (run(), run());
    assert!(first.2[0].lost > 100, "the network was bad: {:?}", first.2);
    assert!(first == second, "two runs from one seed differ");
}
