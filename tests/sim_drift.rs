//! Hosts and servers whose clocks differ, on the virtual clock: nothing is ever slipped, repeated, dropped or made
//! up because of it, on our side, in our server's buffer or in a stock server's.

use std::cell::RefCell;
use std::f64::consts::TAU;
use std::fmt::Write;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use jamulet::audio::{DcBlocker, Decoder};
use jamulet::client::{FrameChoice, Settings, StreamSettings};
use jamulet::protocol::PacketLayout;
use jamulet::server::{Config, StreamCounters};
use jamulet::units::{FrameSize, Layout, Quality, StreamFormat, Time, WIRE_RATE_HZ};
use jamulet_testkit::chart::{self, Panel};
use jamulet_testkit::netem::{LinkConfig, SplitMix64};
use jamulet_testkit::signal;
use jamulet_testkit::sim::{Blocks, Jam, Musician, SERVER, Source, StockBuffer};

const WIRE_HZ: f64 = WIRE_RATE_HZ as f64;
const TONE_HZ: f64 = 1000.0;
const AMPLITUDE: f64 = 0.25;
/// After this long nothing may happen any more.
const SETTLING: Duration = Duration::from_secs(60);
/// As fractions.
const CENT: f64 = 577.8e-6;
const TENTH_OF_A_CENT: f64 = 57.8e-6;
/// What a stock server's automatic size is in a network without jitter is 2 or 3; this is little more.
const STOCK_FRAMES: usize = 4;
/// Pitch is measured over windows of this length.
const WINDOW_SECONDS: f64 = 0.1;

/// One host.
#[derive(Clone, Copy, Debug)]
struct Case {
    rate_hz: f64,
    block: usize,
    /// How much faster the host's clock is than it says …
    host_ppm: f64,
    /// … and the server's.
    server_ppm: f64,
    jitter: Duration,
}

/// One second of a case.
struct Reading {
    drift_ppm: Option<f64>,
    /// Frames in our buffer beyond its target.
    surplus: Option<f64>,
    /// Frames that we have sent beyond the server's ticks.
    uplink_lead: f64,
}

/// Follows the phase of a tone, window by window.
struct Phases {
    window: usize,
    /// Turns per sample.
    turns: f64,
    pending: Vec<f32>,
    samples: u64,
    last: Option<f64>,
    /// Deviation of the pitch in each window, as a fraction.
    deviations: Vec<f64>,
}

impl Phases {
    fn new(rate_hz: f64, tone_hz: f64) -> Self {
        let window = (rate_hz * WINDOW_SECONDS) as usize;
        Self {
            window,
            turns: tone_hz / rate_hz,
            pending: Vec::new(),
            samples: 0,
            last: None,
            deviations: Vec::new(),
        }
    }

    fn push(&mut self, sound: &[f32]) {
        self.pending.extend_from_slice(sound);
        while self.pending.len() >= self.window {
            let rest = self.pending.split_off(self.window);
            let window = std::mem::replace(&mut self.pending, rest);
            self.measure(&window);
        }
    }

    fn measure(&mut self, window: &[f32]) {
        let (mut real, mut imaginary) = (0.0, 0.0);
        for (index, sample) in window.iter().enumerate() {
            let angle = TAU * ((self.samples + index as u64) as f64 * self.turns).fract();
            let hann = 0.5 - 0.5 * (TAU * (index as f64 + 0.5) / self.window as f64).cos();
            real += hann * f64::from(*sample) * angle.cos();
            imaginary -= hann * f64::from(*sample) * angle.sin();
        }
        self.samples += window.len() as u64;
        let phase = imaginary.atan2(real) / TAU;
        if let Some(last) = self.last.replace(phase) {
            let gained = (phase - last + 0.5).rem_euclid(1.0) - 0.5;
            self.deviations.push(gained / (self.turns * self.window as f64));
        }
    }

