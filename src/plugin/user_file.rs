//! What all instances of one user share, whatever project, host or process they are in: the servers joined
//! before, and the settings that a new instance starts with. A project's own state wins over them.
//!
//! Nobody owns the file. Whoever has something to change takes the lock, reads what is there now, changes that,
//! and puts a whole new file in the old one's place: so no update is lost, and readers never wait and never see
//! half a file. What is in it that we do not know (a newer version's) stays in it. All of that is done on a thread of
//! its own; the copy in memory, which windows show, has the change at once.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use crossbeam::channel::{Receiver, Sender, unbounded};
use parking_lot::RwLock;
use serde_json::{Map, Value, json};

use super::state::{MAX_RECENTS, SavedState, is_address};
use super::user_folder::user_folder;
use crate::client::{MAX_REMEMBERED, Remembered, Settings, remember};
use crate::protocol::cut_to_utf16;
use crate::units::MAX_NAME_UNITS;

/// Environment variable that names another folder for the file; empty: nothing is read or kept. Cargo sets it for
/// all that it runs, so that no test touches the developer's own settings.
pub const FOLDER_VARIABLE: &str = "JAMULET_FOLDER";

/// Version of the file's layout.
const FILE_VERSION: u64 = 1;
/// Longest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 256 << 10;
/// Who holds the lock for this long has been stopped: the change stays in memory only.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
/// Between two tries to get the lock.
const LOCK_INTERVAL: Duration = Duration::from_millis(5);
/// Most servers kept as favourites.
const MAX_FAVOURITES: usize = 60;
/// Most directories of one's own.
const MAX_DIRECTORIES: usize = 12;
/// Unreadable files that are kept; then the last is replaced.
const MAX_KEPT_ASIDE: usize = 9;

/// What is shared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UserData {
    /// Servers joined before, latest first, at most [`MAX_RECENTS`].
    pub recents: Vec<String>,
    /// What a new instance starts with.
    pub settings: Settings,
    /// How people were heard, latest first, at most [`MAX_REMEMBERED`].
    pub mix: Vec<Remembered>,
    /// Servers to come back to, as the user named or found them, latest last.
    pub favourites: Vec<String>,
    /// Directories beside the public ones, latest last.
    pub directories: Vec<String>,
    /// The directory looked into last; empty: one's own list.
    pub directory: String,
}

/// One thing that a user did.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A server let us in: it becomes the latest.
    Remember(String),
    /// A server is taken off the list.
    Forget(String),
    /// Servers that an older project brings along: they go to the end of the list.
    Adopt(Vec<String>),
    /// Settings were chosen: new instances start with them.
    Settings(Settings),
    /// These people, latest first, are heard so.
    Mix(Vec<Remembered>),
    /// A server becomes a favourite.
    Favour(String),
    /// A server is no favourite any more.
    Disfavour(String),
    /// A directory is looked into (empty: one's own list): next time, too.
    LookInto(String),
    /// A directory is added to the public ones, and looked into.
    AddDirectory(String),
    /// A directory is taken off again.
    RemoveDirectory(String),
}

/// The file, and its copy in memory. Dropping it waits until what was changed is written.
pub struct UserFile {
    data: Arc<ArcSwap<UserData>>,
    /// `None` where nothing is kept.
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

enum Job {
    Change(Change),
    /// Another process may have changed the file.
    Refresh,
}

impl UserFile {
    /// The user's file, which all instances in this process share.
    pub fn of_user() -> Arc<Self> {
        static CURRENT: RwLock<Weak<UserFile>> = RwLock::new(Weak::new());
        let mut current = CURRENT.write();
        current.upgrade().unwrap_or_else(|| {
            let folder = match std::env::var_os(FOLDER_VARIABLE) {
                Some(folder) => Some(PathBuf::from(folder)).filter(|folder| !folder.as_os_str().is_empty()),
                None => user_folder(),
            };
            let file = Arc::new(Self::open(folder.map(|folder| folder.join("user.json"))));
            *current = Arc::downgrade(&file);
            file
        })
    }

    /// The file at `path`; `None`: kept in memory only.
    pub fn open(path: Option<PathBuf>) -> Self {
        let read = path.as_deref().map(read).and_then(Result::ok).unwrap_or_default();
        let data = Arc::new(ArcSwap::from_pointee(UserData::of(&read)));
        let Some(path) = path else { return Self { data, jobs: None, thread: None } };
        let (jobs, queue) = unbounded();
        let copy = Arc::clone(&data);
        let thread = std::thread::Builder::new()
            .name("jamulet-settings".to_owned())
            .spawn(move || keep(&path, &queue, &copy));
        // Without a thread the changes live as long as this process.
        Self { data, jobs: thread.is_ok().then_some(jobs), thread: thread.ok() }
    }

