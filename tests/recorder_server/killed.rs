//! kill -9 leaves files and projects that can be used, and takes a second at most.

use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jamulet::units::{FrameSize, Layout};
use jamulet_testkit::probe::{Probe, layout};
use jamulet_testkit::recording::{Session, sessions};

use crate::program::Program;

/// What a killed server may lose.
const MAX_LOSS_TICKS: usize = 375;
/// On a busy machine the server may not get to write in time. Such a run counts for nothing and is repeated, so often.
const RUNS: usize = 20;
/// The kernel let the recorder's thread wait no longer than this in the whole run …
const MAX_STARVED: Duration = Duration::from_millis(100);
/// … and somebody else who wrote a little file every 50 ms into the same folder never took longer than this for it.
const MAX_TURN: Duration = Duration::from_millis(300);

/// Writes beside the server, to see how quickly that can be done now.
struct Witness {
    stop: Sender<()>,
    thread: JoinHandle<Duration>,
}

impl Witness {
    fn start(folder: &Path) -> Self {
        let path = folder.join("witness");
        let (stop, stopped) = channel();
        let thread = std::thread::spawn(move || {
            let mut longest = Duration::ZERO;
            loop {
                let began = Instant::now();
                std::fs::write(&path, [0; 40_000]).unwrap();
                let is_over = stopped.recv_timeout(Duration::from_millis(50)).is_ok();
                longest = longest.max(began.elapsed());
                if is_over {
                    std::fs::remove_file(&path).unwrap();
                    return longest;
                }
            }
        });
        Self { stop, thread }
    }

    fn longest_turn(self) -> Duration {
        self.stop.send(()).unwrap();
        self.thread.join().unwrap()
    }
}

/// What a run left.
struct Run {
    session: Session,
    /// How many ticks the client heard, which is how many the server had when it ended, or a little less.
    heard: usize,
    was_starved: bool,
}

fn tone(index: usize) -> f32 {
    ((index as f64 * 440.0 / 48_000.0).fract() * std::f64::consts::TAU).sin() as f32 / 4.0
}

/// Plays into a server that is ended by `signal` after a while.
fn record_until(signal: libc::c_int, directory: &Path, format: &str, millis: u64) -> Run {
    let beside = tempfile::tempdir_in(directory.parent().unwrap()).unwrap();
    let witness = Witness::start(beside.path());
    let server = Program::record_into(directory, &["--recordingformat", format, "--minfreespace", "0"]);
    let usual = layout(FrameSize::Samples128, Layout::Mono);
    let mut probe = Probe::join_playing(server.address, "Ann", usual, tone).unwrap();
    probe.wait_until("sound", |probe| probe.packets.len() > 375).unwrap();
    probe.run_for(Duration::from_millis(millis)).unwrap();
    let starved = server.recorder_starved();
    server.end_by(signal);
    let longest_turn = witness.longest_turn();
    let was_starved = starved > MAX_STARVED || longest_turn > MAX_TURN;
    println!(
        "{format}: the recorder waited {starved:?} for the processor, the witness {longest_turn:?} at most"
    );
    let folders = sessions(directory).unwrap();
    assert_eq!(folders.len(), 1);
    Run { session: Session::read(&folders[0]).unwrap(), heard: probe.packets.len(), was_starved }
}

/// The track holds the tone up to its end, and both projects place it.
fn check_usable(session: &Session) {
    assert_eq!((session.items.len(), session.list.len(), session.files.len()), (1, 1, 2));
    let track = &session.files[&session.items[0].file];
    let (length, told) = (track.samples() as f64 / 48_000.0, session.items[0].length);
    assert!((length - told).abs() <= 2.0, "{told} s in the project, {length} s in the file");
    assert_eq!(session.items[0].track.split('-').next(), Some("Ann_"));
    let last_second = &track.values[track.values.len() - 48_000..];
    assert!(last_second.iter().filter(|value| value.abs() > 4000).count() > 24_000, "the tone is there");
}

#[test]
fn kill_9_costs_a_second_at_most_and_leaves_everything_usable() {
    for (format, millis) in [("wav16", 1500), ("wav24", 1900), ("flac", 1730)] {
        let judge = || {
            let folder = tempfile::tempdir().unwrap();
            let Run { session, heard, was_starved } =
                record_until(libc::SIGKILL, folder.path(), format, millis);
            let shortest = session.files.values().map(|file| file.samples() / 128).min().unwrap();
            let lost = heard.saturating_sub(shortest);
            println!("{format}: {lost} ticks lost, starved: {was_starved}");
            if !was_starved {
                assert!(lost <= MAX_LOSS_TICKS, "{format}: {lost} ticks lost");
                check_usable(&session);
            }
            !was_starved
        };
        assert!((0..RUNS).any(|_| judge()), "{format}: this machine is too busy to tell");
    }
}

#[test]
fn a_server_that_is_told_to_stop_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let Run { session, heard, .. } = record_until(libc::SIGTERM, folder.path(), "wav16", 700);
    session.check(128).unwrap();
    check_usable(&session);
    let ticks = session.mixdown().samples() / 128;
    assert!(ticks >= heard, "{ticks} of {heard} ticks");
}
