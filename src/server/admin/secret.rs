//! The word that opens JSON-RPC.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::{fmt, str};

use subtle::{Choice, ConstantTimeEq};

/// Fewest characters of a secret. Source: docs/PROTOCOL.md §7.
pub const MIN_SECRET_CHARACTERS: usize = 16;
/// Longest secret, in bytes.
const MAX_SECRET_BYTES: usize = 1024;
/// Most of a file that is looked at, in bytes: its first line must end within.
const MAX_FILE_BYTES: u64 = MAX_SECRET_BYTES as u64 + 2;

/// The word that a JSON-RPC client must know. It is never shown, and comparing it takes the same time
/// whatever was guessed.
#[derive(Clone)]
pub struct Secret(Box<[u8; MAX_SECRET_BYTES]>, usize);

/// Why there is no secret. `Display` is one sentence with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("The JSON-RPC secret in {} cannot be read: {error}. Give --jsonrpcsecretfile a file that holds it.", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Fewer than [`MIN_SECRET_CHARACTERS`].
    #[error(
        "The JSON-RPC secret has {characters} characters and needs {MIN_SECRET_CHARACTERS} or more: write a longer one into the first line of its file."
    )]
    TooShort {
        /// How many it has.
        characters: usize,
    },
    /// More than 1024 bytes.
    #[error(
        "The JSON-RPC secret is too long: shorten the first line of its file to {MAX_SECRET_BYTES} bytes."
    )]
    TooLong,
    /// Not UTF-8: nobody could send it as JSON.
    #[error(
        "The JSON-RPC secret is no text in UTF-8: write letters and digits into the first line of its file."
    )]
    NotText,
}

impl Secret {
    /// `text` as the secret.
    ///
    /// # Errors
    /// When it is too short or too long.
    pub fn new(text: &str) -> Result<Self, SecretError> {
        let characters = text.chars().count();
        if characters < MIN_SECRET_CHARACTERS {
            return Err(SecretError::TooShort { characters });
        }
        let (padded, is_whole) = padded(text);
        if !is_whole {
            return Err(SecretError::TooLong);
        }
        Ok(Self(Box::new(padded), text.len()))
    }

    /// The first line of the file at `path`, without its end; blanks are part of it, as in Jamulus.
    ///
    /// # Errors
    /// When the file cannot be read, or its first line is no secret.
    pub fn from_file(path: &Path) -> Result<Self, SecretError> {
        let unreadable = |error| SecretError::Unreadable { path: path.to_owned(), error };
        let mut start = Vec::new();
        let file = File::open(path).map_err(unreadable)?;
        file.take(MAX_FILE_BYTES).read_to_end(&mut start).map_err(unreadable)?;
        let line = start.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > MAX_SECRET_BYTES {
            return Err(SecretError::TooLong);
        }
        Self::new(str::from_utf8(line).map_err(|_| SecretError::NotText)?)
    }

    /// Whether `guess` is the secret.
    pub(super) fn is(&self, guess: &str) -> bool {
        let (guessed, is_whole) = padded(guess);
        let same_bytes = self.0.as_slice().ct_eq(guessed.as_slice());
        let same_length = self.1.ct_eq(&guess.len());
        (same_bytes & same_length & Choice::from(u8::from(is_whole))).into()
    }

    /// The text, for those who have to send it.
    pub(super) fn expose(&self) -> &str {
        // It was made from a text of this length.
        str::from_utf8(&self.0[..self.1]).unwrap_or_default()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The start of `text`, filled up with zeroes, and whether that is all of it.
fn padded(text: &str) -> ([u8; MAX_SECRET_BYTES], bool) {
    let mut bytes = [0; MAX_SECRET_BYTES];
    let length = text.len().min(MAX_SECRET_BYTES);
    bytes[..length].copy_from_slice(&text.as_bytes()[..length]);
    (bytes, length == text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORD: &str = "only-for-this-test";

    #[test]
    fn only_the_very_word_is_right() {
        let secret = Secret::new(WORD).unwrap();
        assert!(secret.is(WORD));
        let longer = format!("{WORD}\0");
        let much_longer = format!("{WORD}{}", "\0".repeat(MAX_SECRET_BYTES));
        for wrong in ["", "only-for-this-tesT", "only-for-this-tes", &longer, &much_longer] {
            assert!(!secret.is(wrong), "{wrong:?}");
        }
        assert_eq!(secret.expose(), WORD);
    }

    #[test]
    fn it_is_never_shown() {
        assert_eq!(format!("{:?}", Secret::new(WORD).unwrap()), "Secret(…)");
    }

    #[test]
    fn the_first_line_counts_as_in_jamulus() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            Secret::from_file(&path)
        };
        for same in ["only-for-this-test", "only-for-this-test\r\n", "only-for-this-test\nmore\n"] {
            assert!(read(same.as_bytes()).unwrap().is(WORD), "{same:?}");
        }
        assert!(read(b"  only-for-this-test \n").unwrap().is("  only-for-this-test "));
        assert!(matches!(read(b"short\n"), Err(SecretError::TooShort { characters: 5 })));
        assert!(matches!(read(b"\nonly-for-this-test\n"), Err(SecretError::TooShort { characters: 0 })));
        assert!(matches!(read(&[b'x'; 5000]), Err(SecretError::TooLong)));
        assert!(matches!(read(&[0xFF; 20]), Err(SecretError::NotText)));
        assert!(read(&[b'x'; MAX_SECRET_BYTES]).is_ok());
        let gone = Secret::from_file(&folder.path().join("none")).unwrap_err().to_string();
        assert!(gone.contains("none") && gone.contains("--jsonrpcsecretfile"), "{gone}");
    }
}
