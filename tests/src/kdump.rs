//! makedumpfile's compressed dump, as far as it tells which frames it has
//! (makedumpfile's IMPLEMENTATION file): a header block, a sub-header, a bitmap
//! of the frames that are memory, and one of those that were dumped.

use dormouse_handoff::units::Pfn;

/// Where in the header its fields are, in bytes.
const BLOCK_SIZE: usize = 428;
const SUB_HEADER_BLOCKS: usize = 432;
const BITMAP_BLOCKS: usize = 436;

/// Which frames a dump has.
pub struct Dumped {
    memory: Vec<u8>,
    dumped: Vec<u8>,
}

impl Dumped {
    /// Reads a whole dump; `None` if it is none.
    pub fn parse(file: &[u8]) -> Option<Self> {
        let field = |at: usize| {
            let bytes = file.get(at..)?.first_chunk()?;
            usize::try_from(u32::from_le_bytes(*bytes)).ok()
        };
        if !file.starts_with(b"KDUMP   ") {
            return None;
        }
        let block = field(BLOCK_SIZE)?;
        let start = (1 + field(SUB_HEADER_BLOCKS)?) * block;
        let bytes = field(BITMAP_BLOCKS)? * block / 2;
        Some(Self {
            memory: file.get(start..start + bytes)?.to_vec(),
            dumped: file.get(start + bytes..start + 2 * bytes)?.to_vec(),
        })
    }

    /// Whether the dump's maker takes a frame for memory.
    pub fn is_memory(&self, frame: Pfn) -> bool {
        is_set(&self.memory, frame)
    }

    /// Whether the dump has a frame's bytes.
    pub fn is_dumped(&self, frame: Pfn) -> bool {
        is_set(&self.dumped, frame)
    }
}

fn is_set(bitmap: &[u8], frame: Pfn) -> bool {
    let byte = bitmap.get((frame.0 / 8) as usize).copied().unwrap_or(0);
    byte >> (frame.0 % 8) & 1 == 1
}
