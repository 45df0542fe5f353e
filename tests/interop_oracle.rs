//! The oracle itself: Debian's clients on Debian's server, judged by the harness that judges ours. When this
//! fails, the harness or the machine is wrong, not Jamulet.

#![cfg(target_os = "linux")]

use std::time::Duration;

use anyhow::Result;
use jamulet::units::Quality;
use jamulet_testkit::stock::unity::{Case, judge};
use jamulet_testkit::stock::{StockLayout, StockServer, StockSettings};

#[test]
fn stock_clients_hear_themselves_at_unity_on_a_stock_server() -> Result<()> {
    for (period, options) in [(128, &[][..]), (64, &["-F"][..])] {
        let servers: Vec<StockServer> = (0..9).map(|_| StockServer::start(options)).collect::<Result<_>>()?;
        let mut cases = Vec::new();
        for layout in [StockLayout::Mono, StockLayout::MonoInStereoOut, StockLayout::Stereo] {
            for quality in [Quality::Low, Quality::Normal, Quality::High] {
                let server = &servers[cases.len()];
                cases.push(Case {
                    name: format!("{layout:?} {quality:?}"),
                    address: server.address(),
                    server: server.process(),
                    settings: StockSettings { layout, quality, ..Default::default() },
                    settles: Duration::ZERO,
                });
            }
        }
        for verdict in judge(period, &cases)? {
            println!("{verdict}");
        }
    }
    Ok(())
}
