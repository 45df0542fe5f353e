//! The personal mixes of one tick.
//!
//! What a listener hears of a source goes over a tick from how it was last heard to how it shall be
//! heard now: faders jump (stock clients send them every 50 ms), and so do fades, which count packets.

use crate::audio::{Limiter, MAX_PAN_DELAY_SAMPLES, PanDelay, StereoGain, mix_delayed_into, mix_ramped_into};
use crate::units::{Layout, MAX_FRAME_SAMPLES};

use super::view::View;

/// Values of the longest tick.
const MAX_VALUES: usize = 2 * MAX_FRAME_SAMPLES;
/// Values that delay panning looks back.
const MAX_HISTORY: usize = 2 * MAX_PAN_DELAY_SAMPLES;

/// What one client adds to the mix in a tick.
pub(super) struct Source {
    /// The last [`MAX_PAN_DELAY_SAMPLES`] of the tick before, then the tick's sound.
    sound: [f32; MAX_HISTORY + MAX_VALUES],
    layout: Layout,
    /// The client's fade-in, 0..=1.
    fade: f32,
    is_audible: bool,
    /// Delay panning still plays the end of it.
    has_history: bool,
}

impl Source {
    const SILENT: Self = Self {
        sound: [0.0; MAX_HISTORY + MAX_VALUES],
        layout: Layout::Mono,
        fade: 0.0,
        is_audible: false,
        has_history: false,
    };

    /// Nothing comes from this client.
    pub(super) fn silence(&mut self) {
        if self.is_audible || self.has_history {
            *self = Self::SILENT;
        }
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
        let history = layout.channels() * MAX_PAN_DELAY_SAMPLES;
        let values = layout.channels() * tick_samples;
        if layout == self.layout {
            self.sound.copy_within(values..values + history, 0);
        } else {
            self.sound[..history].fill(0.0);
        }
        let sound = &mut self.sound[history..history + values];
        self.has_history = self.is_audible && layout == self.layout;
        let is_audible = fill(sound);
        (self.layout, self.fade) = (layout, fade);
        self.is_audible = is_audible && fade > 0.0;
        sound
    }

    /// The tick's sound and what was before it.
    fn sound(&self, tick_samples: usize) -> &[f32] {
        &self.sound[..self.layout.channels() * (MAX_PAN_DELAY_SAMPLES + tick_samples)]
    }
}

/// How a listener hears a source.
#[derive(Clone, Copy, PartialEq)]
struct Heard {
    gains: StereoGain,
    delay: PanDelay,
}

impl Heard {
    const NOT: Self = Self { gains: StereoGain::uniform(0.0), delay: PanDelay::NONE };
}

/// Room for the sources of a tick and for one mix at a time; nothing is allocated after `new`.
pub(super) struct Mixer {
    /// By channel.
    sources: Box<[Source]>,
    /// How everyone heard everyone at the end of the last tick: a row for each listener.
    heard: Box<[Heard]>,
    /// By listener.
    limiters: Box<[Limiter]>,
    mix: [f32; MAX_VALUES],
    tick_samples: usize,
    delay_pan: bool,
}

impl Mixer {
    /// For `slots` channels and ticks of `tick_samples`. `delay_pan`: stereo listeners hear where somebody
    /// stands by when the sound comes on each side, not by how loud it is.
    pub(super) fn new(slots: usize, tick_samples: usize, delay_pan: bool) -> Self {
        Self {
            sources: std::iter::repeat_with(|| Source::SILENT).take(slots).collect(),
            heard: vec![Heard::NOT; slots * slots].into(),
            limiters: vec![Limiter::new(); slots].into(),
            mix: [0.0; MAX_VALUES],
            tick_samples,
            delay_pan,
        }
    }

    /// Where the client in `channel` puts its sound.
    pub(super) fn source(&mut self, channel: usize) -> &mut Source {
        &mut self.sources[channel]
    }

    /// The client in `channel` has left: nothing of what it played and heard is for the next one there.
    pub(super) fn vacate(&mut self, channel: usize) {
        let slots = self.sources.len();
        self.sources[channel] = Source::SILENT;
        self.heard[channel * slots..][..slots].fill(Heard::NOT);
        self.limiters[channel] = Limiter::new();
    }

