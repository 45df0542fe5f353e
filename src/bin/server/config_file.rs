//! The configuration file: TOML whose keys are the long names of options.
//!
//! A file becomes words as if they had been typed before those of the command line, so that names, types and
//! limits are defined once, in [`crate::arguments`], and the command line wins because the last word does.

use std::any::TypeId;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::arguments::{Arguments, COMPATIBILITY, parse, sentence};
use crate::values::Bytes;

/// Largest file read, in bytes.
const MAX_FILE_BYTES: u64 = 64 << 10;
/// A known name this similar to an unknown one (0 to 1) is suggested.
const SIMILAR: f64 = 0.75;
/// Columns of a printed comment.
const COMMENT_COLUMNS: usize = 96;
/// Options that make no sense in a file.
const NOT_IN_FILES: [&str; 3] = ["config", "help", "version"];

/// What an option's value is in TOML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Flag,
    Integer,
    /// Text, or a plain number of bytes.
    Amount,
    Text,
}

impl Kind {
    fn of(argument: &Arg) -> Self {
        if matches!(argument.get_action(), ArgAction::SetTrue) {
            return Self::Flag;
        }
        let parsed = argument.get_value_parser().type_id();
        let integers = [TypeId::of::<u8>(), TypeId::of::<u16>(), TypeId::of::<usize>()];
        if integers.iter().any(|integer| parsed == *integer) {
            Self::Integer
        } else if parsed == TypeId::of::<Bytes>() {
            Self::Amount
        } else {
            Self::Text
        }
    }

    /// What to write, for errors.
    fn example(self) -> &'static str {
        match self {
            Self::Flag => "true or false",
            Self::Integer => "a whole number, without quotes",
            Self::Amount => "a number of bytes, or a text in quotes like \"500M\"",
            Self::Text => "a text in quotes",
        }
    }
}

/// Reads the file at `path` as words for [`parse`].
///
/// # Errors
/// A sentence that names the file, and the line where there is one.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<OsString>> {
    let shown = path.display();
    let text = read_text(path).with_context(|| format!("The configuration {shown} cannot be read"))?;
    words(&text).map_err(|mistake| match mistake.line(&text) {
        Some(line) => anyhow!("{shown}, line {line}: {}", mistake.what),
        None => anyhow!("{shown}: {}", mistake.what),
    })
}

fn read_text(path: &Path) -> anyhow::Result<String> {
    if !std::fs::metadata(path)?.is_file() {
        bail!("it is not a file");
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        bail!("it is longer than {} KiB", MAX_FILE_BYTES >> 10);
    }
    String::from_utf8(bytes).map_err(|_| anyhow!("it is not a text in UTF-8"))
}

/// What is wrong with a file, and where.
#[derive(Debug)]
struct Mistake {
    what: String,
    at: Option<Range<usize>>,
}

impl Mistake {
    fn new(what: String, at: Range<usize>) -> Self {
        Self { what, at: Some(at) }
    }

    /// Counted from 1.
    fn line(&self, text: &str) -> Option<usize> {
        let start = self.at.as_ref()?.start.min(text.len());
        Some(1 + text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count())
    }
}

fn words(text: &str) -> Result<Vec<OsString>, Mistake> {
    let table = DeTable::parse(text).map_err(|error| Mistake {
        what: format!("this is not TOML: {}.", error.message().lines().next().unwrap_or_default()),
        at: error.span(),
    })?;
    let command = Arguments::command();
    let mut entries: Vec<_> = table.get_ref().iter().collect();
    // The order of the file, so that the first mistake in it is told first.
    entries.sort_by_key(|(key, _)| key.span().start);
    let mut words = Vec::new();
    for (key, value) in entries {
        let argument = find(&command, key.get_ref(), value)
            .ok_or_else(|| Mistake::new(unknown(&command, key.get_ref(), value), key.span()))?;
        words.extend(word(argument, key.get_ref(), value)?);
    }
    Ok(words)
}

