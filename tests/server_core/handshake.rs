//! Joining: who is told what, in which order, and when sound begins.

use std::time::Duration;

use jamulet::protocol::{JitterBufferSize, Message, Os, RecorderState};
use jamulet::server::{Config, Event};
use jamulet::units::{CONNECTION_TIMEOUT, ChannelId};

use super::world::{World, raw_mono};

fn ids(messages: &[Message]) -> Vec<u16> {
    messages.iter().map(Message::id).collect()
}

fn with_welcome(text: &str) -> World {
    World::new(Config { welcome: Some(text.to_owned()), ..Config::default() })
}

#[test]
fn the_greeting_has_the_protocols_order() {
    let mut world = with_welcome("Hello <b>all</b>");
    let peer = world.add("Ann", raw_mono());
    world.send(peer, &[0; 9]);
    let messages = &world.peers[peer].messages;
    // docs/PROTOCOL.md §2; the second list is the answer to the infos.
    assert_eq!(ids(messages), [32, 36, 24, 34, 21, 11, 23, 18, 29, 33, 24]);
    assert_eq!(messages[0], Message::ClientId(ChannelId(0)));
    assert_eq!(messages[2], Message::ClientList(vec![]));
    assert_eq!(messages[7], Message::ChatText("<b>Server Welcome Message:</b> Hello <b>all</b>".to_owned()));
    let Message::VersionAndOs { os, version } = &messages[8] else { panic!("{:?}", messages[8]) };
    assert!(version.starts_with("4.0.0-jamulet") && version.len() <= 20, "{version}");
    assert!(!cfg!(target_os = "linux") || *os == Os::LINUX);
    assert_eq!(messages[9], Message::RecorderState(RecorderState::NotInitialised));
    assert_eq!(world.peers[peer].lists(), [vec![], vec![(0, "Ann".to_owned())]]);
}

#[test]
fn without_a_welcome_there_is_no_chat() {
    for welcome in [None, Some(" \n".to_owned())] {
        let mut world = World::new(Config { welcome, ..Config::default() });
        let peer = world.add("Ann", raw_mono());
        world.send(peer, b"x");
        assert_eq!(ids(&world.peers[peer].messages), [32, 36, 24, 34, 21, 11, 23, 29, 33, 24]);
    }
}

#[test]
fn a_long_welcome_goes_split_and_whole() {
    let text = "ü".repeat(1700);
    let mut world = with_welcome(&text);
    let peer = world.add("Ann", raw_mono());
    world.send(peer, b"x");
    let peer = &world.peers[peer];
    assert!(peer.longest <= 600, "{} bytes in one datagram", peer.longest);
    let welcome = Message::ChatText(format!("<b>Server Welcome Message:</b> {text}"));
    assert!(peer.messages.contains(&welcome));
    assert!(ids(&peer.messages).contains(&29));
}

#[test]
fn a_long_welcome_is_cut_for_clients_that_cannot_split() {
    let mut world = with_welcome(&"ü".repeat(1700));
    let peer = world.add("Ann", raw_mono());
    world.peers[peer].can_split = false;
    world.play(peer, |_| 0.0);
    world.run(Duration::from_millis(900));
    assert!(!ids(&world.peers[peer].messages).contains(&29), "the rest waits for the answer about splitting");
    world.run(Duration::from_millis(200));
    let peer = &world.peers[peer];
    let position = peer.messages.iter().position(|message| message.id() == 18).expect("a welcome");
    assert_eq!(ids(&peer.messages)[position..], [18, 29, 33]);
    assert!((1195..=1200).contains(&peer.longest), "{} bytes in one datagram", peer.longest);
}

#[test]
fn a_deaf_client_gets_one_small_message_again_and_again_until_it_times_out() {
    let mut world = with_welcome(&"x".repeat(1700));
    let peer = world.add("Ghost", raw_mono());
    world.peers[peer].is_deaf = true;
    let address = world.peers[peer].address;
    world.send(peer, b"x");
    let mut bytes = 0;
    let mut count = 0;
    while let Some(due) = world.core.poll_timeout() {
        world.now = due;
        world.core.handle_timeout(due);
        world.core.drain_transmits(|to, datagram| {
            assert_eq!(to, address);
            bytes += datagram.len();
            count += 1;
        });
    }
    assert_eq!(world.now.since(Default::default()), CONNECTION_TIMEOUT);
    assert!((70..=75).contains(&count) && bytes < 1000, "{count} datagrams, {bytes} bytes");
    assert!(world.core.is_empty());
}

