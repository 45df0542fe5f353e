//! JSON-RPC of a stock peer: one JSON object per line over TCP.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::Process;

/// How long a peer may take to come up or to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// One look at the socket.
const POLL: Duration = Duration::from_millis(20);

/// An authenticated connection.
pub struct Rpc {
    stream: BufReader<TcpStream>,
    partial_line: Vec<u8>,
    notifications: VecDeque<Value>,
    next_id: u64,
}

impl Rpc {
    /// Connects to `port` of `peer` as soon as it listens.
    pub(super) fn open(port: u16, secret: &str, peer: &mut Process) -> Result<Self> {
        let deadline = Instant::now() + PATIENCE;
        let stream = loop {
            match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
                Ok(stream) => break stream,
                Err(_) if Instant::now() < deadline && peer.exited()?.is_none() => std::thread::sleep(POLL),
                Err(error) => {
                    return Err(error).with_context(|| format!("no JSON-RPC from:\n{}", peer.log_tail()));
                }
            }
        };
        stream.set_read_timeout(Some(POLL))?;
        let mut rpc = Self {
            stream: BufReader::new(stream),
            partial_line: Vec::new(),
            notifications: VecDeque::new(),
            next_id: 1,
        };
        rpc.call("jamulus/apiAuth", json!({ "secret": secret }))?;
        Ok(rpc)
    }

    /// Calls `method` and returns its result.
    pub fn call(&mut self, method: &str, params: Value) -> Result<Value> {
        let id = self.next_id;
        self.next_id += 1;
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.stream.get_mut().write_all(format!("{request}\n").as_bytes())?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match self.read_line()? {
                Some(mut answer) if answer["id"] == id => {
                    if answer["error"].is_null() {
                        return Ok(answer["result"].take());
                    }
                    bail!("{method} failed: {}", answer["error"]);
                }
                Some(notification) => self.notifications.push_back(notification),
                None => {}
            }
        }
        bail!("no answer to {method} within {PATIENCE:?}")
    }

    /// Waits for a notification `method` whose parameters satisfy `wanted`, and returns them.
    /// Notifications before it are forgotten.
    pub fn wait_for(
        &mut self,
        method: &str,
        timeout: Duration,
        mut wanted: impl FnMut(&Value) -> bool,
    ) -> Result<Value> {
        let deadline = Instant::now() + timeout;
        let mut last_seen = Value::Null;
        while Instant::now() < deadline {
            let next = match self.notifications.pop_front() {
                Some(notification) => Some(notification),
                None => self.read_line()?,
            };
            let Some(mut notification) = next else { continue };
            if notification["method"] == method {
                if wanted(&notification["params"]) {
                    return Ok(notification["params"].take());
                }
                last_seen = notification["params"].take();
            }
        }
        bail!("no wanted {method} within {timeout:?}; the last one was {last_seen}")
    }

    /// One line, or `None` when none is complete yet.
    fn read_line(&mut self) -> Result<Option<Value>> {
        match self.stream.read_until(b'\n', &mut self.partial_line) {
            Ok(0) => bail!("the peer closed its JSON-RPC connection"),
            Ok(_) if self.partial_line.ends_with(b"\n") => {
                let line = std::mem::take(&mut self.partial_line);
                Ok(Some(serde_json::from_slice(&line)?))
            }
            Ok(_) => Ok(None),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
