//! Our client without a plugin around it, played on a sound card like a track.

use anyhow::Result;
use jamulet::client::{Controls, Engine, Handle, Settings, create};

use crate::host::{Audio, Block, ChannelLayout};

/// A musician's instrument: the engine of a client.
pub struct Musician {
    engine: Engine,
    controls: Controls,
}

impl Musician {
    /// A musician and the handle by which they join a session.
    pub fn create(
        settings: Settings,
        rate_hz: f64,
        max_block_frames: usize,
    ) -> Result<(Handle, Box<dyn Audio>)> {
        let (handle, mut engine) = create(settings);
        engine.prepare(rate_hz, max_block_frames)?;
        Ok((handle, Box::new(Self { engine, controls: Controls::default() })))
    }
}

impl Audio for Musician {
    fn layout(&self) -> ChannelLayout {
        ChannelLayout::STEREO
    }

    fn start(&mut self) -> Result<()> {
        self.engine.reset();
        Ok(())
    }

    fn process(&mut self, block: &mut Block<'_>) -> Result<()> {
        for (output, input) in block.output.iter_mut().zip(block.input) {
            output.copy_from_slice(input);
        }
        crate::guard::watch(|| self.engine.process(block.output, block.input.len(), &self.controls));
        Ok(())
    }

    fn stop(&mut self) {}
}
