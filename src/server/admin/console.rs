//! JSON-RPC on a local socket that only the server's own user can open: being able to is proof enough.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use super::door::Door;
use super::rpc::Rpc;
use super::{AdminError, console_folder, notification};
use crate::server::event::Event;
use crate::server::handle::Handle;

/// Nobody but the owner (and root) may connect.
const SOCKET_MODE: u32 = 0o600;
/// Connections that the system keeps waiting for us.
const BACKLOG: i32 = 16;

/// JSON-RPC of a running server without secret, for this user only. Dropping it stops it and removes the socket.
pub struct LocalConsole {
    door: Option<Door>,
    path: PathBuf,
    /// Device and number of the socket that we made.
    inode: (u64, u64),
}

impl LocalConsole {
    /// Makes the socket `path`, and its folder where that is missing, and answers from now on. What a killed server
    /// left there is removed; a server that still answers is not disturbed.
    ///
    /// # Errors
    /// When the socket cannot be made, is in use, or its folder is open to others.
    pub fn start(path: &Path, handle: Handle) -> Result<Self, AdminError> {
        let failed = |error| AdminError::Console { path: path.to_owned(), error };
        console_folder::prepare(path)?;
        remove_stale(path)?;
        let listener = listen(path).map_err(failed)?;
        let inode = inode(path).map_err(failed)?;
        let door = Door::open("jamulet-console", listener, Rpc::new(handle, None)).map_err(failed)?;
        Ok(Self { door: Some(door), path: path.to_owned(), inode })
    }

    /// Where the socket is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Tells `event` to all clients, where JSON-RPC has a notification for it. Never blocks.
    pub fn notify(&self, event: &Event) {
        if let (Some(door), Some(line)) = (&self.door, notification::line(event)) {
            door.tell(line);
        }
    }

    /// Closes all connections, stops within a second whatever clients do, and removes the socket.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for LocalConsole {
    fn drop(&mut self) {
        // Somebody may have put another one there since.
        if inode(&self.path).is_ok_and(|found| found == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
        self.door = None;
    }
}

fn listen(path: &Path) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // On Linux the file gets the mode that the socket has when it is bound, so it is never open to others;
    // elsewhere this has no effect, and the folder and the next lines have to do.
    // SAFETY: plain system call on a descriptor that we own.
    unsafe { libc::fchmod(socket.as_raw_fd(), SOCKET_MODE as libc::mode_t) };
    socket.bind(&SockAddr::unix(path)?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Makes way for a new socket.
fn remove_stale(path: &Path) -> Result<(), AdminError> {
    match fs::symlink_metadata(path) {
        Err(_) => return Ok(()),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(AdminError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| AdminError::Console { path: path.to_owned(), error })
        }
        _ => Err(AdminError::ConsoleInUse(path.to_owned())),
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}
