//! Feedback: the track's input gets the session back, by the host's routing or from a loudspeaker, and what is sent
//! goes round and grows.
//!
//! From the inside a loop looks like music: one synthesiser's crescendo comes back as it went, a little later and
//! a little softer, and so does a loop. So the guard asks. Where the input has followed the output's level for a
//! while, loudly enough, it has the output made 2 dB softer in a pattern that takes a sixth of a second. Only an
//! input that gets the output back shows the same pattern. If it does, another pattern is asked for, and if that
//! comes back as well, and loud enough to go round for ever, what is sent is muted until the user says otherwise.
//! Music follows no pattern, so the guard is told off, and asks again only when it has become louder by 3 dB or
//! after minutes: a steady tone is asked about a few times in a session, music with more to it hardly ever.
//!
//! [`Ear`] is the audio thread's half: it sums up levels and plays the patterns. [`FeedbackGuard`] is the network
//! thread's: it decides. It knows no clock; [`Point`]s are its time.

use std::collections::VecDeque;
use std::ops::Range;

use rtrb::Producer;

/// Points per second.
pub(super) const POINTS_PER_SECOND: usize = 375;
/// Points on their way to the network thread: more than a second of them.
pub(super) const RING_POINTS: usize = 512;

/// Which parts of a pattern are softer. Chosen so that it is like itself only where it lies upon itself (Barker's
/// code of seven); the other one is the same backwards.
const PATTERNS: [[bool; PATTERN_CHIPS]; 2] =
    [[false, false, false, true, true, false, true], [true, false, true, true, false, false, false]];
const PATTERN_CHIPS: usize = 7;
/// Length of a part.
const CHIP_POINTS: usize = 9;
const PATTERN_POINTS: usize = PATTERN_CHIPS * CHIP_POINTS;
/// How much softer, linear: 2 dB.
const SOFTER: f32 = 0.794;
/// The pattern's edges take this long.
const EDGE_SECONDS: f64 = 0.004;

/// Levels of a 375th of a second, on both sides of the plugin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    /// Mean square of the track's input, per channel.
    pub(super) input: f32,
    /// Mean square of the output, per channel, without the pattern.
    pub(super) output: f32,
    /// The pattern's mean gain; exactly 1 where there is none.
    pub(super) pattern: f32,
    /// Gain from the input to what is sent; 0 where nothing is.
    pub(super) send: f32,
    /// Gain of what comes back.
    pub(super) back: f32,
}

impl Point {
    const SILENCE: Self = Self { input: 0.0, output: 0.0, pattern: 1.0, send: 0.0, back: 0.0 };

    /// The mean of three in a row, with the newest gains.
    fn mean(points: [Self; 3]) -> Self {
        let mean = |value: fn(&Self) -> f32| points.iter().map(value).sum::<f32>() / 3.0;
        Self {
            input: mean(|point| point.input),
            output: mean(|point| point.output),
            pattern: mean(|point| point.pattern),
            ..points[2]
        }
    }
}

/// The audio thread's half. It never allocates or blocks.
pub(super) struct Ear {
    points: Producer<Point>,
    /// Samples per point.
    point_frames: usize,
    /// Change of the pattern's gain per sample, at most.
    step: f32,
    sums: Sums,
    /// The question that was answered last, or is being answered.
    question: u32,
    /// Samples of the pattern that were played; `None` while none is.
    played: Option<usize>,
    gain: f32,
}

/// What a point is made of.
#[derive(Clone, Copy, Default)]
struct Sums {
    frames: usize,
    input: f64,
    output: f64,
    pattern: f64,
}

impl Ear {
    pub(super) fn new(points: Producer<Point>, rate_hz: f64) -> Self {
        let mut ear = Self {
            points,
            point_frames: 1,
            step: 1.0,
            sums: Sums::default(),
            question: 0,
            played: None,
            gain: 1.0,
        };
        ear.set_rate(rate_hz);
        ear
    }

    pub(super) fn set_rate(&mut self, rate_hz: f64) {
        self.point_frames = ((rate_hz / POINTS_PER_SECOND as f64).round() as usize).max(1);
        self.step = (f64::from(1.0 - SOFTER) / (EDGE_SECONDS * rate_hz)) as f32;
        self.rest();
    }

