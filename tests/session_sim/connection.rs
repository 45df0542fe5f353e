//! The reliable channel: its rules one by one, then all of them over a bad network.

use std::time::Duration;

use jamulet::protocol::{
    ACK_ID, Datagram, Frame, MAX_PART_BYTES, Message, SPLIT_ID, ack_body, classify, write_frame,
};
use jamulet::session::{Connection, MAX_QUEUED_CHATS, SPLIT_PATIENCE};
use jamulet::units::{ChannelId, RESEND_INTERVAL, Time};
use jamulet_testkit::netem::{LinkConfig, Path, SplitMix64, earliest};

const START: Time = Time::ZERO;
const MICRO: Duration = Duration::from_micros(1);

pub(crate) fn chat(text: &str) -> Message {
    Message::ChatText(text.to_owned())
}

fn gain(channel: u8, gain: u16) -> Message {
    Message::ChannelGain { channel: ChannelId(channel), gain }
}

/// What the connection sends now, as (id, counter, body).
fn sent(connection: &mut Connection) -> Vec<(u16, u8, Vec<u8>)> {
    std::iter::from_fn(|| connection.poll_transmit())
        .map(|datagram| match classify(&datagram) {
            Datagram::Frame(frame) => (frame.id, frame.counter, frame.body.to_vec()),
            Datagram::Audio(_) => panic!("a connection sends frames only"),
        })
        .collect()
}

/// Ids and counters of what the connection sends now.
fn sent_numbers(connection: &mut Connection) -> Vec<(u16, u8)> {
    sent(connection).into_iter().map(|(id, counter, _)| (id, counter)).collect()
}

fn ack(connection: &mut Connection, now: Time, id: u16, counter: u8) {
    connection.handle_frame(now, &Frame { id: ACK_ID, counter, body: &ack_body(id) });
}

/// Acknowledges everything until nothing is left, and returns the messages' bodies by id.
fn drain(connection: &mut Connection, now: Time) -> Vec<(u16, Vec<u8>)> {
    let mut all = Vec::new();
    loop {
        let batch = sent(connection);
        if batch.is_empty() {
            return all;
        }
        for (id, counter, body) in batch {
            ack(connection, now, id, counter);
            all.push((id, body));
        }
    }
}

fn body_of(message: &Message) -> (u16, Vec<u8>) {
    let mut body = Vec::new();
    message.write_body(&mut body);
    (message.id(), body)
}

#[test]
fn one_message_is_in_flight_and_is_resent_every_400_ms() {
    let mut connection = Connection::new(START);
    connection.send(START, &Message::RequestClientList);
    connection.send(START, &chat("next"));
    assert_eq!(sent_numbers(&mut connection), [(16, 0)]);
    let mut now = START;
    for _ in 0..5 {
        assert_eq!(connection.poll_timeout(), Some(now + RESEND_INTERVAL));
        now += RESEND_INTERVAL;
        connection.handle_timeout(now - MICRO);
        assert_eq!(sent_numbers(&mut connection), []);
        connection.handle_timeout(now);
        assert_eq!(sent_numbers(&mut connection), [(16, 0)]);
    }
    ack(&mut connection, now, 16, 0);
    assert_eq!(connection.take_acknowledged(), Some(Message::RequestClientList));
    assert_eq!(connection.take_acknowledged(), None);
    assert_eq!(sent_numbers(&mut connection), [(18, 1)]);
    assert!(!connection.is_idle());
    ack(&mut connection, now, 18, 1);
    assert!(connection.is_idle());
    assert_eq!(connection.poll_timeout(), None);
}

#[test]
fn an_acknowledgement_needs_id_and_counter() {
    let mut connection = Connection::new(START);
    connection.send(START, &Message::RequestClientList);
    ack(&mut connection, START, 16, 1);
    ack(&mut connection, START, 18, 0);
    for malformed in [&[][..], &[16], &[16, 0, 0]] {
        connection.handle_frame(START, &Frame { id: ACK_ID, counter: 0, body: malformed });
    }
    assert!(!connection.is_idle());
    ack(&mut connection, START, 16, 0);
    assert!(connection.is_idle());
}

