//! Where others can connect: the addresses of this machine that the system would use.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use super::directories::OwnAddress;

/// Addresses used only to ask the routing table which of ours leads outwards; nothing is ever sent to them.
/// Both are reserved for documentation (RFC 5737, RFC 3849).
const OUTSIDE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];

/// Addresses, with `bound`'s port, at which a server bound to `bound` can be reached: this machine first,
/// then what its networks know it by. A server bound to one address has only that.
pub fn reachable_addresses(bound: SocketAddr) -> Vec<SocketAddr> {
    if !bound.ip().is_unspecified() {
        return vec![bound];
    }
    let mut found = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, bound.port()))];
    for outside in OUTSIDE {
        if outside.is_ipv6() && bound.is_ipv4() {
            continue;
        }
        if let Some(ip) = address_towards(outside) {
            let address = SocketAddr::new(ip, bound.port());
            if !ip.is_loopback() && !ip.is_unspecified() && !found.contains(&address) {
                found.push(address);
            }
        }
    }
    found
}

/// How a server bound to `bound` looks from its own network, for directories.
pub(super) fn own_address(bound: SocketAddr) -> OwnAddress {
    let towards_internet =
        if bound.ip().is_unspecified() { address_towards(OUTSIDE[0]) } else { Some(bound.ip()) };
    let ip = match towards_internet {
        Some(IpAddr::V4(ip)) if !ip.is_unspecified() => Some(ip),
        _ => None,
    };
    OwnAddress { ip, port: bound.port() }
}

/// Our own address on the way to `outside`. Connecting a UDP socket sends nothing.
#[expect(clippy::disallowed_methods, reason = "a door: asks the routing table, carries no traffic")]
fn address_towards(outside: IpAddr) -> Option<IpAddr> {
    let own: IpAddr = match outside {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((own, 0)).ok()?;
    socket.connect((outside, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_comes_first_and_every_address_has_the_port() {
        let found = reachable_addresses(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 22124)));
        assert_eq!(found[0], SocketAddr::from((Ipv4Addr::LOCALHOST, 22124)));
        assert!(found.iter().all(|address| address.port() == 22124));
        assert!(found[1..].iter().all(|address| !address.ip().is_loopback()));
    }

    #[test]
    fn a_server_bound_to_one_address_has_only_that() {
        let bound = SocketAddr::from(([127, 0, 0, 1], 5));
        assert_eq!(reachable_addresses(bound), [bound]);
        assert_eq!(own_address(bound), OwnAddress { ip: Some(Ipv4Addr::LOCALHOST), port: 5 });
    }

    #[test]
    fn directories_are_told_an_ipv4_address_or_none() {
        let anywhere = own_address(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 22124)));
        assert_eq!(anywhere.port, 22124);
        assert!(anywhere.ip.is_none_or(|ip| !ip.is_unspecified()));
        assert_eq!(own_address(SocketAddr::from((Ipv6Addr::LOCALHOST, 5))).ip, None);
    }
}
