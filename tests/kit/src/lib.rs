//! What the tests and the demo share: headless hosts, stock peers, a network simulator, signal analysis.

pub mod align;
pub mod child;
pub mod clap_host;
pub mod guard;
pub mod host;
pub mod pace;
pub mod part;
pub mod track;
pub mod vst3_host;
pub mod wav;
pub mod window;
