//! The `jamulet-server` binary.
fn main() {}
