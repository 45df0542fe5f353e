//! What `jamulet/stats` answers: everything that an admin may know, as stable JSON.
//!
//! Names are in camel case and end with their unit. Counters only grow until the server ends. Members may be
//! added in later versions; none is renamed or removed.

use serde::{Deserialize, Serialize};

use crate::protocol::tables::{country, instrument_name};
use crate::protocol::{PacketLayout, RegistrationResult};
use crate::server::greeting::VERSION_TEXT;
use crate::server::status::{
    ClientStatus, Counters, DirectoryStatus, DropReason, LATENESS_BOUNDS_MICROS, RecorderStatus,
    RegistrationStatus, Status, StreamCounters, TrafficCounters,
};
use crate::units::{BufferSize, Coding, FrameSize};

/// A running server at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Stats {
    /// As `jamulus/getVersion` tells it.
    pub version: String,
    /// Since the server started.
    pub uptime_seconds: f64,
    /// The server's name.
    pub name: String,
    /// The server's city.
    pub city: String,
    /// Qt 5 country number, 0 = none.
    pub country_id: u16,
    /// Slots.
    pub max_clients: usize,
    /// Being listed in a directory.
    pub directory: DirectoryStats,
    /// Servers listed here besides this one; `null` when this server is no directory.
    pub listed_servers: Option<usize>,
    /// Recording.
    pub recorder: RecorderStats,
    /// Everyone who has a slot, ascending by id.
    pub clients: Vec<ClientStats>,
    /// Addresses banned now.
    pub bans: Vec<BanStats>,
    /// Datagrams of everyone, ever.
    pub traffic: TrafficCounts,
    /// Frames of everyone, ever.
    pub frames: FrameCounts,
    /// Datagrams that were dropped.
    pub dropped_datagrams: Vec<DroppedDatagrams>,
    /// Datagrams that the system refused to send.
    pub refused_datagrams: u64,
    /// Clients that have joined.
    pub joined: u64,
    /// The mixing clock.
    pub ticks: TickStats,
}

/// How far the registration with a directory is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DirectoryStats {
    /// As the admin wrote it; empty when the server is private.
    pub address: String,
    /// As `registrationStatus` of `jamulusserver/getServerProfile`.
    pub registration_status: String,
    /// The same as a sentence without its full stop.
    pub text: String,
}

/// Recording.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RecorderStats {
    /// `unavailable`, `off`, `waiting` (begins when somebody plays), `recording` or `failed`.
    pub state: String,
    /// Where sessions' folders go; empty when there is none.
    pub directory: String,
    /// Why recording is impossible or has stopped; empty when all is well.
    pub error: String,
    /// Frames that could not be written in time and became silence in the files.
    pub lost_frames: u64,
}

/// One client.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClientStats {
    /// Its slot.
    pub id: u8,
    /// `ip:port`.
    pub address: String,
    /// Since its first datagram.
    pub connected_seconds: f64,
    /// What it calls itself; `null` until it has told.
    pub name: Option<String>,
    /// Its city.
    pub city: String,
    /// Its country's English name; empty when there is none.
    pub country_name: String,
    /// Its instrument's English name; empty when there is none.
    pub instrument_name: String,
    /// Skill: 0 none, 1 beginner, 2 intermediate, 3 expert.
    pub skill_level_code: u8,
    /// `OPUS`, `OPUS64`, `RAW` or `RAW64`; `null` until it has told.
    pub codec: Option<String>,
    /// Channels, 1 or 2; 0 until it has told.
    pub channels: usize,
    /// Samples per frame and channel; 0 until it has told.
    pub frame_samples: usize,
    /// Bytes of one coded frame without its counter; 0 until it has told.
    pub frame_bytes: usize,
    /// Frames per packet, 1, 2 or 4; 0 until it has told.
    pub frames_per_packet: u8,
    /// Size of its jitter buffer here; 0 without a stream.
    pub buffer_frames: u8,
    /// That size follows the network.
    pub is_buffer_auto: bool,
    /// Round trip of the last acknowledged message; `null` until there was one.
    pub round_trip_ms: Option<f64>,
    /// Level 0..=9 as in level lists.
    pub level: u8,
    /// Its smoothed peak in dBFS; `null` for silence.
    pub level_dbfs: Option<f32>,
    /// Its frames.
    pub frames: FrameCounts,
    /// Its datagrams.
    pub traffic: TrafficCounts,
}

