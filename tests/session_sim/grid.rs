//! Whole sessions over a grid of bad networks: they establish, recover and end.

use std::time::Duration;

use jamulet::protocol::{Message, PacketLayout};
use jamulet::session::{ClientEvent, EndReason};
use jamulet::units::{FrameSize, Layout, Quality, StreamFormat};
use jamulet_testkit::netem::LinkConfig;

use crate::model::{CHANNEL, ModelServer, World, config, info, stereo_normal};

const SECOND: Duration = Duration::from_secs(1);

fn grid() -> impl Iterator<Item = (u64, LinkConfig)> {
    let mut all = Vec::new();
    for loss in [0.0, 0.01, 0.05, 0.1, 0.2] {
        for jitter_ms in [0, 10, 50] {
            for (reordering, duplication) in [(0.0, 0.0), (1.0, 0.0), (1.0, 0.2)] {
                let jitter = Duration::from_millis(jitter_ms);
                all.push(LinkConfig {
                    delay: Duration::from_millis(15),
                    jitter,
                    loss,
                    duplication,
                    reordering,
                });
            }
        }
    }
    all.into_iter().enumerate().map(|(seed, link)| (seed as u64, link))
}

/// A settled session; allowed time is generous because a fifth of everything may be lost, twice
/// over (message and acknowledgement), at 400 ms each.
fn connect(link: LinkConfig, seed: u64) -> World {
    let mut world = World::new(config(), ModelServer::new("3.9.1"), link, seed);
    let is_connected = |world: &World| {
        world.is_settled(stereo_normal())
            && world.saw(&ClientEvent::Connected { channel: CHANNEL })
            && world.client.peer().split_supported
            && world
                .server
                .slot
                .as_ref()
                .is_some_and(|slot| slot.messages.contains(&Message::RequestLevelList(1)))
    };
    assert!(world.run_until(60 * SECOND, is_connected), "no session over {link:?}, seed {seed}");
    world
}

/// Audio of both directions within the next second, as a share of what was sent.
fn audio_shares(world: &mut World) -> (f64, f64) {
    let (heard, good) = (world.heard, world.slot().good_packets);
    world.run_for(SECOND);
    let per_second = 375.0;
    ((world.heard - heard) as f64 / per_second, (world.slot().good_packets - good) as f64 / per_second)
}

fn assert_audio_flows(world: &mut World, link: LinkConfig) {
    let least = 1.0 - link.loss - 0.1;
    let (down, up) = audio_shares(world);
    assert!(down > least && up > least, "only {down} down and {up} up arrive over {link:?}");
}

#[test]
fn sessions_establish_talk_and_end() {
    for (seed, link) in grid() {
        let mut world = connect(link, seed);
        assert_audio_flows(&mut world, link);
        assert!(!world.saw(&ClientEvent::ServerRestarted), "no copy of a greeting may look like a restart");

        for i in 0..5 {
            world.client.chat(world.now, &format!("line {i}"));
        }
        world.client.chat(world.now, &"long ".repeat(300));
        world.client.set_gain(world.now, CHANNEL, 0.5);
        world.client.set_info(world.now, info("Bob"));
        let said = ["line 0", "line 1", "line 2", "line 3", "line 4", "long "].map(|text| {
            let text = if text == "long " { "long ".repeat(300) } else { text.to_owned() };
            ClientEvent::Chat(format!("<b>Alice</b> {text}"))
        });
        let is_all_there = |world: &World| {
            said.iter().all(|line| world.saw(line))
                && world.slot().info == Some(info("Bob"))
                && world.slot().messages.contains(&Message::ChannelGain { channel: CHANNEL, gain: 16384 })
        };
        assert!(
            world.run_until(60 * SECOND, is_all_there),
            "something is missing over {link:?}, seed {seed}"
        );
        let chats = world.events.iter().filter(|(_, event)| matches!(event, ClientEvent::Chat(_)));
        assert!(
            chats.map(|(_, event)| event).eq(&said),
            "each line once and in order, {link:?}, seed {seed}"
        );

        world.plays = false;
        world.client.leave(world.now);
        assert!(world.run_until(3 * SECOND, |world| world.saw(&ClientEvent::Ended(EndReason::Left))));
        assert!(world.server.disconnections > 0, "the goodbye got through over {link:?}, seed {seed}");
    }
}