    /// Mixes everyone for the listener in `own`: each at the listener's gain and pan, and at both their
    /// fades (its own sound only at its own). Above −1 dBFS the mix is limited.
    pub(super) fn mix_for(&mut self, own: usize, view: &View, layout: Layout, fade: f32) -> &[f32] {
        let mix = &mut self.mix[..layout.channels() * self.tick_samples];
        mix.fill(0.0);
        let slots = self.sources.len();
        let row = &mut self.heard[own * slots..][..slots];
        for ((channel, source), heard) in self.sources.iter().enumerate().zip(row) {
            // Observed on Jamulus 3.9.1: oneself fades in linearly, others with the product.
            let listeners_fade = if channel == own { 1.0 } else { fade };
            let gain = view.gain(channel) * source.fade * listeners_fade;
            let is_sounding = source.is_audible || self.delay_pan && source.has_history;
            let now = match layout {
                _ if !is_sounding => Heard::NOT,
                Layout::Mono => Heard { gains: StereoGain::uniform(gain), delay: PanDelay::NONE },
                Layout::Stereo if self.delay_pan => {
                    Heard { gains: StereoGain::uniform(gain), delay: PanDelay::panned(view.pan(channel)) }
                }
                Layout::Stereo => {
                    Heard { gains: StereoGain::panned(gain, view.pan(channel)), delay: PanDelay::NONE }
                }
            };
            let before = std::mem::replace(heard, now);
            if is_sounding && !(before.gains.is_silent() && now.gains.is_silent()) {
                add(mix, layout, source, self.tick_samples, [before, now]);
            }
        }
        self.limiters[own].limit(mix, layout);
        mix
    }
}

/// Adds `source` to `mix`, going from how it was heard to how it is heard now.
fn add(mix: &mut [f32], layout: Layout, source: &Source, tick_samples: usize, [before, now]: [Heard; 2]) {
    let sound = source.sound(tick_samples);
    let ramp = [before.gains, now.gains];
    if before.delay == now.delay && now.delay == PanDelay::NONE {
        let tick = &sound[source.layout.channels() * MAX_PAN_DELAY_SAMPLES..];
        mix_ramped_into(mix, layout, tick, source.layout, ramp);
    } else if before.delay == now.delay {
        mix_delayed_into(mix, sound, source.layout, now.delay, ramp);
    } else {
        let silent = StereoGain::uniform(0.0);
        mix_delayed_into(mix, sound, source.layout, before.delay, [before.gains, silent]);
        mix_delayed_into(mix, sound, source.layout, now.delay, [silent, now.gains]);
    }
}

#[cfg(test)]
mod tests {
    use std::f32::consts::TAU;

    use super::*;
    use crate::units::ChannelId;

    fn constant(mixer: &mut Mixer, channel: usize, layout: Layout, fade: f32, values: &[f32]) {
        mixer.source(channel).fill(layout, fade, 2, |out| {
            out.copy_from_slice(values);
            true
        });
    }

    /// The mix after changes have been worked off.
    fn settled(mixer: &mut Mixer, own: usize, view: &View, layout: Layout, fade: f32) -> Vec<f32> {
        mixer.mix_for(own, view, layout, fade);
        mixer.mix_for(own, view, layout, fade).to_vec()
    }

    #[test]
    fn each_listener_hears_a_mix_of_its_own() {
        let mut mixer = Mixer::new(3, 2, false);
        constant(&mut mixer, 0, Layout::Mono, 1.0, &[0.5, 0.25]);
        constant(&mut mixer, 1, Layout::Stereo, 0.5, &[0.5, 0.25, -0.5, 0.5]);
        let mut view = View::new();
        assert_eq!(settled(&mut mixer, 2, &view, Layout::Mono, 1.0), [0.6875, 0.25]);
        assert_eq!(settled(&mut mixer, 2, &view, Layout::Stereo, 1.0), [0.75, 0.625, 0.0, 0.5]);
        assert_eq!(settled(&mut mixer, 2, &view, Layout::Stereo, 0.5), [0.375, 0.3125, 0.0, 0.25]);
        assert_eq!(settled(&mut mixer, 1, &view, Layout::Stereo, 0.5), [0.5, 0.375, -0.125, 0.375]);
        view.set_pan(ChannelId(0), 0);
        view.set_gain(ChannelId(1), 0);
        assert_eq!(settled(&mut mixer, 2, &view, Layout::Stereo, 1.0), [0.5, 0.0, 0.25, 0.0]);
        mixer.source(0).silence();
        assert_eq!(settled(&mut mixer, 2, &view, Layout::Stereo, 1.0), [0.0; 4]);
    }

    #[test]
    fn a_loud_mix_is_limited_for_each_listener_alone() {
        let mut mixer = Mixer::new(2, 2, false);
        constant(&mut mixer, 0, Layout::Mono, 1.0, &[0.8, 0.8]);
        constant(&mut mixer, 1, Layout::Mono, 1.0, &[0.8, 0.8]);
        let (both, mut one) = (View::new(), View::new());
        one.set_gain(ChannelId(1), 0);
        let loud = settled(&mut mixer, 0, &both, Layout::Mono, 1.0);
        assert!(loud.iter().all(|value| (0.9..1.0).contains(value)), "{loud:?}");
        assert_eq!(settled(&mut mixer, 1, &one, Layout::Mono, 1.0), [0.8, 0.8]);
    }

    #[test]
    fn the_next_one_in_a_slot_inherits_nothing() {
        let mut mixer = Mixer::new(2, 2, false);
        constant(&mut mixer, 1, Layout::Mono, 1.0, &[3.0, 3.0]);
        settled(&mut mixer, 0, &View::new(), Layout::Mono, 1.0);
        mixer.vacate(0);
        assert_eq!(
            mixer.mix_for(0, &View::new(), Layout::Mono, 0.0),
            [0.0, 0.0],
            "it has just begun to fade in"
        );
        constant(&mut mixer, 1, Layout::Mono, 1.0, &[0.5, 0.5]);
        assert_eq!(settled(&mut mixer, 0, &View::new(), Layout::Mono, 1.0), [0.5, 0.5], "nothing is limited");
    }

