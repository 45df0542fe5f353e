//! Reads what the server's recorder has written: sound files as whole numbers, projects as their parts.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

/// A sound file, sample for sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoundFile {
    /// 1 or 2.
    pub channels: usize,
    /// Bits per sample.
    pub bits: u32,
    /// Interleaved.
    pub values: Vec<i32>,
}

impl SoundFile {
    /// Samples per channel.
    pub fn samples(&self) -> usize {
        self.values.len() / self.channels
    }

    /// One channel; of a mono file any.
    pub fn channel(&self, index: usize) -> impl Iterator<Item = i32> {
        self.values.iter().copied().skip(index % self.channels).step_by(self.channels)
    }
}

/// A file as a Reaper project places it.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Name of the track that it is in.
    pub track: String,
    /// Its own name.
    pub name: String,
    /// Relative to the project.
    pub file: String,
    /// In seconds.
    pub position: f64,
    /// In seconds.
    pub length: f64,
}

/// A session's folder.
#[derive(Clone, Debug)]
pub struct Session {
    /// The folder.
    pub folder: PathBuf,
    /// By name: every sound file, the mixdown too.
    pub files: BTreeMap<String, SoundFile>,
    /// In the order of the project.
    pub items: Vec<Item>,
    /// Files and offsets in seconds of the Audacity list.
    pub list: Vec<(String, f64)>,
}

impl Session {
    /// Reads a whole session; whatever is in its folder must be understood.
    pub fn read(folder: &Path) -> Result<Self> {
        let mut session =
            Self { folder: folder.to_owned(), files: BTreeMap::new(), items: Vec::new(), list: Vec::new() };
        let session_name =
            folder.file_name().and_then(|name| name.to_str()).context("a folder with a name")?;
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).context("a readable name")?.to_owned();
            let what = || format!("{} cannot be read", path.display());
            match name.rsplit_once('.') {
                Some((_, "wav")) => {
                    session.files.insert(name, read_wav(&path).with_context(what)?);
                }
                Some((_, "flac")) => {
                    session.files.insert(name, read_flac(&path).with_context(what)?);
                }
                Some((stem, "rpp")) if stem == session_name => {
                    session.items = read_reaper(&path).with_context(what)?
                }
                Some((stem, "lof")) if stem == session_name => {
                    session.list = read_audacity(&path).with_context(what)?
                }
                // What a killed server was about to write.
                _ if name.starts_with('.') && name.ends_with(".part") => {}
                _ => bail!("{} does not belong here", path.display()),
            }
        }
        Ok(session)
    }

    /// The mixdown.
    pub fn mixdown(&self) -> &SoundFile {
        let found = self.files.iter().find(|(name, _)| is_mixdown(name));
        found.expect("every session has a mixdown").1
    }

    /// Everything but the mixdown, by name.
    pub fn tracks(&self) -> impl Iterator<Item = (&str, &SoundFile)> {
        self.files.iter().filter(|(name, _)| !is_mixdown(name)).map(|(name, file)| (name.as_str(), file))
    }

    /// Checks everything that holds in every session of ticks of `tick` samples: both projects place exactly the files
    /// that are there, at the tick in their names and with their lengths, and the mixdown is their sum, each sample
    /// within (N + 1) / 2 of the last bit.
    pub fn check(&self, tick: usize) -> Result<()> {
        ensure!(self.items.len() == self.tracks().count(), "every file once in the project");
        ensure!(self.list.len() == self.items.len(), "every file once in the list");
        let mixdown = self.mixdown();
        ensure!(mixdown.channels == 2 && mixdown.samples().is_multiple_of(tick), "whole stereo ticks");
        let mut sums = vec![(0_i64, 0_i64); mixdown.values.len()];
        for (name, file) in self.tracks() {
            ensure!(file.bits == mixdown.bits && file.samples().is_multiple_of(tick), "{name}: whole ticks");
            let (start, channels) =
                numbers_in(name).with_context(|| format!("{name} is no name of a stay"))?;
            ensure!(channels == file.channels, "{name} has {} channels", file.channels);
            let item = self.items.iter().find(|item| item.file == name).context("placed in the project")?;
            let listed = self.list.iter().find(|(file, _)| file == name).context("placed in the list")?;
            let start = start * tick;
            for position in [item.position, listed.1] {
                ensure!(
                    (position * 48_000.0 - start as f64).abs() < 1e-6,
                    "{name} is placed at {position} s"
                );
            }
            ensure!(
                (item.length * 48_000.0 - file.samples() as f64).abs() < 1e-6,
                "{name}: {} s for {} samples",
                item.length,
                file.samples()
            );
            ensure!(start + file.samples() <= mixdown.samples(), "{name} ends after the mixdown");
            for side in 0..2 {
                for (index, value) in file.channel(side).enumerate() {
                    let (sum, count) = &mut sums[2 * (start + index) + side];
                    *sum += i64::from(value);
                    *count += 1;
                }
            }
        }
        for (index, ((sum, count), mixed)) in sums.into_iter().zip(&mixdown.values).enumerate() {
            let off = (sum - i64::from(*mixed)).abs();
            ensure!(
                2 * off <= count + 1,
                "value {index} of the mixdown is {mixed}, {count} tracks have {sum}"
            );
        }
        Ok(())
    }
}

