//! Where a user's own settings are kept, by each system's custom.

use std::env;
use std::path::PathBuf;

/// The folder, which need not exist yet; `None` without a home.
pub(super) fn user_folder() -> Option<PathBuf> {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    Some(if cfg!(target_os = "windows") {
        variable("APPDATA")?.join("Jamulet")
    } else if cfg!(target_os = "macos") {
        variable("HOME")?.join("Library/Application Support/Jamulet")
    } else {
        let config = variable("XDG_CONFIG_HOME").or_else(|| Some(variable("HOME")?.join(".config")))?;
        config.join("jamulet")
    })
}
