//! A real Linux's page structures, against another program's opinion of them.
//!
//! `DORMOUSE_CORE` names an ELF core of a guest's physical memory, with its
//! VMCOREINFO note (QEMU's `dump-guest-memory` with `-device vmcoreinfo`, or a
//! kdump), `DORMOUSE_KDUMP` what `makedumpfile -d 16` made of that core, if the
//! sets shall be compared:
//!
//! ```text
//! DORMOUSE_CORE=core DORMOUSE_KDUMP=kdump cargo test -p dormouse-page-set \
//!     --release --test real_memory -- --ignored --nocapture
//! ```

mod core_file;
#[path = "../../../tests/src/kdump.rs"]
mod kdump;

use core_file::Core;
use dormouse_handoff::units::{PageRange, Pfn};
use dormouse_page_set::LinuxPages;
use dormouse_transfer::memory::{PageSet, Verdict};
use kdump::Dumped;
use std::time::Instant;

/// Frames of a request, as the writer makes them.
const LIMIT: u64 = 256;

#[test]
#[ignore = "needs a memory dump: see the file's head"]
fn the_same_frames_are_free_as_makedumpfile_says() {
    let path = std::env::var("DORMOUSE_CORE").expect("DORMOUSE_CORE names an ELF core");
    let core = Core::open(&path);
    let window = PageRange::default();
    let mut pages = LinuxPages::new(core.vmcoreinfo(), core.ranges(), window, &core)
        .unwrap_or_else(|reason| panic!("{path}: {reason}"));

    let started = Instant::now();
    let mut runs = Vec::new();
    for entry in core.ranges() {
        let mut frame = entry.range.start;
        while frame < entry.range.end() {
            let limit = (entry.range.end().0 - frame.0).min(LIMIT);
            let (verdict, count) = pages.verdict(frame, limit);
            assert!((1..=limit).contains(&count), "{count} frames at {frame:?}");
            runs.push((verdict, PageRange { start: frame, pages: count }));
            frame = Pfn(frame.0 + count);
        }
    }
    let took = started.elapsed();

    let count = |wanted| {
        let runs = runs.iter().filter(|(verdict, _)| *verdict == wanted);
        runs.map(|(_, range)| range.pages).sum::<u64>()
    };
    let all: u64 = runs.iter().map(|(_, range)| range.pages).sum();
    println!(
        "{path}: {} levels, page structures of {} bytes; {all} frames: {} free, {} excluded, {} \
         in use; {} blocks doubted; {} runs in {took:?}, {} ns per frame",
        pages.levels(),
        pages.page_struct_bytes(),
        count(Verdict::Free),
        count(Verdict::Excluded),
        count(Verdict::InUse),
        pages.doubted(),
        runs.len(),
        took.as_nanos() / u128::from(all),
    );
    assert_eq!(pages.doubted(), 0, "a sound kernel's free blocks are consistent");

    let Ok(path) = std::env::var("DORMOUSE_KDUMP") else { return };
    let dumped = std::fs::read(&path).ok().and_then(|file| Dumped::parse(&file));
    let dumped = dumped.unwrap_or_else(|| panic!("{path} is no compressed dump"));
    let mut differences = Vec::new();
    for (verdict, range) in &runs {
        for frame in (range.start.0..range.end().0).map(Pfn) {
            // Holes of the kernel's own memory map are in neither set.
            if dumped.is_memory(frame) && dumped.is_dumped(frame) != (*verdict == Verdict::InUse) {
                differences.push((frame, *verdict));
            }
        }
    }
    println!("{path}: {} frames differ", differences.len());
    assert!(differences.is_empty(), "the first of them: {:?}", &differences[..8]);
}
