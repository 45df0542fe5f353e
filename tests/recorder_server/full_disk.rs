//! A disk that fills up ends the recording, and nothing else.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use jamulet::protocol::{Message, RecorderState};
use jamulet::units::{FrameSize, Layout};
use jamulet_testkit::probe::{Probe, layout};
use jamulet_testkit::recording::{Session, sessions};

use crate::program::Program;

/// A file system of its own, of `kib` KiB.
struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    fn new(kib: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("size={kib}k");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "jamulet-test"]).arg(folder.path());
        let output = { mount }.output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "run this test as root, it mounts a small disk: {error}");
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.folder.path()).status();
    }
}

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
    // Every tick's packet has come, each with the next number.
    let numbers: Vec<u8> = probe.packets.iter().filter_map(|(_, packet)| packet.last().copied()).collect();
    let jumps = numbers.windows(2).filter(|pair| pair[1] != pair[0].wrapping_add(1)).count();
    assert_eq!(jumps, 0, "packets are missing");
    probe.run_for(Duration::from_millis(10)).unwrap();
    let folders = sessions(directory).unwrap();
    assert_eq!(folders.len(), 1, "off is off");
    (complaint, folders.into_iter().next().unwrap())
}

#[test]
fn a_full_disk_ends_the_recording_and_leaves_what_fitted() {
    // 4 s of two stereo files.
    let disk = SmallDisk::new(1600);
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
    let disk = SmallDisk::new(4096);
    let (complaint, folder) = play_until_full(disk.path(), "2M");
    assert!(complaint.contains("The recording disk has less than 2 MiB free: make room"), "{complaint}");
    let session = Session::read(&folder).unwrap();
    session.check(128).unwrap();
    let bytes: usize = session.files.values().map(|file| 2 * file.values.len()).sum();
    // Looked at every second, in which 375 KiB come.
    assert!((1_900_000..2_800_000).contains(&bytes), "{bytes} bytes");
}
