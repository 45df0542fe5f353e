//! A whole jam on a virtual clock: hosts, clients, network and server in one loop, from a seed.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use jamulet::client::{Controls, Effect, Engine, ExtraOutputs, Handle, Pump, Settings, simulated};
use jamulet::protocol::{Datagram, classify};
use jamulet::server::{Config, Core};
use jamulet::units::{Time, WIRE_RATE_HZ};

use crate::guard;
use crate::netem::{LinkConfig, Path, SplitMix64, earliest};

/// How many samples a host asks for at each call.
#[derive(Clone, Debug)]
pub enum Blocks {
    /// The same at every call.
    Constant(usize),
    /// Anything from 1 to `max`, new at every call.
    Varying {
        /// Longest block.
        max: usize,
        /// Where the lengths come from.
        rng: SplitMix64,
    },
}

impl Blocks {
    fn max(&self) -> usize {
        match self {
            Self::Constant(frames) => *frames,
            Self::Varying { max, .. } => *max,
        }
    }

    fn next(&mut self) -> usize {
        match self {
            Self::Constant(frames) => *frames,
            Self::Varying { max, rng } => 1 + rng.below(*max as u64) as usize,
        }
    }
}

/// What the track plays: stereo sample number `n` at the host's rate.
pub type Source = Box<dyn FnMut(u64) -> [f32; 2]>;

/// A DAW with our client on a track. It calls when the block's samples have been captured.
pub struct Musician {
    /// The window's end of the client.
    pub handle: Handle,
    /// What the track's output was, left and right, at the host's rate.
    pub heard: [Vec<f32>; 2],
    /// The plugin has its two extra outputs …
    pub multi: bool,
    /// … and this is what was in them: what came back, and "me, aligned".
    pub others: [Vec<f32>; 2],
    /// See `others`.
    pub aligned: [Vec<f32>; 2],
    /// The host calls `process()` only while this is set.
    pub host_runs: bool,
    /// How often the host calls at once, and how many blocks' time lies between: (1, 1) plays, (8, 8) works
    /// ahead, (50, 1) renders.
    pub calls: (usize, usize),
    /// How much of what was heard comes back into the input, linear: see [`Musician::with_loop`].
    pub loop_gain: f32,
    /// For the engine.
    pub controls: Controls,
    /// How far from nominal its resamplers ever ran, as a fraction.
    pub most_steered: f64,
    /// How often a name was looked up; every name leads to the server.
    pub lookups: usize,
    /// What was heard and has not come back yet.
    echo: VecDeque<[f32; 2]>,
    engine: Engine,
    pump: Pump,
    address: SocketAddr,
    /// The computer sleeps until then.
    wakes_at: Time,
    /// How far its clock is behind ours: some stand still while the computer sleeps.
    behind: Duration,
    path: Path,
    /// What the host says, and what its clock really runs at.
    nominal_hz: f64,
    rate_hz: f64,
    blocks: Blocks,
    source: Source,
    /// Samples of all blocks so far, and of the next one.
    captured: u64,
    /// Samples that the sound card has passed by.
    card: u64,
    next_block: usize,
}

impl Musician {
    /// A host at `rate_hz`, connected to the server by `link` in both directions.
    pub fn new(
        address: SocketAddr,
        settings: Settings,
        rate_hz: f64,
        mut blocks: Blocks,
        source: Source,
        link: LinkConfig,
        seed: u64,
    ) -> Self {
        let (handle, mut engine, pump) = simulated(settings);
        engine.prepare(rate_hz, blocks.max()).expect("a rate that can be resampled");
        let next_block = blocks.next();
        Self {
            handle,
            heard: [Vec::new(), Vec::new()],
            multi: false,
            others: Default::default(),
            aligned: Default::default(),
            host_runs: true,
            calls: (1, 1),
            loop_gain: 0.0,
            echo: vec![[0.0; 2]; blocks.max()].into(),
            controls: Controls::default(),
            most_steered: 0.0,
            lookups: 0,
            engine,
            pump,
            address,
            wakes_at: Time::ZERO,
            behind: Duration::ZERO,
            path: Path::new(link, seed),
            nominal_hz: rate_hz,
            rate_hz,
            blocks,
            source,
            captured: 0,
            card: 0,
            next_block,
        }
    }

    /// A host whose clock is faster than it says, by this many parts per million.
    pub fn with_clock(mut self, ppm: f64) -> Self {
        self.rate_hz *= 1.0 + ppm * 1e-6;
        self
    }

    /// What is heard comes back into the input, so much louder (linear) and so many samples later (beyond the longest
    /// block).
    pub fn with_loop(mut self, gain: f32, delay: usize) -> Self {
        self.loop_gain = gain;
        self.echo.extend(vec![[0.0; 2]; delay]);
        self
    }