    /// Nothing is sent or heard of the session.
    pub(super) fn rest(&mut self) {
        (self.sums, self.played, self.gain) = (Sums::default(), None, 1.0);
    }

    /// The network thread asks question number `question`: numbers differ from one question to the next.
    pub(super) fn ask(&mut self, question: u32) {
        if self.question != question {
            self.question = question;
            self.played = Some(0);
        }
    }

    /// A piece of the track's sound, and what comes back beside it on its way out, both interleaved stereo, with the
    /// gains of what is sent and of what comes back. Changes what comes back only while a pattern is played, and
    /// never the dry sound: that goes no round through the session.
    pub(super) fn hear(&mut self, input: &[f32], returned: &mut [f32], send: f32, back: f32) {
        for (pair, heard) in input.as_chunks::<2>().0.iter().zip(returned.as_chunks_mut::<2>().0) {
            let gain = self.next_gain();
            let output = 0.5 * (heard[0] * heard[0] + heard[1] * heard[1]);
            if gain != 1.0 {
                *heard = heard.map(|sample| sample * gain);
            }
            self.sums.input += f64::from(0.5 * (pair[0] * pair[0] + pair[1] * pair[1]));
            self.sums.output += f64::from(output);
            self.sums.pattern += f64::from(gain);
            self.sums.frames += 1;
            if self.sums.frames >= self.point_frames {
                self.finish_point(send, back);
            }
        }
    }

    fn finish_point(&mut self, send: f32, back: f32) {
        /// No sound is as loud; what is cut here is an accident that the analysis should survive.
        const MOST: f64 = 1e12;
        let Sums { frames, input, output, pattern } = std::mem::take(&mut self.sums);
        let mean = |sum: f64| (sum / frames as f64).min(MOST) as f32;
        let point = Point { input: mean(input), output: mean(output), pattern: mean(pattern), send, back };
        // A full ring means that the network thread has stalled: nobody would judge these.
        let _ = self.points.push(point);
    }

    /// The pattern's gain at the next sample.
    fn next_gain(&mut self) -> f32 {
        let target = match &mut self.played {
            None if self.gain == 1.0 => return 1.0,
            None => 1.0,
            Some(played) => {
                let chip = *played / (CHIP_POINTS * self.point_frames);
                *played += 1;
                match PATTERNS[self.question as usize % PATTERNS.len()].get(chip) {
                    Some(true) => SOFTER,
                    Some(false) => 1.0,
                    None => {
                        self.played = None;
                        1.0
                    }
                }
            }
        };
        self.gain += (target - self.gain).clamp(-self.step, self.step);
        self.gain
    }
}

/// For so long after joining less is suspicious already, in points: ten seconds.
const EARLY: u64 = 10 * POINTS_PER_SECOND as u64;
/// What is sent is suspicious from this level on, as a mean square: at first −36 dBFS …
const EARLY_LEVEL: f32 = 2.5e-4;
/// … and later −20 dBFS.
const LEVEL: f32 = 1e-2;
/// The input has to have followed the output for so long, in points …
const FOLLOWED: usize = 70;
/// … to within this, as a standard deviation in nepers: 1.5 dB.
const LOOSE: f64 = 0.173;
/// … and at least as loud as this in the end, linear: softer rounds die away soon.
const LOOP_GAIN: f64 = 0.9;
/// The output may take this long to the input, in points: 0.25 s, for wireless loudspeakers and large blocks.
const MAX_LAG: usize = 94;
/// How often suspicion is looked at, in points.
const STRIDE: u64 = 16;
/// Points before and after a pattern that are compared with it.
const PADDING: usize = 8;
/// A lag is the best one when so many half points beyond it none is better.
const BEYOND: usize = 6;
/// The next question is about so many half points around it.
const AROUND: usize = 3;
/// A pattern that has not begun by then never will: the host does not call, in points.
const NO_ANSWER: u64 = 2 * POINTS_PER_SECOND as u64;
/// An input follows a pattern when its share is so many times its own error …
const CERTAIN: f64 = 3.0;
/// … of which one question may contribute this much, and all in a row have to contribute that much.
const MOST_EVIDENCE: f64 = 8.0;
const ENOUGH_EVIDENCE: f64 = 11.0;
/// A pattern that does not come back takes so much from it: one may be masked by what is played.
const MISSED: f64 = 4.0;
/// Of neighbouring points so many say something new, as a share.
const INDEPENDENT: f64 = 0.25;
/// What was found harmless stays so for this long, in points (five minutes), unless it becomes louder by this factor …
const MEMORY: u64 = 300 * POINTS_PER_SECOND as u64;
const LOUDER: f32 = 2.0;
/// … and where doubts remain, a tenth of a second, doubled with each in a row.
const DOUBT: u64 = POINTS_PER_SECOND as u64 / 10;
const MAX_DOUBTS: u32 = 5;

