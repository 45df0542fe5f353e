//! Names to addresses. Blocks while the system asks: never on an audio, tick or window thread.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use super::srv::{PATIENCE, look_up_srv, nameservers};
use crate::protocol::{Host, ServerAddress};

/// Most addresses of one name that are kept.
const MAX_ADDRESSES: usize = 16;
/// This machine, whatever a name server may say.
const LOCALHOST: &str = "localhost";

/// The addresses of a Jamulus server as a person names it, in the system's order of preference.
///
/// A name without a port may have a service record that says where the server really is, and then it is
/// looked for there: `_jamulus._udp.NAME` (docs/PROTOCOL.md §4, "Addresses").
///
/// # Errors
/// The system's, when the name cannot be found or has no address.
pub fn resolve_server(address: &ServerAddress) -> io::Result<Vec<SocketAddr>> {
    resolve_server_asking(address, &nameservers(), PATIENCE)
}

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

/// [`resolve_server`] with these name servers for service records, and this patience with them.
fn resolve_server_asking(
    address: &ServerAddress,
    nameservers: &[SocketAddr],
    patience: Duration,
) -> io::Result<Vec<SocketAddr>> {
    let port = address.port_or_default();
    let name = match &address.host {
        Host::V4(ip) => return Ok(vec![SocketAddr::from((*ip, port))]),
        Host::V6(ip) => return Ok(vec![SocketAddr::from((*ip, port))]),
        Host::Name(name) => name,
    };
    let has_service_record = address.port.is_none() && !name.eq_ignore_ascii_case(LOCALHOST);
    match has_service_record.then(|| look_up_srv(name, nameservers, patience)).flatten() {
        Some(service) => resolve(&service.host, service.port),
        None => resolve(name, port),
    }
}

#[cfg(test)]
mod tests {
    use super::super::srv::fake::FakeNameserver;
    use super::*;

    #[test]
    fn literals_need_no_lookup_and_wrong_names_are_errors() {
        assert_eq!(resolve("192.0.2.1", 5).unwrap(), ["192.0.2.1:5".parse().unwrap()]);
        assert_eq!(resolve("2001:db8::1", 5).unwrap(), ["[2001:db8::1]:5".parse().unwrap()]);
        assert!(resolve("", 5).is_err());
        assert!(resolve("no such host", 5).is_err());
    }

    #[test]
    fn only_a_name_without_a_port_has_a_service_record() {
        let nameserver = FakeNameserver::start(|_| vec![("localhost".into(), 5005)]);
        let resolved = |text: &str| {
            let address: ServerAddress = text.parse().unwrap();
            resolve_server_asking(&address, &[nameserver.address()], Duration::from_secs(30))
        };
        let ports = |text: &str| {
            resolved(text).unwrap().into_iter().map(|address| address.port()).collect::<Vec<_>>()
        };
        assert!(ports("jam.invalid").iter().all(|port| *port == 5005));
        assert_eq!(nameserver.questions(), ["_jamulus._udp.jam.invalid"]);
        assert!(resolved("jam.invalid:22124").is_err(), "the name itself has no address");
        assert_eq!(ports("192.0.2.7"), [22124]);
        assert_eq!(ports("[2001:db8::7]:5"), [5]);
        assert!(ports("LocalHost").iter().all(|port| *port == 22124));
        assert_eq!(nameserver.questions().len(), 1, "nothing else was asked");
    }
}