/// A ban in force.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BanStats {
    /// IP address.
    pub address: String,
    /// What is left of it.
    pub seconds_left: f64,
}

/// What became of frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct FrameCounts {
    /// Frames that have arrived.
    pub received: u64,
    /// Of those, too late to be played.
    pub late: u64,
    /// Frames that never arrived.
    pub lost: u64,
    /// Frames made up for late and lost ones.
    pub concealed: u64,
}

/// Datagrams and bytes, both ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TrafficCounts {
    /// Datagrams received.
    pub datagrams_in: u64,
    /// Their bytes, without headers.
    pub bytes_in: u64,
    /// Datagrams sent.
    pub datagrams_out: u64,
    /// Their bytes, without headers.
    pub bytes_out: u64,
}

/// Datagrams that were dropped for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DroppedDatagrams {
    /// As in the metrics.
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// The mixing clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TickStats {
    /// Ticks mixed.
    pub count: u64,
    /// Ticks that began more than one tick late and were made up for.
    pub late: u64,
    /// Times that the server was so late that it gave up ticks.
    pub resynchronised: u64,
    /// Upper bounds of `latenessCounts`.
    pub lateness_bounds_micros: Vec<u64>,
    /// Ticks that began at most so late, one count per bound (not cumulative), and one for all later ones.
    pub lateness_counts: Vec<u64>,
    /// Sum of all lateness.
    pub lateness_sum_micros: u64,
    /// CPU time of the thread that mixes; 0 where the system cannot tell.
    pub cpu_micros: u64,
}

/// Name of a state of registration (`docs/PROTOCOL.md` §7).
pub(super) const fn registration_name(status: RegistrationStatus) -> &'static str {
    match status {
        RegistrationStatus::NotRegistered => "not_registered",
        RegistrationStatus::BadAddress => "bad_address",
        RegistrationStatus::Requested => "requested",
        RegistrationStatus::TimedOut => "time_out",
        RegistrationStatus::UnknownResponse => "unknown_resp",
        RegistrationStatus::Answered(RegistrationResult::Registered) => "registered",
        RegistrationStatus::Answered(RegistrationResult::ListFull) => "directory_server_full",
        RegistrationStatus::Answered(RegistrationResult::VersionTooOld) => "server_version_too_old",
        RegistrationStatus::Answered(RegistrationResult::RequirementsNotFulfilled) => {
            "requirements_not_fulfilled"
        }
    }
}

/// All that [`registration_name`] gives.
pub(super) const REGISTRATION_NAMES: [&str; 9] = [
    "not_registered",
    "bad_address",
    "requested",
    "time_out",
    "unknown_resp",
    "registered",
    "directory_server_full",
    "server_version_too_old",
    "requirements_not_fulfilled",
];

/// Name of a recorder's state.
pub(super) fn recorder_state(recorder: &RecorderStatus) -> &'static str {
    if !recorder.error.is_empty() {
        return "failed";
    }
    match (recorder.is_available, recorder.is_enabled, recorder.is_recording) {
        (false, ..) => "unavailable",
        (true, false, _) => "off",
        (true, true, false) => "waiting",
        (true, true, true) => "recording",
    }
}

/// All that [`recorder_state`] gives.
pub(super) const RECORDER_STATES: [&str; 5] = ["unavailable", "off", "waiting", "recording", "failed"];