/// The network thread's half: decides from [`Point`]s whether what is sent is to be muted.
pub(super) struct FeedbackGuard {
    /// The newest points, and how many there were at all.
    points: VecDeque<Heard>,
    count: u64,
    /// The two newest, as they came.
    last: [Point; 2],
    /// Until then it is early.
    early_until: u64,
    /// Number of the last question.
    question: u32,
    state: State,
    /// This level was found harmless, until then.
    harmless: Option<(f32, u64)>,
    /// Questions in a row that left doubts.
    doubts: u32,
}

/// A [`Point`] as it is compared.
struct Heard {
    /// Levels and the pattern's gain in nepers.
    input: f64,
    output: f64,
    pattern: f64,
    /// Mean square of what was sent, as far as the wire takes it.
    sent: f32,
    /// Gain of our part of the way around, at most: a server makes nothing louder.
    way: f64,
}

impl From<Point> for Heard {
    fn from(Point { input, output, pattern, send, back }: Point) -> Self {
        /// −100 dBFS: silence is like silence.
        const FLOOR: f32 = 1e-10;
        let nepers = |square: f32| 0.5 * f64::from((square + FLOOR).ln());
        Self {
            input: nepers(input),
            output: nepers(output),
            pattern: f64::from(pattern.max(0.01).ln()),
            sent: (input * send * send).min(1.0),
            way: f64::from(send * back),
        }
    }
}

enum State {
    Listening,
    Asking(Asking),
    Muted,
}

/// A pattern under way.
struct Asking {
    asked_at: u64,
    /// Number of the pattern's first point.
    began: Option<u64>,
    /// Still to be compared, in half points: the way around takes no whole number of them.
    half_lags: Range<usize>,
    /// The half lag with the most certain answer so far, of those that grow.
    best: Option<(usize, Answer)>,
    /// Of the patterns before this one.
    evidence: f64,
    /// Something may have followed this one.
    unclear: bool,
}

impl Default for FeedbackGuard {
    fn default() -> Self {
        Self {
            points: VecDeque::with_capacity(Self::KEPT),
            count: 0,
            last: [Point::SILENCE; 2],
            early_until: EARLY,
            question: 0,
            state: State::Listening,
            harmless: None,
            doubts: 0,
        }
    }
}

impl FeedbackGuard {
    /// Points kept: a pattern with the longest lag, and as much again.
    const KEPT: usize = 2 * (MAX_LAG + PATTERN_POINTS + 2 * PADDING);

    /// A session begins, or the user wants to send again: the first seconds are watched more closely.
    pub(super) fn restart(&mut self) {
        self.points.clear();
        self.early_until = self.count + EARLY;
        self.state = State::Listening;
        (self.harmless, self.doubts) = (None, 0);
    }

    /// What is sent is to be muted.
    pub(super) fn is_muted(&self) -> bool {
        matches!(self.state, State::Muted)
    }

    /// For [`Ear::ask`].
    pub(super) fn question(&self) -> u32 {
        self.question
    }

    /// The next point.
    pub(super) fn note(&mut self, point: Point) {
        if self.points.len() == Self::KEPT {
            self.points.pop_front();
        }
        // The way around takes no whole number of points: what is compared overlaps.
        let [before, last] = self.last;
        self.last = [last, point];
        self.points.push_back(Point::mean([before, last, point]).into());
        self.count += 1;
        self.state = match std::mem::replace(&mut self.state, State::Listening) {
            State::Listening if self.count.is_multiple_of(STRIDE) && self.is_suspicious() => {
                self.ask(0..2 * MAX_LAG + 1, 0.0)
            }
            State::Asking(asking) => self.compare(asking),
            state => state,
        };
    }

