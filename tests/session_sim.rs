//! The session room on the virtual clock: no socket, no thread, no real time.

#[path = "session_sim/client.rs"]
mod client;
#[path = "session_sim/connection.rs"]
mod connection;
#[path = "session_sim/grid.rs"]
mod grid;
#[path = "session_sim/hostile.rs"]
mod hostile;
#[path = "session_sim/model.rs"]
mod model;
#[path = "session_sim/replay.rs"]
mod replay;
