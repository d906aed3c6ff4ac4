//! Where on a disk an image could begin: at its start, or at that of a
//! partition.

use crate::error::Error;
use crate::memory::Buffer;
use crate::stream::Stream;
use alloc::vec::Vec;
use core::ops::Range;
use dormouse_drivers::queue::BlockQueue;
use dormouse_handoff::extents::{Extent, ExtentMap};
use dormouse_handoff::partitions;
use dormouse_handoff::units::{Lba, PAGE_SIZE};

/// Bytes that are read at once: as much as a GPT's entries take.
const PIECE: u64 = 16 << 10;

/// Every block of `device` at which an image could begin, the disk's own start
/// first.
pub fn possible_starts(
    device: &mut dyn BlockQueue,
    buffer: &mut Buffer,
) -> Result<Vec<Lba>, Error> {
    let geometry = device.geometry();
    let block_size = u64::from(geometry.block_size);
    let page_blocks = PAGE_SIZE / block_size;
    let blocks = geometry.blocks / page_blocks * page_blocks;
    let whole = [Extent { start: Lba(0), blocks }];
    let extents = ExtentMap::new(&whole, geometry.block_size, geometry.blocks)?;
    let mut stream = Stream::new(device, extents)?;
    let mut there: Range<u64> = 0..0;
    let read = |at: Lba, block: &mut [u8]| {
        if at.0 >= blocks {
            return Ok(false);
        }
        if !there.contains(&at.0) {
            let piece = PIECE.min(buffer.bytes().len() as u64) / block_size;
            there = at.0..blocks.min(at.0 + piece);
            let bytes = (there.end - there.start) * block_size;
            stream.read(at.0 * block_size, buffer, bytes as usize)?;
        }
        let offset = ((at.0 - there.start) * block_size) as usize;
        block.copy_from_slice(&buffer.bytes()[offset..][..block.len()]);
        Ok(true)
    };
    let mut starts: Vec<Lba> = [Lba(0)].into();
    partitions::starts(block_size as usize, read, |start| starts.push(start))
        .map_err(|error: Error| error)?;
    starts.retain(|start| start.0 < geometry.blocks.saturating_sub(page_blocks));
    starts.sort_unstable();
    starts.dedup();
    Ok(starts)
}
