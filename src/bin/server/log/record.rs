//! One thing that happened, and the two ways to write it: a sentence, or `name=value` pairs.

use std::fmt::Write;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use jamulet::protocol::RegistrationResult;
use jamulet::server::{Event, LeaveReason, RegistrationStatus, is_disruptive};
use jiff::Timestamp;

/// How much an admin should care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// All is well.
    Info,
    /// Something is not as it was meant.
    Warning,
    /// Something does not work.
    Error,
}

impl Level {
    const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }

    /// As syslog and the journal number it.
    const fn priority(self) -> u8 {
        match self {
            Self::Info => 6,
            Self::Warning => 4,
            Self::Error => 3,
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    level: Level,
    event: &'static str,
    fields: Vec<(&'static str, String)>,
    sentence: String,
}

impl Record {
    /// Something that the sentence tells completely.
    pub(crate) fn told(level: Level, event: &'static str, sentence: impl Into<String>) -> Self {
        let sentence = sentence.into();
        Self { level, event, fields: vec![("message", sentence.clone())], sentence }
    }

    /// Something that the fields tell, and the sentence too.
    pub(crate) fn new(event: &'static str, sentence: impl Into<String>) -> Self {
        Self { level: Level::Info, event, fields: Vec::new(), sentence: sentence.into() }
    }

    /// With one more field.
    pub(crate) fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.fields.push((name, value.to_string()));
        self
    }

    /// What a server reports, or `None` for what is of no interest by itself. Addresses are masked on request.
    pub(crate) fn of(event: &Event, mask: bool) -> Option<Self> {
        let event = if mask { &masked_event(event) } else { event };
        let sentence = event.to_string();
        Some(match event {
            // What follows it tells who it is.
            Event::Connected { .. } => return None,
            Event::Joined { channel, address, name } => Self::new("joined", sentence)
                .with("channel", channel.0)
                .with("address", address)
                .with("name", name),
            Event::Renamed { channel, name } => {
                Self::new("renamed", sentence).with("channel", channel.0).with("name", name)
            }
            Event::Left { channel, address, name, reason } => Self::new("left", sentence)
                .with("channel", channel.0)
                .with("address", address)
                .with("name", name.as_deref().unwrap_or_default())
                .with("reason", reason_name(*reason)),
            // What was said is nobody's business.
            Event::Chat { channel: Some(channel), .. } => {
                Self::new("chat", sentence).with("channel", channel.0)
            }
            Event::Chat { channel: None, .. } => Self::new("chat", sentence).with("channel", "admin"),
            Event::Directory(status) => {
                Self::told(directory_level(status.registration), "directory", sentence)
            }
            Event::ListNotSaved { .. } => Self::told(Level::Error, "list_not_saved", sentence),
            Event::Recorder(status) => {
                let level = match (status.error.is_empty(), status.is_available) {
                    (true, _) => Level::Info,
                    // It never began.
                    (false, false) => Level::Warning,
                    (false, true) => Level::Error,
                };
                Self::told(level, "recorder", sentence)
            }
            Event::RecorderWarning(_) => Self::told(Level::Warning, "recorder", sentence),
        })
    }

    /// As a sentence, or several lines of them.
    pub(crate) fn text(&self) -> String {
        self.sentence.clone() + "\n"
    }

    /// As pairs in one line that ends with a line feed, for a file.
    pub(crate) fn logfmt(&self, time: Timestamp) -> String {
        self.pairs(format!("time={time:.3}"))
    }

    /// As pairs in one line for the journal, which knows the time.
    pub(crate) fn journal(&self) -> String {
        format!("<{}>{}", self.level.priority(), self.pairs(String::new()))
    }

    fn pairs(&self, mut line: String) -> String {
        let head = [("level", self.level.name()), ("event", self.event)];
        let fields = self.fields.iter().map(|(name, value)| (*name, value.as_str()));
        for (name, value) in head.into_iter().chain(fields) {
            if !line.is_empty() {
                line.push(' ');
            }
            // Writing into a text cannot fail.
            let _ = write!(line, "{name}=");
            push_value(&mut line, value);
        }
        line.push('\n');
        line
    }
}

/// A value that stays one value, and one line, whatever a musician calls himself.
fn push_value(line: &mut String, value: &str) {
    let is_plain = |character: char| character.is_alphanumeric() || "-._:/[]+".contains(character);
    if !value.is_empty() && value.chars().all(is_plain) {
        line.push_str(value);
        return;
    }
    line.push('"');
    for character in value.chars() {
        match character {
            '"' | '\\' => line.extend(['\\', character]),
            character if is_disruptive(character) => line.extend(character.escape_unicode()),
            character => line.push(character),
        }
    }
    line.push('"');
}

fn directory_level(registration: RegistrationStatus) -> Level {
    match registration {
        RegistrationStatus::NotRegistered
        | RegistrationStatus::Requested
        | RegistrationStatus::Answered(RegistrationResult::Registered) => Level::Info,
        RegistrationStatus::BadAddress
        | RegistrationStatus::TimedOut
        | RegistrationStatus::UnknownResponse
        | RegistrationStatus::Answered(_) => Level::Warning,
    }
}

fn reason_name(reason: LeaveReason) -> &'static str {
    match reason {
        LeaveReason::Left => "left",
        LeaveReason::TimedOut => "timed_out",
        LeaveReason::Kicked => "kicked",
        LeaveReason::Banned => "banned",
    }
}

