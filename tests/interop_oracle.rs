//! The oracle itself: stock clients on a stock server, heard through the harness that judges ours.

use std::time::Duration;

use jamulet::units::Quality;
use jamulet_testkit::jack::{Part, Rig, StallWatch};
use jamulet_testkit::signal::{self, db, listen};
use jamulet_testkit::stock::{JackServer, StockClient, StockLayout, StockServer, StockSettings};

fn run(period: u32, fast: bool) {
    let jack = JackServer::start(period).unwrap();
    let options: &[&str] = if fast { &["-F"] } else { &[] };
    let mut peers = Vec::new();
    let mut parts = Vec::new();
    let seconds = 14;
    for layout in [StockLayout::Mono, StockLayout::Stereo] {
        for quality in [Quality::Low, Quality::Normal, Quality::High] {
            let server = StockServer::start(options).unwrap();
            let settings = StockSettings { layout, quality, ..Default::default() };
            let name = format!("{layout:?}{quality:?}");
            let client = StockClient::start(&jack, &name, server.address(), settings).unwrap();
            let low = signal::sine(440.0, 0.25, seconds * 48_000);
            let high = signal::sine(660.0, 0.25, seconds * 48_000);
            parts.push(Part { jack_name: client.jack_name().into(), play: [low, high] });
            peers.push((server, client, name));
        }
    }
    let rig = Rig::start(&jack, parts, seconds).unwrap();
    let watch = StallWatch::start(Duration::from_micros(u64::from(period) * 1_000_000 / 48_000)).unwrap();
    rig.wait_until(13 * 48_000).unwrap();
    let recording = rig.stop().unwrap();
    let stalls = watch.stop();
    println!(
        "period {period}: {} stalls, {} xruns {:?}",
        stalls.len(),
        recording.xruns.len(),
        &recording.xruns[..recording.xruns.len().min(10)]
    );
    for ((_, _, name), track) in peers.iter().zip(&recording.tracks) {
        for (side, heard) in ["L", "R"].iter().zip(track) {
            let heard = listen(&heard[6 * 48_000..], &[440.0, 660.0], 0.05);
            println!(
                "{name:12} {side} 440 {:+.3} dB {:.3} Hz, 660 {:+.3} dB {:.3} Hz residual {:.1} dB, {} disturbed {:?}",
                db(heard.amplitudes[0], 0.25),
                heard.frequencies_hz[0],
                db(heard.amplitudes[1], 0.25),
                heard.frequencies_hz[1],
                db(heard.residual_rms, 0.25),
                heard.disturbed.len(),
                &heard.disturbed[..heard.disturbed.len().min(6)]
            );
        }
    }
}

#[test]
fn stock_to_stock_128() {
    run(128, false);
}
#[test]
fn stock_to_stock_64() {
    run(64, true);
}
