//! Choosing the window: where in physical memory the writer goes.
//!
//! Its contents are swapped out by the jump and back in by the return, so that
//! any memory would do for the old kernel. But while the writer runs, what was
//! there is not there: a window that holds one of the kernel's own structures
//! would hide it from the elision walk, which then has to store more.
//!
//! Where boot loaders put the reader is the best place: woken from there, it is in
//! the image's window already, and need not move (docs/design-notes.md). Else below
//! 4 GiB, where every device can reach it; and the highest there, away from what
//! firmware and boot loaders use.

use crate::linux::iomem::MemoryMap;
use crate::linux::page_flags::PageFlags;
use dormouse_handoff::plan::WINDOW_ALIGNMENT;
use dormouse_handoff::units::{PAGE_SIZE, PageRange, Pfn, PhysAddr};

/// Below this, firmware and legacy devices have their habits: 16 MiB.
const LOWEST: u64 = 16 << 20;

/// 4 GiB.
const REACHED_BY_ALL: u64 = 1 << 32;

/// Windows below and above 4 GiB that are looked at before giving up: so many
/// that a healthy machine finds one, so few that it does not take seconds.
const CANDIDATES: usize = 16384;

/// Reads the flags of each frame of a range.
pub trait PageFlagsSource {
    /// The flags of all frames of `range`, in order; `None` where they cannot
    /// be read.
    fn flags(&mut self, range: PageRange) -> Option<Vec<PageFlags>>;
}

/// A window in RAM that holds nothing of `map.kernel` or `taken`, and no kernel
/// structure; `loaded` is what boot loaders give the reader, as large as the window
/// (a multiple of [`WINDOW_ALIGNMENT`]) and aligned like it.
pub fn choose(
    map: &MemoryMap,
    taken: &[Pfn],
    loaded: PageRange,
    source: &mut impl PageFlagsSource,
) -> Option<PhysAddr> {
    let limit = PageRange::MAX_PFN * PAGE_SIZE;
    let bytes = loaded.bytes();
    let first = map.ram().any(|ram| ram.covers(&loaded)).then_some(loaded);
    let low = candidates(map, bytes, LOWEST, REACHED_BY_ALL).take(CANDIDATES);
    let high = candidates(map, bytes, REACHED_BY_ALL, limit).take(CANDIDATES);
    first
        .into_iter()
        .chain(low)
        .chain(high)
        .find(|window| {
            let is_free = map.kernel.iter().all(|kernel| kernel.intersection(window).is_none())
                && taken.iter().all(|frame| !window.contains(*frame));
            is_free && source.flags(*window).is_some_and(|flags| holds_no_structure(window, &flags))
        })
        .map(|window| window.start.address())
}

fn holds_no_structure(window: &PageRange, flags: &[PageFlags]) -> bool {
    flags.len() as u64 == window.pages && flags.iter().all(|f| f.is_no_kernel_structure())
}

