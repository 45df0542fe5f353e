//! What happens, told to whoever watches and written to a file, by a thread of its own: a slow disk or terminal
//! holds up nothing but itself.

mod record;

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, bail};
use crossbeam::channel::{Receiver, Sender, bounded};
use jamulet::server::Event;
use jiff::Timestamp;

pub(crate) use record::{Level, Record};

use crate::arguments::LogFormat;
use crate::effective::LogPlan;

/// Records that may wait to be written; later ones are counted and dropped until there is room.
const QUEUE_SLOTS: usize = 1024;

/// How records are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Text,
    Logfmt,
    Journal,
}

enum Job {
    Write(Timestamp, Box<Record>),
    /// Writes to this file from now on.
    SetFile(Option<File>),
    SetStyle(Style),
    /// Answers when everything before has been written.
    Finish(Sender<()>),
}

/// The log. Telling it something never blocks.
pub(crate) struct Log {
    jobs: Sender<Job>,
    dropped: Arc<AtomicU64>,
    mask: AtomicBool,
}

impl Log {
    /// Opens the log file, if any, and starts the thread.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub(crate) fn start(plan: &LogPlan) -> anyhow::Result<Self> {
        let file = plan.file.as_deref().map(open).transpose()?;
        let (jobs, receiver) = bounded(QUEUE_SLOTS);
        let dropped = Arc::new(AtomicU64::new(0));
        let mut writer = Writer {
            jobs: receiver,
            dropped: Arc::clone(&dropped),
            style: style(plan.format),
            file,
            has_failed: false,
        };
        std::thread::Builder::new().name("jamulet-log".to_owned()).spawn(move || writer.run())?;
        Ok(Self { jobs, dropped, mask: AtomicBool::new(plan.mask_addresses) })
    }

    /// Opens the file anew, which may have been moved away, and takes over the rest of `plan`.
    ///
    /// # Errors
    /// When the file cannot be opened: then the old one is written on.
    pub(crate) fn reopen(&self, plan: &LogPlan) -> anyhow::Result<()> {
        self.mask.store(plan.mask_addresses, Ordering::Relaxed);
        let _ = self.jobs.try_send(Job::SetStyle(style(plan.format)));
        let file = plan.file.as_deref().map(open).transpose()?;
        if self.jobs.try_send(Job::SetFile(file)).is_err() {
            bail!("The log is too busy to be opened anew. Send SIGHUP again.");
        }
        Ok(())
    }

    /// Tells what a server reports.
    pub(crate) fn event(&self, event: &Event) {
        if let Some(record) = Record::of(event, self.mask.load(Ordering::Relaxed)) {
            self.write(record);
        }
    }

    /// Tells anything else.
    pub(crate) fn write(&self, record: Record) {
        if self.jobs.try_send(Job::Write(Timestamp::now(), Box::new(record))).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Tells something that is not as it was meant.
    pub(crate) fn warn(&self, event: &'static str, sentence: impl Into<String>) {
        self.write(Record::told(Level::Warning, event, sentence));
    }

    /// Waits until everything is written, but not beyond `deadline`: a reader may have fallen asleep.
    pub(crate) fn finish(&self, deadline: Instant) {
        let (sender, receiver) = bounded(1);
        if self.jobs.send_deadline(Job::Finish(sender), deadline).is_ok() {
            let _ = receiver.recv_deadline(deadline);
        }
    }
}

/// Whether sentences are printed, and one more about Ctrl-C makes sense.
pub(crate) fn is_for_people(format: LogFormat) -> bool {
    style(format) == Style::Text
}

fn style(format: LogFormat) -> Style {
    match format {
        LogFormat::Text => Style::Text,
        LogFormat::Auto if io::stdout().is_terminal() => Style::Text,
        LogFormat::Auto | LogFormat::Logfmt if is_journal() => Style::Journal,
        LogFormat::Auto | LogFormat::Logfmt => Style::Logfmt,
    }
}

