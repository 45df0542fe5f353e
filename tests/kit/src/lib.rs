//! What the tests and the demo share: headless hosts, stock peers, a network simulator, signal analysis.

#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
pub mod guard;
#[cfg(target_os = "linux")]
pub mod jack;
pub mod netem;
pub mod signal;
#[cfg(target_os = "linux")]
pub mod stock;
