//! From a byte offset in the image to blocks of the device.

use crate::units::Lba;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A run of logical blocks of the target that the image may use.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Extent {
    /// The first block, counted from the start of the whole device.
    pub start: Lba,
    /// How many blocks.
    pub blocks: u64,
}

impl Extent {
    /// One past the last block.
    pub const fn end(&self) -> Lba {
        Lba(self.start.0.saturating_add(self.blocks))
    }

    /// Whether all of `[start, start + blocks)` is in the extent.
    pub const fn covers(&self, start: Lba, blocks: u64) -> bool {
        start.0 >= self.start.0
            && match start.0.checked_add(blocks) {
                Some(end) => end <= self.end().0,
                None => false,
            }
    }
}

/// The extents of one target in image order, as a map from image offsets.
///
/// The image's byte `n` is the `n`-th byte of all extents laid end to end.
#[derive(Clone, Copy, Debug)]
pub struct ExtentMap<'a> {
    extents: &'a [Extent],
    block_size: u64,
}

/// Why a list of extents is not usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtentError {
    /// The block size is neither 512 nor 4096 bytes.
    BlockSize(u32),
    /// The list is empty, or the extent with this index is.
    Empty(usize),
    /// The extent with this index does not begin and end on a page boundary.
    Unaligned(usize),
    /// The extent with this index ends past the device.
    PastEnd(usize),
    /// The extents with these indices share blocks.
    Overlap(usize, usize),
}

impl core::fmt::Display for ExtentError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::BlockSize(size) => write!(f, "block size {size} is neither 512 nor 4096"),
            Self::Empty(i) => write!(f, "extent {i} is empty"),
            Self::Unaligned(i) => write!(f, "extent {i} is not a whole number of 4096-byte pages"),
            Self::PastEnd(i) => write!(f, "extent {i} ends past the end of the device"),
            Self::Overlap(a, b) => write!(f, "extents {a} and {b} share blocks"),
        }
    }
}

impl<'a> ExtentMap<'a> {
    /// A map without a block: there is no target.
    pub const fn none() -> Self {
        Self { extents: &[], block_size: 512 }
    }

    /// Checks the list against the device and makes a map of it.
    ///
    /// Every extent's length must be a whole number of pages, so that no page
    /// of the image is split. (Its start need not be aligned: partitions begin
    /// where they please.)
    pub fn new(
        extents: &'a [Extent],
        block_size: u32,
        device_blocks: u64,
    ) -> Result<Self, ExtentError> {
        if block_size != 512 && block_size != 4096 {
            return Err(ExtentError::BlockSize(block_size));
        }
        if extents.is_empty() {
            return Err(ExtentError::Empty(0));
        }
        let page_blocks = crate::units::PAGE_SIZE / u64::from(block_size);
        for (i, extent) in extents.iter().enumerate() {
            if extent.blocks == 0 {
                return Err(ExtentError::Empty(i));
            }
            if extent.blocks % page_blocks != 0 {
                return Err(ExtentError::Unaligned(i));
            }
            match extent.start.0.checked_add(extent.blocks) {
                // Its last byte can be counted in 64 bits.
                Some(end) if end <= device_blocks.min(u64::MAX / u64::from(block_size)) => {}
                _ => return Err(ExtentError::PastEnd(i)),
            }
            for (j, earlier) in extents[..i].iter().enumerate() {
                if extent.start < earlier.end() && earlier.start < extent.end() {
                    return Err(ExtentError::Overlap(j, i));
                }
            }
        }
        Ok(Self { extents, block_size: u64::from(block_size) })
    }

    /// The extents, in image order.
    pub fn extents(&self) -> &'a [Extent] {
        self.extents
    }

    /// Bytes in a logical block.
    pub fn block_size(&self) -> u64 {
        self.block_size
    }

    /// Bytes that all extents hold.
    pub fn capacity(&self) -> u64 {
        self.extents.iter().map(|e| e.blocks * self.block_size).sum()
    }

    /// The block that holds image byte `offset`, and how many blocks of the
    /// image follow on from it without a gap (itself included).
    ///
    /// `None` if the offset is not on a block boundary or past the end.
    pub fn locate(&self, offset: u64) -> Option<(Lba, u64)> {
        if !offset.is_multiple_of(self.block_size) {
            return None;
        }
        let mut block = offset / self.block_size;
        for extent in self.extents {
            if block < extent.blocks {
                return Some((Lba(extent.start.0 + block), extent.blocks - block));
            }
            block -= extent.blocks;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXTENTS: [Extent; 2] =
        [Extent { start: Lba(2048), blocks: 16 }, Extent { start: Lba(100), blocks: 8 }];

    #[test]
    fn offsets_run_through_the_extents_in_order() {
        let map = ExtentMap::new(&EXTENTS, 512, 4096).unwrap();
        assert_eq!(map.capacity(), 24 * 512);
        assert_eq!(map.locate(0), Some((Lba(2048), 16)));
        assert_eq!(map.locate(15 * 512), Some((Lba(2063), 1)));
        assert_eq!(map.locate(16 * 512), Some((Lba(100), 8)));
        assert_eq!(map.locate(24 * 512), None);
        assert_eq!(map.locate(100), None);
    }

    #[test]
    fn lists_that_could_hurt_a_disk_are_refused() {
        let e = |start, blocks| Extent { start: Lba(start), blocks };
        let new = |list: &[Extent]| ExtentMap::new(list, 512, 1000).map(|_| ()).unwrap_err();
        assert_eq!(new(&[]), ExtentError::Empty(0));
        assert_eq!(new(&[e(0, 7)]), ExtentError::Unaligned(0));
        assert_eq!(new(&[e(996, 8)]), ExtentError::PastEnd(0));
        assert_eq!(new(&[e(u64::MAX, 8)]), ExtentError::PastEnd(0));
        assert_eq!(new(&[e(0, 16), e(8, 8)]), ExtentError::Overlap(0, 1));
    }
}
