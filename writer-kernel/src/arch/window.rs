//! The window: where this program lies, virtually and physically.

use core::ops::Range;
use dormouse_handoff::checksum;
use dormouse_handoff::units::{PAGE_SIZE, PageRange, Pfn, PhysAddr};

/// The virtual address that this program is linked at (`link.ld`).
pub const KERNEL_BASE: u64 = 0xffff_ffff_8000_0000;

unsafe extern "C" {
    static window_base: u64;
    static __window_start: u8;
    static __window_end: u8;
    static __anew_start: u8;
    static __anew_end: u8;
    static __image_end: u8;
    static __rodata_start: u8;
    static __rodata_end: u8;
    static __data_start: u8;
    static main_stack_guard: u8;
}

/// Where the window starts, physically.
pub fn start() -> PhysAddr {
    // SAFETY: written by the entry code before Rust ran, never again.
    PhysAddr(unsafe { window_base })
}

/// Bytes of the window.
pub fn bytes() -> u64 {
    (&raw const __window_end) as u64 - (&raw const __window_start) as u64
}

/// The window's frames.
pub fn range() -> PageRange {
    PageRange { start: Pfn::containing(start()), pages: bytes() / PAGE_SIZE }
}

/// What a copy of this program has to have, in bytes from the window's start: all but
/// what is made anew there (`.bss.anew`).
pub fn lasting() -> [Range<u64>; 2] {
    let offset = |place: *const u8| place as u64 - KERNEL_BASE;
    let anew = offset(&raw const __anew_start)..offset(&raw const __anew_end);
    [0..anew.start, anew.end..bytes()]
}

/// How many pages behind the program are not the zeros that a loader puts
/// there, but what was there before.
pub fn unloaded() -> usize {
    let rest = (&raw const __image_end).cast::<u64>();
    let words = (parts().end as usize - rest as usize) / size_of::<u64>();
    // SAFETY: whole pages of the window, mapped as data, that nobody writes to.
    let rest = unsafe { core::slice::from_raw_parts(rest, words) };
    let pages = rest.chunks(PAGE_SIZE as usize / size_of::<u64>());
    pages.filter(|page| page.iter().any(|word| *word != 0)).count()
}

/// Checksum of this program's code and constants: what tells one build from
/// another, wherever it was loaded and whatever plan was stamped into it.
pub fn program() -> u64 {
    let start = &raw const __window_start;
    let bytes = (&raw const __rodata_end) as usize - start as usize;
    // SAFETY: mapped for reading, and nobody writes there.
    checksum::plain(unsafe { core::slice::from_raw_parts(start, bytes) })
}

/// The physical address of something in this program: static, stack or heap.
pub fn physical<T: ?Sized>(place: *const T) -> PhysAddr {
    let virtual_address = place.cast::<u8>() as u64;
    debug_assert!(virtual_address >= KERNEL_BASE);
    PhysAddr(start().0 + (virtual_address - KERNEL_BASE))
}

/// The virtual addresses at which the parts of this program begin.
pub struct Parts {
    /// Code: readable, executable.
    pub text: u64,
    /// Constants and the plan: readable.
    pub rodata: u64,
    /// Everything else: readable, writable.
    pub data: u64,
    /// One page below the stack: not mapped.
    pub stack_guard: u64,
    /// One past the window.
    pub end: u64,
}

/// Where the parts of this program begin.
pub fn parts() -> Parts {
    Parts {
        text: (&raw const __window_start) as u64,
        rodata: (&raw const __rodata_start) as u64,
        data: (&raw const __data_start) as u64,
        stack_guard: (&raw const main_stack_guard) as u64,
        end: (&raw const __window_end) as u64,
    }
}
