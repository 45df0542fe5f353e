//! Listening to the recording with a ruler.

use std::fmt::Write;
use std::time::Duration;

use jamulet::audio::DcBlocker;
use jamulet_testkit::mixture;
use jamulet_testkit::signal::{self, db};
use jamulet_testkit::track::quantile;

use crate::jam::{FRAMES_PER_STALL, Jam, SETTLING_SECONDS};
use crate::{BLOCK_FRAMES, RATE_HZ};

/// Samples per second, as an index.
const SECOND: usize = RATE_HZ as usize;
/// Longest delay looked for, in samples.
const MAX_DELAY: usize = SECOND / 2;
/// Allowed deviation from unity, in dB.
const LEVEL_TOLERANCE_DB: f64 = 0.5;
/// Music this loud (RMS, linear) must be heard; below, noise of the codec may be all there is.
const AUDIBLE: f64 = 0.02;
/// A stall explains what is wrong around it, this far, in samples.
const STALL_REACH: usize = SECOND / 4;
/// An opened editor has more colours than this; an empty window has one.
const EDITOR_COLOURS: usize = 50;

/// The table, and what is wrong.
pub(crate) struct Verdict {
    pub(crate) table: String,
    pub(crate) problems: Vec<String>,
}

/// Judges a jam.
pub(crate) fn judge(jam: &Jam) -> Verdict {
    let mut verdict = Verdict { table: String::new(), problems: Vec::new() };
    let range = SETTLING_SECONDS as usize * SECOND..jam.heard[0].len();
    verdict.parts(jam, range);
    verdict.packets(jam);
    verdict.machine(jam);
    verdict.editor(jam);
    if !jam.left {
        verdict.problems.push("the plugin did not leave the session when it was told to".to_owned());
    }
    verdict
}

impl Verdict {
    /// Both parts: where they are in the recording, how loud, and whether anything is missing.
    fn parts(&mut self, jam: &Jam, range: std::ops::Range<usize>) {
        let heard = middle(&jam.heard);
        let parts = [middle(&jam.track), middle(&jam.partner)];
        // A second and a half: long enough to be unmistakable, short enough for one steady delay.
        let window = SECOND + SECOND / 2;
        let starts: Vec<usize> =
            range.clone().step_by(SECOND).take_while(|at| at + window <= range.end).collect();
        let mut found = [Found::default(), Found::default()];
        let mut dropouts = Vec::new();
        for &start in &starts {
            let heard = &heard[start..start + window];
            let aligned = [0, 1].map(|index| found[index].align(&parts[index], heard, start));
            if let Some(gains) = mixture::gains(heard, [&aligned[0], &aligned[1]]) {
                found.iter_mut().zip(gains).for_each(|(found, gain)| found.gains.push(gain));
            }
            let expected: Vec<f32> = aligned[0].iter().zip(&aligned[1]).map(|(a, b)| a + b).collect();
            let holes = mixture::dropouts(heard, &expected, BLOCK_FRAMES, AUDIBLE);
            dropouts.extend(holes.into_iter().map(|hole| start + hole.start));
        }
        for (name, found) in [("own track", &found[0]), ("second musician", &found[1])] {
            self.part(name, found);
        }
        for (name, sound) in [("track", &jam.track), ("second musician", &jam.partner), ("jam", &jam.heard)] {
            let (rms, peak) = loudness(&middle(sound)[range.clone()]);
            self.row(&format!("level of {name}"), &format!("{rms:.1} dBFS RMS, {peak:.1} dBFS peak"));
        }
        dropouts.sort_unstable();
        dropouts.dedup_by_key(|hole| *hole / BLOCK_FRAMES);
        dropouts.retain(|hole| !jam.stalls.iter().any(|stall| stall.abs_diff(*hole) < STALL_REACH));
        self.row("dropouts", &dropouts.len().to_string());
        if let Some(first) = dropouts.first() {
            let (count, at) = (dropouts.len(), *first as f64 / f64::from(RATE_HZ));
            self.problems
                .push(format!("the recording has {count} dropouts, the first {at:.3} s after its start"));
        }
    }

    fn part(&mut self, name: &str, found: &Found) {
        let (Some(delay), Some(gain)) =
            (signal::median(found.delays.clone()), signal::median(found.gains.clone()))
        else {
            self.problems.push(format!("{name} cannot be found in the recording"));
            return;
        };
        let (least, most) = found
            .delays
            .iter()
            .fold((f64::MAX, 0.0_f64), |(least, most), delay| (least.min(*delay), most.max(*delay)));
        let ms = delay * 1000.0 / f64::from(RATE_HZ);
        self.row(
            &format!("delay of {name}"),
            &format!("{ms:.2} ms = {delay} samples (from {least} to {most})"),
        );
        let level_db = db(gain, 1.0);
        self.row(&format!("gain of {name}"), &format!("{level_db:+.2} dB"));
        if level_db.abs() > LEVEL_TOLERANCE_DB || level_db.is_nan() {
            self.problems
                .push(format!("{name} is heard at {level_db:+.2} dB, not at 0 ± {LEVEL_TOLERANCE_DB} dB"));
        }
        if found.missed > 0 {
            let all = found.missed + found.delays.len();
            self.problems.push(format!("{name} cannot be recognised in {} of {all} seconds", found.missed));
        }
    }

