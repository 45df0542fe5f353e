//! What lives in the project besides parameters: address, profile, stream, buffers, window. What a user shares
//! with all projects is in [`super::user_file`].
//!
//! The host hands us whatever is in the project file, written by any version of us or by hand:
//! every field is read on its own, wrong ones fall back to their default, and texts and numbers are
//! cut to their limits.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use nice_plug::params::persist::PersistentField;
use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use super::guard::{Entry, Guard};
use super::user_file::{Change, UserData, UserFile};
use crate::client::{
    BufferSettings, ConnectionState, FrameChoice, Handle, Profile, Remembered, Settings, StreamSettings,
};
use crate::protocol::{Skill, cut_to_utf16};
use crate::units::{
    BufferSize, Layout, MAX_BUFFER_FRAMES, MAX_CITY_UNITS, MAX_NAME_UNITS, MIN_BUFFER_FRAMES, Quality, Safety,
};

/// Most addresses kept in the list of recent ones.
pub const MAX_RECENTS: usize = 12;
/// Longest address kept, in bytes: a DNS name has at most 253, brackets and port come on top.
pub const MAX_ADDRESS_BYTES: usize = 300;
/// Largest delay that can be reported to the host, in ms.
pub const MAX_LATENCY_MS: u16 = 1000;
/// Version of the layout below, written into every state.
const STATE_VERSION: u32 = 3;

/// Numbers of the living instances of this library: a duplicated track brings one of them along.
#[expect(
    clippy::disallowed_types,
    reason = "main threads create, load and drop instances; never the audio thread"
)]
static NUMBERS: parking_lot::Mutex<Vec<u64>> = parking_lot::Mutex::new(Vec::new());

/// Everything that is saved with the project and is no parameter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "StateFile", from = "StateFile")]
pub struct SavedState {
    /// The server as the user typed it; may be empty.
    pub address: String,
    /// Servers joined before, latest first, as projects up to version 2 bring them along. Today they are the user's
    /// ([`UserData::recents`]), and not saved here.
    pub recents: Vec<String>,
    /// Profile, stream and buffers.
    pub settings: Settings,
    /// Join again when the project is opened, if we were in a session when it was saved.
    pub reconnect: bool,
    /// We were in a session when this was saved.
    pub joined: bool,
    /// Tells this instance from a duplicate of it, which must not join by itself; 0 = not yet known.
    pub number: u64,
    /// Delay that the host is told, in ms, up to [`MAX_LATENCY_MS`]; whoever sets it knows why.
    pub latency_ms: u16,
    /// The window's size and zoom.
    pub window: WindowSize,
}

/// Size of the window in points (pixels at 100 % zoom on a 1× screen) and its zoom.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WindowSize {
    /// Width in points.
    pub width: f32,
    /// Height in points.
    pub height: f32,
    /// Zoom on top of the screen's scale, 1.0 = 100 %.
    pub zoom: f32,
}

impl WindowSize {
    /// Smallest usable window, in points.
    pub const MIN: [f32; 2] = [600.0, 420.0];
    const MAX: [f32; 2] = [4096.0, 2160.0];
    /// Smallest and largest zoom.
    pub const ZOOM: [f32; 2] = [0.75, 2.0];

    /// The same size within limits; what is no number becomes the default.
    pub fn clamped(self) -> Self {
        let default = Self::default();
        let clamp = |value: f32, [min, max]: [f32; 2], default: f32| {
            if value.is_finite() { value.clamp(min, max) } else { default }
        };
        Self {
            width: clamp(self.width, [Self::MIN[0], Self::MAX[0]], default.width),
            height: clamp(self.height, [Self::MIN[1], Self::MAX[1]], default.height),
            zoom: clamp(self.zoom, Self::ZOOM, default.zoom),
        }
    }
}

impl Default for WindowSize {
    fn default() -> Self {
        Self { width: 960.0, height: 600.0, zoom: 1.0 }
    }
}

