//! `struct page`: what the old kernel says of one frame.

use crate::translate::{KernelSpace, LinearAddr};
use crate::unsupported::Unsupported;
use crate::vmcoreinfo::{Vmcoreinfo, if_told};

/// The page type of a page that has none.
const NO_TYPE: u32 = u32::MAX;

/// Bits that all page types share: as a number of mappings they are negative.
const TYPED: u32 = 1 << 31;

/// A compound page's tails have this bit of `compound_head` set.
const IS_TAIL: u64 = 1 << 0;

/// What `compound_head` of a tail is at least if it is a mask: all masks begin
/// with ones, and page structures never lie in the last 2 GiB.
const TAIL_MASKS: u64 = 0xffff_ffff_8000_0000;

/// A page's type, as it stands in the union with `_mapcount`.
///
/// Up to 6.11 the whole word is the type: all ones but for one bit. From 6.12
/// the highest byte is, and the other bits belong to the type's owner. The value
/// shows which: in the second form its other bits are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PageType {
    value: u32,
    mask: u32,
}

impl PageType {
    fn told_by(note: &Vmcoreinfo<'_>, key: &'static str) -> Result<Self, Unsupported> {
        const OWNERS_BITS: u32 = 0x00ff_ffff;
        // Whether the kernel's constant is signed has changed as well.
        let value = note.number(key)? as u32;
        if value & TYPED == 0 || value == NO_TYPE {
            return Err(Unsupported::Value(key));
        }
        let mask = if value & OWNERS_BITS == 0 { !OWNERS_BITS } else { u32::MAX };
        Ok(Self { value, mask })
    }

    const fn is(self, word: u32) -> bool {
        word & self.mask == self.value
    }
}

/// By what the head of a huge page (hugetlbfs) is known.
#[derive(Clone, Copy, Debug)]
enum HugeMark {
    /// From 6.9 by its type.
    Type(PageType),
    /// Up to 6.5 by a number in the page structure after it: at this offset,
    /// this value.
    Destructor { offset: usize, value: u8 },
}

impl HugeMark {
    /// As the note tells; `None` for the kernels between.
    fn told_by(note: &Vmcoreinfo<'_>, page_bytes: u64) -> Result<Option<Self>, Unsupported> {
        let key = "NUMBER(PAGE_HUGETLB_MAPCOUNT_VALUE)";
        if let Some(page_type) = if_told(PageType::told_by(note, key))? {
            return Ok(Some(Self::Type(page_type)));
        }
        let offset = if_told(note.within("OFFSET(page.compound_dtor)", 0..=page_bytes - 1))?;
        let value = if_told(note.within("NUMBER(HUGETLB_PAGE_DTOR)", 1..=0xff))?;
        Ok(offset.zip(value).map(|(offset, value)| Self::Destructor {
            offset: offset as usize,
            value: value as u8,
        }))
    }
}

/// Where in a page structure its fields are, and what their values mean.
#[derive(Clone, Copy, Debug)]
pub struct PageLayout {
    /// `sizeof(struct page)`.
    bytes: u64,
    flags: usize,
    /// `_mapcount`, which is also `page_type`.
    page_type: usize,
    references: usize,
    private: usize,
    /// `compound_head`; `compound_info` from 7.0.
    compound: usize,
    buddy: PageType,
    offline: Option<PageType>,
    /// The flag of a page whose memory is broken, as a mask; 0 where the kernel
    /// does not handle that.
    hwpoison: u64,
    huge: Option<HugeMark>,
    /// How many orders of free blocks there are: the largest has one less.
    orders: u32,
}

impl PageLayout {
    /// As the note tells. `max_order` is the order of a section.
    pub fn told_by(note: &Vmcoreinfo<'_>, max_order: u32) -> Result<Self, Unsupported> {
        let bytes = note.within("SIZE(page)", 32..=512)?;
        if !bytes.is_multiple_of(8) {
            return Err(Unsupported::Value("SIZE(page)"));
        }
        let field = |key, field_bytes| {
            let offset = note.within(key, 0..=bytes - field_bytes)?;
            let aligned = offset.is_multiple_of(field_bytes);
            if aligned { Ok(offset as usize) } else { Err(Unsupported::Value(key)) }
        };
        let compound = match if_told(field("OFFSET(page.compound_info)", 8))? {
            Some(offset) => offset,
            None => field("OFFSET(page.compound_head)", 8)?,
        };
        let hwpoison = if_told(note.within("NUMBER(PG_hwpoison)", 0..=63))?;
        let offline = "NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)";
        Ok(Self {
            bytes,
            flags: field("OFFSET(page.flags)", 8)?,
            page_type: field("OFFSET(page._mapcount)", 4)?,
            references: field("OFFSET(page._refcount)", 4)?,
            private: field("OFFSET(page.private)", 8)?,
            compound,
            buddy: PageType::told_by(note, "NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)")?,
            offline: if_told(PageType::told_by(note, offline))?,
            hwpoison: hwpoison.map_or(0, |bit| 1 << bit),
            huge: HugeMark::told_by(note, bytes)?,
            orders: note.within("LENGTH(zone.free_area)", 1..=u64::from(max_order) + 1)? as u32,
        })
    }

    /// Bytes of a page structure.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the kernel handles broken memory.
    pub const fn knows_poison(&self) -> bool {
        self.hwpoison != 0
    }

