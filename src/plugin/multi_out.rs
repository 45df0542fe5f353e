//! The flavour with an output for each part: hosts that handle extra outputs well record all in one go.

use std::num::NonZeroU32;
use std::sync::Arc;

use nice_plug::prelude::*;

use super::editor::JamuletEditor;
use super::{Jamulet, Output};
use crate::client::{Controls, ExtraOutputs};

/// Jamulet with three stereo outputs: the main one is the sum of "others" and "me, aligned", which follow.
#[derive(Default)]
pub struct JamuletMultiOut(Jamulet);

const STEREO: NonZeroU32 = NonZeroU32::new(2).expect("not zero");

impl Plugin for JamuletMultiOut {
    const NAME: &'static str = "Jamulet Multi-Out";
    const VENDOR: &'static str = Jamulet::VENDOR;
    const URL: &'static str = Jamulet::URL;
    const EMAIL: &'static str = Jamulet::EMAIL;
    const VERSION: &'static str = Jamulet::VERSION;
    const AUDIO_IO_LAYOUTS: &'static [AudioIOLayout] = &[AudioIOLayout {
        main_input_channels: Some(STEREO),
        main_output_channels: Some(STEREO),
        aux_output_ports: &[STEREO, STEREO],
        names: PortNames {
            layout: Some("Multi-Out"),
            aux_outputs: &["Others", "Me, aligned"],
            ..PortNames::const_default()
        },
        ..AudioIOLayout::const_default()
    }];
    const HARD_REALTIME_ONLY: bool = Jamulet::HARD_REALTIME_ONLY;

    type Editor = JamuletEditor;
    type SysExMessage = ();
    type BackgroundTask = ();

    fn params(&self) -> Arc<dyn Params> {
        self.0.instance.params.clone()
    }

    fn editor(&mut self, _executor: AsyncExecutor<Self>) -> Option<JamuletEditor> {
        Some(JamuletEditor::new(Arc::clone(&self.0.instance), false))
    }

    fn filter_state(state: &mut PluginState) {
        Jamulet::filter_state(state);
    }

    fn activate(
        &mut self,
        layout: &AudioIOLayout,
        config: &BufferConfig,
        context: &mut impl ActivateContext<Self>,
    ) -> bool {
        let (latency, works) = self.0.prepare(layout, config, context.plugin_api());
        context.set_latency_samples(latency);
        works
    }

    fn reset(&mut self) {
        self.0.forget();
    }

    fn process(
        &mut self,
        buffer: &mut Buffer<'_>,
        aux: &mut AuxiliaryBuffers<'_>,
        context: &mut impl ProcessContext<Self>,
    ) -> ProcessStatus {
        let controls = self.0.controls(context.plugin_api(), context.transport().playing);
        // Its outputs are what they are called, whatever was chosen for the other flavour.
        let controls = Controls { output: Output::Others, ..controls };
        let extra = match aux.outputs {
            [others, aligned, ..] => ExtraOutputs { others: stereo(others), aligned: stereo(aligned) },
            _ => ExtraOutputs { others: Default::default(), aligned: Default::default() },
        };
        self.0.run(buffer, Some(extra), &controls);
        ProcessStatus::KeepAlive
    }
}

/// Both channels of an output; empty ones where the host left it out.
fn stereo<'a>(output: &'a mut Buffer<'_>) -> [&'a mut [f32]; 2] {
    match output.as_slice() {
        [left, right, ..] => [left, right],
        _ => Default::default(),
    }
}

impl ClapPlugin for JamuletMultiOut {
    const CLAP_ID: &'static str = "org.jamulet.jamulet-multi-out";
    const CLAP_DESCRIPTION: Option<&'static str> =
        Some("Jamulet with separate outputs: the others, and your own track lined up with them");
    const CLAP_MANUAL_URL: Option<&'static str> = None;
    const CLAP_SUPPORT_URL: Option<&'static str> = None;
    const CLAP_FEATURES: &'static [ClapFeature] =
        &[ClapFeature::AudioEffect, ClapFeature::Utility, ClapFeature::Stereo];
}

impl Vst3Plugin for JamuletMultiOut {
    const VST3_CLASS_ID: [u8; 16] = *b"JamuletMultiOut1";
    const VST3_SUBCATEGORIES: &'static [Vst3SubCategory] = Jamulet::VST3_SUBCATEGORIES;
}
