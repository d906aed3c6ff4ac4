//! What the main job found, as `report.json` and as a table.

use crate::action::Trip;
use crate::checks::Check;
use crate::error::Error;
use crate::swsusp::Swsusp;
use dormouse_guest::protocol::Ran;
use dormouse_handoff::image::{Counts, Header};
use dormouse_handoff::mailbox::Statistics;
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// Everything that the main job found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Whether all is as it should be.
    pub good: bool,
    /// What is wrong, where something is.
    pub error: Option<String>,
    /// The machine.
    pub machine: Machine,
    /// Bytes of memory that the writer takes; never more, whatever the
    /// machine.
    pub window_bytes: Option<u64>,
    /// Each hibernation with its wake-up.
    pub cycles: Vec<Cycle>,
    /// Each trip that did not end in a wake-up from the disk.
    pub trips: Vec<Trip>,
    /// What was looked at in the end.
    pub checks: Vec<Check>,
    /// Linux's own hibernation in the same run; `None`: not asked for.
    pub swsusp: Option<Swsusp>,
    /// Rate of writing as a multiple of Linux's own.
    pub write_rate_ratio: Option<f64>,
}

/// The machine of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// QEMU's machine type.
    pub chipset: String,
    /// Its processor model.
    pub cpu: String,
    /// Processors.
    pub cpus: u32,
    /// Memory, in MiB.
    pub memory_mib: u64,
    /// How the target is attached.
    pub disk: String,
    /// `uname -r` of the guest.
    pub kernel: String,
}

/// One hibernation and its wake-up.
#[derive(Clone, Debug, Serialize)]
pub struct Cycle {
    /// Pages stored, and not.
    pub pages: Pages,
    /// Bytes of pages in the image.
    pub stored_bytes: u64,
    /// Going to sleep.
    pub sleep: Sleep,
    /// Waking.
    pub wake: Wake,
    /// What the woken guest found.
    pub checks: Vec<Check>,
}

/// What became of the guest's pages.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Pages {
    /// Stored.
    pub stored: u64,
    /// Of zeros.
    pub zero: u64,
    /// Free.
    pub free: u64,
    /// Not to be touched.
    pub excluded: u64,
    /// Of the window.
    pub window: u64,
}

impl From<Counts> for Pages {
    fn from(counts: Counts) -> Self {
        let Counts { stored, zero, free, excluded, window } = counts;
        Self { stored, zero, free, excluded, window }
    }
}

/// The phases of going to sleep.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Sleep {
    /// Milliseconds from the jump into the writer to its first data command.
    pub first_write_ms: f64,
    /// Seconds from the first data command to the last completion.
    pub write_s: f64,
    /// MB/s (10^6 bytes) meanwhile.
    pub write_mb_s: f64,
    /// Milliseconds of that for reading the old kernel's page structures.
    pub walk_ms: f64,
    /// Milliseconds from the last completion to the commit.
    pub commit_ms: f64,
    /// Seconds from the command to power off, all of Linux's part included.
    pub trigger_to_off_s: f64,
}

impl Sleep {
    /// From an image's header, and what the host saw.
    pub fn new(header: &Header, trigger_to_off_s: f64) -> Self {
        let Statistics { first_data_us, data_us, finish_us, data_bytes, walk_us, .. } =
            header.statistics;
        Self {
            first_write_ms: first_data_us as f64 / 1e3,
            write_s: data_us as f64 / 1e6,
            write_mb_s: rate(data_bytes, data_us),
            walk_ms: walk_us as f64 / 1e3,
            commit_ms: finish_us as f64 / 1e3,
            trigger_to_off_s,
        }
    }
}

/// The phases of waking.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Wake {
    /// Seconds from the first data command to the last completion.
    pub read_s: f64,
    /// MB/s (10^6 bytes) meanwhile.
    pub read_mb_s: f64,
    /// Seconds from QEMU's start to the end of `dormouse hibernate` in the
    /// woken userland.
    pub start_to_userland_s: f64,
    /// Seconds asleep, by the guest's own clock.
    pub asleep_s: f64,
}

impl Wake {
    /// From what `dormouse hibernate` said, and what the host saw.
    pub fn new(said: &Said, start_to_userland_s: f64) -> Self {
        Self {
            read_s: said.read.data_seconds,
            read_mb_s: said.read.bytes_per_second / 1e6,
            start_to_userland_s,
            asleep_s: said.asleep_seconds,
        }
    }
}