impl From<&Status> for Stats {
    fn from(status: &Status) -> Self {
        let counters = &status.counters;
        Self {
            version: VERSION_TEXT.to_owned(),
            uptime_seconds: status.uptime.as_secs_f64(),
            name: status.profile.name.clone(),
            city: status.profile.city.clone(),
            country_id: status.profile.country,
            max_clients: status.max_clients,
            directory: DirectoryStats::from(&status.directory),
            listed_servers: status.listed_servers,
            recorder: RecorderStats::from(&status.recorder),
            clients: status.clients.iter().map(ClientStats::from).collect(),
            bans: status.bans.iter().map(BanStats::from).collect(),
            traffic: counters.traffic.into(),
            frames: counters.frames.into(),
            dropped_datagrams: dropped(counters),
            refused_datagrams: counters.refused,
            joined: counters.joined,
            ticks: TickStats::from(counters),
        }
    }
}

impl From<&DirectoryStatus> for DirectoryStats {
    fn from(status: &DirectoryStatus) -> Self {
        Self {
            address: status.address.clone(),
            registration_status: registration_name(status.registration).to_owned(),
            text: status.to_string(),
        }
    }
}

impl From<&RecorderStatus> for RecorderStats {
    fn from(status: &RecorderStatus) -> Self {
        Self {
            state: recorder_state(status).to_owned(),
            directory: status.directory.clone(),
            error: status.error.clone(),
            lost_frames: status.lost_frames,
        }
    }
}

impl From<&ClientStatus> for ClientStats {
    fn from(client: &ClientStatus) -> Self {
        let info = client.info.clone().unwrap_or_default();
        let format = client.layout.map(|layout| layout.format);
        Self {
            id: client.channel.0,
            address: client.address.to_string(),
            connected_seconds: client.connected.as_secs_f64(),
            name: client.info.as_ref().map(|info| info.name.clone()),
            city: info.city,
            country_name: country(info.country).map_or("", |country| country.name).to_owned(),
            instrument_name: instrument(info.instrument).to_owned(),
            skill_level_code: info.skill.0,
            codec: client.layout.map(|layout| codec(layout).to_owned()),
            channels: format.map_or(0, |format| format.layout.channels()),
            frame_samples: format.map_or(0, |format| format.frame.samples()),
            frame_bytes: format.map_or(0, |format| format.frame_bytes()),
            frames_per_packet: client.layout.map_or(0, |layout| layout.block_factor),
            buffer_frames: client.buffer_frames,
            is_buffer_auto: client.buffer_size == BufferSize::Auto,
            round_trip_ms: client.round_trip.map(|trip| trip.as_secs_f64() * 1000.0),
            level: client.level,
            level_dbfs: Some(client.level_db).filter(|level| level.is_finite()),
            frames: client.stream.into(),
            traffic: client.traffic.into(),
        }
    }
}

impl From<&(std::net::IpAddr, std::time::Duration)> for BanStats {
    fn from((address, left): &(std::net::IpAddr, std::time::Duration)) -> Self {
        Self { address: address.to_string(), seconds_left: left.as_secs_f64() }
    }
}

impl From<StreamCounters> for FrameCounts {
    fn from(counters: StreamCounters) -> Self {
        let StreamCounters { received, late, lost, concealed, slipped: _ } = counters;
        Self { received, late, lost, concealed }
    }
}

impl From<TrafficCounters> for TrafficCounts {
    fn from(counters: TrafficCounters) -> Self {
        Self {
            datagrams_in: counters.packets_in,
            bytes_in: counters.bytes_in,
            datagrams_out: counters.packets_out,
            bytes_out: counters.bytes_out,
        }
    }
}

impl From<&Counters> for TickStats {
    fn from(counters: &Counters) -> Self {
        Self {
            count: counters.ticks,
            late: counters.late_ticks,
            resynchronised: counters.resynchronised,
            lateness_bounds_micros: LATENESS_BOUNDS_MICROS.to_vec(),
            lateness_counts: counters.lateness.to_vec(),
            lateness_sum_micros: counters.lateness_sum_micros,
            cpu_micros: counters.cpu_micros,
        }
    }
}

impl FrameCounts {
    /// Frames that were never played, of all that were sent, in percent; `None` when none was sent.
    pub fn loss_percent(&self) -> Option<f64> {
        let sent = self.received.saturating_add(self.lost);
        let missing = self.lost.saturating_add(self.late).min(sent);
        (sent > 0).then(|| missing as f64 * 100.0 / sent as f64)
    }
}

