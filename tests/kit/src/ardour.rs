//! Ardour without a window: its Lua interpreter, with our plugin installed in a home of its own.

#![expect(clippy::disallowed_methods, reason = "a real DAW needs sleeps and deadlines")]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tempfile::TempDir;

use crate::child;
use crate::host::{self, Format, State};
use crate::stock::{Process, require};

/// Longest that Ardour may take for one thing.
const PATIENCE: Duration = Duration::from_secs(30);
/// Now and then two threads of Ardour ask JACK at the same time, each takes the other's answer, and from then on JACK
/// refuses everything, or Ardour goes on without ports. That happens without any plugin. A new Ardour is the
/// remedy when nothing has come of it for this long.
const READY: Duration = Duration::from_secs(5);
/// Where Debian puts what is not for the command line.
const LIBRARIES: &str = "/usr/lib/ardour7";
/// Bytes of a VST3 preset before the state: `VST3`, version, class, place of the list of chunks.
const PRESET_HEADER: usize = 48;

/// Obeys one line of Lua after the other, all in one scope, and says what came of each. The end of the input is
/// the end.
const INTERPRETER: &str = r#"
local number = 0
for line in io.stdin:lines() do
  number = number + 1
  local piece, wrong = load(line)
  local good, answer = false, wrong
  if piece then good, answer = pcall(piece) end
  io.stdout:write("\n<answer ", number, good and " good>" or " bad>", tostring(answer), "</answer ", number, ">\n")
  io.stdout:flush()
end
if Session then close_session() end
quit()
"#;

/// A home folder for Ardour, with our plugin installed, and nothing of the user's.
pub struct Home {
    folder: TempDir,
}

