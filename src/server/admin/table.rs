//! A server's status as text for people: one line about each client. Pure.

use std::fmt::Write;
use std::time::Duration;

use jiff::{SignedDuration, Zoned};

use super::stats::{ClientStats, RecorderStats, Stats};
use crate::server::plain::plain;

const TITLES: [&str; 9] = ["#", "Who", "Since", "Address", "Codec", "Buffer", "Ping", "Loss", "Level"];
/// Columns whose entries end at the same place: numbers.
const RIGHT: [bool; 9] = [true, false, false, false, false, true, true, true, true];
/// Between two columns.
const GAP: &str = "  ";
/// For what is not known.
const UNKNOWN: &str = "–";

/// The status as a few lines and a table, whose times of day are those of `now`'s zone. Whatever clients call
/// themselves, it is plain text without control characters.
pub fn render(stats: &Stats, now: &Zoned) -> String {
    let mut text = String::new();
    let name = plain(&stats.name);
    let name = if name.is_empty() { "Jamulet server".to_owned() } else { name };
    let uptime = duration(Duration::try_from_secs_f64(stats.uptime_seconds).unwrap_or_default());
    // Writing to a text cannot fail.
    let _ = writeln!(
        text,
        "{name}: {} of {} musicians, running for {uptime}, version {}",
        stats.clients.len(),
        stats.max_clients,
        plain(&stats.version)
    );
    let _ = writeln!(text, "{}. {}.", plain(&stats.directory.text), recording(&stats.recorder));
    if stats.clients.is_empty() {
        text.push_str("Nobody is connected.\n");
        return text;
    }
    text.push('\n');
    let rows: Vec<[String; 9]> = stats.clients.iter().map(|client| row(client, now)).collect();
    table(&mut text, &rows);
    text
}

fn row(client: &ClientStats, now: &Zoned) -> [String; 9] {
    [
        client.id.to_string(),
        client.name.as_deref().map_or_else(|| "(connecting)".to_owned(), who),
        since(client.connected_seconds, now),
        plain(&client.address),
        codec(client),
        buffer(client),
        client.round_trip_ms.map_or_else(unknown, |ping| format!("{ping:.0} ms")),
        client.frames.loss_percent().map_or_else(unknown, |loss| format!("{loss:.1} %")),
        client.level_dbfs.map_or_else(|| "silent".to_owned(), |level| format!("{level:.0} dB")),
    ]
}

fn table(text: &mut String, rows: &[[String; 9]]) {
    let titles = TITLES.map(str::to_owned);
    let lines = || std::iter::once(&titles).chain(rows);
    let widths: [usize; 9] =
        std::array::from_fn(|column| lines().map(|line| width(&line[column])).max().unwrap_or_default());
    for line in lines() {
        let mut shown = String::new();
        for (column, entry) in line.iter().enumerate() {
            let fill = " ".repeat(widths[column] - width(entry));
            let gap = if column == 0 { "" } else { GAP };
            shown += &match RIGHT[column] {
                true => format!("{gap}{fill}{entry}"),
                false => format!("{gap}{entry}{fill}"),
            };
        }
        text.push_str(shown.trim_end());
        text.push('\n');
    }
}

fn who(name: &str) -> String {
    let name = plain(name);
    if name.is_empty() { "(no name)".to_owned() } else { name }
}

/// The time of day at which somebody came, with the day unless it is today.
fn since(connected_seconds: f64, now: &Zoned) -> String {
    let ago = SignedDuration::try_from_secs_f64(connected_seconds).unwrap_or_default();
    let Ok(then) = now.checked_sub(ago) else { return unknown() };
    let format = if then.date() == now.date() { "%H:%M:%S" } else { "%b %e %H:%M" };
    then.strftime(format).to_string()
}

fn codec(client: &ClientStats) -> String {
    let Some(codec) = &client.codec else { return unknown() };
    let layout = if client.channels == 1 { "mono" } else { "stereo" };
    let packing =
        if client.frames_per_packet > 1 { format!(" ×{}", client.frames_per_packet) } else { String::new() };
    format!("{} {layout} {} B{packing}", plain(codec), client.frame_bytes)
}