    fn ask(&mut self, half_lags: Range<usize>, evidence: f64) -> State {
        self.question = self.question.wrapping_add(1);
        State::Asking(Asking {
            asked_at: self.count,
            began: None,
            half_lags,
            best: None,
            evidence,
            unclear: false,
        })
    }

    /// Whether what is sent is loud enough and has followed what came out for a while.
    fn is_suspicious(&self) -> bool {
        let Some(start) = self.points.len().checked_sub(FOLLOWED) else { return false };
        let level = self.sent_level();
        let enough = if self.count < self.early_until { EARLY_LEVEL } else { LEVEL };
        let known =
            self.harmless.is_some_and(|(harmless, until)| self.count < until && level < LOUDER * harmless);
        // `!(a >= b)` would be true of what is no number.
        if known || level.is_nan() || level < enough {
            return false;
        }
        (0..=MAX_LAG.min(start)).any(|lag| {
            let (mean, deviation) = self.likeness(start - lag..self.points.len() - lag, 2 * lag);
            deviation < LOOSE && mean.exp() * self.way_gain() > LOOP_GAIN
        })
    }

    /// Mean square of what was sent lately.
    fn sent_level(&self) -> f32 {
        let recent = self.points.iter().rev().take(FOLLOWED);
        recent.map(|point| point.sent).sum::<f32>() / FOLLOWED as f32
    }

    fn way_gain(&self) -> f64 {
        self.points.back().map_or(0.0, |point| point.way)
    }

    /// How much louder the input is than the output was `half_lag` half points before, for the outputs in `range`, in
    /// nepers: mean and standard deviation.
    fn likeness(&self, range: Range<usize>, half_lag: usize) -> (f64, f64) {
        let length = range.len() as f64;
        let (sum, squares) = range.fold((0.0, 0.0), |(sum, squares), index| {
            let ratio = self.ratio(index, half_lag);
            (sum + ratio, squares + ratio * ratio)
        });
        let mean = sum / length;
        (mean, (squares / length - mean * mean).max(0.0).sqrt())
    }

    /// How much louder the input is than the output was `half_lag` half points before, at index `index`, in nepers.
    fn ratio(&self, index: usize, half_lag: usize) -> f64 {
        let output = self.between(index, half_lag, |point| point.output);
        self.points[index + half_lag.div_ceil(2)].input - output
    }

    /// A value at index `index`, or half a point after it where `half_lag` is odd.
    fn between(&self, index: usize, half_lag: usize, value: impl Fn(&Heard) -> f64) -> f64 {
        let next = index + half_lag % 2;
        0.5 * (value(&self.points[index]) + value(&self.points[next]))
    }

    /// Looks for the pattern in what came in, at every lag that has passed by now.
    fn compare(&mut self, mut asking: Asking) -> State {
        let oldest = self.count - self.points.len() as u64;
        asking.began = asking.began.or_else(|| self.pattern_start(asking.asked_at));
        let Some(began) = asking.began else {
            let lost = self.count - asking.asked_at > NO_ANSWER;
            return if lost { State::Listening } else { State::Asking(asking) };
        };
        let Some(first) = began.checked_sub(oldest + PADDING as u64) else { return State::Listening };
        let range = first as usize..first as usize + PATTERN_POINTS + 2 * PADDING;
        let lags = &mut asking.half_lags;
        while lags.start < lags.end && range.end + lags.start.div_ceil(2) <= self.points.len() {
            let half_lag = lags.start;
            lags.start += 1;
            let answer = self.answer(range.clone(), half_lag);
            let grows = answer.follows() && answer.gain * self.way_gain() > LOOP_GAIN;
            if grows && asking.best.is_none_or(|(_, best)| answer.certainty() > best.certainty()) {
                asking.best = Some((half_lag, answer));
            }
            asking.unclear |= answer.may_follow();
        }
        let next = asking.half_lags.start;
        match asking.best {
            Some((best, answer)) if asking.half_lags.is_empty() || next > best + BEYOND => {
                let evidence = asking.evidence + answer.certainty().min(MOST_EVIDENCE);
                if evidence >= ENOUGH_EVIDENCE {
                    return State::Muted;
                }
                // From now on only what lies around here counts.
                return self.ask(best.saturating_sub(AROUND)..best + AROUND + 1, evidence);
            }
            _ if !asking.half_lags.is_empty() => return State::Asking(asking),
            _ => {}
        }
        let evidence = asking.evidence - MISSED;
        if evidence > 0.0 {
            let end = asking.half_lags.end;
            return self.ask(end.saturating_sub(2 * AROUND + 1)..end, evidence);
        }
        let unclear = asking.unclear || asking.evidence > 0.0;
        self.doubts = if unclear { (self.doubts + 1).min(MAX_DOUBTS) } else { 0 };
        let memory = if unclear { DOUBT << self.doubts } else { MEMORY };
        self.harmless = Some((self.sent_level(), self.count + memory));
        State::Listening
    }