impl Home {
    /// Installs the plugin that was built together with this program, as a VST3 bundle.
    pub fn new() -> Result<Self> {
        require("ardour7-lua", "ardour")?;
        let folder = tempfile::Builder::new().prefix("jamulet-ardour-").tempdir()?;
        let home = Self { folder };
        let library = home.bundle().join("Contents/x86_64-linux/Jamulet.so");
        fs::create_dir_all(library.parent().context("a library lies in a folder")?)?;
        fs::copy(host::library()?, &library)?;
        // The scanner notes what it has seen to the second, and whoever then finds a fraction more takes the
        // file for a new one, not yet scanned.
        let installed = SystemTime::now() - Duration::from_secs(60);
        fs::File::options().write(true).open(library)?.set_modified(installed)?;
        fs::write(home.path().join("interpreter.lua"), INTERPRETER)?;
        Ok(home)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Runs Ardour's own scanner, as its plugin manager does; what it said.
    pub fn scan(&self) -> Result<String> {
        let mut command = Command::new(format!("{LIBRARIES}/ardour-vst3-scanner"));
        self.isolate(&mut command);
        command.env("LD_LIBRARY_PATH", LIBRARIES).args(["-v", "-f"]).arg(self.bundle());
        let ended = child::finish(&mut command, PATIENCE)?;
        ensure!(ended.passed, "Ardour's scanner does not like the plugin:\n{}", ended.text);
        Ok(ended.text)
    }

    /// Starts Ardour on this process's JACK server and opens a session with pieces of Lua. Once JACK does for it what
    /// it should, `ready` returns true.
    pub fn start(&self, open: &[&str], ready: &str) -> Result<Ardour> {
        /// What JACK says when Ardour gets no ports from it.
        const BAD_MOMENT: &str = "Cannot callback the server in notification thread";
        const ATTEMPTS: usize = 8;
        for _ in 0..ATTEMPTS {
            let mut ardour = self.launch()?;
            let opened = open.iter().try_for_each(|piece| ardour.run(piece).map(drop));
            if ardour.process.log().contains(BAD_MOMENT) {
                println!("Ardour got no ports from JACK and is started again");
                continue;
            }
            opened?;
            if ardour.still_after(ready, "true", READY)?.is_none() {
                return Ok(ardour);
            }
            println!("JACK does not obey Ardour, which is started again");
        }
        bail!("JACK does not obey Ardour, {ATTEMPTS} times in a row")
    }

    fn launch(&self) -> Result<Ardour> {
        let mut command = Command::new("ardour7-lua");
        self.isolate(&mut command);
        command.arg(self.path().join("interpreter.lua"));
        let (process, input) = Process::start_with_input("Ardour", command)?;
        let mut ardour = Ardour { process, input, pieces: 0 };
        ardour.run("AudioEngine:set_backend('JACK', 'ardour', '')")?;
        ardour.run("assert(AudioEngine:start(false) == 0)")?;
        Ok(ardour)
    }

    /// A preset of the plugin, as Ardour keeps it.
    pub fn preset(&self, name: &str) -> Result<State> {
        preset_state(&fs::read(self.preset_path(name))?)
    }

    /// The plugin's state in a saved session's file, a path relative to the home. There must be one such plugin.
    pub fn saved_state(&self, session: &str) -> Result<State> {
        let text = fs::read_to_string(self.path().join(session))?;
        let chunks: Vec<&str> =
            text.split("<chunk>").skip(1).filter_map(|rest| Some(rest.split_once("</chunk>")?.0)).collect();
        ensure!(chunks.len() == 1, "there are {} plugin states in {session}", chunks.len());
        preset_state(&BASE64_STANDARD.decode(chunks[0].trim())?)
    }

    /// Puts another state into a copy of the preset `name`.
    pub fn add_preset(&self, name: &str, copy: &str, state: &State) -> Result<()> {
        let mut bytes = fs::read(self.preset_path(name))?;
        ensure!(bytes.len() >= PRESET_HEADER, "the preset {name} is too short");
        bytes.truncate(PRESET_HEADER);
        let state = state.to_bytes(Format::Vst3);
        let list = (PRESET_HEADER + state.len()) as u64;
        bytes[PRESET_HEADER - 8..].copy_from_slice(&list.to_le_bytes());
        bytes.extend_from_slice(&state);
        bytes.extend_from_slice(b"List\x01\0\0\0Comp");
        bytes.extend_from_slice(&(PRESET_HEADER as u64).to_le_bytes());
        bytes.extend_from_slice(&(state.len() as u64).to_le_bytes());
        fs::write(self.preset_path(copy), bytes)?;
        Ok(())
    }

    fn bundle(&self) -> PathBuf {
        self.path().join(".vst3/Jamulet.vst3")
    }

    fn preset_path(&self, name: &str) -> PathBuf {
        self.path().join(format!(".vst3/presets/Jamulet/Jamulet/{name}.vstpreset"))
    }

    /// Keeps the user's settings out, and ours off them.
    fn isolate(&self, command: &mut Command) {
        command.env("HOME", self.path()).current_dir(self.path()).env_remove("DISPLAY");
        for variable in ["XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "VST3_PATH"] {
            command.env_remove(variable);
        }
    }
}

/// The state within a VST3 preset.
fn preset_state(preset: &[u8]) -> Result<State> {
    let end = preset.get(PRESET_HEADER - 8..PRESET_HEADER).and_then(|place| place.try_into().ok());
    let end = usize::try_from(u64::from_le_bytes(end.context("the preset is too short")?))?;
    State::parse(Format::Vst3, preset.get(PRESET_HEADER..end).context("the preset's list is missing")?)
}

/// A running Ardour.
pub struct Ardour {
    process: Process,
    input: ChildStdin,
    /// Pieces of Lua given so far.
    pieces: usize,
}

impl Ardour {
    /// Runs a piece of Lua and returns what it returns, as text. Globals stay for the next piece.
    pub fn run(&mut self, lua: &str) -> Result<String> {
        self.pieces += 1;
        let line: Vec<&str> = lua.lines().map(str::trim).collect();
        writeln!(self.input, "{}", line.join(" "))
            .with_context(|| format!("Ardour has ended:\n{}", self.process.log_tail()))?;
        let end = format!("</answer {}>", self.pieces);
        self.process.wait_for_log(&end, PATIENCE).with_context(|| format!("Ardour, told to {lua}"))?;
        let log = self.process.log();
        let answer = |verdict: &str| -> Option<&str> {
            let (_, answer) = log.split_once(&format!("<answer {} {verdict}>", self.pieces))?;
            Some(answer.split_once(&end)?.0)
        };
        match answer("good") {
            Some(answer) => Ok(answer.to_owned()),
            None => {
                let wrong = answer("bad").unwrap_or("nothing");
                bail!("Ardour, told to {lua}, said: {wrong}\n{}", self.process.log_tail())
            }
        }
    }

    /// Runs a piece of Lua again and again until it returns `wanted`.
    pub fn wait_until(&mut self, lua: &str, wanted: &str) -> Result<()> {
        match self.still_after(lua, wanted, PATIENCE)? {
            None => Ok(()),
            Some(answer) => bail!("{lua} is {answer}, not {wanted}:\n{}", self.process.log_tail()),
        }
    }

    /// What a piece of Lua still returns after `patience`, unless it has become `wanted`.
    fn still_after(&mut self, lua: &str, wanted: &str, patience: Duration) -> Result<Option<String>> {
        let deadline = Instant::now() + patience;
        loop {
            let answer = self.run(lua)?;
            if answer == wanted {
                return Ok(None);
            }
            if Instant::now() > deadline {
                return Ok(Some(answer));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Puts all its threads before ordinary programs.
    pub fn hurry(&self) {
        self.process.hurry();
    }

    /// Closes the session without saving it, and the program; what it has printed.
    pub fn quit(self) -> Result<String> {
        let Self { mut process, input, .. } = self;
        drop(input);
        let deadline = Instant::now() + PATIENCE;
        while process.exited()?.is_none() {
            ensure!(Instant::now() < deadline, "Ardour does not end:\n{}", process.log_tail());
            std::thread::sleep(Duration::from_millis(10));
        }
        let log = process.log();
        ensure!(process.exited()?.is_some_and(|status| status.success()), "Ardour ended badly:\n{log}");
        Ok(log)
    }
}
