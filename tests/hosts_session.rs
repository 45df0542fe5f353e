//! The plugin in its hosts, in sessions with our server, in real time.

#![expect(clippy::disallowed_types, reason = "tests take turns at the machine's two cores")]

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use jamulet::server::{Config, Event, Options, Server};
use jamulet_testkit::host::{ChannelLayout, Format};
use jamulet_testkit::player::{Player, in_real_time, sine};
use jamulet_testkit::signal::{self, db};
use jamulet_testkit::track::{SoundCard, Take};
use serde_json::json;

const CARD: SoundCard = SoundCard { rate_hz: 48_000.0, block_frames: 128, guarded: false };
/// Peak of every sine that is played.
const AMPLITUDE: f64 = 0.25;
/// What codec and jitter may add to pure sines, RMS.
const RESIDUAL: f64 = 0.02;
/// The server fades newcomers in for three seconds.
const FADE_FRAMES: u64 = 48_000 * 7 / 2;
/// Long enough to hear a pitch and a level.
const LISTEN_FRAMES: u64 = 48_000 * 3 / 2;

/// These tests share two cores and one list of instances: one at a time.
fn stage() -> MutexGuard<'static, ()> {
    static STAGE: Mutex<()> = Mutex::new(());
    STAGE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn server(max_clients: usize) -> Result<(Server, String)> {
    let config = Config { max_clients, ..Config::default() };
    let options = Options { port: 0, bind_ip4: Some(Ipv4Addr::LOCALHOST), config, ..Options::default() };
    let server = Server::start(options)?;
    let address = server.local_addr().to_string();
    Ok((server, address))
}

fn player(
    format: Format,
    index: usize,
    card: SoundCard,
    address: &str,
    name: &str,
    hz: f64,
) -> Result<Player> {
    let project = json!({"address": address, "name": name});
    Player::new(format, index, ChannelLayout::STEREO, card, project, sine(card.rate_hz, hz, AMPLITUDE))
}

/// The end of what a take's channel heard holds exactly these sines at unity.
fn holds(take: &Take, channel: usize, frequencies_hz: &[f64]) -> Result<()> {
    let heard = &take.output[channel];
    let heard = &heard[heard.len() - LISTEN_FRAMES as usize..];
    let found = signal::listen(heard, frequencies_hz, RESIDUAL);
    for (index, hz) in frequencies_hz.iter().enumerate() {
        let level_db = db(found.amplitudes[index], AMPLITUDE);
        ensure!(level_db.abs() < 0.2, "{hz} Hz comes back at {level_db:+.2} dB: {found:?}");
        ensure!((found.frequencies_hz[index] - hz).abs() < 0.1, "{hz} Hz comes back off pitch: {found:?}");
    }
    Ok(())
}

#[test]
fn two_instances_in_one_process_jam_without_disturbing_each_other() -> Result<()> {
    let _stage = stage();
    for formats in [[Format::Clap, Format::Clap], [Format::Vst3, Format::Vst3], [Format::Clap, Format::Vst3]]
    {
        in_real_time(|| {
            let (_server, address) = server(10)?;
            let mut low = player(formats[0], 0, CARD, &address, "Low", 440.0)?;
            let mut high = player(formats[1], 1, CARD, &address, "High", 660.0)?;
            low.join()?;
            high.join()?;
            for player in [&mut low, &mut high] {
                player.wait_for("both names", |snapshot| snapshot.names() == ["Low", "High"])?;
            }
            low.chat("Hello from <Low>")?;
            high.wait_for("the greeting", |snapshot| {
                snapshot.chat().iter().any(|line| line.contains("Hello from <Low>"))
            })?;
            high.play_on(FADE_FRAMES + LISTEN_FRAMES)?;
            low.plugin().pump();

            // One leaves; the other plays on, alone, to the end.
            let (_, high_take) = high.finish()?;
            let (mut plugin, low_take) = {
                low.wait_for("the other's leaving", |snapshot| snapshot.names() == ["Low"])?;
                low.play_on(LISTEN_FRAMES + 24_000)?;
                low.finish()?
            };
            plugin.pump();
            let outcome = holds(&high_take, 0, &[440.0, 660.0])
                .and_then(|()| holds(&high_take, 1, &[440.0, 660.0]))
                .and_then(|()| holds(&low_take, 0, &[440.0]));
            Ok((low_take.stalls.len() + high_take.stalls.len(), outcome))
        })?;
    }
    Ok(())
}

