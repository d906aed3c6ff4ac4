//! Whether a guest is what it was before it slept.

use crate::error::Error;
use crate::guest::Guest;
use dormouse_guest::protocol::{Call, LogRecord, Verdict};
use serde::Serialize;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How far the guest's clock may be from the host's: it is set by a clock that
/// counts whole seconds, read before the sleep and after it, and a busy host
/// takes a while to answer.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(3);

/// The kernel's level for warnings; smaller numbers are worse.
const WARNING: u8 = 4;

/// What a healthy kernel never says, at whatever level.
const ALARMS: [&str; 7] =
    ["WARNING:", "BUG:", "Oops", "Call Trace", "I/O error", "EXT4-fs error", "hung_task"];

/// Warnings that tell of the host, not of the guest: a timer's interrupt took
/// long because QEMU did not run meanwhile; so did one of those, 64 in a second, by
/// which Linux looks at its clock while an alarm is set (arch/x86/kernel/hpet.c,
/// `hpet_rtc_timer_reinit`); the end of "Restarting tasks ..." has no level of its own
/// where another processor's line came between.
const OF_THE_HOST: [&str; 3] = ["hrtimer: interrupt took", "hpet: Lost", "done."];

/// How Linux 6.12 ends its warnings of each of QEMU's SATA disks: at the start as
/// after every wake-up, and when it first sees one.
const OF_THE_DISK: [&str; 2] =
    [": LPM support broken, forcing max_power", ", applying quirks: bridgeok"];

/// What was looked at, and what was found.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What was looked at.
    pub what: String,
    /// Whether it is as it should be.
    pub good: bool,
    /// What was found.
    pub detail: String,
}

impl Check {
    /// A check with its outcome.
    pub fn new(what: impl Into<String>, good: bool, detail: impl Into<String>) -> Self {
        Self { what: what.into(), good, detail: detail.into() }
    }
}

/// The faults among the checks; an error if there is one.
pub fn all_good(checks: &[Check]) -> Result<(), Error> {
    let faults: Vec<String> = checks
        .iter()
        .filter(|check| !check.good)
        .map(|check| format!("{}: {}", check.what, check.detail))
        .collect();
    if faults.is_empty() { Ok(()) } else { Err(Error::Verdict(faults)) }
}

/// What a guest was before it slept.
#[derive(Clone, Debug)]
pub struct Baseline {
    verdicts: Vec<Verdict>,
    /// The first record of the kernel's log that is yet to come.
    log_from: u64,
}

impl Baseline {
    /// Takes it from a guest whose workloads run; an error unless they are
    /// well.
    pub fn take(guest: &mut Guest) -> Result<Self, Error> {
        let verdicts = guest.verdicts(Call::Check)?;
        let checks: Vec<Check> = verdicts.iter().map(|verdict| compare(verdict, verdict)).collect();
        all_good(&checks)?;
        let records = guest.kernel_log(0)?;
        let log_from = records.last().map_or(0, |record| record.sequence + 1);
        Ok(Self { verdicts, log_from })
    }

    /// Looks at the guest again, after it woke.
    pub fn compare(&self, guest: &mut Guest) -> Result<Vec<Check>, Error> {
        // The clock first: the answer's age would count as its error.
        let mut checks = vec![clock(guest)?];
        let verdicts = guest.verdicts(Call::Check)?;
        checks.extend(self.verdicts.iter().map(|before| {
            match verdicts.iter().find(|after| after.workload == before.workload) {
                Some(after) => compare(before, after),
                None => Check::new(&before.workload, false, "gone"),
            }
        }));
        let facts = guest.facts()?;
        let all = facts.cpus_online == facts.cpus_present;
        let count = |list: &str| numbers(list).unwrap_or_default();
        let (online, present) = (count(&facts.cpus_online), count(&facts.cpus_present));
        let detail = format!("{online} online of {present}");
        checks.push(Check::new("processors", all, detail));
        checks.push(kernel_log(&guest.kernel_log(self.log_from)?));
        Ok(checks)
    }
}

