//! The two tables: runs of frames, and chunks of data.
//!
//! A table is a row of 4 KiB pages. Each begins with a [`PageHead`] that holds
//! the page's own checksum, its place in the table and how many entries follow.

use super::Region;
use crate::checksum::Seed;
use crate::units::{PAGE_SIZE, PageRange, Pfn};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes for entries in a table page.
pub const ENTRY_BYTES: usize = PAGE_SIZE as usize - size_of::<PageHead>();

/// Runs in a full page.
pub const RUN_ENTRIES: usize = ENTRY_BYTES / size_of::<Run>();

/// Chunks in a full page.
pub const CHUNK_ENTRIES: usize = ENTRY_BYTES / size_of::<Chunk>();

const _: () = assert!(RUN_ENTRIES == 254 && CHUNK_ENTRIES == 127);

/// Which table a page belongs to.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// The run table.
    Runs = u32::from_le_bytes(*b"RUNS"),
    /// The chunk table.
    Chunks = u32::from_le_bytes(*b"CHNK"),
}

/// The part of a table's region that is used.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct TableRegion {
    /// Pages used.
    pub pages: u64,
    /// Entries in all of them.
    pub entries: u64,
}

impl TableRegion {
    /// Whether the used part is within the region.
    pub const fn fits(&self, region: Region) -> bool {
        self.pages <= region.length / PAGE_SIZE
    }
}

/// What every table page begins with.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct PageHead {
    /// Checksum (seeded by the image) of the rest of the page.
    pub checksum: u64,
    /// The page's place in its table, from 0.
    pub sequence: u64,
    /// A [`Table`] as its number.
    pub table: u32,
    /// Entries in this page.
    pub entries: u32,
    /// Zero.
    pub reserved: u64,
}

/// What became of a run of frames.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunKind {
    /// Stored: the next `pages` pages of the data.
    Stored = 1,
    /// Every byte is zero.
    Zero = 2,
    /// Free in the old kernel: the contents do not matter.
    Free = 3,
    /// Not to be touched.
    Excluded = 4,
    /// The window: its contents come back by the jump.
    Window = 5,
}

impl RunKind {
    /// The kind with this number.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Stored),
            2 => Some(Self::Zero),
            3 => Some(Self::Free),
            4 => Some(Self::Excluded),
            5 => Some(Self::Window),
            _ => None,
        }
    }

    /// The kind's name in messages and in `--json`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Zero => "zero",
            Self::Free => "free",
            Self::Excluded => "excluded",
            Self::Window => "window",
        }
    }
}

/// A run of frames that met the same fate.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Run {
    /// The first frame.
    pub start: Pfn,
    /// How many frames, at least one.
    pub pages: u32,
    /// A [`RunKind`] as its number.
    pub kind: u32,
}

impl Run {
    /// The frames.
    pub const fn range(&self) -> PageRange {
        PageRange { start: self.start, pages: self.pages as u64 }
    }
}

/// A piece of the data with its checksum.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Chunk {
    /// Bytes from the start of the data region.
    pub offset: u64,
    /// Checksum (seeded by the image) of the pages as they are in memory.
    pub checksum: u64,
    /// Bytes on disk.
    pub length: u32,
    /// Pages in memory.
    pub pages: u32,
    /// A [`Codec`](super::Codec) as its number.
    pub codec: u32,
    /// Zero.
    pub reserved: u32,
}

/// An entry of one of the tables.
pub trait TableEntry: FromBytes + IntoBytes + KnownLayout + Immutable + Copy {
    /// The table that has such entries.
    const TABLE: Table;
}

impl TableEntry for Run {
    const TABLE: Table = Table::Runs;
}

impl TableEntry for Chunk {
    const TABLE: Table = Table::Chunks;
}

/// Why a table page is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableError {
    /// Not a whole page.
    Truncated,
    /// The checksum does not match.
    Checksum {
        /// The page's place in its table.
        sequence: u64,
    },
    /// A page of the other table, or from another place.
    Misplaced {
        /// The page's place in its table.
        sequence: u64,
    },
    /// More entries than a page holds.
    Entries(u32),
}

