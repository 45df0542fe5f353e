//! Asks a running server how it is: the other end of JSON-RPC, for `jamulet-server status`.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::SocketAddr;
#[cfg(unix)]
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
#[cfg(unix)]
use socket2::SockAddr;
use socket2::{Domain, Socket, Type};

use super::secret::Secret;
use super::stats::Stats;

/// How long a server may take to take a connection or to say something.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest line that is read, in bytes: several times the statistics of a full server.
const MAX_LINE_BYTES: u64 = 4 << 20;
/// Most lines between a question and its answer.
const MAX_LINES: usize = 10_000;

/// How to reach a running server.
#[derive(Clone, Debug)]
pub enum StatusSource {
    /// Its local socket.
    #[cfg(unix)]
    Console(PathBuf),
    /// Its JSON-RPC over TCP.
    Rpc {
        /// Where it listens.
        address: SocketAddr,
        /// What it wants to hear.
        secret: Secret,
    },
}

/// Why a server's status is not known. `Display` is one sentence with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// Nobody answers on the local socket.
    #[cfg(unix)]
    #[error("No server answers on {}. Is it running, and on that port?", .0.display())]
    NoConsole(PathBuf),
    /// The local socket is another user's.
    #[cfg(unix)]
    #[error("{} belongs to another user. Ask as that user or as root.", .0.display())]
    NotAllowed(PathBuf),
    /// Nobody answers on the TCP port.
    #[error("No server answers on {0}. Is it running, with --jsonrpcport?")]
    NoRpc(SocketAddr),
    /// The secret is not the server's.
    #[error(
        "The server does not accept this secret. Give --jsonrpcsecretfile the same file that the server has."
    )]
    WrongSecret,
    /// It does not know `jamulet/stats`.
    #[error("This server tells no statistics: it is no jamulet-server.")]
    NotJamulet,
    /// It says that something is wrong.
    #[error("The server says: {0}")]
    Refused(String),
    /// It speaks something else, or the connection broke.
    #[error("The connection to the server failed: {0}. Try again.")]
    Connection(#[from] io::Error),
}

/// A connection to a running server.
pub struct StatusClient {
    stream: BufReader<Socket>,
    next_id: u64,
}

impl StatusClient {
    /// Connects, and tells the secret where one is needed.
    ///
    /// # Errors
    /// When nobody answers, or the secret is wrong.
    pub fn connect(source: &StatusSource) -> Result<Self, StatusError> {
        match source {
            #[cfg(unix)]
            StatusSource::Console(path) => {
                let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
                let connected = socket.connect(&SockAddr::unix(path)?);
                connected.map_err(|error| match error.kind() {
                    ErrorKind::PermissionDenied => StatusError::NotAllowed(path.clone()),
                    _ => StatusError::NoConsole(path.clone()),
                })?;
                Self::new(socket)
            }
            StatusSource::Rpc { address, secret } => {
                let socket = Socket::new(Domain::for_address(*address), Type::STREAM, None)?;
                let connected = socket.connect_timeout(&(*address).into(), PATIENCE);
                connected.map_err(|_| StatusError::NoRpc(*address))?;
                let mut client = Self::new(socket)?;
                client.call("jamulus/apiAuth", &json!({ "secret": secret.expose() }))?;
                Ok(client)
            }
        }
    }

    /// How the server is now.
    ///
    /// # Errors
    /// When the connection breaks or the server has stopped.
    pub fn fetch(&mut self) -> Result<Stats, StatusError> {
        let stats = self.call("jamulet/stats", &json!({}))?;
        serde_json::from_value(stats).map_err(|_| strange())
    }

    fn new(socket: Socket) -> Result<Self, StatusError> {
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(socket), next_id: 1 })
    }

    fn call(&mut self, method: &str, params: &Value) -> Result<Value, StatusError> {
        let id = self.next_id;
        self.next_id += 1;
        let call = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.stream.get_mut().write_all(format!("{call}\n").as_bytes())?;
        for _ in 0..MAX_LINES {
            let mut answer = self.read_line()?;
            // The others are notifications.
            if answer["id"] == id {
                return outcome(&mut answer);
            }
        }
        Err(strange())
    }

    fn read_line(&mut self) -> Result<Value, StatusError> {
        let mut line = Vec::new();
        let length = (&mut self.stream).take(MAX_LINE_BYTES).read_until(b'\n', &mut line)?;
        if length == 0 {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "it was closed").into());
        }
        serde_json::from_slice(&line).map_err(|_| strange())
    }
}

fn outcome(answer: &mut Value) -> Result<Value, StatusError> {
    let error = &answer["error"];
    match error["code"].as_i64() {
        _ if error.is_null() => Ok(answer["result"].take()),
        Some(400) => Err(StatusError::WrongSecret),
        Some(-32601) => Err(StatusError::NotJamulet),
        _ => Err(StatusError::Refused(error["message"].as_str().unwrap_or("(nothing)").to_owned())),
    }
}

fn strange() -> StatusError {
    io::Error::new(ErrorKind::InvalidData, "it speaks something else").into()
}
