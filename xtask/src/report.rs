//! `cargo xtask report`: what the tests tried, as a table in
//! `docs/guarantees.md`.

use crate::error::Error;
use crate::paths;
use dormouse_attacks::Attack;
use std::fmt::Write;
use std::fs;

/// Lines around the table in the document.
const BEGIN: &str = "<!-- written by `cargo xtask test --report` -->";
const END: &str = "<!-- end of what is written -->";

/// Write what the tests tried into docs/guarantees.md
///
/// The tests leave their numbers in target/attacks; those of earlier runs that
/// were not repeated count as well.
#[derive(clap::Args)]
pub struct Report {}

impl Report {
    pub fn run(self) -> Result<(), Error> {
        write()
    }
}

/// Writes the table.
pub fn write() -> Result<(), Error> {
    let folder = dormouse_attacks::folder();
    let attacks = dormouse_attacks::read(&folder).map_err(Error::file("reading", &folder))?;
    let path = paths::root().join("docs/guarantees.md");
    let document = fs::read_to_string(&path).map_err(Error::file("reading", &path))?;
    let written = with_table(&document, &attacks).ok_or(Error::NoPlaceForTable)?;
    fs::write(&path, written).map_err(Error::file("writing", &path))?;
    eprintln!("{}: {} attacks", path.display(), attacks.len());
    Ok(())
}

/// The document with this table; `None` where it has no place for one.
fn with_table(document: &str, attacks: &[Attack]) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{}\n{END}{after}", table(attacks)))
}

fn table(attacks: &[Attack]) -> String {
    let mut table = String::from("| Promise | Attack | Cases | Command |\n");
    table.push_str("| ---: | --- | ---: | --- |\n");
    for Attack { promise, attack, cases, command } in attacks {
        // A string takes all that is written to it.
        let _ = writeln!(table, "| {promise} | {attack} | {} | `{command}` |", grouped(*cases));
    }
    table
}

/// 1234567 as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let (head, rest) = digits.split_at(first);
    let groups = rest.as_bytes().chunks(3).map(|group| String::from_utf8_lossy(group).into_owned());
    let head = Some(head.to_owned()).filter(|head| !head.is_empty());
    head.into_iter().chain(groups).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_replaced_and_nothing_else() {
        let attack = |cases| Attack {
            promise: 2,
            attack: "it is cut".into(),
            cases,
            command: "cargo test".into(),
        };
        let document = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let written = with_table(&document, &[attack(1_234_567)]).unwrap();
        assert!(written.starts_with("before\n") && written.ends_with("\nafter\n"));
        assert!(written.contains("| 2 | it is cut | 1,234,567 | `cargo test` |\n"));
        assert!(!written.contains("old"));
        assert_eq!(with_table(&written, &[attack(1_234_567)]).unwrap(), written);
        assert_eq!(with_table("no place", &[]), None);
    }

    #[test]
    fn numbers_are_grouped() {
        let of = [0, 12, 123, 1234, 123_456, 1_234_567].map(grouped);
        assert_eq!(of, ["0", "12", "123", "1,234", "123,456", "1,234,567"]);
    }
}
