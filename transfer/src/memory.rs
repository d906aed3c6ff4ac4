//! The old kernel's memory, as the path sees it.

use core::ptr::NonNull;
use dormouse_drivers::platform::DmaMemory;
use dormouse_handoff::memory_map::{MemoryKind, MemoryRange};
use dormouse_handoff::plan::Flags;
use dormouse_handoff::units::{PAGE_SIZE, Pfn, PhysAddr};

/// A page's bytes.
pub type PageBytes = [u8; PAGE_SIZE as usize];

/// Physical memory.
///
/// Only frames that the plan's memory map names are ever asked for.
pub trait Memory {
    /// The bytes of a frame, as they are now.
    fn page(&self, frame: Pfn) -> &PageBytes;

    /// Makes a frame all zeros.
    fn clear(&mut self, frame: Pfn);

    /// Fills a frame with [`SCRIBBLE`](dormouse_handoff::plan::SCRIBBLE).
    fn scribble(&mut self, frame: Pfn);
}

/// What the old kernel says of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its contents count.
    InUse,
    /// Nobody needs its contents.
    Free,
    /// It must not be touched.
    Excluded,
}

/// Tells which frames need storing.
pub trait PageSet {
    /// The verdict on `from` and how many of the `limit` frames from there on
    /// share it: at least 1, at most `limit`.
    fn verdict(&mut self, from: Pfn, limit: u64) -> (Verdict, u64);
}

/// The page set of a kernel of which nothing is known: everything counts.
pub struct Everything;

impl PageSet for Everything {
    fn verdict(&mut self, _from: Pfn, limit: u64) -> (Verdict, u64) {
        (Verdict::InUse, limit)
    }
}

/// What an image makes of frames of `entry`: the page set's verdict, unless the
/// plan's `flags` or the memory's kind say otherwise. As [`PageSet::verdict`].
pub fn decide(
    pages: &mut dyn PageSet,
    flags: Flags,
    entry: &MemoryRange,
    from: Pfn,
    limit: u64,
) -> (Verdict, u64) {
    // ACPI's storage is the firmware's: the old kernel's opinion of it does not
    // count.
    if entry.kind != MemoryKind::Ram as u32 {
        return (Verdict::InUse, limit);
    }
    let (verdict, share) = pages.verdict(from, limit);
    let share = share.clamp(1, limit);
    match verdict {
        Verdict::Free if flags.contains(Flags::STORE_FREE_PAGES) => (Verdict::InUse, share),
        verdict => (verdict, share),
    }
}

/// Whether every byte is zero.
pub fn is_zero(page: &PageBytes) -> bool {
    // Most pages differ from zero early: look before the long loop. Then whole
    // words in blocks, without a branch inside.
    let any = |block: &[u8]| {
        block
            .chunks_exact(8)
            .fold(0, |or, word| or | u64::from_ne_bytes(word.try_into().unwrap_or([1; 8])))
            != 0
    };
    !any(&page[..64]) && !page[64..].chunks(504).any(any)
}

/// Memory of the path's own that the device may use.
pub struct Buffer {
    memory: DmaMemory,
}

impl Buffer {
    /// Takes over `memory`.
    ///
    /// # Safety
    ///
    /// The memory is valid as [`Platform`](dormouse_drivers::platform::Platform)
    /// promises, for as long as the buffer lives, and nobody else uses it.
    pub unsafe fn new(memory: DmaMemory) -> Self {
        Self { memory }
    }

    /// Where the device finds it.
    pub fn address(&self) -> PhysAddr {
        self.memory.address
    }

    /// Its bytes. No request that names the buffer may be in flight.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: valid and ours alone, by `new`'s contract.
        unsafe { NonNull::slice_from_raw_parts(self.memory.pointer, self.memory.bytes).as_ref() }
    }

    /// Its bytes, to be filled. No request that names the buffer may be in
    /// flight.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as `bytes`, and the exclusive borrow is ours.
        unsafe { NonNull::slice_from_raw_parts(self.memory.pointer, self.memory.bytes).as_mut() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_anywhere_makes_a_page_count() {
        let mut page = [0; 4096];
        assert!(is_zero(&page));
        for at in 0..4096 {
            page[at] = 1;
            assert!(!is_zero(&page), "byte {at}");
            page[at] = 0;
        }
    }
}
