//! What an admin uses: JSON-RPC over TCP and over a local socket, metrics, and the client of `status`.
//!
//! What is said on a connection is pure (`jsonrpc`, `methods`, `http`, `metrics`, `table`); the one door is `door`:
//! a thread per listener that owns all its connections and never waits for any of them. Everything reaches
//! the server through its [`super::Handle`], one question at a time.

#[cfg(unix)]
mod console;
#[cfg(unix)]
mod console_folder;
mod door;
mod guesses;
mod http;
mod jsonrpc;
mod methods;
mod metrics;
mod notification;
mod rpc;
mod secret;
mod stats;
mod status_client;
mod table;

#[cfg(unix)]
pub use console::LocalConsole;
#[cfg(unix)]
pub use console_folder::{default_console_path, find_consoles};
pub use http::MetricsServer;
pub use rpc::{DEFAULT_RPC_IP, RpcOptions, RpcServer};
pub use secret::{MIN_SECRET_CHARACTERS, Secret, SecretError};
pub use stats::{
    BanStats, ClientStats, DirectoryStats, DroppedDatagrams, FrameCounts, RecorderStats, Stats, TickStats,
    TrafficCounts,
};
pub use status_client::{StatusClient, StatusError, StatusSource};
pub use table::render;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why an admin's door did not open. `Display` is one sentence with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Somebody else has the TCP port.
    #[error("TCP port {port} is in use by another program. Stop that one, or choose another port for {purpose}.", port = address.port())]
    PortInUse {
        /// Where to listen.
        address: SocketAddr,
        /// `JSON-RPC` or `metrics`.
        purpose: &'static str,
    },
    /// Ports below 1024 often need permission.
    #[error("The system does not allow this program to use TCP port {port} for {purpose}. Choose one above 1023.", port = address.port())]
    PortForbidden {
        /// Where to listen.
        address: SocketAddr,
        /// `JSON-RPC` or `metrics`.
        purpose: &'static str,
    },
    /// The address to listen on is not one of this machine's.
    #[error("{ip} is not an address of this computer. Choose 127.0.0.1 for {purpose}.", ip = address.ip())]
    NotOurAddress {
        /// Where to listen.
        address: SocketAddr,
        /// `JSON-RPC` or `metrics`.
        purpose: &'static str,
    },
    /// Another server answers on the local socket.
    #[error("Another server uses the local socket {}. Stop that one, or start this one on another port.", .0.display())]
    ConsoleInUse(PathBuf),
    /// Something that is no socket has the local socket's name.
    #[error("{} is in the way of the local socket. Move it elsewhere.", .0.display())]
    NotASocket(PathBuf),
    /// The folder of the local socket is open to others.
    #[error("The folder {} belongs to or is open to somebody else. Remove it, or set XDG_RUNTIME_DIR.", .0.display())]
    FolderNotPrivate(PathBuf),
    /// The local socket or its folder cannot be made.
    #[error("The local socket {} cannot be made: {error}. Set XDG_RUNTIME_DIR to a folder that this user can write to.", path.display())]
    Console {
        /// What could not be made.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Anything else.
    #[error("The system does not let this program listen for {purpose}: {error}.")]
    System {
        /// `JSON-RPC` or `metrics`.
        purpose: &'static str,
        /// What the system says.
        error: io::Error,
    },
}

impl AdminError {
    /// What `error` means for somebody who wanted to listen on `address`.
    fn listening(address: SocketAddr, purpose: &'static str, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::PortInUse { address, purpose },
            io::ErrorKind::PermissionDenied => Self::PortForbidden { address, purpose },
            io::ErrorKind::AddrNotAvailable => Self::NotOurAddress { address, purpose },
            _ => Self::System { purpose, error },
        }
    }
}