#[test]
fn counters_wrap() {
    let mut connection = Connection::new(START);
    for i in 0..600u32 {
        connection.send(START, &chat(&i.to_string()));
        assert_eq!(sent_numbers(&mut connection), [(18, i as u8)]);
        ack(&mut connection, START, 18, i as u8);
    }
}

#[test]
fn a_resend_is_acknowledged_again_and_not_processed_again() {
    let mut connection = Connection::new(START);
    let (id, body) = body_of(&chat("hello"));
    let frame = Frame { id, counter: 9, body: &body };
    assert_eq!(connection.handle_frame(START, &frame), Some(chat("hello")));
    assert_eq!(sent(&mut connection), [(ACK_ID, 9, ack_body(18).to_vec())]);
    for seconds in [0, 1, 100] {
        assert_eq!(connection.handle_frame(START + Duration::from_secs(seconds), &frame), None);
        assert_eq!(sent(&mut connection), [(ACK_ID, 9, ack_body(18).to_vec())]);
    }
    let next = Frame { counter: 10, ..frame };
    assert_eq!(
        connection.handle_frame(START, &next),
        Some(chat("hello")),
        "another counter, another message"
    );
}

#[test]
fn unknown_and_malformed_messages_are_acknowledged_and_ignored() {
    let mut connection = Connection::new(START);
    for (counter, (id, body)) in
        [(999, &[][..]), (4000, &[1, 2]), (20, &[1]), (32, &[])].into_iter().enumerate()
    {
        let frame = Frame { id, counter: counter as u8, body };
        assert_eq!(connection.handle_frame(START, &frame), None);
        assert_eq!(sent(&mut connection), [(ACK_ID, counter as u8, ack_body(id).to_vec())]);
    }
    assert_eq!(connection.handle_frame(START, &Frame { id: 1001, counter: 0, body: &[0; 4] }), None);
    assert_eq!(sent(&mut connection), [], "connection-less messages are nobody's to acknowledge");
}

#[test]
fn a_newer_value_replaces_a_waiting_one_in_its_place() {
    let mut connection = Connection::new(START);
    connection.send(START, &gain(1, 100)); // in flight at once: it can no longer be replaced
    connection.send(START, &gain(1, 200));
    connection.send(START, &gain(2, 300));
    connection.send(START, &chat("a"));
    connection.send(START, &chat("a"));
    connection.send(START, &Message::RequestClientList);
    connection.send(START, &Message::RequestClientList);
    connection.send(START, &gain(1, 400));
    connection.send(START, &Message::ChannelPan { channel: ChannelId(1), pan: 500 });
    let expected = [
        gain(1, 100),
        gain(1, 400),
        gain(2, 300),
        chat("a"),
        chat("a"),
        Message::RequestClientList,
        Message::ChannelPan { channel: ChannelId(1), pan: 500 },
    ];
    assert_eq!(drain(&mut connection, START), expected.each_ref().map(body_of));
}

#[test]
fn the_empty_client_list_is_not_replaced_by_a_full_one() {
    use jamulet::protocol::{ChannelInfo, ClientEntry};
    let entry = |channel| ClientEntry { channel: ChannelId(channel), info: ChannelInfo::default() };
    let mut connection = Connection::new(START);
    connection.send(START, &Message::ClientId(ChannelId(0)));
    connection.send(START, &Message::ClientList(vec![]));
    connection.send(START, &Message::ClientList(vec![entry(0)]));
    connection.send(START, &Message::ClientList(vec![entry(0), entry(1)]));
    let expected = [
        Message::ClientId(ChannelId(0)),
        Message::ClientList(vec![]),
        Message::ClientList(vec![entry(0), entry(1)]),
    ];
    assert_eq!(drain(&mut connection, START), expected.each_ref().map(body_of));
}

