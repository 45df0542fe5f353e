//! Names to addresses, on threads of their own: the system's look-ups block, and cannot be interrupted.

use std::net::SocketAddr;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam::channel::Sender;

use crate::net::{Waker, pin_this_library, resolve_server};
use crate::protocol::ServerAddress;

/// Look-ups that may be under way at once in the whole process; the system's own limit on each is long.
const MAX_LOOKUPS: usize = 8;

static LOOKUPS: AtomicUsize = AtomicUsize::new(0);

/// What was asked, and the addresses, best first; `None` when there are none.
pub(super) type Answer<Question> = (Question, Option<Vec<SocketAddr>>);

/// Asks the system for `address`; `false` when too many are already asking. The answer goes to `answers`, and then
/// `waker` wakes who waits for it.
pub(super) fn look_up<Question: Send + 'static>(
    question: Question,
    address: ServerAddress,
    answers: Sender<Answer<Question>>,
    waker: Waker,
) -> bool {
    if LOOKUPS.fetch_add(1, Ordering::Relaxed) >= MAX_LOOKUPS {
        LOOKUPS.fetch_sub(1, Ordering::Relaxed);
        return false;
    }
    // The system gives no way to interrupt a look-up, so this thread may outlive the plugin.
    pin_this_library();
    let thread = std::thread::Builder::new().name("jamulet-resolve".to_owned()).spawn(move || {
        let addresses = catch_unwind(|| resolve_server(&address).ok()).unwrap_or(None);
        LOOKUPS.fetch_sub(1, Ordering::Relaxed);
        let _ = answers.send((question, addresses));
        waker.wake();
    });
    if thread.is_err() {
        LOOKUPS.fetch_sub(1, Ordering::Relaxed);
    }
    thread.is_ok()
}
