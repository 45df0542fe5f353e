//! Text as Jamulus counts and shows it: lengths are UTF-16 code units (an emoji is 2), and chat
//! from a server is HTML.

/// Length in UTF-16 code units.
pub fn utf16_len(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// The longest start of `text`, in whole characters, of at most `max_units` UTF-16 code units.
pub fn cut_to_utf16(text: &str, max_units: usize) -> &str {
    let mut units = 0;
    for (position, character) in text.char_indices() {
        units += character.len_utf16();
        if units > max_units {
            return &text[..position];
        }
    }
    text
}

/// The longest start of `text`, in whole characters, of at most `max_bytes` bytes.
pub(super) fn cut_to_bytes(text: &str, max_bytes: usize) -> &str {
    &text[..text.floor_char_boundary(max_bytes)]
}

/// `text` with `&`, `<`, `>` and `"` replaced by HTML entities: what a player typed, made safe to
/// stand inside a server's chat line.
pub fn escape_html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_utf16_units() {
        assert_eq!(utf16_len(""), 0);
        assert_eq!(utf16_len("Zoë"), 3);
        assert_eq!(utf16_len("\u{1F3B8}"), 2);
    }

    #[test]
    fn cuts_keep_whole_characters() {
        assert_eq!(cut_to_utf16("ab", 3), "ab");
        assert_eq!(cut_to_utf16("ab", 2), "ab");
        assert_eq!(cut_to_utf16("ab", 1), "a");
        assert_eq!(cut_to_utf16("\u{1F3B8}b", 1), "");
        assert_eq!(cut_to_utf16("\u{1F3B8}b", 2), "\u{1F3B8}");
        assert_eq!(cut_to_bytes("é", 1), "");
        assert_eq!(cut_to_bytes("é", 5), "é");
    }

    #[test]
    fn html_is_escaped() {
        assert_eq!(escape_html(r#"<b a="1">R&B</b>"#), "&lt;b a=&quot;1&quot;&gt;R&amp;B&lt;/b&gt;");
    }
}
