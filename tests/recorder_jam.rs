//! Recordings of a whole jam on the virtual clock: musicians come, go, lose packets and are cut off.
#![expect(clippy::unwrap_used, reason = "a failing test is what a panic is for")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use jamulet::client::{FrameChoice, Profile, Settings, StreamSettings};
use jamulet::server::{
    Command, Config, Event, RecordCommand, RecorderOptions, RecordingFormat, Scribe, recorder,
};
use jamulet::units::{FrameSize, Layout, Quality, Time};
use jamulet_testkit::netem::LinkConfig;
use jamulet_testkit::recording::{Session, sessions};
use jamulet_testkit::sim::{Blocks, Jam, Musician, SERVER, Source};

/// Three of these stay below the limiter.
const AMPLITUDE: f64 = 0.25;
/// The scribe works every so many ticks, about 50 ms.
const WORK_TICKS: usize = 19;

/// A stay as the core shows it to an admin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Stay {
    first_tick: usize,
    ticks: usize,
    channels: usize,
}

/// A jam that is recorded, and who was there by the server's own account.
struct RecordedJam {
    jam: Jam,
    tick: FrameSize,
    scribe: Scribe,
    ticks: usize,
    stays: BTreeMap<SocketAddr, Vec<Stay>>,
    stops: Vec<String>,
}

impl RecordedJam {
    fn new(directory: &Path, format: RecordingFormat, tick: FrameSize, min_free_bytes: u64) -> Self {
        let config = Config { frame: tick, ..Config::default() };
        let options = RecorderOptions { directory: directory.to_owned(), format, min_free_bytes };
        let (tap, scribe) = recorder(options, tick, config.max_clients);
        let mut jam = Jam::new(config, 1);
        jam.server.set_recorder(tap, directory.to_owned());
        jam.server.execute(Time::ZERO, Command::Record(RecordCommand::Start)).unwrap();
        Self { jam, tick, scribe, ticks: 0, stays: BTreeMap::new(), stops: Vec::new() }
    }

    /// Goes on until `second`.
    fn run_to(&mut self, second: usize) {
        while self.ticks * self.tick.samples() < second * 48_000 {
            self.ticks += 1;
            self.jam.run(self.jam.next_tick().since(self.jam.now));
            self.note_who_is_there();
            if self.ticks.is_multiple_of(WORK_TICKS) {
                self.work();
            }
        }
    }

    fn work(&mut self) {
        let now = self.jam.now;
        self.scribe.work(now, jiff::Timestamp::UNIX_EPOCH + now.since(Time::ZERO));
        let events = std::iter::from_fn(|| self.jam.server.poll_event());
        self.stops.extend(events.filter_map(|event| match event {
            Event::Recorder(status) if !status.error.is_empty() => Some(status.error),
            _ => None,
        }));
    }

    /// The tick has just been; whoever has a name and a format now was in it.
    fn note_who_is_there(&mut self) {
        let tick = self.ticks - 1;
        for client in self.jam.server.status(self.jam.now).clients {
            let (Some(layout), Some(_)) = (client.layout, client.info) else { continue };
            let channels = layout.format.layout.channels();
            let stays = self.stays.entry(client.address).or_default();
            match stays.last_mut() {
                Some(stay) if stay.first_tick + stay.ticks == tick && stay.channels == channels => {
                    stay.ticks += 1
                }
                _ => stays.push(Stay { first_tick: tick, ticks: 1, channels }),
            }
        }
    }

    /// Stops recording and reads the only session.
    fn finish(&mut self, directory: &Path) -> Session {
        self.jam.server.execute(self.jam.now, Command::Record(RecordCommand::Stop)).unwrap();
        self.work();
        let folders = sessions(directory).unwrap();
        assert_eq!(folders.len(), 1, "{folders:?}");
        let session = Session::read(&folders[0]).unwrap();
        session.check(self.tick.samples()).unwrap();
        session
    }

    /// Every stay is a file of its exact length, placed where it began.
    fn check_stays(&self, session: &Session) {
        let begin = self.stays.values().flatten().map(|stay| stay.first_tick).min().unwrap();
        let mut expected: Vec<Stay> = self.stays.values().flatten().copied().collect();
        let samples = self.tick.samples();
        let mut found: Vec<Stay> = session
            .items
            .iter()
            .map(|item| {
                let file = &session.files[&item.file];
                let first_tick = begin + (item.position * 48_000.0 / samples as f64).round() as usize;
                Stay { first_tick, ticks: file.samples() / samples, channels: file.channels }
            })
            .collect();
        expected.sort();
        found.sort();
        assert_eq!(found, expected);
        assert_eq!(session.mixdown().samples(), (self.ticks - begin) * samples);
    }
}

fn address(host: u8) -> SocketAddr {
    ([192, 0, 2, host], 50_000).into()
}

fn link(loss: f64) -> LinkConfig {
    let (delay, jitter) = (Duration::from_millis(9), Duration::from_millis(3));
    LinkConfig { delay, jitter, loss, ..LinkConfig::default() }
}

fn musician(host: u8, name: &str, layout: Layout, frame: FrameChoice, loss: f64) -> Musician {
    let hz = 220.0 * f64::from(host);
    let source: Source = Box::new(move |index| {
        let sample = AMPLITUDE * (std::f64::consts::TAU * (hz * index as f64 / 48_000.0).fract()).sin();
        [sample as f32, -sample as f32 / 2.0]
    });
    let settings = Settings {
        profile: Profile { name: name.to_owned(), ..Profile::default() },
        stream: StreamSettings { quality: Quality::Normal, layout, frame },
        ..Settings::default()
    };
    Musician::new(address(host), settings, 48_000.0, Blocks::Constant(128), source, link(loss), host.into())
}

