//! Page tables: this program, a direct map of RAM, and device registers.
//!
//! What makes this simple, and why it may be so:
//! * The tables come from a fixed pool in the window, so nothing grows with
//!   RAM: pages of 1 GiB map what is wholly RAM; on processors without them the
//!   pool bounds how much RAM there may be, and [`MapError::Full`] says so.
//! * Nothing is ever unmapped but all at once: there are two lives, before and
//!   after the reader has moved, and each builds its tables anew.
//! * RAM is mapped in pages of at least 2 MiB, rounded outwards. What lies in
//!   the same 2 MiB as RAM is thereby mapped, but nobody has its address.
//! * With five levels, both halves of the address space meet in one PML4, as
//!   everything used here has an address that four levels could have.

use crate::arch::{cpu, window};
use core::ptr::{NonNull, addr_of_mut};
use dormouse_handoff::units::{PAGE_SIZE, PageRange, PhysAddr};
use x86_64::registers::control::{Cr3, Cr3Flags};
use x86_64::structures::paging::mapper::{MapToError, MappedPageTable, PageTableFrameMapping};
use x86_64::structures::paging::{
    FrameAllocator, Mapper, Page, PageSize, PageTable, PageTableFlags as Flags, PhysFrame,
    Size1GiB, Size2MiB, Size4KiB,
};
use x86_64::{PhysAddr as X86PhysAddr, VirtAddr};

/// Where physical address 0 is mapped.
const DIRECT_MAP: u64 = 0xffff_8800_0000_0000;

/// Where device registers are mapped, one after the other.
const DEVICES: u64 = 0xffff_e000_0000_0000;

/// The highest physical address that the direct map has room for: 64 TiB.
const DIRECT_MAP_BYTES: u64 = 1 << 46;

/// Tables in the pool: with 1 GiB pages, a few dozen serve any memory map of
/// [`MAX_MEMORY_RANGES`](dormouse_handoff::plan::MAX_MEMORY_RANGES) ranges that
/// was met so far; without them, each GiB of RAM takes one.
const POOL: usize = 120;

/// Tables that the reader may need more than the writer for the same memory: for the
/// other depth, this boot's firmware tables and what RAM of it the image has not,
/// registers of every disk, the screen, the move.
const READERS_MORE: usize = 16;

const GIB: u64 = 1 << 30;
const LARGE: u64 = 2 << 20;

#[repr(C, align(4096))]
struct Pool([PageTable; POOL]);

// `doors.S` borrows it for the PVH door's first tables. Built anew after a move.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".bss.anew")]
static mut table_pool: Pool = Pool([const { PageTable::new() }; POOL]);

/// Why something cannot be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// The pool of tables is used up.
    Full,
    /// The address is beyond what can be mapped.
    TooHigh(u64),
}

impl core::fmt::Display for MapError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Full => write!(
                f,
                "no page tables left: the memory map is too fragmented, or the processor has no \
                 1 GiB pages and more than about {} GiB of RAM",
                POOL - READERS_MORE - 8
            ),
            Self::TooHigh(address) => write!(f, "physical address {address:#x} is out of reach"),
        }
    }
}

struct PoolAllocator {
    used: usize,
}

// SAFETY: each table of the pool is handed out once, and used for nothing else.
unsafe impl FrameAllocator<Size4KiB> for PoolAllocator {
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        if self.used == POOL {
            return None;
        }
        // SAFETY: in bounds; no reference to the pool exists while it is handed out.
        let table = unsafe { addr_of_mut!(table_pool.0[self.used]) };
        // SAFETY: as above; the entry code may have left its own tables in it.
        unsafe { (*table).zero() };
        self.used += 1;
        PhysFrame::from_start_address(X86PhysAddr::new(window::physical(table).0)).ok()
    }
}

/// Tables are reached through this program's own mapping of the window.
struct InWindow;

// SAFETY: every table is in the pool, which is in the window.
unsafe impl PageTableFrameMapping for InWindow {
    fn frame_to_pointer(&self, frame: PhysFrame) -> *mut PageTable {
        let offset = frame.start_address().as_u64() - window::start().0;
        (window::KERNEL_BASE + offset) as *mut PageTable
    }
}

/// The tables that this program runs on.
pub struct AddressSpace {
    mapper: MappedPageTable<'static, InWindow>,
    pool: PoolAllocator,
    pml4: PhysAddr,
    next_device: u64,
}

