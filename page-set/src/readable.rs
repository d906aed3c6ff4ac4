//! The gate that every read of the old kernel's memory goes through.

use dormouse_handoff::memory_map::{self, MemoryRange};
use dormouse_handoff::units::{PageRange, Pfn, PhysAddr};
use dormouse_transfer::memory::{Memory, PageBytes};

/// Physical memory, to be read.
pub trait PhysRead {
    /// The bytes of a frame. Only frames of the memory map outside the window
    /// are asked for.
    fn page(&self, frame: Pfn) -> &PageBytes;
}

impl<M: Memory> PhysRead for M {
    fn page(&self, frame: Pfn) -> &PageBytes {
        Memory::page(self, frame)
    }
}

/// The frames that may be read: those of the memory map but for the window's,
/// whose contents are not the old kernel's now.
#[derive(Clone, Copy)]
pub struct Readable<'a> {
    memory: &'a dyn PhysRead,
    ranges: &'a [MemoryRange],
    window: PageRange,
}

impl<'a> Readable<'a> {
    /// `ranges` are ordered and disjoint, as
    /// [`check`](dormouse_handoff::memory_map::check) wants them.
    pub const fn new(
        memory: &'a dyn PhysRead,
        ranges: &'a [MemoryRange],
        window: PageRange,
    ) -> Self {
        Self { memory, ranges, window }
    }

    /// A frame's bytes, if it may be read.
    pub fn page(&self, frame: Pfn) -> Option<&'a PageBytes> {
        let range = PageRange { start: frame, pages: 1 };
        (!self.window.contains(frame) && self.is_memory(range)).then(|| self.memory.page(frame))
    }

    /// The little-endian word at an address that is a multiple of 8.
    pub fn word(&self, address: PhysAddr) -> Option<u64> {
        word_at(self.page(Pfn::containing(address))?, address.0)
    }

    /// Whether every frame of `range` is in the memory map.
    pub fn is_memory(&self, range: PageRange) -> bool {
        let from = self.ranges.partition_point(|entry| entry.range.end() <= range.start);
        let present = self.ranges[from..].iter().map(|entry| entry.range);
        memory_map::first_missing(range, present).is_none()
    }
}

/// The little-endian word of a page at the lowest 12 bits of `address`.
pub fn word_at(page: &PageBytes, address: u64) -> Option<u64> {
    let offset = (address % page.len() as u64) as usize;
    let (bytes, _) = page.get(offset..)?.split_first_chunk()?;
    Some(u64::from_le_bytes(*bytes))
}
