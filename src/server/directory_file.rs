//! The file that keeps a directory's list across restarts: read at the start, written by a thread of its own.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};

use super::directories::MAX_FILE_BYTES;
use super::event::Event;

/// A directory's file. Dropping it ends its thread once everything is written; [`Self::written`] tells when.
pub(super) struct DirectoryFile {
    /// One slot, for the newest list.
    texts: Sender<String>,
    /// The other end of it, to make room there.
    waiting: Receiver<String>,
    done: Receiver<()>,
}

impl DirectoryFile {
    /// What is in the file, and a thread to write it, which reports to `events` when it cannot. A file that
    /// does not exist yet is an empty one.
    ///
    /// # Errors
    /// The system's, when there is a file that cannot be read, or the system has no thread left.
    pub(super) fn open(path: &Path, events: Sender<Event>) -> io::Result<(Self, String)> {
        let text = read(path)?;
        let (texts, waiting) = bounded(1);
        let (finished, done) = bounded(0);
        let (path, lists) = (path.to_owned(), waiting.clone());
        std::thread::Builder::new().name("jamulet-dirfile".to_owned()).spawn(move || {
            run(&path, &lists, &events);
            // Dropping it tells that all is written.
            drop(finished);
        })?;
        Ok((Self { texts, waiting, done }, text))
    }

    /// Disconnected as soon as this has been dropped and all is written.
    pub(super) fn written(&self) -> Receiver<()> {
        self.done.clone()
    }

    /// Has the file replaced by `text`. Never blocks.
    pub(super) fn write(&self, text: String) {
        if let Err(TrySendError::Full(text)) = self.texts.try_send(text) {
            // Nobody else fills the slot, so there is room once the older list is gone.
            let _ = self.waiting.try_recv();
            let _ = self.texts.try_send(text);
        }
    }
}

fn run(path: &Path, texts: &Receiver<String>, events: &Sender<Event>) {
    let mut has_failed = false;
    for text in texts {
        let outcome = replace(path, &text);
        if let Err(error) = &outcome
            && !has_failed
        {
            // Nobody reads, or nobody is left to read.
            let _ = events.try_send(Event::ListNotSaved { path: path.to_owned(), error: error.to_string() });
        }
        has_failed = outcome.is_err();
    }
}

/// At most [`MAX_FILE_BYTES`] of the file; what is no UTF-8 is passed over by the parser.
fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Whole or not at all: a new file takes the old one's place.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let new = beside(path);
    let written = File::create(&new).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    let replaced = written.and_then(|()| fs::rename(&new, path));
    if replaced.is_err() {
        // What is left of it helps nobody.
        let _ = fs::remove_file(&new);
    }
    replaced
}

/// The name of the file before it takes the place of `path`.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events that nobody reads.
    fn nobody() -> Sender<Event> {
        bounded(1).0
    }

    #[test]
    fn a_failure_is_told_once_until_it_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home");
        let (events, told) = bounded(10);
        let (texts, waiting) = bounded(10);
        let path = home.join("list");
        std::thread::scope(|scope| {
            scope.spawn(|| run(&path, &waiting, &events));
            texts.send("1".to_owned()).unwrap();
            texts.send("2".to_owned()).unwrap();
            let first = told.recv().unwrap();
            assert!(matches!(&first, Event::ListNotSaved { path: its, .. } if *its == path), "{first:?}");
            while !texts.is_empty() {
                std::thread::yield_now();
            }
            fs::create_dir(&home).unwrap();
            texts.send("3".to_owned()).unwrap();
            while !path.exists() {
                std::thread::yield_now();
            }
            fs::remove_dir_all(&home).unwrap();
            texts.send("4".to_owned()).unwrap();
            drop(texts);
        });
        assert_eq!(told.try_iter().count(), 1, "only that it has failed again");
    }

    #[test]
    fn what_was_written_last_is_read_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("directory.txt");
        let (file, text) = DirectoryFile::open(&path, nobody()).unwrap();
        assert_eq!(text, "");
        for number in 0..100 {
            file.write(format!("{number}\n"));
        }
        let written = file.written();
        drop(file);
        assert!(written.recv().is_err());
        let (_file, text) = DirectoryFile::open(&path, nobody()).unwrap();
        assert_eq!(text, "99\n");
        let names: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["directory.txt"], "nothing is left beside it");
    }

    #[test]
    fn a_folder_in_its_place_is_an_error_and_a_huge_file_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        assert!(DirectoryFile::open(folder.path(), nobody()).is_err());
        let huge = folder.path().join("huge");
        fs::write(&huge, vec![b'x'; 2 * MAX_FILE_BYTES as usize]).unwrap();
        assert_eq!(read(&huge).unwrap().len() as u64, MAX_FILE_BYTES);
    }
}