impl AddressSpace {
    /// Builds tables that map this program, with each part's own permissions,
    /// and its window at its physical address. Not yet in use.
    pub fn new() -> Result<Self, MapError> {
        let mut pool = PoolAllocator { used: 0 };
        let frame = pool.allocate_frame().ok_or(MapError::Full)?;
        let pml4 = PhysAddr(frame.start_address().as_u64());
        let pointer = InWindow.frame_to_pointer(frame);
        // SAFETY: the table was just taken from the pool, and InWindow finds all
        // of its descendants.
        let mapper = unsafe { MappedPageTable::new(&mut *pointer, InWindow) };
        let mut space = Self { mapper, pool, pml4, next_device: DEVICES };
        space.map_program()?;
        let identity = VirtAddr::new_truncate(window::start().0);
        let mut done = 0;
        while done < window::bytes() {
            space.map::<Size2MiB>(identity + done, window::start().0 + done, Flags::WRITABLE)?;
            done += LARGE;
        }
        Ok(space)
    }

    fn map_program(&mut self) -> Result<(), MapError> {
        let parts = window::parts();
        let mut address = parts.text;
        while address < parts.end {
            if address != parts.stack_guard {
                let flags = if address < parts.rodata {
                    Flags::empty()
                } else if address < parts.data {
                    Flags::NO_EXECUTE
                } else {
                    Flags::NO_EXECUTE | Flags::WRITABLE
                };
                let physical = window::start().0 + (address - window::KERNEL_BASE);
                self.map::<Size4KiB>(VirtAddr::new(address), physical, flags)?;
            }
            address += PAGE_SIZE;
        }
        Ok(())
    }

    /// Maps one page, or leaves what is mapped in its place already: whether it
    /// was mapped now.
    fn map<S: PageSize + core::fmt::Debug>(
        &mut self,
        at: VirtAddr,
        physical: u64,
        flags: Flags,
    ) -> Result<bool, MapError>
    where
        MappedPageTable<'static, InWindow>: Mapper<S>,
    {
        let page = Page::<S>::containing_address(at);
        let frame = PhysFrame::<S>::containing_address(X86PhysAddr::new_truncate(physical));
        // SAFETY: mapping frames of RAM or of devices at addresses set apart for
        // them breaks no reference of this program.
        let mapped =
            unsafe { self.mapper.map_to(page, frame, flags | Flags::PRESENT, &mut self.pool) };
        match mapped {
            // The processor keeps nothing of what was not mapped (Intel SDM
            // volume 3, §4.10.2.3): there is nothing to flush.
            Ok(flush) => {
                flush.ignore();
                Ok(true)
            }
            // Ranges that share a large page map it twice.
            Err(MapToError::PageAlreadyMapped(_) | MapToError::ParentEntryHugePage) => Ok(false),
            Err(MapToError::FrameAllocationFailed) => Err(MapError::Full),
        }
    }

    /// Maps RAM into the direct map, so that [`direct`] finds it.
    pub fn map_ram(&mut self, range: PageRange) -> Result<(), MapError> {
        let start = range.start.address().0 & !(LARGE - 1);
        let end = range.end().address().0.next_multiple_of(LARGE);
        if end > DIRECT_MAP_BYTES {
            return Err(MapError::TooHigh(end));
        }
        let whole_gib =
            |at: u64| at.is_multiple_of(GIB) && end - at >= GIB && at >= range.start.address().0;
        let mut at = start;
        while at < end {
            let to = VirtAddr::new(DIRECT_MAP + at);
            let flags = Flags::NO_EXECUTE | Flags::WRITABLE;
            // Where a part of the GiB was mapped before (a mailbox page, a loader's
            // table), there is a table in the large page's place: fill that.
            if whole_gib(at) && cpu::has_1gib_pages() && self.map::<Size1GiB>(to, at, flags)? {
                at += GIB;
            } else {
                self.map::<Size2MiB>(to, at, flags)?;
                at += LARGE;
            }
        }
        Ok(())
    }

    /// Makes sure that a reader that maps the same RAM will not run out of tables: then
    /// an image could be written, and not be woken.
    pub fn check_room_for_reader(&self) -> Result<(), MapError> {
        if POOL - self.pool.used < READERS_MORE { Err(MapError::Full) } else { Ok(()) }
    }

    /// Maps 2 MiB pages at their physical addresses, executable: for the
    /// reader's move into another window.
    pub fn map_identity(&mut self, range: PageRange) -> Result<(), MapError> {
        let mut at = range.start.address().0 & !(LARGE - 1);
        while at < range.end().address().0 {
            self.map::<Size2MiB>(VirtAddr::new_truncate(at), at, Flags::WRITABLE)?;
            at += LARGE;
        }
        Ok(())
    }

