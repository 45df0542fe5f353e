//! Theirs and ours side by side.

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result};
use jamulet_testkit::signal;
use serde_json::{Value, json};

use crate::peers::{Client, Setting};
use crate::reconnect::Reconnect;

/// Everything that was measured in one setting.
pub(crate) struct Comparison {
    pub(crate) setting: Setting,
    pub(crate) reconnects: Vec<Reconnect>,
}

/// One client's delays over all of its reconnects, in ms.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Summary {
    least: f64,
    median: f64,
    most: f64,
    /// Reconnects in which the machine never stumbled, and all of them.
    clean: usize,
    count: usize,
    /// Share of the sound that came back damaged, in thousandths.
    damaged: f64,
}

impl Summary {
    fn spread(&self) -> f64 {
        self.most - self.least
    }
}

/// What issue 4 asks, and whether it is so.
pub(crate) struct Verdict<'a> {
    comparison: &'a Comparison,
    median: bool,
    most: bool,
    spread: bool,
}

impl Comparison {
    pub(crate) fn verdict(&self) -> Verdict<'_> {
        let (theirs, ours) = (self.summary(Client::Stock), self.summary(Client::Ours));
        let frame_ms = f64::from(self.setting.frame_samples()) * 1000.0 / signal::RATE_HZ;
        Verdict {
            comparison: self,
            median: ours.median <= theirs.median + frame_ms,
            most: ours.most <= theirs.most,
            spread: ours.spread() < theirs.spread(),
        }
    }

    pub(crate) fn holds(&self) -> bool {
        let Verdict { median, most, spread, .. } = self.verdict();
        median && most && spread
    }

    fn of(&self, client: Client) -> impl Iterator<Item = &Reconnect> {
        self.reconnects.iter().filter(move |reconnect| reconnect.client == client)
    }

    fn summary(&self, client: Client) -> Summary {
        let delays: Vec<f64> = self.of(client).filter_map(Reconnect::delay_ms).collect();
        Summary {
            least: delays.iter().copied().fold(f64::INFINITY, f64::min),
            median: signal::median(delays.clone()).unwrap_or(f64::NAN),
            most: delays.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            clean: self.of(client).filter(|reconnect| reconnect.disturbances == 0).count(),
            count: delays.len(),
            damaged: {
                let pieces: usize = self.of(client).map(|reconnect| reconnect.pieces).sum();
                let damaged: usize = self.of(client).map(|reconnect| reconnect.damaged).sum();
                1000.0 * damaged as f64 / pieces as f64
            },
        }
    }
}

impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |holds| if holds { "yes" } else { "NO" };
        write!(
            f,
            "{}: our median within a frame of theirs: {}; our maximum not above theirs: {}; our spread smaller: {}",
            self.comparison.setting,
            word(self.median),
            word(self.most),
            word(self.spread)
        )
    }
}

/// A table in Markdown, two lines to a comparison; `clean` counts reconnects in which the machine never stumbled.
pub(crate) fn table(comparisons: &[Comparison]) -> String {
    let mut text =
        "| server | block | client | min ms | median ms | max ms | spread ms | of theirs | damaged ‰ | clean |\n\
                    |---|---|---|---|---|---|---|---|---|---|\n"
            .to_owned();
    for comparison in comparisons {
        let Setting { server, period, fast } = comparison.setting;
        let fast = if fast { " -F" } else { "" };
        let theirs = comparison.summary(Client::Stock);
        for client in [Client::Stock, Client::Ours] {
            let summary = comparison.summary(client);
            let Summary { least, median, most, clean, count, damaged } = summary;
            text += &format!(
                "| {server}{fast} | {period} | {client} | {least:.2} | {median:.2} | {most:.2} | {:.2} | {:.2} | {damaged:.1} | {clean}/{count} |\n",
                summary.spread(),
                median / theirs.median,
            );
        }
    }
    text
}

/// Writes every single reconnect.
pub(crate) fn write_json(file: &Path, comparisons: &[Comparison]) -> Result<()> {
    let all: Vec<Value> = comparisons.iter().map(to_json).collect();
    std::fs::write(file, format!("{:#}\n", Value::Array(all)))
        .with_context(|| format!("{} cannot be written", file.display()))
}

fn to_json(comparison: &Comparison) -> Value {
    let Setting { server, period, fast } = comparison.setting;
    let reconnects: Vec<Value> = comparison
        .reconnects
        .iter()
        .map(|reconnect| {
            json!({
                "client": reconnect.client.to_string(),
                "round": reconnect.round,
                "delays_samples": reconnect.delays,
                "torn": reconnect.torn,
                "pieces": reconnect.pieces,
                "damaged": reconnect.damaged,
                "disturbances": reconnect.disturbances,
            })
        })
        .collect();
    json!({"server": server.to_string(), "block": period, "fast": fast, "reconnects": reconnects})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::Server;

    fn comparison(theirs: &[usize], ours: &[usize]) -> Comparison {
        let reconnect = |client| {
            move |(round, samples): (usize, &usize)| Reconnect {
                client,
                round,
                delays: vec![*samples; 3],
                torn: 0,
                pieces: 500,
                damaged: round,
                disturbances: round % 2,
            }
        };
        let reconnects = theirs
            .iter()
            .enumerate()
            .map(reconnect(Client::Stock))
            .chain(ours.iter().enumerate().map(reconnect(Client::Ours)))
            .collect();
        let setting = Setting { server: Server::Ours, period: 128, fast: false };
        Comparison { setting, reconnects }
    }

    #[test]
    fn what_is_asked_is_judged_one_by_one() {
        let judge = |ours: &[usize]| {
            let comparison = comparison(&[480, 960, 720], ours);
            let Verdict { median, most, spread, .. } = comparison.verdict();
            assert_eq!(comparison.holds(), median && most && spread);
            (median, most, spread)
        };
        assert_eq!(judge(&[720, 720, 720]), (true, true, true));
        assert_eq!(judge(&[840, 847, 850]), (true, true, true));
        assert_eq!(judge(&[840, 849, 850]), (false, true, true));
        assert_eq!(judge(&[720, 720, 961]), (true, false, true));
        assert_eq!(judge(&[440, 720, 960]), (true, true, false));
    }

    #[test]
    fn the_table_tells_milliseconds_ratio_and_what_was_clean() {
        let table = table(&[comparison(&[480, 960, 720], &[720, 360, 360])]);
        assert!(
            table.contains(
                "| jamulet-server | 128 | Jamulus 3.9.1 | 10.00 | 15.00 | 20.00 | 10.00 | 1.00 | 2.0 | 2/3 |"
            ),
            "{table}"
        );
        assert!(table.contains("| Jamulet | 7.50 | 7.50 | 15.00 | 7.50 | 0.50 | 2.0 | 2/3 |"), "{table}");
    }
}
