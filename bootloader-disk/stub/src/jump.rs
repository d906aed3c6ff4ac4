//! Putting everything into its place, and the jump.

use alloc::vec::Vec;
use core::arch::asm;
use dormouse_handoff::units::{PageRange, PhysAddr};
use x86_64::registers::control::Cr3;
use x86_64::structures::paging::page_table::{PageTable, PageTableFlags};
use x86_64::structures::paging::{PhysFrame, Size4KiB};

/// Bytes of a page of page tables.
pub const PAGE: u64 = 4096;

/// An identity map of the first 4 GiB in large pages: a top-level table, one
/// below it, and one for each GiB.
pub const TABLES_BYTES: u64 = 6 * PAGE;

const GIB: u64 = 1 << 30;
const LARGE_PAGE: u64 = 2 << 20;

/// Where the 64-bit entry is in what is loaded (Linux
/// Documentation/arch/x86/boot.rst).
const ENTRY: u64 = 0x200;

/// What goes where.
pub struct Jump {
    /// The virtual address of physical address 0.
    pub offset: u64,
    /// The part of `writer.bzimage` that is loaded.
    pub loaded: &'static [u8],
    /// Where it goes.
    pub kernel: PhysAddr,
    /// The boot parameters, and behind them room for the page tables.
    pub parameters: Vec<u8>,
    /// Where those go.
    pub at: PageRange,
}

impl Jump {
    /// Puts everything into its place, and enters the reader.
    ///
    /// # Safety
    ///
    /// What lies at the places is nobody's, and all below 4 GiB. Nothing of
    /// this program is needed any more.
    pub unsafe fn enter(self) -> ! {
        let parameters = self.at.start.address().0;
        let tables = parameters + self.parameters.len() as u64 - TABLES_BYTES;
        // SAFETY: all of physical memory is mapped at the offset, and the caller
        // vouches for the places.
        unsafe {
            self.put(self.kernel.0, self.loaded);
            self.put(parameters, &self.parameters);
            self.identity_map(tables);
        }
        let entry = self.kernel.0 + ENTRY;
        // SAFETY: the new tables map this code and its stack as the present ones do,
        // and the reader at its physical address. It brings its own GDT and stack.
        unsafe {
            asm!(
                "cli",
                "mov cr3, {tables}",
                "jmp {entry}",
                tables = in(reg) tables,
                entry = in(reg) entry,
                in("rsi") parameters,
                options(noreturn)
            )
        }
    }

    /// # Safety
    ///
    /// The memory at `physical` is nobody's.
    unsafe fn put(&self, physical: u64, bytes: &[u8]) {
        let place = (self.offset + physical) as *mut u8;
        // SAFETY: mapped, and nobody's.
        unsafe { place.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }

    /// Makes page tables at `tables`: as they are now, but for the first 512 GiB,
    /// of which 4 are mapped to themselves.
    ///
    /// # Safety
    ///
    /// As for [`Jump::put`], with [`TABLES_BYTES`].
    unsafe fn identity_map(&self, tables: u64) {
        let table = |index: u64| (self.offset + tables + index * PAGE) as *mut PageTable;
        let flags = PageTableFlags::PRESENT | PageTableFlags::WRITABLE;
        let frame = |index: u64| {
            let address = x86_64::PhysAddr::new(tables + index * PAGE);
            PhysFrame::<Size4KiB>::containing_address(address)
        };
        let present = Cr3::read().0.start_address().as_u64();
        // SAFETY: the present top-level table, through the map of all memory, and
        // pages that are ours.
        unsafe {
            table(0).copy_from_nonoverlapping((self.offset + present) as *const PageTable, 1);
            (&mut *table(0))[0].set_frame(frame(1), flags);
            for gib in 0..4 {
                (&mut *table(1))[gib as usize].set_frame(frame(2 + gib), flags);
                for (index, entry) in (&mut *table(2 + gib)).iter_mut().enumerate() {
                    let address = x86_64::PhysAddr::new(gib * GIB + index as u64 * LARGE_PAGE);
                    entry.set_addr(address, flags | PageTableFlags::HUGE_PAGE);
                }
            }
        }
    }
}