fn find<'a>(command: &'a Command, key: &str, value: &Spanned<DeValue<'_>>) -> Option<&'a Arg> {
    let is_named = |argument: &&Arg| {
        argument.get_long() == Some(key)
            || argument.get_all_aliases().is_some_and(|aliases| aliases.contains(&key))
    };
    (!value.get_ref().is_table()).then(|| known(command).find(is_named))?
}

/// Options that a file may have.
fn known(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|argument| {
        let is_meant =
            argument.get_long().is_some_and(|name| !name.is_empty() && !NOT_IN_FILES.contains(&name));
        is_meant && !argument.is_hide_set()
    })
}

fn unknown(command: &Command, key: &str, value: &Spanned<DeValue<'_>>) -> String {
    if value.get_ref().is_table() {
        return format!("there are no sections such as [{key}]: write every option on a line of its own.");
    }
    let similar = known(command)
        .filter_map(Arg::get_long)
        .map(|name| (strsim::jaro_winkler(name, key), name))
        .filter(|(similarity, _)| *similarity > SIMILAR)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match similar {
        Some((_, name)) => format!("there is no option `{key}`. Did you mean `{name}`?"),
        None => format!("there is no option `{key}`. Keys are the long names of jamulet-server --help."),
    }
}

/// The option as it would be typed; nothing for a flag that is not raised.
fn word(argument: &Arg, key: &str, value: &Spanned<DeValue<'_>>) -> Result<Option<OsString>, Mistake> {
    let kind = Kind::of(argument);
    let text = match (kind, value.get_ref()) {
        (Kind::Flag, DeValue::Boolean(true)) => None,
        (Kind::Flag, DeValue::Boolean(false)) => return Ok(None),
        (Kind::Text | Kind::Amount, DeValue::String(text)) => Some(text.to_string()),
        (Kind::Integer | Kind::Amount, DeValue::Integer(number)) => {
            let number = i64::from_str_radix(number.as_str(), number.radix());
            Some(number.map_or_else(|_| "out of range".to_owned(), |number| number.to_string()))
        }
        (_, other) => {
            let (found, example) = (article(other.type_str()), kind.example());
            return Err(Mistake::new(format!("`{key}` is {found}, but must be {example}."), value.span()));
        }
    };
    let word = OsString::from(text.map_or(format!("--{key}"), |text| format!("--{key}={text}")));
    // Alone, so that a value out of range is told with its line.
    match parse(std::slice::from_ref(&word)) {
        Ok(_) => Ok(Some(word)),
        Err(error) => Err(Mistake::new(sentence(&error), value.span())),
    }
}

fn article(type_name: &str) -> String {
    let article = if type_name.starts_with(['a', 'i', 'o']) { "an" } else { "a" };
    format!("{article} {type_name}")
}

/// The whole configuration as a file, with comments; read again it gives the same.
///
/// # Errors
/// When a value is no Unicode: TOML cannot hold it.
pub(crate) fn print(matches: &ArgMatches) -> anyhow::Result<String> {
    let command = Arguments::command();
    let mut file =
        String::from("# jamulet-server's configuration. Use it with: jamulet-server --config FILE\n");
    let mut heading = None;
    for argument in known(&command).filter(|argument| argument.get_help_heading() != Some(COMPATIBILITY)) {
        if argument.get_help_heading() != heading {
            heading = argument.get_help_heading();
            file.push_str(&format!("\n### {}\n", heading.unwrap_or_default()));
        }
        let name = argument.get_long().unwrap_or_default();
        file.push('\n');
        file.push_str(&comment(&argument.get_help().map(ToString::to_string).unwrap_or_default()));
        match value(argument, matches)? {
            Some(value) => file.push_str(&format!("{name} = {value}\n")),
            None => file.push_str(&format!("#{name} =\n")),
        }
    }
    Ok(file)
}

/// The names of options whose values differ.
pub(crate) fn differences(old: &ArgMatches, new: &ArgMatches) -> Vec<String> {
    let command = Arguments::command();
    let differs = |argument: &&Arg| value(argument, old).ok() != value(argument, new).ok();
    known(&command).filter(differs).filter_map(Arg::get_long).map(str::to_owned).collect()
}

