//! One session: a folder with a file per stay, the mixdown and the projects.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::RecordingFormat;
use super::names::file_stem;
use super::projects::{Project, Stay};
use super::sound_file::SoundFile;
use crate::audio::{Limiter, StereoGain, mix_into};
use crate::units::{ChannelId, Layout};

/// A name that is taken gets a number, up to this.
const MAX_NUMBER: u32 = 10_000;
/// The mixdown's file, without ending.
const MIXDOWN: &str = "mixdown";

/// A session that is being recorded.
pub(super) struct Session {
    folder: PathBuf,
    /// The folder's last part, which also names the projects.
    name: String,
    began: Timestamp,
    format: RecordingFormat,
    tick_samples: usize,
    /// Ticks recorded so far.
    ticks: u64,
    stays: Vec<Stay>,
    open: Vec<Track>,
    mixdown: SoundFile,
    /// Of the mixdown: exactly linear up to −1 dBFS, so that the mixdown is the sum of the tracks.
    limiter: Limiter,
    /// The tick's mix, stereo.
    mix: Box<[f32]>,
    /// The projects do not show what is there.
    is_changed: bool,
}

/// The file of a stay that goes on.
struct Track {
    channel: ChannelId,
    /// Index of the stay.
    stay: usize,
    file: SoundFile,
    /// This tick's sound is in the file.
    is_written: bool,
}

impl Session {
    /// An empty session in a new folder of `directory`, which is made if need be.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn begin(
        directory: &Path,
        format: RecordingFormat,
        tick_samples: usize,
        began: Timestamp,
    ) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let name = began.strftime("Jam-%Y%m%d-%H%M%S%3f").to_string();
        let (name, ()) = numbered(&name, |name| fs::create_dir(directory.join(name)))?;
        let folder = directory.join(&name);
        let path = folder.join(MIXDOWN).with_extension(format.extension());
        let mixdown = SoundFile::create(&path, format, Layout::Stereo)?;
        Ok(Self {
            folder,
            name,
            began,
            format,
            tick_samples,
            ticks: 0,
            stays: Vec::new(),
            open: Vec::new(),
            mixdown,
            limiter: Limiter::new(),
            mix: vec![0.0; Layout::Stereo.channels() * tick_samples].into(),
            is_changed: true,
        })
    }

    /// Where it is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Stays so far.
    pub(super) fn stays(&self) -> usize {
        self.stays.len()
    }

    /// Nobody is being recorded.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Somebody's sound begins with the tick that comes next.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub(super) fn add(
        &mut self,
        channel: ChannelId,
        address: SocketAddr,
        name: &str,
        layout: Layout,
    ) -> io::Result<()> {
        let stem = file_stem(name, address, self.ticks, layout);
        let extension = self.format.extension();
        let (stem, file) = numbered(&stem, |stem| {
            SoundFile::create(&self.folder.join(format!("{stem}.{extension}")), self.format, layout)
        })?;
        let stay = self.stays.len();
        self.stays.push(Stay {
            address,
            name: name.to_owned(),
            file: format!("{stem}.{extension}"),
            first_tick: self.ticks,
            ticks: 0,
        });
        self.open.push(Track { channel, stay, file, is_written: false });
        self.is_changed = true;
        Ok(())
    }

    /// Somebody is called `name` now.
    pub(super) fn rename(&mut self, channel: ChannelId, name: &str) {
        if let Some(track) = self.open.iter().find(|track| track.channel == channel) {
            name.clone_into(&mut self.stays[track.stay].name);
            self.is_changed = true;
        }
    }

    /// Somebody's sound has ended with the last tick.
    ///
    /// # Errors
    /// When the file cannot be completed.
    pub(super) fn remove(&mut self, channel: ChannelId) -> io::Result<()> {
        let Some(index) = self.open.iter().position(|track| track.channel == channel) else { return Ok(()) };
        self.is_changed = true;
        self.open.swap_remove(index).file.finish()
    }

    /// Takes one client's sound of this tick; a layout other than that of its file is dropped.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write(&mut self, channel: ChannelId, layout: Layout, samples: &[f32]) -> io::Result<()> {
        let track = self.open.iter_mut().find(|track| track.channel == channel && !track.is_written);
        let Some(track) = track.filter(|track| track.file.layout() == layout) else { return Ok(()) };
        track.is_written = true;
        mix_into(&mut self.mix, Layout::Stereo, samples, layout, StereoGain::uniform(1.0));
        track.file.append(samples)
    }

    /// Completes the tick: silence for everyone from whom nothing came, and the mix.
    ///
    /// # Errors
    /// When something cannot be written.
    pub(super) fn end_tick(&mut self) -> io::Result<()> {
        let mut result = Ok(());
        for track in &mut self.open {
            if !std::mem::take(&mut track.is_written) {
                let values = track.file.layout().channels() * self.tick_samples;
                result = result.and(track.file.append_silence(values));
            }
            self.stays[track.stay].ticks += 1;
        }
        self.ticks += 1;
        self.limiter.limit(&mut self.mix, Layout::Stereo);
        result = result.and(self.mixdown.append(&self.mix));
        self.mix.fill(0.0);
        result
    }

    /// Brings all sound so far into the files.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        for track in &mut self.open {
            track.file.flush()?;
        }
        self.mixdown.flush()
    }

    /// Writes the projects if somebody has come, gone or taken another name since.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn write_changes(&mut self) -> io::Result<()> {
        if self.is_changed { self.write_projects() } else { Ok(()) }
    }

    /// Writes the projects, with the lengths of now.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn write_projects(&mut self) -> io::Result<()> {
        self.is_changed = false;
        let source = match self.format {
            RecordingFormat::Wav16 | RecordingFormat::Wav24 => "WAVE",
            RecordingFormat::Flac => "FLAC",
        };
        let project = Project {
            session: &self.name,
            began: self.began.as_second(),
            tick_samples: self.tick_samples,
            source,
            stays: &self.stays,
        };
        project.write(&self.folder)
    }

    /// Completes all sound files: each as well as possible, whatever becomes of the others.
    ///
    /// # Errors
    /// The first that the system had to tell.
    pub(super) fn finish(self) -> io::Result<()> {
        let mut result = Ok(());
        for track in self.open {
            result = result.and(track.file.finish());
        }
        result.and(self.mixdown.finish())
    }
}

/// Makes something new called `name`, or `name_1`, `name_2` … if that exists.
fn numbered<T>(name: &str, make: impl Fn(&str) -> io::Result<T>) -> io::Result<(String, T)> {
    let mut number = 0;
    loop {
        let name = if number == 0 { name.to_owned() } else { format!("{name}_{number}") };
        match make(&name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < MAX_NUMBER => number += 1,
            made => return made.map(|made| (name, made)),
        }
    }
}
