//! What files and tracks are called (docs/PROTOCOL.md §8). Names come from anyone and end up in paths and in project
//! files: nothing but letters and digits gets through.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::units::Layout;

/// Shortest name, filled up with `_`.
const MIN_NAME: usize = 4;

/// A client's name for a file name: ASCII only, so that a session can be moved to any system.
pub(super) fn file_name_of(name: &str) -> String {
    padded(name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect())
}

/// A client's name as people read it in a project: letters and digits of any script.
pub(super) fn track_name_of(name: &str) -> String {
    padded(name.chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect())
}

/// An address with its last part hidden: of IPv4 the last byte, of IPv6 everything that tells one machine of a
/// network from another. This machine's own is shown.
pub(super) fn masked_address(address: SocketAddr) -> String {
    let port = address.port();
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            match ip {
                Ipv4Addr::LOCALHOST => format!("{a}_{b}_{c}_{d}_{port}"),
                _ => format!("{a}_{b}_{c}_x_{port}"),
            }
        }
        IpAddr::V6(ip) if ip.is_loopback() => format!("__1_{port}"),
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            format!("{a:x}_{b:x}_{c:x}_{d:x}_x_{port}")
        }
    }
}

/// A file's name without number and ending: `NAME-IP_PORT-FRAME-CH`.
pub(super) fn file_stem(name: &str, address: SocketAddr, frame: u64, layout: Layout) -> String {
    format!("{}-{}-{frame}-{}", file_name_of(name), masked_address(address), layout.channels())
}

/// An identifier that looks random and is the same whenever the same thing is named: projects are written again and
/// again, and programs know their parts by these.
pub(super) fn guid(session: &str, file: &str, part: &str) -> String {
    let hash = |seed: u64| {
        let bytes = [session, "/", file, "/", part].into_iter().flat_map(str::bytes);
        // FNV-1a.
        bytes.fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3))
    };
    let (high, low) = (hash(0xCBF2_9CE4_8422_2325), hash(0x9AE1_6A3B_2F90_404F));
    // Version 8 (free), variant 1: RFC 9562.
    let high = high & !0xF000 | 0x8000;
    let low = low & !(0b11 << 62) | 0b10 << 62;
    let mut text = String::with_capacity(38);
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "{{{:08x}-{:04x}-{:04x}-{:04x}-{:012x}}}",
        high >> 32,
        high >> 16 & 0xFFFF,
        high & 0xFFFF,
        low >> 48,
        low & 0xFFFF_FFFF_FFFF
    );
    text
}

fn padded(mut name: String) -> String {
    let missing = MIN_NAME.saturating_sub(name.chars().count());
    name.extend(std::iter::repeat_n('_', missing));
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_letters_and_digits_reach_paths_and_projects() {
        for (name, file, track) in [
            ("", "____", "____"),
            ("Bob", "Bob_", "Bob_"),
            ("Alice", "Alice", "Alice"),
            ("../../etc", "______etc", "______etc"),
            ("a\"b\n>\\'`", "a_b_____", "a_b_____"),
            ("Jörg 2", "J_rg_2", "Jörg_2"),
            ("C:\0|*?", "C_____", "C_____"),
        ] {
            assert_eq!((file_name_of(name), track_name_of(name)), (file.to_owned(), track.to_owned()));
        }
    }

    #[test]
    fn addresses_hide_the_machine() {
        for (address, masked) in [
            ("127.0.0.1:22134", "127_0_0_1_22134"),
            ("127.0.0.2:22134", "127_0_0_x_22134"),
            ("203.0.113.77:1", "203_0_113_x_1"),
            ("[::ffff:203.0.113.77]:1", "203_0_113_x_1"),
            ("[::1]:22134", "__1_22134"),
            ("[2001:db8:1:2:3:4:5:6]:65535", "2001_db8_1_2_x_65535"),
        ] {
            assert_eq!(masked_address(address.parse().unwrap()), masked);
        }
        let stem = file_stem("Bob", "127.0.0.1:22243".parse().unwrap(), 354, Layout::Mono);
        assert_eq!(stem, "Bob_-127_0_0_1_22243-354-1");
    }

    #[test]
    fn identifiers_are_well_formed_stable_and_different() {
        let one = guid("Jam", "a.wav", "item");
        assert_eq!(one, guid("Jam", "a.wav", "item"));
        let others =
            [guid("Jam2", "a.wav", "item"), guid("Jam", "b.wav", "item"), guid("Jam", "a.wav", "track")];
        assert!(!others.contains(&one), "{one}");
        let lengths: Vec<usize> = one.trim_matches(['{', '}']).split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12], "{one}");
    }
}
