//! Where on a disk an image could begin: at its start, or at that of a
//! partition.

use crate::error::Error;
use crate::memory::Buffer;
use crate::stream::Stream;
use alloc::vec::Vec;
use dormouse_drivers::queue::BlockQueue;
use dormouse_handoff::extents::{Extent, ExtentMap};
use dormouse_handoff::partitions::{gpt_entries, gpt_starts, mbr_starts};
use dormouse_handoff::units::{Lba, PAGE_SIZE};

/// Every block of `device` at which an image could begin, the disk's own start
/// first.
pub fn possible_starts(
    device: &mut dyn BlockQueue,
    buffer: &mut Buffer,
) -> Result<Vec<Lba>, Error> {
    let geometry = device.geometry();
    let block = geometry.block_size as usize;
    let page_blocks = PAGE_SIZE / u64::from(geometry.block_size);
    let whole = [Extent { start: Lba(0), blocks: geometry.blocks / page_blocks * page_blocks }];
    let extents = ExtentMap::new(&whole, geometry.block_size, geometry.blocks)?;
    let mut stream = Stream::new(device, extents)?;
    stream.read(0, buffer, 2 * block)?;
    let mut starts: Vec<Lba> = [Lba(0)].into();
    starts.extend(mbr_starts(buffer.bytes()));
    if let Some((first, entry_bytes, count)) = gpt_entries(&buffer.bytes()[block..2 * block]) {
        let bytes = (entry_bytes as usize * count as usize).min(buffer.bytes().len());
        let offset =
            first.0.checked_mul(block as u64).ok_or(Error::OutOfTarget { offset: u64::MAX })?;
        stream.read(offset, buffer, bytes)?;
        starts.extend(gpt_starts(&buffer.bytes()[..bytes], entry_bytes as usize));
    }
    starts.retain(|start| start.0 < geometry.blocks.saturating_sub(page_blocks));
    starts.sort_unstable();
    starts.dedup();
    Ok(starts)
}
