//! What a person types to name a server (`docs/PROTOCOL.md` §4, "Addresses").
//!
//! ```text
//! [jamulus://] host | host:port | a.b.c.d | a.b.c.d:port | [v6] | [v6]:port  [/]
//! ```
//!
//! A bare IPv6 address is refused: its last group could be a port.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::text::cut_to_bytes;
use crate::units::DEFAULT_PORT;

/// Longest host name that DNS can carry, in bytes.
const MAX_HOST_BYTES: usize = 253;
/// Longest part of a host name between dots, in bytes.
const MAX_LABEL_BYTES: usize = 63;
/// How much of a wrong text an error repeats, in bytes.
const MAX_QUOTE_BYTES: usize = 60;
/// Prefixes that links to servers have; they add nothing.
const SCHEMES: [&str; 2] = ["jamulus://", "jamulet://"];

/// A server as a person names it. `Display` gives a text that parses to the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerAddress {
    /// Which machine.
    pub host: Host,
    /// UDP port, never 0; `None` lets a name's SRV record decide, else [`DEFAULT_PORT`].
    pub port: Option<u16>,
}

/// The machine part of a [`ServerAddress`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A host name, to be looked up: letters, digits, `-`, `_` and dots, at most 253 bytes.
    Name(String),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address.
    V6(Ipv6Addr),
}

/// Why a text names no server. `Display` is one sentence that says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is no text, or only a port.
    #[error("Enter the server's address, like `jam.example.org` or `192.0.2.7:22124`.")]
    Empty,
    /// IPv6 without brackets.
    #[error("An IPv6 address needs square brackets around it: write `[{0}]`.")]
    BareIpv6(Ipv6Addr),
    /// In brackets stands something else, or a bracket is missing.
    #[error("`{0}` is not an IPv6 address in square brackets, which looks like `[2001:db8::7]:22124`.")]
    BadIpv6(String),
    /// Looks like IPv4 and is not.
    #[error("`{0}` is not an IPv4 address, which is four numbers from 0 to 255 like `192.0.2.7`.")]
    BadIpv4(String),
    /// What follows the colon is no port.
    #[error("`{0}` is not a port: after the colon write a number from 1 to 65535.")]
    BadPort(String),
    /// A link of another kind.
    #[error("`{0}` links to something else: enter only the host name, like `jam.example.org`.")]
    BadScheme(String),
    /// Characters or lengths that host names do not have.
    #[error("`{0}` is not a host name: use letters, digits, dots and hyphens, like `jam.example.org`.")]
    BadName(String),
}

impl ServerAddress {
    /// The port to use when no SRV record says otherwise.
    pub fn port_or_default(&self) -> u16 {
        self.port.unwrap_or(DEFAULT_PORT)
    }
}

impl FromStr for ServerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = strip_link(text.trim())?;
        if text.starts_with('[') {
            return parse_bracketed(text);
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        };
        // With a port of five digits the whole is no IPv6 address, but what stands before it is.
        if let Ok(ip) = text.parse().or_else(|_| host.parse()) {
            return Err(AddressError::BareIpv6(ip));
        }
        if host.is_empty() {
            return Err(AddressError::Empty);
        }
        Ok(Self { host: parse_host(host)?, port: port.map(parse_port).transpose()? })
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Name(name) => f.write_str(name)?,
            Host::V4(ip) => write!(f, "{ip}")?,
            Host::V6(ip) => write!(f, "[{ip}]")?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

fn strip_link(text: &str) -> Result<&str, AddressError> {
    let Some(after_scheme) = text.find("://").map(|position| position + "://".len()) else {
        return Ok(text);
    };
    let (scheme, rest) = text.split_at(after_scheme);
    if SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        Ok(rest.strip_suffix('/').unwrap_or(rest))
    } else {
        Err(AddressError::BadScheme(quote(text)))
    }
}

fn parse_bracketed(text: &str) -> Result<ServerAddress, AddressError> {
    let bad = || AddressError::BadIpv6(quote(text));
    let (ip, rest) = text.strip_prefix('[').and_then(|text| text.split_once(']')).ok_or_else(bad)?;
    let host = Host::V6(ip.parse().map_err(|_| bad())?);
    let port = match rest {
        "" => None,
        _ => Some(parse_port(rest.strip_prefix(':').ok_or_else(bad)?)?),
    };
    Ok(ServerAddress { host, port })
}

fn parse_host(text: &str) -> Result<Host, AddressError> {
    if let Ok(ip) = text.parse() {
        return Ok(Host::V4(ip));
    }
    // A trailing dot marks a name as complete; the last label decides whether numbers were meant.
    let labels = || text.strip_suffix('.').unwrap_or(text).split('.');
    let is_label = |label: &str| {
        (1..=MAX_LABEL_BYTES).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    if text.len() > MAX_HOST_BYTES || !labels().all(is_label) {
        Err(AddressError::BadName(quote(text)))
    } else if labels().next_back().is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit())) {
        Err(AddressError::BadIpv4(quote(text)))
    } else {
        Ok(Host::Name(text.to_owned()))
    }
}

