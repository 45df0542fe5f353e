//! The welcome message: a text, or the contents of a file.

use std::fs;
use std::path::Path;

use anyhow::{Context, anyhow, bail};

/// Largest welcome file read, in bytes: four times what can be shown.
const MAX_WELCOME_FILE_BYTES: u64 = 20_000;

/// The text itself, or the contents of the file that it names.
pub(crate) fn welcome(text_or_file: &str) -> anyhow::Result<String> {
    let path = Path::new(text_or_file);
    // A text may be too long or too odd for a path: then it is just a text.
    let Ok(found) = fs::metadata(path) else {
        if looks_like_a_file(path) {
            bail!("There is no file {text_or_file} to read the welcome message from.");
        }
        return Ok(text_or_file.to_owned());
    };
    if !found.is_file() {
        bail!("{text_or_file} is not a text file. Give --welcomemessage a text or a text file.");
    }
    if found.len() > MAX_WELCOME_FILE_BYTES {
        bail!("{text_or_file} is too long for a welcome message: at most {MAX_WELCOME_FILE_BYTES} bytes.");
    }
    let bytes =
        fs::read(path).with_context(|| format!("The welcome message in {text_or_file} cannot be read"))?;
    String::from_utf8(bytes).map_err(|_| {
        anyhow!("{text_or_file} is not a text in UTF-8. Save it as UTF-8 or give the text itself.")
    })
}

/// One word that ends like the name of a text file: surely no greeting.
fn looks_like_a_file(path: &Path) -> bool {
    let is_one_word = path.to_str().is_some_and(|text| !text.contains(char::is_whitespace));
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    is_one_word && ["txt", "html", "htm", "md"].contains(&extension.to_ascii_lowercase().as_str())
}