    /// The host deactivates and activates the plugin again.
    pub fn reactivate(&mut self) {
        self.engine.prepare(self.nominal_hz, self.blocks.max()).expect("a rate that worked before");
        self.engine.reset();
    }

    /// The computer sleeps from `now` on: nothing runs, and what arrives is lost. Its clock goes on or stands still.
    pub fn sleep(&mut self, now: Time, duration: Duration, clock_stands: bool) {
        self.wakes_at = now + duration;
        if clock_stands {
            self.behind += duration;
        }
    }

    /// Another network from now on.
    pub fn set_link(&mut self, link: LinkConfig) {
        self.path.set_config(link);
    }

    fn next_call(&self) -> Time {
        let samples = self.card + (self.next_block * self.calls.1) as u64;
        Time::from_micros((samples as f64 * 1e6 / self.rate_hz).ceil() as u64)
    }

    fn poll_timeout(&self) -> Option<Time> {
        let timer = self.pump.poll_timeout().map(|timer| (timer + self.behind).max(self.wakes_at));
        earliest([Some(self.next_call()), timer, self.path.poll_timeout()])
    }

    /// The host's calls that are due, and everything that the client does of itself.
    fn run(&mut self, now: Time) {
        if now < self.wakes_at {
            while self.path.down.receive(now).is_some() {}
            while self.next_call() <= now {
                self.card += (self.next_block * self.calls.1) as u64;
            }
            return;
        }
        let (world, now) = (now, now - self.behind);
        self.pump.handle_commands(now);
        while let Some(Effect::Resolve { request, .. }) = self.pump.poll_effect() {
            self.lookups += 1;
            self.pump.handle_resolved(now, request, Some(vec![SERVER.parse().expect("a literal")]));
        }
        while let Some(datagram) = self.path.down.receive(world) {
            self.pump.handle_datagram(now, SERVER.parse().expect("a literal"), &datagram);
        }
        while self.next_call() <= world {
            self.card += (self.next_block * self.calls.1) as u64;
            for _ in 0..self.calls.0 {
                self.process();
                self.pump.handle_uplink(now);
            }
        }
        self.pump.handle_timeout(now);
        let up = &mut self.path.up;
        self.pump.drain_transmits(now, &mut |_, datagram| up.send(world, datagram.to_vec()));
        self.pump.publish();
    }

    fn process(&mut self) {
        let frames = std::mem::replace(&mut self.next_block, self.blocks.next());
        let (mut left, mut right): (Vec<f32>, Vec<f32>) =
            (0..frames as u64).map(|index| (self.source)(self.captured + index)).map(|[l, r]| (l, r)).unzip();
        self.captured += frames as u64;
        for (left, right) in left.iter_mut().zip(&mut right) {
            let [echo_left, echo_right] = self.echo.pop_front().unwrap_or_default();
            *left += self.loop_gain * echo_left;
            *right += self.loop_gain * echo_right;
        }
        if self.host_runs && self.multi {
            let silence = || vec![0.0; frames];
            let (mut others, mut aligned) = ([silence(), silence()], [silence(), silence()]);
            let extra = ExtraOutputs {
                others: others.each_mut().map(Vec::as_mut_slice),
                aligned: aligned.each_mut().map(Vec::as_mut_slice),
            };
            let (engine, controls) = (&mut self.engine, &self.controls);
            guard::watch(|| engine.process_multi(&mut [&mut left, &mut right], 2, extra, controls));
            for side in [0, 1] {
                self.others[side].extend_from_slice(&others[side]);
                self.aligned[side].extend_from_slice(&aligned[side]);
            }
        } else if self.host_runs {
            let (engine, controls) = (&mut self.engine, &self.controls);
            guard::watch(|| engine.process(&mut [&mut left, &mut right], 2, controls));
            self.most_steered = engine.steering().into_iter().map(f64::abs).fold(self.most_steered, f64::max);
        } else {
            left.fill(0.0);
            right.fill(0.0);
        }
        self.echo.extend(left.iter().zip(&right).map(|(left, right)| [*left, *right]));
        self.heard[0].extend(left);
        self.heard[1].extend(right);
    }
}

/// Sees what reaches the server: when, from whom, and what.
pub type Tap = Box<dyn FnMut(Time, SocketAddr, &[u8])>;

/// Changes audio packets on their way to musicians, as a hostile server would.
pub type Tamper = Box<dyn FnMut(&mut Vec<u8>)>;

/// Where the simulated server is.
pub const SERVER: &str = "192.0.2.1:22124";

/// A server and its musicians.
pub struct Jam {
    /// Now.
    pub now: Time,
    /// The mixer.
    pub server: Core,
    /// Everybody.
    pub musicians: Vec<Musician>,
    /// Sees every audio packet as it reaches the server.
    pub tap: Option<Tap>,
    /// Sees every message as it reaches the server, whole.
    pub message_tap: Option<Tap>,
    /// Changes every audio packet as it leaves the server.
    pub tamper: Option<Tamper>,
    tick_micros: f64,
    ticks: u64,
}