    /// Largest deviation from `wanted` after the settling.
    fn worst(&self, wanted: f64) -> f64 {
        let settled = (SETTLING.as_secs_f64() / WINDOW_SECONDS) as usize;
        let off = self.deviations[settled..].iter().map(|deviation| (deviation - wanted).abs());
        off.fold(0.0, f64::max)
    }
}

/// A stock server: its buffer for us, its clock, and a decoder.
struct StockEar {
    buffer: StockBuffer,
    decoder: Decoder,
    layout: PacketLayout,
    tick_micros: f64,
    started: Option<Time>,
    ticks: u64,
    last_played: Option<u8>,
    newest: Option<u8>,
    sent: i64,
    phases: Phases,
    /// Frames sent beyond the ticks, as seen on arrival since it was last asked.
    leads: Vec<f64>,
    /// Ticks without a frame, and frames that were left out or repeated, after the settling.
    blemishes: usize,
}

impl StockEar {
    fn new(format: StreamFormat, case: Case) -> Self {
        Self {
            buffer: StockBuffer::new(STOCK_FRAMES),
            decoder: Decoder::new(format).expect("a stock format"),
            layout: PacketLayout { format, block_factor: 1, counter: true },
            tick_micros: format.frame.samples() as f64 * 1e6 / WIRE_HZ / (1.0 + case.server_ppm * 1e-6),
            started: None,
            ticks: 0,
            last_played: None,
            newest: None,
            sent: 0,
            phases: Phases::new(WIRE_HZ, TONE_HZ),
            leads: Vec::new(),
            blemishes: 0,
        }
    }

    fn packet(&mut self, now: Time, packet: &[u8]) {
        let Some(frames) = self.layout.frames(packet) else { return };
        // The ticks lie anywhere beside the first packet.
        let started = *self.started.get_or_insert(now + Duration::from_micros(1300));
        while started + Duration::from_micros((self.ticks as f64 * self.tick_micros) as u64) <= now {
            self.tick();
        }
        for (frame, counter) in frames {
            let counter = counter.expect("this layout has one");
            let ahead = self.newest.replace(counter).map_or(1, |newest| counter.wrapping_sub(newest));
            self.sent += i64::from(ahead);
            let mut tagged = vec![counter];
            tagged.extend_from_slice(frame);
            self.buffer.put(counter, &tagged);
            self.leads.push(self.sent as f64 - now.since(started).as_micros() as f64 / self.tick_micros);
        }
    }

    fn tick(&mut self) {
        self.ticks += 1;
        let frame = self.buffer.get();
        let counter = frame.as_ref().map(|frame| frame[0]);
        let expected = self.last_played.map(|last| last.wrapping_add(1));
        if self.ticks as f64 * self.tick_micros > SETTLING.as_micros() as f64 {
            self.blemishes += usize::from(counter != expected);
        }
        self.last_played = counter;
        let mut pcm = [0.0; 256];
        let pcm = &mut pcm[..2 * self.layout.format.frame.samples()];
        self.decoder.decode(frame.as_ref().map(|frame| &frame[1..]), pcm);
        let left: Vec<f32> = pcm.iter().step_by(2).copied().collect();
        self.phases.push(&left);
    }

    /// The mean since the last call.
    fn take_lead(&mut self) -> f64 {
        let leads = std::mem::take(&mut self.leads);
        leads.iter().sum::<f64>() / leads.len().max(1) as f64
    }
}

fn tone(rate_hz: f64) -> Source {
    Box::new(move |index| {
        let turns = (TONE_HZ * index as f64 / rate_hz).fract();
        [(AMPLITUDE * (turns * TAU).sin()) as f32; 2]
    })
}

/// A host on a server, and what it sends: raw sound, so that neither codec noise nor its cost hides anything; the
/// clocks do not know.
fn jam(case: Case, source: Source) -> (Jam, StreamFormat) {
    jam_of_blocks(case, Blocks::Constant(case.block), source)
}

