//! Runs programs in plain sight.

use crate::error::Error;
use dormouse_tests::host_program::quoted;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// Prints the command line, runs it, and wants it to succeed.
pub fn run(command: &mut Command) -> Result<(), Error> {
    let line = line(command);
    eprintln!("+ {line}");
    let status =
        command.status().map_err(|cause| Error::NotStarted { command: line.clone(), cause })?;
    if status.success() { Ok(()) } else { Err(Error::Failed { command: line, status }) }
}

/// As [`run`], with standard output shown as it comes, and handed back.
pub fn streamed(command: &mut Command) -> Result<String, Error> {
    let line = line(command);
    eprintln!("+ {line}");
    let failed = |cause| Error::NotStarted { command: line.clone(), cause };
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(failed)?;
    let mut words = String::new();
    for line in child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines()) {
        let line = line.map_err(failed)?;
        println!("{line}");
        words.push_str(&line);
        words.push('\n');
    }
    let status = child.wait().map_err(failed)?;
    if status.success() { Ok(words) } else { Err(Error::Failed { command: line, status }) }
}

/// As [`run`], with standard error in the file `log`, and handed back.
pub fn logged(command: &mut Command, log: &Path) -> Result<String, Error> {
    eprintln!("+ {} 2>{}", line(command), log.display());
    let file = File::create(log).map_err(Error::file("making", log))?;
    let line = line(command);
    let status = command
        .stderr(file)
        .status()
        .map_err(|cause| Error::NotStarted { command: line.clone(), cause })?;
    let words = std::fs::read(log).map_err(Error::file("reading", log))?;
    let words = String::from_utf8_lossy(&words).into_owned();
    if status.success() { Ok(words) } else { Err(Error::Failed { command: line, status }) }
}

/// The standard output of a program that has to succeed; not printed.
pub fn output(command: &mut Command) -> Result<String, Error> {
    let line = line(command);
    let output =
        command.output().map_err(|cause| Error::NotStarted { command: line.clone(), cause })?;
    if !output.status.success() {
        return Err(Error::Failed { command: line, status: output.status });
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().into())
}

/// The command as a person would type it.
fn line(command: &Command) -> String {
    let directory = command.get_current_dir().map(|path| format!("cd {} && ", path.display()));
    let environment = command.get_envs().filter_map(|(name, value)| {
        Some(format!("{}={}", name.to_string_lossy(), quoted(&value?.to_string_lossy())))
    });
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words = words.map(|word| quoted(&word.to_string_lossy()));
    let words: Vec<String> = environment.chain(words).collect();
    directory.unwrap_or_default() + &words.join(" ")
}
