//! Where a kernel, its initramfs and what tells it of them go.

use crate::bzimage::Kernel;
use alloc::vec::Vec;
use dormouse_handoff::units::{PAGE_SIZE, PageRange, Pfn, PhysAddr};

/// Below this, firmware has things of its own.
const LOWEST: u64 = 1 << 20;

const FOUR_GIB: u64 = 1 << 32;

/// What has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaceError {
    /// The kernel.
    Kernel {
        /// Bytes that it needs, in one piece below 4 GiB.
        needed: u64,
        /// Bytes of the largest free piece there.
        largest: u64,
    },
    /// A kernel that can be nowhere but at an address which is not free.
    Fixed {
        /// The address.
        address: u64,
    },
    /// The initramfs.
    Initrd {
        /// Bytes that it needs in one piece.
        needed: u64,
    },
    /// The boot parameters.
    Parameters,
}

impl core::fmt::Display for PlaceError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        match *self {
            Self::Kernel { needed, largest } => write!(
                f,
                "the kernel needs {} MiB of memory in one piece, and the largest below 4 GiB has \
                 {} MiB",
                mib(needed),
                largest >> 20
            ),
            Self::Fixed { address } => write!(
                f,
                "the kernel is not relocatable, and there is no room for it at {address:#x}"
            ),
            Self::Initrd { needed } => {
                write!(f, "there is no room for an initramfs of {} MiB", mib(needed))
            }
            Self::Parameters => write!(f, "there is no room for the boot parameters"),
        }
    }
}

/// Where everything goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// The kernel file's first byte: the part before the kernel is loaded too, so
    /// that the kernel comes to lie where it should.
    pub file: PhysAddr,
    /// The kernel.
    pub kernel: PhysAddr,
    /// The memory that the kernel needs, with the file's part before it.
    pub kernel_pages: PageRange,
    /// The initramfs; empty where there is none.
    pub initrd: PageRange,
    /// The boot parameters and what belongs to them.
    pub parameters: PageRange,
}

impl Places {
    /// Chooses among `free`, which is ordered and disjoint: the kernel as low as
    /// it likes to be, the rest as high as it may, so that none is in another's
    /// way.
    pub fn choose(
        free: &[PageRange],
        kernel: &Kernel,
        initrd_bytes: u64,
        parameters_bytes: u64,
    ) -> Result<Self, PlaceError> {
        let (address, kernel_pages) = place_kernel(free, kernel)?;
        let free = without(free, &[kernel_pages]);
        let initrd = match initrd_bytes {
            0 => PageRange::default(),
            // A page more, as disks are read in whole blocks.
            bytes => {
                let pages = bytes.div_ceil(PAGE_SIZE) + 1;
                let end = kernel.initrd_end.min(FOUR_GIB);
                let low = highest(&free, pages, end);
                let anywhere = || highest(&free, pages, u64::MAX).filter(|_| kernel.above_4g);
                low.or_else(anywhere).ok_or(PlaceError::Initrd { needed: bytes })?
            }
        };
        let free = without(&free, &[initrd]);
        let parameters = highest(&free, parameters_bytes.div_ceil(PAGE_SIZE).max(1), FOUR_GIB)
            .ok_or(PlaceError::Parameters)?;
        Ok(Self {
            file: PhysAddr(address - kernel.skipped),
            kernel: PhysAddr(address),
            kernel_pages,
            initrd,
            parameters,
        })
    }
}

/// The lowest address that will do for the kernel, and the memory that it takes
/// there. Below its preferred address it would move up by itself, over whatever
/// is there.
fn place_kernel(free: &[PageRange], kernel: &Kernel) -> Result<(u64, PageRange), PlaceError> {
    let before = kernel.skipped.next_multiple_of(PAGE_SIZE);
    let taken = |address: u64| {
        let start = Pfn(address.checked_sub(before)? / PAGE_SIZE);
        let bytes = before.checked_add(kernel.init_bytes)?;
        Some(PageRange { start, pages: bytes.div_ceil(PAGE_SIZE) })
    };
    let fits = |address: u64, range: &PageRange| {
        let taken = taken(address)?;
        let end = taken.end().0.checked_mul(PAGE_SIZE)?;
        (range.covers(&taken) && end <= FOUR_GIB).then_some((address, taken))
    };
    let Some(alignment) = kernel.alignment else {
        let at = kernel.preferred;
        let found = free.iter().find_map(|range| fits(at, range));
        return found.ok_or(PlaceError::Fixed { address: at });
    };
    let found = free.iter().find_map(|range| {
        let lowest = range.start.address().0.checked_add(before)?.max(kernel.preferred);
        fits(lowest.checked_next_multiple_of(alignment)?, range)
    });
    found.ok_or_else(|| {
        let low = free.iter().map(|range| {
            range.end().address().0.min(FOUR_GIB).saturating_sub(range.start.address().0)
        });
        PlaceError::Kernel { needed: kernel.init_bytes, largest: low.max().unwrap_or(0) }
    })
}

/// The highest `pages` pages that end at or below `end`.
fn highest(free: &[PageRange], pages: u64, end: u64) -> Option<PageRange> {
    free.iter().rev().find_map(|range| {
        let past = range.end().0.min(end / PAGE_SIZE);
        let start = past.checked_sub(pages)?;
        (start >= range.start.0).then_some(PageRange { start: Pfn(start), pages })
    })
}

