//! The image: what the writer hands to the reader.
//!
//! ```text
//! byte 0      header          512 bytes; carries the state, rewritten alone
//!      4096   attempts        512 bytes; counted before each wake-up
//!      8192   kept page       what the target's first page was (swap header)
//!     12288   jump back       the processor's state and where to jump
//!     16384   plan            the writer's plan, verbatim
//!     64 KiB  log             the writer's log
//!    256 KiB  runs            table: which frames, in which order
//!      …      chunks          table: where their bytes lie, with checksums
//!      …      data            the pages
//! ```
//!
//! Offsets count bytes of the target's extents laid end to end
//! ([`ExtentMap`](crate::extents::ExtentMap)). Both tables are rows of 4 KiB
//! pages, each with its own checksum; their regions are sized for the worst
//! case, which the amount of RAM bounds, so writing is one stream with constant
//! memory. With the codec `raw`, page `n` of the data is the `n`-th stored
//! frame of the runs, so that reading can go in any order.

mod header;
mod table;

pub use header::{
    Attempts, Carried, Codec, Counts, Header, HeaderError, JumpBack, Kind, PlatformState, Section,
    State,
};
pub use table::{
    CHUNK_ENTRIES, Chunk, ENTRY_BYTES, PageHead, RUN_ENTRIES, Run, RunKind, Table, TableEntry,
    TableError, TableRegion, parse_page, seal_page,
};

use crate::plan;
use crate::units::PAGE_SIZE;

/// Bytes that carry the header; it is always rewritten as one logical block.
pub const HEADER_BYTES: usize = 512;

/// Pages of data in a chunk: all but the last chunk have as many.
pub const CHUNK_PAGES: u64 = 256;

/// The largest number of bytes of writer's log that an image holds.
pub const MAX_LOG: u64 = 64 << 10;

/// Where everything lies, from the number of pages that may have to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Region of the run table.
    pub runs: Region,
    /// Region of the chunk table.
    pub chunks: Region,
    /// Region of the data.
    pub data: Region,
}

/// A range of bytes of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// The first byte.
    pub offset: u64,
    /// How many bytes there are room for.
    pub length: u64,
}

impl Region {
    /// One past the last byte.
    pub const fn end(&self) -> u64 {
        self.offset + self.length
    }
}

impl Layout {
    /// Offset of the attempts block.
    pub const ATTEMPTS: u64 = 4096;
    /// Offset of the kept page.
    pub const KEPT_PAGE: u64 = 8192;
    /// Offset of the jump-back state.
    pub const JUMP_BACK: u64 = 12288;
    /// Offset of the plan.
    pub const PLAN: u64 = 16384;
    /// Offset of the writer's log.
    pub const LOG: u64 = 64 << 10;
    /// Offset of the run table.
    pub const RUNS: u64 = 256 << 10;
    /// Alignment of the data region: large enough for every device's taste.
    pub const DATA_ALIGNMENT: u64 = 1 << 20;

    /// The layout for `pages` pages of memory, none of which need be elided.
    ///
    /// `pages` is at most [`PageRange::MAX_PFN`](crate::units::PageRange::MAX_PFN).
    pub const fn for_pages(pages: u64) -> Self {
        // Worst case of runs: every other page is of another kind, so that each
        // page begins a run.
        let run_pages = pages.div_ceil(RUN_ENTRIES as u64);
        let runs = Region { offset: Self::RUNS, length: run_pages * PAGE_SIZE };
        let chunk_pages = pages.div_ceil(CHUNK_PAGES).div_ceil(CHUNK_ENTRIES as u64);
        let chunks = Region { offset: runs.end(), length: chunk_pages * PAGE_SIZE };
        let data = Region {
            offset: chunks.end().next_multiple_of(Self::DATA_ALIGNMENT),
            length: pages * PAGE_SIZE,
        };
        Self { runs, chunks, data }
    }

    /// Bytes that the image may come to need.
    pub const fn total(&self) -> u64 {
        self.data.end()
    }
}

const _: () = assert!(Layout::PLAN + plan::SECTION_BYTES as u64 <= Layout::LOG);
const _: () = assert!(Layout::LOG + MAX_LOG <= Layout::RUNS);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_follow_each_other_for_any_size() {
        for pages in [1, 255, 256, 1 << 18, (16 << 18) + 7, 1 << 40] {
            let layout = Layout::for_pages(pages);
            assert!(layout.runs.end() <= layout.chunks.offset);
            assert!(layout.chunks.end() <= layout.data.offset);
            assert_eq!(layout.total(), layout.data.offset + pages * PAGE_SIZE);
        }
    }

    #[test]
    fn the_tables_of_a_gigabyte_stay_small() {
        let layout = Layout::for_pages(1 << 18);
        assert!(layout.data.offset < 8 << 20);
    }
}
