//! Projects that place every file of a session where it began: Reaper's `.rpp` and Audacity's `.lof`.
//!
//! Files are named without their folder, so that the session's folder can be moved. The mixdown is in neither: the
//! tracks are the mix already, and with it everything would sound twice.

use std::fmt::{self, Write};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use super::names::{guid, masked_address, track_name_of};
use crate::units::WIRE_RATE_HZ;

/// One client's stay.
pub(super) struct Stay {
    pub(super) address: SocketAddr,
    /// As last told.
    pub(super) name: String,
    /// Name of its file.
    pub(super) file: String,
    /// From the session's begin.
    pub(super) first_tick: u64,
    pub(super) ticks: u64,
}

/// What projects tell about a session.
pub(super) struct Project<'a> {
    /// The folder's name.
    pub(super) session: &'a str,
    /// Seconds since 1970.
    pub(super) began: i64,
    pub(super) tick_samples: usize,
    /// Reaper's word for the files' format.
    pub(super) source: &'static str,
    pub(super) stays: &'a [Stay],
}

impl Project<'_> {
    /// Writes both projects into `folder`, each at once or not at all.
    ///
    /// # Errors
    /// When the system refuses; what was there before is still there.
    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        for (ending, text) in [("rpp", self.reaper()), ("lof", self.audacity())] {
            let text = text.map_err(io::Error::other)?;
            let unfinished = folder.join(format!(".{}.{ending}.part", self.session));
            let finished = folder.join(format!("{}.{ending}", self.session));
            let written = fs::write(&unfinished, text).and_then(|()| fs::rename(&unfinished, finished));
            if written.is_err() {
                let _ = fs::remove_file(unfinished);
                return written;
            }
        }
        Ok(())
    }

    /// A track per client; who comes back from the same address goes on in the same track.
    fn reaper(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        writeln!(text, "<REAPER_PROJECT 0.1 \"5.0\" {}", self.began)?;
        writeln!(text, "  RECORD_PATH \"\" \"\"")?;
        writeln!(text, "  SAMPLERATE {WIRE_RATE_HZ} 0 0")?;
        writeln!(text, "  TEMPO 120 4 4")?;
        let mut item = 0;
        for (first, stay) in self.stays.iter().enumerate() {
            if self.stays[..first].iter().any(|earlier| earlier.address == stay.address) {
                continue;
            }
            let of_track = || self.stays[first..].iter().filter(|other| other.address == stay.address);
            let last_name = of_track().next_back().map_or("", |last| &last.name);
            let name = format!("{}-{}", track_name_of(last_name), masked_address(stay.address));
            let track = guid(self.session, &stay.file, "track");
            writeln!(text, "  <TRACK {track}")?;
            writeln!(text, "    NAME {name}")?;
            writeln!(text, "    TRACKID {track}")?;
            for (number, stay) in of_track().enumerate() {
                self.reaper_item(&mut text, stay, item, &format!("{name} ({})", number + 1))?;
                item += 1;
            }
            writeln!(text, "  >")?;
        }
        writeln!(text, ">")?;
        Ok(text)
    }

    fn reaper_item(&self, text: &mut String, stay: &Stay, item: usize, name: &str) -> fmt::Result {
        let part = |part| guid(self.session, &stay.file, part);
        writeln!(text, "    <ITEM ")?;
        writeln!(text, "      FADEIN 0 0 0 0 0 0")?;
        writeln!(text, "      FADEOUT 0 0 0 0 0 0")?;
        writeln!(text, "      POSITION {:.14}", self.seconds(stay.first_tick))?;
        writeln!(text, "      LENGTH {:.14}", self.seconds(stay.ticks))?;
        writeln!(text, "      IGUID {}", part("item"))?;
        writeln!(text, "      IID {item}")?;
        writeln!(text, "      NAME {name}")?;
        writeln!(text, "      GUID {}", part("take"))?;
        writeln!(text, "      <SOURCE {}", self.source)?;
        writeln!(text, "        FILE \"{}\"", stay.file)?;
        writeln!(text, "      >")?;
        writeln!(text, "    >")
    }

    fn audacity(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        for stay in self.stays {
            writeln!(text, "file \"{}\" offset {:.14}", stay.file, self.seconds(stay.first_tick))?;
        }
        Ok(text)
    }

    fn seconds(&self, ticks: u64) -> f64 {
        (ticks * self.tick_samples as u64) as f64 / f64::from(WIRE_RATE_HZ)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stay(address: &str, name: &str, file: &str, first_tick: u64, ticks: u64) -> Stay {
        Stay { address: address.parse().unwrap(), name: name.into(), file: file.into(), first_tick, ticks }
    }

    fn project(stays: &[Stay]) -> Project<'_> {
        Project {
            session: "Jam-20261122-143631867",
            began: 1_551_567_848,
            tick_samples: 64,
            source: "WAVE",
            stays,
        }
    }

    /// Identifiers are anybody's choice, and the folder is what differs on purpose.
    fn comparable(text: &str) -> String {
        let lines = text.lines().map(|line| match line.split_once('{') {
            Some((before, _)) => format!("{before}{{}}"),
            None => line.replace("/srv/recordings/Jam-20261122-143631867/", ""),
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn projects_are_those_of_jamulus_with_relative_names() {
        let folder =
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/recording-example/Jam-20261122-143631867");
        let stays = [
            stay("127.0.0.1:22233", "Alice", "____-127_0_0_1_22233-0-1.wav", 0, 1223),
            stay("127.0.0.1:22243", "Bob", "Bob_-127_0_0_1_22243-354-1.wav", 354, 870),
        ];
        let example = |ending: &str| fs::read_to_string(format!("{folder}.{ending}")).unwrap();
        assert_eq!(comparable(&project(&stays).reaper().unwrap()), comparable(&example("rpp")));
        assert_eq!(project(&stays).audacity().unwrap(), example("lof"));
    }

    #[test]
    fn who_comes_back_goes_on_in_the_same_track_under_the_last_name() {
        let stays = [
            stay("192.0.2.7:1", "", "a.wav", 0, 10),
            stay("192.0.2.8:1", "Eve", "b.wav", 5, 10),
            stay("192.0.2.7:1", "Ann", "c.wav", 20, 10),
        ];
        let text = project(&stays).reaper().unwrap();
        let names: Vec<&str> = text.lines().filter_map(|line| line.trim().strip_prefix("NAME ")).collect();
        assert_eq!(
            names,
            [
                "Ann_-192_0_2_x_1",
                "Ann_-192_0_2_x_1 (1)",
                "Ann_-192_0_2_x_1 (2)",
                "Eve_-192_0_2_x_1",
                "Eve_-192_0_2_x_1 (1)"
            ]
        );
    }
}
