//! Version texts of peers.

/// The leading numbers of a version text: `"3.12.4dev-nogit"` is 3.12.4. Ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// First number.
    pub major: u32,
    /// Second number, 0 where the text has none.
    pub minor: u32,
    /// Third number, 0 where the text has none.
    pub patch: u32,
}

impl Version {
    /// Servers from this version on understand the audio counter (`docs/PROTOCOL.md` §2).
    pub const FIRST_WITH_COUNTER: Self = Self::new(3, 6, 0);

    /// The version `major.minor.patch`.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }

    /// Reads the leading numbers of `text`, up to three, separated by single dots. `None` when it
    /// does not begin with a digit. Numbers beyond `u32` count as the largest one.
    pub fn parse(text: &str) -> Option<Self> {
        let (major, rest) = leading_number(text)?;
        let (minor, rest) = after_dot(rest).unwrap_or((0, ""));
        let (patch, _) = after_dot(rest).unwrap_or((0, ""));
        Some(Self { major, minor, patch })
    }
}

fn after_dot(text: &str) -> Option<(u32, &str)> {
    leading_number(text.strip_prefix('.')?)
}

fn leading_number(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    // All characters are digits, so the only way to fail (other than emptiness) is being too large.
    (!digits.is_empty()).then(|| (digits.parse().unwrap_or(u32::MAX), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leading_numbers_count() {
        for (text, expected) in [
            ("3.9.1", Version::new(3, 9, 1)),
            ("3.12.4dev-nogit", Version::new(3, 12, 4)),
            ("4.0.0-rc1", Version::new(4, 0, 0)),
            ("4", Version::new(4, 0, 0)),
            ("4.1", Version::new(4, 1, 0)),
            ("4.", Version::new(4, 0, 0)),
            ("4.x.7", Version::new(4, 0, 0)),
            ("3.6.0.9", Version::new(3, 6, 0)),
            ("99999999999.1", Version::new(u32::MAX, 1, 0)),
        ] {
            assert_eq!(Version::parse(text), Some(expected), "{text:?}");
        }
    }

    #[test]
    fn what_begins_without_a_digit_is_no_version() {
        for text in ["", "v3.9", ".1", "r3_9", "٣.٩"] {
            assert_eq!(Version::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn versions_order_by_number_and_not_by_text() {
        let order = ["3.5.12", "3.6.0", "3.9.1", "3.10.0", "3.12.4dev", "4.0.0"];
        assert!(order.is_sorted_by_key(|text| Version::parse(text)));
        assert!(Version::parse("3.6.0dev") >= Some(Version::FIRST_WITH_COUNTER));
        assert!(Version::parse("3.5.12") < Some(Version::FIRST_WITH_COUNTER));
    }
}
