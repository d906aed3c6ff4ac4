//! Programs on the host that have to end well.

use crate::error::Error;
use std::process::{Command, Stdio};

/// Runs a program to its end; what it printed on standard output.
pub fn run(command: &mut Command) -> Result<String, Error> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let output = command.stdin(Stdio::null()).output().map_err(Error::host(&*line))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = [output.stdout, output.stderr].concat();
    let outcome = format!("{}: {}", output.status, String::from_utf8_lossy(&words).trim());
    Err(Error::Program { command: line, outcome })
}

/// A word of a command line as a person types it in a shell.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=/.,:+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_takes_words_for_what_they_were() {
        let of = ["-m", "path=/a,b", "", "two words", "it's"].map(quoted);
        assert_eq!(of, ["-m", "path=/a,b", "''", "'two words'", r"'it'\''s'"]);
    }
}