impl Jam {
    /// A server with nobody on it.
    pub fn new(config: Config, seed: u64) -> Self {
        let tick_micros = config.frame.samples() as f64 * 1e6 / f64::from(WIRE_RATE_HZ);
        Self {
            now: Time::ZERO,
            server: Core::new(Time::ZERO, config, seed),
            musicians: Vec::new(),
            tap: None,
            message_tap: None,
            tamper: None,
            tick_micros,
            ticks: 0,
        }
    }

    /// The server's clock is faster than it should be, by this many parts per million. To be set at the start.
    pub fn set_server_clock(&mut self, ppm: f64) {
        self.tick_micros /= 1.0 + ppm * 1e-6;
    }

    /// Goes on for `duration`.
    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let timeouts = self.musicians.iter().map(Musician::poll_timeout);
            let next = earliest(timeouts.chain([Some(self.next_tick()), self.server.poll_timeout()]));
            let next = next.map_or(end, |next| next.max(self.now));
            if next > end {
                break;
            }
            self.now = next;
            self.step();
        }
        self.now = end;
    }

    /// When the server mixes next.
    pub fn next_tick(&self) -> Time {
        Time::from_micros(((self.ticks + 1) as f64 * self.tick_micros) as u64)
    }

    fn step(&mut self) {
        let now = self.now;
        for musician in &mut self.musicians {
            musician.run(now);
            while let Some(datagram) = musician.path.up.receive(now) {
                match (classify(&datagram), &mut self.tap, &mut self.message_tap) {
                    (Datagram::Audio(packet), Some(tap), _) => tap(now, musician.address, packet),
                    (Datagram::Frame(_), _, Some(tap)) => tap(now, musician.address, &datagram),
                    _ => {}
                }
                self.server.handle_datagram(now, musician.address, &datagram);
            }
        }
        while self.next_tick() <= now {
            self.ticks += 1;
            self.server.tick();
        }
        if self.server.poll_timeout().is_some_and(|deadline| deadline <= now) {
            self.server.handle_timeout(now);
        }
        let (musicians, tamper) = (&mut self.musicians, &mut self.tamper);
        self.server.drain_transmits(|to, datagram| {
            if let Some(musician) = musicians.iter_mut().find(|musician| musician.address == to) {
                let mut datagram = datagram.to_vec();
                if let (Some(tamper), Datagram::Audio(_)) = (&mut *tamper, classify(&datagram)) {
                    tamper(&mut datagram);
                }
                musician.path.down.send(now, datagram);
            }
        });
    }
}

/// Jamulus's jitter buffer as docs/PROTOCOL.md §3 describes it: a window of N frames indexed by counter
/// that a frame outside of it moves, and from which one slot is taken per tick.
pub struct StockBuffer {
    slots: Vec<Option<Vec<u8>>>,
    first: u8,
}

impl StockBuffer {
    /// A window of `frames` frames.
    pub fn new(frames: usize) -> Self {
        Self { slots: vec![None; frames], first: 0 }
    }

    /// A frame has arrived.
    pub fn put(&mut self, counter: u8, frame: &[u8]) {
        let offset = isize::from(counter.wrapping_sub(self.first) as i8);
        let last = self.slots.len() as isize - 1;
        let moved = if offset < 0 { offset } else { (offset - last).max(0) };
        for _ in 0..moved.min(last + 1) {
            self.slots.remove(0);
            self.slots.push(None);
        }
        for _ in 0..(-moved).min(last + 1) {
            self.slots.pop();
            self.slots.insert(0, None);
        }
        self.first = self.first.wrapping_add(moved as u8);
        let index = usize::from(counter.wrapping_sub(self.first));
        self.slots[index] = Some(frame.to_vec());
    }

    /// The frame for this tick; `None` is to be concealed.
    pub fn get(&mut self) -> Option<Vec<u8>> {
        self.first = self.first.wrapping_add(1);
        let frame = self.slots.remove(0);
        self.slots.push(None);
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stock_buffer_plays_in_order_and_moves_its_window() {
        let mut buffer = StockBuffer::new(4);
        for counter in [250, 251, 253] {
            buffer.put(counter, &[counter]);
        }
        // The first frame became the window's last or first slot; order is kept in any case.
        let mut played: Vec<_> = (0..8).map(|_| buffer.get()).collect();
        played.dedup();
        assert_eq!(played.iter().flatten().map(|frame| frame[0]).collect::<Vec<_>>(), [250, 251, 253]);
        let mut buffer = StockBuffer::new(2);
        for counter in 10..20 {
            buffer.put(counter, &[counter]);
        }
        assert_eq!([buffer.get(), buffer.get(), buffer.get()], [Some(vec![18]), Some(vec![19]), None]);
    }
}
