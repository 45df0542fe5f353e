//! The editor as hosts embed it, on a screen that is none.
use anyhow::{Result, ensure};
use jamulet_testkit::child::with_screen;
use jamulet_testkit::host::Format;
use jamulet_testkit::window::HostWindow;
use std::time::Duration;

#[test]
fn scratch() -> Result<()> {
    with_screen("scratch", |display| {
        for format in Format::ALL {
            let mut plugin = format.create()?;
            println!("{:?} {:?}", plugin.parameters(), plugin.editor_size());
            let window = HostWindow::open(display, [800, 600])?;
            let size = plugin.open_editor(window.id())?;
            for _ in 0..100 {
                plugin.pump();
                std::thread::sleep(Duration::from_millis(10));
            }
            let picture = window.picture()?;
            println!("{size:?} {:?} {} colours", window.embedded()?, picture.colours());
            picture.save(std::path::Path::new(&format!("/tmp/jam/scratch/{format:?}.png")))?;
            plugin.close_editor()?;
            println!("{:?}", plugin.save().map(|x| String::from_utf8_lossy(&x).into_owned()));
            ensure!(picture.colours() > 20);
        }
        Ok(())
    })
}
#[test]
fn audio() -> Result<()> {
    for format in Format::ALL {
        let mut plugin = format.create()?;
        for layout in [
            jamulet_testkit::host::ChannelLayout::STEREO,
            jamulet_testkit::host::ChannelLayout::MONO,
            jamulet_testkit::host::ChannelLayout::MONO_TO_STEREO,
        ] {
            plugin.set_layout(layout)?;
            let audio = plugin.activate(48000.0, 128)?;
            let id = plugin.parameters()[0].id;
            let track = jamulet_testkit::track::Track::play(
                audio,
                jamulet_testkit::track::SoundCard { rate_hz: 48000.0, block_frames: 128, guarded: true },
                |start, input| {
                    for c in input {
                        for (i, s) in c.iter_mut().enumerate() {
                            *s = (start as usize + i) as f32;
                        }
                    }
                },
            )?;
            for i in 0..10 {
                track.set(id, i as f64 / 10.0)?;
                std::thread::sleep(Duration::from_millis(20));
                plugin.pump();
            }
            let take = track.stop()?;
            println!("{format:?} {layout:?} {} {:?}", take.report, take.stalls);
            println!(
                "{:?} {:?}",
                &take.output.iter().map(|c| c[1000]).collect::<Vec<_>>(),
                jamulet_testkit::track::quantile(&take.cost, 0.5)
            );
            plugin.deactivate(take.audio)?;
        }
    }
    Ok(())
}
