//! Where the partitions of a disk begin: the places besides its own start at
//! which an image may lie.
//!
//! MBR (UEFI 2.10 §5.2.1), extended partitions and GPT (§5.3), read only as far as to
//! find the starts. What is said there is a place to look, nothing more: an image is
//! recognised by its header.

use crate::units::Lba;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// Most GPT entries that are looked at: what every tool makes.
const MAX_ENTRIES: u32 = 128;

/// Partitions that an MBR has room for.
const MBR_ENTRIES: usize = 4;

/// Most records of an extended partition that are followed: as many as Linux does
/// (block/partitions/msdos.c).
const MAX_RECORDS: usize = 100;

/// Bytes of the largest block.
const LARGEST_BLOCK: usize = 4096;

#[repr(C, packed)]
#[derive(FromBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
struct MbrEntry {
    boot: u8,
    first_chs: [u8; 3],
    kind: u8,
    last_chs: [u8; 3],
    first_lba: u32,
    blocks: u32,
}

#[repr(C, packed)]
#[derive(FromBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
struct GptHeader {
    signature: [u8; 8],
    revision: u32,
    header_bytes: u32,
    header_crc: u32,
    reserved: u32,
    my_lba: u64,
    alternate_lba: u64,
    first_usable_lba: u64,
    last_usable_lba: u64,
    disk_guid: [u8; 16],
    entries_lba: u64,
    entry_count: u32,
    entry_bytes: u32,
    entries_crc: u32,
}

#[repr(C, packed)]
#[derive(FromBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
struct GptEntry {
    kind: [u8; 16],
    id: [u8; 16],
    first_lba: u64,
    last_lba: u64,
}

impl MbrEntry {
    /// Whether it is an extended partition, by the types that Linux takes for one
    /// (include/linux/msdos_partition.h).
    fn is_extended(&self) -> bool {
        matches!(self.kind, 0x05 | 0x0f | 0x85)
    }

    /// Where it begins, counted from `base`.
    fn start(&self, base: Lba) -> Option<Lba> {
        base.0.checked_add(u64::from(self.first_lba)).map(Lba)
    }
}

/// Tells `found` where the partitions of a disk begin, in no order, by its MBR, its
/// extended partitions and its GPT. `read` fills a block with that of the disk, and
/// says whether the disk has it.
///
/// # Errors
/// Those of `read`.
pub fn starts<E>(
    block_size: usize,
    mut read: impl FnMut(Lba, &mut [u8]) -> Result<bool, E>,
    mut found: impl FnMut(Lba),
) -> Result<(), E> {
    let mut space = [0; LARGEST_BLOCK];
    let Some(block) = space.get_mut(..block_size) else { return Ok(()) };
    if read(Lba(0), block)? {
        let mut extended = [None; MBR_ENTRIES];
        for (entry, room) in mbr_entries(block).zip(&mut extended) {
            let start = entry.start(Lba(0));
            start.into_iter().for_each(&mut found);
            *room = start.filter(|_| entry.is_extended());
        }
        for extended in extended.into_iter().flatten() {
            logical_starts(extended, block, &mut read, &mut found)?;
        }
    }
    if read(Lba(1), block)?
        && let Some((first, entry_bytes, count)) = gpt_entries(block)
    {
        gpt_starts(first, entry_bytes.into(), count.into(), block, read, found)?;
    }
    Ok(())
}

/// The partitions in an extended one: a chain of records, each with a partition,
/// counted from the record, and the next record, counted from the extended partition.
fn logical_starts<E>(
    extended: Lba,
    block: &mut [u8],
    read: &mut impl FnMut(Lba, &mut [u8]) -> Result<bool, E>,
    found: &mut impl FnMut(Lba),
) -> Result<(), E> {
    let mut next = Some(extended);
    for _ in 0..MAX_RECORDS {
        let Some(record) = next.take() else { break };
        if !read(record, block)? {
            break;
        }
        for entry in mbr_entries(block) {
            match entry.is_extended() {
                true => next = next.or(entry.start(extended)),
                false => entry.start(record).into_iter().for_each(&mut *found),
            }
        }
    }
    Ok(())
}

/// The partitions that the GPT's entries name, `count` of `entry_bytes` from block
/// `first` on.
fn gpt_starts<E>(
    first: Lba,
    entry_bytes: u64,
    count: u64,
    block: &mut [u8],
    mut read: impl FnMut(Lba, &mut [u8]) -> Result<bool, E>,
    mut found: impl FnMut(Lba),
) -> Result<(), E> {
    let block_size = block.len() as u64;
    let mut there = None;
    for offset in (0..count).map(|number| number * entry_bytes) {
        let Some(at) = first.0.checked_add(offset / block_size).map(Lba) else { break };
        if there != Some(at) && !read(at, block)? {
            break;
        }
        there = Some(at);
        let entry = block.get((offset % block_size) as usize..).unwrap_or_default();
        let Ok((entry, _)) = GptEntry::read_from_prefix(entry) else { break };
        if entry.kind != [0; 16] && { entry.first_lba } != 0 {
            found(Lba(entry.first_lba));
        }
    }
    Ok(())
}

