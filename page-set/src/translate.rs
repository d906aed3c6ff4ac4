//! Linear to physical addresses, by the old kernel's own page tables (Intel
//! SDM volume 3, 4.5: four or five levels, pages of 4 KiB, 2 MiB and 1 GiB).

use crate::readable::{Readable, word_at};
use crate::unsupported::Unsupported;
use crate::vmcoreinfo::{Vmcoreinfo, if_told};
use core::fmt;
use dormouse_handoff::units::{PAGE_SIZE, Pfn, PhysAddr};
use dormouse_transfer::memory::PageBytes;

/// Where x86-64 Linux maps its own image, before KASLR's offset, which
/// `phys_base` contains (`__START_KERNEL_map`, Linux
/// Documentation/arch/x86/x86_64/mm.rst).
const KERNEL_IMAGE_MAP: u64 = 0xffff_ffff_8000_0000;

/// Bit P of a paging entry.
const PRESENT: u64 = 1 << 0;

/// Bit PS of a paging entry: it maps a large page.
const LARGE: u64 = 1 << 7;

/// Bits 51:12 of a paging entry: what it points to.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// log2 of the bytes that an entry of a page table of the lowest level maps,
/// and of the largest page.
const SMALL_SHIFT: u32 = 12;
const LARGEST_SHIFT: u32 = 30;

/// An address in the old kernel's linear address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinearAddr(pub u64);

impl LinearAddr {
    /// The address that lies `bytes` further on. Wild addresses wrap around:
    /// they are found not to be mapped.
    pub const fn plus(self, bytes: u64) -> Self {
        Self(self.0.wrapping_add(bytes))
    }

    /// Its place in its page, in bytes.
    pub const fn page_offset(self) -> u64 {
        self.0 % PAGE_SIZE
    }

    const fn page(self) -> u64 {
        self.0 / PAGE_SIZE
    }
}

/// How many levels of page tables the old kernel uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Levels {
    /// 48-bit linear addresses.
    Four,
    /// 57-bit linear addresses (LA57).
    Five,
}

impl Levels {
    /// log2 of the bytes that an entry maps, from the highest level down.
    const fn shifts(self) -> &'static [u32] {
        match self {
            Self::Four => &[39, 30, 21, SMALL_SHIFT],
            Self::Five => &[48, 39, 30, 21, SMALL_SHIFT],
        }
    }

    /// Whether the address is canonical and in the kernel's half.
    const fn is_kernel(self, address: LinearAddr) -> bool {
        let sign_bits = match self {
            Self::Four => 64 - 47,
            Self::Five => 64 - 56,
        };
        address.0.leading_ones() >= sign_bits
    }
}

impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Four => "4",
            Self::Five => "5",
        })
    }
}

/// Where the old kernel's page tables begin.
#[derive(Clone, Copy, Debug)]
pub struct Tables {
    /// The table of the highest level.
    pub root: PhysAddr,
    /// How many levels there are.
    pub levels: Levels,
}

impl Tables {
    /// As the note tells.
    pub fn told_by(note: &Vmcoreinfo<'_>) -> Result<Self, Unsupported> {
        // With AMD's memory encryption, physical addresses in the tables carry
        // a bit that is none of the address, and memory reads as ciphertext.
        if if_told(note.number("NUMBER(sme_mask)"))?.is_some_and(|mask| mask != 0) {
            return Err(Unsupported::Encrypted);
        }
        let levels = match if_told(note.within("NUMBER(pgtable_l5_enabled)", 0..=1))? {
            Some(1) => Levels::Five,
            _ => Levels::Four,
        };
        let linear = note.address("SYMBOL(swapper_pg_dir)")?;
        let phys_base = note.number("NUMBER(phys_base)")?;
        let root = linear.wrapping_sub(KERNEL_IMAGE_MAP).wrapping_add_signed(phys_base);
        if linear < KERNEL_IMAGE_MAP || !root.is_multiple_of(PAGE_SIZE) {
            return Err(Unsupported::Value("SYMBOL(swapper_pg_dir)"));
        }
        Ok(Self { root: PhysAddr(root), levels })
    }
}

/// A page of whatever size that the tables map.
#[derive(Clone, Copy)]
struct Mapping {
    linear: LinearAddr,
    physical: PhysAddr,
    /// log2 of its bytes.
    shift: u32,
}

impl Mapping {
    /// Where `address` is, if it is in this page.
    const fn locate(&self, address: LinearAddr) -> Option<PhysAddr> {
        let offset = address.0.wrapping_sub(self.linear.0);
        if offset >> self.shift == 0 { Some(PhysAddr(self.physical.0 + offset)) } else { None }
    }
}

/// The old kernel's memory by linear addresses.
///
/// It remembers the last page that the tables gave and the last that was read:
/// page structures lie side by side, and those of 128 MiB share a large page.
pub struct KernelSpace<'a> {
    memory: Readable<'a>,
    tables: Tables,
    mapping: Option<Mapping>,
    read: Option<(u64, &'a PageBytes)>,
}

impl<'a> KernelSpace<'a> {
    /// The space that `tables` in `memory` describe.
    pub const fn new(memory: Readable<'a>, tables: Tables) -> Self {
        Self { memory, tables, mapping: None, read: None }
    }

    /// Physical memory.
    pub const fn memory(&self) -> &Readable<'a> {
        &self.memory
    }

    /// How many levels of tables there are.
    pub const fn levels(&self) -> Levels {
        self.tables.levels
    }

    /// The 4 KiB around `address`; `None` where they are not mapped or may not
    /// be read.
    #[inline]
    pub fn page(&mut self, address: LinearAddr) -> Option<&'a PageBytes> {
        match self.read {
            Some((number, page)) if number == address.page() => Some(page),
            _ => self.fetch(address),
        }
    }

    /// As [`KernelSpace::page`], for another page than the last one.
    #[inline(never)]
    fn fetch(&mut self, address: LinearAddr) -> Option<&'a PageBytes> {
        let frame = Pfn::containing(self.translate(address)?);
        let page = self.memory.page(frame)?;
        self.read = Some((address.page(), page));
        Some(page)
    }

    /// The little-endian word at an address that is a multiple of 8; `None`
    /// for any other, and as [`KernelSpace::page`].
    pub fn word(&mut self, address: LinearAddr) -> Option<u64> {
        if !address.0.is_multiple_of(8) {
            return None;
        }
        word_at(self.page(address)?, address.0)
    }

    /// Where a linear address is.
    fn translate(&mut self, address: LinearAddr) -> Option<PhysAddr> {
        if let Some(physical) = self.mapping.and_then(|mapping| mapping.locate(address)) {
            return Some(physical);
        }
        let mapping = self.walk(address)?;
        self.mapping = Some(mapping);
        mapping.locate(address)
    }

    fn walk(&self, address: LinearAddr) -> Option<Mapping> {
        if !self.tables.levels.is_kernel(address) {
            return None;
        }
        let mut table = self.tables.root;
        for &shift in self.tables.levels.shifts() {
            let index = address.0 >> shift & 0x1ff;
            let entry = self.memory.word(PhysAddr(table.0 + index * 8))?;
            if entry & PRESENT == 0 {
                return None;
            }
            let points_to = PhysAddr(entry & ADDRESS);
            if shift == SMALL_SHIFT || entry & LARGE != 0 {
                if shift > LARGEST_SHIFT {
                    return None;
                }
                let offset = (1 << shift) - 1;
                return Some(Mapping {
                    linear: LinearAddr(address.0 & !offset),
                    physical: PhysAddr(points_to.0 & !offset),
                    shift,
                });
            }
            table = points_to;
        }
        None
    }
}