    /// Number of the point at which the pattern's first soft part begins minus those before it: where the pattern
    /// itself begins.
    fn pattern_start(&self, asked_at: u64) -> Option<u64> {
        let oldest = self.count - self.points.len() as u64;
        let from = asked_at.saturating_sub(oldest) as usize;
        let soft = self.points.iter().skip(from).position(|point| point.pattern < 0.0)?;
        let before = PATTERNS[self.question as usize % PATTERNS.len()].iter().position(|soft| *soft)?;
        (oldest + (from + soft) as u64).checked_sub((before * CHIP_POINTS) as u64)
    }

    /// Explains how much louder the input is than the output was by the pattern and a steady change.
    fn answer(&self, range: Range<usize>, half_lag: usize) -> Answer {
        let length = range.len() as f64;
        let values = || {
            range.clone().enumerate().map(|(position, index)| {
                let time = position as f64 - 0.5 * (length - 1.0);
                let pattern = self.between(index, half_lag, |point| point.pattern);
                (time, pattern, self.ratio(index, half_lag))
            })
        };
        let mean = |value: &dyn Fn((f64, f64, f64)) -> f64| values().map(value).sum::<f64>() / length;
        let (pattern_mean, ratio_mean) = (mean(&|(_, pattern, _)| pattern), mean(&|(_, _, ratio)| ratio));
        let time_squares = mean(&|(time, ..)| time * time);
        let pattern_slope = mean(&|(time, pattern, _)| time * (pattern - pattern_mean)) / time_squares;
        let ratio_slope = mean(&|(time, _, ratio)| time * (ratio - ratio_mean)) / time_squares;
        let rest = |(time, pattern, ratio): (f64, f64, f64)| {
            (pattern - pattern_mean - pattern_slope * time, ratio - ratio_mean - ratio_slope * time)
        };
        let patterns = mean(&|value| rest(value).0.powi(2));
        let ratios = mean(&|value| rest(value).1.powi(2));
        let both = mean(&|value| rest(value).0 * rest(value).1);
        let share = both / patterns;
        let error = ((ratios - share * both).max(0.0) / (patterns * INDEPENDENT * length)).sqrt();
        Answer { share, error, gain: (ratio_mean - share * pattern_mean).exp() }
    }
}

/// How the input took the pattern.
#[derive(Clone, Copy, Debug)]
struct Answer {
    /// How much of the pattern is in the input: 1 where the output is all that it gets.
    share: f64,
    /// Standard error of that.
    error: f64,
    /// From the output to the input, linear.
    gain: f64,
}

impl Answer {
    /// How many times its own error the share is.
    fn certainty(self) -> f64 {
        self.share / self.error
    }

    fn follows(self) -> bool {
        (0.5..1.6).contains(&self.share) && self.certainty() > CERTAIN
    }

    /// It cannot be ruled out; true of what is no number, too.
    fn may_follow(self) -> bool {
        let most = self.share + self.error;
        most.is_nan() || most > 0.6
    }
}

#[cfg(test)]
mod tests {
    use rtrb::{Consumer, RingBuffer};

    use super::*;

    /// A plugin whose return is what was sent a while before, and whose input gets `gain` of its output.
    struct Loop {
        ear: Ear,
        points: Consumer<Point>,
        guard: FeedbackGuard,
        sent: VecDeque<f32>,
        rate_hz: f64,
        gain: f32,
        noise: u32,
        echo: VecDeque<f32>,
    }

