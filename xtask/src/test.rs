//! `cargo xtask test`: everything that has to pass.

use crate::build::{self, cargo};
use crate::error::Error;
use crate::{bootloader_disk, host, miri, paths, property_tests, qemu, report, shell, unsafe_list};
use dormouse_tests::Artefacts;
use std::process::Command;

/// Libraries that must not need an operating system. They are checked against
/// a target that has none; where it is missing, rustup adds it.
const BARE: [&str; 7] = [
    "dormouse-boot",
    "dormouse-drivers",
    "dormouse-handoff",
    "dormouse-page-set",
    "dormouse-power",
    "dormouse-screen",
    "dormouse-transfer",
];

/// The scenario that is also part of `--quick`: one real round trip.
const QUICK_SCENARIO: &str = "one_round_trip";

/// How many scenarios run side by side.
const SIDE_BY_SIDE: &str = "--test-threads=2";

/// Run formatting, lints, host tests and the end-to-end scenarios
#[derive(clap::Args)]
pub struct Test {
    /// What a person runs between edits: all but Miri and most of the scenarios
    #[arg(long)]
    quick: bool,
    /// Afterwards write what was tried into docs/guarantees.md
    #[arg(long)]
    report: bool,
}

/// A part of the tests, under the name by which a failure is told.
struct Part {
    name: &'static str,
    run: fn() -> Result<(), Error>,
}

impl Test {
    /// Runs every part even where one fails, so that one run tells all.
    pub fn run(self) -> Result<(), Error> {
        host::ensure(host::FOR_BUILDING)?;
        let scenarios = if self.quick { quick_scenarios } else { all_scenarios };
        let mut parts = vec![
            Part { name: "formatting", run: formatting },
            Part { name: "lints", run: lints },
            Part { name: "host tests", run: host_tests },
            Part { name: "bare-metal check", run: bare_metal },
            Part { name: "list of unsafe code", run: unsafe_list::is_current },
            Part { name: "scenarios", run: scenarios },
        ];
        if !self.quick {
            parts.push(Part { name: "Miri", run: miri::where_possible });
        }
        let mut failed = Vec::new();
        for Part { name, run } in parts {
            eprintln!("== {name}");
            if let Err(error) = run() {
                eprintln!("error: {error}");
                failed.push(name);
            }
        }
        if self.report {
            report::write()?;
        }
        if failed.is_empty() { Ok(()) } else { Err(Error::Checks(failed)) }
    }
}

fn formatting() -> Result<(), Error> {
    shell::run(cargo("fmt").args(["--all", "--check"]))?;
    let other = ["--manifest-path", bootloader_disk::MANIFEST, "--all", "--check"];
    shell::run(cargo("fmt").args(other))
}

/// The writer has no operating system to unwind or to test with: it is linted
/// as it is built.
fn lints() -> Result<(), Error> {
    let deny = ["--", "-D", "warnings"];
    let hosted = ["--workspace", "--exclude", "dormouse-writer", "--all-targets"];
    shell::run(cargo("clippy").args(hosted).args(deny))?;
    let bare = ["-p", "dormouse-writer", "--profile", "kernel", "--target", build::TARGET];
    shell::run(cargo("clippy").args(bare).args(deny))
}

/// All but the scenarios, which take guests.
fn host_tests() -> Result<(), Error> {
    for mut command in property_tests::commands() {
        shell::run(property_tests::with_the_same_cases(&mut command))?;
    }
    Ok(())
}

fn bare_metal() -> Result<(), Error> {
    host::ensure_target(host::BARE_TARGET)?;
    let packages = BARE.iter().flat_map(|package| ["-p", package]);
    shell::run(cargo("check").args(["--target", host::BARE_TARGET]).args(packages))
}

fn all_scenarios() -> Result<(), Error> {
    host::ensure(host::FOR_CORES)?;
    let mut scenarios = scenarios()?;
    bootloader_disk::where_possible()?;
    shell::run(scenarios.args(["--test", "*", "--no-fail-fast", "--", SIDE_BY_SIDE]))
}

fn quick_scenarios() -> Result<(), Error> {
    shell::run(scenarios()?.args(["--test", QUICK_SCENARIO]))
}

/// The tests of the harness package, with what they need.
fn scenarios() -> Result<Command, Error> {
    let artefacts = qemu::artefacts(None)?;
    let mut command = cargo("test");
    command.args(["-p", "dormouse-tests"]);
    command.env(Artefacts::TARGET, paths::target());
    command.env(Artefacts::KERNEL, artefacts.kernel());
    Ok(command)
}
