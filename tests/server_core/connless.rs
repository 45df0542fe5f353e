//! What anyone may ask, and how often.

use std::net::SocketAddr;

use jamulet::protocol::{ConnlessMessage, Datagram, classify};
use jamulet::server::{Config, ToldFeatures};
use jamulet::units::{FrameSize, MAX_CHANNELS};

use super::world::{World, raw_mono};

fn ask(world: &mut World, question: &ConnlessMessage) -> Option<ConnlessMessage> {
    let stranger = SocketAddr::from(([198, 51, 100, 7], 40_000));
    world.strays.clear();
    world.send_from(stranger, &question.to_datagram());
    assert!(world.strays.len() <= 1);
    let (to, datagram) = world.strays.pop()?;
    assert_eq!(to, stranger);
    let Datagram::Frame(frame) = classify(&datagram) else { panic!("not a message") };
    Some(ConnlessMessage::parse(frame.id, frame.body).unwrap())
}

#[test]
fn strangers_are_answered() {
    let mut world = World::new(Config { welcome: Some("Grüße".to_owned()), ..Config::default() });
    world.join("Ann", raw_mono());
    let ping = ConnlessMessage::Ping { time_ms: 0xDEAD_BEEF };
    assert_eq!(ask(&mut world, &ping), Some(ping));
    assert_eq!(
        ask(&mut world, &ConnlessMessage::PingWithClients { time_ms: 5, clients: 77 }),
        Some(ConnlessMessage::PingWithClients { time_ms: 5, clients: 1 })
    );
    let Some(ConnlessMessage::VersionAndOs { version, .. }) =
        ask(&mut world, &ConnlessMessage::RequestVersionAndOs)
    else {
        panic!("no version")
    };
    assert!(version.starts_with("4.0.0"));
    let Some(ConnlessMessage::ClientList(list)) = ask(&mut world, &ConnlessMessage::RequestClientList) else {
        panic!("no list")
    };
    assert_eq!(list.iter().map(|entry| &entry.info.name[..]).collect::<Vec<_>>(), ["Ann"]);
    assert_eq!(
        ask(&mut world, &ConnlessMessage::RequestWelcomeMessage),
        Some(ConnlessMessage::WelcomeMessage("Grüße".to_owned()))
    );
    for silent in
        [ConnlessMessage::RequestServerList, ConnlessMessage::EmptyMessage, ConnlessMessage::Disconnection]
    {
        assert_eq!(ask(&mut world, &silent), None);
    }
    assert_eq!(world.core.clients(), 1, "a stranger's goodbye ends nobody's connection");
}

#[test]
fn features_are_what_the_server_does() {
    let features =
        |config: Config| match ask(&mut World::new(config), &ConnlessMessage::RequestServerFeatures) {
            Some(ConnlessMessage::ServerFeatures(bits)) => bits,
            other => panic!("{other:?}"),
        };
    let plain = Config { told: ToldFeatures::default(), ..Config::default() };
    assert_eq!(features(plain.clone()), 1 << 6);
    let told = ToldFeatures { ipv6: true, ..ToldFeatures::default() };
    let all = Config { frame: FrameSize::Samples64, welcome: Some("Hi".to_owned()), told, ..plain };
    assert_eq!(features(all), 1 | 1 << 5 | 1 << 6 | 1 << 8);
}

#[test]
fn long_answers_to_forged_questions_are_rationed() {
    let mut world = World::new(Config {
        max_clients: MAX_CHANNELS,
        welcome: Some("x".repeat(1800)),
        ..Config::default()
    });
    for index in 0..MAX_CHANNELS {
        let peer = world.add(&format!("Musician {index:3}"), raw_mono());
        world.send(peer, b"x");
    }
    let questions = [
        ConnlessMessage::RequestClientList.to_datagram(),
        ConnlessMessage::RequestWelcomeMessage.to_datagram(),
    ];
    for victim in 0..200u8 {
        for round in 0..200 {
            world.send_from(SocketAddr::from(([198, 51, 100, victim], 40_000)), &questions[round % 2]);
        }
    }
    let bytes: usize = world.strays.iter().map(|(_, datagram)| datagram.len()).sum();
    let one: usize = world
        .strays
        .iter()
        .filter(|(to, _)| to.ip() == world.strays[0].0.ip())
        .map(|(_, datagram)| datagram.len())
        .sum();
    assert!(bytes <= 256 << 10, "{bytes} bytes in one second");
    assert!(one <= 48 << 10, "{one} bytes to one address in one second");
    assert!(one > 10_000, "and some are answered");
}