    /// What is shared, as far as this process knows.
    pub fn data(&self) -> Arc<UserData> {
        self.data.load_full()
    }

    /// Changes it, for every instance in every process.
    pub fn change(&self, change: Change) {
        self.data.rcu(|data| {
            let mut data = UserData::clone(data);
            data.apply(&change);
            data
        });
        self.send(Job::Change(change));
    }

    /// Looks what other processes have changed: [`Self::data`] will have it soon.
    pub fn refresh(&self) {
        self.send(Job::Refresh);
    }

    fn send(&self, job: Job) {
        // It fails only when the thread is gone: then this is all that can be done.
        let _ = self.jobs.as_ref().map(|jobs| jobs.send(job));
    }
}

impl Drop for UserFile {
    fn drop(&mut self) {
        self.jobs = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl UserData {
    /// Takes over one thing that the user did.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Remember(address) => {
                self.recents.retain(|known| known != address);
                self.recents.insert(0, address.clone());
            }
            Change::Forget(address) => self.recents.retain(|known| known != address),
            Change::Adopt(addresses) => {
                let new: Vec<_> =
                    addresses.iter().filter(|new| !self.recents.contains(new)).cloned().collect();
                self.recents.extend(new);
            }
            Change::Settings(settings) => self.settings = settings.clone(),
            Change::Mix(people) => {
                people.iter().rev().for_each(|person| remember(&mut self.mix, person.clone()));
            }
            Change::Favour(address) => add(&mut self.favourites, address, MAX_FAVOURITES),
            Change::Disfavour(address) => self.favourites.retain(|known| known != address),
            Change::LookInto(directory) => self.directory.clone_from(directory),
            Change::AddDirectory(directory) => {
                add(&mut self.directories, directory, MAX_DIRECTORIES);
                self.directory.clone_from(directory);
            }
            Change::RemoveDirectory(directory) => {
                self.directories.retain(|known| known != directory);
                if self.directory == *directory {
                    self.directory.clear();
                }
            }
        }
        self.recents.truncate(MAX_RECENTS);
    }

    /// What of a file makes sense.
    fn of(file: &Map<String, Value>) -> Self {
        let addresses = |key, most| {
            let texts =
                file.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
            texts.filter(|address| is_address(address)).take(most).map(str::to_owned).collect()
        };
        let directory = file.get("directory").and_then(Value::as_str).filter(|text| is_address(text));
        let settings = file.get("settings").cloned().unwrap_or(json!({}));
        Self {
            recents: addresses("recents", MAX_RECENTS),
            settings: serde_json::from_value::<SavedState>(settings).unwrap_or_default().settings,
            mix: mix_of(file),
            favourites: addresses("favourites", MAX_FAVOURITES),
            directories: addresses("directories", MAX_DIRECTORIES),
            directory: directory.unwrap_or_default().to_owned(),
        }
    }

    /// Writes this into `file` and leaves alone what else is there. Settings have the names that they have in
    /// projects, and only those are written that differ from what everybody starts with.
    fn put(&self, file: &mut Map<String, Value>) {
        let state = |settings: &Settings| {
            serde_json::to_value(SavedState { settings: settings.clone(), ..SavedState::default() })
        };
        let (Ok(Value::Object(ours)), Ok(Value::Object(default))) =
            (state(&self.settings), state(&Settings::default()))
        else {
            return;
        };
        let settings = file.entry("settings").or_insert(json!({}));
        if !settings.is_object() {
            *settings = json!({});
        }
        for (key, value) in ours {
            if default.get(&key) == Some(&value) {
                settings.as_object_mut().map(|settings| settings.remove(&key));
            } else {
                settings[key] = value;
            }
        }
        let version = file.get("version").and_then(Value::as_u64).unwrap_or(0);
        file.insert("version".to_owned(), json!(version.max(FILE_VERSION)));
        file.insert("recents".to_owned(), json!(self.recents));
        put(file, "favourites", json!(self.favourites), self.favourites.is_empty());
        put(file, "directories", json!(self.directories), self.directories.is_empty());
        put(file, "directory", json!(self.directory), self.directory.is_empty());
        let mix = self.mix.iter().map(|person| {
            json!({
                "name": person.name,
                "fader": person.fader,
                "pan": person.pan,
                "mute": person.mute,
                "solo": person.solo,
                "group": person.group,
            })
        });
        put(file, "mix", mix.collect(), self.mix.is_empty());
    }
}

