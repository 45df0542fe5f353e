//! The jitter buffer against simulated networks and hosts, on a virtual clock, from seeds.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use jamulet::audio::{BufferStats, JitterBuffer, Slot};
use jamulet::units::{BufferSize, FrameSize, Safety};

const FRAME: FrameSize = FrameSize::Samples128;
const FRAMES_PER_SECOND: usize = 375;

/// A window of the least size that keeps `depth` frames in hand before a get.
fn deep(depth: u8) -> BufferSize {
    BufferSize::Frames((2 * (depth - 1)).max(1))
}

/// Frames that a window keeps in hand before a get.
fn depth_of(window: u8) -> u8 {
    window / 2 + 1
}

/// A linear congruential generator: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// Uniform in 0..1.
    fn unit(&mut self) -> f64 {
        self.next() as f64 / (1u64 << 31) as f64
    }
}

/// A stream, a network and whoever pulls. All times are in frames.
struct Scene {
    frame: FrameSize,
    size: BufferSize,
    /// What the automatic size weighs more from a second on, ascending by second.
    safety: Vec<(f64, Safety)>,
    burst: f32,
    seconds: usize,
    /// When frame `n` is sent: `n · pace + phase`.
    phase: f64,
    pace: f64,
    /// Frames in a packet.
    factor: usize,
    /// On the way for this long; `None` = lost.
    network: Box<dyn FnMut(usize) -> Option<f64>>,
    /// Samples in the next block of the host. `None` = one frame per tick, without marking pulls.
    block: Option<Box<dyn FnMut() -> usize>>,
    host: Host,
}

/// When a host asks for its blocks.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Host {
    /// At the start of the time that the block lasts.
    Ahead,
    /// At its end.
    Behind,
    /// Ahead, but each block in three parts at the same time.
    Split,
}

impl Scene {
    fn new(size: BufferSize) -> Self {
        Self {
            frame: FRAME,
            size,
            safety: Vec::new(),
            burst: 1.0,
            seconds: 20,
            phase: 0.0,
            pace: 1.0,
            factor: 1,
            network: Box::new(|_| Some(0.0)),
            block: None,
            host: Host::Ahead,
        }
    }

