//! What the tests and the demo share: headless hosts, stock peers, a network simulator, signal analysis.

#[cfg(target_os = "linux")]
pub mod jack;
pub mod signal;
#[cfg(target_os = "linux")]
pub mod stock;
