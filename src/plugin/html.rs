//! Text from servers is HTML that anybody may have written: it is shown as plain text, bounded.

/// Longest plain text made of one piece of HTML, in characters.
pub const MAX_TEXT_CHARS: usize = 4000;
/// Longest entity that is understood, in bytes between `&` and `;`.
const MAX_ENTITY_BYTES: usize = 8;

/// A line of chat, taken apart where it has the form that every Jamulus server gives it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChatLine {
    /// The server's time of day, as text; empty if unknown.
    pub time: String,
    /// Who said it; empty for the server itself.
    pub name: String,
    /// What was said.
    pub text: String,
}

/// Takes apart `<font color="C">(TIME) <b>NAME</b></font> TEXT` (docs/PROTOCOL.md §2); anything else
/// is all text.
pub fn chat_line(html: &str) -> ChatLine {
    let parts = || {
        let rest = html.strip_prefix("<font color=\"")?;
        let (_, rest) = rest.split_once("\">(")?;
        let (time, rest) = rest.split_once(") <b>")?;
        let (name, text) = rest.split_once("</b></font>")?;
        Some(ChatLine { time: plain_text(time), name: one_line(name), text: plain_text(text) })
    };
    parts().unwrap_or_else(|| ChatLine { text: plain_text(html), ..ChatLine::default() })
}

/// `html` without markup: entities resolved, breaks kept, white space collapsed, control and
/// direction characters left out, at most [`MAX_TEXT_CHARS`] long.
pub fn plain_text(html: &str) -> String {
    let mut text = Plain::default();
    let mut rest = html;
    while let Some(first) = rest.chars().next() {
        if text.chars >= MAX_TEXT_CHARS {
            text.out.push('…');
            break;
        }
        rest = match first {
            '<' => tag(rest, &mut text),
            '&' => entity(rest, &mut text),
            _ => {
                text.push(first);
                &rest[first.len_utf8()..]
            }
        };
    }
    text.out.truncate(text.out.trim_end().len());
    text.out
}

/// [`plain_text`] on a single line.
pub fn one_line(html: &str) -> String {
    plain_text(html).replace('\n', " ")
}

/// A name that somebody chose (plain text, not HTML), without characters that show nothing or turn the direction of
/// what follows.
pub fn clean(name: &str) -> String {
    let shown: String = name.chars().filter(|char| !is_invisible(*char)).collect();
    shown.trim().to_owned()
}

/// Collects characters; white space waits until something follows it.
#[derive(Default)]
struct Plain {
    out: String,
    chars: usize,
    space: bool,
    breaks: u8,
}

impl Plain {
    fn push(&mut self, char: char) {
        if char.is_whitespace() {
            self.space = true;
        } else if !is_invisible(char) {
            self.flush();
            self.out.push(char);
            self.chars += 1;
        }
    }

    fn push_break(&mut self) {
        self.breaks = (self.breaks + 1).min(2);
    }

    fn flush(&mut self) {
        if !self.out.is_empty() {
            match (self.breaks, self.space) {
                (0, false) => {}
                (0, true) => self.out.push(' '),
                (breaks, _) => (0..breaks).for_each(|_| self.out.push('\n')),
            }
        }
        (self.breaks, self.space) = (0, false);
    }
}

/// Characters that show nothing or turn the direction of what follows.
fn is_invisible(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
}

/// Handles the tag that `html` starts with and returns what follows it.
fn tag<'a>(html: &'a str, text: &mut Plain) -> &'a str {
    let inner = &html[1..];
    let starts_tag = inner.starts_with(|char: char| char.is_ascii_alphabetic() || matches!(char, '/' | '!'));
    let Some(end) = inner.find('>').filter(|_| starts_tag) else {
        text.push('<');
        return inner;
    };
    let rest = &inner[end + 1..];
    let content = &inner[..end];
    let name_start = content.strip_prefix('/').unwrap_or(content);
    let name_end = name_start.find(|char: char| !char.is_ascii_alphanumeric()).unwrap_or(name_start.len());
    match name_start[..name_end].to_ascii_lowercase().as_str() {
        "br" => text.push_break(),
        "p" | "div" | "li" | "ul" | "ol" | "tr" | "table" | "hr" | "h1" | "h2" | "h3" | "h4" | "h5"
        | "h6"
            if text.breaks == 0 =>
        {
            text.push_break();
        }
        hidden @ ("script" | "style") if !content.starts_with('/') => return after_closing(rest, hidden),
        _ => {}
    }
    rest
}

