//! What the program's exit status says.

use std::process::ExitCode;

/// The exit status of every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// What was asked for has been done.
    Done = 0,
    /// The attempt failed; the running system was kept.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// Refused before anything was changed: `dormouse check` says why.
    Refused = 3,
    /// There is no image, or it is damaged.
    BadImage = 4,
}

/// The table of [`Exit`] for `--help`.
pub const HELP: &str = "Exit status:
  0  done
  1  the attempt failed; the running system was kept
  2  wrong usage
  3  refused before anything was changed; `dormouse check` says why
  4  no image there, or a damaged one";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
