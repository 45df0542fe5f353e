//! What the user typed.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::peers::Server;

/// The benchmark's options.
#[derive(Debug, PartialEq)]
pub(crate) struct Arguments {
    /// Reconnects of each client per setting.
    pub(crate) rounds: usize,
    /// JACK's blocks, in samples.
    pub(crate) periods: Vec<u32>,
    /// Whose servers.
    pub(crate) servers: Vec<Server>,
    /// Attempts at a reconnect in which the machine does not stumble …
    pub(crate) attempts: usize,
    /// … more often than this.
    pub(crate) stumbles: usize,
    /// Servers tick every 64 samples (their option `-F`).
    pub(crate) fast: bool,
    /// From the start of a client until its delay is measured, in seconds.
    pub(crate) settle_seconds: usize,
    /// Where to write every single reconnect.
    pub(crate) json: Option<PathBuf>,
}

impl Arguments {
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut parsed = Self {
            rounds: 20,
            periods: vec![64, 128],
            servers: vec![Server::Stock, Server::Ours],
            attempts: 3,
            stumbles: 0,
            fast: false,
            settle_seconds: 10,
            json: None,
        };
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{name} needs a value"));
            match name.as_str() {
                "--rounds" => parsed.rounds = number(&name, &value()?, 1, 1000)?,
                "--attempts" => parsed.attempts = number(&name, &value()?, 1, 100)?,
                "--stumbles" => parsed.stumbles = number(&name, &value()?, 0, 100_000)?,
                "--settle" => parsed.settle_seconds = number(&name, &value()?, 4, 600)?,
                "--period" => parsed.periods = vec![number(&name, &value()?, 16, 4096)? as u32],
                "--server" => parsed.servers = vec![server(&value()?)?],
                "--fast" => parsed.fast = true,
                "--json" => parsed.json = Some(value()?.into()),
                _ => bail!(
                    "bench delay knows --rounds N, --attempts N, --stumbles N, --settle SECONDS, \
                     --period SAMPLES, --server stock|ours, --fast and --json FILE, but not `{name}`"
                ),
            }
        }
        Ok(parsed)
    }
}

fn number(name: &str, text: &str, least: usize, most: usize) -> Result<usize> {
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    number.with_context(|| format!("{name} takes a whole number from {least} to {most}, not `{text}`"))
}

fn server(text: &str) -> Result<Server> {
    match text {
        "stock" => Ok(Server::Stock),
        "ours" => Ok(Server::Ours),
        _ => bail!("--server takes `stock` or `ours`, not `{text}`"),
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
        let default = parse("").unwrap();
        assert_eq!((default.rounds, default.periods.as_slice()), (20, &[64, 128][..]));
        let some = parse(
            "--rounds 3 --period 64 --server ours --fast --attempts 2 --stumbles 9 --settle 8 --json a.json",
        )
        .unwrap();
        let expected = Arguments {
            rounds: 3,
            periods: vec![64],
            servers: vec![Server::Ours],
            attempts: 2,
            stumbles: 9,
            fast: true,
            settle_seconds: 8,
            json: Some("a.json".into()),
        };
        assert_eq!(some, expected);
    }

    #[test]
    fn every_mistake_is_one_sentence() {
        for (line, expected) in [
            ("--round 3", "`--round`"),
            ("--rounds", "needs a value"),
            ("--rounds 0", "from 1 to 1000"),
            ("--settle soon", "`soon`"),
            ("--server debian", "`debian`"),
        ] {
            let error = format!("{:#}", parse(line).unwrap_err());
            assert!(error.contains(expected) && !error.contains('\n'), "{line}: {error}");
        }
    }
}
