//! Lists, levels, mute notices, chat, leaving and timing out.

use std::time::Duration;

use jamulet::protocol::{ChannelInfo, ConnlessMessage, Message, utf16_len};
use jamulet::server::{Config, Event, LeaveReason, WallTime};
use jamulet::units::{CONNECTION_TIMEOUT, ChannelId, MAX_CHANNELS};

use super::world::{World, raw_mono};

fn named(entries: &[(u8, &str)]) -> Vec<(u8, String)> {
    entries.iter().map(|(channel, name)| (*channel, (*name).to_owned())).collect()
}

fn forget(world: &mut World) {
    for peer in &mut world.peers {
        peer.messages.clear();
        peer.connless.clear();
    }
}

#[test]
fn lists_tell_joins_leaves_and_real_changes_only() {
    let mut world = World::new(Config::default());
    let (ann, bob) = (world.join("Ann", raw_mono()), world.join("Bob", raw_mono()));
    let both = named(&[(0, "Ann"), (1, "Bob")]);
    assert_eq!(world.peers[ann].lists().last(), Some(&both));
    assert_eq!(world.peers[bob].lists().last(), Some(&both));
    forget(&mut world);

    let same = Message::ChannelInfo(world.peers[ann].info.clone());
    world.tell(ann, &same);
    assert_eq!(world.peers[bob].lists(), Vec::<Vec<_>>::new());

    world.tell(ann, &Message::ChannelInfo(ChannelInfo { name: "Änne".to_owned(), ..ChannelInfo::default() }));
    for peer in [ann, bob] {
        assert_eq!(world.peers[peer].lists(), [named(&[(0, "Änne"), (1, "Bob")])]);
    }
    forget(&mut world);

    world.tell(bob, &Message::RequestClientList);
    assert_eq!(world.peers[bob].lists().len(), 1);
    assert_eq!(world.peers[ann].lists().len(), 0, "only the asker is answered");
    forget(&mut world);

    world.peers[ann].is_playing = false;
    world.send(ann, &ConnlessMessage::Disconnection.to_datagram());
    assert_eq!(world.peers[bob].lists(), [named(&[(1, "Bob")])]);
}

#[test]
fn ghosts_are_not_listed() {
    let mut world = World::new(Config::default());
    let ann = world.join("Ann", raw_mono());
    forget(&mut world);
    let ghost = world.add("Ghost", raw_mono());
    world.peers[ghost].is_deaf = true;
    world.send(ghost, b"x");
    world.tell(ann, &Message::RequestClientList);
    assert_eq!(world.peers[ann].lists(), [named(&[(0, "Ann")])]);
    world.run(Duration::from_secs(1));
    let levels = |message: &ConnlessMessage| matches!(message, ConnlessMessage::LevelList(levels) if levels.len() == 1);
    assert!(world.peers[ann].connless.iter().all(levels));
    assert_eq!(world.core.clients(), 2, "but it has a slot");
}

#[test]
fn levels_come_every_269_ms_in_channel_order() {
    let mut world = World::new(Config::default());
    let (ann, bob) = (world.join("Ann", raw_mono()), world.join("Bob", raw_mono()));
    // -12 dBFS is level 7; levels are measured before the fade-in.
    world.play(bob, |_| 0.25);
    world.run(Duration::from_secs(1));
    forget(&mut world);
    world.run(Duration::from_millis(2690));
    for peer in [ann, bob] {
        let lists = &world.peers[peer].connless;
        assert_eq!(lists.len(), 10);
        assert!(lists.iter().all(|list| *list == ConnlessMessage::LevelList(vec![0, 7])), "{lists:?}");
    }
}

#[test]
fn muting_is_told_to_the_muted() {
    let mut world = World::new(Config::default());
    let (ann, bob) = (world.join("Ann", raw_mono()), world.join("Bob", raw_mono()));
    forget(&mut world);
    let channel = ChannelId(1);
    for gain in [16384, 0, 0, 300, 32768] {
        world.tell(ann, &Message::ChannelGain { channel, gain });
    }
    let notice = |muted| Message::MuteStateChanged { channel: ChannelId(0), muted };
    assert_eq!(world.peers[bob].messages, [notice(true), notice(false)]);
    assert_eq!(world.peers[ann].messages, []);
    world.tell(ann, &Message::ChannelGain { channel: ChannelId(200), gain: 0 });
    world.tell(ann, &Message::ChannelGain { channel: ChannelId(149), gain: 0 });
}

