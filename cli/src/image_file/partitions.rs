//! Where partitions lie on a disk, as far as finding an image needs: GPT (UEFI
//! 2.10 §5.3) and the four primary entries of an MBR.

use super::Source;
use crate::error::Result;
use dormouse_handoff::units::PAGE_SIZE;
use std::ops::Range;
use zerocopy::IntoBytes;

/// Most entries of a GPT that are looked at.
const MAX_ENTRIES: u64 = 256;

/// The bytes of each partition; none where the disk has no partition table.
pub fn list(disk: &Source) -> Result<Vec<Range<u64>>> {
    for block in [512, 4096] {
        let Some(table) = read(disk, block, 1)?.and_then(|bytes| Gpt::parse(&bytes, block)) else {
            continue;
        };
        let bytes = table.entries.checked_mul(table.entry_bytes).unwrap_or(0);
        let Some(entries) = read(disk, table.start, bytes.div_ceil(PAGE_SIZE))? else { continue };
        let entries = entries.chunks_exact(table.entry_bytes as usize);
        let entries = entries.take(table.entries as usize);
        return Ok(entries.filter_map(|entry| gpt_entry(entry, block)).collect());
    }
    let sector = read(disk, 0, 1)?.unwrap_or_default();
    Ok(mbr_entries(&sector))
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

/// Where a GPT keeps its entries.
struct Gpt {
    /// First byte of the entries.
    start: u64,
    entries: u64,
    entry_bytes: u64,
}

impl Gpt {
    fn parse(header: &[u8], block: u64) -> Option<Self> {
        if !header.starts_with(b"EFI PART") {
            return None;
        }
        let entries = u64::from(u32_at(header, 80)?).min(MAX_ENTRIES);
        let entry_bytes = u64::from(u32_at(header, 84)?);
        let start = u64_at(header, 72)?.checked_mul(block)?;
        (128..=4096).contains(&entry_bytes).then_some(Self { start, entries, entry_bytes })
    }
}

fn gpt_entry(entry: &[u8], block: u64) -> Option<Range<u64>> {
    let unused = entry.get(..16)?.iter().all(|byte| *byte == 0);
    let (first, last) = (u64_at(entry, 32)?, u64_at(entry, 40)?);
    if unused || last < first {
        return None;
    }
    Some(first.checked_mul(block)?..last.checked_add(1)?.checked_mul(block)?)
}

fn mbr_entries(sector: &[u8]) -> Vec<Range<u64>> {
    if sector.get(510..512) != Some(&[0x55, 0xaa]) {
        return Vec::new();
    }
    let entries = sector[446..510].chunks_exact(16);
    entries
        .filter_map(|entry| {
            let (start, sectors) = (u32_at(entry, 8)?, u32_at(entry, 12)?);
            let bytes = |sectors: u32| u64::from(sectors) * 512;
            (entry[4] != 0 && sectors != 0).then(|| bytes(start)..bytes(start) + bytes(sectors))
        })
        .collect()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    /// The first and last byte of each partition.
    fn found(bytes: &[u8]) -> Vec<(u64, u64)> {
        let list = list(&disk(bytes)).unwrap();
        list.into_iter().map(|range| (range.start, range.end - 1)).collect()
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
        assert_eq!(found(&gpt(512, 40, 47)), [(40 * 512, 48 * 512 - 1)]);
        assert_eq!(found(&gpt(4096, 5, 6)), [(5 * 4096, 7 * 4096 - 1)]);
    }

    #[test]
    fn mbr_partitions_are_found() {
        let mut bytes = vec![0; 8192];
        bytes[446 + 4] = 0x83;
        bytes[446 + 8..446 + 12].copy_from_slice(&8u32.to_le_bytes());
        bytes[446 + 12..446 + 16].copy_from_slice(&16u32.to_le_bytes());
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(found(&bytes), [(8 * 512, 24 * 512 - 1)]);
    }

    #[test]
    fn a_disk_without_a_table_has_none() {
        assert_eq!(found(&[0; 8192]), []);
        assert_eq!(found(&[]), []);
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
            for range in list(&disk).unwrap() {
                prop_assert!(disk.part(range).bytes() <= disk.bytes());
            }
        }
    }
}
