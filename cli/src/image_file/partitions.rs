//! Where on a disk an image may begin besides its start.

use super::Source;
use crate::error::Result;
use dormouse_handoff::partitions::{gpt_entries, gpt_starts, mbr_starts};
use dormouse_handoff::units::{Lba, PAGE_SIZE};
use zerocopy::IntoBytes;

/// The first byte of each partition; none where the disk has no partition
/// table. A file does not tell the size of its disk's blocks, so both are tried.
pub fn starts(disk: &Source) -> Result<Vec<u64>> {
    for block in [512, 4096] {
        let at = |lba: Lba| lba.0.checked_mul(block);
        let Some(header) = read(disk, block, 1)? else { continue };
        let Some((first, entry_bytes, count)) = gpt_entries(&header) else { continue };
        let bytes = u64::from(entry_bytes) * u64::from(count);
        let Some(first) = at(first) else { continue };
        let Some(entries) = read(disk, first, bytes.div_ceil(PAGE_SIZE))? else { continue };
        let entries = &entries[..bytes as usize];
        return Ok(gpt_starts(entries, entry_bytes as usize).filter_map(at).collect());
    }
    let sector = read(disk, 0, 1)?.unwrap_or_default();
    Ok(mbr_starts(&sector).filter_map(|lba| lba.0.checked_mul(512)).collect())
}

/// Whole pages that hold the bytes from `offset` on; `None` where the disk ends
/// before them.
fn read(disk: &Source, offset: u64, pages: u64) -> Result<Option<Vec<u8>>> {
    let skipped = offset % PAGE_SIZE;
    let start = offset - skipped;
    let count = if skipped == 0 { pages } else { pages + 1 };
    let end = count.checked_mul(PAGE_SIZE).and_then(|bytes| start.checked_add(bytes));
    if end.is_none_or(|end| end > disk.bytes()) {
        return Ok(None);
    }
    let pages = disk.pages(start, count)?;
    Ok(Some(pages.as_bytes()[skipped as usize..].to_vec()))
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