/// Sets a field; what is empty is only written over what was not.
fn put(file: &mut Map<String, Value>, name: &str, value: Value, is_empty: bool) {
    if !is_empty || file.contains_key(name) {
        file.insert(name.to_owned(), value);
    }
}

/// Puts `address` at the end, once; the first goes where there are too many.
fn add(list: &mut Vec<String>, address: &str, most: usize) {
    list.retain(|known| known != address);
    list.push(address.to_owned());
    list.drain(..list.len().saturating_sub(most));
}

/// People of a file, without those that make no sense.
fn mix_of(file: &Map<String, Value>) -> Vec<Remembered> {
    let people = file.get("mix").and_then(Value::as_array).into_iter().flatten().filter_map(|person| {
        let name = person.get("name")?.as_str().filter(|name| !name.is_empty())?;
        let number = |key| person.get(key).and_then(Value::as_f64).map_or(f32::NAN, |number| number as f32);
        let set = |key| person.get(key).and_then(Value::as_bool).unwrap_or(false);
        let group = person.get("group").and_then(Value::as_u64).and_then(|group| group.try_into().ok());
        let (fader, pan) = (number("fader"), number("pan"));
        let person = Remembered {
            name: cut_to_utf16(name, MAX_NAME_UNITS).to_owned(),
            fader,
            pan,
            mute: set("mute"),
            solo: set("solo"),
            group,
        };
        Some(person.clamped())
    });
    people.take(MAX_REMEMBERED).collect()
}

/// The thread: does what is asked for until nobody can ask any more.
fn keep(path: &Path, queue: &Receiver<Job>, copy: &ArcSwap<UserData>) {
    while let Ok(first) = queue.recv() {
        let changes: Vec<Change> = std::iter::once(first)
            .chain(queue.try_iter())
            .filter_map(|job| match job {
                Job::Change(change) => Some(change),
                Job::Refresh => None,
            })
            .collect();
        let done = if changes.is_empty() { refreshed(path) } else { update(path, &changes) };
        match done {
            // A change that has come meanwhile is in the copy, and its turn is next.
            Ok(data) if queue.is_empty() => copy.store(Arc::new(data)),
            Ok(_) => {}
            Err(error) => nice_plug::nice_log!("{} cannot be kept ({error}).", path.display()),
        }
    }
}

fn refreshed(path: &Path) -> io::Result<UserData> {
    Ok(UserData::of(&read(path)?))
}

/// Reads the file, changes it and puts it back; nobody else does so meanwhile.
fn update(path: &Path, changes: &[Change]) -> io::Result<UserData> {
    fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    // A file of its own: the one that is replaced cannot carry the lock.
    let lock = File::options().append(true).create(true).open(path.with_extension("lock"))?;
    lock_patiently(&lock)?;
    let mut file = match read(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            keep_aside(path)?;
            Map::new()
        }
        // It may be fine: it is left alone.
        Err(error) => return Err(error),
    };
    let mut data = UserData::of(&file);
    changes.iter().for_each(|change| data.apply(change));
    data.put(&mut file);
    let new = path.with_extension("json.new");
    let mut writer = File::create(&new)?;
    writer.write_all(&serde_json::to_vec_pretty(&file)?)?;
    writer.sync_all()?;
    fs::rename(&new, path)?;
    Ok(data)
}

/// The file's content, nothing when there is none.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] when it is no file of ours; everything else is the system's.
fn read(path: &Path) -> io::Result<Map<String, Value>> {
    let invalid = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason);
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Map::new()),
        // To open a pipe is to wait for whoever writes into it.
        Ok(found) if !found.is_file() => return Err(invalid("it is no file")),
        found => found?,
    };
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(invalid("it is too long"));
    }
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(file)) => Ok(file),
        _ => Err(invalid("it is no JSON object")),
    }
}

/// Moves an unreadable file out of the way: somebody may want to mend it.
fn keep_aside(path: &Path) -> io::Result<()> {
    let name = |number| path.with_extension(format!("unreadable-{number}.json"));
    let free = (1..MAX_KEPT_ASIDE).map(name).find(|name| !name.exists());
    fs::rename(path, free.unwrap_or_else(|| name(MAX_KEPT_ASIDE)))
}