/// The state of one instance, shared by host, window and client.
pub struct Project {
    saved: RwLock<SavedState>,
    user: Arc<UserFile>,
    /// How people are heard, as the user's file has it from us.
    kept: RwLock<Arc<[Remembered]>>,
    handle: Option<Handle>,
    guard: Arc<Guard>,
    /// A state was loaded before: what comes now is an undo or a preset.
    loaded: AtomicBool,
    /// Shows the host that the project joins by itself.
    on_rejoin: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Project {
    /// The project's state, which keeps `handle` up to date.
    pub fn new(
        mut saved: SavedState,
        user: Arc<UserFile>,
        handle: Option<Handle>,
        guard: Arc<Guard>,
    ) -> Arc<Self> {
        let mut numbers = NUMBERS.lock();
        if saved.number == 0 || numbers.contains(&saved.number) {
            saved.number = RandomState::new().build_hasher().finish();
        }
        numbers.push(saved.number);
        drop(numbers);
        let older = std::mem::take(&mut saved.recents);
        let loaded = AtomicBool::new(false);
        let on_rejoin = OnceLock::new();
        let (saved, kept) = (RwLock::new(saved), RwLock::default());
        let project = Self { saved, user, kept, handle, guard, loaded, on_rejoin };
        project.adopt(older);
        project.recall_mix();
        project.tell_client();
        Arc::new(project)
    }

    /// Calls `show` when a loaded project joins by itself. Only the first one who asks is called.
    pub fn on_rejoin(&self, show: impl Fn() + Send + Sync + 'static) {
        // There is one for every project.
        let _ = self.on_rejoin.set(Box::new(show));
    }

    /// A copy of the present state.
    pub fn saved(&self) -> SavedState {
        self.saved.read().clone()
    }

    /// The user has chosen settings: they are this project's, and new instances start with them.
    pub fn choose(&self, settings: Settings) {
        self.user.change(Change::Settings(settings.clone()));
        self.change(|saved| saved.settings = settings);
    }

    /// A server let us in: it becomes the latest of the recents.
    pub fn remember(&self, address: &str) {
        self.user.change(Change::Remember(address.to_owned()));
    }

    /// What the user has in all projects, as far as this process knows.
    pub fn user(&self) -> Arc<UserData> {
        self.user.data()
    }

    /// Changes what the user has in all projects.
    pub fn change_user(&self, change: Change) {
        self.user.change(change);
    }

    /// How the user hears people belongs to the user, not to the project.
    pub fn keep_mix(&self, people: &Arc<[Remembered]>) {
        let mut kept = self.kept.write();
        if people.is_empty() || Arc::ptr_eq(&kept, people) {
            return;
        }
        // Only what is new: another instance may have moved the others since.
        let new: Vec<_> = people.iter().filter(|person| !kept.contains(person)).cloned().collect();
        *kept = Arc::clone(people);
        if !new.is_empty() {
            self.user.change(Change::Mix(new));
        }
    }

    /// Lets the client hear people as the user has heard them last, wherever that was.
    pub fn recall_mix(&self) {
        let mix = self.user.data().mix.clone();
        self.handle.iter().for_each(|handle| handle.recall(mix.clone()));
        *self.kept.write() = mix.into();
    }

    /// Looks what the user has done in other hosts: [`Self::saved`] will have it soon.
    pub fn refresh(&self) {
        self.user.refresh();
    }

    /// Changes the state and tells the client.
    pub fn change(&self, change: impl FnOnce(&mut SavedState)) {
        change(&mut self.saved.write());
        self.tell_client();
    }

    /// Takes over what the host has loaded. Only what differs has an effect on the client, and a session is
    /// neither left nor changed by it; joined is only what the user asked to be joined with the project.
    fn load(&self, mut loaded: SavedState) {
        let duplicate = self.take_number(&mut loaded);
        let first = !self.loaded.swap(true, Ordering::Relaxed);
        let wanted = loaded.reconnect && std::mem::take(&mut loaded.joined);
        let address = loaded.address.clone();
        self.adopt(std::mem::take(&mut loaded.recents));
        self.change(|saved| *saved = loaded);
        if wanted && first && !duplicate && !address.is_empty() && !self.is_joined() {
            self.recall_mix();
            self.handle.iter().for_each(|handle| handle.connect(&address));
            self.on_rejoin.get().into_iter().for_each(|show| show());
        }
    }

    /// Keeps what an older project remembers.
    fn adopt(&self, recents: Vec<String>) {
        if !recents.is_empty() {
            self.user.change(Change::Adopt(recents));
        }
    }

    /// Takes the loaded instance's number; `true` when another living instance has it.
    fn take_number(&self, loaded: &mut SavedState) -> bool {
        let own = self.saved.read().number;
        let mut numbers = NUMBERS.lock();
        let duplicate = loaded.number != own && numbers.contains(&loaded.number);
        if duplicate || loaded.number == 0 {
            loaded.number = own;
        }
        numbers.iter_mut().filter(|number| **number == own).for_each(|number| *number = loaded.number);
        duplicate
    }

    /// In a session, or on the way there.
    fn is_joined(&self) -> bool {
        let state = self.handle.as_ref().map(|handle| handle.snapshot().state.clone());
        !matches!(state, None | Some(ConnectionState::Idle | ConnectionState::Failed(_)))
    }

    /// Changes the window's size, which is nobody else's business.
    pub fn set_window(&self, change: impl FnOnce(&mut WindowSize)) {
        let mut saved = self.saved.write();
        change(&mut saved.window);
        saved.window = saved.window.clamped();
    }

    fn tell_client(&self) {
        let Some(handle) = &self.handle else { return };
        let saved = self.saved();
        handle.set_settings(&saved.settings);
        handle.set_address(&saved.address);
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if let Some(handle) = &self.handle {
            self.keep_mix(&handle.snapshot().remembered);
        }
        let own = self.saved.get_mut().number;
        NUMBERS.lock().retain(|number| *number != own);
    }
}

/// The project's state as the framework loads and saves it.
pub struct ProjectField(pub Arc<Project>);

impl PersistentField<'_, SavedState> for ProjectField {
    fn set(&self, new_value: SavedState) {
        self.0.guard.run(Entry::State, || (), || self.0.load(new_value));
    }

