//! Where the partitions of a disk begin: the places besides its own start at
//! which an image may lie.
//!
//! MBR (UEFI 2.10 §5.2.1) and GPT (§5.3), read only as far as to find the
//! starts. What is said there is a place to look, nothing more: an image is
//! recognised by its header.

use crate::units::Lba;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// Most GPT entries that are looked at: what every tool makes.
const MAX_ENTRIES: u32 = 128;

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

/// The starts of an MBR's partitions; none where there is no MBR.
pub fn mbr_starts(first_block: &[u8]) -> impl Iterator<Item = Lba> {
    const SIGNATURE: [u8; 2] = [0x55, 0xaa];
    let is_mbr = first_block.get(510..512) == Some(&SIGNATURE);
    let entries = first_block.get(446..510).filter(|_| is_mbr).unwrap_or(&[]);
    entries
        .chunks_exact(size_of::<MbrEntry>())
        .filter_map(|bytes| MbrEntry::read_from_bytes(bytes).ok())
        .filter(|entry| entry.kind != 0 && entry.first_lba != 0 && entry.blocks != 0)
        .map(|entry| Lba(u64::from(entry.first_lba)))
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

/// The starts of the partitions that these GPT entries of `entry_bytes` name.
pub fn gpt_starts(entries: &[u8], entry_bytes: usize) -> impl Iterator<Item = Lba> {
    entries
        .chunks_exact(entry_bytes.max(size_of::<GptEntry>()))
        .filter_map(|bytes| GptEntry::read_from_prefix(bytes).ok())
        .filter(|(entry, _)| entry.kind != [0; 16])
        .map(|(entry, _)| Lba(entry.first_lba))
        .filter(|start| start.0 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn partitions_of_an_mbr_are_found() {
        let mut block = [0; 512];
        block[510..].copy_from_slice(&[0x55, 0xaa]);
        block[446 + 16 + 4] = 0x82;
        block[446 + 16 + 8..446 + 16 + 12].copy_from_slice(&2048u32.to_le_bytes());
        block[446 + 16 + 12..446 + 16 + 16].copy_from_slice(&4096u32.to_le_bytes());
        assert_eq!(mbr_starts(&block).collect::<Vec<_>>(), [Lba(2048)]);
        block[510] = 0;
        assert_eq!(mbr_starts(&block).count(), 0);
    }

    #[test]
    fn partitions_of_a_gpt_are_found() {
        let mut header = [0; 512];
        header[..8].copy_from_slice(b"EFI PART");
        header[72..80].copy_from_slice(&2u64.to_le_bytes());
        header[80..84].copy_from_slice(&128u32.to_le_bytes());
        header[84..88].copy_from_slice(&128u32.to_le_bytes());
        assert_eq!(gpt_entries(&header), Some((Lba(2), 128, 128)));
        header[84..88].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(gpt_entries(&header), None);
        let mut entries = [0; 512];
        entries[128] = 1;
        entries[128 + 32..128 + 40].copy_from_slice(&6144u64.to_le_bytes());
        assert_eq!(gpt_starts(&entries, 128).collect::<Vec<_>>(), [Lba(6144)]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_them_panic(bytes in proptest::collection::vec(any::<u8>(), 0..1024), size in 0usize..5000) {
            let _ = mbr_starts(&bytes).count();
            let _ = gpt_entries(&bytes);
            let _ = gpt_starts(&bytes, size).count();
        }
    }
}
