//! Where local sockets live, and whom their folders belong to.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::AdminError;

/// Where a unit with `RuntimeDirectory=jamulet-server` has its socket: `status` looks there, too.
const SERVICE_FOLDER: &str = "/run/jamulet-server";
const FOLDER_NAME: &str = "jamulet-server";
const EXTENSION: &str = "sock";
/// Permission bits with which somebody else could put another socket in ours' place.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Where the server on UDP port `port` has its local socket unless told otherwise: in systemd's
/// `$RUNTIME_DIRECTORY`, else in `$XDG_RUNTIME_DIR/jamulet-server`, else in `/tmp/jamulet-server-UID`.
pub fn default_console_path(port: u16) -> PathBuf {
    folders().swap_remove(0).join(format!("{port}.{EXTENSION}"))
}

/// The local sockets of the servers on this machine: this user's, and that of the system's service, which only root
/// may ask. A server that was killed leaves a socket on which nobody answers.
pub fn find_consoles() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    // Anybody can put a folder into `/tmp`; only root and systemd make one in `/run`.
    let trusted = folders().into_iter().filter(|folder| is_ours(folder)).chain([SERVICE_FOLDER.into()]);
    for folder in trusted {
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut sockets: Vec<PathBuf> = entries.filter(|path| port(path).is_some()).collect();
        sockets.sort();
        sockets.retain(|path| !found.contains(path));
        found.append(&mut sockets);
    }
    found
}

/// The UDP port of the server whose local socket is `path`, if that is one of ours.
fn port(path: &Path) -> Option<u16> {
    let is_socket = path.extension() == Some(OsStr::new(EXTENSION));
    path.file_stem().filter(|_| is_socket)?.to_str()?.parse().ok()
}

/// Makes the folder of the socket `path` where it is missing, open to this user only, and checks that nobody else
/// can change what is in it.
pub(super) fn prepare(path: &Path) -> Result<(), AdminError> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(AdminError::Console { path: folder.to_owned(), error }),
    }
    if !is_ours(folder) {
        return Err(AdminError::FolderNotPrivate(folder.to_owned()));
    }
    Ok(())
}

/// Folders for sockets, best first; at least one.
fn folders() -> Vec<PathBuf> {
    // systemd separates several by colons.
    let runtime = std::env::var_os("RUNTIME_DIRECTORY").and_then(|all| std::env::split_paths(&all).next());
    let user = std::env::var_os("XDG_RUNTIME_DIR").map(|folder| PathBuf::from(folder).join(FOLDER_NAME));
    let named = [runtime, user].into_iter().flatten().filter(|folder| folder.is_absolute());
    named.chain([PathBuf::from(format!("/tmp/{FOLDER_NAME}-{}", own_id()))]).collect()
}

/// It belongs to this user and only this user can write to it. A link to it must be this user's or root's:
/// anybody can put one into `/tmp`.
fn is_ours(folder: &Path) -> bool {
    let id = own_id();
    let (Ok(entry), Ok(target)) = (fs::symlink_metadata(folder), fs::metadata(folder)) else { return false };
    let is_honest = !entry.is_symlink() || [0, id].contains(&entry.uid());
    is_honest && target.is_dir() && target.uid() == id && target.mode() & WRITABLE_BY_OTHERS == 0
}

fn own_id() -> u32 {
    // SAFETY: geteuid has no preconditions.
    unsafe { libc::geteuid() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_folder_must_be_ours_alone() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("new");
        prepare(&folder.join("1.sock")).unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        prepare(&folder.join("1.sock")).unwrap();

        let link = scratch.path().join("link");
        symlink(&folder, &link).unwrap();
        prepare(&link.join("1.sock")).unwrap();

        fs::set_permissions(&folder, fs::Permissions::from_mode(0o770)).unwrap();
        let error = prepare(&folder.join("1.sock")).unwrap_err();
        assert!(matches!(&error, AdminError::FolderNotPrivate(path) if *path == folder));
        assert!(error.to_string().contains("XDG_RUNTIME_DIR"), "{error}");

        let missing = scratch.path().join("a/b/1.sock");
        assert!(matches!(prepare(&missing), Err(AdminError::Console { .. })));
        fs::write(scratch.path().join("file"), "").unwrap();
        assert!(prepare(&scratch.path().join("file/1.sock")).is_err());
    }

    #[test]
    fn the_path_names_the_port() {
        let path = default_console_path(22124);
        assert!(path.is_absolute() && path.ends_with("22124.sock"), "{path:?}");
        assert_eq!(port(&path), Some(22124));
        assert!(["22124", "x.sock", "70000.sock"].iter().all(|name| port(Path::new(name)).is_none()));
    }
}