#[test]
fn chat_that_does_not_fit_is_dropped_and_counted() {
    let mut connection = Connection::new(START);
    connection.send(START, &Message::RequestClientList);
    (0..MAX_QUEUED_CHATS + 3).for_each(|i| connection.send(START, &chat(&i.to_string())));
    assert_eq!(connection.dropped(), 3);
    connection.send(START, &gain(1, 1));
    let sent = drain(&mut connection, START);
    assert_eq!(sent.len(), 1 + MAX_QUEUED_CHATS + 1, "values that matter are never dropped");
    assert_eq!(sent[1], body_of(&chat("0")));
    assert_eq!(sent.last(), Some(&body_of(&gain(1, 1))));
}

#[test]
fn a_long_message_waits_for_permission_and_is_then_split() {
    let long = chat(&"x".repeat(2 * MAX_PART_BYTES));
    let mut connection = Connection::new(START);
    connection.send(START, &long);
    connection.send(START, &chat("after"));
    assert_eq!(sent(&mut connection), []);
    connection.set_may_split(true);
    let due = connection.poll_timeout().expect("it may go");
    assert_eq!(due, START);
    connection.handle_timeout(due);
    assert_eq!(sent_numbers(&mut connection), [(SPLIT_ID, 0)]);
    ack(&mut connection, START, 18, 0);
    assert_eq!(sent_numbers(&mut connection), [], "the acknowledgement names the container");
    ack(&mut connection, START, SPLIT_ID, 0);
    assert_eq!(connection.take_acknowledged(), None, "only the last part completes it");
    assert_eq!(sent_numbers(&mut connection), [(SPLIT_ID, 1)]);
    ack(&mut connection, START, SPLIT_ID, 1);
    ack(&mut connection, START, SPLIT_ID, 2);
    assert_eq!(connection.take_acknowledged(), Some(long));
    assert_eq!(sent_numbers(&mut connection), [(18, 3)]);
}

#[test]
fn a_long_message_goes_in_one_piece_when_permission_never_comes() {
    let long = chat(&"x".repeat(MAX_PART_BYTES));
    let mut connection = Connection::new(START);
    connection.send(START, &long);
    let due = START + SPLIT_PATIENCE;
    assert_eq!(connection.poll_timeout(), Some(due));
    connection.handle_timeout(due - MICRO);
    assert_eq!(sent(&mut connection), []);
    connection.handle_timeout(due);
    assert_eq!(sent_numbers(&mut connection), [(18, 0)]);
}

#[test]
fn any_other_message_discards_half_a_split_one_and_resends_do_not() {
    let long = chat(&"x".repeat(1000));
    let mut sender = Connection::new(START);
    sender.set_may_split(true);
    sender.send(START, &long);
    let parts = drain(&mut sender, START);
    assert_eq!(parts.len(), 2);
    let part = |index: usize, counter| Frame { id: SPLIT_ID, counter, body: &parts[index].1 };

    let mut receiver = Connection::new(START);
    assert_eq!(receiver.handle_frame(START, &part(0, 0)), None);
    assert_eq!(receiver.handle_frame(START, &part(0, 0)), None, "a resend of the first part");
    receiver.handle_frame(START, &Frame { id: ACK_ID, counter: 5, body: &ack_body(18) });
    assert_eq!(receiver.handle_frame(START, &part(1, 1)), Some(long));

    assert_eq!(receiver.handle_frame(START, &part(0, 2)), None);
    assert!(receiver.handle_frame(START, &Frame { id: 16, counter: 3, body: &[] }).is_some());
    assert_eq!(receiver.handle_frame(START, &part(1, 4)), None);
}

#[test]
fn acknowledgements_that_nobody_polls_are_bounded() {
    let mut connection = Connection::new(START);
    for i in 0..10_000u32 {
        connection.handle_frame(START, &Frame { id: 16, counter: i as u8, body: &[] });
    }
    assert!(sent(&mut connection).len() <= 64);
}

/// One end of the property test.
struct End {
    connection: Connection,
    to_send: Vec<Message>,
    sent: usize,
    received: Vec<Message>,
}

impl End {
    fn new(rng: &mut SplitMix64, name: &str) -> Self {
        let mut connection = Connection::new(START);
        connection.set_may_split(true);
        Self { connection, to_send: random_messages(rng, name), sent: 0, received: Vec::new() }
    }

