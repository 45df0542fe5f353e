//! What an admin asks of the core.

use super::Core;
use crate::protocol::{ConnlessMessage, Message, RecorderState, cut_to_utf16, utf16_len};
use crate::server::channel::Channel;
use crate::server::command::{BanTarget, Command, CommandError};
use crate::server::config::{ServerProfile, clamped_welcome};
use crate::server::connless::feature;
use crate::server::directories::Directories;
use crate::server::doorman::household;
use crate::server::event::LeaveReason;
use crate::server::status::{Counters, DropReason, Status};
use crate::units::{ChannelId, FrameSize, MAX_CHAT_INPUT_UNITS, MAX_CHAT_UNITS, Time};

impl Core {
    /// Carries out what an admin asks for.
    ///
    /// # Errors
    /// When it makes no sense now; nothing has changed then.
    pub fn execute(&mut self, now: Time, command: Command) -> Result<(), CommandError> {
        match command {
            Command::Reload { before, after } => {
                self.config.apply(&before, *after);
                self.announce(now);
            }
            Command::SetName(name) => {
                let profile = ServerProfile { name, ..self.config.profile.clone() };
                self.config.profile = profile.clamped();
                self.announce(now);
            }
            Command::SetWelcome(welcome) => self.config.welcome = welcome.and_then(clamped_welcome),
            Command::SetDirectory(_) if self.config.own_directory.is_some() => {
                return Err(CommandError::IsDirectory);
            }
            Command::SetDirectory(choice) => {
                self.config.directory = choice;
                self.announce(now);
            }
            Command::DirectoryResolved { name, addresses } => self.directory_resolved(now, &name, &addresses),
            Command::Broadcast(text) => self.broadcast(now, text),
            Command::Whisper { to, text } => self.whisper(now, to, text)?,
            Command::Kick(id) => self.kick(now, id, LeaveReason::Kicked)?,
            Command::Ban { whom, duration } => self.ban(now, whom, duration)?,
            Command::Record(command) => self.record(now, command)?,
        }
        self.collect_messages(now);
        Ok(())
    }

    /// Says goodbye before the server stops: to its directory, and to everyone if the configuration says so.
    pub fn stop(&mut self) {
        if let Some(directories) = &mut self.directories {
            directories.stop();
        }
        self.collect_directories();
        if self.config.disconnect_on_quit {
            let farewell = ConnlessMessage::Disconnection.to_datagram();
            for channel in self.roster.iter() {
                self.outbox.push(channel.address(), &farewell);
            }
        }
    }

    /// Everything that an admin may know; what only the driver counts is left at 0.
    pub fn status(&mut self, now: Time) -> Status {
        Status {
            uptime: now.since(self.started),
            max_clients: self.config.max_clients,
            profile: self.config.profile.clone(),
            welcome: self.config.welcome.clone().unwrap_or_default(),
            directory: self.directories.as_ref().map(Directories::status).unwrap_or_default(),
            listed_servers: self.directories.as_ref().and_then(Directories::listed_servers),
            recorder: self.recorder_status(),
            clients: self.roster.iter().map(|channel| channel.status(now)).collect(),
            bans: self.doorman.bans(now),
            counters: self.all_counters(),
        }
    }

    /// The bits of 1019.
    pub(super) fn features(&self) -> u32 {
        let when = |condition, bit| if condition { bit } else { 0 };
        let told = self.config.told;
        let recorder = self.recorder_state();
        when(self.config.frame == FrameSize::Samples64, feature::FAST_UPDATE)
            | when(told.multithreading, feature::MULTITHREADING)
            | when(recorder != RecorderState::NotInitialised, feature::RECORDER)
            | when(recorder == RecorderState::Recording, feature::RECORDING)
            | when(self.config.delay_pan, feature::DELAY_PAN)
            | when(told.ipv6, feature::IPV6)
            | when(self.config.raw_audio, feature::RAW_AUDIO)
            | when(self.config.disconnect_on_quit, feature::DISCONNECT_ON_QUIT)
            | when(self.config.welcome.is_some(), feature::WELCOME_MESSAGE)
            | when(told.logging, feature::LOGGING)
            | when(self.config.licence, feature::LICENCE)
            | when(told.rpc, feature::RPC)
    }

    fn all_counters(&mut self) -> Counters {
        let mut counters = self.counters.clone();
        for channel in self.roster.iter() {
            counters.frames.add(channel.counters());
        }
        // A lost frame that comes late after all is lost no longer, but what has been told only grows.
        self.lost_told = self.lost_told.max(counters.frames.lost);
        counters.frames.lost = self.lost_told;
        let sent = self.outbox.sent();
        counters.traffic.packets_out = sent.packets;
        counters.traffic.bytes_out = sent.bytes;
        counters.dropped[DropReason::OutboxFull as usize] = sent.dropped;
        counters
    }

    /// Says `text` to everyone as it is, cut to what clients accept.
    pub(super) fn broadcast(&mut self, now: Time, text: String) {
        self.chat(now, None, cut_to_utf16(&text, MAX_CHAT_UNITS).to_owned());
    }

    fn whisper(&mut self, now: Time, to: ChannelId, text: String) -> Result<(), CommandError> {
        if text.is_empty() || utf16_len(&text) > MAX_CHAT_INPUT_UNITS {
            return Err(CommandError::BadText);
        }
        let channel = self.roster.get_mut(to).ok_or(CommandError::NoSuchClient(to.0))?;
        channel.send(now, &Message::ChatText(text));
        Ok(())
    }

    fn kick(&mut self, now: Time, id: ChannelId, reason: LeaveReason) -> Result<(), CommandError> {
        let channel = self.roster.get_mut(id).ok_or(CommandError::NoSuchClient(id.0))?;
        let address = channel.address();
        self.outbox.push(address, &ConnlessMessage::Disconnection.to_datagram());
        self.doorman.see_off(now, address);
        self.leave(now, id, reason);
        Ok(())
    }

    fn ban(&mut self, now: Time, whom: BanTarget, duration: std::time::Duration) -> Result<(), CommandError> {
        let ip = match whom {
            BanTarget::Address(ip) => ip,
            BanTarget::Client(id) => {
                let channel = self.roster.get_mut(id).ok_or(CommandError::NoSuchClient(id.0))?;
                channel.address().ip()
            }
        };
        self.doorman.ban(now, ip, duration)?;
        if !duration.is_zero() {
            let there =
                self.roster.iter().filter(|channel| household(channel.address().ip()) == household(ip));
            for id in there.map(Channel::id).collect::<Vec<_>>() {
                self.kick(now, id, LeaveReason::Banned)?;
            }
        }
        Ok(())
    }
}
