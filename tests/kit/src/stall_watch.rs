//! When the machine stood still under a test in real time.

#![expect(clippy::disallowed_methods, reason = "the machine's own time is what is watched")]

use std::net::{Ipv4Addr, UdpSocket};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::stock::{hurry, pin};

/// Longer than a datagram takes through the loopback of any machine that still runs.
const PATIENCE: Duration = Duration::from_secs(10);

/// Notices when the machine itself stumbles: one thread per processor that wants to run every millisecond,
/// as urgent as the peers, and to get a datagram through the loopback. It records where what is played was when
/// that took longer.
pub struct StallWatch {
    threads: Vec<JoinHandle<Vec<Range<usize>>>>,
    stop: Arc<AtomicBool>,
}

impl StallWatch {
    /// Starts to watch for delays of more than `tolerance`; `position` tells where in what is played one is.
    pub fn start(tolerance: Duration, position: impl Fn() -> usize + Clone + Send + 'static) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let processors = std::thread::available_parallelism()?.get();
        let mut threads = Vec::new();
        for processor in 0..processors {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            socket.connect(socket.local_addr()?)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            let (stop, position) = (Arc::clone(&stop), position.clone());
            let watch = move || watch(processor, &socket, tolerance, &position, &stop);
            threads.push(std::thread::Builder::new().name(format!("stalls {processor}")).spawn(watch)?);
        }
        Ok(Self { threads, stop })
    }

    /// Ends the watch; where the stalls were, as positions.
    ///
    /// JACK's own clock stands still while JACK is stalled, so the lengths are the clock's, not the world's.
    pub fn stop(self) -> Vec<Range<usize>> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    }
}

fn watch(
    processor: usize,
    loopback: &UdpSocket,
    tolerance: Duration,
    position: &impl Fn() -> usize,
    stop: &AtomicBool,
) -> Vec<Range<usize>> {
    const INTERVAL: Duration = Duration::from_millis(1);
    pin(0, processor);
    hurry(0);
    let mut stalls = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let start = position();
        let due = Instant::now() + INTERVAL;
        std::thread::sleep(INTERVAL);
        // A machine may run programs on time and yet let packets wait. Failing is a stall, too.
        let _ = loopback.send(&[0]).and_then(|_| loopback.recv(&mut [0]));
        if Instant::now() > due + tolerance {
            stalls.push(start..position());
        }
    }
    stalls
}
