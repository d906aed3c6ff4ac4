//! Memory that firmware overwrites on its way up from S3, although it has told the
//! system that it is free.
//!
//! OVMF does so: its first phase puts tables and its stack into the pages from
//! 8 MiB on, of which it only reserves some. Linux's own suspend loses what it had
//! there.

use crate::arch::paging::direct;
use crate::machine::MACHINE;
use crate::ram;
use dormouse_drivers::platform::{Exhausted, Platform};
use dormouse_handoff::plan::CheckedPlan;
use dormouse_handoff::units::{PAGE_SIZE, PageRange, Pfn};
use dormouse_transfer::memory::Buffer;

/// Where OVMF works before it has memory of its own (OvmfPkg/OvmfPkgX64.fdf, from
/// PcdOvmfSecPageTablesBase to the end of its temporary RAM). A window never lies
/// so low.
const WORKPLACE: PageRange = PageRange::new(0x800, 0x20);

/// What was in these pages.
pub struct Kept {
    ranges: [PageRange; MOST],
    contents: Buffer,
}

/// Most ranges of memory in the workplace.
const MOST: usize = 8;

impl Kept {
    /// Keeps what the old kernel has there.
    ///
    /// # Errors
    /// Where the DMA arena is too small for it.
    ///
    /// # Safety
    ///
    /// No device and no driver uses any memory of the DMA arena.
    pub unsafe fn of(plan: &CheckedPlan<'_>) -> Result<Self, Exhausted> {
        let mut ranges = [PageRange::default(); MOST];
        let inside = plan.ram().map(|range| {
            let start = range.start.max(WORKPLACE.start);
            let end = range.end().min(WORKPLACE.end());
            PageRange { start, pages: end.0.saturating_sub(start.0) }
        });
        for (place, range) in ranges.iter_mut().zip(inside.filter(|range| range.pages > 0)) {
            *place = range;
        }
        // SAFETY: as the caller promises.
        unsafe { MACHINE.dma_release_all() };
        let mut contents = ram::buffer((WORKPLACE.pages * PAGE_SIZE) as usize)?;
        let pages = contents.bytes_mut().chunks_exact_mut(PAGE_SIZE as usize);
        for (frame, kept) in frames(&ranges).zip(pages) {
            kept.copy_from_slice(page(frame));
        }
        Ok(Self { ranges, contents })
    }

    /// Puts it back where something else is now; how many pages that were.
    pub fn put_back(&self) -> usize {
        let pages = self.contents.bytes().chunks_exact(PAGE_SIZE as usize);
        let kept = frames(&self.ranges).zip(pages);
        let lost = kept.filter(|(frame, kept)| page(*frame) != *kept);
        lost.map(|(frame, kept)| {
            // SAFETY: a page of the old kernel's RAM, in the direct map like all of
            // it, to which no reference exists any more.
            unsafe {
                direct(frame.address()).copy_from_nonoverlapping(kept.as_ptr(), kept.len());
            }
        })
        .count()
    }
}

fn frames(ranges: &[PageRange]) -> impl Iterator<Item = Pfn> {
    ranges.iter().flat_map(|range| (range.start.0..range.end().0).map(Pfn))
}

fn page(frame: Pfn) -> &'static [u8] {
    // SAFETY: a page of the old kernel's RAM, in the direct map like all of it; the
    // reference is gone before anything writes there.
    unsafe { core::slice::from_raw_parts(direct(frame.address()), PAGE_SIZE as usize) }
}