#[test]
fn a_layout_changes_mid_session() {
    for (seed, link) in grid() {
        let mut world = connect(link, seed);
        for (frame, layout, quality) in [
            (FrameSize::Samples64, Layout::Mono, Quality::High),
            (FrameSize::Samples128, Layout::Stereo, Quality::Max),
        ] {
            let wanted =
                PacketLayout { format: StreamFormat::stock(frame, layout, quality), ..stereo_normal() };
            world.client.set_layout(world.now, wanted);
            assert!(world.run_until(60 * SECOND, |world| world.is_settled(wanted)), "{link:?}, seed {seed}");
            world.run_for(Duration::from_millis(200));
            assert_audio_flows(&mut world, link);
        }
    }
}

#[test]
fn sessions_survive_an_outage_of_twenty_seconds() {
    for (seed, link) in grid() {
        let mut world = connect(link, seed);
        world.path.set_config(LinkConfig::DEAD);
        world.client.chat(world.now, "said into the void");
        world.run_for(20 * SECOND);
        world.path.set_config(link);
        let echo = ClientEvent::Chat("<b>Alice</b> said into the void".to_owned());
        assert!(world.run_until(20 * SECOND, |world| world.saw(&echo)), "{link:?}, seed {seed}");
        assert_audio_flows(&mut world, link);
        assert!(!world.saw(&ClientEvent::ServerRestarted));
    }
}

#[test]
fn sessions_recover_from_a_restart_of_the_server() {
    for (seed, link) in grid() {
        let mut world = connect(link, seed);
        world.client.chat(world.now, "maybe lost");
        world.server.restart();
        world.server.is_off = true;
        world.run_for(3 * SECOND);
        world.server.is_off = false;
        world.server.version = "3.12.0";
        let is_back = |world: &World| {
            world.is_settled(stereo_normal())
                && world.saw(&ClientEvent::ServerVersion("3.12.0".to_owned()))
                && world.count(&ClientEvent::Connected { channel: CHANNEL }) == 2
        };
        assert!(world.run_until(25 * SECOND, is_back), "{link:?}, seed {seed}");
        assert_eq!(world.count(&ClientEvent::ServerRestarted), 1, "{link:?}, seed {seed}");
        world.run_for(Duration::from_millis(200));
        assert_audio_flows(&mut world, link);
    }
}

#[test]
fn both_ends_notice_a_dead_network_after_thirty_seconds() {
    for (seed, link) in grid() {
        let mut world = connect(link, seed);
        world.path.set_config(LinkConfig::DEAD);
        let cut = world.now;
        assert!(world.run_until(31 * SECOND, |world| world.saw(&ClientEvent::Ended(EndReason::TimedOut))));
        let waited = world.now.since(cut);
        assert!((29 * SECOND..31 * SECOND).contains(&waited), "{waited:?} over {link:?}");
        world.run_for(SECOND);
        assert!(world.server.slot.is_none());
    }
}

#[test]
fn nobody_home_and_no_room_end_it() {
    for (seed, link) in grid() {
        let mut off = World::new(config(), ModelServer::new("3.9.1"), link, seed);
        off.server.is_off = true;
        let began = off.now;
        assert!(off.run_until(6 * SECOND, |world| world.saw(&ClientEvent::Ended(EndReason::NoAnswer))));
        assert_eq!(off.now.since(began), 5 * SECOND);

        let mut full = World::new(config(), ModelServer::new("3.9.1"), link, seed);
        full.server.is_full = true;
        assert!(full.run_until(SECOND, |world| world.saw(&ClientEvent::Ended(EndReason::ServerFull))));
    }
}