fn masked_event(event: &Event) -> Event {
    let mut event = event.clone();
    match &mut event {
        Event::Joined { address, .. } | Event::Connected { address, .. } | Event::Left { address, .. } => {
            *address = SocketAddr::new(masked(address.ip()), address.port());
        }
        Event::Renamed { .. }
        | Event::Chat { .. }
        | Event::Directory(_)
        | Event::ListNotSaved { .. }
        | Event::Recorder(_)
        | Event::RecorderWarning(_) => {}
    }
    event
}

/// Without the last byte of IPv4 or the last 80 bits of IPv6: the network, not the person.
fn masked(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            IpAddr::from([a, b, c, 0])
        }
        IpAddr::V6(ip) => {
            let [a, b, c, ..] = ip.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use jamulet::units::ChannelId;

    use super::*;

    fn joined(address: &str, name: &str) -> Event {
        Event::Joined { channel: ChannelId(3), address: address.parse().unwrap(), name: name.to_owned() }
    }

    fn time() -> Timestamp {
        "2026-11-22T19:30:00.123456Z".parse().unwrap()
    }

    #[test]
    fn an_event_is_one_line_of_pairs() {
        let record = Record::of(&joined("192.0.2.7:22134", "Zoë B"), false).unwrap();
        assert_eq!(
            record.logfmt(time()),
            "time=2026-11-22T19:30:00.123Z level=info event=joined channel=3 address=192.0.2.7:22134 name=\"Zoë B\"\n"
        );
        assert_eq!(record.text(), "Zoë B joined from 192.0.2.7:22134 (channel 3)\n");
        assert_eq!(
            record.journal(),
            "<6>level=info event=joined channel=3 address=192.0.2.7:22134 name=\"Zoë B\"\n"
        );
        let warning = Record::told(Level::Warning, "note", "It is \"so\".");
        assert_eq!(warning.journal(), "<4>level=warning event=note message=\"It is \\\"so\\\".\"\n");
    }

    #[test]
    fn names_cannot_forge_lines_or_fields() {
        for name in ["a\nlevel=error", "\" event=left", "\\", "\u{1b}[2J", "\u{202e}x", "", "a=b", "\u{2028}"]
        {
            let line = Record::of(&joined("192.0.2.7:22134", name), false).unwrap().logfmt(time());
            assert_eq!(line.matches('\n').count(), 1, "{line}");
            assert!(!line.trim_end().contains(is_disruptive), "{line:?}");
            let value = line.split_once(" name=").unwrap().1.trim_end();
            let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap();
            assert!(!inner.replace("\\\\", "").replace("\\\"", "").contains('"'), "{line}");
        }
    }

    #[test]
    fn masked_addresses_name_only_the_network() {
        let line = |address: &str| Record::of(&joined(address, "Ann"), true).unwrap();
        assert!(line("192.0.2.7:5").logfmt(time()).contains("address=192.0.2.0:5 "));
        assert!(line("[2001:db8:1:2:3:4:5:6]:5").logfmt(time()).contains("address=[2001:db8:1::]:5 "));
        assert_eq!(line("192.0.2.7:5").text(), "Ann joined from 192.0.2.0:5 (channel 3)\n");
    }
}