/// The partitions of an MBR, or of a record in an extended partition; none where
/// there is no record.
fn mbr_entries(block: &[u8]) -> impl Iterator<Item = MbrEntry> + use<> {
    const SIGNATURE: [u8; 2] = [0x55, 0xaa];
    let is_record = block.get(510..512) == Some(&SIGNATURE);
    let entries = block.get(446..510).filter(|_| is_record);
    let entries = entries.and_then(|bytes| <[MbrEntry; MBR_ENTRIES]>::read_from_bytes(bytes).ok());
    let is_used = |entry: &MbrEntry| entry.kind != 0 && entry.first_lba != 0 && entry.blocks != 0;
    entries.into_iter().flatten().filter(is_used)
}

/// Where a GPT's entries lie, and their size in bytes and number; `None` where
/// there is no GPT header.
pub fn gpt_entries(second_block: &[u8]) -> Option<(Lba, u32, u32)> {
    let (header, _) = GptHeader::read_from_prefix(second_block).ok()?;
    let sane = header.signature == *b"EFI PART"
        && (128..=4096).contains(&{ header.entry_bytes })
        && header.entry_bytes.is_power_of_two();
    sane.then_some((
        Lba(header.entries_lba),
        header.entry_bytes,
        header.entry_count.min(MAX_ENTRIES),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The starts on a disk with these contents, in blocks of this size.
    fn found(disk: &[u8], block_size: usize) -> Vec<u64> {
        let mut all = Vec::new();
        let mut reads = 0;
        let read = |at: Lba, block: &mut [u8]| {
            reads += 1;
            let start = usize::try_from(at.0).ok().and_then(|at| at.checked_mul(block_size));
            let bytes = start.and_then(|start| disk.get(start..)?.get(..block_size));
            bytes.into_iter().for_each(|bytes| block.copy_from_slice(bytes));
            Ok::<bool, ()>(bytes.is_some())
        };
        starts(block_size, read, |start| all.push(start.0)).unwrap();
        assert!(reads <= 2 + MBR_ENTRIES * MAX_RECORDS + MAX_ENTRIES as usize);
        all
    }

    fn put(disk: &mut [u8], block: usize, entry: usize, kind: u8, first: u32) {
        let block = &mut disk[block * 512..][..512];
        block[510..].copy_from_slice(&[0x55, 0xaa]);
        let entry = &mut block[446 + entry * 16..][..16];
        entry[4] = kind;
        entry[8..12].copy_from_slice(&first.to_le_bytes());
        entry[12..16].copy_from_slice(&4096u32.to_le_bytes());
    }

    #[test]
    fn partitions_of_an_mbr_are_found() {
        let mut disk = [0; 1024];
        put(&mut disk, 0, 1, 0x82, 2048);
        assert_eq!(found(&disk, 512), [2048]);
        disk[510] = 0;
        assert_eq!(found(&disk, 512).len(), 0);
    }

    #[test]
    fn partitions_in_an_extended_one_are_found() {
        for kind in [0x05, 0x0f, 0x85] {
            let mut disk = [0; 64 * 512];
            put(&mut disk, 0, 0, 0x83, 2048);
            put(&mut disk, 0, 1, kind, 10);
            // The partition counts from its record, the next record from the first.
            put(&mut disk, 10, 0, 0x82, 2);
            put(&mut disk, 10, 1, 0x05, 20);
            put(&mut disk, 30, 0, 0x83, 3);
            put(&mut disk, 30, 1, 0x05, 40);
            put(&mut disk, 50, 0, 0x83, 4);
            assert_eq!(found(&disk, 512), [2048, 10, 12, 33, 54]);
        }
    }

    #[test]
    fn a_chain_of_records_that_bites_its_tail_comes_to_an_end() {
        let mut disk = [0; 64 * 512];
        put(&mut disk, 0, 0, 0x05, 10);
        put(&mut disk, 10, 0, 0x05, 20);
        put(&mut disk, 30, 0, 0x05, 20);
        assert_eq!(found(&disk, 512), [10]);
    }

    #[test]
    fn partitions_of_a_gpt_are_found() {
        for block_size in [512, 4096] {
            let mut disk = vec![0; 40 * block_size];
            let header = &mut disk[block_size..];
            header[..8].copy_from_slice(b"EFI PART");
            header[72..80].copy_from_slice(&2u64.to_le_bytes());
            header[80..84].copy_from_slice(&128u32.to_le_bytes());
            header[84..88].copy_from_slice(&128u32.to_le_bytes());
            assert_eq!(gpt_entries(header), Some((Lba(2), 128, 128)));
            for (number, start) in [(1, 6144u64), (127, 8192)] {
                let entry = &mut disk[2 * block_size + number * 128..];
                entry[0] = 1;
                entry[32..40].copy_from_slice(&start.to_le_bytes());
            }
            assert_eq!(found(&disk, block_size), [6144, 8192]);
            let header = &mut disk[block_size..];
            header[84..88].copy_from_slice(&u32::MAX.to_le_bytes());
            assert_eq!(gpt_entries(header), None);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_them_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..1024),
            kinds in proptest::collection::vec((0usize..16, 0usize..4, any::<u8>(), 0u32..20), 0..32),
            size in 0usize..5000,
        ) {
            let _ = gpt_entries(&bytes);
            let mut disk = vec![0; 16 * 512];
            disk[..bytes.len()].copy_from_slice(&bytes);
            for (block, entry, kind, first) in kinds {
                put(&mut disk, block, entry, kind, first);
            }
            let _ = found(&disk, 512);
            let _ = found(&disk, size.max(1));
        }
    }
}
