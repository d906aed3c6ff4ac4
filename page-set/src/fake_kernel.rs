//! A Linux for tests, as far as a page set looks at one: page tables, sections
//! and page structures in a few megabytes of memory, and the note that leads to
//! them. Its memory refuses to be read outside the memory map.

use crate::linux_pages::LinuxPages;
use crate::readable::PhysRead;
use crate::translate::Levels;
use crate::unsupported::Unsupported;
use dormouse_handoff::memory_map::{MemoryKind, MemoryRange};
use dormouse_handoff::units::{PAGE_SIZE, PageRange, Pfn};
use dormouse_transfer::memory::{PageBytes, PageSet, Verdict};
use std::collections::BTreeMap;

/// The memory map: low memory, 24 MiB of the first section, 8 MiB of the third,
/// and 2 MiB of the fourth, which is offline. The second is a hole.
pub const LOW: PageRange = PageRange::new(1, 0x9e);
pub const MAIN: PageRange = PageRange::new(0x100, 0x1700);
pub const FAR: PageRange = PageRange::new(0x10000, 0x800);
pub const OFFLINE: PageRange = PageRange::new(0x18000, 0x200);

/// The window, in main memory.
pub const WINDOW: PageRange = PageRange::new(0x800, 0x400);

/// Where the kernel keeps tables, sections and page structures.
pub const KERNEL: PageRange = PageRange::new(0x1000, 0x800);

/// Frames of which every test may do what it likes: all in use at first.
pub const PLAYGROUND: PageRange = PageRange::new(0x400, 0x400);

const SECTION_FRAMES: u64 = 1 << 15;
const IMAGE_MAP: u64 = 0xffff_ffff_8000_0000;
const ROOT_SYMBOL: u64 = IMAGE_MAP + 0x1e0_a000;

/// `sizeof(struct mem_section)`, and where in it `section_mem_map` is.
const SECTION_BYTES: u64 = 32;
const SECTION_MAP: u64 = 8;

/// Section flags: present, has a map; online.
const PRESENT: u64 = 0b011;
const ONLINE: u64 = 0b100;

/// Offsets of a page structure's fields.
const FLAGS: u64 = 0;
pub const COMPOUND: u64 = 8;
const DESTRUCTOR: u64 = 16;
pub const PRIVATE: u64 = 40;
pub const PAGE_TYPE: u64 = 48;
pub const REFERENCES: u64 = 52;

pub const PG_HWPOISON: u64 = 1 << 20;
pub const NO_TYPE: u32 = u32::MAX;

/// How page types are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// As in 6.1: all bits but one are set; huge pages have a destructor.
    Old,
    /// As in 7.2: the highest byte; tails have a mask instead of a pointer.
    New,
}

/// Which kernel it shall be.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    pub levels: Levels,
    pub age: Age,
    /// `sizeof(struct page)`.
    pub page_bytes: u64,
    /// log2 of the pages that map the page structures: 12 or 21.
    pub map_shift: u32,
    /// Whether all sections' page structures lie in one row.
    pub vmemmap: bool,
}

pub const VARIANTS: [Variant; 4] = [
    Variant { levels: Levels::Four, age: Age::Old, page_bytes: 64, map_shift: 21, vmemmap: true },
    Variant { levels: Levels::Five, age: Age::Old, page_bytes: 56, map_shift: 12, vmemmap: true },
    Variant { levels: Levels::Five, age: Age::New, page_bytes: 64, map_shift: 21, vmemmap: true },
    Variant { levels: Levels::Four, age: Age::New, page_bytes: 80, map_shift: 12, vmemmap: false },
];

impl Age {
    pub const fn buddy(self) -> u32 {
        if matches!(self, Self::Old) { !0x80 } else { 0xf0 << 24 }
    }

    pub const fn offline(self) -> u32 {
        if matches!(self, Self::Old) { !0x100 } else { 0xf1 << 24 }
    }

    const fn huge(self) -> u32 {
        if matches!(self, Self::Old) { NO_TYPE } else { 0xf4 << 24 }
    }
}

#[derive(Clone)]
pub struct FakeKernel {
    pub variant: Variant,
    frames: BTreeMap<u64, Box<PageBytes>>,
    ranges: Vec<MemoryRange>,
    /// The kernel's mappings, remembered apart from its tables.
    mapped: BTreeMap<u64, Pfn>,
    root: Pfn,
    next: Pfn,
}