fn jam_of_blocks(case: Case, blocks: Blocks, source: Source) -> (Jam, StreamFormat) {
    let short = case.block <= 64;
    let frame = if short { FrameChoice::Samples64 } else { FrameChoice::Samples128 };
    let stream = StreamSettings { quality: Quality::Max, layout: Layout::Stereo, frame };
    let frame = if short { FrameSize::Samples64 } else { FrameSize::Samples128 };
    let mut jam = Jam::new(Config { frame, ..Config::default() }, 1);
    jam.set_server_clock(case.server_ppm);
    let link = LinkConfig { delay: Duration::from_millis(5), jitter: case.jitter, ..LinkConfig::default() };
    let (address, settings) = (([192, 0, 2, 9], 50_000).into(), Settings { stream, ..Settings::default() });
    let musician = Musician::new(address, settings, case.rate_hz, blocks, source, link, 7);
    let musician = musician.with_clock(case.host_ppm);
    musician.handle.connect(SERVER);
    jam.musicians.push(musician);
    (jam, StreamFormat::stock(frame, stream.layout, stream.quality))
}

/// What our server counts beyond frames received.
fn server_counters(jam: &mut Jam) -> StreamCounters {
    let now = jam.now;
    StreamCounters { received: 0, ..jam.server.status(now).clients[0].stream }
}

/// Plays for `duration`, checks everything, and tells what was seen second by second.
fn play(case: Case, duration: Duration) -> Vec<Reading> {
    const STEP: Duration = Duration::from_secs(1);
    let (mut jam, format) = jam(case, tone(case.rate_hz));
    let ear = Rc::new(RefCell::new(StockEar::new(format, case)));
    let listener = Rc::clone(&ear);
    jam.tap = Some(Box::new(move |now, _, packet| listener.borrow_mut().packet(now, packet)));

    let mut heard = Phases::new(case.rate_hz, TONE_HZ);
    let (mut readings, mut settled) = (Vec::new(), None);
    for second in 0..duration.as_secs() {
        jam.run(STEP);
        let [left, right] = &mut jam.musicians[0].heard;
        heard.push(left);
        left.clear();
        right.clear();
        let snapshot = jam.musicians[0].handle.snapshot();
        readings.push(Reading {
            drift_ppm: snapshot.drift_ppm.map(f64::from),
            surplus: snapshot.client_surplus_frames.map(f64::from),
            uplink_lead: ear.borrow_mut().take_lead(),
        });
        let counters = (
            snapshot.stats.lost,
            snapshot.stats.late,
            snapshot.stats.concealed,
            snapshot.stats.slipped,
            server_counters(&mut jam),
        );
        if second + 1 == SETTLING.as_secs() {
            println!("{case:?}: settled with {counters:?}");
            settled = Some(counters);
        }
        if let Some(settled) = settled {
            assert_eq!(counters, settled, "{case:?}: in second {second}");
        }
    }
    let ear = ear.borrow();
    let steered = jam.musicians[0].most_steered;
    assert!(steered < CENT, "{case:?}: the pitch was bent by {:.0} ppm", 1e6 * steered);
    check(case, &readings, heard.worst(0.0), ear.phases.worst(pitch_at_server(case)), ear.blemishes);
    readings
}

/// A host whose clock is fast plays higher than it thinks, as does a server's that is slow.
fn pitch_at_server(case: Case) -> f64 {
    (1.0 + case.host_ppm * 1e-6) / (1.0 + case.server_ppm * 1e-6) - 1.0
}