/// How many numbers are in a list as Linux writes it: `0-2,5` has four.
fn numbers(list: &str) -> Option<u32> {
    list.trim().split(',').try_fold(0, |sum, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        last.checked_sub(first).map(|more| sum + more + 1)
    })
}

/// Whether a workload is the one from before, and well, and got further.
fn compare(before: &Verdict, after: &Verdict) -> Check {
    let same = (before.pid, before.began_ns) == (after.pid, after.began_ns);
    let outcome = match &after.fault {
        Some(fault) => Err(fault.clone()),
        None if !same => Err("another process than before".into()),
        None if after.progress < before.progress => {
            Err(format!("went back from {} to {}", before.progress, after.progress))
        }
        None => Ok(after.detail.clone()),
    };
    Check::new(&after.workload, outcome.is_ok(), outcome.unwrap_or_else(|fault| fault))
}

fn clock(guest: &mut Guest) -> Result<Check, Error> {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let asked = now();
    let guest_time = Duration::from_nanos(guest.facts()?.realtime_ns);
    let answered = now();
    let off = asked.saturating_sub(guest_time).max(guest_time.saturating_sub(answered));
    let detail = format!("{} ms from the host's", off.as_millis());
    Ok(Check::new("clock", off <= CLOCK_TOLERANCE, detail))
}

fn kernel_log(records: &[LogRecord]) -> Check {
    let bad: Vec<&str> =
        records.iter().filter(|record| is_bad(record)).map(|record| &*record.text).collect();
    let detail = match bad.as_slice() {
        [] => format!("{} records, no warning", records.len()),
        bad => bad.join("; "),
    };
    Check::new("kernel log", bad.is_empty(), detail)
}

fn is_bad(record: &LogRecord) -> bool {
    let expected = OF_THE_HOST.iter().any(|words| record.text.starts_with(words))
        || OF_THE_DISK.iter().any(|words| record.text.ends_with(words));
    (record.level <= WARNING && !expected) || ALARMS.iter().any(|alarm| record.text.contains(alarm))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(pid: u32, progress: u64, fault: Option<&str>) -> Verdict {
        Verdict {
            workload: "counter".into(),
            pid,
            began_ns: 7,
            progress,
            fault: fault.map(String::from),
            detail: String::new(),
        }
    }

    #[test]
    fn a_counter_that_began_again_is_noticed() {
        let before = verdict(40, 100, None);
        assert!(compare(&before, &verdict(40, 100, None)).good);
        assert!(!compare(&before, &verdict(40, 99, None)).good);
        assert!(!compare(&before, &verdict(41, 100, None)).good);
        assert!(!compare(&before, &verdict(40, 200, Some("stalled"))).good);
    }

    #[test]
    fn processors_are_counted() {
        let of = ["0", "0-1", "0-2,5", "", "1-0"].map(numbers);
        assert_eq!(of, [Some(1), Some(2), Some(4), None, None]);
    }

    #[test]
    fn warnings_count_and_notices_do_not() {
        let record = |level, text: &str| LogRecord {
            sequence: 1,
            level,
            microseconds: 0,
            text: text.into(),
        };
        assert!(!is_bad(&record(6, "nvme nvme0: 2/0/0 default/read/poll queues")));
        assert!(is_bad(&record(4, "anything")));
        assert!(!is_bad(&record(4, "hrtimer: interrupt took 2057750 ns")));
        assert!(!is_bad(&record(4, "hpet: Lost 1 RTC interrupts")));
        assert!(!is_bad(&record(4, "ata1.00: LPM support broken, forcing max_power")));
        assert!(!is_bad(&record(
            4,
            "ata1.00: Model 'QEMU HARDDISK', rev '2.5+', applying quirks: bridgeok"
        )));
        assert!(is_bad(&record(6, "blk_update_request: I/O error, dev vda")));
    }
}
