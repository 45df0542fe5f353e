//! Names of instruments, countries and skill levels as Jamulus numbers them (docs/PROTOCOL.md §1).

use std::sync::LazyLock;

use crate::protocol::Skill;

/// One row of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Number on the wire.
    pub number: u32,
    /// Two-letter ISO code of a country that has one, else empty.
    pub code: &'static str,
    /// English name.
    pub name: &'static str,
}

/// Instruments, "None" first, then by name.
pub static INSTRUMENTS: LazyLock<Vec<Row>> = LazyLock::new(|| {
    sorted(rows(include_str!("instruments.csv")).map(|(number, name, _)| Row { number, code: "", name }))
});

/// Countries, "None" first, then by name.
pub static COUNTRIES: LazyLock<Vec<Row>> = LazyLock::new(|| {
    let none = Row { number: 0, code: "", name: "None" };
    let named = rows(include_str!("countries.csv")).map(|(number, code, name)| Row { number, code, name });
    sorted(std::iter::once(none).chain(named))
});

/// Skill levels from none to expert.
pub const SKILLS: [(Skill, &str); 4] = [
    (Skill::NONE, "None"),
    (Skill::BEGINNER, "Beginner"),
    (Skill::INTERMEDIATE, "Intermediate"),
    (Skill::EXPERT, "Expert"),
];

/// The row with `number`; `None` for numbers that are not in the table (a peer may send any).
pub fn find(table: &[Row], number: u32) -> Option<Row> {
    table.iter().find(|row| row.number == number).copied()
}

fn rows(csv: &'static str) -> impl Iterator<Item = (u32, &'static str, &'static str)> {
    csv.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ',');
        Some((fields.next()?.parse().ok()?, fields.next()?, fields.next()?))
    })
}

fn sorted(rows: impl Iterator<Item = Row>) -> Vec<Row> {
    let mut rows: Vec<_> = rows.collect();
    rows.sort_by_key(|row| (row.number != 0, row.name));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_complete() {
        assert_eq!((INSTRUMENTS.len(), COUNTRIES.len()), (50, 262));
        assert_eq!(find(&INSTRUMENTS, 8).map(|row| row.name), Some("Grand Piano"));
        assert_eq!(find(&COUNTRIES, 82).map(|row| (row.code, row.name)), Some(("DE", "Germany")));
        assert_eq!(find(&COUNTRIES, 0).map(|row| row.name), Some("None"));
        assert_eq!(find(&INSTRUMENTS, 4000), None);
    }
}
