//! Campaigns: attacks in numbers, repeatable from a seed.
//!
//! The choices follow from the seed alone; the guest's memory, and with it the
//! number of commands that a disk sees, differs a little from run to run.

mod cuts;
mod faults;
mod flips;
mod replay;
mod share;
mod sleeper;
mod write_log;

pub use share::Share;

use crate::artefacts::Artefacts;
use crate::error::Error;
use crate::main_job::Progress;
use crate::options::Options;
use crate::qemu::DiskKind;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// All drivers.
const DISKS: [DiskKind; 3] = [DiskKind::Nvme, DiskKind::VirtioBlk, DiskKind::Ahci];

/// Memory of the guests, in MiB.
const MEMORY_MIB: u64 = 512;

/// What to attack with, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Torture {
    /// Power cuts.
    pub cuts: u32,
    /// Failing devices, shared out to the three drivers.
    pub faults: u32,
    /// Damaged images.
    pub flips: u32,
    /// How the target is attached, for cuts and flips.
    pub disk: DiskKind,
    /// Decides all choices.
    pub seed: u64,
    /// Which part of each campaign to carry out.
    pub share: Share,
    /// Machines that run side by side.
    pub jobs: usize,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether nothing was found wrong.
    pub good: bool,
    /// Decides all choices.
    pub seed: u64,
    /// Each campaign that was asked for.
    pub campaigns: Vec<Campaign>,
}

/// What is attacked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weapon {
    /// Power cuts.
    Cuts,
    /// Failing devices.
    Faults,
    /// Damaged images.
    Flips,
}

impl Weapon {
    /// The promise of `docs/guarantees.md` that is attacked.
    pub fn promise(self) -> u8 {
        match self {
            Self::Cuts => 2,
            Self::Faults => 1,
            Self::Flips => 3,
        }
    }

    /// What is done, in the words of the table there.
    pub fn attack(self) -> &'static str {
        match self {
            Self::Cuts => "the power is cut in QEMU, while hibernating and while waking",
            Self::Faults => "a device of QEMU fails at the n-th command, under each driver",
            Self::Flips => "an image is damaged, and a reader in QEMU has to refuse it",
        }
    }

    /// The option of `cargo xtask torture`.
    pub fn option(self) -> &'static str {
        match self {
            Self::Cuts => "cuts",
            Self::Faults => "faults",
            Self::Flips => "flips",
        }
    }
}

/// What came of one campaign.
#[derive(Debug, Serialize)]
pub struct Campaign {
    /// What it attacked with.
    pub name: Weapon,
    /// How the target was attached.
    pub disk: String,
    /// How many cases ran.
    pub cases: usize,
    /// How many went wrong.
    pub failed: usize,
    /// What was counted on the way.
    pub counts: BTreeMap<&'static str, usize>,
    /// How long it took.
    pub seconds: f64,
    /// Why it ended early, if it did.
    pub error: Option<String>,
    /// Each case, by its number.
    pub list: Vec<Case>,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The reader refused, with a reason, and the machine went off.
    Refused,
    /// The guest woke and was what it had been.
    Woke,
    /// The hibernation came back with a message, the guest was what it had
    /// been.
    Returned,
    /// The guest fell asleep.
    Slept,
}

/// One case of a campaign.
#[derive(Clone, Debug, Serialize)]
pub struct Case {
    /// Its number.
    pub number: usize,
    /// What was done.
    pub what: String,
    /// What had to happen; `None` where either may.
    pub expected: Option<Outcome>,
    /// What happened.
    pub found: Option<Outcome>,
    /// Whether that is as it must be.
    pub good: bool,
    /// The reader's or the guest's words.
    pub detail: String,
}

impl Case {
    fn new(number: usize, what: String) -> Self {
        Self { number, what, expected: None, found: None, good: false, detail: String::new() }
    }

    fn found(&mut self, outcome: Outcome, detail: impl Into<String>) {
        self.found = Some(outcome);
        self.detail = detail.into();
        self.good = self.expected.is_none_or(|expected| expected == outcome);
    }

    fn fail(&mut self, error: Error) {
        self.good = false;
        self.detail = error.to_string();
    }
}

/// The cases of a campaign under way, and what is counted.
struct Work {
    total: usize,
    state: Mutex<(Vec<Case>, BTreeMap<&'static str, usize>)>,
}

impl Work {
    fn over(total: usize) -> Self {
        Self { total, state: Mutex::default() }
    }

