//! What the core tells of its recorder, also when nobody is left.

use std::time::Duration;

use jamulet::server::{
    Command, Config, Core, Event, RecordCommand, RecorderOptions, RecorderStatus, Scribe, Tap, recorder,
};
use jamulet::units::{ChannelId, FrameSize, Layout, Time};

use crate::deck::Deck;

/// A recorder that is on, into whose tap somebody has played for `ticks` and left.
fn played(directory: &std::path::Path, ticks: u64) -> (Tap, Scribe) {
    let options = RecorderOptions { min_free_bytes: 0, ..RecorderOptions::new(directory.to_owned()) };
    let (mut tap, scribe) = recorder(options, FrameSize::Samples128, 10);
    tap.start(0);
    tap.join(0, ChannelId(9), Deck::address(9), "Ann");
    for tick in 0..ticks {
        tap.write(tick, ChannelId(9), Layout::Stereo, &[0.1; 256]);
        tap.end_tick(tick);
    }
    tap.leave(ticks, ChannelId(9));
    (tap, scribe)
}

fn start(core: &mut Core, now: Time) {
    core.execute(now, Command::Record(RecordCommand::Start)).unwrap();
}

/// Does what is due until `end`; what was told, with the times in milliseconds.
fn run(core: &mut Core, end: Time) -> Vec<(u64, Event)> {
    let mut told = Vec::new();
    let mut now = Time::ZERO;
    loop {
        told.extend(std::iter::from_fn(|| core.poll_event()).map(|event| (now.as_micros() / 1000, event)));
        match core.poll_timeout().filter(|due| *due <= end) {
            Some(due) => now = now.max(due),
            None => return told,
        }
        core.handle_timeout(now);
    }
}

#[test]
fn lost_sound_is_named_at_most_every_10_s_and_is_no_news_of_the_state() {
    let folder = tempfile::tempdir().unwrap();
    let mut core = Core::new(Time::ZERO, Config::default(), 1);
    // 30 s of sound in stereo fit.
    let (tap, _scribe) = played(folder.path(), 20_000);
    core.set_recorder(tap, folder.path().to_owned());
    start(&mut core, Time::ZERO);
    let (tap, _scribe) = played(folder.path(), 12_000);
    core.set_recorder(tap, folder.path().to_owned());
    start(&mut core, Time::ZERO);
    let told = run(&mut core, Time::from_micros(60_000_000));
    let [(0, Event::RecorderWarning(first)), (later, Event::RecorderWarning(next))] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(
        [first.as_str(), next],
        [8750, 750].map(|frames| format!(
            "{frames} frames could not be written in time and are silence in the recording. Is the disk too slow?"
        ))
    );
    assert!((10_000..10_500).contains(later), "{later}");
    assert_eq!(core.status(Time::ZERO).recorder.lost_frames, 9500);
    assert_eq!(core.poll_timeout(), None, "an idle server sleeps");
}

#[test]
fn what_comes_after_the_last_client_has_left_is_told() {
    let folder = tempfile::tempdir().unwrap();
    for directory in [folder.path(), std::path::Path::new("/proc/none")] {
        let mut core = Core::new(Time::ZERO, Config::default(), 1);
        let (tap, mut scribe) = played(directory, 10);
        core.set_recorder(tap, directory.to_owned());
        start(&mut core, Time::ZERO);
        run(&mut core, Time::from_micros(3_000_000));
        scribe.work(Time::ZERO + Duration::from_secs(3), jiff::Timestamp::UNIX_EPOCH);
        let told = run(&mut core, Time::from_micros(60_000_000));
        let statuses: Vec<&RecorderStatus> = told
            .iter()
            .filter_map(|(_, event)| if let Event::Recorder(status) = event { Some(status) } else { None })
            .collect();
        let [status] = statuses[..] else { panic!("{told:?}") };
        let has_failed = !status.error.is_empty();
        assert_eq!((status.is_recording, has_failed), (false, directory != folder.path()));
        assert_eq!(core.poll_timeout(), None, "an idle server sleeps");
    }
}