    /// What a listener hears of a 250 Hz sine on the left, or both sides, over ticks in which `turn` moves
    /// the knobs.
    fn hear(delay_pan: bool, from: Layout, to: Layout, mut turn: impl FnMut(usize, &mut View)) -> Vec<f32> {
        let mut mixer = Mixer::new(2, 128, delay_pan);
        let mut view = View::new();
        let mut heard = Vec::new();
        for tick in 0..60 {
            turn(tick, &mut view);
            mixer.source(0).fill(from, 1.0, 128, |out| {
                for (at, sample) in out.chunks_mut(from.channels()).enumerate() {
                    sample.fill(0.5 * (TAU * 250.0 * (tick * 128 + at) as f32 / 48_000.0).sin());
                }
                true
            });
            heard.extend_from_slice(mixer.mix_for(1, &view, to, 1.0));
        }
        heard.drain(..10 * 128 * to.channels());
        heard
    }

    fn largest_step(heard: &[f32], channels: usize) -> f32 {
        let steps = heard.windows(channels + 1).map(|pair| (pair[channels] - pair[0]).abs());
        steps.fold(0.0, f32::max)
    }

    /// Of the sine itself.
    const SINE_STEP: f32 = 0.5 * TAU * 250.0 / 48_000.0;

    #[test]
    fn a_fader_that_jumps_does_not_click() {
        let jump = |tick: usize, view: &mut View| {
            view.set_gain(ChannelId(0), if tick % 4 < 2 { 0 } else { 32768 });
            view.set_pan(ChannelId(0), if tick % 6 < 3 { 0 } else { 32768 });
        };
        for from in [Layout::Mono, Layout::Stereo] {
            for to in [Layout::Mono, Layout::Stereo] {
                for delay_pan in [false, true] {
                    let heard = hear(delay_pan, from, to, jump);
                    let loudest = heard.iter().fold(0.0_f32, |loudest, value| loudest.max(value.abs()));
                    assert!(loudest > 0.45, "it is heard: {loudest}");
                    let step = largest_step(&heard, to.channels());
                    // The slope of the ramp, once for each of two crossing ones, comes on top of the sine's.
                    let ramp = 0.5 / 128.0 * if delay_pan { 2.0 } else { 1.0 };
                    assert!(step < SINE_STEP + ramp, "{from:?} to {to:?}, delay pan {delay_pan}: {step}");
                }
            }
        }
    }

    #[test]
    fn knobs_that_rest_leave_the_sine_alone() {
        for delay_pan in [false, true] {
            let heard =
                hear(delay_pan, Layout::Mono, Layout::Stereo, |_, view| view.set_pan(ChannelId(0), 4096));
            assert!(largest_step(&heard, 2) < SINE_STEP * 1.001);
        }
    }

    #[test]
    fn delay_panning_holds_back_the_far_side_only() {
        for from in [Layout::Mono, Layout::Stereo] {
            for (pan, lags) in [(0, [0, 63]), (8192, [0, 32]), (16384, [0, 0]), (32768, [63, 0])] {
                let heard = hear(true, from, Layout::Stereo, |_, view| view.set_pan(ChannelId(0), pan));
                for (at, sample) in heard.as_chunks::<2>().0.iter().enumerate() {
                    for (value, lag) in sample.iter().zip(lags) {
                        let at = (1280 + at - lag) as f32;
                        let expected = 0.5 * (TAU * 250.0 * at / 48_000.0).sin();
                        assert!((value - expected).abs() < 1e-3, "{from:?} pan {pan}");
                    }
                }
            }
            // A mono listener has no pan.
            let heard = hear(true, from, Layout::Mono, |_, view| view.set_pan(ChannelId(0), 0));
            assert!((heard[0] - 0.5 * (TAU * 250.0 * 1280.0 / 48_000.0).sin()).abs() < 1e-3);
        }
    }

    #[test]
    fn the_held_back_side_ends_where_the_sound_ends() {
        let mut mixer = Mixer::new(2, 128, true);
        let mut view = View::new();
        view.set_pan(ChannelId(0), 0);
        let mut heard = Vec::new();
        for tick in 0..4 {
            let is_on = tick < 2;
            mixer.source(0).fill(Layout::Mono, 1.0, 128, |out| {
                out.fill(if is_on { 0.5 } else { 0.0 });
                is_on
            });
            heard.extend_from_slice(mixer.mix_for(1, &view, Layout::Stereo, 1.0));
        }
        let ends = [0, 1].map(|side| heard.chunks(2).rposition(|sample| sample[side] == 0.5));
        assert_eq!(ends, [Some(255), Some(255 + 63)]);
        assert!(heard[2 * (256 + 63)..].iter().all(|value| *value == 0.0));
    }
}
