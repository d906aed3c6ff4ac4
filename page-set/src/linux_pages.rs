//! The page set of a Linux.

use crate::page_struct::{PageLayout, Use};
use crate::readable::{PhysRead, Readable};
use crate::sections::{Section, SectionLayout, Sections};
use crate::translate::{KernelSpace, Levels, LinearAddr, Tables};
use crate::unsupported::Unsupported;
use crate::vmcoreinfo::Vmcoreinfo;
use dormouse_handoff::memory_map::MemoryRange;
use dormouse_handoff::units::{PAGE_SIZE, PageRange, Pfn};
use dormouse_transfer::memory::{PageSet, Verdict};

/// Tells which frames of a Linux need storing.
///
/// Free are the blocks of the page allocator (Linux
/// Documentation/mm/physical_memory.rst). Pages that it has handed to its
/// per-processor lists count as in use: they are few.
pub struct LinuxPages<'a> {
    space: KernelSpace<'a>,
    sections: Sections,
    layout: PageLayout,
    /// The last free block found: verdicts are asked for in parts of it.
    block: PageRange,
    /// The last head of a compound page asked for, and whether it is that of a
    /// broken huge page.
    head: Option<(LinearAddr, bool)>,
    /// The judgement that ended the last run, and its frame: the next run most
    /// likely begins with it.
    ahead: Option<(Pfn, (Verdict, u64))>,
    doubted: u64,
}

impl<'a> LinuxPages<'a> {
    /// The page set of the kernel that wrote `vmcoreinfo`, or why there is none.
    ///
    /// `ranges` is the plan's memory map, ordered and disjoint; what lies
    /// outside it or in `window` is never read.
    pub fn new(
        vmcoreinfo: &[u8],
        ranges: &'a [MemoryRange],
        window: PageRange,
        memory: &'a dyn PhysRead,
    ) -> Result<Self, Unsupported> {
        if vmcoreinfo.is_empty() {
            return Err(Unsupported::NoNote);
        }
        let note = Vmcoreinfo::new(vmcoreinfo);
        note.within("PAGESIZE", PAGE_SIZE..=PAGE_SIZE)?;
        let sections = SectionLayout::told_by(&note)?;
        let layout = PageLayout::told_by(&note, sections.frame_bits())?;
        let readable = Readable::new(memory, ranges, window);
        let mut space = KernelSpace::new(readable, Tables::told_by(&note)?);
        let sections = Sections::find(sections, &mut space)?;
        let block = PageRange::default();
        Ok(Self { space, sections, layout, block, head: None, ahead: None, doubted: 0 })
    }

    /// How many levels of page tables the kernel uses.
    pub const fn levels(&self) -> Levels {
        self.space.levels()
    }

    /// Bytes of a page structure.
    pub const fn page_struct_bytes(&self) -> u64 {
        self.layout.bytes()
    }

    /// How many blocks so far were marked as free, but not believed to be, as
    /// other page structures contradict. A sound kernel has none.
    pub const fn doubted(&self) -> u64 {
        self.doubted
    }

    /// The verdict on `frame` and how many of the `limit` frames from there on
    /// certainly share it.
    fn judge(&mut self, frame: Pfn, limit: u64) -> (Verdict, u64) {
        if !self.block.contains(frame) {
            let (section, left) = self.sections.of(&mut self.space, frame);
            let verdict = match section {
                Section::Unknown => return (Verdict::InUse, left.min(limit)),
                Section::Offline => return (Verdict::Excluded, left.min(limit)),
                Section::Online { mem_map } => {
                    self.judge_page(frame, mem_map).unwrap_or(Verdict::InUse)
                }
            };
            if verdict != Verdict::Free {
                return (verdict, 1);
            }
        }
        (Verdict::Free, (self.block.end().0 - frame.0).min(limit))
    }

    /// The verdict on one frame; where it is free, `self.block` is the block
    /// that it begins. `None` if its page structure cannot be read.
    fn judge_page(&mut self, frame: Pfn, mem_map: LinearAddr) -> Option<Verdict> {
        let address = self.address_of(frame, mem_map);
        let page = self.layout.read(&mut self.space, address)?;
        Some(match page.usage(&self.layout, address)? {
            Use::Poisoned | Use::Offline => Verdict::Excluded,
            Use::TailOf(head) if self.is_broken_huge_page(head) => Verdict::Excluded,
            Use::FreeBlock(order) => {
                let block = PageRange { start: frame, pages: 1 << order };
                if self.is_free(&block, mem_map) == Some(true) {
                    self.block = block;
                    return Some(Verdict::Free);
                }
                self.doubted += 1;
                Verdict::InUse
            }
            Use::Doubtful => {
                self.doubted += 1;
                Verdict::InUse
            }
            Use::TailOf(_) | Use::Other => Verdict::InUse,
        })
    }

    /// Whether all the frames of a block whose first says so are free. The
    /// order is one number in the old kernel's memory; if it were wrong, pages
    /// in use would be lost: so every page structure has to agree.
    fn is_free(&mut self, block: &PageRange, mem_map: LinearAddr) -> Option<bool> {
        if !block.start.0.is_multiple_of(block.pages) || !self.space.memory().is_memory(*block) {
            return Some(false);
        }
        let second = self.address_of(Pfn(block.start.0 + 1), mem_map);
        self.layout.may_all_be_free(&mut self.space, second, block.pages - 1)
    }

    fn is_broken_huge_page(&mut self, head: LinearAddr) -> bool {
        if !self.layout.knows_poison() {
            return false;
        }
        if let Some((last, answer)) = self.head
            && last == head
        {
            return answer;
        }
        let answer = self.layout.is_broken_huge_page(&mut self.space, head).unwrap_or(false);
        self.head = Some((head, answer));
        answer
    }

    fn address_of(&self, frame: Pfn, mem_map: LinearAddr) -> LinearAddr {
        mem_map.plus(frame.0.wrapping_mul(self.layout.bytes()))
    }
}

impl PageSet for LinuxPages<'_> {
    fn verdict(&mut self, from: Pfn, limit: u64) -> (Verdict, u64) {
        let (verdict, pages) = match self.ahead.take() {
            Some((frame, judgement)) if frame == from => judgement,
            _ => self.judge(from, limit),
        };
        let mut pages = pages.min(limit);
        while pages < limit {
            let frame = Pfn(from.0.saturating_add(pages));
            let next = self.judge(frame, limit - pages);
            if next.0 != verdict {
                self.ahead = Some((frame, next));
                break;
            }
            pages += next.1;
        }
        (verdict, pages)
    }
}