fn buffer(client: &ClientStats) -> String {
    match (client.buffer_frames, client.is_buffer_auto) {
        (0, _) => unknown(),
        (frames, true) => format!("auto {frames}"),
        (frames, false) => frames.to_string(),
    }
}

fn recording(recorder: &RecorderStats) -> String {
    match recorder.state.as_str() {
        "recording" => format!("Recording into {}", plain(&recorder.directory)),
        "waiting" => "Recording begins when somebody plays".to_owned(),
        "failed" => format!("Recording has stopped: {}", plain(&recorder.error).trim_end_matches('.')),
        _ => "Not recording".to_owned(),
    }
}

/// `3 d 4 h`, `4 h 5 min`, `5 min`, `6 s`.
fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

fn unknown() -> String {
    UNKNOWN.to_owned()
}

/// Columns that a terminal gives to `text`, as near as a few ranges tell.
fn width(text: &str) -> usize {
    text.chars()
        .map(|character| match character {
            '\u{300}'..='\u{36F}' | '\u{FE00}'..='\u{FE0F}' => 0,
            '\u{1100}'..='\u{115F}'
            | '\u{2E80}'..='\u{A4CF}'
            | '\u{AC00}'..='\u{D7A3}'
            | '\u{F900}'..='\u{FAFF}'
            | '\u{FE30}'..='\u{FE6F}'
            | '\u{FF00}'..='\u{FF60}'
            | '\u{1F300}'..='\u{1FAFF}'
            | '\u{20000}'..='\u{3FFFD}' => 2,
            _ => 1,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::super::stats::tests::busy;
    use super::*;

    fn noon() -> Zoned {
        "2026-03-01T12:00:00[UTC]".parse().unwrap()
    }

    #[test]
    fn a_table_says_who_is_there() {
        let shown = render(&Stats::from(&busy()), &noon());
        let version = crate::server::greeting::VERSION_TEXT;
        let expected = format!(
            "Cellar: 2 of 10 musicians, running for 1 d 1 h, version {version}\n\
             Not listed in any directory. Recording begins when somebody plays.\n\
             \n\
             #  Who           Since     Address          Codec               Buffer   Ping   Loss   Level\n\
             0  Ann           10:57:54  192.0.2.7:22134  OPUS64 stereo 35 B  auto 4  17 ms  1.5 %  -12 dB\n\
             7  (connecting)  12:00:00  [2001:db8::1]:5  –                        –      –      –  silent\n"
        );
        assert_eq!(shown, expected);
    }

    #[test]
    fn names_are_plain_and_columns_straight() {
        let mut stats = Stats::from(&busy());
        stats.clients[0].name = Some("\u{1b}[2J\u{202E}弦\n".to_owned());
        stats.clients[1].name = Some(" \u{7} ".to_owned());
        let shown = render(&stats, &noon());
        assert!(shown.chars().all(|character| character == '\n' || !character.is_control()));
        assert!(shown.contains("\n0  [2J弦      10:57"), "{shown}");
        assert!(shown.contains("\n7  (no name)  12:00"), "{shown}");
    }

    #[test]
    fn an_empty_server_says_so() {
        let stats = Stats { uptime_seconds: 61.0, max_clients: 4, ..Stats::default() };
        let shown = render(&stats, &noon());
        assert!(shown.starts_with("Jamulet server: 0 of 4 musicians, running for 1 min,"), "{shown}");
        assert!(shown.ends_with("Nobody is connected.\n"), "{shown}");
    }

    #[test]
    fn times_are_short() {
        let told = |seconds| duration(Duration::from_secs(seconds));
        assert_eq!([59, 60, 3660, 90_000].map(told), ["59 s", "1 min", "1 h 1 min", "1 d 1 h"]);
        assert_eq!(since(13.0 * 3600.0, &noon()), "Feb 28 23:00");
        assert_eq!(since(f64::NAN, &noon()), "12:00:00");
        assert_eq!(since(1e300, &noon()), "12:00:00");
    }
}
