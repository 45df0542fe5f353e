//! Names of directories in JSON-RPC (`docs/PROTOCOL.md` §4, §7).

use crate::server::config::DirectoryChoice;

/// A server that is not listed.
const NONE: &str = "none";
/// A directory that has no name of its own.
const CUSTOM: &str = "custom";
/// The public directories, by their `directoryType`.
const PUBLIC: [(&str, &str); 7] = [
    ("any_genre_1", "anygenre1.jamulus.app:22124"),
    ("any_genre_2", "anygenre2.jamulus.app:22224"),
    ("any_genre_asia", "asia.jamulus.app:22624"),
    ("genre_rock", "rock.jamulus.app:22424"),
    ("genre_jazz", "jazz.jamulus.app:22324"),
    ("genre_classical_folk", "classical.jamulus.app:22524"),
    ("genre_choral_barbershop", "choral.jamulus.app:22724"),
];

/// The directory of this type; an unknown type means the first one, as in Jamulus. `None` when a custom one
/// has no address.
pub(super) fn choice(directory_type: &str, address: Option<&str>) -> Option<DirectoryChoice> {
    let address = match directory_type {
        NONE => return Some(DirectoryChoice::None),
        CUSTOM => address.map(str::trim).filter(|address| !address.is_empty())?,
        known => PUBLIC.iter().find(|(name, _)| *name == known).map_or(PUBLIC[0].1, |(_, address)| *address),
    };
    Some(DirectoryChoice::Address(address.to_owned()))
}

/// The type of the directory at `address`, as an admin wrote it; empty means none.
pub(super) fn name(address: &str) -> &'static str {
    if address.is_empty() {
        return NONE;
    }
    let known = PUBLIC.iter().find(|(_, public)| public.eq_ignore_ascii_case(address));
    known.map_or(CUSTOM, |(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_become_addresses_and_back() {
        for (directory_type, address) in PUBLIC {
            let expected = Some(DirectoryChoice::Address(address.to_owned()));
            assert_eq!(choice(directory_type, Some("ignored")), expected);
            assert_eq!(name(address), directory_type);
        }
        assert_eq!(choice("none", None), Some(DirectoryChoice::None));
        assert_eq!(name(""), "none");
        let own = Some(DirectoryChoice::Address("jam.example.org".to_owned()));
        assert_eq!(choice("custom", Some(" jam.example.org ")), own);
        assert_eq!(name("jam.example.org"), "custom");
        assert_eq!((choice("custom", None), choice("custom", Some(" "))), (None, None));
        assert_eq!(choice("polka", None), choice("any_genre_1", None));
    }
}
