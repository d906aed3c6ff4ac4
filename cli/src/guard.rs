//! Putting right what was changed where this program itself no longer can: it was
//! killed (SIGKILL), or panicked.
//!
//! A shell stands by, of a process group of its own, and reads how each change is
//! undone. Where the pipe ends without a last word, this program is gone, and the shell
//! does so: the last change first.

use std::fmt::Display;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// Reads commands, and runs them unless it reads [`DONE`].
const SCRIPT: &str = "\
trap '' HUP INT QUIT TERM
undo=
while read -r line; do
    [ \"$line\" = done ] && exit
    undo=\"$line
$undo\"
done
eval \"$undo\"
";

/// Nothing is left to be undone.
const DONE: &str = "done";

/// The shell that stands by; dismissed when this goes.
#[derive(Debug)]
#[must_use = "nobody stands by once this has gone"]
pub struct Guard(Option<Child>);

impl Guard {
    /// Has it stand by. Where there is no shell nobody does, which matters only if this
    /// program is killed.
    pub fn set() -> Self {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", SCRIPT]).process_group(0);
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(shell.spawn().ok())
    }

    /// Notes the command, one line, that undoes what is about to be changed.
    pub fn note(&mut self, command: impl Display) {
        if let Some(pipe) = self.0.as_mut().and_then(|shell| shell.stdin.as_mut()) {
            let _ = writeln!(pipe, "{command}");
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.note(DONE);
        }
        if let Some(mut shell) = self.0.take() {
            drop(shell.stdin.take());
            let _ = shell.wait();
        }
    }
}

/// A word of a command, whatever is in it.
pub fn quoted(word: impl Display) -> String {
    format!("'{}'", word.to_string().replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn note(guard: &mut Guard, file: &Path, words: &[&str]) {
        for word in words {
            guard.note(format!("echo {} >> {}", quoted(word), quoted(file.display())));
        }
    }

    #[test]
    fn what_was_changed_last_is_undone_first_once_the_program_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("it's a log");
        let mut guard = Guard::set();
        note(&mut guard, &file, &["first", "it's $second"]);
        // As the kernel closes the pipe of a program that was killed.
        let mut shell = guard.0.take().unwrap();
        drop(shell.stdin.take());
        assert!(shell.wait().unwrap().success());
        assert_eq!(std::fs::read_to_string(file).unwrap(), "it's $second\nfirst\n");
    }

    #[test]
    fn nothing_is_undone_twice() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("log");
        note(&mut Guard::set(), &file, &["first"]);
        assert!(!file.exists());
    }

    #[test]
    fn a_panic_counts_as_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("log");
        let panicked = std::panic::catch_unwind(|| {
            let mut guard = Guard::set();
            note(&mut guard, &file, &["first"]);
            panic!("a panic that a test asked for");
        });
        assert!(panicked.is_err());
        assert_eq!(std::fs::read_to_string(file).unwrap(), "first\n");
    }
}