impl FakeKernel {
    pub fn new(variant: Variant) -> Self {
        let ram = |range| MemoryRange { range, kind: MemoryKind::Ram as u32, reserved: 0 };
        let mut kernel = Self {
            variant,
            frames: BTreeMap::new(),
            ranges: [LOW, MAIN, FAR, OFFLINE].map(ram).to_vec(),
            mapped: BTreeMap::new(),
            root: KERNEL.start,
            next: Pfn(KERNEL.start.0 + 1),
        };
        kernel.map(kernel.direct_map(), Pfn(0), 30);
        let sections = kernel.take(1);
        for (range, flags) in [(MAIN, ONLINE), (FAR, ONLINE), (OFFLINE, 0)] {
            let number = range.start.0 / SECTION_FRAMES;
            if flags & ONLINE != 0 {
                kernel.map_structs(number);
            }
            let mem_map = kernel.mem_map(number) | PRESENT | flags;
            let entry = sections.address().0 + number * SECTION_BYTES + SECTION_MAP;
            kernel.write(entry, &mem_map.to_le_bytes());
        }
        let roots = kernel.roots();
        let section_root = kernel.direct_map() + sections.address().0;
        kernel.write_linear(roots, &section_root.to_le_bytes());
        for range in [LOW, MAIN, FAR] {
            kernel.each(range, |kernel, frame| kernel.set_in_use(frame));
        }
        kernel
    }

    /// What the kernel would tell of itself.
    pub fn note(&self) -> String {
        let Variant { levels, age, page_bytes, .. } = self.variant;
        let memory_bits = if levels == Levels::Five { 52 } else { 46 };
        let phys_base = self.root.address().0 as i64 - (ROOT_SYMBOL - IMAGE_MAP) as i64;
        let sections: u64 = 1 << (memory_bits - 27);
        let mut note = format!(
            "PAGESIZE=4096\n\
             SYMBOL(swapper_pg_dir)={ROOT_SYMBOL:x}\n\
             NUMBER(phys_base)={phys_base}\n\
             NUMBER(pgtable_l5_enabled)={}\n\
             NUMBER(sme_mask)=0\n\
             SYMBOL(mem_section)={:x}\n\
             LENGTH(mem_section)={}\n\
             SIZE(mem_section)={SECTION_BYTES}\n\
             OFFSET(mem_section.section_mem_map)={SECTION_MAP}\n\
             NUMBER(SECTION_SIZE_BITS)=27\n\
             NUMBER(MAX_PHYSMEM_BITS)={memory_bits}\n\
             SIZE(page)={page_bytes}\n\
             OFFSET(page.flags)={FLAGS}\n\
             OFFSET(page.private)={PRIVATE}\n\
             OFFSET(page._mapcount)={PAGE_TYPE}\n\
             OFFSET(page._refcount)={REFERENCES}\n\
             LENGTH(zone.free_area)=11\n\
             NUMBER(PG_hwpoison)=20\n\
             NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)={}\n\
             NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)={}\n",
            u8::from(levels == Levels::Five),
            self.roots(),
            sections / (PAGE_SIZE / SECTION_BYTES),
            age.buddy() as i32,
            age.offline() as i32,
        );
        note += &match age {
            Age::Old => format!(
                "OFFSET(page.compound_head)={COMPOUND}\n\
                 OFFSET(page.compound_dtor)={DESTRUCTOR}\n\
                 NUMBER(HUGETLB_PAGE_DTOR)=2\n"
            ),
            Age::New => format!(
                "OFFSET(page.compound_info)={COMPOUND}\n\
                 NUMBER(PAGE_HUGETLB_MAPCOUNT_VALUE)={}\n",
                age.huge()
            ),
        };
        note
    }

