//! Memory maps as the old kernel and as firmware tell them, and whether one
//! fits the other.

use crate::units::{PageRange, Pfn};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A range of the old kernel's memory that belongs into the image.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct MemoryRange {
    /// The frames.
    pub range: PageRange,
    /// What they are: a [`MemoryKind`] as its number.
    pub kind: u32,
    /// Zero.
    pub reserved: u32,
}

/// What a range of physical memory is.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryKind {
    /// "System RAM": saved and put back.
    Ram = 1,
    /// ACPI non-volatile storage (ACPI 6.5 §15): saved and put back.
    AcpiNvs = 4,
}

impl MemoryKind {
    /// The kind with this number, which is the range type of the E820 map
    /// (ACPI 6.5 table 15.1).
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Ram),
            4 => Some(Self::AcpiNvs),
            _ => None,
        }
    }
}

/// Why a memory map cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// There is no range at all.
    Empty,
    /// The range with this index is empty, out of the address space, or of an
    /// unknown kind.
    BadRange(usize),
    /// The range with this index does not begin after its predecessor's end.
    Unordered(usize),
}

impl core::fmt::Display for MapError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Empty => write!(f, "the memory map has no range"),
            Self::BadRange(i) => {
                write!(f, "memory range {i} is empty, too high or of an unknown kind")
            }
            Self::Unordered(i) => {
                write!(f, "memory range {i} overlaps or precedes the one before it")
            }
        }
    }
}

/// Checks that ranges are ordered, disjoint, non-empty and addressable.
pub fn check(ranges: &[MemoryRange]) -> Result<(), MapError> {
    if ranges.is_empty() {
        return Err(MapError::Empty);
    }
    let mut past = Pfn(0);
    for (i, entry) in ranges.iter().enumerate() {
        let range = entry.range;
        let in_bounds =
            range.start.0.checked_add(range.pages).is_some_and(|end| end <= PageRange::MAX_PFN);
        if range.pages == 0 || !in_bounds || MemoryKind::from_number(entry.kind).is_none() {
            return Err(MapError::BadRange(i));
        }
        if range.start < past {
            return Err(MapError::Unordered(i));
        }
        past = range.end();
    }
    Ok(())
}

/// The first part of `needed` that no range of `present` covers, if any.
///
/// `present` must be ordered and disjoint; neighbouring ranges count as one.
pub fn first_missing(
    needed: PageRange,
    present: impl Iterator<Item = PageRange>,
) -> Option<PageRange> {
    let mut start = needed.start;
    for range in present {
        if start >= needed.end() {
            return None;
        }
        if range.end() <= start {
            continue;
        }
        if range.start > start {
            let end = range.start.min(needed.end());
            return Some(PageRange { start, pages: end.0 - start.0 });
        }
        start = range.end();
    }
    (start < needed.end()).then(|| PageRange { start, pages: needed.end().0 - start.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ram(start: u64, pages: u64) -> MemoryRange {
        MemoryRange { range: PageRange::new(start, pages), kind: 1, reserved: 0 }
    }

    #[test]
    fn overlapping_and_wild_ranges_are_refused() {
        assert_eq!(check(&[]), Err(MapError::Empty));
        assert_eq!(check(&[ram(1, 5), ram(5, 1)]), Err(MapError::Unordered(1)));
        assert_eq!(check(&[ram(1, 0)]), Err(MapError::BadRange(0)));
        assert_eq!(check(&[ram(u64::MAX, 2)]), Err(MapError::BadRange(0)));
        assert_eq!(check(&[ram(1, 5), ram(6, 1)]), Ok(()));
    }

    #[test]
    fn the_first_missing_part_is_named() {
        let present = [PageRange::new(0, 10), PageRange::new(10, 5), PageRange::new(20, 5)];
        let missing =
            |start, pages| first_missing(PageRange::new(start, pages), present.into_iter());
        assert_eq!(missing(2, 13), None);
        assert_eq!(missing(14, 3), Some(PageRange::new(15, 2)));
        assert_eq!(missing(14, 8), Some(PageRange::new(15, 5)));
        assert_eq!(missing(24, 4), Some(PageRange::new(25, 3)));
        assert_eq!(missing(30, 1), Some(PageRange::new(30, 1)));
    }
}