/// The memory that nobody has yet: `ram` (ordered, disjoint) from 1 MiB on,
/// without `taken`.
pub fn free(ram: &[PageRange], taken: &[PageRange]) -> Vec<PageRange> {
    let low = PageRange { start: Pfn(0), pages: LOWEST / PAGE_SIZE };
    let ram = without(ram, &[low]);
    without(&ram, taken)
}

/// What is left of `ranges` without `taken`.
fn without(ranges: &[PageRange], taken: &[PageRange]) -> Vec<PageRange> {
    let mut left = ranges.to_vec();
    for hole in taken.iter().filter(|hole| hole.pages > 0) {
        left = left
            .iter()
            .flat_map(|range| {
                let before = hole.start.min(range.end()).0.saturating_sub(range.start.0);
                let from = hole.end().max(range.start);
                let after = range.end().0.saturating_sub(from.0);
                [
                    PageRange { start: range.start, pages: before },
                    PageRange { start: from, pages: after },
                ]
            })
            .filter(|range| range.pages > 0)
            .collect();
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::head;
    use proptest::prelude::*;

    fn kernel(payload: u32) -> Kernel {
        Kernel::parse(&head(payload), 16384 + u64::from(payload)).unwrap()
    }

    fn mib(start: u64, mib: u64) -> PageRange {
        PageRange::new(start << 8, mib << 8)
    }

    #[test]
    fn what_is_taken_is_not_free() {
        let ram = [PageRange::new(0, 0x9f), mib(1, 63)];
        assert_eq!(free(&ram, &[mib(16, 2)]), [mib(1, 15), mib(18, 46)]);
        assert_eq!(free(&ram, &[mib(0, 100)]), []);
    }

    #[test]
    fn everything_has_its_place_beside_the_window() {
        let free = free(&[mib(0, 512)], &[mib(16, 2)]);
        let places = Places::choose(&free, &kernel(4096), 10 << 20, 5000).unwrap();
        // Not at 16 MiB, where it would like to be, and room for what lies before.
        assert_eq!(places.kernel, PhysAddr(20 << 20));
        assert_eq!(places.file, PhysAddr((20 << 20) - 16384));
        assert_eq!(places.initrd.end(), Pfn(512 << 8));
        assert_eq!(places.parameters.end(), places.initrd.start);
        assert_eq!(places.parameters.pages, 2);
    }

    #[test]
    fn what_has_no_room_is_named() {
        let error = |free: &[PageRange], kernel: &Kernel, initrd| {
            Places::choose(free, kernel, initrd, 4096).unwrap_err()
        };
        let small = [mib(1, 60)];
        let needed = 0x300_0000;
        assert_eq!(
            error(&small, &kernel(4096), 0),
            PlaceError::Kernel { needed, largest: 60 << 20 }
        );
        assert_eq!(
            error(&[mib(1, 100)], &kernel(4096), 200 << 20),
            PlaceError::Initrd { needed: 200 << 20 }
        );
        let mut fixed = kernel(4096);
        fixed.alignment = None;
        assert_eq!(error(&[mib(18, 500)], &fixed, 0), PlaceError::Fixed { address: 16 << 20 });
    }

    #[test]
    fn a_large_initramfs_goes_above_4_gib_where_the_kernel_allows_it() {
        let free = [mib(1, 200), mib(4096, 4096)];
        let mut kernel = kernel(4096);
        let places = Places::choose(&free, &kernel, 1 << 30, 4096).unwrap();
        assert_eq!(places.initrd.end(), Pfn(8192 << 8));
        kernel.above_4g = false;
        let error = Places::choose(&free, &kernel, 1 << 30, 4096).unwrap_err();
        assert_eq!(error, PlaceError::Initrd { needed: 1 << 30 });
    }

    proptest! {
        #[test]
        fn places_are_free_and_apart(
            gaps in prop::collection::vec((0u64..40_000, 1u64..60_000), 1..12),
            window in 0u64..100_000,
            initrd in 0u64..300_000_000,
            parameters in 1u64..100_000,
            relocatable in any::<bool>(),
        ) {
            let mut past = 0;
            let mut ram = Vec::new();
            for (gap, pages) in gaps {
                ram.push(PageRange::new(past + gap, pages));
                past += gap + pages;
            }
            let window = PageRange::new(window, 512);
            let free = free(&ram, &[window]);
            let mut kernel = kernel(1 << 20);
            if !relocatable {
                kernel.alignment = None;
            }
            if let Ok(places) = Places::choose(&free, &kernel, initrd, parameters) {
                let all = [places.kernel_pages, places.initrd, places.parameters];
                for (i, one) in all.iter().enumerate().filter(|(_, one)| one.pages > 0) {
                    prop_assert!(free.iter().any(|range| range.covers(one)));
                    prop_assert!(one.intersection(&window).is_none());
                    prop_assert!(one.start.0 >= 256);
                    for other in &all[i + 1..] {
                        prop_assert!(one.intersection(other).is_none());
                    }
                }
                prop_assert!(places.kernel.0 >= kernel.preferred);
                prop_assert!(places.kernel.0 % (2 << 20) == 0);
                prop_assert!(places.initrd.bytes() >= initrd);
                prop_assert!(places.kernel_pages.bytes() >= kernel.init_bytes + kernel.skipped);
            }
        }
    }
}
