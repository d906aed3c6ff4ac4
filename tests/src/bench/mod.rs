//! `cargo xtask bench`: how fast, on the same machine, disk and contents of
//! memory, and compared with what.

mod ceiling;
mod cpu;
mod goals;
mod host;
mod measured;
mod peers;
mod report;
mod scale;
mod starts;
mod ways;

pub use report::{
    Ceiling, Cost, Goal, Hibernation, Native, Outcome, Peer, PeerFigures, Report, Scale, Start,
    StartFigures, Suspend,
};

use crate::artefacts::Artefacts;
use crate::error::Error;
use crate::kiosk::System;
use crate::main_job::Progress;
use crate::options::Options;
use crate::qemu::DiskKind;
use std::cmp::Ordering;
use std::path::PathBuf;

/// A part of the measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The path against the device.
    Ceiling,
    /// Against Linux's own hibernation, and a whole Linux as the writer.
    Peers,
    /// Small and large machines.
    Scale,
    /// Suspending to RAM, against Linux's own.
    Ways,
    /// Instructions for each page.
    Cpu,
    /// Power-on to the first answer.
    Starts,
}

/// What there is to measure with.
pub struct Bench<'a> {
    /// What was built.
    pub artefacts: &'a Artefacts,
    /// Whether to take the short form.
    pub quick: bool,
    /// Hears what goes on.
    pub progress: &'a dyn Progress,
    /// Where the disks' images are: in memory, so that every guest has the
    /// same disk and the host's has no say.
    pub disks: PathBuf,
    /// What the kiosk runs on.
    pub systems: Vec<System>,
}

impl Bench<'_> {
    /// Measures one part into the report.
    pub fn run(&self, part: Part, report: &mut Report) -> Result<(), Error> {
        match part {
            Part::Ceiling => report.ceiling = self.ceiling()?,
            Part::Peers => report.peers = self.peers()?,
            Part::Scale => report.scale = self.scale()?,
            Part::Ways => report.suspend = self.ways()?,
            Part::Cpu => report.cpu = self.cpu()?,
            Part::Starts => report.starts = self.starts()?,
        }
        Ok(())
    }

    /// A guest's options, as all parts have them.
    fn options(&self) -> Options {
        // Some of what is compared names the target before there is a guest to ask.
        let bystander = Some(DiskKind::VirtioBlk);
        Options { target_folder: Some(self.disks.clone()), bystander, ..Options::default() }
    }

    fn step(&self, words: &str) {
        self.progress.step(words);
    }

    /// Whether the host has the memory (MiB) that a guest of this size needs
    /// together with its disk. Where not, it says so: the size is left out.
    fn has_room(&self, part: &str, memory_mib: u64, needed: u64) -> Result<bool, Error> {
        let available = available_mib()?;
        if needed > available {
            self.step(&format!(
                "{part}: leaving {memory_mib} MiB out: {needed} MiB needed, {available} there"
            ));
        }
        Ok(needed <= available)
    }
}

/// In order, the smallest first.
fn sorted<T: PartialOrd>(mut values: Vec<T>) -> Vec<T> {
    // What was measured is a number.
    values.sort_by(|one, other| one.partial_cmp(other).unwrap_or(Ordering::Equal));
    values
}

/// The one in the middle; `None` of none.
fn median<T: Copy + PartialOrd>(values: Vec<T>) -> Option<T> {
    let sorted = sorted(values);
    sorted.get(sorted.len() / 2).copied()
}

/// MiB of memory that the host has to give.
fn available_mib() -> Result<u64, Error> {
    const MEMINFO: &str = "/proc/meminfo";
    let text = std::fs::read_to_string(MEMINFO).map_err(Error::host(MEMINFO))?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.map(|kib| kib >> 10).ok_or_else(|| Error::verdict("no MemAvailable in /proc/meminfo"))
}
