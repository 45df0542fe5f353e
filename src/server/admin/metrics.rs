//! A server's numbers for Prometheus: its text format 0.0.4. Pure.

use std::fmt::{Display, Write};

use super::stats::{RECORDER_STATES, REGISTRATION_NAMES, recorder_state, registration_name};
use crate::server::greeting::VERSION_TEXT;
use crate::server::status::{Counters, DropReason, LATENESS_BOUNDS_MICROS, Status};

/// Everything that is measured, with its explanation.
pub(super) fn exposition(status: &Status) -> String {
    let mut page = Page::default();
    let counters = &status.counters;
    about_the_server(&mut page, status);
    about_the_clock(&mut page, counters);
    about_the_network(&mut page, counters);
    about_the_sound(&mut page, counters);
    about_recording(&mut page, status);
    about_directories(&mut page, status);
    page.0
}

fn about_the_server(page: &mut Page, status: &Status) {
    page.family("jamulet_build_info", "gauge", "Always 1; the label tells the version.");
    page.labelled("jamulet_build_info", "version", VERSION_TEXT, 1);
    page.gauge("jamulet_uptime_seconds", "Time since the server started.", status.uptime.as_secs_f64());
    page.gauge("jamulet_clients", "Clients that have a slot.", status.clients.len());
    page.gauge("jamulet_clients_limit", "Slots for clients.", status.max_clients);
    page.counter("jamulet_clients_joined_total", "Clients that have joined.", status.counters.joined);
    page.gauge("jamulet_bans", "Addresses that are banned.", status.bans.len());
}

fn about_the_clock(page: &mut Page, counters: &Counters) {
    page.counter("jamulet_ticks_total", "Ticks mixed.", counters.ticks);
    page.counter(
        "jamulet_late_ticks_total",
        "Ticks that began more than one tick late and were made up for.",
        counters.late_ticks,
    );
    page.counter(
        "jamulet_tick_resynchronisations_total",
        "Times that the server was so late that it gave up ticks.",
        counters.resynchronised,
    );
    page.counter(
        "jamulet_tick_cpu_seconds_total",
        "CPU time of the thread that mixes.",
        seconds(counters.cpu_micros),
    );
    lateness(page, counters);
}

fn lateness(page: &mut Page, counters: &Counters) {
    const NAME: &str = "jamulet_tick_lateness_seconds";
    page.family(NAME, "histogram", "How late ticks began.");
    let mut total = 0u64;
    for (bound, count) in LATENESS_BOUNDS_MICROS.into_iter().zip(counters.lateness) {
        total = total.saturating_add(count);
        page.labelled(&format!("{NAME}_bucket"), "le", &seconds(bound).to_string(), total);
    }
    total = total.saturating_add(counters.lateness.last().copied().unwrap_or_default());
    page.labelled(&format!("{NAME}_bucket"), "le", "+Inf", total);
    page.plain(&format!("{NAME}_sum"), seconds(counters.lateness_sum_micros));
    page.plain(&format!("{NAME}_count"), total);
}

fn about_the_network(page: &mut Page, counters: &Counters) {
    let traffic = &counters.traffic;
    page.counter("jamulet_received_datagrams_total", "Datagrams received.", traffic.packets_in);
    page.counter("jamulet_received_bytes_total", "Bytes received, without headers.", traffic.bytes_in);
    page.counter("jamulet_sent_datagrams_total", "Datagrams sent.", traffic.packets_out);
    page.counter("jamulet_sent_bytes_total", "Bytes sent, without headers.", traffic.bytes_out);
    page.counter(
        "jamulet_refused_datagrams_total",
        "Datagrams that the system refused to send.",
        counters.refused,
    );
    const DROPPED: &str = "jamulet_dropped_datagrams_total";
    page.family(DROPPED, "counter", "Datagrams that were dropped or not made, by reason.");
    for (reason, count) in DropReason::ALL.iter().zip(counters.dropped) {
        page.labelled(DROPPED, "reason", reason.name(), count);
    }
}

fn about_the_sound(page: &mut Page, counters: &Counters) {
    let frames = &counters.frames;
    page.counter("jamulet_received_frames_total", "Frames of sound that arrived.", frames.received);
    page.counter("jamulet_late_frames_total", "Frames that arrived too late to be played.", frames.late);
    page.counter("jamulet_lost_frames_total", "Frames that never arrived.", frames.lost);
    page.counter(
        "jamulet_concealed_frames_total",
        "Frames made up for late and lost ones.",
        frames.concealed,
    );
}

