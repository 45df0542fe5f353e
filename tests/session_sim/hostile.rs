//! Whatever arrives: no panic, and memory that stays bounded.

use std::time::Duration;

use jamulet::protocol::{Message, write_frame};
use jamulet::session::{ClientSession, Connection};
use jamulet::units::Time;
use jamulet_testkit::netem::SplitMix64;
use proptest::prelude::*;

use crate::model::{SERVER, config};

/// Both hold a few queued messages, the longest chat each: far below this.
const MOST_BYTES: usize = 2_000_000;

/// What somebody who knows the format may send: valid frames with any id, counter and body.
fn frame(id: u16, counter: u8, body: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    write_frame(id, counter, body, &mut datagram);
    datagram
}

fn datagrams() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        1u16, 10, 11, 13, 16, 18, 20, 21, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 1001, 1002,
        1006, 1013, 1015, 1018, 1021, 2001,
    ]);
    let id = prop_oneof![4 => known, 1 => any::<u16>()];
    let body = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        prop::collection::vec(0u8..4, 0..12),
        prop::collection::vec(any::<u8>(), 540..600),
    ];
    prop_oneof![
        8 => (id, any::<u8>(), body).prop_map(|(id, counter, body)| frame(id, counter, &body)),
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ]
}

/// Drains, and checks that one datagram never makes the session send more than a few.
fn drain(session: &mut ClientSession) -> usize {
    let sent = std::iter::from_fn(|| session.poll_transmit()).count();
    std::iter::from_fn(|| session.poll_event()).count() + sent
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_client_survives_any_sequence(
        steps in prop::collection::vec((datagrams(), 0u64..600_000), 1..80),
        begins_at in 0usize..4,
    ) {
        let mut now = Time::from_micros(5);
        let mut session = ClientSession::new(now, config());
        for (index, (datagram, pause)) in steps.into_iter().enumerate() {
            if index == begins_at {
                session.audio_sent(now);
            }
            session.handle_datagram(now, SERVER, &datagram);
            prop_assert!(drain(&mut session) <= 8);
            now += Duration::from_micros(pause);
            session.handle_timeout(now);
            prop_assert!(session.poll_timeout().is_none_or(|due| due > now));
            drain(&mut session);
        }
        let size = format!("{session:?}").len();
        prop_assert!(size < MOST_BYTES);
    }

    #[test]
    fn a_connection_survives_any_sequence(
        steps in prop::collection::vec((any::<u16>(), any::<u8>(), prop::collection::vec(any::<u8>(), 0..600)), 1..80),
    ) {
        let mut connection = Connection::new(Time::ZERO);
        for (id, counter, body) in steps {
            let frame = jamulet::protocol::Frame { id, counter, body: &body };
            if let Some(message) = connection.handle_frame(Time::ZERO, &frame) {
                connection.send(Time::ZERO, &message);
            }
        }
        prop_assert!(std::iter::from_fn(|| connection.poll_transmit()).count() <= 80);
    }
}

/// A server that asks without end and acknowledges nothing makes the client hold no more than one
/// of each answer.
#[test]
fn a_flood_of_requests_costs_bounded_memory() {
    let mut now = Time::ZERO;
    let mut session = ClientSession::new(now, config());
    session.audio_sent(now);
    let mut rng = SplitMix64::new(1);
    for i in 0..100_000u32 {
        let id = [11, 21, 23, 32, 34, 36, 24, 29, 2001][rng.below(9) as usize];
        let mut body = vec![0; rng.below(12) as usize];
        rng.fill(&mut body);
        session.handle_datagram(now, SERVER, &frame(id, i as u8, &body));
        session.chat(now, "and the user keeps typing");
        drain(&mut session);
        now += Duration::from_micros(100);
        session.handle_timeout(now);
    }
    let size = format!("{session:?}").len();
    assert!(size < 50_000, "{size} bytes of state");
}

/// The longest split message that never ends is bounded by the container's limits.
#[test]
fn endless_parts_cost_bounded_memory() {
    let mut connection = Connection::new(Time::ZERO);
    for i in 0..10_000u32 {
        let mut body = vec![24, 0, 36, (i % 36) as u8];
        body.extend([0xEE; 550]);
        let frame = jamulet::protocol::Frame { id: 2001, counter: i as u8, body: &body };
        connection.handle_frame(Time::from_micros(u64::from(i) * 10_000_000), &frame);
        while connection.poll_transmit().is_some() {}
    }
    assert!(format!("{connection:?}").len() < 150_000, "36 parts of 550 bytes, printed");
}

/// Neither does a peer that never acknowledges make the sender grow.
#[test]
fn a_peer_that_never_acknowledges_costs_bounded_memory() {
    let mut connection = Connection::new(Time::ZERO);
    for i in 0..100_000u32 {
        let message = match i % 3 {
            0 => Message::ChannelGain { channel: jamulet::units::ChannelId(i as u8), gain: 1 },
            1 => Message::ChannelPan { channel: jamulet::units::ChannelId(i as u8), pan: 1 },
            _ => Message::ChatText("x".repeat(1800)),
        };
        connection.send(Time::ZERO, &message);
    }
    assert!(format!("{connection:?}").len() < 300_000);
    assert!(connection.dropped() > 30_000);
}
