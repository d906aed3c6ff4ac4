//! What attacked a promise, and how many cases were tried: left by the tests,
//! written into `docs/guarantees.md` by `cargo xtask test --report`.
//!
//! A test that tries many cases ends with
//!
//! ```no_run
//! dormouse_attacks::record(dormouse_attacks::Attack {
//!     promise: 2,
//!     attack: "the power is cut while an image is discarded".into(),
//!     cases: 1234,
//!     command: "cargo test -p dormouse-transfer power_cuts".into(),
//! });
//! ```
//!
//! Each attack is one file under `target/attacks/`, named by its words, so that
//! a test that runs again replaces what it said before.

use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A line of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attack {
    /// Number of the promise in `docs/guarantees.md`, from 1.
    pub promise: u8,
    /// What is done, as a sentence without its full stop.
    pub attack: String,
    /// How many cases ran, all of them judged.
    pub cases: u64,
    /// The command that runs them again.
    pub command: String,
}

/// Leaves a line for the table. Where it cannot be written the test's standard
/// error says so: the attack itself did what it had to.
pub fn record(attack: Attack) {
    leave(&attack, "");
}

/// The same for one part of an attack, which has a name. The table adds parts
/// with different names up.
pub fn record_part(attack: Attack, part: &str) {
    leave(&attack, part);
}

fn leave(attack: &Attack, part: &str) {
    println!("{} cases: {}", attack.cases, attack.attack);
    if let Err(error) = write(&folder(), attack, part) {
        eprintln!("{}: {error}", folder().display());
    }
}

/// All lines that tests left in `folder`, by promise and words; parts of an
/// attack by the same command are one line.
///
/// # Errors
/// What reading the files ends in; a file that is no line is
/// [`io::ErrorKind::InvalidData`]. A folder that is not there has no lines.
pub fn read(folder: &Path) -> io::Result<Vec<Attack>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut attacks = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let attack: Attack = serde_json::from_slice(&fs::read(path)?)?;
            attacks.push(attack);
        }
    }
    attacks.sort_by(|a, b| key(a).cmp(&key(b)));
    attacks.dedup_by(|more, line| {
        let same = key(more) == key(line);
        line.cases += if same { more.cases } else { 0 };
        same
    });
    Ok(attacks)
}

/// Where the lines are: `attacks` in Cargo's target folder.
pub fn folder() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    root.join(target).join("attacks")
}

fn key(attack: &Attack) -> (u8, &str, &str) {
    (attack.promise, &attack.attack, &attack.command)
}

fn write(folder: &Path, attack: &Attack, part: &str) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let plain = |text: String, most: usize| -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        text.chars().map(plain).take(most).collect()
    };
    let name = plain(format!("{} {}", attack.promise, attack.attack), 120);
    let part = plain(part.to_owned(), 20);
    let name = if part.is_empty() { name } else { format!("{name}.{part}") };
    fs::write(folder.join(format!("{name}.json")), serde_json::to_vec(attack)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_again_replaces_what_it_said_before() {
        let folder = std::env::temp_dir().join(format!("attacks-{}", std::process::id()));
        let line = |promise, words: &str, cases| Attack {
            promise,
            attack: words.into(),
            cases,
            command: "true".into(),
        };
        assert_eq!(read(&folder).unwrap(), []);
        for attack in [line(3, "b", 1), line(3, "a", 2), line(1, "c", 3), line(3, "b", 4)] {
            write(&folder, &attack, "").unwrap();
        }
        for (part, cases) in [("1/2", 1), ("2/2", 10), ("2/2", 20)] {
            write(&folder, &line(3, "parts", cases), part).unwrap();
        }
        let read = read(&folder);
        fs::remove_dir_all(&folder).unwrap();
        let lines = [line(1, "c", 3), line(3, "a", 2), line(3, "b", 4), line(3, "parts", 21)];
        assert_eq!(read.unwrap(), lines);
    }
}
