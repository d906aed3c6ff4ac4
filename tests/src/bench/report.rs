//! What `cargo xtask bench` found, as `report.json`.

use crate::error::Error;
use serde::Serialize;

/// Everything that was measured in one run on one machine.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The day, as in `2026-11-24`.
    pub date: String,
    /// The host: processor, QEMU.
    pub machine: String,
    /// Whether it was the short form.
    pub quick: bool,
    /// The path against the device.
    pub ceiling: Vec<Ceiling>,
    /// Dormouse against other ways to the same end.
    pub peers: Vec<Peer>,
    /// Small and large machines.
    pub scale: Vec<Scale>,
    /// Suspending to RAM and waking from there.
    pub suspend: Vec<Suspend>,
    /// Instructions for each page.
    pub cpu: Vec<Cost>,
    /// The same steps on the host's own processor.
    pub native: Vec<Native>,
    /// From power-on to the first answer.
    pub starts: Vec<Start>,
    /// What has to be shown, and whether it was.
    pub goals: Vec<Goal>,
}

impl Report {
    /// The report as JSON.
    pub fn json(&self) -> Result<String, Error> {
        serde_json::to_string_pretty(self).map_err(|e| Error::host("encoding the report")(e))
    }
}

/// A disk through one driver, at one limit.
#[derive(Clone, Debug, Serialize)]
pub struct Ceiling {
    /// `nvme`, `virtio-blk`, `ahci`.
    pub driver: String,
    /// What QEMU lets through, in MB/s (10^6 bytes); `None`: all.
    pub limit_mb_s: Option<u64>,
    /// Bytes of pages that were moved.
    pub stored_bytes: u64,
    /// The writer's rate as a share of what the device does with the same
    /// buffers and no work on them.
    pub write_percent: f64,
    /// The same for the reader.
    pub read_percent: f64,
    /// The writer's rate, in MB/s.
    pub write_mb_s: f64,
    /// The reader's rate.
    pub read_mb_s: f64,
    /// Writing the same buffers with no work on them.
    pub device_write_mb_s: f64,
    /// Reading them.
    pub device_read_mb_s: f64,
    /// What Linux in the guest writes with O_DIRECT, 16 MiB under way.
    pub linux_write_mb_s: f64,
    /// What Linux reads like that.
    pub linux_read_mb_s: f64,
}

/// What a row has to tell: the figures, or instead of them `failed`.
///
/// Where dormouse fails, so does the run: there is no such row of it.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Outcome<T> {
    /// What was measured.
    Measured(T),
    /// Nothing was.
    Failed {
        /// Why.
        failed: String,
    },
}

impl<T> Outcome<T> {
    /// Of another system, whose failure is its own affair.
    pub(super) fn of_peer(measured: Result<T, Error>) -> Self {
        match measured {
            Ok(figures) => Self::Measured(figures),
            Err(error) => Self::Failed { failed: error.reason().to_string() },
        }
    }

    /// What was measured, if anything was.
    pub fn figures(&self) -> Option<&T> {
        match self {
            Self::Measured(figures) => Some(figures),
            Self::Failed { .. } => None,
        }
    }
}

/// One way to get memory to disk, and back.
#[derive(Clone, Debug, Serialize)]
pub struct Peer {
    /// `dormouse`, `swsusp-nocompress`, `swsusp`, `kdump`.
    pub system: String,
    /// Memory of the guest.
    pub memory_mib: u64,
    /// How it did.
    #[serde(flatten)]
    pub outcome: Outcome<PeerFigures>,
}

/// How one way to get memory to disk, and back, did in several hibernations.
#[derive(Clone, Debug, Serialize)]
pub struct PeerFigures {
    /// The median of each figure by itself; the progress is that of the hibernation with
    /// the median time to power off.
    #[serde(flatten)]
    pub median: Hibernation,
    /// How many hibernations.
    pub rounds: usize,
    /// The quickest `write_mb_s` of them.
    pub quickest_write_mb_s: f64,
    /// The slowest.
    pub slowest_write_mb_s: f64,
    /// Percent of the host's processors that others had meanwhile, booting and filling
    /// included: what makes figures worthless.
    pub others_percent: f64,
}

/// How one hibernation did, and the waking from it; for kdump, one dump.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Hibernation {
    /// Bytes of memory that were put away.
    pub stored_bytes: u64,
    /// Bytes that the disk was given for that.
    pub written_bytes: u64,
    /// Milliseconds from when Linux stands still (the jump into the writer,
    /// the crash) to the first write; for swsusp, which has no such moment
    /// before its snapshot, from the command.
    pub first_write_ms: f64,
    /// Memory put away a second, from the first to the last write, in MB/s.
    pub write_mb_s: f64,
    /// Rate of reading; `None`: it is never read back.
    pub read_mb_s: Option<f64>,
    /// Seconds from the command (for kdump the crash) to power off.
    pub trigger_to_off_s: f64,
    /// Seconds from QEMU's start to the woken userland; `None`: nothing wakes.
    pub start_to_userland_s: Option<f64>,
    /// MiB of memory reserved (window, crash kernel) or needed free (the copy
    /// that swsusp makes).
    pub reserved_mib: u64,
    /// Milliseconds from the command to the first write.
    pub trigger_to_first_write_ms: f64,
    /// Milliseconds from the last write to power off.
    pub last_write_to_off_ms: f64,
    /// Seconds since the command, and MB written by then.
    pub progress: Vec<(f64, f64)>,
}