/// What follows the closing tag of `name`, or nothing if it is never closed.
fn after_closing<'a>(html: &'a str, name: &str) -> &'a str {
    html.match_indices("</")
        .map(|(at, _)| &html[at + 2..])
        .find(|rest| rest.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)))
        .and_then(|rest| rest.split_once('>'))
        .map_or("", |(_, rest)| rest)
}

/// Handles the entity that `html` starts with and returns what follows it.
fn entity<'a>(html: &'a str, text: &mut Plain) -> &'a str {
    let inner = &html[1..];
    let end = inner.bytes().take(MAX_ENTITY_BYTES + 1).position(|byte| byte == b';');
    let resolved = end.and_then(|end| Some((resolve(&inner[..end])?, &inner[end + 1..])));
    let (char, rest) = resolved.unwrap_or(('&', inner));
    text.push(char);
    rest
}

fn resolve(name: &str) -> Option<char> {
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => ' ',
        _ => {
            let number = name.strip_prefix('#')?;
            let number = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(number)?
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn markup_goes_and_meaning_stays() {
        for (html, expected) in [
            ("plain", "plain"),
            ("<b>Hi</b>&nbsp;<i>all</i> &amp; 3 &lt; 4", "Hi all & 3 < 4"),
            ("one<br/>two<BR>three", "one\ntwo\nthree"),
            ("<p>one</p>\n<p>two</p>", "one\ntwo"),
            ("<h1>Rules</h1><ul><li>a</li><li>b</li></ul>", "Rules\na\nb"),
            ("a < b and c > d", "a < b and c > d"),
            ("1 <2", "1 <2"),
            ("&#65;&#x42;&bogus;&amp", "AB&bogus;&amp"),
            ("<script>alert('<b>')</script>x<style>p{}</style>y", "xy"),
            ("<script>never closed", ""),
            ("<!-- note -->x", "x"),
            ("  many \t spaces  ", "many spaces"),
            ("a<br><br><br><br>b", "a\n\nb"),
            ("evil\u{202E}txt\u{0007}\u{200B}", "eviltxt"),
            ("&#x202E;&#0;&#xD800;ok", "&#xD800;ok"),
            ("<a href=\"javascript:x()\" onclick=y>click</a>", "click"),
            ("<", "<"),
            ("&", "&"),
            ("", ""),
        ] {
            assert_eq!(plain_text(html), expected, "{html:?}");
        }
    }

    #[test]
    fn a_chat_line_is_taken_apart() {
        let html = r#"<font color="mediumblue">(08:02:11 PM) <b>Ana &amp; Bo</b></font> 3 &lt; 4<br>yes"#;
        let line = chat_line(html);
        assert_eq!((line.time.as_str(), line.name.as_str()), ("08:02:11 PM", "Ana & Bo"));
        assert_eq!(line.text, "3 < 4\nyes");
        let plain = chat_line("<b>Server is going down</b>");
        assert_eq!((plain.name.as_str(), plain.text.as_str()), ("", "Server is going down"));
    }

    #[test]
    fn names_keep_what_is_seen() {
        assert_eq!(clean(" <b>Ann\u{202E}\u{7}\u{200B} & Bo🎷 "), "<b>Ann & Bo🎷");
    }

    #[test]
    fn output_is_bounded() {
        assert!(plain_text(&"x".repeat(1_000_000)).chars().count() <= MAX_TEXT_CHARS + 1);
        assert!(plain_text(&"<br>x".repeat(100_000)).chars().count() <= 3 * MAX_TEXT_CHARS + 1);
        assert!(plain_text(&"</script".repeat(100_000)).len() <= 4 * MAX_TEXT_CHARS);
        plain_text(&"<script>".repeat(100_000));
    }

    proptest! {
        #[test]
        fn nothing_hidden_comes_through(html in "([<>&;/#a-z \"=\u{202E}\u{7}äö🎷\n]|script|&#x[0-9a-f]{1,5};|<b>|</b>){0,200}") {
            for text in [plain_text(&html), chat_line(&html).text] {
                prop_assert!(!text.chars().any(|char| is_invisible(char) && char != '\n'));
            }
        }
    }
}
