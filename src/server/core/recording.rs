//! The core's side of recording: who is recorded, and who is told.

use std::path::PathBuf;
use std::time::Duration;

use super::Core;
use crate::protocol::{RecorderState, escape_html};
use crate::server::command::{CommandError, RecordCommand};
use crate::server::event::Event;
use crate::server::recorder::{RecorderReport, Tap};
use crate::server::status::RecorderStatus;
use crate::units::{ChannelId, Time};

/// How often the recorder is asked for news while there may be some.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// A recorder as the core knows it.
pub(super) struct Recording {
    tap: Tap,
    /// Where sessions go; shown to admins.
    directory: PathBuf,
    is_session_running: bool,
    /// Why recording has stopped by itself; empty when it has not.
    error: String,
    lost_frames: u64,
    /// What clients were told last.
    told: RecorderState,
    /// When to look for news.
    look_due: Option<Time>,
}

impl Recording {
    /// The tick's end of the recorder.
    pub(super) fn tap(&mut self) -> &mut Tap {
        &mut self.tap
    }

    /// There may be news soon.
    pub(super) fn look_by(&mut self, now: Time) {
        self.look_due.get_or_insert(now + LOOK_INTERVAL);
    }

    fn state(&self) -> RecorderState {
        if self.tap.is_enabled() { RecorderState::Recording } else { RecorderState::NotEnabled }
    }
}

impl Core {
    /// Gives the server a recorder that writes into `directory`; it is off.
    pub fn set_recorder(&mut self, tap: Tap, directory: PathBuf) {
        self.recording = Some(Recording {
            tap,
            directory,
            is_session_running: false,
            error: String::new(),
            lost_frames: 0,
            told: RecorderState::NotEnabled,
            look_due: None,
        });
    }

    /// What clients are told about recording.
    pub(super) fn recorder_state(&self) -> RecorderState {
        self.recording.as_ref().map_or(RecorderState::NotInitialised, Recording::state)
    }

    pub(super) fn recorder_status(&self) -> RecorderStatus {
        let Some(recording) = &self.recording else { return RecorderStatus::default() };
        RecorderStatus {
            is_available: true,
            is_enabled: recording.tap.is_enabled(),
            is_recording: recording.is_session_running,
            directory: recording.directory.to_string_lossy().into_owned(),
            error: recording.error.clone(),
            lost_frames: recording.lost_frames,
        }
    }

    pub(super) fn record(&mut self, now: Time, command: RecordCommand) -> Result<(), CommandError> {
        let tick = self.counters.ticks;
        let recording = self.recording.as_mut().ok_or(CommandError::NoRecorder)?;
        match command {
            RecordCommand::Start => recording.tap.start(tick),
            RecordCommand::Stop => recording.tap.stop(tick),
            RecordCommand::Toggle if recording.tap.is_enabled() => recording.tap.stop(tick),
            RecordCommand::Toggle => recording.tap.start(tick),
            RecordCommand::Restart => recording.tap.restart(tick),
            RecordCommand::SetDirectory(directory) => {
                recording.directory.clone_from(&directory);
                recording.tap.set_directory(directory);
            }
        }
        if recording.tap.is_enabled() {
            recording.error.clear();
        }
        self.follow_recorder(now);
        Ok(())
    }

    /// When [`Self::follow_recorder`] may have something to do.
    pub(super) fn recorder_look_due(&self) -> Option<Time> {
        self.recording.as_ref()?.look_due
    }

    pub(super) fn tell_recorder_the_name(&mut self, id: ChannelId) {
        let Some(recording) = &mut self.recording else { return };
        if let Some(info) = self.roster.get_mut(id).and_then(|channel| channel.info()) {
            recording.tap.rename(id, &info.name);
        }
    }

    /// Passes on what the recorder has to tell.
    pub(super) fn follow_recorder(&mut self, now: Time) {
        let Some(recording) = &mut self.recording else { return };
        let mut has_changed = recording.state() != recording.told;
        let mut complaint = None;
        while let Some(report) = recording.tap.poll_report() {
            match report {
                RecorderReport::SessionBegan { .. } => recording.is_session_running = true,
                RecorderReport::SessionEnded { .. } => recording.is_session_running = false,
                RecorderReport::Stopped { reason } => {
                    recording.is_session_running = false;
                    recording.error.clone_from(&reason);
                    complaint = Some(reason);
                }
                RecorderReport::Warning { .. } => {}
                RecorderReport::LostFrames(frames) => recording.lost_frames += frames,
            }
            has_changed = true;
        }
        let may_have_news =
            recording.is_session_running || recording.tap.is_enabled() && self.roster.len() > 0;
        recording.look_due = may_have_news.then(|| now + LOOK_INTERVAL);
        let state = recording.state();
        if recording.told != state {
            recording.told = state;
            for channel in self.roster.iter_mut() {
                channel.set_recorder_state(now, state);
            }
        }
        if let Some(reason) = complaint {
            self.broadcast(now, format!("<b>Recording has stopped.</b> {}", escape_html(&reason)));
        }
        if has_changed {
            let status = self.recorder_status();
            self.report(Event::Recorder(status));
        }
    }
}