    fn run(mut self) -> Course {
        let per_second = 48_000 / self.frame.samples();
        let total = self.seconds * per_second;
        let mut arrivals: Vec<(f64, usize)> = Vec::new();
        for packet in 0..total / self.factor {
            if let Some(delay) = (self.network)(packet * self.factor) {
                // A packet leaves when its last frame is complete.
                let sent = (packet * self.factor + self.factor - 1) as f64 * self.pace + self.phase;
                arrivals.extend((0..self.factor).map(|at| (sent + delay, packet * self.factor + at)));
            }
        }
        arrivals.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut arrivals = arrivals.into_iter().peekable();

        let mut buffer = JitterBuffer::new(self.frame, 256, 8);
        buffer.set_size(self.size);
        buffer.set_burst(self.burst);
        let mut course =
            Course { pulls: Vec::new(), per_second, stats: BufferStats::default(), depths: Vec::new() };
        let mut now = 0.0;
        let (mut needed, mut pulled) = (0.0, 0);
        let mut length = 0.0;
        let mut safety = self.safety.into_iter().peekable();
        while now < total as f64 {
            while let Some((_, safety)) = safety.next_if(|(second, _)| second * per_second as f64 <= now) {
                buffer.set_safety(safety);
            }
            if let Some(block) = &mut self.block {
                length = block() as f64 / self.frame.samples() as f64;
                if self.host == Host::Behind {
                    now += length;
                    if now > total as f64 {
                        break;
                    }
                }
            }
            while let Some((_, sequence)) = arrivals.next_if(|(time, _)| *time <= now) {
                buffer.put(sequence as i64, &(sequence as u64).to_le_bytes());
            }
            let parts = match (&self.block, self.host) {
                (None, _) => &[][..],
                (_, Host::Split) => &[0.5, 0.1, 0.4],
                _ => &[1.0],
            };
            for part in parts {
                needed += part * length;
                buffer.begin_pull();
                while (pulled as f64) < needed {
                    course.pull(now, &mut buffer);
                    pulled += 1;
                }
            }
            if parts.is_empty() {
                course.pull(now, &mut buffer);
                length = 1.0;
            }
            course.depths.push((now, depth_of(buffer.size_frames())));
            if self.host != Host::Behind {
                now += length;
            }
        }
        course.stats = buffer.stats();
        course
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Got {
    Frame(u64),
    Missing,
    Idle,
    Drop,
    Insert,
}

/// What came out.
struct Course {
    pulls: Vec<(f64, Got)>,
    per_second: usize,
    /// Frames in hand, as the size told means it.
    depths: Vec<(f64, u8)>,
    stats: BufferStats,
}

impl Course {
    fn pull(&mut self, now: f64, buffer: &mut JitterBuffer) {
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
        let got = match buffer.get() {
            Slot::Frame(bytes) => Got::Frame(number(bytes)),
            Slot::Missing => Got::Missing,
            Slot::Idle => Got::Idle,
            Slot::Drop(first, second) => {
                assert!(number(first) < number(second));
                Got::Drop
            }
            Slot::Insert(_) => Got::Insert,
        };
        self.pulls.push((now, got));
    }

    /// Pulls from `seconds` on.
    fn from(&self, seconds: f64) -> impl Iterator<Item = &(f64, Got)> {
        let start = seconds * self.per_second as f64;
        self.pulls.iter().filter(move |(time, _)| *time >= start)
    }

    fn count(&self, seconds: f64, what: impl Fn(Got) -> bool) -> usize {
        self.from(seconds).filter(|(_, got)| what(*got)).count()
    }

    fn missing(&self, seconds: f64) -> usize {
        self.count(seconds, |got| matches!(got, Got::Missing | Got::Idle))
    }

    fn slips(&self, seconds: f64) -> usize {
        self.count(seconds, |got| matches!(got, Got::Drop | Got::Insert))
    }

    /// Mean number of frames between sending and pulling.
    fn delay(&self, seconds: f64) -> f64 {
        let delays: Vec<f64> = self
            .from(seconds)
            .filter_map(
                |(time, got)| if let Got::Frame(number) = got { Some(time - *number as f64) } else { None },
            )
            .collect();
        delays.iter().sum::<f64>() / delays.len() as f64
    }

    fn depth_at(&self, seconds: f64) -> u8 {
        let time = seconds * self.per_second as f64;
        self.depths.iter().find(|(at, _)| *at >= time).unwrap().1
    }

    fn largest_depth(&self) -> u8 {
        self.depths.iter().map(|(_, size)| *size).max().unwrap()
    }
}

fn uniform_jitter(seed: u64, frames: f64) -> Box<dyn FnMut(usize) -> Option<f64>> {
    let mut random = Random(seed);
    Box::new(move |_| Some(random.unit() * frames))
}

#[test]
fn without_jitter_the_delay_is_half_the_window_whatever_the_phase() {
    for size in [1, 2, 3, 5, 10, 16, 20] {
        for step in 0..20 {
            let phase = 100.0 + f64::from(step) / 20.0 + 0.01;
            let course = Scene { phase, seconds: 4, ..Scene::new(BufferSize::Frames(size)) }.run();
            let wait = course.delay(1.0) - phase;
            let half = f64::from(size / 2);
            assert!(
                wait > half - 0.1 && wait <= half + 1.0 + 0.1,
                "size {size}, phase {phase}: waits {wait} frames"
            );
            assert_eq!(course.missing(1.0), 0, "size {size}, phase {phase}");
            assert_eq!(course.slips(0.0), 0, "size {size}, phase {phase}");
        }
    }
}

#[test]
fn a_bad_beginning_does_not_last() {
    // The first packets are held up (or arrive in a heap), as while a network wakes up.
    for size in [2, 4, 8] {
        for held in [0.0, 1.0, 3.0, 6.0] {
            for seed in 0..5 {
                let mut random = Random(seed);
                let jitter = move |n: usize| {
                    let early = if n < 5 { (held - n as f64).max(0.0) } else { 0.0 };
                    Some(early.max(random.unit() * 0.5))
                };
                let course =
                    Scene { phase: 50.3, seconds: 6, network: Box::new(jitter), ..Scene::new(deep(size)) }
                        .run();
                let wait = course.delay(50.3 / 375.0 + 0.5) - 50.3;
                assert!(
                    (wait - f64::from(size) + 0.5).abs() < 1.2,
                    "size {size}, held {held}, seed {seed}: waits {wait}"
                );
                assert_eq!(course.slips(1.0), 0, "size {size}, held {held}, seed {seed}");
            }
        }
    }
}

#[test]
fn a_changed_size_is_reached_by_slips() {
    let mut buffer = JitterBuffer::new(FRAME, 256, 8);
    buffer.set_size(BufferSize::Frames(18));
    let mut sent = 0i64;
    let mut delays = Vec::new();
    for (size, seconds) in [(18, 2), (4, 3), (20, 4), (19, 3)] {
        buffer.set_size(BufferSize::Frames(size));
        for _ in 0..seconds * FRAMES_PER_SECOND {
            buffer.put(sent, &sent.to_le_bytes());
            sent += 1;
            if let Slot::Frame(bytes) = buffer.get() {
                delays.push(sent - i64::from_le_bytes(bytes.try_into().unwrap()));
            }
        }
        assert_eq!(delays.last(), Some(&i64::from(depth_of(size))), "one put before each get: fill = delay");
    }
    assert_eq!(buffer.stats().slipped, 7 + 8 + 1);
    assert_eq!(buffer.stats().concealed, 0);
}

#[test]
fn clocks_that_drift_cost_one_slip_per_frame_of_drift() {
    for (pace, size) in [(1.0002, 3), (0.9998, 3), (1.0002, 2), (0.9998, 2)] {
        let course = Scene { pace, seconds: 100, phase: 10.5, ..Scene::new(deep(size)) }.run();
        assert_eq!(course.missing(1.0), 0, "pace {pace}, size {size}: {:?}", course.stats);
        let drift = 0.0002 * 99.0 * 375.0;
        let slips = course.slips(1.0) as f64;
        assert!((slips - drift).abs() <= 1.5, "pace {pace}: {slips} slips for {drift} frames");
    }
}

#[test]
fn large_host_blocks_never_run_dry() {
    for (samples, frames) in [(128, 1.0), (256, 2.0), (480, 3.75), (512, 4.0), (1024, 8.0), (4096, 32.0)] {
        for size in [1, 2, 4] {
            for step in 0..5 {
                let phase = 40.0 + f64::from(step) * 0.21 + 0.003;
                let course = Scene {
                    burst: frames,
                    phase,
                    block: Some(Box::new(move || samples)),
                    ..Scene::new(deep(size))
                }
                .run();
                // A size of 1 leaves nothing to spare where pulls are not whole frames.
                let missing = course.missing(1.0);
                let whole = samples % 128 == 0;
                assert!(
                    missing == 0 || (size == 1 && !whole),
                    "{samples} size {size} phase {phase}: {missing}"
                );
                if whole {
                    assert_eq!(course.slips(1.0), 0, "{samples} samples, size {size}, phase {phase}");
                }
                // Mean wait: half the block beyond the size.
                let extra = course.delay(1.0) - phase - (f64::from(frames) - 1.0) / 2.0;
                assert!(
                    extra > f64::from(size) - 1.7 && extra < f64::from(size) + 0.7,
                    "{samples} samples, size {size}, phase {phase}: {extra}"
                );
            }
        }
    }
}

#[test]
fn random_host_blocks_settle_and_do_not_hunt() {
    for (frame, host, size) in [FrameSize::Samples64, FrameSize::Samples128]
        .into_iter()
        .flat_map(|frame| [Host::Ahead, Host::Behind].map(|host| (frame, host)))
        .flat_map(|(frame, host)| [deep(3), BufferSize::Auto].map(|size| (frame, host, size)))
    {
        for seed in 0..8 {
            let mut random = Random(seed);
            let course = Scene {
                frame,
                host,
                burst: 4096.0 / frame.samples() as f32,
                phase: 40.0 + seed as f64 * 0.13,
                seconds: 60,
                block: Some(Box::new(move || 1 + random.next() as usize % 4096)),
                ..Scene::new(size)
            }
            .run();
            let what = format!("{frame:?}, {host:?}, {size:?}, seed {seed}");
            assert_eq!(course.missing(1.5), 0, "{what}: {:?}", course.stats);
            // The automatic size gives back two frames after the start.
            let slips = course.slips(5.0);
            assert!(slips <= 1, "{what}: {slips} slips");
        }
    }
}

#[test]
fn a_host_that_splits_its_blocks_gets_what_it_needs() {
    for (samples, largest) in [(512, 2.0), (1024, 4.0), (4096, 16.0)] {
        for size in [deep(2), BufferSize::Auto] {
            for seed in 0..4 {
                let course = Scene {
                    host: Host::Split,
                    burst: largest,
                    phase: 40.0 + seed as f64 * 0.29,
                    seconds: 30,
                    block: Some(Box::new(move || samples)),
                    ..Scene::new(size)
                }
                .run();
                let what = format!("{samples}, {size:?}, seed {seed}");
                println!("{what}: {:?}, size {}", course.stats, course.depth_at(29.0));
                assert_eq!(course.missing(5.0), 0, "{what}: {:?}", course.stats);
                // The automatic size grows at first, and gives back a frame per second.
                assert!(course.slips(20.0) <= 1, "{what}: {} slips", course.slips(20.0));
            }
        }
    }
}

#[test]
fn single_stalls_do_not_move_a_fixed_buffer() {
    // Every four seconds the network stands still for 30 ms.
    for (samples, frames) in [(128, 1.0), (256, 2.0), (480, 3.75), (1024, 8.0)] {
        let network = |n: usize| Some((11.25 - (n % 1500) as f64).max(0.0));
        let course = Scene {
            burst: frames,
            phase: 40.3,
            seconds: 60,
            network: Box::new(network),
            block: Some(Box::new(move || samples)),
            ..Scene::new(deep(3))
        }
        .run();
        println!("{samples}: {:?}", course.stats);
        assert!(course.slips(1.0) <= 2, "{samples}: {} slips", course.slips(1.0));
        assert!(course.missing(1.0) <= 15 * 12, "{samples}: {} missing", course.missing(1.0));
    }
}

#[test]
fn packets_of_several_frames_do_not_make_it_hunt() {
    for factor in [2, 4] {
        for seed in 0..4 {
            let course = Scene {
                factor,
                phase: 20.0 + seed as f64 * 0.27,
                network: uniform_jitter(seed, 0.2),
                ..Scene::new(BufferSize::Auto)
            }
            .run();
            assert_eq!(course.missing(2.0), 0, "factor {factor}: {:?}", course.stats);
            assert!(course.slips(5.0) <= 1, "factor {factor}: {} slips", course.slips(5.0));
            let size = course.depth_at(19.0);
            eprintln!("factor {factor}, seed {seed}: size {size}");
            assert!(size <= 3 + factor as u8 / 2, "factor {factor}: size {size}");
        }
    }
}

#[test]
fn automatic_size_without_jitter_becomes_small_and_stays() {
    for frame in [FrameSize::Samples64, FrameSize::Samples128] {
        for step in 0..10 {
            let course = Scene {
                frame,
                phase: 30.0 + f64::from(step) * 0.1,
                network: uniform_jitter(step as u64, 0.05),
                ..Scene::new(BufferSize::Auto)
            }
            .run();
            assert!(course.depth_at(8.0) <= 3, "{frame:?}, step {step}: {}", course.depth_at(8.0));
            assert_eq!(course.missing(1.0), 0, "{frame:?}, step {step}: {:?}", course.stats);
            assert!(course.slips(8.0) <= 1, "{frame:?}, step {step}: {} slips", course.slips(8.0));
        }
    }
}

#[test]
fn automatic_size_covers_jitter() {
    for seed in 0..6 {
        // 0..8 ms.
        let course = Scene {
            network: uniform_jitter(seed, 3.0),
            phase: 12.3,
            seconds: 60,
            ..Scene::new(BufferSize::Auto)
        }
        .run();
        let concealed = course.missing(3.0) as f64 / (57.0 * 375.0);
        let size = course.depth_at(59.0);
        eprintln!("jitter 8 ms: size {size}, {concealed:.5} concealed, {:?}", course.stats);
        assert!(concealed < 0.001, "{concealed} concealed");
        assert!((4..=6).contains(&size), "size {size}");
        assert!(course.slips(10.0) <= 12, "{} slips", course.slips(10.0));
    }
}

#[test]
fn automatic_size_covers_regular_stalls() {
    // Every second the network stands still for 20 ms.
    let network = |n: usize| Some((7.5 - (n % 375) as f64).max(0.0));
    let course =
        Scene { network: Box::new(network), phase: 3.4, seconds: 60, ..Scene::new(BufferSize::Auto) }.run();
    let size = course.depth_at(59.0);
    eprintln!("stalls: size {size}, {:?}", course.stats);
    assert!((8..=10).contains(&size), "size {size}");
    assert_eq!(course.missing(5.0), 0, "{:?}", course.stats);
}

#[test]
fn a_stall_beyond_help_does_not_make_it_deeper() {
    // Every ten seconds the network stands still for 150 ms, more than the largest buffer.
    let network = |n: usize| Some((56.0 - (n % 3750) as f64).max(0.0));
    let course =
        Scene { network: Box::new(network), phase: 3.4, seconds: 60, ..Scene::new(BufferSize::Auto) }.run();
    assert!(course.largest_depth() <= 4, "grew to {}", course.largest_depth());
    let missing = course.missing(1.0);
    assert!(missing <= 6 * 57, "{missing} missing: each stall costs no more than itself");
}

#[test]
fn a_longer_way_is_followed_quickly() {
    // After 10 s every packet takes 20 ms longer, after 30 s the short way is back.
    let network = |n: usize| Some(if (3750..11250).contains(&n) { 7.5 } else { 0.0 });
    for seed in 0..3 {
        let course = Scene {
            network: Box::new(network),
            phase: 3.1 + seed as f64 * 0.3,
            seconds: 60,
            ..Scene::new(BufferSize::Auto)
        }
        .run();
        assert!(course.missing(2.0) <= 20, "{} missing", course.missing(2.0));
        assert!(course.depth_at(29.0) <= 3, "{} frames on the long way", course.depth_at(29.0));
        assert!(course.depth_at(59.0) <= 3, "{} frames on the short way again", course.depth_at(59.0));
    }
}

#[test]
fn automatic_size_works_under_host_blocks() {
    for (samples, frames) in [(480, 3.75), (1024, 8.0), (4096, 32.0)] {
        for seed in 0..4 {
            let course = Scene {
                burst: frames,
                phase: 40.0 + seed as f64 * 0.29,
                seconds: 40,
                network: uniform_jitter(seed, 1.5),
                block: Some(Box::new(move || samples)),
                ..Scene::new(BufferSize::Auto)
            }
            .run();
            assert!(course.missing(5.0) <= 3, "{samples}: {} missing", course.missing(5.0));
            assert!(course.depth_at(39.0) <= 4, "{samples}: size {}", course.depth_at(39.0));
            assert!(course.slips(10.0) <= 8, "{samples}: {} slips", course.slips(10.0));
        }
    }
    // Blocks of any length up to 4096.
    for seed in 0..4 {
        let mut random = Random(seed);
        let course = Scene {
            burst: 32.0,
            phase: 40.0 + seed as f64 * 0.29,
            seconds: 60,
            network: uniform_jitter(seed, 1.5),
            block: Some(Box::new(move || 1 + random.next() as usize % 4096)),
            ..Scene::new(BufferSize::Auto)
        }
        .run();
        assert!(course.missing(5.0) <= 6, "{} missing", course.missing(5.0));
        assert!(course.depth_at(59.0) <= 4, "size {}", course.depth_at(59.0));
        assert!(course.slips(10.0) <= 8, "{} slips", course.slips(10.0));
    }
}

#[test]
fn loss_alone_does_not_make_it_deeper() {
    for seed in 0..4 {
        let mut random = Random(seed);
        let network = move |_| (random.unit() > 0.02).then_some(0.0);
        let course =
            Scene { network: Box::new(network), phase: 3.4, seconds: 60, ..Scene::new(BufferSize::Auto) }
                .run();
        assert!(course.largest_depth() <= 4, "grew to {}", course.largest_depth());
        assert!(course.depth_at(8.0) <= 3);
        assert_eq!(course.stats.late, 0);
        let lost = course.stats.lost as f64 / (60.0 * 375.0);
        assert!((lost - 0.02).abs() < 0.005, "{lost} lost");
        assert_eq!(course.stats.concealed, course.stats.lost);
    }
}

#[test]
fn a_late_frame_is_late_and_not_lost() {
    let mut buffer = JitterBuffer::new(FRAME, 256, 1);
    buffer.set_size(deep(1));
    for sequence in 0..10 {
        if sequence != 5 {
            buffer.put(sequence, &[0]);
        }
        buffer.get();
    }
    assert_eq!((buffer.stats().lost, buffer.stats().late), (1, 0));
    buffer.put(5, &[0]);
    buffer.put(5, &[0]);
    buffer.put(6, &[0]);
    assert_eq!((buffer.stats().lost, buffer.stats().late), (0, 1), "counted once; duplicates not at all");
    assert_eq!(buffer.stats().concealed, 1);
}

#[test]
fn a_stream_that_ends_becomes_idle_and_another_begins_anywhere() {
    for restart in [0i64, -100, -5000, 90, 300, 1 << 40, i64::MIN, i64::MAX - 400] {
        let mut buffer = JitterBuffer::new(FRAME, 256, 8);
        buffer.set_size(deep(3));
        let begin = 1000;
        for sequence in begin..begin + 500 {
            buffer.put(sequence, &sequence.to_le_bytes());
            buffer.get();
        }
        let before = buffer.stats();
        let silent = (0..200).take_while(|_| buffer.get() != Slot::Idle).count();
        assert!((60..90).contains(&silent), "{silent} frames until idle: about 200 ms");
        assert_eq!(buffer.stats().lost, before.lost, "what never was sent is not lost");
        let mut played = 0;
        for ahead in 0..300 {
            let sequence = restart + ahead;
            buffer.put(sequence, &sequence.to_le_bytes());
            if let Slot::Frame(bytes) = buffer.get() {
                assert_eq!(i64::from_le_bytes(bytes.try_into().unwrap()), sequence - 2);
                played += 1;
            }
        }
        assert_eq!(played, 298, "restart at {restart}");
    }
}

#[test]
fn a_jump_without_a_pause_is_survived() {
    for jump in [-2000i64, -255, -100, -20, 20, 100, 255, 300, 100_000] {
        let mut buffer = JitterBuffer::new(FRAME, 256, 8);
        buffer.set_size(deep(3));
        let mut sequence = 50_000;
        let mut good = 0;
        for step in 0..2000 {
            if step == 1000 {
                sequence += jump;
            }
            buffer.put(sequence, &sequence.to_le_bytes());
            good = if matches!(buffer.get(), Slot::Frame(_) | Slot::Drop(..)) { good + 1 } else { 0 };
            sequence += 1;
        }
        assert!(good > 600, "jump {jump}: only the last {good} of 1000 frames play");
    }
}

#[test]
fn after_our_own_pause_the_surplus_goes_at_once() {
    let mut buffer = JitterBuffer::new(FRAME, 256, 8);
    buffer.set_size(deep(4));
    let mut sequence = 0i64;
    for pause in [1, 100, 1, 300, 1, 5000, 1] {
        for _ in 0..pause {
            buffer.put(sequence, &sequence.to_le_bytes());
            sequence += 1;
        }
        let mut last = 0;
        for _ in 0..500 {
            buffer.put(sequence, &sequence.to_le_bytes());
            sequence += 1;
            if let Slot::Frame(bytes) = buffer.get() {
                last = i64::from_le_bytes(bytes.try_into().unwrap());
            }
        }
        assert!((3..=5).contains(&(sequence - last)), "after {pause}: {} behind", sequence - last);
    }
    assert!(buffer.stats().overflow > 5000);
}

#[test]
fn growing_blocks_cost_only_what_they_lack() {
    // A host whose blocks turn out longer and longer, told as they come.
    let mut buffer = JitterBuffer::new(FRAME, 256, 8);
    buffer.set_size(deep(2));
    let (mut sequence, mut last) = (0i64, -1);
    let mut gaps = 0;
    for burst in [1i64, 2, 5, 6, 9, 17, 20, 32] {
        for _ in 0..100 {
            buffer.set_burst(burst as f32);
            buffer.begin_pull();
            for _ in 0..burst {
                match buffer.get() {
                    Slot::Frame(bytes) => {
                        let played = i64::from_le_bytes(bytes.try_into().unwrap());
                        assert!(last == -1 || played == last + 1, "{played} after {last}");
                        last = played;
                    }
                    _ => gaps += 1,
                }
            }
            // Arrives while the block plays.
            for _ in 0..burst {
                buffer.put(sequence, &sequence.to_le_bytes());
                sequence += 1;
            }
        }
    }
    // The first frame's way, and the growth from 1 to 32.
    assert!((31..=36).contains(&gaps), "{gaps} gaps");
    assert_eq!(buffer.stats().lost, 0);
}

#[test]
fn a_changed_burst_is_reached_without_replaying() {
    let mut buffer = JitterBuffer::new(FRAME, 256, 8);
    buffer.set_size(deep(2));
    let mut sequence = 0i64;
    let mut last = -1;
    for burst in [1i64, 32, 4, 64, 1] {
        buffer.set_burst(burst as f32);
        for block in 0..60 {
            for _ in 0..burst {
                buffer.put(sequence, &sequence.to_le_bytes());
                sequence += 1;
            }
            buffer.begin_pull();
            for _ in 0..burst {
                if let Slot::Frame(bytes) = buffer.get() {
                    let played = i64::from_le_bytes(bytes.try_into().unwrap());
                    assert!(played > last, "frames never come twice");
                    last = played;
                } else {
                    assert!(block < 4, "burst {burst}: gap in block {block}");
                }
            }
        }
        assert_eq!(sequence - 1 - last, 1, "burst {burst}: one frame left after a pull");
    }
}

/// What the automatic size weighs more, from the least delay to the fewest dropouts.
fn safeties() -> impl Iterator<Item = Safety> {
    [0, 25, 50, 75, 100].into_iter().map(Safety::from_percent)
}

/// Jitter of up to 8 ms, a stall of 20 ms now and then, and 1 % loss.
fn rough_network(seed: u64) -> Box<dyn FnMut(usize) -> Option<f64>> {
    let (mut random, mut stall) = (Random(seed), 0.0f64);
    Box::new(move |_| {
        stall = if random.unit() < 0.0005 { 7.5 } else { (stall - 1.0).max(0.0) };
        let (jitter, lost) = (random.unit() * 3.0, random.unit() < 0.01);
        (!lost).then(|| jitter.max(stall))
    })
}

#[test]
fn more_safety_is_never_less_deep_and_conceals_less() {
    for seed in 0..8 {
        let courses: Vec<Course> = safeties()
            .map(|safety| {
                let scene = Scene {
                    network: rough_network(seed),
                    phase: 12.3,
                    seconds: 120,
                    safety: vec![(0.0, safety)],
                    ..Scene::new(BufferSize::Auto)
                };
                scene.run()
            })
            .collect();
        let depth = |course: &Course| {
            let settled = course.depths.iter().filter(|(time, _)| *time >= 60.0 * FRAMES_PER_SECOND as f64);
            let depths: Vec<f64> = settled.map(|(_, depth)| f64::from(*depth)).collect();
            depths.iter().sum::<f64>() / depths.len() as f64
        };
        let depths: Vec<f64> = courses.iter().map(depth).collect();
        let late: Vec<u64> = courses.iter().map(|course| course.stats.late).collect();
        eprintln!("seed {seed}: depths {depths:.2?}, late {late:?}");
        assert!(depths.is_sorted(), "seed {seed}: {depths:?}");
        assert!(depths[4] >= depths[2] + 0.5 && depths[2] >= depths[0] + 0.5, "seed {seed}: {depths:?}");
        assert!(late[4] <= late[2] && late[2] <= late[0], "seed {seed}: {late:?}");
    }
}

#[test]
fn a_single_stall_is_forgotten_sooner_with_less_safety() {
    // After 10 s the network stands still for 27 ms, once: no share of any memory forgives that many.
    let stall = |n: usize| Some(if n < 3750 { 0.0 } else { (3760.0 - n as f64).max(0.0) });
    for (safety, forgotten) in [(Safety::TIGHT, 16.5), (Safety::default(), 35.0)] {
        let scene = Scene {
            network: Box::new(stall),
            phase: 3.4,
            seconds: 60,
            safety: vec![(0.0, safety)],
            ..Scene::new(BufferSize::Auto)
        };
        let course = scene.run();
        assert!(course.depth_at(forgotten) <= 3, "{safety:?}: still {}", course.depth_at(forgotten));
    }
    let scene = Scene {
        network: Box::new(stall),
        phase: 3.4,
        seconds: 60,
        safety: vec![(0.0, Safety::SAFE)],
        ..Scene::new(BufferSize::Auto)
    };
    let course = scene.run();
    assert!(course.depth_at(59.0) >= 8, "safe has forgotten: {}", course.depth_at(59.0));
}

#[test]
fn a_change_of_safety_costs_slips_and_nothing_else() {
    for seed in 0..4 {
        // A stall of 20 ms, which safe remembers and tight does not; then a steady network.
        let network =
            |n: usize| Some(if (3750..3800).contains(&n) { (3757.0 - n as f64).max(0.0) } else { 0.0 });
        let toggles = (0..4)
            .map(|at| (20.0 + 8.0 * f64::from(at), if at % 2 == 0 { Safety::TIGHT } else { Safety::SAFE }));
        let course = Scene {
            network: Box::new(network),
            phase: 3.1 + seed as f64 * 0.23,
            seconds: 52,
            safety: toggles.collect(),
            ..Scene::new(BufferSize::Auto)
        }
        .run();
        let depths = [27.0, 35.0, 43.0, 51.0].map(|second| course.depth_at(second));
        eprintln!("seed {seed}: depths {depths:?}, {} slips", course.slips(20.0));
        assert!(depths[0] <= 3 && depths[2] <= 3, "tight: {depths:?}");
        assert!(depths[1] >= 7 && depths[3] >= 7, "safe: {depths:?}");
        assert_eq!(course.missing(15.0), 0, "concealed: {:?}", course.stats);
        let moved: u32 = depths.windows(2).map(|pair| u32::from(pair[0].abs_diff(pair[1]))).sum();
        assert!(course.slips(28.0) as u32 <= moved + 3, "{} slips for {moved}", course.slips(28.0));
    }
}
