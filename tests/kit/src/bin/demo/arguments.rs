//! What the user typed.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use jamulet::protocol::ServerAddress;

/// A new participant fades in for three seconds; less than this leaves nothing to judge.
const SECONDS: RangeInclusive<u32> = 8..=3600;

/// The demo's options.
#[derive(Debug, PartialEq)]
pub(crate) struct Arguments {
    /// A recording to play into the track, in place of the demo's own music.
    pub(crate) input: Option<PathBuf>,
    /// How long both play together.
    pub(crate) seconds: u32,
    /// A server to play on, in place of the demo's own.
    pub(crate) server: Option<String>,
}

impl Arguments {
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut parsed = Self { input: None, seconds: 20, server: None };
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{name} needs a value"));
            match name.as_str() {
                "--input" => parsed.input = Some(value()?.into()),
                "--seconds" => parsed.seconds = seconds(&value()?)?,
                "--server" => parsed.server = Some(server(value()?)?),
                _ => bail!(
                    "the demo knows --input FILE.wav, --seconds N and --server HOST:PORT, but not `{name}`"
                ),
            }
        }
        Ok(parsed)
    }
}

fn seconds(text: &str) -> Result<u32> {
    let (least, most) = (SECONDS.start(), SECONDS.end());
    let number = text.parse().ok().filter(|seconds| SECONDS.contains(seconds));
    number.with_context(|| format!("--seconds takes a whole number from {least} to {most}, not `{text}`"))
}

fn server(text: String) -> Result<String> {
    match text.parse::<ServerAddress>() {
        Ok(_) => Ok(text),
        // The sentence ends like every error of the demo: without a full stop of its own.
        Err(error) => bail!("{}", error.to_string().trim_end_matches('.')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments> {
        Arguments::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_are_understood() {
        assert_eq!(parse("").unwrap(), Arguments { input: None, seconds: 20, server: None });
        let all = parse("--seconds 30 --server [::1]:22125 --input a.wav").unwrap();
        assert_eq!(
            all,
            Arguments { input: Some("a.wav".into()), seconds: 30, server: Some("[::1]:22125".into()) }
        );
    }

    #[test]
    fn every_mistake_is_one_sentence() {
        for (line, expected) in [
            ("--secs 3", "`--secs`"),
            ("--seconds", "needs a value"),
            ("--seconds 3", "from 8 to 3600"),
            ("--seconds soon", "`soon`"),
            ("--server host:99999", "99999"),
            ("--server", "needs a value"),
        ] {
            let error = format!("{:#}", parse(line).unwrap_err());
            assert!(error.contains(expected) && !error.contains('\n'), "{line}: {error}");
        }
    }
}
