//! The directories that everybody knows, by the names that JSON-RPC gives them.

use super::super::config::DirectoryChoice;

/// Which directory a server is listed in (`docs/PROTOCOL.md` §7, `directoryType`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DirectoryKind {
    /// None: a private server.
    #[default]
    None,
    /// Any genre, the first one.
    AnyGenre1,
    /// Any genre, the second one.
    AnyGenre2,
    /// Any genre, in Asia.
    AnyGenreAsia,
    /// Rock.
    Rock,
    /// Jazz.
    Jazz,
    /// Classical and folk.
    ClassicalFolk,
    /// Choral and barbershop.
    ChoralBarbershop,
    /// One that the admin names by its address.
    Custom,
}

impl DirectoryKind {
    /// All, in the order of Jamulus's list.
    pub const ALL: [Self; 9] = [
        Self::None,
        Self::AnyGenre1,
        Self::AnyGenre2,
        Self::AnyGenreAsia,
        Self::Rock,
        Self::Jazz,
        Self::ClassicalFolk,
        Self::ChoralBarbershop,
        Self::Custom,
    ];

    /// Its name in JSON-RPC.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::AnyGenre1 => "any_genre_1",
            Self::AnyGenre2 => "any_genre_2",
            Self::AnyGenreAsia => "any_genre_asia",
            Self::Rock => "genre_rock",
            Self::Jazz => "genre_jazz",
            Self::ClassicalFolk => "genre_classical_folk",
            Self::ChoralBarbershop => "genre_choral_barbershop",
            Self::Custom => "custom",
        }
    }

    /// `host:port` of a public directory.
    pub const fn address(self) -> Option<&'static str> {
        match self {
            Self::None | Self::Custom => None,
            Self::AnyGenre1 => Some("anygenre1.jamulus.app:22124"),
            Self::AnyGenre2 => Some("anygenre2.jamulus.app:22224"),
            Self::AnyGenreAsia => Some("asia.jamulus.app:22624"),
            Self::Rock => Some("rock.jamulus.app:22424"),
            Self::Jazz => Some("jazz.jamulus.app:22324"),
            Self::ClassicalFolk => Some("classical.jamulus.app:22524"),
            Self::ChoralBarbershop => Some("choral.jamulus.app:22724"),
        }
    }

    /// The kind of this name. As in Jamulus, a name that nobody knows means the first directory.
    pub fn parse(name: &str) -> Self {
        Self::ALL.into_iter().find(|kind| kind.name() == name).unwrap_or(Self::AnyGenre1)
    }

    /// The kind of what an admin has chosen.
    pub fn of(choice: &DirectoryChoice) -> Self {
        match choice {
            DirectoryChoice::None => Self::None,
            DirectoryChoice::Address(address) => {
                let is_its =
                    |kind: &Self| kind.address().is_some_and(|its| its.eq_ignore_ascii_case(address));
                Self::ALL.into_iter().find(is_its).unwrap_or(Self::Custom)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ServerAddress;

    #[test]
    fn names_and_addresses_lead_back_to_the_kind() {
        for kind in DirectoryKind::ALL {
            assert_eq!(DirectoryKind::parse(kind.name()), kind);
            if let Some(address) = kind.address() {
                assert_eq!(DirectoryKind::of(&DirectoryChoice::Address(address.to_uppercase())), kind);
                assert!(address.parse::<ServerAddress>().is_ok_and(|address| address.port.is_some()));
            }
        }
        assert_eq!(DirectoryKind::of(&DirectoryChoice::None), DirectoryKind::None);
    }

    #[test]
    fn unknown_names_mean_the_first_and_other_addresses_are_custom() {
        assert_eq!(DirectoryKind::parse("genre_polka"), DirectoryKind::AnyGenre1);
        let own = DirectoryChoice::Address("directory.example.org".into());
        assert_eq!(DirectoryKind::of(&own), DirectoryKind::Custom);
    }
}