    impl Loop {
        fn new(rate_hz: f64, gain: f32) -> Self {
            let (points_in, points) = RingBuffer::new(RING_POINTS);
            let silence = |seconds: f64| vec![0.0; (seconds * rate_hz) as usize].into();
            Self {
                ear: Ear::new(points_in, rate_hz),
                points,
                guard: FeedbackGuard::default(),
                sent: silence(0.03),
                rate_hz,
                gain,
                noise: 1,
                echo: silence(0.01),
            }
        }

        /// Plays noise of `level` for `seconds`; tells the largest change that the ear made.
        fn play(&mut self, seconds: f64, level: f32) -> f32 {
            let mut change = 0.0_f32;
            for _ in 0..(seconds * self.rate_hz / 64.0) as usize {
                let mut input = [0.0; 128];
                let mut output = [0.0; 128];
                for index in 0..64 {
                    self.noise = self.noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let source = level * ((self.noise >> 8) as f32 / 8_388_608.0 - 1.0);
                    let sample = source + self.gain * self.echo.pop_front().expect("it holds 10 ms");
                    input[2 * index..2 * index + 2].fill(sample);
                    let send = if self.guard.is_muted() { 0.0 } else { sample.clamp(-1.0, 1.0) };
                    self.sent.push_back(send);
                    let back = self.sent.pop_front().expect("it holds 30 ms");
                    output[2 * index..2 * index + 2].fill(back);
                }
                let before = output;
                self.ear.ask(self.guard.question());
                self.ear.hear(&input, &mut output, 1.0, 1.0);
                change = before.iter().zip(&output).map(|(a, b)| (a - b).abs()).fold(change, f32::max);
                self.echo.extend(output.iter().step_by(2));
                while let Ok(point) = self.points.pop() {
                    self.guard.note(point);
                }
            }
            change
        }
    }

    #[test]
    fn a_loop_is_muted_at_any_rate() {
        for rate_hz in [44_100.0, 48_000.0, 192_000.0] {
            for gain in [1.0, 1.05, 3.0] {
                let mut way = Loop::new(rate_hz, gain);
                way.play(1.0, 0.05);
                way.play(4.0, 0.05);
                assert!(way.guard.is_muted(), "{rate_hz} Hz, gain {gain}");
            }
        }
    }

    #[test]
    fn what_dies_away_or_never_comes_back_is_not_muted() {
        for gain in [0.0, 0.3, 0.7] {
            let mut way = Loop::new(48_000.0, gain);
            way.play(60.0, 0.3);
            assert!(!way.guard.is_muted(), "gain {gain}");
        }
    }

    #[test]
    fn the_user_decides_when_to_send_again() {
        let mut way = Loop::new(48_000.0, 1.5);
        way.play(5.0, 0.05);
        assert!(way.guard.is_muted());
        way.gain = 0.0;
        way.play(5.0, 0.05);
        assert!(way.guard.is_muted());
        way.guard.restart();
        way.play(20.0, 0.05);
        assert!(!way.guard.is_muted());
        way.gain = 1.5;
        way.play(5.0, 0.05);
        assert!(way.guard.is_muted());
    }

    /// What is heard is changed only while there is a question, and few are asked about a tone that stays as it is.
    #[test]
    fn the_output_is_touched_rarely_and_by_no_more_than_the_pattern() {
        let mut way = Loop::new(48_000.0, 0.0);
        let change = way.play(20.0, 0.3);
        assert!(change > 0.0 && change <= 0.3 * (1.0 - SOFTER) + 1e-6, "{change}");
        let asked = way.guard.question();
        assert!(asked <= 8, "{asked} questions");
        assert_eq!(way.play(10.0, 0.001), 0.0, "nobody asks about a whisper");
    }

    #[test]
    fn garbage_harms_nothing() {
        let mut guard = FeedbackGuard::default();
        for (index, value) in
            [f32::NAN, f32::INFINITY, 0.0, -1.0, f32::MAX].iter().cycle().take(5000).enumerate()
        {
            let pattern = if index % 3 == 0 { *value } else { 0.8 };
            guard.note(Point { input: *value, output: *value, pattern, send: *value, back: *value });
        }
        assert!(!guard.is_muted());
    }
}
