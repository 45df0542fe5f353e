//! The personal mixes of one tick.

use crate::audio::{StereoGain, mix_into};
use crate::units::{Layout, MAX_FRAME_SAMPLES};

use super::view::View;

/// What one client adds to the mix in a tick.
pub(super) struct Source {
    samples: [f32; 2 * MAX_FRAME_SAMPLES],
    layout: Layout,
    /// The client's fade-in, 0..=1.
    fade: f32,
    is_audible: bool,
}

impl Source {
    const SILENT: Self =
        Self { samples: [0.0; 2 * MAX_FRAME_SAMPLES], layout: Layout::Mono, fade: 0.0, is_audible: false };

    /// Nothing comes from this client.
    pub(super) fn silence(&mut self) {
        self.is_audible = false;
    }

    /// Lets `fill` write the client's sound, interleaved in `layout`; it tells whether there is any.
    /// What is there is returned.
    pub(super) fn fill(
        &mut self,
        layout: Layout,
        fade: f32,
        tick_samples: usize,
        fill: impl FnOnce(&mut [f32]) -> bool,
    ) -> &[f32] {
        let samples = &mut self.samples[..layout.channels() * tick_samples];
        let is_audible = fill(samples);
        (self.layout, self.fade) = (layout, fade);
        self.is_audible = is_audible && fade > 0.0;
        samples
    }
}

/// Room for the sources of a tick and for one mix at a time; nothing is allocated after `new`.
pub(super) struct Mixer {
    /// By channel.
    sources: Box<[Source]>,
    mix: [f32; 2 * MAX_FRAME_SAMPLES],
    tick_samples: usize,
}

impl Mixer {
    /// For `slots` channels and ticks of `tick_samples`.
    pub(super) fn new(slots: usize, tick_samples: usize) -> Self {
        Self {
            sources: std::iter::repeat_with(|| Source::SILENT).take(slots).collect(),
            mix: [0.0; 2 * MAX_FRAME_SAMPLES],
            tick_samples,
        }
    }

    /// Where the client in `channel` puts its sound.
    pub(super) fn source(&mut self, channel: usize) -> &mut Source {
        &mut self.sources[channel]
    }

    /// Mixes everyone for the listener in `own`: each at the listener's gain and pan, and at both their
    /// fades (its own sound only at its own). Not limited: what exceeds full scale is clipped by the encoder,
    /// as in a stock server.
    pub(super) fn mix_for(&mut self, own: usize, view: &View, layout: Layout, fade: f32) -> &[f32] {
        let mix = &mut self.mix[..layout.channels() * self.tick_samples];
        mix.fill(0.0);
        for (channel, source) in self.sources.iter().enumerate() {
            // Observed on Jamulus 3.9.1: oneself fades in linearly, others with the product.
            let listeners_fade = if channel == own { 1.0 } else { fade };
            let gain = view.gain(channel) * source.fade * listeners_fade;
            if !source.is_audible || gain == 0.0 {
                continue;
            }
            let gains = match layout {
                Layout::Mono => StereoGain::uniform(gain),
                Layout::Stereo => StereoGain::panned(gain, view.pan(channel)),
            };
            let samples = &source.samples[..source.layout.channels() * self.tick_samples];
            mix_into(mix, layout, samples, source.layout, gains);
        }
        mix
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::ChannelId;

    fn constant(mixer: &mut Mixer, channel: usize, layout: Layout, fade: f32, values: &[f32]) {
        mixer.source(channel).fill(layout, fade, 2, |out| {
            out.copy_from_slice(values);
            true
        });
    }

    #[test]
    fn each_listener_hears_a_mix_of_its_own() {
        let mut mixer = Mixer::new(3, 2);
        constant(&mut mixer, 0, Layout::Mono, 1.0, &[0.5, 0.25]);
        constant(&mut mixer, 1, Layout::Stereo, 0.5, &[0.5, 0.25, -0.5, 0.5]);
        let mut view = View::new();
        assert_eq!(mixer.mix_for(2, &view, Layout::Mono, 1.0), [0.6875, 0.25]);
        assert_eq!(mixer.mix_for(2, &view, Layout::Stereo, 1.0), [0.75, 0.625, 0.0, 0.5]);
        assert_eq!(mixer.mix_for(2, &view, Layout::Stereo, 0.5), [0.375, 0.3125, 0.0, 0.25]);
        assert_eq!(mixer.mix_for(1, &view, Layout::Stereo, 0.5), [0.5, 0.375, -0.125, 0.375]);
        view.set_pan(ChannelId(0), 0);
        view.set_gain(ChannelId(1), 0);
        assert_eq!(mixer.mix_for(2, &view, Layout::Stereo, 1.0), [0.5, 0.0, 0.25, 0.0]);
        mixer.source(0).silence();
        assert_eq!(mixer.mix_for(2, &view, Layout::Stereo, 1.0), [0.0; 4]);
    }
}