/// systemd's journal reads what is printed: it names the stream that it reads.
#[cfg(unix)]
fn is_journal() -> bool {
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;

    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let stdout = io::stdout().as_fd().try_clone_to_owned().map(File::from);
    let metadata = stdout.and_then(|stdout| stdout.metadata());
    metadata.is_ok_and(|found| format!("{}:{}", found.dev(), found.ino()) == stream)
}

#[cfg(not(unix))]
fn is_journal() -> bool {
    false
}

fn open(path: &Path) -> anyhow::Result<File> {
    let shown = path.display();
    // Opening one would wait for its reader.
    #[cfg(unix)]
    if std::fs::metadata(path).is_ok_and(|found| std::os::unix::fs::FileTypeExt::is_fifo(&found.file_type()))
    {
        bail!("The log file {shown} is a pipe. Choose a file with --log.");
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("The log file {shown} cannot be written. Choose another with --log"))
}

/// The thread's side.
struct Writer {
    jobs: Receiver<Job>,
    dropped: Arc<AtomicU64>,
    style: Style,
    file: Option<File>,
    /// The file could not be written, which has been told.
    has_failed: bool,
}

impl Writer {
    fn run(&mut self) {
        while let Ok(job) = self.jobs.recv() {
            match job {
                Job::Write(time, record) => self.write(time, &record),
                Job::SetStyle(style) => self.style = style,
                Job::SetFile(file) => {
                    self.file = file;
                    self.has_failed = false;
                }
                Job::Finish(done) => {
                    let _ = done.try_send(());
                }
            }
            let dropped = self.dropped.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                let sentence =
                    format!("{dropped} lines are missing here: they came faster than they can be written.");
                let record = Record::told(Level::Warning, "log_overflow", sentence).with("lines", dropped);
                self.write(Timestamp::now(), &record);
            }
        }
    }

    fn write(&mut self, time: Timestamp, record: &Record) {
        self.print(time, record);
        let Some(file) = &mut self.file else { return };
        // One call a line: appended whole, also beside another writer.
        match file.write_all(record.logfmt(time).as_bytes()) {
            Ok(()) => self.has_failed = false,
            Err(error) if !self.has_failed => {
                self.has_failed = true;
                let sentence =
                    format!("The log file cannot be written: {error}. The jam goes on without it.");
                self.print(time, &Record::told(Level::Error, "log_failed", sentence));
            }
            Err(_) => {}
        }
    }

    /// At once, also into a pipe; a reader that has gone away is no reason to stop the jam.
    fn print(&self, time: Timestamp, record: &Record) {
        let text = match self.style {
            Style::Text => record.text(),
            Style::Logfmt => record.logfmt(time),
            Style::Journal => record.journal(),
        };
        let mut out = io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(file: &Path) -> LogPlan {
        LogPlan { file: Some(file.to_owned()), format: LogFormat::Logfmt, mask_addresses: false }
    }

    #[expect(clippy::disallowed_methods, reason = "a real thread writes a real file")]
    fn soon() -> Instant {
        Instant::now() + std::time::Duration::from_secs(30)
    }

    #[test]
    fn a_moved_file_is_opened_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("a.log"), folder.path().join("b.log"));
        let log = Log::start(&plan(&path)).unwrap();
        log.warn("first", "1");
        log.finish(soon());
        std::fs::rename(&path, &moved).unwrap();
        log.warn("second", "2");
        log.reopen(&plan(&path)).unwrap();
        log.warn("third", "3");
        log.finish(soon());
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        assert!(read(&moved).contains("event=first") && read(&moved).contains("event=second"));
        assert_eq!(read(&path).lines().count(), 1, "{}", read(&path));
        assert!(read(&path).contains("level=warning event=third message=3"));
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let error = Log::start(&plan(folder.path())).err().unwrap();
        assert!(error.to_string().contains("--log"), "{error}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_file_that_cannot_be_written_is_told_once() {
        let mut writer = Writer {
            jobs: bounded(0).1,
            dropped: Arc::default(),
            style: Style::Logfmt,
            file: Some(open(Path::new("/dev/full")).unwrap()),
            has_failed: false,
        };
        for _ in 0..2 {
            writer.write(Timestamp::UNIX_EPOCH, &Record::new("x", "x"));
            assert!(writer.has_failed);
        }
    }
}
