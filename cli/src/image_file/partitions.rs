//! Where on a disk an image may begin besides its start.

use super::Source;
use crate::error::{Error, Result};
use crate::target::direct::read_block;
use dormouse_handoff::partitions::{self, gpt_entries};
use dormouse_handoff::units::Lba;

/// The first byte of each partition; none where the disk has no partition
/// table. A file does not tell the size of its disk's blocks: where there is a GPT
/// for blocks of 4096 bytes, they are that large.
pub fn starts(disk: &Source) -> Result<Vec<u64>> {
    let block_size = if has_gpt(disk, 4096)? && !has_gpt(disk, 512)? { 4096 } else { 512 };
    let mut starts = Vec::new();
    let found = |start: Lba| starts.extend(start.0.checked_mul(block_size));
    let read = |at: Lba, block: &mut [u8]| read(disk, at, block);
    partitions::starts::<Error>(block_size as usize, read, found)?;
    Ok(starts)
}

fn has_gpt(disk: &Source, block_size: usize) -> Result<bool> {
    let mut block = vec![0; block_size];
    Ok(read(disk, Lba(1), &mut block)? && gpt_entries(&block).is_some())
}

/// Fills a block with that of the disk; whether the disk has it.
fn read(disk: &Source, at: Lba, block: &mut [u8]) -> Result<bool> {
    read_block(at, block, disk.bytes(), |page| Ok(disk.pages(page, 1)?.remove(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    fn found(bytes: &[u8]) -> Vec<u64> {
        starts(&disk(bytes)).unwrap()
    }

    fn disk(bytes: &[u8]) -> Source {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        Source::open(file.path()).unwrap()
    }

    fn gpt(block: usize, first: u64, last: u64) -> Vec<u8> {
        let mut bytes = vec![0; 64 << 10];
        let header = &mut bytes[block..];
        header[..8].copy_from_slice(b"EFI PART");
        header[72..80].copy_from_slice(&2u64.to_le_bytes());
        header[80..84].copy_from_slice(&4u32.to_le_bytes());
        header[84..88].copy_from_slice(&128u32.to_le_bytes());
        let entry = &mut bytes[2 * block + 128..];
        entry[0] = 1;
        entry[32..40].copy_from_slice(&first.to_le_bytes());
        entry[40..48].copy_from_slice(&last.to_le_bytes());
        bytes
    }

    #[test]
    fn gpt_partitions_are_found_with_either_block_size() {
        assert_eq!(found(&gpt(512, 40, 47)), [40 * 512]);
        assert_eq!(found(&gpt(4096, 5, 6)), [5 * 4096]);
    }

    #[test]
    fn mbr_partitions_are_found() {
        let mut bytes = vec![0; 8192];
        bytes[446 + 4] = 0x83;
        bytes[446 + 8..446 + 12].copy_from_slice(&8u32.to_le_bytes());
        bytes[446 + 12..446 + 16].copy_from_slice(&16u32.to_le_bytes());
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(found(&bytes), [8 * 512]);
    }

    #[test]
    fn a_disk_without_a_table_has_none() {
        assert!(found(&[0; 8192]).is_empty());
        assert!(found(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn any_table_gives_partitions_or_none(
            damage in proptest::collection::vec((512usize..600, any::<u8>()), 0..8),
            entries in proptest::collection::vec((1024usize..2048, any::<u8>()), 0..8),
        ) {
            let mut bytes = gpt(512, 40, 47);
            for (at, value) in damage.into_iter().chain(entries) {
                bytes[at] = value;
            }
            let disk = disk(&bytes);
            for start in starts(&disk).unwrap() {
                prop_assert!(disk.from(start).bytes() <= disk.bytes());
            }
        }
    }
}
