//! What the tests and the demo share: headless hosts, stock peers, a network simulator, signal analysis.

pub mod netem;
