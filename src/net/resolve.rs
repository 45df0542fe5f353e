//! Names to addresses. Blocks while the system asks: never on an audio, tick or window thread.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

/// Most addresses of one name that are kept.
const MAX_ADDRESSES: usize = 16;

/// The addresses of `host` with `port`, in the system's order of preference.
///
/// # Errors
/// The system's, when the name cannot be found or has no address.
pub fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let addresses: Vec<_> = (host, port).to_socket_addrs()?.take(MAX_ADDRESSES).collect();
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_need_no_lookup_and_wrong_names_are_errors() {
        assert_eq!(resolve("192.0.2.1", 5).unwrap(), ["192.0.2.1:5".parse().unwrap()]);
        assert_eq!(resolve("2001:db8::1", 5).unwrap(), ["[2001:db8::1]:5".parse().unwrap()]);
        assert!(resolve("", 5).is_err());
        assert!(resolve("no such host", 5).is_err());
    }
}