    /// What plugin and second musician counted.
    fn packets(&mut self, jam: &Jam) {
        let [settled, finished] = &jam.plugin;
        let count = |key: &str| finished.count(key);
        self.row("connected after", &format!("{:.0} ms", jam.connected_after.as_secs_f64() * 1000.0));
        self.row("packets", &format!("{} sent, {} received", count("sent"), count("received")));
        self.row(
            "frames",
            &format!(
                "{} lost, {} late, {} concealed, {} slipped",
                count("lost"),
                count("late"),
                count("concealed"),
                count("slipped")
            ),
        );
        let frames = |key: &str| {
            finished.number(key).map_or("unknown".to_owned(), |frames| format!("{frames} frames"))
        };
        self.row(
            "jitter buffers",
            &format!(
                "{} here, {} at the server",
                frames("client_buffer_frames"),
                frames("server_buffer_frames")
            ),
        );
        let ms = |key: &str| finished.number(key).map_or("unknown".to_owned(), |ms| format!("{ms:.1} ms"));
        self.row("overall delay", &format!("{}, with a ping of {}", ms("delay_ms"), ms("ping_ms")));
        self.row("as Jamulus shows it", &ms("jamulus_delay_ms"));

        // The automatic buffer size is the smallest for which one frame in 2000 comes late. More is the machine's
        // doing if the sound card's clock or the server's saw it stand still.
        const FRAMES_PER_LATE_ONE: u64 = 2000;
        let stalls = jam.stalls.len() as u64 + jam.late_ticks.unwrap_or(0);
        let allowed = finished.count("received").div_ceil(FRAMES_PER_LATE_ONE) + stalls * FRAMES_PER_STALL;
        let concealed = finished.count("concealed") - settled.count("concealed");
        let others = jam.musician[1].concealed - jam.musician[0].concealed;
        for (who, concealed) in [("the plugin", concealed), ("the second musician", others)] {
            if concealed > allowed {
                self.problems.push(format!(
                    "{who} had to conceal {concealed} frames, where at most {allowed} can be excused"
                ));
            }
        }
        if count("received") == 0 || count("sent") == 0 {
            self.problems.push("no packets went to and fro".to_owned());
        }
    }

    fn machine(&mut self, jam: &Jam) {
        let block = Duration::from_secs_f64(BLOCK_FRAMES as f64 / f64::from(RATE_HZ));
        let percent = |share| 100.0 * quantile(&jam.cost, share).as_secs_f64() / block.as_secs_f64();
        self.row(
            "process()",
            &format!(
                "{:.1} % of a block ({:.2} ms) at the median, {:.1} % for 99 of 100, {:.1} % at most",
                percent(0.5),
                block.as_secs_f64() * 1000.0,
                percent(0.99),
                percent(1.0)
            ),
        );
        if percent(0.99) > 100.0 {
            self.problems.push("process() takes longer than a block lasts".to_owned());
        }
        let stalls = match jam.stalls.len() {
            0 => "none".to_owned(),
            count => format!("{count}, the longest {:.1} ms", jam.worst_stall.as_secs_f64() * 1000.0),
        };
        self.row("stalls of the machine", &stalls);
        if let Some(late) = jam.late_ticks {
            self.row("late ticks of the server", &late.to_string());
        }
    }

    fn editor(&mut self, jam: &Jam) {
        let [width, height] = jam.editor_size;
        let colours = jam.editor.colours();
        self.row("editor", &format!("{width} × {height} pixels, {colours} colours"));
        if colours < EDITOR_COLOURS || jam.editor_size != [jam.editor.width, jam.editor.height] {
            self.problems.push("the editor did not fill its window".to_owned());
        }
    }

    fn row(&mut self, name: &str, value: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.table, "  {name:<26} {value}");
    }
}

/// Both sides together: what is panned is in it, too. Without direct current, which does not come back.
fn middle(sound: &jamulet_testkit::part::Stereo) -> Vec<f32> {
    let mut blocker = DcBlocker::new(f64::from(RATE_HZ));
    let pairs = sound[0].iter().zip(&sound[1]).map(|(left, right)| blocker.next([*left, *right]));
    pairs.map(|[left, right]| 0.5 * (left + right)).collect()
}

/// What was found of one part, window by window.
#[derive(Default)]
struct Found {
    /// In samples.
    delays: Vec<f64>,
    /// Linear.
    gains: Vec<f64>,
    /// Windows in which the part plays and was not recognised.
    missed: usize,
}

impl Found {
    /// The part as it should be in `heard`, the recording from `start` on: silent where it is
    /// silent or cannot be recognised.
    fn align(&mut self, part: &[f32], heard: &[f32], start: usize) -> Vec<f32> {
        let window = heard.len();
        if signal::rms(&part[start..start + window]) < AUDIBLE / 2.0 {
            return vec![0.0; window];
        }
        // What is heard at `start` was played up to MAX_DELAY before it: the later the heard
        // stretch is found in what was played since then, the shorter the delay.
        let played = &part[start - MAX_DELAY..start + window];
        let found = signal::delay(heard, played, MAX_DELAY).filter(|found| found.correlation > 0.2);
        let Some(found) = found else {
            self.missed += 1;
            return vec![0.0; window];
        };
        self.delays.push((MAX_DELAY - found.samples) as f64);
        played[found.samples..found.samples + window].to_vec()
    }
}

fn loudness(sound: &[f32]) -> (f64, f64) {
    let peak = sound.iter().fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
    (db(signal::rms(sound), 1.0), db(peak.into(), 1.0))
}
