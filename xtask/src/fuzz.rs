//! `cargo xtask fuzz`: the fuzz targets, one after the other, each for a while.

use crate::build::cargo;
use crate::error::Error;
use crate::{nightly, paths, shell};
use dormouse_attacks::{Attack, record};
use std::fs;

/// Seconds for each target of a long run.
const LONG: u32 = 600;

/// Run the fuzz targets
///
/// Each begins with seeds that are made by code and goes on with what earlier
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
    /// Only these targets (default: all)
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
}

impl Fuzz {
    /// Runs every target even where one breaks, so that one run tells all.
    pub fn run(self) -> Result<(), Error> {
        nightly::ensure()?;
        nightly::ensure_cargo_fuzz()?;
        let folder = paths::target().join("fuzz");
        let corpus = folder.join("corpus");
        fs::create_dir_all(&corpus).map_err(Error::file("making", &corpus))?;
        let seeds = ["-q", "-p", "dormouse-fuzz-bodies", "--"];
        shell::run(cargo("run").args(seeds).arg(&corpus))?;

        let all = shell::output(nightly::cargo("fuzz").arg("list"))?;
        let all: Vec<&str> = all.lines().collect();
        if let Some(unknown) = self.targets.iter().find(|name| !all.contains(&name.as_str())) {
            return Err(Error::NoSuchTarget(unknown.clone(), all.join(", ")));
        }
        let wanted = |name: &&&str| {
            self.targets.is_empty() || self.targets.iter().any(|wanted| wanted == **name)
        };
        let seconds = if self.long { LONG } else { self.seconds };
        let mut broken = Vec::new();
        for name in all.iter().filter(wanted) {
            let mut command = nightly::cargo("fuzz");
            command.args(["run", name]).arg(corpus.join(name)).arg("--");
            command.arg(format!("-max_total_time={seconds}"));
            // A body that takes longer waits for something.
            command.args(["-timeout=20", "-rss_limit_mb=3000"]);
            let log = folder.join(name).with_extension("log");
            match shell::logged(&mut command, &log) {
                Ok(words) => tell(name, &words),
                Err(error) => {
                    eprintln!("error: {error}");
                    broken.push((*name).to_owned());
                }
            }
        }
        if broken.is_empty() { Ok(()) } else { Err(Error::Broken(broken, folder)) }
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