fn rms(values: &[i32]) -> f64 {
    let power: f64 = values.iter().map(|value| f64::from(*value).powi(2)).sum();
    (power / values.len() as f64).sqrt() / 32_768.0
}

fn ten_minutes(format: RecordingFormat, tick: FrameSize) {
    let folder = tempfile::tempdir().unwrap();
    let mut recorded = RecordedJam::new(folder.path(), format, tick, 0);
    let loss = 0.05;
    recorded.jam.musicians = vec![
        musician(1, "Ann", Layout::Stereo, FrameChoice::Samples128, loss),
        musician(2, "Bob", Layout::Mono, FrameChoice::Samples64, loss),
        musician(3, "Eve", Layout::Stereo, FrameChoice::Samples64, loss),
    ];
    recorded.run_to(5);
    for (musician, joins) in [(0, 5), (1, 20), (2, 100)] {
        recorded.run_to(joins);
        recorded.jam.musicians[musician].handle.connect(SERVER);
    }
    recorded.run_to(200);
    recorded.jam.musicians[1].handle.disconnect();
    recorded.run_to(260);
    recorded.jam.musicians[1].handle.connect(SERVER);
    // Cut off until the server gives up on her.
    recorded.run_to(300);
    recorded.jam.musicians[2].set_link(LinkConfig::DEAD);
    recorded.run_to(340);
    recorded.jam.musicians[2].set_link(link(loss));
    recorded.jam.musicians[2].handle.connect(SERVER);
    recorded.run_to(600);
    let session = recorded.finish(folder.path());
    recorded.check_stays(&session);
    assert!(recorded.stops.is_empty());

    let stays: Vec<usize> = (1..=3).map(|host| recorded.stays[&address(host)].len()).collect();
    assert_eq!(stays, [1, 2, 2], "{:?}", recorded.stays);
    let seconds = |stay: &Stay| (stay.ticks * tick.samples()) as f64 / 48_000.0;
    let eves_first = &recorded.stays[&address(3)][0];
    assert!((225.0..232.0).contains(&seconds(eves_first)), "from 100 s to 30 s after 300 s: {eves_first:?}");
    for (name, count) in [("Ann_", 1), ("Bob_", 2), ("Eve_", 2)] {
        let items = session.items.iter().filter(|item| item.track.starts_with(name));
        assert_eq!(items.count(), count, "the project knows {name} by name");
    }

    let eve = session.items.iter().find(|item| item.track.starts_with("Eve_")).unwrap();
    let eve = &session.files[&eve.file].values;
    let second = 2 * 48_000;
    assert!(rms(&eve[100 * second..101 * second]) > 0.05, "she is heard");
    let last = &eve[eve.len() - 28 * second..];
    assert!(last.iter().all(|value| *value == 0), "nothing is heard of her before she is given up");
    // Pre-fader and without the server's fade-in: the first seconds are as loud as the rest.
    let ann = session.items.iter().find(|item| item.track.starts_with("Ann_")).unwrap();
    let ann = &session.files[&ann.file].values;
    let (early, late) = (rms(&ann[second..2 * second]), rms(&ann[100 * second..101 * second]));
    assert!((early / late - 1.0).abs() < 0.2, "{early} {late}");
}

#[test]
fn ten_minutes_with_128_sample_ticks() {
    ten_minutes(RecordingFormat::Wav16, FrameSize::Samples128);
}

#[test]
fn ten_minutes_with_64_sample_ticks_in_flac() {
    ten_minutes(RecordingFormat::Flac, FrameSize::Samples64);
}

/// What two musicians hear in 20 s, and why recording has stopped.
fn hear(directory: &Path, min_free_bytes: u64) -> (Vec<[Vec<f32>; 2]>, Vec<String>) {
    let mut recorded =
        RecordedJam::new(directory, RecordingFormat::Wav16, FrameSize::Samples128, min_free_bytes);
    recorded.jam.musicians = vec![
        musician(1, "Ann", Layout::Stereo, FrameChoice::Samples128, 0.0),
        musician(2, "Bob", Layout::Mono, FrameChoice::Samples128, 0.0),
    ];
    // Without dice: what clients are told about a failure would shift them.
    for musician in &mut recorded.jam.musicians {
        musician.set_link(LinkConfig { delay: Duration::from_millis(9), ..LinkConfig::default() });
        musician.handle.connect(SERVER);
    }
    recorded.run_to(20);
    (recorded.jam.musicians.iter().map(|musician| musician.heard.clone()).collect(), recorded.stops)
}

#[test]
fn a_recording_that_fails_changes_nothing_of_what_anyone_hears() {
    let folder = tempfile::tempdir().unwrap();
    let (good, no_stops) = hear(folder.path(), 0);
    assert_eq!(no_stops, [""; 0]);
    assert!(
        good.iter().flatten().all(|side| side.iter().any(|sample| sample.abs() > 0.1)),
        "they hear each other"
    );
    let folder = tempfile::tempdir().unwrap();
    let (failing, stops) = hear(folder.path(), u64::MAX);
    assert!(stops[0].starts_with("The recording disk has less than"), "{stops:?}");
    assert!(good == failing, "sound differs when recording does not begin");
    #[cfg(target_os = "linux")]
    {
        // Full after about 6 s.
        let disk = jamulet_testkit::small_disk::SmallDisk::mount(3000).unwrap();
        let (failing, stops) = hear(disk.path(), 0);
        assert!(stops[0].starts_with("A recording cannot be written"), "{stops:?}");
        assert!(good == failing, "sound differs when the disk is full");
        let session = Session::read(&sessions(disk.path()).unwrap()[0]).unwrap();
        assert!(session.mixdown().samples() > 4 * 48_000 && session.items.len() == 2);
    }
}