fn dropped(counters: &Counters) -> Vec<DroppedDatagrams> {
    let named = DropReason::ALL.iter().zip(counters.dropped);
    named.map(|(reason, count)| DroppedDatagrams { reason: reason.name().to_owned(), count }).collect()
}

fn instrument(number: u32) -> &'static str {
    if number == 0 { "" } else { instrument_name(number).unwrap_or_default() }
}

fn codec(layout: PacketLayout) -> &'static str {
    match (layout.format.coding, layout.format.frame) {
        (Coding::Opus { .. }, FrameSize::Samples128) => "OPUS",
        (Coding::Opus { .. }, FrameSize::Samples64) => "OPUS64",
        (Coding::Raw, FrameSize::Samples128) => "RAW",
        (Coding::Raw, FrameSize::Samples64) => "RAW64",
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::protocol::{ChannelInfo, Skill};
    use crate::server::config::ServerProfile;
    use crate::units::{ChannelId, Layout, Quality, StreamFormat};
    use std::time::Duration;

    /// A server with Ann, who plays, and somebody who has told nothing.
    pub(in super::super) fn busy() -> Status {
        let format = StreamFormat::stock(FrameSize::Samples64, Layout::Stereo, Quality::Normal);
        let info = ChannelInfo {
            name: "Ann".to_owned(),
            city: "Leipzig".to_owned(),
            country: 82,
            instrument: 3,
            skill: Skill::EXPERT,
        };
        let ann = ClientStatus {
            channel: ChannelId(0),
            address: "192.0.2.7:22134".parse().unwrap(),
            connected: Duration::from_millis(3_725_500),
            info: Some(info),
            layout: Some(PacketLayout { format, block_factor: 1, counter: true }),
            buffer_size: BufferSize::Auto,
            buffer_frames: 4,
            round_trip: Some(Duration::from_micros(17_400)),
            level: 6,
            level_db: -12.5,
            stream: StreamCounters { received: 990, late: 5, lost: 10, concealed: 15, slipped: 0 },
            traffic: TrafficCounters { packets_in: 1000, bytes_in: 36_000, packets_out: 900, bytes_out: 1 },
        };
        let silent = ClientStatus {
            channel: ChannelId(7),
            address: "[2001:db8::1]:5".parse().unwrap(),
            connected: Duration::ZERO,
            info: None,
            layout: None,
            buffer_frames: 0,
            round_trip: None,
            level: 0,
            level_db: f32::NEG_INFINITY,
            stream: StreamCounters::default(),
            traffic: TrafficCounters::default(),
            ..ann.clone()
        };
        Status {
            uptime: Duration::from_secs(90_061),
            max_clients: 10,
            profile: ServerProfile { name: "Cellar".to_owned(), city: "Bonn".to_owned(), country: 82 },
            welcome: "Hi".to_owned(),
            directory: DirectoryStatus::default(),
            listed_servers: None,
            recorder: RecorderStatus { is_available: true, is_enabled: true, ..RecorderStatus::default() },
            clients: vec![ann, silent],
            bans: vec![("192.0.2.66".parse().unwrap(), Duration::from_secs(90))],
            counters: Counters {
                dropped: [1, 2, 3, 4, 5, 6, 7],
                lateness: [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 11],
                lateness_sum_micros: 1_500_000,
                cpu_micros: 2_250_000,
                ticks: 56,
                ..Counters::default()
            },
        }
    }

    #[test]
    fn the_json_is_stable_and_read_back() {
        let stats = Stats::from(&busy());
        let json = serde_json::to_value(&stats).unwrap();
        assert_eq!(
            json["clients"][0],
            serde_json::json!({
                "id": 0, "address": "192.0.2.7:22134", "connectedSeconds": 3725.5, "name": "Ann",
                "city": "Leipzig", "countryName": "Germany", "instrumentName": "Electric Guitar",
                "skillLevelCode": 3, "codec": "OPUS64", "channels": 2,
                "frameSamples": 64, "frameBytes": 35, "framesPerPacket": 1, "bufferFrames": 4,
                "isBufferAuto": true, "roundTripMs": 17.4, "level": 6, "levelDbfs": -12.5,
                "frames": { "received": 990, "late": 5, "lost": 10, "concealed": 15 },
                "traffic": { "datagramsIn": 1000, "bytesIn": 36_000, "datagramsOut": 900, "bytesOut": 1 },
            })
        );
        let silent = &json["clients"][1];
        assert!(silent["name"].is_null() && silent["levelDbfs"].is_null() && silent["codec"].is_null());
        assert_eq!(json["recorder"]["state"], "waiting");
        assert_eq!(json["droppedDatagrams"][1], serde_json::json!({ "reason": "server_full", "count": 2 }));
        assert_eq!(json["directory"]["registrationStatus"], "not_registered");
        assert_eq!(json["bans"][0], serde_json::json!({ "address": "192.0.2.66", "secondsLeft": 90.0 }));
        assert_eq!(serde_json::from_value::<Stats>(json).unwrap(), stats);
    }

    /// Adds the names of all members of `json` to `names`.
    fn collect_names(json: &serde_json::Value, names: &mut Vec<String>) {
        match json {
            serde_json::Value::Object(members) => {
                for (name, member) in members {
                    names.push(name.clone());
                    collect_names(member, names);
                }
            }
            serde_json::Value::Array(elements) => {
                elements.iter().for_each(|element| collect_names(element, names));
            }
            _ => {}
        }
    }

    #[test]
    fn every_member_and_metric_is_documented() {
        const PAGE: &str = include_str!("../../../docs/hosting/json-rpc.md");
        let mut status = busy();
        status.listed_servers = Some(1);
        let mut names = Vec::new();
        collect_names(&serde_json::to_value(Stats::from(&status)).unwrap(), &mut names);
        for name in names {
            assert!(PAGE.contains(&format!("`{name}`")), "{name} is not in docs/hosting/json-rpc.md");
        }
        let exposition = super::super::metrics::exposition(&status);
        for family in exposition.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let name = family.split(' ').next().unwrap_or_default();
            let is_there = PAGE.contains(&format!("`{name}`")) || PAGE.contains(&format!("`{name}{{"));
            assert!(is_there, "{name} is not in docs/hosting/json-rpc.md");
        }
    }

    #[test]
    fn what_older_and_newer_servers_say_is_read() {
        let stats: Stats = serde_json::from_str("{\"uptimeSeconds\":3,\"tomorrow\":[1]}").unwrap();
        assert_eq!(stats, Stats { uptime_seconds: 3.0, ..Stats::default() });
    }

    #[test]
    fn every_state_has_its_listed_name() {
        use RegistrationStatus::{Answered, BadAddress, NotRegistered, Requested, TimedOut, UnknownResponse};
        let answers = [
            RegistrationResult::Registered,
            RegistrationResult::ListFull,
            RegistrationResult::VersionTooOld,
            RegistrationResult::RequirementsNotFulfilled,
        ];
        let states = [NotRegistered, BadAddress, Requested, TimedOut, UnknownResponse];
        let all = states.into_iter().chain(answers.map(Answered));
        assert!(all.map(registration_name).eq(REGISTRATION_NAMES));

        let mut recorder = RecorderStatus::default();
        let mut states = vec![recorder_state(&recorder)];
        recorder.is_available = true;
        states.push(recorder_state(&recorder));
        recorder.is_enabled = true;
        states.push(recorder_state(&recorder));
        recorder.is_recording = true;
        states.push(recorder_state(&recorder));
        recorder.error = "The disk is full.".to_owned();
        states.push(recorder_state(&recorder));
        assert_eq!(states, RECORDER_STATES);
    }

    #[test]
    fn loss_counts_what_was_never_played() {
        let counts = |received, late, lost| FrameCounts { received, late, lost, concealed: 0 };
        assert_eq!(counts(0, 0, 0).loss_percent(), None);
        assert_eq!(counts(990, 5, 10).loss_percent(), Some(1.5));
        assert_eq!(counts(u64::MAX, 0, 5).loss_percent().map(f64::round), Some(0.0));
    }
}
