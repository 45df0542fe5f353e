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
/// News may come this long after the last client has left, or anything else has happened.
const LOOK_ON: Duration = Duration::from_secs(5);
/// Losses are told at most this often.
const LOSS_INTERVAL: Duration = Duration::from_secs(10);

/// Recording as the core knows it.
pub(super) struct Recording {
    /// `None` until there has been a folder.
    tap: Option<Tap>,
    /// Where sessions go; shown to admins. Empty: nowhere, and nothing can be recorded.
    directory: PathBuf,
    /// What the admin wants, if it is possible.
    is_wanted: bool,
    is_session_running: bool,
    /// Why recording is impossible or has stopped by itself; empty when it is neither.
    error: String,
    lost_frames: u64,
    /// Of them, not yet in any event.
    untold_losses: u64,
    /// No event about losses before.
    losses_due: Time,
    /// What clients were told last.
    told: RecorderState,
    /// When to look for news.
    look_due: Option<Time>,
    /// Until when to look on, whoever is there.
    look_until: Time,
}

impl Default for Recording {
    fn default() -> Self {
        Self {
            tap: None,
            directory: PathBuf::new(),
            is_wanted: true,
            is_session_running: false,
            error: String::new(),
            lost_frames: 0,
            untold_losses: 0,
            losses_due: Time::ZERO,
            told: RecorderState::NotInitialised,
            look_due: None,
            look_until: Time::ZERO,
        }
    }
}

impl Recording {
    /// The tick's end of the recorder.
    pub(super) fn tap(&mut self) -> Option<&mut Tap> {
        self.tap.as_mut()
    }

    /// There may be news soon.
    pub(super) fn look_by(&mut self, now: Time) {
        self.look_due.get_or_insert(now + LOOK_INTERVAL);
    }

    fn state(&self) -> RecorderState {
        match &self.tap {
            Some(_) if self.directory.as_os_str().is_empty() => RecorderState::NotInitialised,
            Some(tap) if tap.is_enabled() => RecorderState::Recording,
            Some(_) => RecorderState::NotEnabled,
            None => RecorderState::NotInitialised,
        }
    }

    /// No folder any more, for this reason; empty if it is nobody's fault.
    fn lose_directory(&mut self, now: Time, tick: u64, reason: String) {
        self.look_until = now + LOOK_ON;
        if let Some(tap) = &mut self.tap {
            tap.stop(tick);
        }
        self.directory = PathBuf::new();
        self.error = reason;
    }
}

impl Core {
    /// Gives the server a recorder that writes into `directory`; it is off.
    pub fn set_recorder(&mut self, mut tap: Tap, directory: PathBuf) {
        for channel in self.roster.iter() {
            let name = channel.info().map_or("", |info| &info.name);
            tap.join(self.counters.ticks, channel.id(), channel.address(), name);
        }
        self.recording.tap = Some(tap);
        self.recording.directory = directory;
        if self.is_empty() {
            // There is nobody to tell.
            self.recording.told = self.recording.state();
        }
    }

    /// A folder has been found fit for recordings, or not, which ends the recording. `true` when the tap is used: not
    /// if there is one already.
    pub(in crate::server) fn take_recorder(
        &mut self,
        now: Time,
        made: Result<(Tap, PathBuf), String>,
    ) -> bool {
        let has_none = self.recording.tap.is_none();
        let is_used = match made {
            Ok((tap, directory)) => {
                if has_none {
                    self.set_recorder(tap, directory.clone());
                }
                // There is a recorder.
                let _ = self.record(now, RecordCommand::SetDirectory(directory));
                has_none
            }
            Err(reason) => {
                let told = self.recording.told;
                self.recording.lose_directory(now, self.counters.ticks, reason);
                self.follow_recorder(now);
                if self.recording.told == told {
                    let status = self.recorder_status();
                    self.report(Event::Recorder(status));
                }
                false
            }
        };
        self.collect_messages(now);
        is_used
    }

    /// What clients are told about recording.
    pub(super) fn recorder_state(&self) -> RecorderState {
        self.recording.state()
    }

    pub(super) fn recorder_status(&self) -> RecorderStatus {
        let recording = &self.recording;
        RecorderStatus {
            is_available: recording.state() != RecorderState::NotInitialised,
            is_enabled: recording.state() == RecorderState::Recording,
            is_recording: recording.is_session_running,
            directory: recording.directory.to_string_lossy().into_owned(),
            error: recording.error.clone(),
            lost_frames: recording.lost_frames,
        }
    }

