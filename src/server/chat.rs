//! The lines that a server writes into its clients' chat windows.

use crate::protocol::{cut_to_utf16, escape_html, utf16_len};
use crate::units::{ChannelId, MAX_CHAT_UNITS};

/// Every stock server begins its welcome with exactly this; clients look for it.
/// Source: docs/PROTOCOL.md §2.
const WELCOME_PREFIX: &str = "<b>Server Welcome Message:</b> ";

/// Colours of names, by channel. Source: observed on Jamulus 3.9.1.
const COLOURS: [&str; 6] = ["mediumblue", "red", "darkorchid", "green", "maroon", "coral"];

/// Time of day where the server stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WallTime {
    /// 0..=23.
    pub hour: u8,
    /// 0..=59.
    pub minute: u8,
    /// 0..=60.
    pub second: u8,
}

/// The chat line that greets a new client, at most [`MAX_CHAT_UNITS`] long.
pub(super) fn welcome_line(welcome: &str) -> String {
    let line = format!("{WELCOME_PREFIX}{welcome}");
    cut_to_utf16(&line, MAX_CHAT_UNITS).to_owned()
}

/// What everyone reads when the client in `channel` says `text`: HTML with name and text escaped.
///
/// The text is cut so that the whole line stays within [`MAX_CHAT_UNITS`]: clients ignore longer ones.
pub(super) fn chat_line(time: WallTime, channel: ChannelId, name: &str, text: &str) -> String {
    let colour = COLOURS[channel.index() % COLOURS.len()];
    let (hour, half) = twelve_hours(time.hour);
    let name = escape_html(name);
    let mut line = format!(
        "<font color=\"{colour}\">({hour:02}:{:02}:{:02} {half}) <b>{name}</b></font> ",
        time.minute, time.second
    );
    let room = MAX_CHAT_UNITS.saturating_sub(utf16_len(&line));
    line.push_str(cut_escaped(&escape_html(text), room));
    line
}

fn twelve_hours(hour: u8) -> (u8, &'static str) {
    let half = if hour < 12 { "AM" } else { "PM" };
    match hour % 12 {
        0 => (12, half),
        hour => (hour, half),
    }
}

/// The longest start of HTML-escaped text within `room` units that ends outside an entity.
fn cut_escaped(escaped: &str, room: usize) -> &str {
    let cut = cut_to_utf16(escaped, room);
    match cut.rfind('&') {
        // Every `&` of escaped text begins an entity, and every entity ends with `;`.
        Some(entity) if !cut[entity..].contains(';') => &cut[..entity],
        _ => cut,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTERNOON: WallTime = WallTime { hour: 16, minute: 29, second: 39 };

    #[test]
    fn a_line_looks_like_a_stock_servers() {
        // Recorded from Jamulus 3.9.1.
        assert_eq!(
            chat_line(AFTERNOON, ChannelId(0), "N<0&", "hi <b>&\"' 0"),
            "<font color=\"mediumblue\">(04:29:39 PM) <b>N&lt;0&amp;</b></font> hi &lt;b&gt;&amp;&quot;' 0"
        );
        assert!(chat_line(AFTERNOON, ChannelId(11), "", "").starts_with("<font color=\"coral\">"));
    }

    #[test]
    fn hours_are_counted_as_on_a_clock_face() {
        let told = [0, 1, 11, 12, 13, 23].map(twelve_hours);
        assert_eq!(told, [(12, "AM"), (1, "AM"), (11, "AM"), (12, "PM"), (1, "PM"), (11, "PM")]);
    }

    #[test]
    fn long_lines_are_cut_between_characters_and_entities() {
        for text in ["<".repeat(1800), "\u{1F3B8}".repeat(900), "x&".repeat(900)] {
            let line = chat_line(AFTERNOON, ChannelId(2), "<<<<<<<<<<<<<<<<", &text);
            let units = utf16_len(&line);
            assert!((1795..=1800).contains(&units), "{units}");
            assert_eq!(line.matches('&').count(), line.matches(';').count());
        }
    }

    #[test]
    fn the_welcome_has_its_prefix_and_limit() {
        assert_eq!(welcome_line("Hi!"), "<b>Server Welcome Message:</b> Hi!");
        assert_eq!(utf16_len(&welcome_line(&"ü".repeat(5000))), MAX_CHAT_UNITS);
    }
}