#[test]
fn mono_tracks_are_heard_on_all_outputs() -> Result<()> {
    let _stage = stage();
    for (layout, sent) in [(ChannelLayout::MONO, "mono"), (ChannelLayout::MONO_TO_STEREO, "stereo")] {
        in_real_time(|| {
            let (_server, address) = server(10)?;
            let project = json!({"address": address, "name": "Mono", "layout": sent});
            let source = sine(CARD.rate_hz, 440.0, AMPLITUDE);
            let mut player = Player::new(Format::Vst3, 0, layout, CARD, project, source)?;
            player.join()?;
            player.play_on(FADE_FRAMES + LISTEN_FRAMES)?;
            let (_, take) = player.finish()?;
            let outcome = (0..layout.outputs).try_for_each(|channel| holds(&take, channel, &[440.0]));
            Ok((take.stalls.len(), outcome))
        })?;
    }
    Ok(())
}

#[test]
fn another_rate_and_block_keep_the_connection() -> Result<()> {
    let _stage = stage();
    for format in Format::ALL {
        in_real_time(|| {
            let (server, address) = server(10)?;
            let mut player = player(format, 0, CARD, &address, "Steady", 440.0)?;
            let channel = player.join()?.count("channel");
            player.play_on(FADE_FRAMES)?;
            for (rate_hz, block_frames) in [(44_100.0, 480), (96_000.0, 256), (48_000.0, 128)] {
                let card = SoundCard { rate_hz, block_frames, guarded: false };
                let (changed, _) = player.change_card(card, sine(rate_hz, 440.0, AMPLITUDE))?;
                player = changed;
                let snapshot = player.snapshot()?;
                assert!(snapshot.is_connected(), "{format:?} at {rate_hz} Hz: {}", snapshot.0);
                player.play_on((rate_hz * 2.5) as u64)?;
                let snapshot = player.snapshot()?;
                assert!(snapshot.is_connected(), "{format:?} at {rate_hz} Hz: {}", snapshot.0);
                assert_eq!(snapshot.count("channel"), channel, "{format:?} at {rate_hz} Hz");
            }
            let (_, take) = player.finish()?;
            let outcome = holds(&take, 0, &[440.0]);
            let joins =
                server.events().try_iter().filter(|event| matches!(event, Event::Joined { .. })).count();
            assert_eq!(joins, 1, "{format:?} joined more than once");
            Ok((take.stalls.len(), outcome))
        })?;
    }
    Ok(())
}

#[test]
fn what_goes_wrong_is_said_in_words_and_dry_sound_goes_on() -> Result<()> {
    let _stage = stage();
    // A bound socket that nobody reads: the packets arrive, and no answer comes.
    #[expect(clippy::disallowed_methods, reason = "a server that is none")]
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let (_full, full) = server(1)?;
    for format in Format::ALL {
        let mut first = player(format, 0, CARD, &full, "First", 440.0)?;
        first.join()?;
        for (address, words) in [
            ("", "address"),
            ("not an address", "address"),
            ("127.0.0.1:99999", "99999"),
            ("nobody.invalid", "nobody.invalid was not found"),
            (&silent.local_addr()?.to_string(), "No answer"),
            (full.as_str(), "full"),
        ] {
            let mut player = player(format, 1, CARD, address, "Second", 440.0)?;
            player.automate("Connect", 1.0)?;
            let snapshot = player.wait_for("a failure", |snapshot| snapshot.state() == "failed")?;
            let reason = snapshot.text("reason").unwrap_or_default();
            assert!(reason.contains(words), "{format:?} {address:?}: {reason:?}");
            player.play_on(4_800)?;
            let (_, take) = player.finish()?;
            let length = take.output[0].len();
            let tail = length - 2_400..length;
            assert!(
                take.output[0][tail.clone()] == take.input[0][tail],
                "{format:?} {address:?}: no dry sound"
            );
        }
    }
    Ok(())
}

#[test]
fn removing_the_plugin_leaves_the_session() -> Result<()> {
    let _stage = stage();
    for format in Format::ALL {
        let (server, address) = server(10)?;
        let mut player = player(format, 0, CARD, &address, "Gone", 440.0)?;
        player.join()?;
        player.play_on(4_800)?;
        let (plugin, _) = player.finish()?;
        drop(plugin);
        // The goodbye is on its way when the instance is gone, and the server only has to read it.
        let left = std::iter::repeat_with(|| server.events().recv_timeout(Duration::from_secs(5)))
            .map_while(Result::ok)
            .any(|event| matches!(event, Event::Left { .. }));
        assert!(left, "{format:?}: the server still waits for it");
    }
    Ok(())
}