fn parse_port(text: &str) -> Result<u16, AddressError> {
    // `u16::from_str` alone would take "+5".
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port @ 1..) if digits => Ok(port),
        _ => Err(AddressError::BadPort(quote(text))),
    }
}

/// As much of a wrong text as fits into a sentence, in characters that print.
fn quote(text: &str) -> String {
    let cut = cut_to_bytes(text, MAX_QUOTE_BYTES);
    let mut quoted: String =
        cut.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    if cut.len() < text.len() {
        quoted.push('…');
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<(Host, Option<u16>), AddressError> {
        text.parse().map(|ServerAddress { host, port }| (host, port))
    }

    fn name(name: &str) -> Host {
        Host::Name(name.into())
    }

    #[test]
    fn every_documented_form_is_understood() {
        let v4 = Host::V4(Ipv4Addr::new(192, 0, 2, 7));
        let v6 = Host::V6("2001:db8::7".parse().unwrap());
        assert_eq!(parse("jam.example.org"), Ok((name("jam.example.org"), None)));
        assert_eq!(parse("jam.example.org.:22224"), Ok((name("jam.example.org."), Some(22224))));
        assert_eq!(parse("localhost:1"), Ok((name("localhost"), Some(1))));
        assert_eq!(parse("192.0.2.7"), Ok((v4.clone(), None)));
        assert_eq!(parse("192.0.2.7:65535"), Ok((v4, Some(65535))));
        assert_eq!(parse("[2001:db8::7]"), Ok((v6.clone(), None)));
        assert_eq!(parse("[2001:db8::7]:22124"), Ok((v6, Some(22124))));
    }

    #[test]
    fn blanks_around_and_links_are_accepted() {
        for text in [" jam.org:5\n", "jamulus://jam.org:5", "Jamulet://jam.org:5/"] {
            assert_eq!(parse(text), Ok((name("jam.org"), Some(5))), "{text}");
        }
        assert_eq!(parse("jamulus://[::1]"), Ok((Host::V6(Ipv6Addr::LOCALHOST), None)));
    }

    #[test]
    fn display_parses_to_the_same() {
        for text in ["jam.example.org:5", "192.0.2.7", "[2001:db8::7]:22124", "[::ffff:192.0.2.1]"] {
            assert_eq!(text.parse::<ServerAddress>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn the_default_port_fills_in() {
        let port = |text: &str| text.parse::<ServerAddress>().unwrap().port_or_default();
        assert_eq!(port("jam.org"), 22124);
        assert_eq!(port("jam.org:5"), 5);
    }

    #[test]
    fn a_bare_ipv6_address_is_refused_with_a_remedy() {
        for (text, ip) in [("::1", "::1"), ("fe80::1:5", "fe80::1:5"), ("fe80::1:22124", "fe80::1")] {
            assert_eq!(parse(text), Err(AddressError::BareIpv6(ip.parse().unwrap())));
        }
        assert_eq!(
            parse("::1").unwrap_err().to_string(),
            "An IPv6 address needs square brackets around it: write `[::1]`."
        );
    }

    #[test]
    fn wrong_ports_are_named() {
        for (text, port) in [
            ("jam.org:", ""),
            ("jam.org:0", "0"),
            ("jam.org:65536", "65536"),
            ("jam.org:+5", "+5"),
            ("jam.org:-5", "-5"),
            ("jam.org:5 ", "5"),
            ("192.0.2.7:x", "x"),
            ("[::1]:99999", "99999"),
        ] {
            let expected = if port == "5" { None } else { Some(AddressError::BadPort(port.into())) };
            assert_eq!(parse(text).err(), expected, "{text}");
        }
    }

    #[test]
    fn wrong_hosts_are_named() {
        for text in ["", "  ", ":22124", "jamulus://"] {
            assert_eq!(parse(text), Err(AddressError::Empty), "{text}");
        }
        for text in ["192.0.2.256", "192.0.2", "22124", "1.2.3.4.5"] {
            assert_eq!(parse(text), Err(AddressError::BadIpv4(text.into())));
        }
        for text in ["[::1", "[]", "[jam.org]", "[::1]22124", "[fe80::1%eth0]"] {
            assert_eq!(parse(text), Err(AddressError::BadIpv6(text.into())));
        }
        for text in ["jam org", "jam..org", ".", "bücher.example", "jam.org/x", "jam_\u{7}"] {
            assert!(matches!(parse(text), Err(AddressError::BadName(_))), "{text}");
        }
        assert!(matches!(parse(&"a".repeat(64)), Err(AddressError::BadName(_))));
        assert!(matches!(parse(&"a.".repeat(127)), Err(AddressError::BadName(_))));
        assert!(matches!(parse("https://jamulus.io"), Err(AddressError::BadScheme(_))));
    }

    #[test]
    fn errors_are_one_printable_sentence_of_bounded_length() {
        for text in ["\u{1b}[2J.x", &"é ".repeat(10_000), &format!("a:{}", "9".repeat(10_000))] {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.len() < 200, "{message}");
            assert!(message.ends_with('.') && !message.contains(|c: char| c.is_control()));
        }
    }
}
