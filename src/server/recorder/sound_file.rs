//! One sound file that can be read at any moment while it grows.
//!
//! Sound collects in memory until [`SoundFile::flush`] writes it, and only then a header that tells of it: whatever
//! ends the program in between, the file holds at least what its header says.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use super::RecordingFormat;
use super::flac::Flac;
use super::wav::Wav;
use crate::units::Layout;

/// Sound is written at the latest when this much waits, in bytes.
const MAX_WAITING_BYTES: usize = 1 << 18;

/// A growing sound file.
pub(super) struct SoundFile {
    file: File,
    coding: Coding,
    layout: Layout,
    full_scale: f32,
    /// Where the next bytes go.
    end: u64,
    /// Coded sound that is not yet in the file.
    waiting: Vec<u8>,
}

enum Coding {
    Wav(Wav),
    Flac(Box<Flac>),
}

impl SoundFile {
    /// A new file without sound.
    ///
    /// # Errors
    /// When the system refuses it, also when `path` exists.
    pub(super) fn create(path: &Path, format: RecordingFormat, layout: Layout) -> io::Result<Self> {
        let coding = match format {
            RecordingFormat::Wav16 | RecordingFormat::Wav24 => Coding::Wav(Wav::new(layout, format.bits())),
            RecordingFormat::Flac => Coding::Flac(Box::new(Flac::new(layout, format.bits())?)),
        };
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        let full_scale = (1_u32 << (format.bits() - 1)) as f32;
        let mut new = Self { file, coding, layout, full_scale, end: 0, waiting: Vec::new() };
        new.waiting = new.header();
        new.flush()?;
        Ok(new)
    }

    /// Mono or stereo.
    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    /// Appends interleaved samples: rounded to the nearest, limited to full scale, not dithered.
    ///
    /// # Errors
    /// When the system refuses to write.
    pub(super) fn append(&mut self, samples: &[f32]) -> io::Result<()> {
        let full_scale = self.full_scale;
        // What is no number becomes zero.
        let values = samples
            .iter()
            .map(|sample| (sample * full_scale).round().clamp(-full_scale, full_scale - 1.0) as i32);
        match &mut self.coding {
            Coding::Wav(wav) => wav.append(values, &mut self.waiting),
            Coding::Flac(flac) => flac.append(values, &mut self.waiting)?,
        }
        if self.waiting.len() > MAX_WAITING_BYTES { self.flush() } else { Ok(()) }
    }

    /// Appends silence.
    ///
    /// # Errors
    /// When the system refuses to write.
    pub(super) fn append_silence(&mut self, mut values: usize) -> io::Result<()> {
        const ZEROS: [f32; 256] = [0.0; 256];
        while values > 0 {
            let length = values.min(ZEROS.len());
            self.append(&ZEROS[..length])?;
            values -= length;
        }
        Ok(())
    }

    /// Writes what waits, then the header.
    ///
    /// # Errors
    /// When the system refuses; the file then holds what it held before.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if !self.waiting.is_empty() {
            self.file.seek(SeekFrom::Start(self.end))?;
            if let Err(error) = self.file.write_all(&self.waiting) {
                // A piece may have fitted; the header does not know of it.
                let _ = self.file.set_len(self.end);
                return Err(error);
            }
            self.end += self.waiting.len() as u64;
            self.waiting.clear();
        }
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&self.header())
    }

    /// Completes the file.
    ///
    /// # Errors
    /// When the system refuses; the file then holds what it held at the last flush.
    pub(super) fn finish(mut self) -> io::Result<()> {
        if let Coding::Flac(flac) = &mut self.coding {
            flac.finish(&mut self.waiting)?;
        }
        self.flush()
    }

    /// For what is in the file.
    fn header(&self) -> Vec<u8> {
        match &self.coding {
            Coding::Wav(wav) => wav.header(self.end),
            Coding::Flac(flac) => flac.header(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// A file whose middle is a hole: 4 GiB that take no space.
    #[test]
    fn a_file_grows_beyond_4_gib() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long.wav");
        let mut file = SoundFile::create(&path, RecordingFormat::Wav16, Layout::Stereo).unwrap();
        file.append(&[0.5; 256]).unwrap();
        file.flush().unwrap();
        file.end = (1 << 32) - 256;
        let before = file.end;
        file.append(&[0.25; 256]).unwrap();
        file.flush().unwrap();
        assert_eq!(file.end, before + 512);
        file.append(&[0.125; 256]).unwrap();
        file.finish().unwrap();
        let mut opened = File::open(&path).unwrap();
        assert_eq!(opened.metadata().unwrap().len(), before + 1024);
        let mut start = [0; 84];
        opened.read_exact(&mut start).unwrap();
        assert_eq!((&start[..4], &start[80..82]), (&b"RF64"[..], &0x4000_i16.to_le_bytes()[..]));
        assert_eq!(start[28..36], (before + 1024 - 80).to_le_bytes());
        opened.seek(SeekFrom::Start(before)).unwrap();
        let mut end = Vec::new();
        opened.read_to_end(&mut end).unwrap();
        let expected: Vec<u8> =
            [[0x2000_i16; 256], [0x1000; 256]].concat().iter().flat_map(|v| v.to_le_bytes()).collect();
        assert!(end == expected, "the end is in its place");
    }

    #[test]
    fn what_exists_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken.wav");
        std::fs::write(&path, "precious").unwrap();
        let error = SoundFile::create(&path, RecordingFormat::Wav24, Layout::Mono).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }
}