    pub(super) fn record(&mut self, now: Time, command: RecordCommand) -> Result<(), CommandError> {
        let tick = self.counters.ticks;
        let recording = &mut self.recording;
        match command {
            // As in Jamulus, also before there is a folder.
            RecordCommand::Start => recording.is_wanted = true,
            RecordCommand::Stop => recording.is_wanted = false,
            _ => {}
        }
        if let RecordCommand::SetDirectory(directory) = &command
            && directory.as_os_str().is_empty()
        {
            recording.lose_directory(now, tick, String::new());
            self.follow_recorder(now);
            return Ok(());
        }
        let is_new_folder = matches!(command, RecordCommand::SetDirectory(_));
        let has_folder = is_new_folder || recording.state() != RecorderState::NotInitialised;
        let tap = recording.tap.as_mut().filter(|_| has_folder).ok_or(CommandError::NoRecorder)?;
        match command {
            RecordCommand::Start => tap.start(tick),
            RecordCommand::Stop => tap.stop(tick),
            RecordCommand::Toggle if tap.is_enabled() => tap.stop(tick),
            RecordCommand::Toggle => tap.start(tick),
            RecordCommand::Restart => tap.restart(tick),
            RecordCommand::SetDirectory(directory) => {
                recording.error.clear();
                recording.directory.clone_from(&directory);
                tap.set_directory(directory);
                if recording.is_wanted {
                    tap.start(tick);
                }
            }
        }
        if tap.is_enabled() {
            recording.error.clear();
        }
        if !is_new_folder {
            recording.is_wanted = tap.is_enabled();
        }
        recording.look_until = now + LOOK_ON;
        self.follow_recorder(now);
        Ok(())
    }

    /// When [`Self::follow_recorder`] may have something to do.
    pub(super) fn recorder_look_due(&self) -> Option<Time> {
        self.recording.look_due
    }

    pub(super) fn tell_recorder_the_name(&mut self, id: ChannelId) {
        let Some(tap) = self.recording.tap() else { return };
        if let Some(info) = self.roster.get_mut(id).and_then(|channel| channel.info()) {
            tap.rename(id, &info.name);
        }
    }

    /// Passes on what the recorder has to tell.
    pub(super) fn follow_recorder(&mut self, now: Time) {
        let state_before = self.recording.told;
        let is_news = self.take_reports(now);
        self.tell_losses(now);
        let recording = &mut self.recording;
        let state = recording.state();
        if state == RecorderState::Recording && self.roster.len() > 0 {
            recording.look_until = now + LOOK_ON;
        }
        let may_have_news =
            recording.is_session_running || recording.untold_losses > 0 || now < recording.look_until;
        recording.look_due = may_have_news.then(|| now + LOOK_INTERVAL);
        if state != state_before {
            recording.told = state;
            for channel in self.roster.iter_mut() {
                channel.set_recorder_state(now, state);
            }
        }
        if is_news || state != state_before {
            let status = self.recorder_status();
            self.report(Event::Recorder(status));
        }
    }

    /// Whether something has changed that is told.
    fn take_reports(&mut self, now: Time) -> bool {
        let mut has_changed = false;
        while let Some(report) = self.recording.tap.as_mut().and_then(Tap::poll_report) {
            let recording = &mut self.recording;
            match report {
                RecorderReport::SessionBegan { .. } => {
                    has_changed |= !std::mem::replace(&mut recording.is_session_running, true);
                }
                RecorderReport::SessionEnded { .. } => {
                    has_changed |= std::mem::replace(&mut recording.is_session_running, false);
                }
                RecorderReport::Stopped { reason } => {
                    has_changed = true;
                    recording.is_session_running = false;
                    recording.error.clone_from(&reason);
                    self.broadcast(now, format!("<b>Recording has stopped.</b> {}", escape_html(&reason)));
                }
                RecorderReport::Warning { reason } => self.report(Event::RecorderWarning(reason)),
                RecorderReport::LostFrames(frames) => {
                    recording.lost_frames += frames;
                    recording.untold_losses += frames;
                }
            }
        }
        has_changed
    }

    fn tell_losses(&mut self, now: Time) {
        let recording = &mut self.recording;
        if recording.untold_losses > 0 && now >= recording.losses_due {
            recording.losses_due = now + LOSS_INTERVAL;
            let frames = std::mem::take(&mut recording.untold_losses);
            let sentence = format!(
                "{frames} frames could not be written in time and are silence in the recording. Is the disk too slow?"
            );
            self.report(Event::RecorderWarning(sentence));
        }
    }
}
