//! A child process that dies with its value and shows its log when the test fails.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use super::{hurry, pin};

/// Lines of a log that a failure message shows.
const TAIL_LINES: usize = 40;
/// How long a process may take to obey SIGTERM.
const PATIENCE: Duration = Duration::from_secs(3);

/// A running child process.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    exit: Option<ExitStatus>,
    _home: TempDir,
}

impl Process {
    /// Starts `command`, with its output going to a log. `name` is for messages.
    ///
    /// The process is killed when the calling thread ends: it must not be shared with a longer-lived one.
    pub fn start(name: &str, command: Command) -> Result<Self> {
        Self::start_at_home(name, command, super::scratch()?)
    }

    /// The same for one that obeys what comes in on its standard input, at the home that `command` names.
    pub fn start_with_input(name: &str, command: Command) -> Result<(Self, ChildStdin)> {
        let mut process = Self::spawn(name, command, super::scratch()?, Stdio::piped())?;
        let input = process.child.stdin.take().context("the input is piped")?;
        Ok((process, input))
    }

    /// The same as [`Self::start`] with `home` as its home, which it keeps as long as it lives.
    pub(super) fn start_at_home(name: &str, mut command: Command, home: TempDir) -> Result<Self> {
        command.env("HOME", home.path());
        Self::spawn(name, command, home, Stdio::null())
    }

    fn spawn(name: &str, mut command: Command, home: TempDir, input: Stdio) -> Result<Self> {
        let log = home.path().join("log");
        let output = File::create(&log)?;
        command.stdin(input).stderr(output.try_clone()?).stdout(output);
        // SAFETY: prctl is async-signal-safe and touches nothing that the parent's other threads may hold.
        unsafe {
            command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
        let child = command.spawn().with_context(|| format!("cannot start {name}: {command:?}"))?;
        Ok(Self { name: name.into(), child, log, exit: None, _home: home })
    }

    /// Everything that it has printed.
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The end of its log, for a failure message.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// Waits until the log contains `text`.
    pub fn wait_for_log(&mut self, text: &str, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        while !self.log().contains(text) {
            if let Some(status) = self.exited()? {
                bail!("{} ended ({status}) before it printed {text:?}:\n{}", self.name, self.log_tail());
            }
            if Instant::now() > deadline {
                bail!("{} did not print {text:?} within {timeout:?}:\n{}", self.name, self.log_tail());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Its exit status, once it has ended.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        if self.exit.is_none() {
            self.exit = self.child.try_wait()?;
        }
        Ok(self.exit)
    }

    /// Sends it a signal, `libc::SIGSTOP` for one.
    pub fn signal(&self, signal: i32) {
        if self.exit.is_none() {
            // SAFETY: plain system call; the child is not reaped, so the id is still its own.
            unsafe { libc::kill(self.child.id() as i32, signal) };
        }
    }

    /// Puts all its threads before ordinary programs, where the system allows it ([`hurry`]). Those of Qt
    /// take themselves back to ordinary priority when they start, so this is for a program that is up.
    pub fn hurry(&self) {
        self.threads().for_each(hurry);
    }

    /// Lets all its threads, and those that they start, run on one processor only; nothing happens where there is no
    /// such processor.
    pub fn pin(&self, processor: usize) {
        self.threads().for_each(|thread| pin(thread, processor));
    }

    fn threads(&self) -> impl Iterator<Item = libc::pid_t> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).into_iter().flatten().flatten();
        tasks.filter_map(|task| task.file_name().to_str()?.parse().ok())
    }

    /// Freezes it for a while, as a busy machine would.
    pub fn freeze(&self, duration: Duration) {
        self.signal(libc::SIGSTOP);
        std::thread::sleep(duration);
        self.signal(libc::SIGCONT);
    }

    /// Asks it to end (SIGTERM), insists (SIGKILL) after a few seconds; true if it obeyed.
    pub fn stop(&mut self) -> bool {
        self.signal(libc::SIGCONT);
        self.signal(libc::SIGTERM);
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if matches!(self.exited(), Ok(Some(_))) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.kill();
        false
    }

    /// Ends it without a warning, as a crash or a pulled plug would.
    pub fn kill(&mut self) {
        if self.exit.is_none() {
            // Failing means that it has ended already.
            let _ = self.child.kill();
            self.exit = self.child.wait().ok();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            eprintln!("── log of {} ──\n{}", self.name, self.log_tail());
        }
    }
}
