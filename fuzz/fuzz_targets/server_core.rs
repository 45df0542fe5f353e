//! A server core against four hostile peers: no panic, bounded datagrams, no deadline that spins.
#![no_main]

mod script;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use jamulet::server::{Config, Core};
use jamulet::units::{FrameSize, MAX_DATAGRAM_BYTES};
use libfuzzer_sys::fuzz_target;
use script::{Script, acknowledgement, stock_layout};

/// What each peer would acknowledge: the last message that came for it.
type Unacknowledged = BTreeMap<SocketAddr, Vec<u8>>;

fuzz_target!(|data: &[u8]| {
    let mut script = Script::new(data);
    let Some(seed) = script.byte() else { return };
    let frame = if seed & 1 == 0 { FrameSize::Samples128 } else { FrameSize::Samples64 };
    let config = Config { max_clients: 3, frame, welcome: Some("<b>Hi</b>".into()), ..Config::default() };
    let mut core = Core::new(Time::ZERO, config, u64::from(seed));
    let mut waiting = Unacknowledged::new();
    while step(&mut core, &mut script, &mut waiting).is_some() {
        core.handle_timeout(script.now);
        core.drain_transmits(|to, datagram| {
            assert!(datagram.len() <= MAX_DATAGRAM_BYTES);
            waiting.extend(acknowledgement(datagram).map(|acknowledgement| (to, acknowledgement)));
        });
        while core.poll_event().is_some() {}
        assert!(core.poll_timeout().is_none_or(|due| due > script.now), "a deadline that is always due");
    }
});

fn step(core: &mut Core, script: &mut Script<'_>, waiting: &mut Unacknowledged) -> Option<()> {
    let choice = script.byte()?;
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000 + u16::from(choice >> 6)));
    match choice % 16 {
        0..=3 => core.handle_datagram(script.now, peer, &script.frame()?),
        4 | 5 => core.handle_datagram(script.now, peer, &script.introduction()?),
        6 | 7 => core.handle_datagram(script.now, peer, &waiting.remove(&peer).unwrap_or_default()),
        8 | 9 => core.handle_datagram(script.now, peer, script.bytes()?),
        // Audio of some stock size, so that decoders and mixes get something to do.
        10..=12 => {
            let bytes = stock_layout(script.byte()?).packet_bytes();
            core.handle_datagram(script.now, peer, &vec![script.byte()?; bytes]);
        }
        13 | 14 => core.tick(),
        _ => script.pass_time()?,
    }
    Some(())
}
