//! `cargo xtask miri`: handoff's tests under Miri, which finds what the
//! compiler's rules for unsafe code forbid.

use crate::error::Error;
use crate::{nightly, property_tests, shell};
use dormouse_attacks::{Attack, record};

/// Cases of each property test: Miri is a thousand times slower.
const CASES: &str = "4";

/// A test that makes up tens of thousands of bytes a case, which takes Miri
/// minutes; what it calls is called by others.
const TOO_SLOW: &str = "any_bytes_are_a_plan_or_an_error";

/// Run handoff's tests under Miri
#[derive(clap::Args)]
pub struct Miri {}

impl Miri {
    pub fn run(self) -> Result<(), Error> {
        nightly::ensure()?;
        run()
    }
}

/// Runs them where the compiler is, or can be had; else says that it does not.
pub fn where_possible() -> Result<(), Error> {
    if let Err(error) = nightly::ensure() {
        eprintln!("skipped: Miri needs {}, which cannot be had here ({error})", nightly::NIGHTLY);
        return Ok(());
    }
    run()
}

fn run() -> Result<(), Error> {
    let mut command = nightly::cargo("miri");
    command.args(["test", "-p", "dormouse-handoff", "--lib", "--test", "hostile_bytes"]);
    command.args(["--", "--skip", TOO_SLOW]);
    // The property tests look for the files of earlier failures.
    command.env("MIRIFLAGS", "-Zmiri-disable-isolation").env("PROPTEST_CASES", CASES);
    property_tests::with_the_same_cases(&mut command);
    let output = shell::streamed(&mut command)?;
    let passed = output.lines().filter_map(|line| {
        line.strip_prefix("test result: ok. ")?.split(' ').next()?.parse::<u64>().ok()
    });
    record(Attack {
        promise: 8,
        attack: "tests of plan, image and mailbox run under Miri".into(),
        cases: passed.sum(),
        command: "cargo xtask miri".into(),
    });
    Ok(())
}
