//! Master boot records (UEFI 2.10 §5.2.1), and a disk whose only partition is a logical
//! one, in an extended partition: as Debian's installer lays swap out on machines with a
//! BIOS.

use super::PARTITION_START;
use crate::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

const BLOCK: u64 = 512;
/// The extended partition's first block, with its boot record.
const EXTENDED: u64 = 63;
/// Types of partitions.
const EXTENDED_TYPE: u8 = 0x05;
const SWAP_TYPE: u8 = 0x82;

/// Writes the records of a logical partition, of the type for swap, that takes all
/// of the disk image `file` but the first and the last MiB.
pub fn write_one_logical_partition(file: &Path) -> Result<(), Error> {
    let tried = || format!("partitioning {}", file.display());
    let disk = File::options().write(true).open(file).map_err(Error::host(tried()))?;
    let bytes = disk.metadata().map_err(Error::host(tried()))?.len();
    let end = bytes.saturating_sub(PARTITION_START) / BLOCK;
    let first = PARTITION_START / BLOCK;
    if end <= first {
        return Err(Error::verdict(format!("{}: too small for a partition", file.display())));
    }
    for (at, kind, start, blocks) in [
        (0, EXTENDED_TYPE, EXTENDED, end - EXTENDED),
        // Counted from the record that it is in.
        (EXTENDED, SWAP_TYPE, first - EXTENDED, end - first),
    ] {
        let block = record(kind, start as u32, blocks as u32);
        disk.write_all_at(&block, at * BLOCK).map_err(Error::host(tried()))?;
    }
    Ok(())
}

/// A boot record with one entry.
pub fn record(kind: u8, start: u32, blocks: u32) -> [u8; BLOCK as usize] {
    let mut block = [0; BLOCK as usize];
    let entry = &mut block[446..462];
    entry[4] = kind;
    entry[8..12].copy_from_slice(&start.to_le_bytes());
    entry[12..].copy_from_slice(&blocks.to_le_bytes());
    block[510..].copy_from_slice(&[0x55, 0xaa]);
    block
}
