//! Memory that the machine fills anew on its way up from a suspend to RAM (ACPI S3),
//! whatever lies there: what the reader told at the last wake-up from a disk, kept as
//! long as the machine runs.
//!
//! QEMU does so with the file that it was given as `-kernel`, if it is an ELF file: of
//! a system that it woke by `-kernel writer.elf`, two MiB would be lost, or the writer
//! itself. Linux has no say in it, and keeps off only where it was told to at its start.

use crate::error::Result;
use crate::linux::iomem::MemoryMap;
use crate::preflight::Finding;
use crate::run_dir::{self, RELOADED, RunDir};
use crate::system::System;
use dormouse_handoff::units::{PageRange, Pfn};
use serde::{Deserialize, Serialize};

const MIB: u64 = 1 << 20;

/// The record's form; no pages: nothing is filled anew.
#[derive(Serialize, Deserialize)]
struct Record {
    first_frame: u64,
    pages: u64,
}

/// Notes what the reader told, in place of what another told before.
///
/// # Errors
/// [`Error::Io`].
pub fn note(run_dir: &RunDir, reloaded: PageRange) -> Result<()> {
    let PageRange { start: Pfn(first_frame), pages } = reloaded;
    run_dir.record(RELOADED, &Record { first_frame, pages }).map(drop)
}

/// What was noted last; empty where no reader has woken this system.
fn noted(system: &System) -> Result<PageRange> {
    let record: Option<Record> = run_dir::recorded(system, RELOADED)?;
    Ok(record.map_or(PageRange::default(), |Record { first_frame, pages }| {
        PageRange::new(first_frame, pages)
    }))
}

/// Whether a suspend to RAM would keep all of memory.
pub fn finding(system: &System, memory: &MemoryMap) -> Finding {
    let subject = "memory-in-s3";
    let reloaded = match noted(system) {
        Ok(reloaded) => reloaded,
        Err(error) => {
            let advice = "use `dormouse hibernate`: without this record nobody knows what a \
                          suspend to RAM would lose";
            return Finding::refused(subject, error.to_string(), advice);
        }
    };
    if reloaded.pages == 0 {
        return Finding::good(subject, "no loader is known to overwrite any on the way up");
    }
    if memory.saved.iter().all(|used| used.range.intersection(&reloaded).is_none()) {
        return Finding::good(subject, format!("Linux keeps off {reloaded}, which is overwritten"));
    }
    let (start, bytes) = (reloaded.start.address().0, reloaded.bytes());
    Finding::refused(
        subject,
        format!(
            "on its way up the machine would load the reader again (QEMU's -kernel writer.elf), \
             over memory that is in use ({reloaded})"
        ),
        format!(
            "use `dormouse hibernate`; to suspend, boot Linux with memmap={}M${}M, or start the \
             reader by another loader",
            bytes.div_ceil(MIB),
            start / MIB
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::iomem;
    use crate::preflight::Verdict;
    use std::fs;

    const WINDOW: PageRange = PageRange::new(0x6000, 0x200);

    fn map(text: &str) -> MemoryMap {
        iomem::parse(text).unwrap()
    }

    /// All of memory, and the same with memmap=2M$96M.
    const USED: &str = "00100000-3ffdffff : System RAM\n";
    const KEPT_OFF: &str = "\
00100000-05ffffff : System RAM
06000000-061fffff : Reserved
06200000-3ffdffff : System RAM
";

    /// What is found where `reloaded` was noted.
    fn found(reloaded: PageRange, text: &str) -> Finding {
        let root = tempfile::tempdir().unwrap();
        let run_dir = RunDir::lock_at(&root.path().join("run/dormouse")).unwrap();
        note(&run_dir, WINDOW).unwrap();
        note(&run_dir, reloaded).unwrap();
        finding(&System::below(root.path()), &map(text))
    }

    #[test]
    fn memory_that_is_overwritten_and_in_use_is_a_reason_against_a_suspend() {
        let refused = found(WINDOW, USED);
        assert_eq!(refused.verdict, Verdict::Refused);
        assert!(refused.text.contains("0x6000000-0x61fffff"), "{}", refused.text);
        let advice = refused.advice.unwrap();
        assert!(advice.contains("dormouse hibernate"), "{advice}");
        assert!(advice.contains("memmap=2M$96M"), "{advice}");
    }

    #[test]
    fn one_page_of_it_is_enough() {
        let all_but = |kept: &str| found(WINDOW, kept).verdict;
        let first = "06000000-06000fff : System RAM\n06001000-061fffff : Reserved\n";
        let last = "061ff000-06ffffff : System RAM\n";
        let storage = "06100000-06100fff : ACPI Non-volatile Storage\n";
        for used in [first, last, storage] {
            assert_eq!(all_but(used), Verdict::Refused, "{used}");
        }
        assert_eq!(all_but("05000000-05ffffff : System RAM\n"), Verdict::Good);
        assert_eq!(all_but("06200000-06ffffff : System RAM\n"), Verdict::Good);
    }

    #[test]
    fn memory_that_linux_keeps_off_may_be_overwritten() {
        assert_eq!(found(WINDOW, KEPT_OFF).verdict, Verdict::Good);
    }

    #[test]
    fn the_last_wake_up_is_what_counts() {
        assert_eq!(found(PageRange::default(), USED).verdict, Verdict::Good);
    }

    #[test]
    fn a_system_that_no_reader_woke_may_suspend() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(finding(&System::below(root.path()), &map(USED)).verdict, Verdict::Good);
    }

    #[test]
    fn a_record_that_cannot_be_read_is_a_reason_too() {
        let root = tempfile::tempdir().unwrap();
        let system = System::below(root.path());
        let path = system.path(format!("{}/{RELOADED}", run_dir::PATH));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "{\"first_frame\": 1").unwrap();
        assert_eq!(finding(&system, &map(USED)).verdict, Verdict::Refused);
    }
}
