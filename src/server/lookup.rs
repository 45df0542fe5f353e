//! The thread that looks names of directories up, which may take long and cannot be interrupted.

use std::io;
use std::net::SocketAddr;
use std::panic::catch_unwind;

use crossbeam::channel::{Receiver, Sender, unbounded};

use super::command::Command;
use super::handle::Handle;
use crate::net::resolve_server;

/// Looks names up, one after the other. Dropping it ends its thread once the last look-up is done; nobody
/// waits for that.
pub(super) struct LookUps {
    /// As many as look-ups are under way; a server asks for a few a minute at most.
    names: Sender<String>,
}

impl LookUps {
    /// Starts the thread. It answers with [`Command::DirectoryResolved`].
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(super) fn start(handle: Handle) -> io::Result<Self> {
        let (names, asked) = unbounded();
        std::thread::Builder::new().name("jamulet-lookup".to_owned()).spawn(move || run(&asked, &handle))?;
        Ok(Self { names })
    }

    /// Has a name looked up. Never blocks.
    pub(super) fn ask(&self, name: String) {
        // The thread ends after us.
        let _ = self.names.send(name);
    }
}

fn run(asked: &Receiver<String>, handle: &Handle) {
    for name in asked {
        let addresses = catch_unwind(|| addresses_of(&name)).unwrap_or_default();
        // A server that does not answer has stopped, or stands still for so long that it asks again.
        let _ = handle.execute(Command::DirectoryResolved { name, addresses });
    }
}

/// The IPv4 addresses of a directory, best first: registration and lists have no others.
fn addresses_of(directory: &str) -> Vec<SocketAddr> {
    let found = directory.parse().ok().and_then(|address| resolve_server(&address).ok()).unwrap_or_default();
    found.into_iter().filter(SocketAddr::is_ipv4).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_have_ipv4_addresses_only() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(addresses_of("192.0.2.1"), [address("192.0.2.1:22124")]);
        assert_eq!(addresses_of("localhost:5"), [address("127.0.0.1:5")]);
        for nothing in ["[::1]:5", "::1", "", "two words", "no-such-host.invalid:1"] {
            assert_eq!(addresses_of(nothing), [], "{nothing}");
        }
    }
}
