//! JSON-RPC over TCP: the door, the secret, and how fast anyone may ask.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::door::{Dialogue, Door, Next, listen};
use super::guesses::{Guesses, Pace};
use super::jsonrpc::{self, MAX_LINE_BYTES, Reply, Session};
use super::methods::Desk;
use super::secret::Secret;
use super::{AdminError, notification};
use crate::server::event::Event;
use crate::server::handle::Handle;
use crate::units::Time;

/// Where JSON-RPC listens unless told otherwise: only programs on this machine reach it.
pub const DEFAULT_RPC_IP: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Calls a second that a connection may make for long; more have to wait.
const CALLS_PER_SECOND: u32 = 50;
/// Calls that it may make at once.
const CALLS_AT_ONCE: u32 = 100;
const PURPOSE: &str = "JSON-RPC";

/// How to offer JSON-RPC.
#[derive(Clone, Debug)]
pub struct RpcOptions {
    /// Where to listen; port 0 takes any free one.
    pub address: SocketAddr,
    /// What clients must know.
    pub secret: Secret,
}

/// JSON-RPC of a running server over TCP. Dropping it stops it.
pub struct RpcServer {
    door: Door,
    address: SocketAddr,
}

impl RpcServer {
    /// Listens, and answers from now on.
    ///
    /// # Errors
    /// When the address cannot be used.
    pub fn start(options: RpcOptions, handle: Handle) -> Result<Self, AdminError> {
        let system = |error| AdminError::System { purpose: PURPOSE, error };
        let listener = listen(options.address)
            .map_err(|error| AdminError::listening(options.address, PURPOSE, error))?;
        let address = listener.local_addr().map_err(system)?.as_socket().unwrap_or(options.address);
        let dialogue = Rpc::new(handle, Some(options.secret));
        let door = Door::open("jamulet-rpc", listener, dialogue).map_err(system)?;
        Ok(Self { door, address })
    }

    /// Where it listens, with the port in use.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Tells `event` to all authenticated clients, where JSON-RPC has a notification for it. Never blocks.
    pub fn notify(&self, event: &Event) {
        if let Some(line) = notification::line(event) {
            self.door.tell(line);
        }
    }

    /// Closes all connections and stops, within a second whatever clients do.
    pub fn stop(self) {
        drop(self);
    }
}

/// What is said on JSON-RPC connections, over TCP or not.
pub(super) struct Rpc {
    handle: Handle,
    secret: Option<Arc<Secret>>,
    guesses: Guesses,
    recording_refusal: String,
}

pub(super) struct Talk {
    session: Session,
    from: Option<IpAddr>,
    pace: Pace,
}

impl Rpc {
    /// `None` lets everyone in who can connect.
    pub(super) fn new(handle: Handle, secret: Option<Secret>) -> Self {
        let secret = secret.map(Arc::new);
        Self { handle, secret, guesses: Guesses::default(), recording_refusal: String::new() }
    }

    fn answer(&mut self, session: &mut Session, line: &[u8]) -> Reply {
        let (handle, asked) = (&self.handle, &self.handle);
        let mut execute = |command| handle.execute(command);
        let mut status = || asked.status();
        let mut desk = Desk::new(&mut execute, &mut status, &mut self.recording_refusal);
        jsonrpc::answer(session, line, &mut desk)
    }

    /// When the next line may be looked at, if not at once.
    fn wait_until(&self, now: Time, talk: &mut Talk) -> Option<Time> {
        let stranger = talk.from.filter(|_| !talk.session.is_authenticated());
        let guess = stranger.and_then(|from| self.guesses.wait_until(now, from));
        guess.into_iter().chain(talk.pace.wait_until(now)).max()
    }
}

impl Dialogue for Rpc {
    type Talk = Talk;

    fn open(&mut self, now: Time, from: Option<IpAddr>) -> Talk {
        let pace = Pace::new(now, CALLS_PER_SECOND, CALLS_AT_ONCE);
        Talk { session: Session::new(self.secret.clone()), from, pace }
    }

    fn step(&mut self, now: Time, talk: &mut Talk, input: &mut Vec<u8>, output: &mut Vec<u8>) -> Next {
        let end = input.iter().take(MAX_LINE_BYTES + 1).position(|&byte| byte == b'\n');
        if end.is_none() && input.len() <= MAX_LINE_BYTES {
            return Next::Read;
        }
        if let Some(until) = self.wait_until(now, talk) {
            return Next::Wait(until);
        }
        let reply = match end {
            Some(end) => {
                let reply = self.answer(&mut talk.session, &input[..end]);
                input.drain(..=end);
                reply
            }
            None => jsonrpc::answer_too_long(),
        };
        talk.pace.take(reply.calls);
        if let Some(from) = talk.from.filter(|_| reply.guessed_wrong) {
            self.guesses.note_wrong(now, from);
        }
        output.extend_from_slice(&reply.text);
        if reply.close { Next::Close } else { Next::Again }
    }

    fn is_trusted(&self, talk: &Talk) -> bool {
        talk.session.is_authenticated()
    }
}
