//! The few words of HTTP that `/metrics` and `/healthz` need: one request a connection.

use std::net::{IpAddr, SocketAddr};

use super::AdminError;
use super::door::{Dialogue, Door, Next, listen};
use super::guesses::Pace;
use super::metrics;
use crate::server::command::CommandError;
use crate::server::handle::Handle;
use crate::server::status::Status;
use crate::units::Time;

/// Longest request, in bytes.
const MAX_REQUEST_BYTES: usize = 8 << 10;
/// Most headers in a request.
const MAX_HEADERS: usize = 64;
/// Answers a second for long, and at once; more have to wait.
const ANSWERS_PER_SECOND: u32 = 20;
const ANSWERS_AT_ONCE: u32 = 40;
const PURPOSE: &str = "metrics";
/// What Prometheus wants its text to be called.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const TEXT_TYPE: &str = "text/plain; charset=utf-8";

/// Metrics and health of a running server over HTTP. Dropping it stops it.
pub struct MetricsServer {
    door: Door,
    address: SocketAddr,
}

impl MetricsServer {
    /// Answers `GET /metrics` (Prometheus text format 0.0.4) and `GET /healthz` (200, or 503 when the thread that
    /// mixes does not answer) on `address`; port 0 takes any free one.
    ///
    /// # Errors
    /// When the address cannot be used.
    pub fn start(address: SocketAddr, handle: Handle) -> Result<Self, AdminError> {
        let system = |error| AdminError::System { purpose: PURPOSE, error };
        let listener = listen(address).map_err(|error| AdminError::listening(address, PURPOSE, error))?;
        let address = listener.local_addr().map_err(system)?.as_socket().unwrap_or(address);
        let pace = Pace::new(Time::ZERO, ANSWERS_PER_SECOND, ANSWERS_AT_ONCE);
        let door = Door::open("jamulet-metrics", listener, Http { handle, pace }).map_err(system)?;
        Ok(Self { door, address })
    }

    /// Where it listens, with the port in use.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Closes all connections and stops, within a second whatever clients do.
    pub fn stop(self) {
        drop(self.door);
    }
}

struct Http {
    handle: Handle,
    pace: Pace,
}

impl Dialogue for Http {
    type Talk = ();

    fn open(&mut self, _now: Time, _from: Option<IpAddr>) {}

    fn step(&mut self, now: Time, (): &mut (), input: &mut Vec<u8>, output: &mut Vec<u8>) -> Next {
        let Some(request) = parse(input) else { return Next::Read };
        if let Some(until) = self.pace.wait_until(now) {
            return Next::Wait(until);
        }
        self.pace.take(1);
        output.extend_from_slice(&answer(request, || self.handle.status()));
        Next::Close
    }

    fn is_trusted(&self, (): &()) -> bool {
        false
    }
}

/// What somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    Metrics,
    Health,
    /// Another path.
    NotFound,
    /// Another method.
    NotAllowed,
    /// No HTTP, or too much of it.
    Bad,
    TooLong,
}

/// The request at the start of `input`; `None` while its end has not arrived.
fn parse(input: &[u8]) -> Option<Request> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(&input[..input.len().min(MAX_REQUEST_BYTES)]) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) if input.len() < MAX_REQUEST_BYTES => return None,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Some(Request::TooLong);
        }
        Err(_) => return Some(Request::Bad),
    }
    let path = request.path.unwrap_or_default();
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    Some(match (path, request.method) {
        ("/metrics", Some("GET")) => Request::Metrics,
        ("/healthz", Some("GET")) => Request::Health,
        ("/metrics" | "/healthz", _) => Request::NotAllowed,
        _ => Request::NotFound,
    })
}

fn answer(request: Request, mut status: impl FnMut() -> Result<Box<Status>, CommandError>) -> Vec<u8> {
    match request {
        Request::Metrics => match status() {
            Ok(status) => response("200 OK", METRICS_TYPE, &metrics::exposition(&status)),
            Err(error) => response("503 Service Unavailable", TEXT_TYPE, &format!("{error}\n")),
        },
        Request::Health => match status() {
            Ok(_) => response("200 OK", TEXT_TYPE, "ok\n"),
            Err(error) => response("503 Service Unavailable", TEXT_TYPE, &format!("{error}\n")),
        },
        Request::NotFound => response("404 Not Found", TEXT_TYPE, "Try /metrics or /healthz.\n"),
        Request::NotAllowed => {
            response("405 Method Not Allowed\r\nAllow: GET", TEXT_TYPE, "Only GET is understood here.\n")
        }
        Request::Bad => response("400 Bad Request", TEXT_TYPE, "This is not HTTP.\n"),
        Request::TooLong => {
            response("431 Request Header Fields Too Large", TEXT_TYPE, "The request is too long.\n")
        }
    }
}

fn response(status: &str, content_type: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(request: &str) -> Option<Request> {
        parse(request.as_bytes())
    }

    #[test]
    fn requests_are_told_apart() {
        let end = "HTTP/1.1\r\nHost: x\r\n\r\n";
        assert_eq!(parsed(&format!("GET /metrics {end}")), Some(Request::Metrics));
        assert_eq!(parsed(&format!("GET /metrics?name[]=x {end}")), Some(Request::Metrics));
        assert_eq!(parsed("GET /healthz HTTP/1.0\r\n\r\n"), Some(Request::Health));
        assert_eq!(parsed(&format!("POST /metrics {end}")), Some(Request::NotAllowed));
        for other in ["/", "/metrics/", "/../etc/passwd", "//metrics", "http://x/metrics"] {
            assert_eq!(parsed(&format!("GET {other} {end}")), Some(Request::NotFound), "{other}");
        }
        for bad in ["\u{1}\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "{\"id\":1}\n"] {
            assert_eq!(parsed(bad), Some(Request::Bad), "{bad:?}");
        }
        for part in ["", "G", "GET /metrics HTTP/1.1\r\nHost: x\r\n"] {
            assert_eq!(parsed(part), None, "{part:?}");
        }
        let long = format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(MAX_REQUEST_BYTES));
        assert_eq!(parsed(&long), Some(Request::TooLong));
        let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(MAX_HEADERS + 1));
        assert_eq!(parsed(&many), Some(Request::TooLong));
    }

    #[test]
    fn a_server_that_does_not_answer_is_unhealthy() {
        for request in [Request::Health, Request::Metrics] {
            let text = String::from_utf8(answer(request, || Err(CommandError::Gone))).unwrap();
            assert!(
                text.starts_with("HTTP/1.1 503 ") && text.ends_with("\r\n\r\nThe server does not answer.\n")
            );
        }
    }

    proptest! {
        #[test]
        fn every_request_comes_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..200), start in any::<bool>()) {
            let mut input = if start { b"GET /metrics HTTP/1.1\r\n".to_vec() } else { Vec::new() };
            input.extend(bytes);
            // More bytes never change what a request is, and there is always an end.
            let early = parse(&input);
            input.resize(MAX_REQUEST_BYTES, b'x');
            let late = parse(&input);
            prop_assert!(late.is_some());
            prop_assert!(early.is_none() || early == late);
        }
    }
}