#[test]
fn sound_comes_only_after_infos_and_properties() {
    let mut world = World::new(Config::default());
    let peer = world.add("Ann", raw_mono());
    world.peers[peer].is_deaf = true;
    world.play(peer, |_| 0.5);
    world.run(Duration::from_millis(100));
    assert_eq!(world.peers[peer].packets.len(), 0);
    world.peers[peer].is_deaf = false;
    world.run(Duration::from_millis(1000));
    assert!(world.peers[peer].packets.len() > 100);
    let layout = world.peers[peer].layout;
    assert!(world.peers[peer].packets.iter().all(|packet| packet.len() == layout.packet_bytes()));
}

#[test]
fn the_lowest_free_channel_is_taken_and_a_full_server_says_so() {
    let mut world = World::new(Config { max_clients: 2, ..Config::default() });
    let (ann, bob) = (world.join("Ann", raw_mono()), world.join("Bob", raw_mono()));
    assert_eq!(world.peers[bob].channel(), Some(ChannelId(1)));
    let cay = world.add("Cay", raw_mono());
    world.send(cay, b"x");
    assert_eq!(world.peers[cay].connless.len(), 1);
    assert_eq!(world.peers[cay].connless[0].id(), 1003);
    assert_eq!(world.peers[cay].channel(), None);
    world.peers[ann].is_playing = false;
    world.send(ann, &jamulet::protocol::ConnlessMessage::Disconnection.to_datagram());
    world.send(cay, b"x");
    assert_eq!(world.peers[cay].channel(), Some(ChannelId(0)));
}

#[test]
fn messages_from_strangers_open_nothing() {
    let mut world = World::new(Config::default());
    let peer = world.add("Ann", raw_mono());
    world.tell(peer, &Message::RequestClientList);
    world.run(Duration::from_secs(2));
    world.send(peer, &[]);
    assert!(world.core.is_empty());
    assert_eq!(world.peers[peer].longest, 0, "nothing is answered");
}

#[test]
fn an_auto_buffer_is_told_and_a_manual_one_is_not() {
    let mut world = World::new(Config::default());
    let (auto, manual) = (world.add("Auto", raw_mono()), world.add("Manual", raw_mono()));
    world.peers[auto].buffer = JitterBufferSize::Auto;
    for peer in [auto, manual] {
        world.play(peer, |_| 0.0);
    }
    world.run(Duration::from_secs(20));
    let told = |peer: usize| {
        let sizes = world.peers[peer].messages.iter().filter_map(|message| match message {
            Message::JitterBufferSize(JitterBufferSize::Frames(frames)) => Some(*frames),
            _ => None,
        });
        sizes.collect::<Vec<_>>()
    };
    assert!(told(manual).is_empty());
    let sizes = told(auto);
    assert!(!sizes.is_empty(), "the size in use is told");
    assert!(sizes.windows(2).all(|pair| pair[0] != pair[1]), "only changes are told: {sizes:?}");
    assert!(sizes.last().is_some_and(|last| *last <= 4), "without jitter it becomes small: {sizes:?}");
}

#[test]
fn a_join_and_a_leave_are_one_event_each() {
    let mut world = World::new(Config::default());
    let peer = world.join("Ann", raw_mono());
    world.peers[peer].is_playing = false;
    world.send(peer, &jamulet::protocol::ConnlessMessage::Disconnection.to_datagram());
    let lines: Vec<String> = world.events.iter().map(Event::to_string).collect();
    assert_eq!(
        lines,
        [
            "Somebody connects from 192.0.2.1:22134 (channel 0, 1 in all)",
            "Ann joined from 192.0.2.1:22134 (channel 0)",
            "Ann left: 192.0.2.1:22134 (channel 0)"
        ]
    );
}