    /// Adds to a count; what it was before.
    fn count(&self, what: &'static str, more: usize) -> usize {
        let mut state = self.state();
        let count = state.1.entry(what).or_default();
        *count += more;
        *count - more
    }

    fn done(&self, case: Case, progress: &dyn Progress) {
        let mark = if case.good { "" } else { " WRONG:" };
        let mut state = self.state();
        let done = state.0.len() + 1;
        progress.step(&format!("{done} of {}:{mark} {}: {}", self.total, case.what, case.detail));
        state.0.push(case);
    }

    fn state(&self) -> MutexGuard<'_, (Vec<Case>, BTreeMap<&'static str, usize>)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Torture {
    /// Cuts in `cargo xtask test`.
    pub const USUAL_CUTS: u32 = 40;
    /// Faults in `cargo xtask test`.
    pub const USUAL_FAULTS: u32 = 9;
    /// Flips in `cargo xtask test`.
    pub const USUAL_FLIPS: u32 = 22;
    /// From so many faults on, each driver's device also stops answering, and
    /// vanishes; each takes half a minute to be noticed.
    const MANY_FAULTS: u32 = 30;

    /// Runs the campaigns. An error only where there is nothing to report.
    pub fn run(&self, artefacts: &Artefacts, progress: &dyn Progress) -> Report {
        let mut campaigns = Vec::new();
        if self.cuts > 0 {
            let options = options(self.disk);
            campaigns.push(campaign(Weapon::Cuts, self.disk, || {
                cuts::run(artefacts, options, self, progress)
            }));
        }
        for (index, disk) in DISKS.into_iter().enumerate() {
            let share = (self.faults + (DISKS.len() - 1 - index) as u32) / DISKS.len() as u32;
            if share > 0 {
                let patience = self.faults >= Self::MANY_FAULTS;
                campaigns.push(campaign(Weapon::Faults, disk, || {
                    faults::run(artefacts, options(disk), share, patience, self, progress)
                }));
            }
        }
        if self.flips > 0 {
            let options = options(self.disk);
            campaigns.push(campaign(Weapon::Flips, self.disk, || {
                flips::run(artefacts, options, self, progress)
            }));
        }
        let good = campaigns.iter().all(|one| one.failed == 0 && one.error.is_none());
        Report { good, seed: self.seed, campaigns }
    }
}

impl Report {
    /// How many cases ran with each weapon.
    pub fn cases(&self) -> BTreeMap<Weapon, u64> {
        let mut cases = BTreeMap::new();
        for one in &self.campaigns {
            *cases.entry(one.name).or_default() += one.cases as u64;
        }
        cases
    }

    /// As JSON.
    pub fn json(&self) -> Result<String, Error> {
        serde_json::to_string_pretty(self).map_err(|e| Error::host("writing a report")(e))
    }

    /// For a person to read.
    pub fn table(&self) -> String {
        let mut lines = Vec::new();
        for one in &self.campaigns {
            lines.push(format!(
                "{} on {}: {} cases, {} wrong, {:.0} s (seed {})",
                one.name.option(),
                one.disk,
                one.cases,
                one.failed,
                one.seconds,
                self.seed
            ));
            lines.extend(one.counts.iter().map(|(what, count)| format!("  {count:5} {what}")));
            lines.extend(one.error.iter().map(|error| format!("  ended early: {error}")));
            let wrong = one.list.iter().filter(|case| !case.good);
            lines.extend(wrong.map(|c| format!("  wrong: {}: {}: {}", c.number, c.what, c.detail)));
        }
        lines.join("\n") + "\n"
    }
}

fn options(disk: DiskKind) -> Options {
    Options { disk, memory_mib: MEMORY_MIB, ..Options::default() }
}

fn campaign(name: Weapon, disk: DiskKind, run: impl FnOnce() -> Result<Work, Error>) -> Campaign {
    let began = Instant::now();
    let (work, error) = match run() {
        Ok(work) => (work, None),
        Err(error) => (Work::over(0), Some(error.to_string())),
    };
    let (mut list, counts) = work.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    list.sort_by_key(|case| case.number);
    let failed = list.iter().filter(|case| !case.good).count();
    let seconds = began.elapsed().as_secs_f64();
    let cases = list.len();
    Campaign { name, disk: disk.to_string(), cases, failed, counts, seconds, error, list }
}