    /// Queues the next messages when all before are through, so that none replaces another.
    fn feed(&mut self, now: Time, rng: &mut SplitMix64) {
        if self.connection.is_idle() {
            let batch = 1 + rng.below(8) as usize;
            for message in self.to_send.iter().skip(self.sent).take(batch) {
                self.connection.send(now, message);
                self.sent += 1;
            }
        }
    }

    fn is_done(&self) -> bool {
        self.sent == self.to_send.len() && self.connection.is_idle()
    }
}

/// Messages that cannot replace each other: chats from empty to the longest (split in up to ten
/// parts), and gains of ever other channels.
fn random_messages(rng: &mut SplitMix64, name: &str) -> Vec<Message> {
    (0..60)
        .map(|i| match rng.below(4) {
            0 => gain(i, rng.next_u64() as u16),
            1 => chat(&format!("{name} {i} {}", "ä€".repeat(rng.below(880) as usize))),
            _ => chat(&format!("{name} {}", i / 2)), // neighbours may be equal: none may go missing
        })
        .collect()
}

/// Runs two connections against each other over a network until both have delivered everything.
fn exchange(config: LinkConfig, seed: u64) {
    let mut rng = SplitMix64::new(seed);
    let mut ends = [End::new(&mut rng, "a"), End::new(&mut rng, "b")];
    let mut path = Path::new(config, seed);
    let mut now = START;
    loop {
        for end in &mut ends {
            end.feed(now, &mut rng);
            end.connection.handle_timeout(now);
        }
        let [a, b] = &mut ends;
        std::iter::from_fn(|| a.connection.poll_transmit()).for_each(|datagram| path.up.send(now, datagram));
        std::iter::from_fn(|| b.connection.poll_transmit())
            .for_each(|datagram| path.down.send(now, datagram));
        if ends.iter().all(End::is_done) && path.up.in_transit() + path.down.in_transit() == 0 {
            break;
        }
        let deadlines =
            [ends[0].connection.poll_timeout(), ends[1].connection.poll_timeout(), path.poll_timeout()];
        now = earliest(deadlines).expect("something is always due until all is delivered").max(now);
        assert!(now < START + Duration::from_secs(3600), "stuck: {config:?} seed {seed}");
        let [a, b] = &mut ends;
        while let Some(datagram) = path.up.receive(now) {
            deliver(b, now, &datagram);
        }
        while let Some(datagram) = path.down.receive(now) {
            deliver(a, now, &datagram);
        }
    }
    let [a, b] = ends;
    assert_eq!(a.received, b.to_send, "{config:?} seed {seed}");
    assert_eq!(b.received, a.to_send, "{config:?} seed {seed}");
}

fn deliver(end: &mut End, now: Time, datagram: &[u8]) {
    let Datagram::Frame(frame) = classify(datagram) else { panic!("a connection sends frames only") };
    end.received.extend(end.connection.handle_frame(now, &frame));
}

#[test]
fn every_message_arrives_exactly_once_and_in_order() {
    let mut seed = 0;
    for loss in [0.0, 0.01, 0.05, 0.1, 0.2] {
        for jitter_ms in [0, 5, 50] {
            for (reordering, duplication) in [(0.0, 0.0), (0.5, 0.0), (0.0, 0.2), (1.0, 0.3)] {
                for delay_ms in [0, 30] {
                    seed += 1;
                    let config = LinkConfig {
                        delay: Duration::from_millis(delay_ms),
                        jitter: Duration::from_millis(jitter_ms),
                        loss,
                        duplication,
                        reordering,
                    };
                    exchange(config, seed);
                }
            }
        }
    }
}

#[test]
fn a_frame_from_nowhere_is_understood_by_both_ends() {
    // Written by hand, so that the two ends of the property test cannot agree on something wrong.
    let mut connection = Connection::new(START);
    connection.send(START, &Message::RequestClientList);
    let expected = {
        let mut out = Vec::new();
        write_frame(16, 0, &[], &mut out);
        out
    };
    assert_eq!(connection.poll_transmit(), Some(expected.clone()));
    assert_eq!(expected[..7], [0, 0, 16, 0, 0, 0, 0]);
}