/// The part of what `dormouse --json hibernate` says after a wake-up that the
/// report takes over.
#[derive(Debug, Deserialize)]
pub struct Said {
    /// How it ended.
    pub outcome: String,
    /// Seconds asleep.
    pub asleep_seconds: f64,
    /// The reader's pass.
    pub read: Pass,
    /// What went wrong on the side.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// One pass over the image, in [`Said`].
#[derive(Debug, Deserialize)]
pub struct Pass {
    /// Seconds from the first data command to the last completion.
    pub data_seconds: f64,
    /// Bytes of pages a second meanwhile.
    pub bytes_per_second: f64,
}

impl Said {
    /// Reads it from the program's output.
    pub fn parse(ran: &Ran) -> Result<Self, Error> {
        serde_json::from_str(&ran.stdout).map_err(|e| {
            let words = format!("{}{}", ran.stdout, ran.stderr);
            Error::verdict(format!("dormouse hibernate did not report a wake-up ({e}): {words}"))
        })
    }

    /// Whether it reported a wake-up and nothing wrong with it.
    pub fn check(&self) -> Check {
        let good = self.outcome == "woken" && self.warnings.is_empty();
        let words = format!("{} after {:.1} s", self.outcome, self.asleep_seconds);
        Check::new("report", good, [&[words], &*self.warnings].concat().join("; "))
    }
}

/// MB/s (10^6 bytes).
pub fn rate(bytes: u64, microseconds: u64) -> f64 {
    if microseconds == 0 { 0.0 } else { bytes as f64 / microseconds as f64 }
}

impl Report {
    /// The report as JSON.
    pub fn json(&self) -> Result<String, Error> {
        serde_json::to_string_pretty(self).map_err(|e| Error::host("encoding the report")(e))
    }

    /// The report as a person reads it on a terminal.
    pub fn table(&self) -> String {
        let mut table = Table::default();
        let Machine { chipset, cpu, cpus, memory_mib, disk, kernel } = &self.machine;
        table.row("machine", format!("{chipset}, {cpus} × {cpu}, {memory_mib} MiB, {disk}"));
        table.row("kernel", kernel);
        if let Some(bytes) = self.window_bytes {
            table.row("window", format!("{} KiB", bytes >> 10));
        }
        for (number, cycle) in (1..).zip(&self.cycles) {
            cycle.rows(number, &mut table);
        }
        for (number, trip) in (1..).zip(&self.trips) {
            trip.rows(number, &mut table);
        }
        if let Some(swsusp) = &self.swsusp {
            swsusp.rows(&mut table);
        }
        if let Some(ratio) = self.write_rate_ratio {
            table.row("rate of writing", format!("{ratio:.2} times Linux's own"));
        }
        table.checks(&self.checks);
        table.row("verdict", if self.good { "good" } else { "WRONG" });
        table.0
    }
}

impl Cycle {
    fn rows(&self, number: u32, table: &mut Table) {
        let Pages { stored, zero, free, excluded, window } = self.pages;
        table.head(&format!("hibernation {number}"));
        table.row("stored", format!("{} ({stored} pages)", mib(self.stored_bytes)));
        table.row(
            "left out",
            format!("{zero} zero, {free} free, {window} window, {excluded} untouchable pages"),
        );
        let Sleep { first_write_ms, write_s, write_mb_s, walk_ms, commit_ms, trigger_to_off_s } =
            self.sleep;
        table.row("jump to first write", format!("{first_write_ms:.1} ms"));
        table.row("write", format!("{write_s:.2} s, {write_mb_s:.0} MB/s"));
        table.row("finding free pages", format!("{walk_ms:.1} ms of that"));
        table.row("commit", format!("{commit_ms:.1} ms"));
        table.row("command to off", format!("{trigger_to_off_s:.2} s"));
        let Wake { read_s, read_mb_s, start_to_userland_s, .. } = self.wake;
        table.row("read", format!("{read_s:.2} s, {read_mb_s:.0} MB/s"));
        table.row("start to userland", format!("{start_to_userland_s:.2} s"));
        table.checks(&self.checks);
    }
}

impl Swsusp {
    fn rows(&self, table: &mut Table) {
        table.head("Linux's own hibernation, uncompressed");
        table.row("stored", mib(self.stored_bytes));
        table.row("write", format!("{:.0} MB/s", self.write_mb_s));
        table.row("command to off", format!("{:.2} s", self.trigger_to_off_s));
        table.row("read", format!("{:.0} MB/s", self.read_mb_s));
        table.row("start to userland", format!("{:.2} s", self.start_to_userland_s));
    }
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

/// Lines of a name and a value each, one below the other.
#[derive(Default)]
pub struct Table(String);

impl Table {
    /// A name and a value.
    pub fn row(&mut self, name: &str, value: impl std::fmt::Display) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "  {name:<20} {value}");
    }

    /// What the rows below are about.
    pub fn head(&mut self, words: &str) {
        let _ = writeln!(self.0, "\n{words}");
    }

    /// A row for each check.
    pub fn checks(&mut self, checks: &[Check]) {
        for check in checks {
            let mark = if check.good { "✓" } else { "✗" };
            self.row(&format!("{mark} {}", check.what), &check.detail);
        }
    }
}