fn check(case: Case, readings: &[Reading], heard_off: f64, stock_off: f64, blemishes: usize) {
    let settled = &readings[SETTLING.as_secs() as usize..];
    let surplus = settled.iter().map(|reading| reading.surplus.expect("frames come"));
    let surplus: Vec<f64> = surplus.collect();
    let lead = settled[0].uplink_lead;
    let wander = settled.iter().map(|reading| (reading.uplink_lead - lead).abs()).fold(0.0, f64::max);
    let (least, most) = surplus
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), now| (least.min(*now), most.max(*now)));
    let measured = settled.iter().map(|reading| reading.drift_ppm.expect("measured by now"));
    let ppm = -1e6 * pitch_at_server(case) / (1.0 + pitch_at_server(case));
    let measured_off = measured.map(|measured| (measured - ppm).abs()).fold(0.0, f64::max);
    println!(
        "{case:?}: pitch off by at most {:.2} ppm heard, {:.2} ppm at the server; fill {least:+.2} … {most:+.2}, uplink \
         ±{wander:.3} frames; drift measured within {measured_off:.3} ppm; {blemishes} blemishes",
        1e6 * heard_off,
        1e6 * stock_off
    );
    assert_eq!(blemishes, 0, "{case:?}: in a stock server's buffer");
    assert!(heard_off < TENTH_OF_A_CENT, "{case:?}: {:.1} ppm off", 1e6 * heard_off);
    assert!(stock_off < TENTH_OF_A_CENT, "{case:?}: {:.1} ppm off at the server", 1e6 * stock_off);
    assert!(least >= -1.0 && most <= 1.0, "{case:?}: fill {least:+.2} … {most:+.2}");
    assert!(wander < 0.5, "{case:?}: the uplink wanders by {wander:.2} frames");
}

fn cases(rate_hz: f64, blocks: &[usize]) -> Vec<Case> {
    let ppm = [-300.0, -100.0, -20.0, 20.0, 100.0, 300.0];
    let with = |block: usize, host_ppm: f64| Case {
        rate_hz,
        block,
        host_ppm,
        server_ppm: 0.0,
        jitter: Duration::ZERO,
    };
    blocks.iter().flat_map(|block| ppm.map(|host_ppm| with(*block, host_ppm))).collect()
}

/// Long enough for frames and blocks to wander once past each other at 20 ppm.
const SHORT: Duration = Duration::from_secs(200);

#[test]
fn hosts_at_48000_of_64() {
    cases(48_000.0, &[64]).into_iter().for_each(|case| drop(play(case, SHORT)));
}

#[test]
fn hosts_at_48000_of_512_and_1024() {
    cases(48_000.0, &[512, 1024]).into_iter().for_each(|case| drop(play(case, SHORT)));
}

#[test]
fn hosts_at_44100_of_64() {
    cases(44_100.0, &[64]).into_iter().for_each(|case| drop(play(case, SHORT)));
}

#[test]
fn hosts_at_44100_of_512_and_1024() {
    cases(44_100.0, &[512, 1024]).into_iter().for_each(|case| drop(play(case, SHORT)));
}

#[test]
fn a_server_that_is_off_as_well() {
    let host =
        Case { rate_hz: 96_000.0, block: 128, host_ppm: 80.0, server_ppm: -80.0, jitter: Duration::ZERO };
    drop(play(host, SHORT));
    drop(play(Case { host_ppm: -150.0, server_ppm: 150.0, ..host }, SHORT));
}