/// A machine of one size.
#[derive(Clone, Debug, Serialize)]
pub struct Scale {
    /// Memory of the guest.
    pub memory_mib: u64,
    /// Whether memory is full of data, or mostly empty.
    pub full: bool,
    /// Bytes of pages in the image.
    pub stored_bytes: u64,
    /// Seconds from the jump into the writer to the commit.
    pub seconds: f64,
    /// KiB of memory that the writer occupies.
    pub window_kib: u64,
    /// Milliseconds for asking, of every page, whether it counts.
    pub walk_ms: f64,
    /// Milliseconds for looking which of those that count are zero.
    pub zero_test_ms: f64,
    /// Seconds from the reader's first command to the last page in place.
    pub read_s: f64,
}

/// One way to suspend to RAM, and back.
#[derive(Clone, Debug, Serialize)]
pub struct Suspend {
    /// `linux`, `dormouse suspend` (no image), `dormouse both` (with one).
    pub system: String,
    /// How often.
    pub rounds: usize,
    /// Seconds from the command to the suspend; the median.
    pub down_s: f64,
    /// Seconds from the machine's wake-up to the answer of userland; the median.
    pub wake_s: f64,
    /// The quickest of these wake-ups.
    pub quickest_wake_s: f64,
    /// The slowest.
    pub slowest_wake_s: f64,
}

/// A step of the path.
#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    /// Its name.
    pub stage: String,
    /// Pages that went through it.
    pub pages: u64,
    /// Guest instructions for each.
    pub instructions_per_page: f64,
}

/// A step of the path on one of the host's processors.
#[derive(Clone, Debug, Serialize)]
pub struct Native {
    /// Its name.
    pub stage: String,
    /// Bytes of pages in a nanosecond.
    pub gb_s: f64,
}

/// A way for a web server to be there after power-on.
#[derive(Clone, Debug, Serialize)]
pub struct Start {
    /// The machine, its firmware, who starts the reader.
    pub machine: String,
    /// `busybox`, `Debian`.
    pub system: String,
    /// `cold boot`, `cold, reader`, `swsusp`, `dormouse`, `dormouse, 400 MB/s`.
    pub way: String,
    /// What QEMU lets through from the disk to the reader, in MB/s; `None`: all.
    pub limit_mb_s: Option<u64>,
    /// How it did.
    #[serde(flatten)]
    pub outcome: Outcome<StartFigures>,
}

/// How long it took from power-on to the first answer.
#[derive(Clone, Debug, Serialize)]
pub struct StartFigures {
    /// Seconds from QEMU's start to the first answer; what follows adds up to it.
    pub total_s: f64,
    /// Until the reader's first word; part of `kernel_s` where there is no reader.
    pub firmware_s: f64,
    /// The reader, but for the reading.
    pub reader_s: f64,
    /// Reading pages into place.
    pub reading_s: f64,
    /// Linux: booting, or from the jump until its programs run.
    pub kernel_s: f64,
    /// From there to the answer.
    pub service_s: f64,
    /// MiB that the reader read.
    pub read_mib: u64,
    /// How fast, in MB/s; `None`: it read no image.
    pub read_mb_s: Option<f64>,
}

/// Something that has to be shown.
#[derive(Clone, Debug, Serialize)]
pub struct Goal {
    /// What.
    pub what: String,
    /// What was measured.
    pub measured: String,
    /// Whether that is enough.
    pub met: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn a_peers_figures_are_in_its_row() {
        let median = Hibernation { write_mb_s: 20.0, ..Hibernation::default() };
        let outcome = Outcome::Measured(PeerFigures {
            median,
            rounds: 3,
            quickest_write_mb_s: 30.0,
            slowest_write_mb_s: 10.0,
            others_percent: 1.0,
        });
        let row = Peer { system: "dormouse".into(), memory_mib: 1024, outcome };
        let Ok(Value::Object(row)) = serde_json::to_value(row) else { panic!("not a row") };
        let mut keys: Vec<&str> = row.keys().map(String::as_str).collect();
        keys.sort_unstable();
        let expected = [
            "first_write_ms",
            "last_write_to_off_ms",
            "memory_mib",
            "others_percent",
            "progress",
            "quickest_write_mb_s",
            "read_mb_s",
            "reserved_mib",
            "rounds",
            "slowest_write_mb_s",
            "start_to_userland_s",
            "stored_bytes",
            "system",
            "trigger_to_first_write_ms",
            "trigger_to_off_s",
            "write_mb_s",
            "written_bytes",
        ];
        assert_eq!(keys, expected);
        assert_eq!((&row["write_mb_s"], &row["rounds"]), (&20.0.into(), &3.into()));
    }
}
