//! The app's state between runs: what a host would keep in its project.

use std::path::PathBuf;
use std::{fs, io};

use serde::{Deserialize, Serialize};

use crate::plugin::Instance;
use crate::plugin::params::{LEVEL_MAX_DB, LEVEL_OFF_DB, Levels};
use crate::plugin::state::SavedState;
use crate::plugin::user_file::UserFile;
use crate::plugin::user_folder::user_folder;

/// Longest state file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Levels and project.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::plugin) struct AppState {
    send_db: Option<f32>,
    return_db: Option<f32>,
    dry_db: Option<f32>,
    mute_me: bool,
    pub(in crate::plugin) project: SavedState,
}

impl AppState {
    /// What `instance` has now.
    pub(in crate::plugin) fn of(instance: &Instance) -> Self {
        // The app has nobody who would bypass it.
        let Levels { send_db, return_db, dry_db, mute_me, bypass: _ } = instance.params.levels();
        let project = instance.project.saved();
        Self { send_db: Some(send_db), return_db: Some(return_db), dry_db: Some(dry_db), mute_me, project }
    }

    /// The levels, within limits.
    pub(in crate::plugin) fn levels(&self) -> Levels {
        let default = Levels::default();
        let level = |db: Option<f32>, default: f32| {
            db.filter(|db| db.is_finite()).map_or(default, |db| db.clamp(LEVEL_OFF_DB, LEVEL_MAX_DB))
        };
        Levels {
            send_db: level(self.send_db, default.send_db),
            return_db: level(self.return_db, default.return_db),
            dry_db: level(self.dry_db, default.dry_db),
            mute_me: self.mute_me,
            bypass: false,
        }
    }
}

/// The state of the last run; a fresh one if there is none or it cannot be read.
pub(super) fn load() -> AppState {
    let fresh = || {
        let settings = UserFile::of_user().data().settings.clone();
        AppState { project: SavedState { settings, ..SavedState::default() }, ..AppState::default() }
    };
    let Some(path) = path() else { return fresh() };
    let read = || {
        if fs::metadata(&path)?.len() > MAX_FILE_BYTES {
            return Err(io::Error::other("it is too long"));
        }
        Ok(serde_json::from_str(&fs::read_to_string(&path)?)?)
    };
    read().unwrap_or_else(|error| {
        if error.kind() != io::ErrorKind::NotFound {
            eprintln!("{} cannot be read ({error}); starting afresh.", path.display());
        }
        fresh()
    })
}

/// Keeps `state` for the next run. The old file stays whole until the new one is complete.
pub(super) fn save(state: &AppState) -> Result<(), String> {
    let Some(path) = path() else {
        return Err("There is no home directory to keep the settings in. Set HOME.".to_owned());
    };
    let write = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let new = path.with_extension("json.new");
        fs::write(&new, serde_json::to_vec_pretty(state)?)?;
        fs::rename(&new, &path)
    };
    write().map_err(|error| format!("The settings could not be kept in {} ({error}).", path.display()))
}

fn path() -> Option<PathBuf> {
    Some(user_folder()?.join("state.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_project_survive_a_file() {
        let mut state = AppState { send_db: Some(-3.0), mute_me: true, ..AppState::default() };
        state.project.address = "jam.example.org".to_owned();
        let json = serde_json::to_string(&state).expect("serialisable");
        let read: AppState = serde_json::from_str(&json).expect("readable");
        assert_eq!(read, state);
        let levels = Levels { send_db: -3.0, mute_me: true, ..Levels::default() };
        assert_eq!(read.levels(), levels);
    }
}
