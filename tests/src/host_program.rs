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