    pub fn pages(&self) -> LinuxPages<'_> {
        self.pages_by(&self.note()).unwrap()
    }

    pub fn pages_by(&self, note: &str) -> Result<LinuxPages<'_>, Unsupported> {
        LinuxPages::new(note.as_bytes(), &self.ranges, WINDOW, self)
    }

    /// With another window.
    pub fn pages_around(&self, window: PageRange) -> LinuxPages<'_> {
        LinuxPages::new(self.note().as_bytes(), &self.ranges, window, self).unwrap()
    }

    /// The verdicts on the frames of `range`, asked for as the writer asks.
    pub fn verdicts(&self, range: PageRange) -> Vec<Verdict> {
        verdicts(&mut self.pages(), range)
    }

    pub fn set_in_use(&mut self, frame: Pfn) {
        self.set(frame, NO_TYPE, 1, 0);
    }

    /// Frees a block as the page allocator does.
    pub fn set_free(&mut self, frame: Pfn, order: u32) {
        let block = PageRange { start: frame, pages: 1 << order };
        self.each(block, |kernel, tail| kernel.set(tail, NO_TYPE, 0, 0));
        self.set(frame, self.variant.age.buddy(), 0, u64::from(order));
    }

    /// Makes a larger page of 2 to the `order` frames.
    pub fn set_compound(&mut self, frame: Pfn, order: u32, huge: bool) {
        let head = self.struct_of(frame);
        self.set_in_use(frame);
        let tail = match self.variant.age {
            Age::Old => head | 1,
            Age::New => u64::MAX << (order + self.variant.page_bytes.ilog2()) | 1,
        };
        for frame in (frame.0 + 1..frame.0 + (1 << order)).map(Pfn) {
            self.set(frame, NO_TYPE, 0, 0);
            self.set_field(frame, COMPOUND, &tail.to_le_bytes());
        }
        if huge {
            self.set_field(frame, PAGE_TYPE, &self.variant.age.huge().to_le_bytes());
            self.set_field(Pfn(frame.0 + 1), DESTRUCTOR, &[2]);
        }
    }

    pub fn set_poisoned(&mut self, frame: Pfn) {
        self.set_field(frame, FLAGS, &PG_HWPOISON.to_le_bytes());
    }

    pub fn set_field(&mut self, frame: Pfn, offset: u64, bytes: &[u8]) {
        self.write_linear(self.struct_of(frame) + offset, bytes);
    }

    /// Where a frame's page structure is.
    pub fn struct_of(&self, frame: Pfn) -> u64 {
        self.mem_map(frame.0 / SECTION_FRAMES) + frame.0 * self.variant.page_bytes
    }

    /// The frame that a linear address of the kernel lies in.
    pub fn frame_of(&self, linear: u64) -> Pfn {
        self.mapped[&(linear / PAGE_SIZE)]
    }

    /// Changes physical memory.
    pub fn write(&mut self, address: u64, bytes: &[u8]) {
        let page = self.frames.entry(address / PAGE_SIZE).or_insert_with(|| Box::new([0; 4096]));
        page[(address % PAGE_SIZE) as usize..][..bytes.len()].copy_from_slice(bytes);
    }

    pub fn entry(&self, address: u64) -> u64 {
        let page = self.frames.get(&(address / PAGE_SIZE));
        page.map_or(0, |page| {
            u64::from_le_bytes(*page[(address % PAGE_SIZE) as usize..].first_chunk().unwrap())
        })
    }

    /// Maps a page of 2 to the `shift` bytes.
    pub fn map(&mut self, linear: u64, frame: Pfn, shift: u32) {
        let mut table = self.root;
        let mut level = self.top_level();
        while level > shift {
            let entry = entry_of(table, linear, level);
            if self.entry(entry) == 0 {
                let below = self.take(1);
                // As Linux sets them: present, writable, accessed, dirty.
                self.write(entry, &(below.address().0 | 0x63).to_le_bytes());
            }
            table = Pfn(self.entry(entry) / PAGE_SIZE);
            level -= 9;
        }
        const NO_EXECUTE: u64 = 1 << 63;
        // Of a large page, and with the bit of the address that means PAT there.
        let large = if shift > 12 { 1 << 7 | 1 << 12 } else { 0 };
        let leaf = frame.address().0 | 0x63 | large | NO_EXECUTE;
        self.write(entry_of(table, linear, level), &leaf.to_le_bytes());
        for page in 0..1 << (shift - 12) {
            self.mapped.insert(linear / PAGE_SIZE + page, Pfn(frame.0 + page));
        }
    }

    /// Where the tables' entry that maps `linear` is, `above` levels above the
    /// last.
    pub fn entry_for(&self, linear: u64, above: u32) -> u64 {
        let mut table = self.root;
        let mut level = self.top_level();
        while level > self.variant.map_shift + 9 * above {
            table = Pfn(self.entry(entry_of(table, linear, level)) / PAGE_SIZE);
            level -= 9;
        }
        entry_of(table, linear, level)
    }

    /// Frames of the kernel's own, one after the other.
    pub fn take(&mut self, frames: u64) -> Pfn {
        let start = Pfn(self.next.0.next_multiple_of(frames));
        self.next = Pfn(start.0 + frames);
        assert!(self.next <= KERNEL.end());
        start
    }

    pub fn root(&self) -> Pfn {
        self.root
    }

    /// log2 of what an entry of the highest table maps.
    fn top_level(&self) -> u32 {
        if self.variant.levels == Levels::Five { 48 } else { 39 }
    }

    const fn direct_map(&self) -> u64 {
        match self.variant.levels {
            Levels::Four => 0xffff_8880_0000_0000,
            Levels::Five => 0xff11_0000_0000_0000,
        }
    }

    /// The array of pointers to section roots: in memory that is not otherwise
    /// used.
    const fn roots(&self) -> u64 {
        self.direct_map() + KERNEL.end().address().0 - PAGE_SIZE
    }

    /// Where frame 0's page structure would be, were its section's like this.
    const fn mem_map(&self, section: u64) -> u64 {
        let base = match self.variant.levels {
            Levels::Four => 0xffff_ea00_0000_0000,
            Levels::Five => 0xffd4_0000_0000_0000,
        };
        // Apart: section n's maps begin n times 1 GiB further on.
        if self.variant.vmemmap { base } else { base + (section << 30) }
    }

    /// Maps memory for all page structures of the RAM in a section.
    fn map_structs(&mut self, section: u64) {
        let (bytes, shift) = (self.variant.page_bytes, self.variant.map_shift);
        let ram: Vec<_> = self.ranges.iter().map(|entry| entry.range).collect();
        for range in ram.iter().filter(|range| range.start.0 / SECTION_FRAMES == section) {
            let start = self.mem_map(section) + range.start.0 * bytes;
            let end = self.mem_map(section) + range.end().0 * bytes;
            for linear in (start >> shift..=(end - 1) >> shift).map(|page| page << shift) {
                if !self.mapped.contains_key(&(linear / PAGE_SIZE)) {
                    let frame = self.take(1 << (shift - 12));
                    self.map(linear, frame, shift);
                }
            }
        }
    }

    fn set(&mut self, frame: Pfn, page_type: u32, references: u32, private: u64) {
        self.set_field(frame, FLAGS, &[0; 8]);
        self.set_field(frame, COMPOUND, &[0; 8]);
        self.set_field(frame, PRIVATE, &private.to_le_bytes());
        self.set_field(frame, PAGE_TYPE, &page_type.to_le_bytes());
        self.set_field(frame, REFERENCES, &references.to_le_bytes());
    }

    fn write_linear(&mut self, linear: u64, bytes: &[u8]) {
        let frame = self.frame_of(linear);
        self.write(frame.address().0 + linear % PAGE_SIZE, bytes);
    }

    fn each(&mut self, range: PageRange, mut set: impl FnMut(&mut Self, Pfn)) {
        for frame in range.start.0..range.end().0 {
            set(self, Pfn(frame));
        }
    }
}

/// Where in a table the entry for `linear` is.
fn entry_of(table: Pfn, linear: u64, level: u32) -> u64 {
    table.address().0 + (linear >> level & 0x1ff) * 8
}

/// The verdicts on the frames of `range`, asked for as the writer asks.
pub fn verdicts(pages: &mut LinuxPages<'_>, range: PageRange) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    while (verdicts.len() as u64) < range.pages {
        let done = verdicts.len() as u64;
        let limit = (range.pages - done).min(256);
        let (verdict, count) = pages.verdict(Pfn(range.start.0 + done), limit);
        assert!((1..=limit).contains(&count), "{count} of {limit} frames");
        verdicts.resize((done + count) as usize, verdict);
    }
    verdicts
}

impl PhysRead for FakeKernel {
    fn page(&self, frame: Pfn) -> &PageBytes {
        static ZEROS: PageBytes = [0; PAGE_SIZE as usize];
        let mapped = self.ranges.iter().any(|entry| entry.range.contains(frame));
        assert!(mapped && !WINDOW.contains(frame), "frame {:#x} was read", frame.0);
        self.frames.get(&frame.0).map_or(&ZEROS, |page| page)
    }
}
