//! What the tests and the demo share: headless hosts, stock peers, a network simulator, signal analysis.

#[cfg(target_os = "linux")]
pub mod ardour;
pub mod chart;
pub mod child;
pub mod clap_host;
pub mod diagnostics;
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
pub mod guard;
#[cfg(not(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")))]
#[path = "guard_elsewhere.rs"]
pub mod guard;
pub mod host;
#[cfg(target_os = "linux")]
pub mod jack;
pub mod mixture;
pub mod musician;
pub mod netem;
pub mod pace;
pub mod part;
pub mod pcap;
pub mod player;
#[cfg(target_os = "linux")]
pub mod probe;
pub mod recording;
pub mod signal;
pub mod sim;
#[cfg(target_os = "linux")]
pub mod small_disk;
#[cfg(target_os = "linux")]
pub mod stall_watch;
#[cfg(target_os = "linux")]
pub mod stock;
pub mod track;
pub mod vst3_host;
pub mod wav;
pub mod window;
