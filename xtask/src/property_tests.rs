//! The tests of all packages but the scenarios, and which cases those of them
//! that make cases up get to see.

use crate::build::cargo;
use crate::error::Error;
use crate::shell;
use std::process::Command;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// As `proptest` reads it.
const SEED: &str = "PROPTEST_RNG_SEED";

/// Gives a run the same cases every time, so that a change fails for what is in
/// it and for nothing else. Other cases are for [`with_ever_new_cases`].
pub fn with_the_same_cases(command: &mut Command) -> &mut Command {
    command.env(SEED, "1")
}

/// The packages' tests: all that takes no guests.
pub fn commands() -> [Command; 2] {
    let mut packages = cargo("test");
    packages.args(["--workspace", "--exclude", "dormouse-writer", "--exclude", "dormouse-tests"]);
    let mut harness = cargo("test");
    harness.args(["-p", "dormouse-tests", "--lib"]);
    [packages, harness]
}

/// Runs them again and again with other cases, for so many seconds at least. The
/// command that is printed before a run repeats it.
pub fn with_ever_new_cases(seconds: u32) -> Result<(), Error> {
    let started = Instant::now();
    loop {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let seed = now.map_or(0, |now| now.as_micros()).to_string();
        for mut command in commands() {
            shell::run(command.arg("-q").env(SEED, &seed))?;
        }
        if started.elapsed().as_secs() >= seconds.into() {
            return Ok(());
        }
    }
}
