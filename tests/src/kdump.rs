//! makedumpfile's compressed dump, as far as it tells which frames it has
//! (makedumpfile's IMPLEMENTATION file): a header block, a sub-header, a bitmap
//! of the frames that are memory, one of those that were dumped, and a
//! descriptor for each of these.

use dormouse_handoff::units::Pfn;

/// Where in the header its fields are, in bytes.
const BLOCK_SIZE: usize = 428;
const SUB_HEADER_BLOCKS: usize = 432;
const BITMAP_BLOCKS: usize = 436;

/// Bytes of a page's descriptor, which begins with the place of the page's data
/// in the file.
const DESCRIPTOR: usize = 24;

/// Which frames a dump has.
pub struct Dumped {
    memory: Vec<u8>,
    dumped: Vec<u8>,
    zero: Vec<Pfn>,
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
        let dumped = file.get(start + bytes..start + 2 * bytes)?.to_vec();
        let zero = of_zeros(&dumped, file.get(start + 2 * bytes..)?);
        Some(Self { memory: file.get(start..start + bytes)?.to_vec(), dumped, zero })
    }

    /// Whether the dump's maker takes a frame for memory.
    pub fn is_memory(&self, frame: Pfn) -> bool {
        is_set(&self.memory, frame)
    }

    /// Whether the dump has a frame's bytes: not where it leaves the frame out,
    /// nor where, told to, it only says that all are zero.
    pub fn is_dumped(&self, frame: Pfn) -> bool {
        is_set(&self.dumped, frame) && self.zero.binary_search(&frame).is_err()
    }
}

/// The frames of zeros, where the dump's maker was told to leave them out: all
/// share the first page's data. In order.
fn of_zeros(dumped: &[u8], descriptors: &[u8]) -> Vec<Pfn> {
    let frames = (0..dumped.len() as u64 * 8).map(Pfn).filter(|frame| is_set(dumped, *frame));
    let places = descriptors
        .chunks_exact(DESCRIPTOR)
        .map(|descriptor| u64::from_le_bytes(*descriptor.first_chunk().unwrap_or(&[0; 8])));
    let pages: Vec<(Pfn, u64)> = frames.zip(places).collect();
    let first = pages.iter().map(|(_, place)| *place).min();
    let shared = pages.into_iter().filter(|(_, place)| Some(*place) == first);
    let shared: Vec<Pfn> = shared.map(|(frame, _)| frame).collect();
    if shared.len() > 1 { shared } else { Vec::new() }
}

fn is_set(bitmap: &[u8], frame: Pfn) -> bool {
    let byte = bitmap.get((frame.0 / 8) as usize).copied().unwrap_or(0);
    byte >> (frame.0 % 8) & 1 == 1
}
