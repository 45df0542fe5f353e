//! The tap keeps the realtime rule: no allocation or free, no system call, no clock; while recording, while the rings
//! overflow, and when notes do not fit any more.
#![cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]

use std::net::SocketAddr;

use jamulet::server::{RecorderOptions, RecorderReport, Tap, recorder};
use jamulet::units::{ChannelId, FrameSize, Layout};
use jamulet_testkit::guard;

const SLOTS: usize = 20;

fn join_everyone(tap: &mut Tap, tick: u64) {
    for channel in 0..SLOTS as u8 {
        let address = SocketAddr::from(([192, 0, 2, channel], 22_134));
        tap.join(tick, ChannelId(channel), address, "Somebody");
    }
}

/// One tick of everyone; every client changes its layout now and then, which begins a file.
fn tick(tap: &mut Tap, tick: u64) {
    let sound = [0.25; 256];
    for channel in 0..SLOTS as u8 {
        let layout =
            if (tick / 100 + u64::from(channel)).is_multiple_of(2) { Layout::Mono } else { Layout::Stereo };
        let sound = &sound[..128 * layout.channels()];
        guard::watch(|| tap.write(tick, ChannelId(channel), layout, sound));
    }
    guard::watch(|| tap.end_tick(tick));
}

#[test]
fn the_tap_keeps_the_realtime_rule() {
    let folder = tempfile::tempdir().unwrap();
    let options = RecorderOptions { min_free_bytes: 0, ..RecorderOptions::new(folder.path().to_owned()) };
    let (mut tap, mut scribe) = recorder(options, FrameSize::Samples128, SLOTS);
    // The scribe works elsewhere, as in a server: its allocations are its own.
    let (more, turns) = std::sync::mpsc::channel::<()>();
    let (done, finished) = std::sync::mpsc::channel();
    let scribe = std::thread::Builder::new().spawn(move || {
        for () in turns {
            scribe.work(jamulet::units::Time::ZERO, jiff::Timestamp::UNIX_EPOCH);
            done.send(()).unwrap();
        }
    });
    let ticks = std::thread::Builder::new().spawn(move || {
        guard::arm().unwrap();
        join_everyone(&mut tap, 0);
        tap.start(0);
        for number in 0..1000 {
            tick(&mut tap, number);
            if number % 19 == 0 {
                more.send(()).unwrap();
                finished.recv().unwrap();
            }
        }
        assert!(tap.is_enabled() && matches!(tap.poll_report(), Some(RecorderReport::SessionBegan { .. })));
        assert_eq!(tap.poll_report(), None);
        // Nobody takes anything any more: first there is no room for sound, and then for notes.
        let mut number = 1000;
        while number < 50_000 {
            tick(&mut tap, number);
            number += 1;
        }
        assert!(tap.is_enabled(), "the scribe may come back");
        let reports: Vec<RecorderReport> = std::iter::from_fn(|| tap.poll_report()).collect();
        let [RecorderReport::LostFrames(lost)] = reports[..] else {
            panic!("{reports:?}");
        };
        assert!(lost > 10_000, "{lost}");
        guard::report()
    });
    let report = ticks.unwrap().join().unwrap();
    scribe.unwrap().join().unwrap();
    assert!(report.is_clean() && report.wakeups == 0, "{report}");
    assert!(report.calls > 40_000, "{report}");
}