    /// The page structure at `address`.
    #[inline]
    pub fn read<'a>(
        &self,
        space: &mut KernelSpace<'a>,
        address: LinearAddr,
    ) -> Option<PageStruct<'a>> {
        if !address.0.is_multiple_of(8) {
            return None;
        }
        let in_page = address.page_offset() as usize;
        let first = space.page(address)?.get(in_page..)?;
        let missing = (self.bytes as usize).saturating_sub(first.len());
        let rest = match missing {
            0 => &[][..],
            _ => space.page(address.plus(first.len() as u64))?.get(..missing)?,
        };
        Some(PageStruct { first, rest })
    }

    /// Whether each of `count` page structures in a row, the first at `address`, may
    /// be one of a free block.
    ///
    /// This is where most of the walk's time goes, as most of memory is free: so what
    /// lies in one page is looked up once.
    pub fn may_all_be_free(
        &self,
        space: &mut KernelSpace<'_>,
        address: LinearAddr,
        count: u64,
    ) -> Option<bool> {
        if !address.0.is_multiple_of(8) {
            return None;
        }
        let (mut address, mut left) = (address, count);
        while left > 0 {
            let row = space.page(address)?.get(address.page_offset() as usize..)?;
            let whole = (row.len() as u64 / self.bytes).min(left);
            let all = if whole == 0 {
                // The one that lies across two pages.
                self.read(space, address)?.may_be_free(self)?
            } else {
                let mut structs = row.chunks_exact(self.bytes as usize).take(whole as usize);
                structs.all(|first| PageStruct { first, rest: &[] }.may_be_free(self) == Some(true))
            };
            if !all {
                return Some(false);
            }
            let looked_at = whole.max(1);
            address = address.plus(looked_at * self.bytes);
            left -= looked_at;
        }
        Some(true)
    }

    /// Whether the head at `address` is that of a huge page with broken memory
    /// in it: only the head is marked then.
    pub fn is_broken_huge_page(
        &self,
        space: &mut KernelSpace<'_>,
        address: LinearAddr,
    ) -> Option<bool> {
        let head = self.read(space, address)?;
        if !head.is_poisoned(self)? {
            return Some(false);
        }
        match self.huge? {
            HugeMark::Type(page_type) => Some(page_type.is(head.page_type(self)?)),
            HugeMark::Destructor { offset, value } => {
                let [number] = self.read(space, address.plus(self.bytes))?.field(offset)?;
                Some(number == value)
            }
        }
    }
}

/// What a page structure says its frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// The first of a block of free frames of this order.
    FreeBlock(u32),
    /// It is marked as that, but cannot be.
    Doubtful,
    /// Given back to the hypervisor, or never brought online.
    Offline,
    /// Its memory is broken.
    Poisoned,
    /// Part of a larger page whose head's structure lies there.
    TailOf(LinearAddr),
    /// Something else.
    Other,
}

/// A page structure's bytes: they may lie across two pages.
#[derive(Clone, Copy)]
pub struct PageStruct<'a> {
    first: &'a [u8],
    rest: &'a [u8],
}

impl PageStruct<'_> {
    /// What the frame is; `address` is where the structure lies.
    pub fn usage(&self, layout: &PageLayout, address: LinearAddr) -> Option<Use> {
        let page_type = self.page_type(layout)?;
        if self.is_poisoned(layout)? {
            return Some(Use::Poisoned);
        }
        if layout.buddy.is(page_type) {
            let order = self.word(layout.private)?;
            let plausible = order < u64::from(layout.orders) && self.references(layout)? == 0;
            return Some(if plausible { Use::FreeBlock(order as u32) } else { Use::Doubtful });
        }
        if layout.offline.is_some_and(|offline| offline.is(page_type)) {
            return Some(Use::Offline);
        }
        Some(match self.word(layout.compound)? {
            tail if tail & IS_TAIL == 0 => Use::Other,
            mask if mask >= TAIL_MASKS => Use::TailOf(LinearAddr(address.0 & mask)),
            pointer => Use::TailOf(LinearAddr(pointer & !IS_TAIL)),
        })
    }

    /// Whether the frame may be one of a free block, but for the first: nobody
    /// refers to it, it has no type, and it is no part of a larger page.
    #[inline]
    pub fn may_be_free(&self, layout: &PageLayout) -> Option<bool> {
        Some(
            self.references(layout)? == 0
                && self.page_type(layout)? == NO_TYPE
                && self.word(layout.compound)? & IS_TAIL == 0
                && !self.is_poisoned(layout)?,
        )
    }

    #[inline]
    fn is_poisoned(&self, layout: &PageLayout) -> Option<bool> {
        Some(self.word(layout.flags)? & layout.hwpoison != 0)
    }

    fn page_type(&self, layout: &PageLayout) -> Option<u32> {
        self.field(layout.page_type).map(u32::from_le_bytes)
    }

    fn references(&self, layout: &PageLayout) -> Option<u32> {
        self.field(layout.references).map(u32::from_le_bytes)
    }

    fn word(&self, offset: usize) -> Option<u64> {
        self.field(offset).map(u64::from_le_bytes)
    }

    /// A field. As all are aligned, none lies across two pages.
    fn field<const BYTES: usize>(&self, offset: usize) -> Option<[u8; BYTES]> {
        let piece = match self.first.get(offset..) {
            Some(piece) if !piece.is_empty() => piece,
            _ => self.rest.get(offset - self.first.len()..)?,
        };
        piece.first_chunk().copied()
    }
}
