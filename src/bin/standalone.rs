//! The `jamulet` standalone app.
fn main() {}
