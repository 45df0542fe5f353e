//! Folders that are named while the server runs, and folders that are no good.

use std::ffi::CString;
use std::net::Ipv4Addr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use jamulet::protocol::{Message, RecorderState};
use jamulet::server::{
    Command, CommandError, Event, Options, RecordCommand, RecorderOptions, RecorderStatus, Server,
};
use jamulet::units::{FrameSize, Layout};
use jamulet_testkit::probe::{Probe, layout};
use jamulet_testkit::recording::{Session, sessions};

pub(crate) fn start(recorder: Option<RecorderOptions>) -> Server {
    let bind_ip4 = Some(Ipv4Addr::LOCALHOST);
    Server::start(Options { port: 0, bind_ip4, recorder, ..Options::default() }).unwrap()
}

pub(crate) fn join(server: &Server) -> Probe {
    let usual = layout(FrameSize::Samples128, Layout::Mono);
    Probe::join_playing(server.local_addr(), "Ann", usual, |index| (index % 100) as f32 / 400.0).unwrap()
}

/// A pipe: whoever opens it to write waits until somebody reads.
pub(crate) fn make_fifo(path: &Path) -> bool {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: a plain call with a string that lives long enough.
    unsafe { libc::mkfifo(path.as_ptr(), 0o600) == 0 }
}

fn record_into(server: &Server, folder: &Path) -> Result<(), CommandError> {
    server.handle().execute(Command::Record(RecordCommand::SetDirectory(folder.to_owned())))
}

fn status(server: &Server) -> RecorderStatus {
    server.handle().status().unwrap().recorder
}

fn wait_for_state(probe: &mut Probe, wanted: RecorderState) {
    let is = |message: &Message| matches!(message, Message::RecorderState(state) if *state == wanted);
    probe.wait_for("a recorder state", |message| is(message).then_some(())).unwrap();
}

#[test]
fn a_server_without_a_folder_records_those_who_play_as_soon_as_it_has_one() {
    let server = start(None);
    let mut ann = join(&server);
    wait_for_state(&mut ann, RecorderState::NotInitialised);
    let start = Command::Record(RecordCommand::Start);
    assert_eq!(server.handle().execute(start), Err(CommandError::NoRecorder));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made/by/the/server");
    record_into(&server, &path).unwrap();
    wait_for_state(&mut ann, RecorderState::Recording);
    ann.wait_until("a session", |_| status(&server).is_recording).unwrap();
    ann.run_for(Duration::from_millis(500)).unwrap();
    record_into(&server, Path::new("")).unwrap();
    let now = status(&server);
    assert!(!now.is_available && !now.is_enabled && now.directory.is_empty() && now.error.is_empty());
    ann.wait_until("the session's end", |_| !status(&server).is_recording).unwrap();
    let found = sessions(&path).unwrap();
    assert_eq!(found.len(), 1);
    let session = Session::read(&found[0]).unwrap();
    session.check(128).unwrap();
    assert_eq!(session.items[0].track.split('-').next(), Some("Ann_"));
    assert!(session.mixdown().samples() > 4800);
    record_into(&server, &path).unwrap();
    ann.wait_until("another session", |_| sessions(&path).unwrap().len() == 2).unwrap();
    server.stop();
    Session::read(&sessions(&path).unwrap()[1]).unwrap().check(128).unwrap();
}

#[test]
fn a_server_starts_whatever_its_folder_is_like() {
    let server = start(Some(RecorderOptions::new("/proc/none/x".into())));
    let recorder = status(&server);
    assert!(!recorder.is_available && recorder.directory.is_empty());
    assert!(recorder.error.starts_with("Recordings cannot be written to /proc/none/x: "), "{recorder:?}");
    let event = server.events().recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(event, Event::Recorder(recorder.clone()));
    assert_eq!(event.to_string(), recorder.error);
    let mut ann = join(&server);
    wait_for_state(&mut ann, RecorderState::NotInitialised);
    let folder = tempfile::tempdir().unwrap();
    record_into(&server, folder.path()).unwrap();
    ann.wait_until("a session", |_| status(&server).is_recording).unwrap();
}

#[test]
fn a_folder_that_hangs_is_refused_in_time() {
    let (good, bad) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // The file that is written to see whether one can.
    let pipe = bad.path().join(format!(".jamulet-{}", std::process::id()));
    assert!(make_fifo(&pipe));
    let server = start(None);
    for _ in 0..2 {
        let began = Instant::now();
        let refused = record_into(&server, bad.path()).unwrap_err();
        println!("refused after {:?}", began.elapsed());
        assert!(began.elapsed() < Duration::from_secs(10));
        let CommandError::BadRecordingDirectory(reason) = refused else { panic!("{refused:?}") };
        assert!(reason.contains("does not answer"), "{reason}");
        assert_eq!(status(&server).error, reason);
    }
    // The disk comes back: the look that hung ends, and the next is taken.
    let reader = std::fs::File::open(&pipe).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while record_into(&server, good.path()).is_err() {
        assert!(Instant::now() < deadline);
    }
    drop(reader);
    assert!(status(&server).is_enabled);
}