/// The lock is the file handle's, so the system gives it back when its holder ends, however it ends.
#[expect(clippy::disallowed_methods, reason = "a door: this thread does nothing but keep the file")]
fn lock_patiently(lock: &File) -> io::Result<()> {
    let mut waited = Duration::ZERO;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(fs::TryLockError::Error(error)) => return Err(error),
            Err(fs::TryLockError::WouldBlock) if waited >= LOCK_PATIENCE => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "another program holds it"));
            }
            Err(fs::TryLockError::WouldBlock) => std::thread::sleep(LOCK_INTERVAL),
        }
        waited += LOCK_INTERVAL;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::BufferSize;

    /// A file in a folder that goes with it, and what is in it.
    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("new/user.json");
        (folder, path)
    }

    fn content(path: &Path) -> Value {
        serde_json::from_slice(&fs::read(path).expect("readable")).expect("JSON")
    }

    fn named(name: &str) -> Settings {
        let mut settings = Settings::default();
        settings.profile.name = name.to_owned();
        settings
    }

    #[test]
    fn what_is_changed_is_there_for_the_next() {
        let (_folder, path) = folder();
        let file = UserFile::open(Some(path.clone()));
        assert_eq!(*file.data(), UserData::default());
        for index in 0..20 {
            file.change(Change::Remember(format!("server{index}")));
        }
        file.change(Change::Remember("server15".into()));
        file.change(Change::Forget("server18".into()));
        file.change(Change::Settings(named("Änn")));
        assert_eq!(&file.data().recents[..3], ["server15", "server19", "server17"], "known here at once");
        drop(file);
        let next = UserFile::open(Some(path)).data();
        assert_eq!(
            (next.recents.len(), &next.recents[..2]),
            (MAX_RECENTS - 1, &["server15".into(), "server19".into()][..])
        );
        assert_eq!(next.settings, named("Änn"));
    }

    #[test]
    fn older_projects_add_to_the_end_and_what_is_full_stays_full() {
        let mut data = UserData { recents: vec!["new".into()], ..UserData::default() };
        data.apply(&Change::Adopt(vec!["old".into(), "new".into(), "older".into()]));
        assert_eq!(data.recents, ["new", "old", "older"]);
        data.apply(&Change::Adopt((0..50).map(|index| index.to_string()).collect()));
        assert_eq!((data.recents.len(), &*data.recents[0]), (MAX_RECENTS, "new"));
    }

    #[test]
    fn a_newer_versions_fields_stay_and_wrong_ones_lose_only_themselves() {
        let (_folder, path) = folder();
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        let old = json!({
            "version": 7, "recents": [3, "a", "b\u{0}", "", "c"], "colour": "red",
            "settings": {"name": 5, "city": "Köln", "client_buffer": 4, "smell": "roses"},
        });
        fs::write(&path, old.to_string()).expect("written");
        let file = UserFile::open(Some(path.clone()));
        assert_eq!(file.data().recents, ["a", "c"]);
        assert_eq!((&*file.data().settings.profile.name, &*file.data().settings.profile.city), ("", "Köln"));
        let mut settings = file.data().settings.clone();
        settings.buffers.client = BufferSize::Auto;
        settings.profile.name = "Ann".into();
        file.change(Change::Settings(settings));
        drop(file);
        let expected = json!({
            "version": 7, "recents": ["a", "c"], "colour": "red",
            "settings": {"name": "Ann", "city": "Köln", "smell": "roses"},
        });
        assert_eq!(content(&path), expected);
    }

    #[test]
    fn what_cannot_be_read_is_kept_aside() {
        let (_folder, path) = folder();
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        let too_long = " ".repeat(MAX_FILE_BYTES as usize + 1);
        for (number, nonsense) in [(1, "{\"recents\": [\"a\""), (2, "[]"), (3, &*too_long)] {
            fs::write(&path, nonsense).expect("written");
            let file = UserFile::open(Some(path.clone()));
            assert_eq!(*file.data(), UserData::default());
            drop(file);
            assert_eq!(fs::read_to_string(&path).expect("readable"), nonsense, "nobody has changed anything");
            let file = UserFile::open(Some(path.clone()));
            file.change(Change::Remember("b".into()));
            drop(file);
            assert_eq!(content(&path)["recents"], json!(["b"]));
            let aside = path.with_extension(format!("unreadable-{number}.json"));
            assert_eq!(fs::read_to_string(aside).expect("kept"), nonsense);
        }
    }

    #[test]
    fn without_a_place_it_lives_in_memory() {
        let file = UserFile::open(None);
        file.change(Change::Remember("a".into()));
        file.refresh();
        assert_eq!(file.data().recents, ["a"]);
        let (folder, _) = folder();
        // A folder that cannot be made: its parent is a file.
        let blocked = folder.path().join("file");
        fs::write(&blocked, "").expect("written");
        let file = UserFile::open(Some(blocked.join("user.json")));
        file.change(Change::Remember("a".into()));
        assert_eq!(file.data().recents, ["a"]);
    }
}