/// Sessions in a recording folder, oldest first.
pub fn sessions(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries: Result<Vec<PathBuf>, _> =
        fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut folders = entries?;
    folders.retain(|path| path.is_dir());
    folders.sort();
    Ok(folders)
}

/// Reads a WAV file of whole numbers; its header must tell the truth: no more sound than there is.
pub fn read_wav(path: &Path) -> Result<SoundFile> {
    let mut reader = hound::WavReader::open(path)?;
    let spec = reader.spec();
    ensure!(spec.sample_rate == 48_000 && spec.sample_format == hound::SampleFormat::Int, "{spec:?}");
    let values = reader.samples::<i32>().collect::<Result<Vec<i32>, _>>()?;
    ensure!(values.len() == reader.len() as usize, "the header tells of {} values", reader.len());
    Ok(SoundFile { channels: spec.channels.into(), bits: spec.bits_per_sample.into(), values })
}

/// Reads a FLAC file up to the end that its header tells, checking every block's checksum.
pub fn read_flac(path: &Path) -> Result<SoundFile> {
    let mut reader = claxon::FlacReader::open(path)?;
    let info = reader.streaminfo();
    ensure!(info.sample_rate == 48_000, "{} Hz", info.sample_rate);
    let channels = info.channels as usize;
    let told = info.samples.context("the header tells no length")? as usize * channels;
    let values = reader.samples().take(told).collect::<Result<Vec<i32>, _>>()?;
    ensure!(values.len() == told, "the header tells of {told} values, there are {}", values.len());
    Ok(SoundFile { channels, bits: info.bits_per_sample, values })
}

fn is_mixdown(name: &str) -> bool {
    name.starts_with("mixdown.")
}

/// FRAME and CH of `NAME-IP_PORT-FRAME-CH[_n].ending`.
fn numbers_in(name: &str) -> Option<(usize, usize)> {
    let (stem, _) = name.rsplit_once('.')?;
    let parts: Vec<&str> = stem.split('-').collect();
    let [_, _, frame, channels] = parts.as_slice() else { return None };
    let channels = channels.split('_').next()?;
    Some((frame.parse().ok()?, channels.parse().ok()?))
}

/// The lines of a Reaper project mean something by the block that they are in.
fn read_reaper(path: &Path) -> Result<Vec<Item>> {
    let text = fs::read_to_string(path)?;
    let mut blocks: Vec<String> = Vec::new();
    let mut items: Vec<Item> = Vec::new();
    let mut track = String::new();
    for line in text.lines() {
        let line = line.trim();
        if let Some(block) = line.strip_prefix('<') {
            ensure!(blocks.is_empty() == block.starts_with("REAPER_PROJECT "), "one project");
            let kind = block.split(' ').next().unwrap_or_default().to_owned();
            if kind == "ITEM" {
                let track = track.clone();
                items.push(Item {
                    track,
                    name: String::new(),
                    file: String::new(),
                    position: -1.0,
                    length: -1.0,
                });
            }
            blocks.push(kind);
            continue;
        }
        if line == ">" {
            blocks.pop().context("a block ends that has not begun")?;
            continue;
        }
        let (word, value) =
            line.split_once(' ').with_context(|| format!("`{line}` is no line of a project"))?;
        let item = items.last_mut();
        match (blocks.last().map(String::as_str), word, item) {
            (Some("TRACK"), "NAME", _) => value.clone_into(&mut track),
            (Some("ITEM"), "NAME", Some(item)) => value.clone_into(&mut item.name),
            (Some("ITEM"), "POSITION", Some(item)) => item.position = value.parse()?,
            (Some("ITEM"), "LENGTH", Some(item)) => item.length = value.parse()?,
            (Some("SOURCE"), "FILE", Some(item)) => value.trim_matches('"').clone_into(&mut item.file),
            (Some(_), _, _) => {}
            (None, _, _) => bail!("`{line}` is outside of the project"),
        }
    }
    ensure!(blocks.is_empty(), "{blocks:?} never end");
    Ok(items)
}

fn read_audacity(path: &Path) -> Result<Vec<(String, f64)>> {
    let text = fs::read_to_string(path)?;
    let entry = |line: &str| -> Result<(String, f64)> {
        let rest = line.strip_prefix("file \"").context("a line begins with `file`")?;
        let (name, offset) = rest.split_once("\" offset ").context("a line has an offset")?;
        Ok((name.to_owned(), offset.parse()?))
    };
    text.lines().map(entry).collect()
}
