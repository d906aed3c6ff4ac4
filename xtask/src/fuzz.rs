//! `cargo xtask fuzz`: the property tests with ever new cases, and the fuzz
//! targets, one after the other, each for a while.

use crate::build::cargo;
use crate::error::Error;
use crate::{nightly, paths, property_tests, shell};
use dormouse_attacks::{Attack, record};
use std::fs;
use std::path::Path;

/// Seconds for each target of a long run.
const LONG: u32 = 600;

/// The property tests' name beside the targets'.
const PROPERTY_TESTS: &str = "property-tests";

/// Run the property tests with new cases, and the fuzz targets
///
/// `cargo xtask test` gives the property tests the same cases every time; here
/// they get others, and what is printed before a run repeats it. Each fuzz target
/// begins with seeds that are made by code and goes on with what earlier
/// runs found, in target/fuzz/corpus. What breaks a target is left in
/// fuzz/artifacts; its own words are in target/fuzz/TARGET.log.
#[derive(clap::Args)]
pub struct Fuzz {
    /// How long each target runs
    #[arg(long, value_name = "N", default_value_t = 20)]
    seconds: u32,
    /// Run each target for ten minutes
    #[arg(long, conflicts_with = "seconds")]
    long: bool,
    /// Only these targets, or property-tests (default: all)
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
}

impl Fuzz {
    /// Runs every target even where one breaks, so that one run tells all.
    pub fn run(self) -> Result<(), Error> {
        let seconds = if self.long { LONG } else { self.seconds };
        let mut broken = Vec::new();
        if self.wants(PROPERTY_TESTS) {
            tried(PROPERTY_TESTS, property_tests::with_ever_new_cases(seconds), &mut broken);
        }
        let folder = paths::target().join("fuzz");
        if self.targets.iter().any(|name| name != PROPERTY_TESTS) || self.targets.is_empty() {
            self.run_targets(seconds, &folder, &mut broken)?;
        }
        if broken.is_empty() { Ok(()) } else { Err(Error::Broken(broken, folder)) }
    }

    fn run_targets(
        &self,
        seconds: u32,
        folder: &Path,
        broken: &mut Vec<String>,
    ) -> Result<(), Error> {
        nightly::ensure()?;
        nightly::ensure_cargo_fuzz()?;
        let corpus = folder.join("corpus");
        fs::create_dir_all(&corpus).map_err(Error::file("making", &corpus))?;
        let seeds = ["-q", "-p", "dormouse-fuzz-bodies", "--"];
        shell::run(cargo("run").args(seeds).arg(&corpus))?;

        let all = shell::output(nightly::cargo("fuzz").arg("list"))?;
        let all: Vec<&str> = all.lines().collect();
        let known = |name: &&String| *name == PROPERTY_TESTS || all.contains(&name.as_str());
        if let Some(unknown) = self.targets.iter().find(|name| !known(name)) {
            return Err(Error::NoSuchTarget(unknown.clone(), all.join(", ")));
        }
        for name in all.into_iter().filter(|name| self.wants(name)) {
            let mut command = nightly::cargo("fuzz");
            command.args(["run", name]).arg(corpus.join(name)).arg("--");
            command.arg(format!("-max_total_time={seconds}"));
            // A body that takes longer waits for something.
            command.args(["-timeout=20", "-rss_limit_mb=3000"]);
            let log = folder.join(name).with_extension("log");
            let ended = shell::logged(&mut command, &log).map(|words| tell(name, &words));
            tried(name, ended, broken);
        }
        Ok(())
    }

    fn wants(&self, name: &str) -> bool {
        self.targets.is_empty() || self.targets.iter().any(|wanted| wanted == name)
    }
}

/// Says at once what broke, and keeps its name for the end.
fn tried(name: &str, ended: Result<(), Error>, broken: &mut Vec<String>) {
    if let Err(error) = ended {
        eprintln!("error: {error}");
        broken.push(name.to_owned());
    }
}

/// libFuzzer's last line: `Done 123456 runs in 21 second(s)`.
fn tell(name: &str, words: &str) {
    let runs = words
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("Done ")?.split(' ').next()?.parse::<u64>().ok());
    record(Attack {
        promise: 8,
        attack: format!("fuzz target {name}"),
        cases: runs.unwrap_or(0),
        command: format!("cargo xtask fuzz {name}"),
    });
}
