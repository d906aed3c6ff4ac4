//! `cargo xtask bench`: how fast, and compared with what.

mod native;
mod plots;
mod table;

use crate::error::Error;
use crate::progress::Steps;
use crate::{debian, host, paths, qemu, shell};
use clap::ValueEnum;
use dormouse_tests::Progress;
use dormouse_tests::bench::{Bench as Measurements, Part, Report};
use dormouse_tests::kiosk::System;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Measure how fast memory gets to disk and back, and compare
///
/// Everything in one run, on the same virtual machine, disk and contents of
/// memory: the path against what the device can do, against Linux's own
/// hibernation, against a whole Linux as the writer, on small and large
/// machines, suspended to RAM, and in instructions for each page. The disks' images are in
/// memory (/dev/shm). The report is target/bench/report.json. Plots and tables
/// of a whole run go to docs/bench/, plots of a part beside the report.
///
/// Other programs at work on the machine spoil the figures.
#[derive(clap::Args)]
pub struct Bench {
    /// Fewer sizes and less data: under 6 minutes on two quiet processors
    #[arg(long)]
    quick: bool,
    /// Only this part; may be repeated
    #[arg(long, value_enum)]
    only: Vec<PartArgument>,
    /// Print the report as JSON instead of tables
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PartArgument {
    /// Writer and reader against what the device can do
    Ceiling,
    /// Linux's own hibernation, and kdump
    Peers,
    /// Machines of 512 MiB to 16 GiB
    Scale,
    /// Suspending to RAM, and Linux's own way there
    Ways,
    /// Instructions for each page, and each step on the host's own processor
    Cpu,
    /// A web server from power-on to its first answer
    Starts,
}

impl PartArgument {
    fn part(self) -> Part {
        match self {
            Self::Ceiling => Part::Ceiling,
            Self::Peers => Part::Peers,
            Self::Scale => Part::Scale,
            Self::Ways => Part::Ways,
            Self::Cpu => Part::Cpu,
            Self::Starts => Part::Starts,
        }
    }
}

impl Bench {
    /// Measures every part even where one fails: what there is goes into the
    /// report.
    pub fn run(self) -> Result<(), Error> {
        host::ensure(host::FOR_BENCHMARKS)?;
        let artefacts = qemu::artefacts(None)?;
        let wanted = |part: &PartArgument| self.only.is_empty() || self.only.contains(part);
        let mut failed = Vec::new();
        let mut systems = vec![System::Busybox];
        if wanted(&PartArgument::Starts) {
            match debian::ensure() {
                Ok(root) => systems.push(System::Debian(root)),
                Err(error) => failed.push(format!("Starts, Debian: {error}")),
            }
        }
        let disks = Disks::make()?;
        let steps = Steps::new();
        let bench = Measurements {
            artefacts: &artefacts,
            quick: self.quick,
            progress: &steps,
            disks: disks.0.clone(),
            systems,
        };
        let machine = machine()?;
        let mut report = Report { date: date()?, machine, quick: self.quick, ..Report::default() };
        for argument in PartArgument::value_variants().iter().filter(|part| wanted(part)) {
            if let Err(error) = bench.run(argument.part(), &mut report) {
                failed.push(format!("{:?}: {error}", argument.part()));
            }
            if *argument == PartArgument::Cpu {
                steps.step("cpu: the steps on the host's processor");
                report.native = native::measure(self.quick)?;
            }
        }
        steps.finish();
        report.judge();
        let folder = paths::target().join("bench");
        fs::create_dir_all(&folder).map_err(Error::file("making", &folder))?;
        write(&folder.join("report.json"), &(report.json()? + "\n"))?;
        let tables = table::of(&report);
        if self.only.is_empty() && failed.is_empty() {
            let shown = paths::root().join("docs/bench");
            plots::draw(&report, &shown)?;
            let words = format!("# Results\n\n```\n{tables}```\n");
            write(&shown.join("results.md"), &words)?;
        } else {
            plots::draw(&report, &folder)?;
        }
        if self.json {
            println!("{}", report.json()?);
        } else {
            print!("{tables}");
        }
        if failed.is_empty() { Ok(()) } else { Err(Error::Bench(failed)) }
    }
}

fn write(file: &Path, text: &str) -> Result<(), Error> {
    fs::write(file, text).map_err(Error::file("writing", file))
}

/// A folder for the disks' images, gone with this value.
struct Disks(PathBuf);

impl Disks {
    /// In memory where the host has a place for that.
    fn make() -> Result<Self, Error> {
        let memory = Path::new("/dev/shm");
        let above = if memory.is_dir() { memory.into() } else { paths::target() };
        let folder = above.join(format!("dormouse-bench-{}", std::process::id()));
        fs::create_dir_all(&folder).map_err(Error::file("making", &folder))?;
        Ok(Self(folder))
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("removing {}: {error}", self.0.display());
        }
    }
}

fn date() -> Result<String, Error> {
    shell::output(Command::new("date").args(["-u", "+%Y-%m-%d"]))
}

/// The host in a few words.
fn machine() -> Result<String, Error> {
    const CPUINFO: &str = "/proc/cpuinfo";
    let text = fs::read_to_string(CPUINFO).map_err(Error::file("reading", CPUINFO))?;
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, name)| name);
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let version = shell::output(Command::new("qemu-system-x86_64").arg("--version"))?;
    let version = version.split_whitespace().nth(3).unwrap_or("?").to_owned();
    Ok(format!("{processors} × {model}, QEMU {version} without KVM"))
}
