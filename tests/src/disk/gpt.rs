//! A GUID partition table with one partition (UEFI 2.10 §5.3).

use super::mbr;
use crate::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

const BLOCK: u64 = 512;
const ENTRIES: u32 = 128;
const ENTRY_BYTES: u32 = 128;
/// Blocks that the entries take.
const ENTRY_BLOCKS: u64 = ENTRIES as u64 * ENTRY_BYTES as u64 / BLOCK;
/// The partition's first block: 1 MiB, where partitioning programs put it.
const FIRST: u64 = 2048;
/// Where the partition begins, in bytes.
pub const PARTITION_START: u64 = FIRST * BLOCK;
/// "Linux swap", in the mixed byte order of the table.
const SWAP_TYPE: [u8; 16] = [
    0x6d, 0xfd, 0x57, 0x06, 0xab, 0xa4, 0xc4, 0x43, 0x84, 0xe5, 0x09, 0x33, 0xc8, 0x4b, 0x4f, 0x4f,
];

/// Writes a table to the disk image `file` whose only partition, of the type
/// for swap, takes all of it but the first and the last MiB.
pub fn write_one_partition(file: &Path) -> Result<(), Error> {
    let tried = || format!("partitioning {}", file.display());
    let disk = File::options().write(true).open(file).map_err(Error::host(tried()))?;
    let blocks = disk.metadata().map_err(Error::host(tried()))?.len() / BLOCK;
    if blocks < 3 * FIRST {
        return Err(Error::verdict(format!("{}: too small for a partition", file.display())));
    }
    let last = blocks - 1;
    let entries = entries(FIRST, blocks - FIRST - 1);
    let write = |block: u64, bytes: &[u8]| {
        disk.write_all_at(bytes, block * BLOCK).map_err(Error::host(tried()))
    };
    write(0, &protective_mbr(last))?;
    write(1, &head(1, last, 2, last, &entries))?;
    write(2, &entries)?;
    write(last - ENTRY_BLOCKS, &entries)?;
    write(last, &head(last, 1, last - ENTRY_BLOCKS, last, &entries))
}

/// One partition that fills the disk, for programs that know no GPT.
fn protective_mbr(last: u64) -> [u8; BLOCK as usize] {
    mbr::record(0xee, 1, u32::try_from(last).unwrap_or(u32::MAX))
}

fn entries(first: u64, last: u64) -> Vec<u8> {
    let mut entries = vec![0; (ENTRIES * ENTRY_BYTES) as usize];
    entries[..16].copy_from_slice(&SWAP_TYPE);
    entries[16..32].copy_from_slice(b"dormouse-test-01");
    entries[32..40].copy_from_slice(&first.to_le_bytes());
    entries[40..48].copy_from_slice(&last.to_le_bytes());
    entries
}

/// The table's head, at block `here`, whose copy is at `copy`, and whose
/// entries begin at `entries_at`.
fn head(here: u64, copy: u64, entries_at: u64, last: u64, entries: &[u8]) -> Vec<u8> {
    const LENGTH: usize = 92;
    let mut head = Vec::with_capacity(LENGTH);
    head.extend(b"EFI PART");
    head.extend(0x0001_0000u32.to_le_bytes());
    head.extend((LENGTH as u32).to_le_bytes());
    head.extend([0; 8]); // its checksum, until it is known; reserved
    for block in [here, copy, 2 + ENTRY_BLOCKS, last - ENTRY_BLOCKS - 1] {
        head.extend(block.to_le_bytes());
    }
    head.extend(b"dormouse-test-00");
    head.extend(entries_at.to_le_bytes());
    head.extend(ENTRIES.to_le_bytes());
    head.extend(ENTRY_BYTES.to_le_bytes());
    head.extend(crc32(entries).to_le_bytes());
    let checksum = crc32(&head);
    head[16..20].copy_from_slice(&checksum.to_le_bytes());
    head.resize(BLOCK as usize, 0);
    head
}

/// CRC-32 as in Ethernet (UEFI 2.10 §5.3.2): bit by bit, for it is done
/// twice.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let carry = 0u32.wrapping_sub(crc & 1);
            crc = crc >> 1 ^ 0xedb8_8320 & carry;
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