/// Hosts that ask for another length each time, as some do around loops and automation.
#[test]
fn hosts_whose_blocks_vary() {
    for (host_ppm, max) in [(100.0, 512), (-100.0, 512), (100.0, 2048), (-100.0, 2048)] {
        let case = Case { rate_hz: 48_000.0, block: max, host_ppm, server_ppm: 0.0, jitter: Duration::ZERO };
        let blocks = Blocks::Varying { max, rng: SplitMix64::new(5) };
        let (mut jam, format) = jam_of_blocks(case, blocks, tone(case.rate_hz));
        let ear = Rc::new(RefCell::new(StockEar::new(format, case)));
        let listener = Rc::clone(&ear);
        jam.tap = Some(Box::new(move |now, _, packet| listener.borrow_mut().packet(now, packet)));
        jam.run(SETTLING);
        let counters = |jam: &mut Jam| {
            let stats = jam.musicians[0].handle.snapshot().stats;
            (stats.lost, stats.late, stats.concealed, stats.slipped, server_counters(jam))
        };
        let settled = counters(&mut jam);
        jam.run(SHORT - SETTLING);
        let (ear, heard) = (ear.borrow(), &jam.musicians[0].heard[0]);
        let mut phases = Phases::new(case.rate_hz, TONE_HZ);
        phases.push(heard);
        let off = [phases.worst(0.0), ear.phases.worst(pitch_at_server(case))].map(|off| 1e6 * off);
        let steered = jam.musicians[0].most_steered;
        println!(
            "{case:?}, varying: pitch off by {off:.2?} ppm, bent by {:.0} ppm at most, {} blemishes at the server",
            1e6 * steered,
            ear.blemishes
        );
        assert!(steered < CENT, "{case:?}: the pitch was bent by {:.0} ppm", 1e6 * steered);
        assert_eq!(counters(&mut jam), settled, "{case:?}: since it has settled");
        assert_eq!(ear.blemishes, 0, "{case:?}: in a stock server's buffer");
        assert!(off[0].max(off[1]) < 1e6 * TENTH_OF_A_CENT, "{case:?}: {off:?} ppm");
    }
}

/// A network's jitter moves buffers, but neither the measure nor what reaches the server on average.
#[test]
fn jitter_does_not_look_like_drift() {
    for (host_ppm, jitter_ms) in [(100.0, 3), (-300.0, 10), (0.0, 10)] {
        let case = Case {
            rate_hz: 48_000.0,
            block: 512,
            host_ppm,
            server_ppm: 0.0,
            jitter: Duration::from_millis(jitter_ms),
        };
        let (mut jam, format) = jam(case, tone(case.rate_hz));
        let ear = Rc::new(RefCell::new(StockEar::new(format, case)));
        let listener = Rc::clone(&ear);
        jam.tap = Some(Box::new(move |now, _, packet| listener.borrow_mut().packet(now, packet)));
        jam.run(SETTLING);
        ear.borrow_mut().take_lead();
        jam.run(Duration::from_secs(10));
        let lead = ear.borrow_mut().take_lead();
        for tens in 0..17 {
            jam.run(Duration::from_secs(10));
            let measured = jam.musicians[0].handle.snapshot().drift_ppm.expect("measured by now");
            let wander = ear.borrow_mut().take_lead() - lead;
            println!("{host_ppm} ppm, {jitter_ms} ms, {tens}: {measured:.2} ppm, uplink {wander:+.3} frames");
            assert!((f64::from(measured) + host_ppm).abs() < 10.0, "{case:?}: {measured} ppm measured");
            assert!(wander.abs() < 0.3, "{case:?}: the uplink wanders by {wander:.2} frames");
        }
    }
}

