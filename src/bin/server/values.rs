//! Values of options: text to numbers and addresses, each refusal a sentence that says what to write.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{OsStringValueParser, TypedValueParser};
use jamulet::protocol::tables::{countries, country};
use jamulet::units::{DEFAULT_PORT, MAX_CHANNELS};

use crate::arguments::Optional;

/// An amount of memory or disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) u64);

pub(crate) fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("a port is a number from 1 to 65535, usually {DEFAULT_PORT}"))
}

pub(crate) fn byte(text: &str) -> Result<u8, String> {
    text.parse().map_err(|_| "it must be a number from 0 to 255".to_owned())
}

pub(crate) fn clients(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=MAX_CHANNELS).contains(number));
    number.ok_or_else(|| format!("it must be a number from 1 to {MAX_CHANNELS}"))
}

pub(crate) fn ip(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| "that is not an IP address, such as 192.168.1.20".to_owned())
}

pub(crate) fn optional_ip(text: &str) -> Result<Optional<IpAddr>, String> {
    optional(text, "that is not an IP address, such as 192.168.1.20")
}

pub(crate) fn optional_ip4(text: &str) -> Result<Optional<Ipv4Addr>, String> {
    optional(text, "that is not an IPv4 address, such as 203.0.113.20")
}

pub(crate) fn optional_ip6(text: &str) -> Result<Optional<Ipv6Addr>, String> {
    optional(text, "that is not an IPv6 address, such as 2001:db8::20")
}

pub(crate) fn optional_socket_address(text: &str) -> Result<Optional<SocketAddr>, String> {
    optional(text, "that is not an IP address with a port, such as 127.0.0.1:9124")
}

fn optional<T: FromStr>(text: &str, wrong: &str) -> Result<Optional<T>, String> {
    if text.is_empty() {
        return Ok(Optional(None));
    }
    text.parse().map(|value| Optional(Some(value))).map_err(|_| wrong.to_owned())
}

/// A path, which may be empty: then it is none.
pub(crate) fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// `1000`, `500K`, `2M`, `1G`: powers of 1024.
pub(crate) fn bytes(text: &str) -> Result<Bytes, String> {
    let digits = text.trim_end_matches(|character: char| !character.is_ascii_digit());
    let unit: Option<u64> = match &text[digits.len()..] {
        "" => Some(1),
        "K" | "k" => Some(1 << 10),
        "M" | "m" => Some(1 << 20),
        "G" | "g" => Some(1 << 30),
        _ => None,
    };
    let number: Option<u64> = digits.parse().ok();
    let product = number.zip(unit).and_then(|(number, unit)| number.checked_mul(unit));
    product.map(Bytes).ok_or_else(|| "it must be a number of bytes such as 500M or 2G".to_owned())
}

/// A Qt 5 country number from a number or a two-letter ISO code in any case; `None` for anything else.
pub(crate) fn country_number(text: &str) -> Option<u16> {
    let text = text.trim();
    if let Ok(number) = text.parse() {
        return (number == 0 || country(number).is_some()).then_some(number);
    }
    let is_named = |iso: &str| !iso.is_empty() && iso.eq_ignore_ascii_case(text);
    countries().find_map(|(number, country)| is_named(country.iso).then_some(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_units() {
        let amount = |text| bytes(text).map(|bytes| bytes.0).ok();
        assert_eq!(amount("0"), Some(0));
        assert_eq!(amount("500K"), Some(512_000));
        assert_eq!(amount("2g"), Some(2 << 30));
        for wrong in ["", "G", "1T", "1 G", "-1", "1.5G", "99999999999G", "1Gb", "ü"] {
            assert_eq!(amount(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn countries_are_codes_or_numbers() {
        assert_eq!(["DE", "de", " de ", "82"].map(country_number), [Some(82); 4]);
        assert_eq!(country_number("0"), Some(0));
        for wrong in ["", "Germany", "XX", "65535", "-1"] {
            assert_eq!(country_number(wrong), None, "{wrong}");
        }
    }
}
