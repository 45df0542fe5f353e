//! A client session against a hostile server: no panic, bounded datagrams, no deadline that spins.
#![no_main]

mod script;

use std::net::{Ipv4Addr, SocketAddr};

use jamulet::protocol::ChannelInfo;
use jamulet::session::{ClientConfig, ClientSession};
use jamulet::units::{BufferSize, ChannelId, MAX_DATAGRAM_BYTES};
use libfuzzer_sys::fuzz_target;
use script::{Script, acknowledgement, stock_layout};

fuzz_target!(|data: &[u8]| {
    let mut script = Script::new(data);
    let mut session = ClientSession::new(script.now, config());
    let mut waiting = Vec::new();
    while step(&mut session, &mut script, &waiting).is_some() {
        drain(&mut session, &script, &mut waiting);
    }
});

fn server() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 22124).into()
}

fn config() -> ClientConfig {
    ClientConfig {
        server: server(),
        info: ChannelInfo { name: "Fuzz".into(), ..ChannelInfo::default() },
        layout: stock_layout(0),
        server_buffer: BufferSize::Auto,
    }
}

/// `waiting` is the acknowledgement that the session waits for.
fn step(session: &mut ClientSession, script: &mut Script<'_>, waiting: &[u8]) -> Option<()> {
    let now = script.now;
    match script.byte()? % 16 {
        0..=5 => {
            let datagram = script.frame()?;
            receive(session, script, &datagram);
        }
        6 => receive(session, script, waiting),
        7 => {
            let datagram = script.bytes()?;
            receive(session, script, datagram);
        }
        8 => receive(session, script, &vec![0; session.audio_layout().packet_bytes()]),
        9 => session.audio_sent(now),
        10 => session.set_layout(now, stock_layout(script.byte()?)),
        11 => session.set_gain(now, ChannelId(script.byte()?), f32::from(script.byte()?) / 128.0),
        12 => session.set_pan(now, ChannelId(script.byte()?), f32::from(script.byte()?) / 255.0),
        13 => session.chat(now, &String::from_utf8_lossy(script.bytes()?)),
        14 => session.set_server_buffer(now, BufferSize::Frames(script.byte()?)),
        _ if script.byte()? == 0 => session.leave(now),
        _ => script.pass_time()?,
    }
    Some(())
}

fn receive(session: &mut ClientSession, script: &Script<'_>, datagram: &[u8]) {
    if let Some(packet) = session.handle_datagram(script.now, server(), datagram) {
        assert!(session.audio_layout().frames(packet).is_some(), "audio of another layout");
    }
}

fn drain(session: &mut ClientSession, script: &Script<'_>, waiting: &mut Vec<u8>) {
    session.handle_timeout(script.now);
    while let Some(datagram) = session.poll_transmit() {
        assert!(datagram.len() <= MAX_DATAGRAM_BYTES);
        if let Some(acknowledgement) = acknowledgement(&datagram) {
            *waiting = acknowledgement;
        }
    }
    while session.poll_event().is_some() {}
    assert!(session.poll_timeout().is_none_or(|due| due > script.now), "a deadline that is always due");
}