    fn map<F, R>(&self, f: F) -> R
    where
        F: Fn(&SavedState) -> R,
    {
        // Not guarded: `f` is the framework's, and cloning and reading cannot panic.
        f(&SavedState { joined: self.0.is_joined(), ..self.0.saved() })
    }
}

/// The state as it is written. Readable by a person, stable across renamed Rust types.
#[derive(Serialize, Deserialize)]
#[serde(default)]
struct StateFile {
    #[serde(deserialize_with = "lenient")]
    version: u32,
    #[serde(deserialize_with = "lenient")]
    address: String,
    /// Up to version 2.
    #[serde(deserialize_with = "lenient", skip_serializing)]
    recents: Vec<String>,
    #[serde(deserialize_with = "lenient")]
    name: String,
    #[serde(deserialize_with = "lenient")]
    city: String,
    #[serde(deserialize_with = "lenient")]
    country: u16,
    #[serde(deserialize_with = "lenient")]
    instrument: u32,
    #[serde(deserialize_with = "lenient")]
    skill: u8,
    #[serde(deserialize_with = "lenient")]
    quality: SavedQuality,
    #[serde(deserialize_with = "lenient")]
    layout: SavedLayout,
    #[serde(deserialize_with = "lenient")]
    frame: SavedFrame,
    /// Frames, `null` = auto.
    #[serde(deserialize_with = "lenient")]
    client_buffer: Option<u8>,
    /// Frames, `null` = auto.
    #[serde(deserialize_with = "lenient")]
    server_buffer: Option<u8>,
    /// Percent, `null` = as it comes.
    #[serde(deserialize_with = "lenient")]
    safety: Option<u8>,
    #[serde(deserialize_with = "lenient")]
    reconnect: bool,
    #[serde(deserialize_with = "lenient")]
    joined: bool,
    #[serde(deserialize_with = "lenient")]
    number: u64,
    #[serde(deserialize_with = "lenient")]
    latency_ms: u16,
    #[serde(deserialize_with = "lenient")]
    window: WindowSize,
}

