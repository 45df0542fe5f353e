//! Doors to the operating system: the clock, UDP sockets, waiting, names, thread priority.
//! No message is parsed here; each piece runs on its caller's thread.

mod batch;
mod clock;
mod pin;
mod priority;
mod resolve;
mod socket;
mod srv;
mod waiter;

pub use batch::{ReceiveBatch, SendBatch};
pub use clock::{clock_now, thread_cpu_micros};
pub use pin::pin_this_library;
pub use priority::raise_thread_priority;
pub use resolve::{resolve, resolve_server};
pub use socket::{BindOptions, DEFAULT_TOS, Socket};
pub use waiter::{Waiter, Waker};
