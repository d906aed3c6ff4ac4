//! Why a scenario did not get to its end.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a scenario did not get to its end.
#[derive(Debug)]
pub enum Error {
    /// Something on the host's files, sockets or processes failed.
    Host {
        /// What was tried, as in "making target/qemu/last/second.img".
        tried: String,
        /// What came back.
        cause: io::Error,
    },
    /// A program on the host failed.
    Program {
        /// Its command line.
        command: String,
        /// How it ended, and its last words.
        outcome: String,
    },
    /// Something did not happen in time.
    Deadline {
        /// What was waited for.
        awaited: String,
        /// How long.
        waited: Duration,
    },
    /// The virtual machine ended, or closed a line, while something was
    /// expected of it.
    Ended {
        /// What was expected.
        awaited: String,
        /// How it ended, as far as known.
        how: String,
    },
    /// QEMU's monitor refused a command.
    Monitor {
        /// The command.
        command: String,
        /// The answer.
        answer: String,
    },
    /// The guest could not do what it was asked for.
    Guest {
        /// What it was asked for.
        asked: String,
        /// Its answer.
        answer: String,
    },
    /// An artefact that `cargo xtask build` or `cargo xtask kernel` makes is
    /// not there.
    Artefact {
        /// The file.
        path: PathBuf,
        /// The command that makes it.
        made_by: &'static str,
    },
    /// Everything ran, and something was wrong: one line each.
    Verdict(Vec<String>),
    /// An error, and the serial log that tells more.
    Logged {
        /// The error.
        error: Box<Error>,
        /// The log.
        log: PathBuf,
        /// Its last lines.
        tail: String,
    },
}

impl Error {
    /// Wraps what the host answered to `tried`.
    pub fn host<E: Into<io::Error>>(tried: impl Into<String>) -> impl FnOnce(E) -> Self {
        move |cause| Self::Host { tried: tried.into(), cause: cause.into() }
    }

    /// One thing that is wrong.
    pub fn verdict(what: impl Into<String>) -> Self {
        Self::Verdict(vec![what.into()])
    }

    /// The error without the log that was added to it.
    pub fn reason(&self) -> &Self {
        match self {
            Self::Logged { error, .. } => error.reason(),
            other => other,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { tried, cause } => write!(f, "{tried}: {cause}"),
            Self::Program { command, outcome } => write!(f, "`{command}`: {outcome}"),
            Self::Deadline { awaited, waited } => {
                write!(f, "{awaited}: not within {} s", waited.as_secs())
            }
            Self::Ended { awaited, how } => {
                write!(f, "the machine ended ({how}) while waiting for {awaited}")
            }
            Self::Monitor { command, answer } => {
                write!(f, "QEMU's monitor refused {command}: {answer}")
            }
            Self::Guest { asked, answer } => write!(f, "the guest, asked for {asked}: {answer}"),
            Self::Artefact { path, made_by } => {
                write!(f, "{} is not there; `{made_by}` makes it", path.display())
            }
            Self::Verdict(faults) => write!(f, "{}", faults.join("\n")),
            Self::Logged { error, log, tail } => {
                write!(f, "{error}\n--- the last lines of {}:\n{tail}", log.display())
            }
        }
    }
}

impl std::error::Error for Error {}

/// An error as the outcome of a test, which prints it in its own words.
pub struct Failure(Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