/// An option's value as TOML; `None` when it has none.
fn value(argument: &Arg, matches: &ArgMatches) -> anyhow::Result<Option<String>> {
    let id = argument.get_id().as_str();
    let kind = Kind::of(argument);
    if kind == Kind::Flag {
        return Ok(Some(matches.get_flag(id).to_string()));
    }
    let Some(raw) = matches.get_raw(id).and_then(Iterator::last) else { return Ok(None) };
    let text = raw
        .to_str()
        .ok_or_else(|| anyhow!("The value of --{id} is not Unicode, so that no file can hold it."))?;
    // `007` is a number on the command line and none in TOML.
    let number = text.parse::<u64>().ok().filter(|_| kind == Kind::Integer);
    Ok(Some(number.map_or_else(|| toml::Value::from(text).to_string(), |number| number.to_string())))
}

fn comment(help: &str) -> String {
    let mut lines = String::new();
    let mut line = String::from("#");
    for word in help.split_whitespace() {
        if line.chars().count() + word.chars().count() >= COMMENT_COLUMNS {
            lines.push_str(&line);
            lines.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    lines + &line + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(text: &str) -> (String, Option<usize>) {
        let mistake = words(text).unwrap_err();
        (mistake.what.clone(), mistake.line(text))
    }

    #[test]
    fn keys_are_the_names_of_options() {
        let text = "numchannels = 0x14\nfastupdate = true # why not\nlicence = false\nminfreespace = 5\n\
                    welcomemessage = \"a\\nb\"\ndirectoryserver = \"localhost\"\n";
        let words = words(text).unwrap();
        assert_eq!(
            words,
            [
                "--numchannels=20",
                "--fastupdate",
                "--minfreespace=5",
                "--welcomemessage=a\nb",
                "--directoryserver=localhost"
            ]
        );
    }

    #[test]
    fn mistakes_are_told_with_line_and_remedy() {
        let (what, line) = mistake("port = 5\n\nnumchanels = 5\n");
        assert_eq!(
            (what.as_str(), line),
            ("there is no option `numchanels`. Did you mean `numchannels`?", Some(3))
        );
        let (what, line) = mistake("\nport = \"5\"");
        assert_eq!(
            (what.as_str(), line),
            ("`port` is a string, but must be a whole number, without quotes.", Some(2))
        );
        let (what, line) = mistake("fastupdate = 1");
        assert_eq!(
            (what.as_str(), line),
            ("`fastupdate` is an integer, but must be true or false.", Some(1))
        );
        assert!(mistake("\n\n\nnumchannels = 151").0.contains("from 1 to 150"));
        assert_eq!(mistake("\n\n\nnumchannels = 151").1, Some(4));
        assert!(mistake("[server]\nport = 5").0.contains("no sections such as [server]"));
        assert_eq!(mistake("port = 5\nport = 6").1, Some(2));
        assert_eq!(mistake("port = 5\nwelcomemessage = \"x").1, Some(2));
        assert!(mistake("port = 99999999999999999999").0.contains("from 1 to 65535"));
        for unfit in ["config = \"x\"", "help = true", "version = true", "connect = \"x\"", "zzz = 1"] {
            assert!(mistake(unfit).0.contains("there is no option"), "{unfit}");
        }
    }

    #[test]
    fn anything_typed_can_be_printed_and_read_again() {
        let typed: Vec<OsString> = [
            "-p",
            "007",
            "-w",
            "\"quotes\" \\ \u{1f3b8}\nlines '''",
            "-F",
            "-e",
            "",
            "--minfreespace",
            "5M",
            "-Q",
            "0",
        ]
        .map(OsString::from)
        .into();
        let (_, matches) = parse(&typed).unwrap();
        let file = print(&matches).unwrap();
        let (_, again) = parse(&words(&file).unwrap()).unwrap();
        assert_eq!(differences(&matches, &again), [""; 0]);
        assert_eq!(print(&again).unwrap(), file);
        assert!(file.contains("\nport = 7\n") && file.contains("\nfastupdate = true\n"), "{file}");
        assert!(file.lines().all(|line| line.chars().count() <= 110), "{file}");
    }
}