    /// Maps device registers, uncached.
    pub fn map_device(&mut self, start: PhysAddr, bytes: u64) -> Result<NonNull<u8>, MapError> {
        let first = start.0 & !(PAGE_SIZE - 1);
        let end = start.0.checked_add(bytes).ok_or(MapError::TooHigh(start.0))?;
        if end > 1 << 52 {
            return Err(MapError::TooHigh(end));
        }
        let base = self.next_device;
        let mut at = first;
        while at < end {
            let to = VirtAddr::new(base + (at - first));
            let flags =
                Flags::NO_EXECUTE | Flags::WRITABLE | Flags::NO_CACHE | Flags::WRITE_THROUGH;
            self.map::<Size4KiB>(to, at, flags)?;
            at += PAGE_SIZE;
        }
        self.next_device = base + (at - first);
        NonNull::new((base + (start.0 - first)) as *mut u8).ok_or(MapError::TooHigh(start.0))
    }

    /// Maps a framebuffer, so that what is written to it is combined into few
    /// transfers.
    pub fn map_framebuffer(
        &mut self,
        start: PhysAddr,
        bytes: u64,
    ) -> Result<NonNull<u8>, MapError> {
        cpu::allow_write_combining();
        // PAT's entry 1.
        let flags = Flags::NO_EXECUTE | Flags::WRITABLE | Flags::WRITE_THROUGH;
        let first = start.0 & !(PAGE_SIZE - 1);
        let end = start.0.checked_add(bytes).filter(|&end| end <= 1 << 52);
        let end = end.ok_or(MapError::TooHigh(start.0))?;
        // Large pages, where all of one is the framebuffer's.
        let base = self.next_device.next_multiple_of(LARGE) + first % LARGE;
        let mut at = first;
        while at < end {
            let to = VirtAddr::new(base + (at - first));
            if at.is_multiple_of(LARGE) && end - at >= LARGE {
                self.map::<Size2MiB>(to, at, flags)?;
                at += LARGE;
            } else {
                self.map::<Size4KiB>(to, at, flags)?;
                at += PAGE_SIZE;
            }
        }
        self.next_device = base + (at - first);
        NonNull::new((base + (start.0 - first)) as *mut u8).ok_or(MapError::TooHigh(start.0))
    }

    /// Maps device registers, uncached, in pages of 2 MiB: what lies beside them
    /// is mapped as well, but nobody has its address.
    pub fn map_registers(&mut self, range: PageRange) -> Result<NonNull<u8>, MapError> {
        let start = range.start.address().0;
        let first = start & !(LARGE - 1);
        let base = self.next_device.next_multiple_of(LARGE);
        let mut at = first;
        while at < range.end().address().0 {
            let flags =
                Flags::NO_EXECUTE | Flags::WRITABLE | Flags::NO_CACHE | Flags::WRITE_THROUGH;
            self.map::<Size2MiB>(VirtAddr::new(base + (at - first)), at, flags)?;
            at += LARGE;
        }
        self.next_device = base + (at - first);
        NonNull::new((base + (start - first)) as *mut u8).ok_or(MapError::TooHigh(start))
    }

    /// The top-level table for the given depth.
    pub fn root(&mut self, five_levels: bool) -> Result<PhysAddr, MapError> {
        if !five_levels {
            return Ok(self.pml4);
        }
        let frame = self.pool.allocate_frame().ok_or(MapError::Full)?;
        let pml4 = X86PhysAddr::new(self.pml4.0);
        // SAFETY: a table fresh from the pool.
        let pml5 = unsafe { &mut *InWindow.frame_to_pointer(frame) };
        pml5[0].set_addr(pml4, Flags::PRESENT | Flags::WRITABLE);
        pml5[511].set_addr(pml4, Flags::PRESENT | Flags::WRITABLE);
        Ok(PhysAddr(frame.start_address().as_u64()))
    }

    /// Runs on these tables from here on, in the present depth.
    pub fn activate(&mut self) -> Result<(), MapError> {
        let root = self.root(cpu::uses_la57())?;
        let frame = PhysFrame::containing_address(X86PhysAddr::new(root.0));
        // SAFETY: the tables map this program where it runs, its stack included.
        unsafe { Cr3::write(frame, Cr3Flags::empty()) };
        Ok(())
    }
}

/// Where the processor finds physical memory that was mapped with
/// [`AddressSpace::map_ram`].
pub fn direct(address: PhysAddr) -> *mut u8 {
    (DIRECT_MAP + address.0) as *mut u8
}