impl core::fmt::Display for TableError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Truncated => write!(f, "the table ends inside a page"),
            Self::Checksum { sequence } => {
                write!(f, "table page {sequence}: the checksum does not match")
            }
            Self::Misplaced { sequence } => {
                write!(f, "table page {sequence}: it belongs to another place")
            }
            Self::Entries(n) => write!(f, "a table page claims {n} entries"),
        }
    }
}

/// Makes `page`, whose entries from byte 32 on are filled in, the
/// `sequence`-th page of its table.
pub fn seal_page<E: TableEntry>(page: &mut [u8; 4096], seed: Seed, sequence: u64, entries: usize) {
    let mut head = PageHead {
        checksum: 0,
        sequence,
        table: E::TABLE as u32,
        entries: entries as u32,
        reserved: 0,
    };
    page[..32].copy_from_slice(head.as_bytes());
    head.checksum = seed.checksum(&page[8..]);
    page[..8].copy_from_slice(&head.checksum.to_le_bytes());
}

/// Checks that `page` is the `sequence`-th of its table; its entries.
///
/// `page` must be aligned to 8.
pub fn parse_page<E: TableEntry>(
    page: &[u8],
    seed: Seed,
    sequence: u64,
) -> Result<&[E], TableError> {
    if page.len() != PAGE_SIZE as usize {
        return Err(TableError::Truncated);
    }
    let (head, body) = PageHead::ref_from_prefix(page).map_err(|_| TableError::Truncated)?;
    if head.checksum != seed.checksum(&page[8..]) {
        return Err(TableError::Checksum { sequence });
    }
    if head.table != E::TABLE as u32 || head.sequence != sequence {
        return Err(TableError::Misplaced { sequence });
    }
    let entries = <[E]>::ref_from_prefix_with_elems(body, head.entries as usize)
        .map_err(|_| TableError::Entries(head.entries))?;
    Ok(entries.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(align(8))]
    struct Aligned([u8; 4096]);

    fn page() -> (Aligned, Seed) {
        let seed = Seed::of(&[9; 16]);
        let mut page = Aligned([0; 4096]);
        let runs = [
            Run { start: Pfn(1), pages: 158, kind: RunKind::Stored as u32 },
            Run { start: Pfn(256), pages: 7, kind: RunKind::Zero as u32 },
        ];
        page.0[32..32 + 32].copy_from_slice(runs.as_bytes());
        seal_page::<Run>(&mut page.0, seed, 4, 2);
        (page, seed)
    }

    #[test]
    fn entries_come_back() {
        let (page, seed) = page();
        let runs = parse_page::<Run>(&page.0, seed, 4).unwrap();
        assert_eq!(runs.len(), 2);
        assert_eq!(runs[1].range(), PageRange::new(256, 7));
    }

    #[test]
    fn a_page_from_elsewhere_is_refused() {
        let (page, seed) = page();
        assert_eq!(parse_page::<Run>(&page.0, seed, 5), Err(TableError::Misplaced { sequence: 5 }));
        assert_eq!(
            parse_page::<Chunk>(&page.0, seed, 4),
            Err(TableError::Misplaced { sequence: 4 })
        );
        let other = Seed::of(&[8; 16]);
        assert_eq!(parse_page::<Run>(&page.0, other, 4), Err(TableError::Checksum { sequence: 4 }));
    }

    #[test]
    fn damage_anywhere_is_noticed() {
        let (page, seed) = page();
        // Miri is slow.
        for at in (0..4096).step_by(if cfg!(miri) { 397 } else { 1 }) {
            let mut damaged = Aligned(page.0);
            damaged.0[at] ^= 0x40;
            assert!(parse_page::<Run>(&damaged.0, seed, 4).is_err(), "byte {at}");
        }
    }
}