#[test]
fn chat_reaches_everyone_in_html() {
    let mut world = World::new(Config::default());
    let (ann, bob) = (world.join("Ann", raw_mono()), world.join("B&b", raw_mono()));
    world.core.set_wall_time(WallTime { hour: 0, minute: 5, second: 9 });
    forget(&mut world);
    world.tell(bob, &Message::ChatText("1 < 2".to_owned()));
    let line = "<font color=\"red\">(12:05:09 AM) <b>B&amp;b</b></font> 1 &lt; 2";
    for peer in [ann, bob] {
        assert_eq!(world.peers[peer].messages, [Message::ChatText(line.to_owned())]);
    }
    forget(&mut world);
    world.tell(ann, &Message::ChatText("&".repeat(1800)));
    let Some(Message::ChatText(line)) = world.peers[bob].messages.first() else { panic!("no chat") };
    assert!(utf16_len(line) <= 1800 && line.ends_with("&amp;"));
}

#[test]
fn silence_of_30_s_ends_a_connection_and_messages_do_not_count() {
    let mut world = World::new(Config::default());
    let (ann, bob) = (world.join("Ann", raw_mono()), world.join("Bob", raw_mono()));
    world.peers[ann].is_playing = false;
    let last = world.now;
    forget(&mut world);
    for _ in 0..29 {
        world.run(Duration::from_secs(1));
        world.tell(ann, &Message::RequestClientList);
        world.send(ann, &ConnlessMessage::Ping { time_ms: 7 }.to_datagram());
    }
    assert_eq!(world.core.clients(), 2);
    world.run(CONNECTION_TIMEOUT - world.now.since(last) + Duration::from_millis(1));
    assert_eq!(world.core.clients(), 1);
    assert_eq!(world.peers[bob].lists().last(), Some(&named(&[(1, "Bob")])));
    assert!(matches!(world.events.last(), Some(Event::Left { reason: LeaveReason::TimedOut, .. })));
}

#[test]
fn any_datagram_that_is_no_message_is_a_sign_of_life() {
    let mut world = World::new(Config::default());
    let ann = world.join("Ann", raw_mono());
    world.peers[ann].is_playing = false;
    for _ in 0..10 {
        world.run(Duration::from_secs(29));
        world.send(ann, b"wrong size");
    }
    assert_eq!(world.core.clients(), 1);
}

#[test]
fn a_new_client_in_an_old_slot_is_heard_at_unity() {
    let mut world = World::new(Config::default());
    let (ann, bob) = (world.join("Ann", raw_mono()), world.join("Bob", raw_mono()));
    world.tell(ann, &Message::ChannelGain { channel: ChannelId(1), gain: 0 });
    world.peers[bob].is_playing = false;
    world.send(bob, &ConnlessMessage::Disconnection.to_datagram());
    let cay = world.join("Cay", raw_mono());
    assert_eq!(world.peers[cay].channel(), Some(ChannelId(1)));
    world.play(cay, |_| 0.25);
    world.run(Duration::from_secs(4));
    let heard = world.peers[ann].heard();
    assert!((heard[heard.len() - 1] - 0.25).abs() < 1e-3);
}

#[test]
fn a_hundred_and_fifty_clients_fit() {
    let mut world = World::new(Config { max_clients: MAX_CHANNELS, ..Config::default() });
    for index in 0..MAX_CHANNELS {
        let peer = world.add(&format!("Musician {index}"), raw_mono());
        world.play(peer, move |_| if index == 149 { 0.25 } else { 0.0 });
        world.run(Duration::from_millis(5));
    }
    world.run(Duration::from_millis(3500));
    assert_eq!(world.core.clients(), MAX_CHANNELS);
    for (index, peer) in world.peers.iter().enumerate() {
        assert_eq!(peer.channel(), Some(ChannelId(index as u8)));
        let list = peer.lists().pop().unwrap();
        assert_eq!(list.len(), MAX_CHANNELS);
        assert!(list.iter().enumerate().all(|(at, (channel, name))| {
            usize::from(*channel) == at && *name == format!("Musician {at}")
        }));
        assert!(peer.longest < 600, "long lists are split");
        assert!((peer.heard().last().unwrap() - 0.25).abs() < 1e-3, "channel {index} hears the last one");
    }
    let one_more = world.add("Late", raw_mono());
    world.send(one_more, b"x");
    assert_eq!(world.peers[one_more].connless, [ConnlessMessage::ServerFull]);
}
