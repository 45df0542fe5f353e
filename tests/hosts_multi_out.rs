//! Jamulet Multi-Out in its hosts: three stereo outputs, each what it is called.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, ensure};
use jamulet::server::{Options, Server};
use jamulet_testkit::host::{ChannelLayout, Flavour, Format};
use jamulet_testkit::player::{Player, in_real_time, sine};
use jamulet_testkit::signal;
use jamulet_testkit::track::{self, SoundCard, Take};
use serde_json::json;

const RATE_HZ: f64 = 48_000.0;
const CARD: SoundCard = SoundCard { rate_hz: RATE_HZ, block_frames: 128, guarded: true };
const AMPLITUDE: f64 = 0.25;
/// Peak of the noise of whoever uses this flavour.
const NOISE: f32 = 0.25;
/// What codec and jitter may add to a pure sine, RMS.
const RESIDUAL: f64 = 0.02;
/// The server fades newcomers in for three seconds, and within the next our own channel is off.
const SETTLING: u64 = 48_000 * 6;
const LISTEN: u64 = 48_000 * 3;

#[test]
fn without_a_session_the_track_passes() -> Result<()> {
    for format in Format::ALL {
        let mut plugin = format.create_flavour(Flavour::MultiOut)?;
        let input: Vec<Vec<f32>> = (0..2).map(|channel| signal::noise(channel, 0.7, 20_000)).collect();
        for blocks in [&[128][..], &[1, 37, 512]] {
            let audio = plugin.activate(RATE_HZ, 512)?;
            let (audio, output) = track::render(audio, &input, blocks)?;
            plugin.deactivate(audio)?;
            ensure!(output.len() == 6, "{format:?}: {} channels", output.len());
            ensure!(output[..2] == input, "{format:?}: the main output is the track");
            ensure!(output[2..4].iter().flatten().all(|sample| *sample == 0.0), "{format:?}: nobody else");
            ensure!(output[4..] == input, "{format:?}: and so is \"me\"");
        }
    }
    Ok(())
}

/// Others and "me, aligned" are separate, and the main output is their sum.
#[test]
fn in_a_session_each_output_is_what_it_is_called() -> Result<()> {
    for format in Format::ALL {
        in_real_time(|| {
            let server = Server::start(Options {
                port: 0,
                bind_ip4: Some(Ipv4Addr::LOCALHOST),
                ..Options::default()
            })?;
            let address = server.local_addr().to_string();
            let noise = signal::noise(3, NOISE, 48_000);
            let source = move |start: u64, block: &mut [Vec<f32>]| {
                for channel in block {
                    for (index, sample) in channel.iter_mut().enumerate() {
                        *sample = noise[(start as usize + index) % noise.len()];
                    }
                }
            };
            let project = json!({"address": address, "name": "Me", "quality": "high"});
            let stereo = ChannelLayout::STEREO;
            let mut me = Player::with_flavour(format, Flavour::MultiOut, 0, stereo, CARD, project, source)?;
            let project = json!({"address": address, "name": "Partner", "quality": "high"});
            let tone = sine(RATE_HZ, 440.0, AMPLITUDE);
            let mut partner = Player::new(format, 1, stereo, CARD, project, tone)?;
            me.join()?;
            partner.join()?;
            me.play_on(SETTLING + LISTEN)?;
            let (_, take) = me.finish()?;
            let report = &take.report;
            ensure!(report.is_clean_but_for_other_wakes(), "{format:?}: {report}");
            Ok((take.stalls.len(), judge(&take)))
        })?;
    }
    Ok(())
}

fn judge(take: &Take) -> Result<()> {
    let end: Vec<&[f32]> =
        take.output.iter().map(|channel| &channel[channel.len() - LISTEN as usize..]).collect();
    let [main, .., others_left, others_right, me_left, me_right] = &end[..] else {
        anyhow::bail!("channels")
    };
    let partner = signal::listen(others_left, &[440.0], RESIDUAL);
    let level = signal::db(partner.amplitudes[0], AMPLITUDE);
    ensure!(level.abs() < 0.2, "the partner is heard at {level:+.2} dB");
    ensure!(partner.residual_rms < RESIDUAL, "and nobody else: {}", partner.residual_rms);
    ensure!(others_left.len() == others_right.len() && me_left == me_right);
    let played = &take.input[0][take.input[0].len() - 2 * LISTEN as usize..];
    let delay =
        signal::delay(&played[..LISTEN as usize], me_left, LISTEN as usize).context("my own sound")?;
    ensure!(delay.samples < RATE_HZ as usize, "{delay:?}");
    for ((main, others), me) in main.iter().zip(*others_left).zip(*me_left) {
        ensure!((main - others - me).abs() < 1e-5, "{main} is not {others} and {me}");
    }
    Ok(())
}