fn about_recording(page: &mut Page, status: &Status) {
    let recorder = &status.recorder;
    page.states("jamulet_recorder_state", "Recording.", &RECORDER_STATES, recorder_state(recorder));
    page.counter(
        "jamulet_recorder_lost_frames_total",
        "Frames that could not be written in time and became silence in the files.",
        recorder.lost_frames,
    );
}

fn about_directories(page: &mut Page, status: &Status) {
    page.states(
        "jamulet_directory_registration",
        "How far the registration with a directory is.",
        &REGISTRATION_NAMES,
        registration_name(status.directory.registration),
    );
    if let Some(servers) = status.listed_servers {
        page.gauge("jamulet_listed_servers", "Servers listed by this directory.", servers);
    }
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

/// Lines of the format. Names, explanations and labels are ours and need no escaping.
#[derive(Default)]
struct Page(String);

impl Page {
    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.plain(name, value);
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "counter", help);
        self.plain(name, value);
    }

    /// One of `all` is 1, the others are 0.
    fn states(&mut self, name: &str, help: &str, all: &[&str], current: &str) {
        self.family(name, "gauge", &format!("{help} 1 for the state that it is in, else 0."));
        for state in all {
            self.labelled(name, "state", state, u8::from(*state == current));
        }
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    fn plain(&mut self, name: &str, value: impl Display) {
        self.line(format_args!("{name} {value}"));
    }

    fn labelled(&mut self, name: &str, label: &str, label_value: &str, value: impl Display) {
        self.line(format_args!("{name}{{{label}=\"{label_value}\"}} {value}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a text cannot fail.
        let _ = writeln!(self.0, "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::super::stats::tests::busy;
    use super::*;

    #[test]
    fn the_histogram_is_cumulative_and_in_seconds() {
        let page = exposition(&busy());
        let lateness: Vec<&str> =
            page.lines().filter(|line| line.starts_with("jamulet_tick_lateness_seconds")).collect();
        assert_eq!(
            lateness,
            [
                "jamulet_tick_lateness_seconds_bucket{le=\"0.00005\"} 9",
                "jamulet_tick_lateness_seconds_bucket{le=\"0.0001\"} 17",
                "jamulet_tick_lateness_seconds_bucket{le=\"0.0002\"} 24",
                "jamulet_tick_lateness_seconds_bucket{le=\"0.0005\"} 30",
                "jamulet_tick_lateness_seconds_bucket{le=\"0.001\"} 35",
                "jamulet_tick_lateness_seconds_bucket{le=\"0.002\"} 39",
                "jamulet_tick_lateness_seconds_bucket{le=\"0.005\"} 42",
                "jamulet_tick_lateness_seconds_bucket{le=\"0.01\"} 44",
                "jamulet_tick_lateness_seconds_bucket{le=\"0.02\"} 45",
                "jamulet_tick_lateness_seconds_bucket{le=\"0.05\"} 45",
                "jamulet_tick_lateness_seconds_bucket{le=\"+Inf\"} 56",
                "jamulet_tick_lateness_seconds_sum 1.5",
                "jamulet_tick_lateness_seconds_count 56",
            ]
        );
    }

    #[test]
    fn states_and_reasons_are_labels() {
        let page = exposition(&busy());
        for line in [
            "jamulet_clients 2",
            "jamulet_clients_limit 10",
            "jamulet_tick_cpu_seconds_total 2.25",
            "jamulet_dropped_datagrams_total{reason=\"banned\"} 1",
            "jamulet_dropped_datagrams_total{reason=\"outbox_full\"} 7",
            "jamulet_recorder_state{state=\"waiting\"} 1",
            "jamulet_recorder_state{state=\"recording\"} 0",
            "jamulet_directory_registration{state=\"not_registered\"} 1",
            "jamulet_uptime_seconds 90061",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
        }
        assert!(!page.contains("jamulet_listed_servers"));
        let mut directory = busy();
        directory.listed_servers = Some(3);
        assert!(exposition(&directory).contains("\njamulet_listed_servers 3\n"));
    }
}
