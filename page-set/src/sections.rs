//! Memory sections: where the page structures of a frame lie.
//!
//! Sparse memory (Linux Documentation/mm/memory-model.rst) is an array of
//! roots, each a page of `struct mem_section`. With or without a virtual memory
//! map, a section tells where its page structures are.

use crate::translate::{KernelSpace, LinearAddr};
use crate::unsupported::Unsupported;
use crate::vmcoreinfo::Vmcoreinfo;
use dormouse_handoff::units::{PAGE_SIZE, PageRange, Pfn};

/// Bits of `section_mem_map` (Linux include/linux/mmzone.h), the same since
/// 4.13; later kernels have added further ones.
const HAS_MEM_MAP: u64 = 1 << 1;
const IS_ONLINE: u64 = 1 << 2;

/// The bits of `section_mem_map` that are flags. Newer kernels use more of them
/// than older ones, but what is left is a page's address in all.
const FLAGS: u64 = PAGE_SIZE - 1;

/// The kernel's limit on sections' sizes is the amount of memory; x86-64 has
/// 128 MiB (27). Smaller ones than a page structure's page covers make no sense.
const SECTION_SIZE_BITS: core::ops::RangeInclusive<u64> = 21..=36;

/// What is known of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// It has no page structures that could be read.
    Unknown,
    /// It has been taken offline, or never brought online: the old kernel uses
    /// nothing of it.
    Offline,
    /// It is in use.
    Online {
        /// Where the page structure of frame 0 would lie if all sections' lay
        /// in one row.
        mem_map: LinearAddr,
    },
}

/// Where the kernel keeps its sections.
#[derive(Clone, Copy, Debug)]
pub struct SectionLayout {
    /// The array of pointers to roots.
    roots: LinearAddr,
    root_count: u64,
    /// `sizeof(struct mem_section)`.
    entry_bytes: u64,
    /// Where in it `section_mem_map` is, in bytes.
    mem_map_offset: u64,
    /// log2 of the frames in a section.
    frame_bits: u32,
}

impl SectionLayout {
    /// As the note tells.
    pub fn told_by(note: &Vmcoreinfo<'_>) -> Result<Self, Unsupported> {
        let size_bits = note.within("NUMBER(SECTION_SIZE_BITS)", SECTION_SIZE_BITS)?;
        let memory_bits = note.within("NUMBER(MAX_PHYSMEM_BITS)", size_bits..=52)?;
        let entry_bytes = note.within("SIZE(mem_section)", 8..=PAGE_SIZE)?;
        if !entry_bytes.is_power_of_two() {
            return Err(Unsupported::Value("SIZE(mem_section)"));
        }
        // As many roots as all possible sections take: anything else is not the
        // two-level form that x86-64 uses.
        let sections = 1 << (memory_bits - size_bits);
        let root_count = u64::div_ceil(sections, PAGE_SIZE / entry_bytes);
        note.within("LENGTH(mem_section)", root_count..=root_count)?;
        let mem_map_offset =
            note.within("OFFSET(mem_section.section_mem_map)", 0..=entry_bytes - 8)?;
        Ok(Self {
            roots: LinearAddr(note.address("SYMBOL(mem_section)")?),
            root_count,
            entry_bytes,
            mem_map_offset,
            frame_bits: (size_bits - u64::from(PAGE_SIZE.ilog2())) as u32,
        })
    }

    /// log2 of the frames in a section.
    pub const fn frame_bits(&self) -> u32 {
        self.frame_bits
    }

    fn read(&self, space: &mut KernelSpace<'_>, number: u64) -> Option<Section> {
        let per_root = PAGE_SIZE / self.entry_bytes;
        let root = number / per_root;
        if root >= self.root_count {
            return None;
        }
        // A null pointer, as of a root without any section, is not mapped.
        let root = LinearAddr(space.word(self.roots.plus(root * 8))?);
        let entry = root.plus(number % per_root * self.entry_bytes);
        let mem_map = space.word(entry.plus(self.mem_map_offset))?;
        Some(if mem_map & HAS_MEM_MAP == 0 {
            Section::Unknown
        } else if mem_map & IS_ONLINE == 0 {
            Section::Offline
        } else {
            Section::Online { mem_map: LinearAddr(mem_map & !FLAGS) }
        })
    }
}

/// The kernel's sections. The last one asked for is remembered.
pub struct Sections {
    layout: SectionLayout,
    last: Option<(u64, Section)>,
}

impl Sections {
    /// Sections that lie as `layout` says; an error where they cannot be read.
    pub fn find(layout: SectionLayout, space: &mut KernelSpace<'_>) -> Result<Self, Unsupported> {
        match space.word(layout.roots) {
            Some(_) => Ok(Self { layout, last: None }),
            None => Err(Unsupported::Unreadable("SYMBOL(mem_section)")),
        }
    }

    /// The section that `frame` is in, and how many frames from `frame` on are.
    pub fn of(&mut self, space: &mut KernelSpace<'_>, frame: Pfn) -> (Section, u64) {
        let number = frame.0 >> self.layout.frame_bits;
        let frames = PageRange::new(number << self.layout.frame_bits, 1 << self.layout.frame_bits);
        let left = frames.end().0 - frame.0;
        if let Some((last, section)) = self.last
            && last == number
        {
            return (section, left);
        }
        let section = self.layout.read(space, number).unwrap_or(Section::Unknown);
        self.last = Some((number, section));
        (section, left)
    }
}
