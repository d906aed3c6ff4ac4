//! Where PCI's configuration space lies: the MCFG table (PCI Firmware 3.3
//! §4.1.2).

use crate::table::Table;
use dormouse_handoff::plan::Ecam;
use dormouse_handoff::units::PhysAddr;

/// Bytes between the table's header and its first entry.
const RESERVED: usize = 8;

/// Bytes of an entry: base, segment, first and last bus, four reserved.
const ENTRY: usize = 16;

/// The regions that an MCFG table names, up to `regions`' length; how many.
/// What makes no sense is left out; a damaged table names none.
pub fn ecam_regions(mcfg: &[u8], regions: &mut [Ecam]) -> usize {
    let Ok(table) = Table::parse(mcfg, &[*b"MCFG"]) else { return 0 };
    let entries = table.body().get(RESERVED..).unwrap_or(&[]).as_chunks::<ENTRY>().0;
    entries
        .iter()
        .map(|entry| {
            let [b0, b1, b2, b3, b4, b5, b6, b7, s0, s1, first_bus, last_bus, ..] = *entry;
            Ecam {
                base: PhysAddr(u64::from_le_bytes([b0, b1, b2, b3, b4, b5, b6, b7])),
                segment: u16::from_le_bytes([s0, s1]),
                first_bus,
                last_bus,
                reserved: 0,
            }
        })
        .filter(Ecam::is_usable)
        .zip(regions)
        .map(|(region, room)| *room = region)
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(entries: &[[u8; ENTRY]]) -> Vec<u8> {
        let mut table = vec![0; 44];
        table[..4].copy_from_slice(b"MCFG");
        table.extend_from_slice(entries.as_flattened());
        let length = table.len() as u32;
        table[4..8].copy_from_slice(&length.to_le_bytes());
        let sum = table.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        table[9] = sum.wrapping_neg();
        table
    }

    fn entry(base: u64, segment: u16, first_bus: u8, last_bus: u8) -> [u8; ENTRY] {
        let mut entry = [0; ENTRY];
        entry[..8].copy_from_slice(&base.to_le_bytes());
        entry[8..10].copy_from_slice(&segment.to_le_bytes());
        (entry[10], entry[11]) = (first_bus, last_bus);
        entry
    }

    #[test]
    fn regions_are_taken_where_they_make_sense() {
        let bytes = table(&[
            entry(0xb000_0000, 0, 0, 255),
            entry(0, 1, 0, 255),
            entry(0x80_0000_0000, 0x1234, 0x20, 0x3f),
        ]);
        let mut regions = [Ecam::default(); 4];
        assert_eq!(ecam_regions(&bytes, &mut regions), 2);
        assert_eq!(regions[0].base, PhysAddr(0xb000_0000));
        let second = regions[1];
        assert_eq!((second.segment, second.first_bus, second.last_bus), (0x1234, 0x20, 0x3f));
        assert_eq!(ecam_regions(&bytes, &mut regions[..1]), 1);
        assert_eq!(ecam_regions(&bytes[..50], &mut regions), 0, "cut short");
    }

    proptest! {
        #[test]
        fn no_entries_make_it_panic_or_break_a_promise(
            entries in proptest::collection::vec(any::<[u8; ENTRY]>(), 0..20),
            cut in 0..400usize,
        ) {
            let bytes = table(&entries);
            let mut regions = [Ecam::default(); 16];
            let found = ecam_regions(&bytes, &mut regions);
            prop_assert!(regions[..found].iter().all(|region| region.range().pages > 0));
            ecam_regions(&bytes[..cut.min(bytes.len())], &mut regions);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            ecam_regions(&bytes, &mut [Ecam::default(); 3]);
        }
    }
}