/// Where both clocks are the same, what comes back is what was sent, but for the wire's sixteen bits and what lies
/// below 1 Hz.
#[test]
fn equal_clocks_leave_the_sound_as_it_is() {
    const RATE_HZ: f64 = 48_000.0;
    let noise = signal::noise(5, 0.5, 48_000);
    let source = noise.clone();
    let case = Case { rate_hz: RATE_HZ, block: 128, host_ppm: 0.0, server_ppm: 0.0, jitter: Duration::ZERO };
    let (mut jam, _) = jam(case, Box::new(move |index| [source[(index % source.len() as u64) as usize]; 2]));
    jam.run(SETTLING);
    let snapshot = jam.musicians[0].handle.snapshot();
    assert!(snapshot.drift_ppm.expect("measured").abs() < 0.1, "{:?}", snapshot.drift_ppm);
    // The last ten seconds, seen from where the noise begins anew.
    let heard = &jam.musicians[0].heard[0][50 * noise.len()..];
    let delay = signal::delay(&noise, &heard[..2 * noise.len()], noise.len() - 1).expect("sound");
    let later = &heard[delay.samples..];
    let mut blockers = [DcBlocker::new(RATE_HZ); 2];
    let mut block =
        |sample: &f32| blockers.iter_mut().fold([*sample; 2], |pair, blocker| blocker.next(pair))[0];
    noise.iter().for_each(|sample| _ = block(sample));
    let blocked: Vec<f32> = noise.iter().map(block).collect();
    let worst = later.iter().zip(blocked.iter().cycle()).map(|(heard, sent)| (heard - sent).abs());
    let worst = worst.fold(0.0, f32::max);
    println!("delay {}, worst {:.3} steps of 16 bits", delay.samples, worst * 32_768.0);
    assert!(worst * 32_768.0 < 2.1, "{} steps of 16 bits", worst * 32_768.0);
}

/// One hour each: with `--full`. Where the environment names a folder in `JAMULET_DRIFT_PICTURE`, `drift.csv` and
/// `drift.png` are left there.
#[test]
#[ignore = "six hours of simulated time"]
fn an_hour_each() -> anyhow::Result<()> {
    const HOUR: Duration = Duration::from_secs(3600);
    let hours: Vec<(Case, Vec<Reading>)> = std::thread::scope(|scope| {
        let (first, second): (Vec<Case>, Vec<Case>) =
            cases(48_000.0, &[512]).into_iter().partition(|case| case.host_ppm < 0.0);
        let [first, second] = [first, second].map(|cases| {
            scope.spawn(move || cases.into_iter().map(|case| (case, play(case, HOUR))).collect::<Vec<_>>())
        });
        let join = |thread: std::thread::ScopedJoinHandle<'_, Vec<_>>| match thread.join() {
            Ok(hours) => hours,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        join(first).into_iter().chain(join(second)).collect()
    });
    if let Some(folder) = std::env::var_os("JAMULET_DRIFT_PICTURE") {
        draw(&hours, Path::new(&folder))?;
    }
    Ok(())
}

/// Drift as measured, our fill and the uplink's, over time.
fn draw(hours: &[(Case, Vec<Reading>)], folder: &Path) -> anyhow::Result<()> {
    let mut csv = "host_ppm,second,measured_ppm,fill_frames,uplink_frames\n".to_owned();
    for (case, readings) in hours {
        for (second, reading) in readings.iter().enumerate() {
            let ppm = reading.drift_ppm.map_or(String::new(), |ppm| format!("{ppm:.3}"));
            let fill = reading.surplus.map_or(String::new(), |fill| format!("{fill:.3}"));
            let lead = reading.uplink_lead - readings[readings.len() - 1].uplink_lead;
            writeln!(csv, "{},{second},{ppm},{fill},{lead:.3}", case.host_ppm)?;
        }
    }
    std::fs::write(folder.join("drift.csv"), csv)?;
    let curves = |value: &dyn Fn(&Reading) -> f64| -> Vec<Vec<f64>> {
        hours.iter().map(|(_, readings)| readings.iter().map(value).collect()).collect()
    };
    let leads = hours.iter().map(|(_, readings)| {
        let last = readings[readings.len() - 1].uplink_lead;
        readings.iter().map(|reading| reading.uplink_lead - last).collect()
    });
    let panels = [
        Panel {
            range: [-350.0, 350.0],
            grid: 100.0,
            curves: curves(&|reading| reading.drift_ppm.unwrap_or(0.0)),
        },
        Panel { range: [-1.5, 1.5], grid: 0.5, curves: curves(&|reading| reading.surplus.unwrap_or(0.0)) },
        Panel { range: [-1.5, 1.5], grid: 0.5, curves: leads.collect() },
    ];
    chart::save(&panels, 6, &folder.join("drift.png"))
}
