//! The main job: a real Linux sleeps on a disk and wakes, and Linux's own
//! hibernation beside it.

use crate::action::{Action, Trip};
use crate::artefacts::Artefacts;
use crate::checks::{self, Check};
use crate::compare::ImageFile;
use crate::disk;
use crate::error::Error;
use crate::fill::{Fill, SECOND_DISK};
use crate::life::Life;
use crate::options::Options;
use crate::qemu::{self, Ended};
use crate::report::{Cycle, Machine, Report, Said, Sleep, Wake};
use crate::swsusp;
use dormouse_handoff::image::State;
use std::fs;

/// The console's line while the writer waits before its first write.
pub const BEFORE_WRITE: &str = "standing still before the first write";

/// The console's line while the writer waits after its commit.
pub const BEFORE_POWER: &str = "standing still before power-off";

/// The name of the ELF that was loaded, plan and all.
const STAMPED: &str = "stamped.elf";

/// The name of the folder of the last run.
const LAST: &str = "last";

/// What the main job is to do.
#[derive(Clone, Debug)]
pub struct MainJob {
    /// The guest; where its disks are kept, so is the stamped ELF.
    pub options: Options,
    /// What is done to it.
    pub action: Action,
    /// How often in one life.
    pub cycles: u32,
    /// Whether to compare with Linux's own hibernation.
    pub swsusp: bool,
    /// Whether to leave QEMU's memory dump as `memory.raw`, and to compare the
    /// image with it.
    pub dump_memory: bool,
}

/// Hears what the main job is about to do.
pub trait Progress: Sync {
    /// The next step, in a few words.
    fn step(&self, words: &str);
}

impl MainJob {
    /// Does it all. The report and the logs are in the folder `last` whatever
    /// happens; an error only where there is not even a report.
    pub fn run(&self, artefacts: &Artefacts, progress: &dyn Progress) -> Result<Report, Error> {
        let mut report = self.empty_report();
        let outcome = self.fill_report(artefacts, progress, &mut report);
        report.good = outcome.is_ok();
        report.error = outcome.err().map(|error| error.to_string());
        let folder = artefacts.run(LAST);
        fs::create_dir_all(&folder).map_err(Error::host(format!("making {}", folder.display())))?;
        let file = folder.join("report.json");
        fs::write(&file, report.json()? + "\n")
            .map_err(Error::host(format!("writing {}", file.display())))?;
        Ok(report)
    }

    fn empty_report(&self) -> Report {
        let options = &self.options;
        Report {
            good: false,
            error: None,
            machine: Machine {
                chipset: options.chipset.to_string(),
                cpu: options.cpu.clone(),
                cpus: options.cpus,
                memory_mib: options.memory_mib,
                disk: options.disk.to_string(),
                kernel: String::new(),
            },
            window_bytes: None,
            cycles: Vec::new(),
            trips: Vec::new(),
            checks: Vec::new(),
            swsusp: None,
            write_rate_ratio: None,
        }
    }

    fn fill_report(
        &self,
        artefacts: &Artefacts,
        progress: &dyn Progress,
        report: &mut Report,
    ) -> Result<(), Error> {
        let fill = Fill::for_memory(self.options.memory());
        progress.step("booting Linux");
        let mut life = Life::begin(artefacts, LAST, self.options.clone())?;
        report.machine.kernel = life.guest.facts()?.kernel_release;
        progress.step("filling memory");
        let before = life.fill(&fill)?;
        for number in 1..=self.cycles {
            let name = |words: &str| match self.cycles {
                1 => words.to_owned(),
                all => format!("{words} ({number} of {all})"),
            };
            if self.action.end().is_none() {
                progress.step(&name(&format!("{}, and comparing", self.action.name())));
                let trip = Trip::make(&mut life, self.action, number as usize, &before)?;
                let good = checks::all_good(&trip.checks);
                report.trips.push(trip);
                good.map_err(|e| life.with_log(e))?;
                continue;
            }
            let cycle = self.cycle(&mut life, &|words| progress.step(&name(words)), &before)?;
            report.window_bytes = Some(cycle.pages.window * 4096);
            report.cycles.push(cycle);
            let last = report.cycles.last().map(|cycle| &*cycle.checks);
            checks::all_good(last.unwrap_or_default()).map_err(|e| life.with_log(e))?;
        }
        progress.step("powering off and checking the second disk");
        let (second, folder) = (life.second_disk(), life.folder.clone());
        report.checks.push(life.finish()?);
        if self.options.keep_disks {
            disk::extract_ext4(&second, STAMPED, &folder.join(STAMPED))?;
        }
        if self.swsusp && self.action.end().is_some() {
            progress.step("hibernating and waking with Linux's own");
            let options = swsusp::options(&self.options, false);
            let linux = Life::begin(artefacts, "last-swsusp", options)?;
            let swsusp = swsusp::measure(linux, &fill)?;
            let rates: Vec<f64> = report.cycles.iter().map(|c| c.sleep.write_mb_s).collect();
            let best = rates.into_iter().fold(0.0, f64::max);
            report.write_rate_ratio = Some(best / swsusp.write_mb_s);
            report.swsusp = Some(swsusp);
        }
        Ok(())
    }

    /// One hibernation and the wake-up from it.
    fn cycle(
        &self,
        life: &mut Life,
        step: &dyn Fn(&str),
        before: &checks::Baseline,
    ) -> Result<Cycle, Error> {
        step("hibernating");
        let mut arguments = Vec::new();
        if self.dump_memory {
            arguments.extend(["--test-wait", "before-write"]);
        }
        let stamped = format!("{SECOND_DISK}/{STAMPED}");
        if self.options.keep_disks {
            arguments.extend(["--keep-stamped", &stamped]);
        }
        if self.action == Action::Reboot {
            arguments.push("--reboot");
        }
        let attempt = life.hibernate(&arguments)?;
        let memory = life.folder.join("memory.raw");
        if self.dump_memory {
            life.standstill(&attempt, BEFORE_WRITE)?;
            step("dumping memory");
            let (chipset, bytes) = (self.options.chipset, self.options.memory());
            let machine = life.machine()?;
            qemu::dump_memory(&mut machine.monitor, chipset, bytes, &memory)?;
            machine.console.type_keys(" ")?;
        }
        let asleep = life.go_down(attempt, self.action.end().unwrap_or(Ended::POWER_OFF))?;
        let image = ImageFile::open(&life.target_disk(), life.options.target_start())?;
        let header = image.header(State::Valid)?;
        let mut checks = Vec::new();
        if self.dump_memory {
            step("comparing the image with memory");
            let found = image.compare(&memory)?;
            let detail =
                format!("{} pages stored, {} zero, none differs", found.stored, found.zero);
            checks.push(Check::new("image = memory", true, detail));
        }
        step("waking");
        let awake = life.wake(&asleep)?;
        let said = life.logged(|_| Said::parse(&awake.said))?;
        checks.push(said.check());
        step("checking the woken guest");
        checks.extend(life.compare(before)?);
        let sleep = Sleep::new(&header, (asleep.off - asleep.asked).as_secs_f64());
        let wake = Wake::new(&said, (awake.answered - awake.started).as_secs_f64());
        let stored_bytes = header.counts.stored * 4096;
        Ok(Cycle { pages: header.counts.into(), stored_bytes, sleep, wake, checks })
    }
}
