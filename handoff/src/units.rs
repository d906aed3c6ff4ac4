//! Addresses and block numbers as types of their own.

use core::fmt;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes in a page of the old kernel, and in a block of the image.
pub const PAGE_SIZE: u64 = 4096;

/// A physical address, in bytes.
#[repr(transparent)]
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
)]
pub struct PhysAddr(pub u64);

/// A physical page frame number: a physical address divided by [`PAGE_SIZE`].
#[repr(transparent)]
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
)]
pub struct Pfn(pub u64);

/// A logical block number of a device, counted in the device's own blocks
/// (512 or 4096 bytes).
#[repr(transparent)]
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
)]
pub struct Lba(pub u64);

/// A run of page frames: `[start, start + pages)`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct PageRange {
    /// The first frame.
    pub start: Pfn,
    /// How many frames.
    pub pages: u64,
}

impl Pfn {
    /// The frame that holds `address`.
    pub const fn containing(address: PhysAddr) -> Self {
        Self(address.0 / PAGE_SIZE)
    }

    /// The frame's first byte.
    ///
    /// Frame numbers that a validated plan or image names are below
    /// [`PageRange::MAX_PFN`], for which this cannot overflow.
    pub const fn address(self) -> PhysAddr {
        PhysAddr(self.0.wrapping_mul(PAGE_SIZE))
    }
}

impl PageRange {
    /// One past the highest frame number that x86-64 can address (52 bits of
    /// physical address; Intel SDM volume 3, 4.1.4).
    pub const MAX_PFN: u64 = 1 << 40;

    /// A range from its first frame and length.
    pub const fn new(start: u64, pages: u64) -> Self {
        Self { start: Pfn(start), pages }
    }

    /// The whole pages inside the byte range `[start, end)`: partial pages at
    /// either edge are left out, as Linux leaves them out.
    pub const fn inside(start: PhysAddr, end: PhysAddr) -> Self {
        let first = start.0.div_ceil(PAGE_SIZE);
        let past = end.0 / PAGE_SIZE;
        Self { start: Pfn(first), pages: past.saturating_sub(first) }
    }

    /// One past the last frame.
    pub const fn end(&self) -> Pfn {
        Pfn(self.start.0.saturating_add(self.pages))
    }

    /// Whether `frame` is in the range.
    pub const fn contains(&self, frame: Pfn) -> bool {
        frame.0 >= self.start.0 && frame.0 < self.end().0
    }

    /// Whether all of `other` is in the range.
    pub const fn covers(&self, other: &Self) -> bool {
        other.start.0 >= self.start.0 && other.end().0 <= self.end().0
    }

    /// The frames in both ranges, if there are any.
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let start = self.start.max(other.start);
        let end = self.end().min(other.end());
        (start < end).then(|| Self { start, pages: end.0 - start.0 })
    }

    /// The range's length in bytes.
    pub const fn bytes(&self) -> u64 {
        self.pages.saturating_mul(PAGE_SIZE)
    }
}

impl fmt::Display for PhysAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Display for Lba {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Prints the byte range, both ends included, as /proc/iomem does.
impl fmt::Display for PageRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.end().address().0.wrapping_sub(1);
        write!(f, "{:#x}-{:#x}", self.start.address().0, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_pages_at_the_edges_are_left_out() {
        let range = PageRange::inside(PhysAddr(0x1), PhysAddr(0x9fc00));
        assert_eq!(range, PageRange::new(1, 0x9e));
        assert_eq!(PageRange::inside(PhysAddr(0x1001), PhysAddr(0x1fff)).pages, 0);
    }

    #[test]
    fn intersections_are_exact() {
        let a = PageRange::new(10, 10);
        assert_eq!(a.intersection(&PageRange::new(15, 10)), Some(PageRange::new(15, 5)));
        assert_eq!(a.intersection(&PageRange::new(20, 1)), None);
        assert!(a.covers(&PageRange::new(12, 8)));
        assert!(!a.covers(&PageRange::new(12, 9)));
    }
}
