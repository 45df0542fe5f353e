//! A disk that stops answering holds up neither the jam nor the server's end.

use std::path::Path;
use std::time::{Duration, Instant};

use jamulet::server::RecorderOptions;
use jamulet_testkit::recording::sessions;

use crate::folders::{join, make_fifo, start};

/// Puts a pipe in the way of the session's next project file: whoever opens that waits for ever.
fn block(session: &Path) -> std::path::PathBuf {
    let name = session.file_name().unwrap().to_str().unwrap();
    let pipe = session.join(format!(".{name}.rpp.part"));
    let deadline = Instant::now() + Duration::from_secs(20);
    // The true file is there now and then for a moment.
    while !make_fifo(&pipe) {
        assert!(Instant::now() < deadline);
    }
    pipe
}

#[test]
fn a_server_stops_in_time_though_its_recorder_is_stuck() {
    let folder = tempfile::tempdir().unwrap();
    let options = RecorderOptions { min_free_bytes: 0, ..RecorderOptions::new(folder.path().to_owned()) };
    let server = start(Some(options));
    let mut ann = join(&server);
    ann.wait_until("a session", |_| !sessions(folder.path()).unwrap().is_empty()).unwrap();
    let session = sessions(folder.path()).unwrap().remove(0);
    let pipe = block(&session);
    let mixdown = session.join("mixdown.wav");
    let mut length = 0;
    // Written every 0.4 s unless stuck.
    let mut is_stuck = || {
        let before = std::mem::replace(&mut length, std::fs::metadata(&mixdown).unwrap().len());
        before == length
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_stuck() {
        assert!(Instant::now() < deadline);
        ann.run_for(Duration::from_secs(2)).unwrap();
    }
    let known = ann.packets.len();
    ann.wait_until("sound", |ann| ann.packets.len() > known + 100).unwrap();
    let began = Instant::now();
    server.stop();
    let took = began.elapsed();
    println!("stopped in {took:?}");
    // 0.8 s is what it waits for files; the rest is for busy machines.
    assert!(took > Duration::from_millis(700), "it was not stuck: {took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    // Lets the thread go: it finishes the files.
    drop(std::fs::File::open(&pipe).unwrap());
}
