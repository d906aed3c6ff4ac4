//! The old kernel's memory, through the direct map.

use crate::arch::paging::{AddressSpace, MapError, direct};
use crate::machine::MACHINE;
use dormouse_drivers::platform::{Exhausted, Platform};
use dormouse_handoff::memory_map::MemoryRange;
use dormouse_handoff::plan::SCRIBBLE;
use dormouse_handoff::units::{PAGE_SIZE, Pfn};
use dormouse_transfer::memory::{Buffer, Memory, PageBytes, is_zero};

/// Physical memory whose every range of a memory map has been mapped.
pub struct Ram(());

impl Ram {
    /// Maps all ranges.
    pub fn map(space: &mut AddressSpace, ranges: &[MemoryRange]) -> Result<Self, MapError> {
        for entry in ranges {
            space.map_ram(entry.range)?;
        }
        Ok(Self(()))
    }
}

impl Memory for Ram {
    fn page(&self, frame: Pfn) -> &PageBytes {
        // SAFETY: only frames of the memory map are asked for, all of which are
        // mapped; a device writes to them only between a request and its
        // completion, when the path holds no such reference.
        unsafe { &*direct(frame.address()).cast() }
    }

    fn clear(&mut self, frame: Pfn) {
        // After a cold boot most memory is zero already, and reading it costs
        // less than writing it.
        if is_zero(self.page(frame)) {
            return;
        }
        // SAFETY: as in `page`.
        unsafe { direct(frame.address()).write_bytes(0, PAGE_SIZE as usize) };
    }

    fn scribble(&mut self, frame: Pfn) {
        // SAFETY: as in `page`.
        unsafe { direct(frame.address()).write_bytes(SCRIBBLE, PAGE_SIZE as usize) };
    }
}

/// A buffer that devices may use.
pub fn buffer(bytes: usize) -> Result<Buffer, Exhausted> {
    let memory = MACHINE.dma_alloc(bytes.div_ceil(PAGE_SIZE as usize))?;
    // SAFETY: fresh from the allocator, which hands nothing out twice.
    Ok(unsafe { Buffer::new(memory) })
}
