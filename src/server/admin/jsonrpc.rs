//! JSON-RPC 2.0 as Jamulus speaks it: one object or batch a line (`docs/PROTOCOL.md` §7). Pure.
//!
//! Where Jamulus leaves the standard we follow Jamulus, as seen on 3.9.1: a call without `id` is answered with
//! `"id":null`, the member `jsonrpc` is not looked at, an empty batch or broken JSON closes the connection, an
//! empty line does not. Elements of a batch that are no objects are answered as the standard says.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::methods::{self, Desk};
use super::secret::Secret;

/// Longest line, in bytes.
pub(super) const MAX_LINE_BYTES: usize = 64 << 10;
/// Most calls in a batch.
pub(super) const MAX_BATCH: usize = 16;

/// What one connection has proved.
pub(super) struct Session {
    /// What it has to prove; `None` when it need not.
    secret: Option<Arc<Secret>>,
    is_authenticated: bool,
}

/// What a line comes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reply {
    /// One line, with its end; empty when there is nothing to say.
    pub(super) text: Vec<u8>,
    /// Nothing more is heard from this connection.
    pub(super) close: bool,
    /// A secret was tried, and wrong.
    pub(super) guessed_wrong: bool,
    /// Calls in the line; at least 1.
    pub(super) calls: usize,
}

/// Why a call failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// A code with a sentence.
    Coded(i64, String),
    /// The bare text that Jamulus gives for an unknown channel.
    InvalidChannel,
}

impl Failure {
    pub(super) fn parse(what: &str) -> Self {
        Self::Coded(-32700, format!("Parse error: {what}"))
    }

    fn request(what: &str) -> Self {
        Self::Coded(-32600, format!("Invalid request: {what}"))
    }

    pub(super) fn method() -> Self {
        Self::Coded(-32601, "Method not found".to_owned())
    }

    pub(super) fn params(what: &str) -> Self {
        Self::Coded(-32602, format!("Invalid params: {what}"))
    }

    /// The server itself does not answer, or refuses.
    pub(super) fn internal(what: &str) -> Self {
        Self::Coded(-32603, format!("Internal error: {what}"))
    }

    fn wrong_secret() -> Self {
        Self::Coded(400, "Authentication failed.".to_owned())
    }

    fn unauthenticated() -> Self {
        Self::Coded(401, "Unauthenticated: Please authenticate using jamulus/apiAuth first".to_owned())
    }

    fn to_json(&self) -> Value {
        match self {
            Self::Coded(code, message) => json!({ "code": code, "message": message }),
            Self::InvalidChannel => json!("invalid channel ID"),
        }
    }
}

impl Session {
    /// One that must prove that it knows `secret`, unless that is `None`.
    pub(super) fn new(secret: Option<Arc<Secret>>) -> Self {
        Self { is_authenticated: secret.is_none(), secret }
    }

    /// It may call everything.
    pub(super) fn is_authenticated(&self) -> bool {
        self.is_authenticated
    }
}

/// What to answer to `line`, which comes without its end.
pub(super) fn answer(session: &mut Session, line: &[u8], desk: &mut Desk<'_>) -> Reply {
    let mut reply = Reply { calls: 1, ..Reply::default() };
    let answer = if line.trim_ascii().is_empty() {
        without_id(&Failure::parse("Blank line received"))
    } else {
        match serde_json::from_slice(line) {
            Ok(Value::Object(call)) => one(session, &call, desk, &mut reply),
            Ok(Value::Array(calls)) => batch(session, &calls, desk, &mut reply),
            _ => {
                reply.close = true;
                without_id(&Failure::parse("Invalid JSON received"))
            }
        }
    };
    reply.text = to_line(&answer);
    reply
}

/// What to answer to a line that does not end within [`MAX_LINE_BYTES`].
pub(super) fn answer_too_long() -> Reply {
    let failure = Failure::parse(&format!("A line has at most {MAX_LINE_BYTES} bytes"));
    Reply { text: to_line(&without_id(&failure)), close: true, calls: 1, ..Reply::default() }
}

/// A notification as a line.
pub(super) fn notification(method: &str, params: &Value) -> Vec<u8> {
    to_line(&json!({ "jsonrpc": "2.0", "method": method, "params": params }))
}

fn batch(session: &mut Session, calls: &[Value], desk: &mut Desk<'_>, reply: &mut Reply) -> Value {
    if calls.is_empty() {
        reply.close = true;
        return without_id(&Failure::request("Empty batch request encountered"));
    }
    if calls.len() > MAX_BATCH {
        return without_id(&Failure::request(&format!("A batch has at most {MAX_BATCH} calls")));
    }
    reply.calls = calls.len();
    let one = |call: &Value| match call {
        Value::Object(call) => one(session, call, desk, reply),
        _ => with_id(&Value::Null, Err(Failure::request("A call is an object"))),
    };
    calls.iter().map(one).collect()
}

fn one(session: &mut Session, call: &Map<String, Value>, desk: &mut Desk<'_>, reply: &mut Reply) -> Value {
    let outcome = outcome(session, call, desk, reply);
    with_id(call.get("id").unwrap_or(&Value::Null), outcome)
}

fn outcome(
    session: &mut Session,
    call: &Map<String, Value>,
    desk: &mut Desk<'_>,
    reply: &mut Reply,
) -> Result<Value, Failure> {
    let Some(Value::String(method)) = call.get("method") else {
        return Err(Failure::request("The `method` member is not a string"));
    };
    let Some(Value::Object(params)) = call.get("params") else {
        return Err(Failure::params("The `params` member is not an object"));
    };
    if method == "jamulus/apiAuth" {
        return authenticate(session, params, reply);
    }
    if !session.is_authenticated {
        return Err(Failure::unauthenticated());
    }
    methods::call(method, params, desk)
}

/// Only one secret a line is looked at once one was wrong, or a batch would try many.
fn authenticate(
    session: &mut Session,
    params: &Map<String, Value>,
    reply: &mut Reply,
) -> Result<Value, Failure> {
    let guess = methods::text(params, "secret")?;
    let Some(secret) = &session.secret else { return Ok(json!("ok")) };
    session.is_authenticated = !reply.guessed_wrong && secret.is(guess);
    if !session.is_authenticated {
        reply.guessed_wrong = true;
        return Err(Failure::wrong_secret());
    }
    Ok(json!("ok"))
}

fn with_id(id: &Value, outcome: Result<Value, Failure>) -> Value {
    match outcome {
        Ok(result) => json!({ "id": id, "jsonrpc": "2.0", "result": result }),
        Err(failure) => json!({ "error": failure.to_json(), "id": id, "jsonrpc": "2.0" }),
    }
}

fn without_id(failure: &Failure) -> Value {
    json!({ "error": failure.to_json(), "jsonrpc": "2.0" })
}

fn to_line(value: &Value) -> Vec<u8> {
    let mut line = value.to_string().into_bytes();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests;
