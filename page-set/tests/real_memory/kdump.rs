//! makedumpfile's compressed dump, as far as it tells which frames it has
//! (makedumpfile's IMPLEMENTATION file): a header block, a sub-header, a bitmap
//! of the frames that are memory, and one of those that were dumped.

use dormouse_handoff::units::Pfn;

/// Where in the header its fields are, in bytes.
const BLOCK_SIZE: usize = 428;
const SUB_HEADER_BLOCKS: usize = 432;
const BITMAP_BLOCKS: usize = 436;

pub struct Dumped {
    memory: Vec<u8>,
    dumped: Vec<u8>,
}

impl Dumped {
    pub fn open(path: &str) -> Self {
        let file = std::fs::read(path).expect(path);
        assert_eq!(&file[..8], b"KDUMP   ", "{path} is no compressed dump");
        let field =
            |at: usize| u32::from_le_bytes(*file[at..].first_chunk().expect("a field")) as usize;
        let block = field(BLOCK_SIZE);
        let start = (1 + field(SUB_HEADER_BLOCKS)) * block;
        let bytes = field(BITMAP_BLOCKS) * block / 2;
        Self {
            memory: file[start..start + bytes].to_vec(),
            dumped: file[start + bytes..start + 2 * bytes].to_vec(),
        }
    }

    pub fn is_memory(&self, frame: Pfn) -> bool {
        is_set(&self.memory, frame)
    }

    pub fn is_dumped(&self, frame: Pfn) -> bool {
        is_set(&self.dumped, frame)
    }
}

fn is_set(bitmap: &[u8], frame: Pfn) -> bool {
    let byte = bitmap.get((frame.0 / 8) as usize).copied().unwrap_or(0);
    byte >> (frame.0 % 8) & 1 == 1
}