/// All aligned windows in RAM between two addresses, the highest first.
fn candidates(
    map: &MemoryMap,
    bytes: u64,
    lowest: u64,
    limit: u64,
) -> impl Iterator<Item = PageRange> {
    let mut ranges: Vec<PageRange> = map.ram().collect();
    ranges.reverse();
    ranges.into_iter().flat_map(move |range| {
        let start = range.start.address().0.max(lowest).next_multiple_of(WINDOW_ALIGNMENT);
        let end = range.end().address().0.min(limit);
        let count = end.checked_sub(start).and_then(|room| room.checked_sub(bytes));
        let count = count.map_or(0, |room| room / WINDOW_ALIGNMENT + 1);
        (0..count).rev().map(move |n| PageRange {
            start: Pfn::containing(PhysAddr(start + n * WINDOW_ALIGNMENT)),
            pages: bytes / PAGE_SIZE,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::iomem;
    use proptest::prelude::*;

    const FREE: PageFlags = PageFlags(1 << 10);
    const SLAB: PageFlags = PageFlags(1 << 7);
    const MIB: u64 = 1 << 20;

    /// Memory in which all frames are free but these.
    struct FreeBut(Vec<PageRange>);

    impl PageFlagsSource for FreeBut {
        fn flags(&mut self, range: PageRange) -> Option<Vec<PageFlags>> {
            let flag = |frame| {
                let busy = self.0.iter().any(|busy| busy.contains(Pfn(frame)));
                if busy { SLAB } else { FREE }
            };
            Some((range.start.0..range.end().0).map(flag).collect())
        }
    }

    fn map(text: &str) -> MemoryMap {
        iomem::parse(text).unwrap()
    }

    fn pages(start: u64, bytes: u64) -> PageRange {
        PageRange::new(start / PAGE_SIZE, bytes / PAGE_SIZE)
    }

    /// Where a boot loader puts a program of this size, if nothing else is said: where
    /// no memory is.
    fn nowhere(bytes: u64) -> PageRange {
        pages(0xfe00_0000, bytes)
    }

    const LARGE: &str = "\
00001000-0009fbff : System RAM
00100000-bffd7fff : System RAM
  bf000000-bfffffff : Kernel code
100000000-23fffffff : System RAM
";

    #[test]
    fn the_highest_window_below_4_gib_is_taken() {
        let chosen = choose(&map(LARGE), &[], nowhere(4 * MIB), &mut FreeBut(vec![]));
        assert_eq!(chosen, Some(PhysAddr(0xbec0_0000)), "below the kernel");
    }

    #[test]
    fn where_the_reader_is_loaded_comes_first() {
        let loaded = pages(96 * MIB, 2 * MIB);
        let chosen =
            |taken: &[Pfn], memory: &mut FreeBut| choose(&map(LARGE), taken, loaded, memory);
        assert_eq!(chosen(&[], &mut FreeBut(vec![])), Some(loaded.start.address()));
        let highest = Some(PhysAddr(0xbee0_0000));
        assert_eq!(chosen(&[loaded.start], &mut FreeBut(vec![])), highest);
        assert_eq!(chosen(&[], &mut FreeBut(vec![pages(97 * MIB, PAGE_SIZE)])), highest);
    }

    #[test]
    fn kernel_structures_and_taken_frames_are_gone_round() {
        let mut memory = FreeBut(vec![pages(0xbef0_0000, PAGE_SIZE)]);
        let taken = [Pfn(0xbec0_0000 / PAGE_SIZE)];
        let chosen = choose(&map(LARGE), &taken, nowhere(2 * MIB), &mut memory);
        assert_eq!(chosen, Some(PhysAddr(0xbea0_0000)));
    }

    #[test]
    fn where_nothing_below_4_gib_will_do_it_goes_above() {
        let mut memory = FreeBut(vec![pages(0, 4096 * MIB)]);
        let chosen = choose(&map(LARGE), &[], nowhere(4 * MIB), &mut memory);
        assert_eq!(chosen, Some(PhysAddr(0x2_3fc0_0000)));
    }

    #[test]
    fn full_memory_has_no_window() {
        let mut memory = FreeBut(vec![pages(0, 16384 * MIB)]);
        assert_eq!(choose(&map(LARGE), &[], nowhere(2 * MIB), &mut memory), None);
    }

    proptest! {
        #[test]
        fn a_window_lies_in_ram_and_is_aligned(start in 0u64..1 << 30, size in 1u64..64 * MIB) {
            let map = map(&format!("{start:08x}-{:08x} : System RAM\n{:x}-{:x} : System RAM\n",
                start + size + 8192, start + size + 100_000, start + size + 200_000));
            if let Some(window) = choose(&map, &[], nowhere(2 * MIB), &mut FreeBut(vec![])) {
                let range = pages(window.0, 2 * MIB);
                prop_assert!(window.0.is_multiple_of(WINDOW_ALIGNMENT));
                prop_assert!(map.ram().any(|ram| ram.covers(&range)));
            }
        }
    }
}
