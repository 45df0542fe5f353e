//! Text of strangers, made harmless for logs and terminals.

/// Moves the cursor, breaks the line, turns the direction of writing, or takes no room at all.
pub fn is_disruptive(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{AD}'
                | '\u{61C}'
                | '\u{180E}'
                | '\u{200B}'..='\u{200F}'
                | '\u{2028}'..='\u{202E}'
                | '\u{2060}'..='\u{206F}'
                | '\u{FEFF}'
                | '\u{FFF9}'..='\u{FFFB}'
                | '\u{E0000}'..='\u{E007F}'
        )
}

/// `text` in one line that shows all that it has; empty when there is nothing to see.
pub(super) fn plain(text: &str) -> String {
    let shown: String = text.chars().filter(|character| !is_disruptive(*character)).collect();
    shown.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_seen_is_left() {
        assert_eq!(plain(" Zoë 弦 🎸\t"), "Zoë 弦 🎸");
        assert_eq!(plain("a\u{202E}b\u{2066}c\u{2028}d\u{200B}e\n\u{1b}[2J"), "abcde[2J");
        assert_eq!(plain(" \u{200D}\u{FEFF}\u{7} "), "");
    }
}
