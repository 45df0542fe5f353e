//! A look inside for the demo and the tests, which otherwise see only what a host sees.
//!
//! Two C functions in the plugin's library, no part of any plugin API: no host calls them.

use std::ffi::c_char;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[expect(
    clippy::disallowed_types,
    reason = "main threads create and drop instances, and tests ask; never the audio thread"
)]
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::guard::Guard;
use super::html;
use crate::client::{Alignment, ConnectionState, Handle, HostActivity, Snapshot};

/// The living instances of this library, in order of creation.
#[expect(clippy::disallowed_types, reason = "see above")]
static INSTANCES: Mutex<Vec<Entry>> = Mutex::new(Vec::new());

#[derive(Clone)]
struct Entry {
    number: u64,
    /// `None` if creating the client failed.
    handle: Option<Handle>,
    guard: Arc<Guard>,
}

/// Keeps an instance in the list; dropping it takes the instance off.
pub struct Registration(u64);

/// Puts an instance on the list.
pub fn register(handle: Option<Handle>, guard: Arc<Guard>) -> Registration {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    INSTANCES.lock().push(Entry { number, handle, guard });
    Registration(number)
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut instances = INSTANCES.lock();
        let found = instances.iter().position(|entry| entry.number == self.0);
        let entry = found.map(|index| instances.remove(index));
        // The last handle waits for the network thread: not while the list is locked.
        drop(instances);
        drop(entry);
    }
}

/// Tells about the `index`-th living instance, in order of creation: writes at most `capacity` bytes
/// of JSON to `out` and returns the length of the whole text, or 0 when there is no such instance.
///
/// # Safety
/// `out` is valid for writing `capacity` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn jamulet_diagnostics(index: usize, out: *mut u8, capacity: usize) -> usize {
    let Some(entry) = instance(index) else { return 0 };
    let snapshot = entry.handle.as_ref().map(Handle::snapshot).unwrap_or_default();
    let text = describe(&snapshot, entry.guard.fault()).to_string();
    // SAFETY: the caller's promise; the text is no longer than its own length.
    unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), out, text.len().min(capacity)) };
    text.len()
}

/// Says `text` (UTF-8, ends with NUL) in the chat of the `index`-th living instance; whether there is one.
///
/// # Safety
/// `text` points to a string that ends with NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn jamulet_chat(index: usize, text: *const c_char) -> bool {
    // SAFETY: the caller's promise.
    let text = unsafe { std::ffi::CStr::from_ptr(text) }.to_string_lossy();
    instance(index).and_then(|entry| entry.handle).inspect(|handle| handle.chat(&text)).is_some()
}

fn instance(index: usize) -> Option<Entry> {
    INSTANCES.lock().get(index).cloned()
}

fn describe(snapshot: &Snapshot, fault: Option<&str>) -> Value {
    let (state, reason, channel) = match &snapshot.state {
        ConnectionState::Idle => ("idle", None, None),
        ConnectionState::Resolving => ("resolving", None, None),
        ConnectionState::Connecting { .. } => ("connecting", None, None),
        ConnectionState::Connected { channel, .. } => ("connected", None, Some(channel.0)),
        ConnectionState::Waiting(failure) => ("waiting", Some(failure.to_string()), None),
        ConnectionState::Failed(failure) => ("failed", Some(failure.to_string()), None),
    };
    let host = match snapshot.host {
        HostActivity::Steady => "steady",
        HostActivity::Stopped => "stopped",
        HostActivity::Bursts => "bursts",
        HostActivity::Rendering => "rendering",
    };
    let clients: Vec<Value> = snapshot
        .clients
        .iter()
        .map(
            |client| json!({"channel": client.channel.0, "name": client.info.name, "city": client.info.city}),
        )
        .collect();
    let strips: Vec<Value> = snapshot
        .strips
        .iter()
        .map(|strip| {
            json!({
                "channel": strip.channel.0,
                "slot": strip.slot,
                "fader": strip.fader,
                "pan": strip.pan,
                "mute": strip.mute,
                "solo": strip.solo,
            })
        })
        .collect();
    let stats = snapshot.stats;
    let (alignment, alignment_ms) = match snapshot.alignment {
        Alignment::Unknown => ("unknown", None),
        Alignment::Estimated(ms) => ("estimated", Some(ms)),
        Alignment::Exact(ms) => ("exact", Some(ms)),
    };
    json!({
        "state": state,
        "reason": reason,
        "channel": channel,
        "clients": clients,
        "strips": strips,
        "chat": snapshot.chat.iter().map(|line| html::plain_text(line)).collect::<Vec<_>>(),
        "welcome": snapshot.welcome.as_deref().map(html::plain_text),
        "server_version": snapshot.server_version,
        "ping_ms": snapshot.ping_ms,
        "delay_ms": snapshot.delay.map(|delay| delay.total_ms()),
        "delay_parts_ms": snapshot.delay.map(|delay| delay.parts().map(|(_, ms)| ms)),
        "drift_ppm": snapshot.drift_ppm,
        "jamulus_delay_ms": snapshot.delay.map(|delay| delay.jamulus_ms),
        "alignment": alignment,
        "alignment_ms": alignment_ms,
        "alignment_grown": snapshot.alignment_grown,
        "client_buffer_frames": snapshot.client_buffer_frames,
        "server_buffer_frames": snapshot.server_buffer_frames,
        "frame_samples": snapshot.format.map(|format| format.frame.samples()),
        "frame_bytes": snapshot.format.map(|format| format.frame_bytes()),
        "channels": snapshot.format.map(|format| format.layout.channels()),
        "sent": stats.sent,
        "received": stats.received,
        "lost": stats.lost,
        "late": stats.late,
        "concealed": stats.concealed,
        "slipped": stats.slipped,
        "held_back": stats.held_back,
        "wrong_size": stats.wrong_size,
        "upstream_kbps": snapshot.upstream_kbps,
        "host": host,
        "feedback": snapshot.feedback,
        "fault": snapshot.fault.as_deref().or(fault),
    })
}
