//! The core's side of directories: being listed in one, or being one.

use std::net::SocketAddr;

use super::Core;
use crate::protocol::ConnlessMessage;
use crate::server::directories::{Directories, DirectoryEvent, OwnAddress};
use crate::server::event::Event;
use crate::units::Time;

/// What the driver has to do for directories.
pub(in crate::server) enum DirectoryTask {
    /// Look this name up, and answer with [`crate::server::Command::DirectoryResolved`].
    LookUp(String),
    /// Replace the directory's file with this.
    Save(String),
}

impl Core {
    /// Registers with the configured directory, or becomes one: `own` is where this server can be reached, and
    /// `file` what a directory kept from before a restart.
    pub(in crate::server) fn go_public(&mut self, now: Time, own: OwnAddress, file: &str) {
        let mut directories = Directories::new(now, &self.config, own);
        directories.restore(now, file);
        self.directories = Some(directories);
        self.collect_directories();
    }

    /// What a directory is to keep across a restart; `None` when this is no directory.
    pub(in crate::server) fn directory_file(&self) -> Option<String> {
        self.directories.as_ref().and_then(Directories::file)
    }

    /// The next thing that the driver has to do for directories.
    pub(in crate::server) fn poll_directory_task(&mut self) -> Option<DirectoryTask> {
        self.directory_tasks.pop_front()
    }

    /// Tells directories what has changed in the configuration.
    pub(super) fn announce(&mut self, now: Time) {
        if let Some(directories) = &mut self.directories {
            directories.apply(now, &self.config);
            self.collect_directories();
        }
    }

    pub(super) fn directory_resolved(&mut self, now: Time, name: &str, addresses: &[SocketAddr]) {
        if let Some(directories) = &mut self.directories {
            directories.resolved(now, name, addresses);
            self.collect_directories();
        }
    }

    /// Takes a message that directories and their servers exchange; `false` for all others.
    pub(super) fn handle_for_directory(
        &mut self,
        now: Time,
        from: SocketAddr,
        message: &ConnlessMessage,
    ) -> bool {
        let is_theirs =
            self.directories.as_mut().is_some_and(|directories| directories.handle(now, from, message));
        if is_theirs {
            self.collect_directories();
        }
        is_theirs
    }

    /// Passes on what directories have to send and to tell.
    pub(super) fn collect_directories(&mut self) {
        let Some(directories) = &mut self.directories else { return };
        directories.drain_transmits(|to, datagram| self.outbox.push(to, datagram));
        let mut told = Vec::new();
        while let Some(event) = directories.poll_event() {
            match event {
                DirectoryEvent::Status(status) => told.push(Event::Directory(status)),
                DirectoryEvent::LookUp(name) => self.directory_tasks.push_back(DirectoryTask::LookUp(name)),
                DirectoryEvent::ListChanged(file) => {
                    self.directory_tasks.push_back(DirectoryTask::Save(file));
                }
            }
        }
        told.into_iter().for_each(|event| self.report(event));
    }
}