/// Reads a field, or its default where the stored value makes no sense.
fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(source: D) -> Result<T, D::Error> {
    let value = serde_json::Value::deserialize(source)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SavedQuality {
    Low,
    #[default]
    Normal,
    High,
    Max,
}

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SavedLayout {
    Mono,
    #[default]
    Stereo,
}

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
enum SavedFrame {
    #[default]
    #[serde(rename = "auto")]
    Auto,
    #[serde(rename = "64")]
    Samples64,
    #[serde(rename = "128")]
    Samples128,
}

impl Default for StateFile {
    fn default() -> Self {
        SavedState::default().into()
    }
}

impl From<SavedState> for StateFile {
    fn from(state: SavedState) -> Self {
        let Settings { profile, stream, buffers } = state.settings;
        let frames = |size| match size {
            BufferSize::Auto => None,
            BufferSize::Frames(frames) => Some(frames),
        };
        Self {
            version: STATE_VERSION,
            address: state.address,
            recents: state.recents,
            name: profile.name,
            city: profile.city,
            country: profile.country,
            instrument: profile.instrument,
            skill: profile.skill.0,
            quality: match stream.quality {
                Quality::Low => SavedQuality::Low,
                Quality::Normal => SavedQuality::Normal,
                Quality::High => SavedQuality::High,
                Quality::Max => SavedQuality::Max,
            },
            layout: match stream.layout {
                Layout::Mono => SavedLayout::Mono,
                Layout::Stereo => SavedLayout::Stereo,
            },
            frame: match stream.frame {
                FrameChoice::Auto => SavedFrame::Auto,
                FrameChoice::Samples64 => SavedFrame::Samples64,
                FrameChoice::Samples128 => SavedFrame::Samples128,
            },
            client_buffer: frames(buffers.client),
            server_buffer: frames(buffers.server),
            safety: Some(buffers.safety.percent()),
            reconnect: state.reconnect,
            joined: state.joined,
            number: state.number,
            latency_ms: state.latency_ms,
            window: state.window,
        }
    }
}

impl From<StateFile> for SavedState {
    fn from(file: StateFile) -> Self {
        let size = |frames| match frames {
            Some(frames @ MIN_BUFFER_FRAMES..=MAX_BUFFER_FRAMES) => BufferSize::Frames(frames),
            _ => BufferSize::Auto,
        };
        Self {
            address: Some(file.address).filter(|address| is_address(address)).unwrap_or_default(),
            recents: file
                .recents
                .into_iter()
                .filter(|address| is_address(address))
                .take(MAX_RECENTS)
                .collect(),
            settings: Settings {
                profile: Profile {
                    name: cut_to_utf16(&file.name, MAX_NAME_UNITS).to_owned(),
                    instrument: file.instrument,
                    country: file.country,
                    city: cut_to_utf16(&file.city, MAX_CITY_UNITS).to_owned(),
                    skill: Skill(file.skill),
                },
                stream: StreamSettings {
                    quality: match file.quality {
                        SavedQuality::Low => Quality::Low,
                        SavedQuality::Normal => Quality::Normal,
                        SavedQuality::High => Quality::High,
                        SavedQuality::Max => Quality::Max,
                    },
                    layout: match file.layout {
                        SavedLayout::Mono => Layout::Mono,
                        SavedLayout::Stereo => Layout::Stereo,
                    },
                    frame: match file.frame {
                        SavedFrame::Auto => FrameChoice::Auto,
                        SavedFrame::Samples64 => FrameChoice::Samples64,
                        SavedFrame::Samples128 => FrameChoice::Samples128,
                    },
                },
                buffers: BufferSettings {
                    client: size(file.client_buffer),
                    server: size(file.server_buffer),
                    safety: file.safety.map(Safety::from_percent).unwrap_or_default(),
                },
            },
            reconnect: file.reconnect,
            joined: file.joined,
            number: file.number,
            latency_ms: file.latency_ms.min(MAX_LATENCY_MS),
            window: file.window.clamped(),
        }
    }
}

/// Whether this may be an address as somebody typed it.
pub(super) fn is_address(address: &str) -> bool {
    !address.is_empty() && address.len() <= MAX_ADDRESS_BYTES && !address.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> SavedState {
        SavedState {
            address: "jam.example.org:22124".into(),
            recents: Vec::new(),
            settings: Settings {
                profile: Profile {
                    name: "Änn 🎷".into(),
                    instrument: 7,
                    country: 82,
                    city: "Köln".into(),
                    skill: Skill::EXPERT,
                },
                stream: StreamSettings {
                    quality: Quality::Max,
                    layout: Layout::Mono,
                    frame: FrameChoice::Samples64,
                },
                buffers: BufferSettings {
                    client: BufferSize::Frames(4),
                    server: BufferSize::Auto,
                    safety: Safety::TIGHT,
                },
            },
            reconnect: true,
            joined: true,
            number: u64::MAX,
            latency_ms: 25,
            window: WindowSize { width: 1200.0, height: 700.0, zoom: 1.25 },
        }
    }

    #[test]
    fn what_is_saved_is_restored() {
        let json = serde_json::to_string(&full()).expect("serialisable");
        assert_eq!(serde_json::from_str::<SavedState>(&json).expect("readable"), full());
    }

    #[test]
    fn a_wrong_field_loses_only_itself() {
        let json = r#"{"version":"x","address":7,"recents":["ok",3],"name":"Ann","quality":"ultra",
            "client_buffer":99,"safety":"very","reconnect":"yes","latency_ms":-1,"server_buffer":3,"window":{"width":"wide"},"from_the_future":{}}"#;
        let state: SavedState = serde_json::from_str(json).expect("readable");
        let mut expected = SavedState::default();
        expected.settings.profile.name = "Ann".into();
        expected.settings.buffers.server = BufferSize::Frames(3);
        assert_eq!(state, expected);
        assert_eq!(serde_json::from_str::<SavedState>("{}").expect("readable"), SavedState::default());
    }

    #[test]
    fn hostile_values_are_cut_to_their_limits() {
        let json = serde_json::json!({
            "address": "a".repeat(MAX_ADDRESS_BYTES + 1), "recents": vec!["x"; 100],
            "latency_ms": 60_000, "safety": 200, "name": "🎷".repeat(100), "city": "c".repeat(100),
            "window": {"width": 1e9, "height": -5.0, "zoom": 100.0},
        });
        let state: SavedState = serde_json::from_value(json).expect("readable");
        assert_eq!((state.address.as_str(), state.latency_ms), ("", MAX_LATENCY_MS));
        assert_eq!(state.settings.buffers.safety, Safety::SAFE);
        assert_eq!(state.recents.len(), MAX_RECENTS);
        assert_eq!(state.settings.profile.name, "🎷".repeat(8));
        assert_eq!(state.settings.profile.city.len(), MAX_CITY_UNITS);
        assert_eq!(state.window, WindowSize { width: 4096.0, height: 420.0, zoom: 2.0 });
    }

    #[test]
    fn recents_are_the_users_and_settings_the_projects() {
        let user = Arc::new(UserFile::open(None));
        let older = SavedState { recents: vec!["old".into()], ..SavedState::default() };
        let new = |saved| Project::new(saved, Arc::clone(&user), None, Arc::default());
        let (one, other) = (new(older), new(SavedState::default()));
        one.remember("new");
        assert_eq!(other.user().recents, ["new", "old"]);
        other.change_user(Change::Forget("old".into()));
        assert_eq!(one.user().recents, ["new"]);
        one.choose(full().settings);
        assert_eq!((one.saved().settings, other.saved().settings), (full().settings, Settings::default()));
        assert_eq!(user.data().settings, full().settings, "the next instance starts with them");
        other.load(SavedState { address: "jam.example.org".into(), ..full() });
        other.load(SavedState::default());
        assert_eq!((other.saved().settings, &user.data().settings), (Settings::default(), &full().settings));
    }

    /// The layout's versions so far, as they lie in projects: each is read for ever.
    #[test]
    fn older_and_newer_projects_are_read() {
        let older = r#""address":"jam.example.org","recents":["a","b"],"name":"Ann","city":"Bonn","country":82,
            "instrument":7,"skill":2,"quality":"high","layout":"mono","frame":"64","client_buffer":4,
            "server_buffer":null,"window":{"width":1000.0,"height":700.0,"zoom":1.0}"#;
        let read = |json: String| serde_json::from_str::<SavedState>(&json).expect("readable");
        let first = read(format!(r#"{{"version":1,{older}}}"#));
        let profile = Profile {
            name: "Ann".into(),
            instrument: 7,
            country: 82,
            city: "Bonn".into(),
            skill: Skill::INTERMEDIATE,
        };
        assert_eq!(
            (&*first.address, &*first.recents),
            ("jam.example.org", &["a".to_owned(), "b".into()][..])
        );
        assert_eq!(first.settings.profile, profile);
        assert_eq!(first.settings.buffers.client, BufferSize::Frames(4));
        assert!(!first.reconnect && !first.joined && first.number == 0 && first.latency_ms == 0);

        let more = r#""reconnect":true,"joined":true,"number":5,"latency_ms":25"#;
        let second = read(format!(r#"{{"version":2,{older},{more}}}"#));
        assert!(second.reconnect && second.joined && second.number == 5 && second.latency_ms == 25);
        assert_eq!(
            SavedState { reconnect: false, joined: false, number: 0, latency_ms: 0, ..second.clone() },
            first
        );

        let newer = older.replace("\"high\"", "\"holographic\"");
        let newer = read(format!(r#"{{"version":99,{newer},{more},"strips":[1]}}"#));
        let mut expected = second;
        expected.settings.stream.quality = Quality::Normal;
        assert_eq!(newer, expected, "what is not understood is left out, and nothing else");
    }
}
