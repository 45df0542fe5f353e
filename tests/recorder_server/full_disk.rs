//! A disk that fills up ends the recording, and nothing else.

use std::path::{Path, PathBuf};

use jamulet::protocol::{Message, RecorderState};
use jamulet::units::{FrameSize, Layout};
use jamulet_testkit::probe::{Probe, layout};
use jamulet_testkit::recording::{Session, sessions};
use jamulet_testkit::small_disk::SmallDisk;

use crate::program::Program;

/// Plays until clients are told that recording has stopped, and on: sound keeps coming.
fn play_until_full(directory: &Path, min_free: &str) -> (String, PathBuf) {
    let server = Program::record_into(directory, &["--minfreespace", min_free]);
    let usual = layout(FrameSize::Samples128, Layout::Stereo);
    let mut probe =
        Probe::join_playing(server.address, "Ann", usual, |index| (index % 100) as f32 / 400.0).unwrap();
    let is = |message: &Message, wanted| matches!(message, Message::RecorderState(state) if *state == wanted);
    probe.wait_for("recording", |message| is(message, RecorderState::Recording).then_some(())).unwrap();
    let complaint = |message: &Message| match message {
        Message::ChatText(text) if text.contains("Recording has stopped") => Some(text.clone()),
        _ => None,
    };
    let complaint = probe.wait_for("a complaint", complaint).unwrap();
    probe.wait_for("not recording", |message| is(message, RecorderState::NotEnabled).then_some(())).unwrap();
    let known = probe.packets.len();
    probe.wait_until("two more seconds of sound", |probe| probe.packets.len() > known + 750).unwrap();
    let folders = sessions(directory).unwrap();
    assert_eq!(folders.len(), 1, "off is off");
    (complaint, folders.into_iter().next().unwrap())
}

#[test]
fn a_full_disk_ends_the_recording_and_leaves_what_fitted() {
    // 4 s of two stereo files.
    let disk = SmallDisk::mount(1600).unwrap();
    let (complaint, folder) = play_until_full(disk.path(), "0");
    assert!(
        complaint.contains("A recording cannot be written") && complaint.contains("space"),
        "{complaint}"
    );
    let session = Session::read(&folder).unwrap();
    assert_eq!((session.items.len(), session.files.len()), (1, 2));
    for (name, file) in &session.files {
        assert!(file.samples() > 2 * 48_000, "{name} has {} samples", file.samples());
    }
    assert!(session.items[0].length > 1.0, "{:?}", session.items);
}

#[test]
fn recording_ends_before_the_disk_is_full() {
    let disk = SmallDisk::mount(8192).unwrap();
    let (complaint, folder) = play_until_full(disk.path(), "6M");
    assert!(complaint.contains("The recording disk has less than 6 MiB free: make room"), "{complaint}");
    let session = Session::read(&folder).unwrap();
    session.check(128).unwrap();
    let bytes: usize = session.files.values().map(|file| 2 * file.values.len()).sum();
    // Looked at every second, in which 375 KiB come; a busy machine may be late.
    assert!((1_700_000..6_000_000).contains(&bytes), "{bytes} bytes");
}
