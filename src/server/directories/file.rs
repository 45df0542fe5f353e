//! A directory's list as a text, to survive a restart (`docs/PROTOCOL.md` §4, `--directoryfile`).
//!
//! ```text
//! addr:port;laddr:port;base64 name;base64 city;country number;max clients;0|1
//! ```
//!
//! One line a server, as Jamulus writes and reads it. What makes no sense is passed over: the servers
//! register again anyway.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::list::{Listed, MAX_LISTED};
use crate::protocol::utf16_len;
use crate::units::{MAX_CITY_UNITS, MAX_SERVER_NAME_UNITS};

/// Longest file read, in bytes: twice [`MAX_LISTED`] of the longest lines.
pub(in crate::server) const MAX_FILE_BYTES: u64 = 100_000;

/// The file of these servers.
pub(super) fn emit<'a>(servers: impl Iterator<Item = &'a Listed>) -> String {
    let mut text = String::new();
    for server in servers {
        let Listed { source, internal, name, city, country, max_clients, permanent } = server;
        let (name, city) = (BASE64_STANDARD.encode(name), BASE64_STANDARD.encode(city));
        let permanent = u8::from(*permanent);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{source};{internal};{name};{city};{country};{max_clients};{permanent}");
    }
    text
}

/// The servers in a file, at most [`MAX_LISTED`].
pub(super) fn parse(text: &str) -> impl Iterator<Item = Listed> {
    text.lines().filter_map(parse_line).take(MAX_LISTED)
}

fn parse_line(line: &str) -> Option<Listed> {
    let mut fields = line.trim().split(';');
    let server = Listed {
        source: fields.next()?.parse().ok()?,
        internal: fields.next()?.parse().ok()?,
        name: parse_text(fields.next()?, MAX_SERVER_NAME_UNITS)?,
        city: parse_text(fields.next()?, MAX_CITY_UNITS)?,
        country: fields.next()?.parse().ok()?,
        max_clients: fields.next()?.parse().ok()?,
        permanent: match fields.next()? {
            "0" => false,
            "1" => true,
            _ => return None,
        },
    };
    (fields.next().is_none() && server.source.port() != 0).then_some(server)
}

fn parse_text(base64: &str, max_units: usize) -> Option<String> {
    let text = String::from_utf8(BASE64_STANDARD.decode(base64).ok()?).ok()?;
    (utf16_len(&text) <= max_units).then_some(text)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4};

    use super::*;

    /// Written by Debian's Jamulus 3.9.1 for two servers.
    const STOCK: &str = "127.0.0.1:37740;192.0.2.9:1;RA==;Qw==;82;10;0\n\
                         127.0.0.1:47908;127.0.0.1:1;QcOpO2I=;Q0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0M=;82;10;0\n";

    fn jam() -> Listed {
        Listed {
            source: SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 7), 40_000),
            internal: SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, 2), 22124),
            name: "Zoë; 楽".into(),
            city: String::new(),
            country: 82,
            max_clients: 10,
            permanent: true,
        }
    }

    #[test]
    fn what_a_stock_directory_writes_is_read_and_written_again() {
        let servers: Vec<Listed> = parse(STOCK).collect();
        assert_eq!(servers.len(), 2);
        assert_eq!((servers[1].name.as_str(), servers[1].internal.port()), ("Aé;b", 1));
        assert_eq!(emit(servers.iter()), STOCK);
    }

    #[test]
    fn every_field_survives() {
        let text = emit([jam()].iter());
        assert_eq!(text, "198.51.100.7:40000;192.168.1.2:22124;Wm/Dqzsg5qW9;;82;10;1\n");
        assert_eq!(parse(&text).collect::<Vec<_>>(), [jam()]);
    }

    #[test]
    fn hostile_lines_are_passed_over() {
        let good = "198.51.100.7:1;127.0.0.1:1;RA==;Qw==;82;10;0";
        let too_long = BASE64_STANDARD.encode("x".repeat(21));
        for bad in [
            "",
            "# a comment",
            "198.51.100.7:1;127.0.0.1:1;RA==;Qw==;82;10",
            "198.51.100.7:1;127.0.0.1:1;RA==;Qw==;82;10;0;more",
            "198.51.100.7:1;127.0.0.1:1;RA==;Qw==;82;10;2",
            "198.51.100.7:1;127.0.0.1:1;RA==;Qw==;82;256;0",
            "198.51.100.7:1;127.0.0.1:1;RA==;Qw==;-1;10;0",
            "198.51.100.7:0;127.0.0.1:1;RA==;Qw==;82;10;0",
            "198.51.100.7;127.0.0.1:1;RA==;Qw==;82;10;0",
            "[::1]:1;127.0.0.1:1;RA==;Qw==;82;10;0",
            "198.51.100.7:1;example.org:1;RA==;Qw==;82;10;0",
            "198.51.100.7:1;127.0.0.1:1;!!;Qw==;82;10;0",
            "198.51.100.7:1;127.0.0.1:1;/w==;Qw==;82;10;0",
            &format!("198.51.100.7:1;127.0.0.1:1;{too_long};Qw==;82;10;0"),
        ] {
            let text = format!("{bad}\r\n{good}\r\n");
            assert_eq!(parse(&text).count(), 1, "{bad}");
        }
    }

    #[test]
    fn a_full_list_of_the_longest_lines_is_read_whole() {
        let longest = Listed {
            source: SocketAddrV4::new(Ipv4Addr::BROADCAST, u16::MAX),
            internal: SocketAddrV4::new(Ipv4Addr::BROADCAST, u16::MAX),
            name: "音".repeat(MAX_SERVER_NAME_UNITS),
            city: "楽".repeat(MAX_CITY_UNITS),
            country: u16::MAX,
            max_clients: u8::MAX,
            permanent: true,
        };
        let text = emit(vec![longest; MAX_LISTED + 1].iter());
        assert!((text.len() as u64) < MAX_FILE_BYTES, "{}", text.len());
        assert_eq!(parse(&text).count(), MAX_LISTED, "and not one more");
    }
}
