//! The network thread: the door between [`Pump`] and the system.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam::channel::{Sender, unbounded};

use super::handle::Notify;
use super::look_up::{Answer, look_up};
use super::pump::{Effect, Pump};
use super::shared::Shared;
use super::{ConnectionState, Snapshot};
use crate::net::{BindOptions, ReceiveBatch, SendBatch, Socket, Waiter, clock_now, raise_thread_priority};
use crate::protocol::{Host, ServerAddress};
use crate::units::Time;

/// Longest that leaving a session may hold up the end of the plugin.
pub(super) const GOODBYE: Duration = Duration::from_millis(400);
/// Datagrams read at once; one client gets a few per millisecond at most.
const RECEIVE_SLOTS: usize = 16;

/// What the thread is made of.
pub(super) struct Driver {
    pub(super) waiter: Waiter,
    pub(super) pump: Pump,
    pub(super) shared: Arc<Shared>,
    pub(super) notify: Arc<Notify>,
}

impl Driver {
    /// Runs until the plugin is gone. A panic ends the session, not the host.
    pub(super) fn run(mut self) {
        raise_thread_priority();
        if catch_unwind(AssertUnwindSafe(|| self.run_until_shut_down())).is_err() {
            self.shared.faulted.store(true, Ordering::Release);
            self.shared.set_live_generation(0);
            let old = self.shared.snapshot.load();
            self.shared.snapshot.store(Arc::new(Snapshot {
                address: old.address.clone(),
                chat: old.chat.clone(),
                state: ConnectionState::Idle,
                fault: Some(
                    "Jamulet's network part stopped because of an error of its own. The track's sound passes through; \
                     save the project and load the plugin again."
                        .to_owned(),
                ),
                ..Snapshot::default()
            }));
            self.notify.call();
        }
    }

    fn run_until_shut_down(&mut self) {
        let (answer_sender, answers) = unbounded();
        let mut line = Line {
            socket: None,
            inbox: ReceiveBatch::new(RECEIVE_SLOTS),
            outbox: SendBatch::new(64, 64 << 10),
        };
        let mut give_up: Option<Time> = None;
        loop {
            let now = clock_now();
            self.pump.handle_commands(now);
            if self.pump.is_shutting_down() {
                give_up.get_or_insert(now + GOODBYE);
            }
            while let Ok((request, addresses)) = answers.try_recv() {
                self.pump.handle_resolved(now, request, addresses);
            }
            if let Err(error) = line.exchange(&mut self.waiter, &mut self.pump) {
                self.pump.handle_socket_error(now, error.to_string());
                line.close(&mut self.waiter);
            }
            self.handle_effects(&answer_sender);
            if self.pump.publish() {
                self.notify.call();
            }
            if self.pump.is_finished() || give_up.is_some_and(|deadline| now >= deadline) {
                return;
            }
            let deadline = self.pump.poll_timeout().into_iter().chain(give_up).min();
            let timeout = deadline.map(|deadline| deadline.since(clock_now()));
            if self.waiter.wait(line.socket.as_ref(), timeout).is_err() {
                // Nothing that anybody could mend; without an end a broken poller would burn a core.
                self.pump.handle_socket_error(clock_now(), "waiting for the network failed".to_owned());
                self.pump.publish();
                self.notify.call();
                return;
            }
        }
    }

    fn handle_effects(&mut self, answers: &Sender<Answer<u64>>) {
        while let Some(Effect::Resolve { request, host, port }) = self.pump.poll_effect() {
            let address = ServerAddress { host: Host::Name(host), port };
            if !look_up(request, address, answers.clone(), self.waiter.waker()) {
                let _ = answers.send((request, None));
                self.waiter.waker().wake();
            }
        }
    }
}

/// The socket, while one is wanted, and its buffers.
struct Line {
    socket: Option<Socket>,
    inbox: ReceiveBatch,
    outbox: SendBatch,
}

impl Line {
    /// Opens or closes the socket as the pump wants; then everything in, and everything out.
    fn exchange(&mut self, waiter: &mut Waiter, pump: &mut Pump) -> io::Result<()> {
        if pump.wants_socket() && self.socket.is_none() {
            let socket = Socket::bind(&BindOptions::default())?;
            waiter.watch(&socket)?;
            self.socket = Some(socket);
        }
        let Some(socket) = &self.socket else {
            // An attempt to reconnect may be due.
            pump.handle_timeout(clock_now());
            return Ok(());
        };
        while socket.receive(&mut self.inbox)? > 0 {
            let now = clock_now();
            for (from, datagram) in self.inbox.iter() {
                pump.handle_datagram(now, from, datagram);
            }
        }
        let now = clock_now();
        pump.handle_uplink(now);
        pump.handle_timeout(now);
        pump.drain_transmits(now, &mut |to, datagram| {
            if !self.outbox.push(to, datagram) {
                socket.send(&mut self.outbox);
                let _ = self.outbox.push(to, datagram);
            }
        });
        socket.send(&mut self.outbox);
        if !pump.wants_socket() {
            self.close(waiter);
        }
        Ok(())
    }

    fn close(&mut self, waiter: &mut Waiter) {
        if let Some(socket) = self.socket.take() {
            // Closing takes it out of the poller as well.
            let _ = waiter.unwatch(&socket);
        }
    }
}
