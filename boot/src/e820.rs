//! What ranges of memory are, in the terms of the E820 map (ACPI 6.5, table 15.1).

use crate::params::Range;
use alloc::vec::Vec;
use dormouse_handoff::units::PageRange;

/// Usable, or to be used when it is known what for.
pub const RAM: u32 = 1;
/// Not to be touched.
pub const RESERVED: u32 = 2;
/// ACPI's tables: RAM, once they were read.
pub const ACPI_TABLES: u32 = 3;
/// Firmware's storage across sleep states.
pub const ACPI_NVS: u32 = 4;
/// RAM with errors.
pub const UNUSABLE: u32 = 5;
/// Memory that keeps what is in it.
pub const PERSISTENT: u32 = 7;

/// The type of a range of UEFI's map (UEFI 2.10, 7.2) once boot services are left:
/// what Linux's own stub makes of it (`setup_e820` in
/// drivers/firmware/efi/libstub/x86-stub.c; ACPI 6.5, table 15.6).
pub const fn of_uefi(kind: u32) -> u32 {
    match kind {
        // A loader's code and data, those of the boot services, free memory.
        1..=4 | 7 => RAM,
        8 => UNUSABLE,
        9 => ACPI_TABLES,
        10 => ACPI_NVS,
        14 => PERSISTENT,
        // Runtime services, registers, what will be invented.
        _ => RESERVED,
    }
}

/// `ranges` with the RAM in `place` reserved. Cut out, not covered by another range:
/// a kernel that looks for a random place for itself takes each range of RAM for
/// free (`process_e820_entries` in arch/x86/boot/compressed/kaslr.c, Linux 6.1).
pub fn reserving(ranges: impl Iterator<Item = Range>, place: PageRange) -> Vec<Range> {
    let (start, end) = (place.start.address().0, place.end().address().0);
    let parts = |range: Range| {
        let range_end = range.start.saturating_add(range.bytes);
        let part = |from: u64, to: u64, kind: u32| {
            let (from, to) = (from.max(range.start), to.min(range_end));
            Range { start: from, bytes: to.saturating_sub(from), kind }
        };
        let inside = if range.kind == RAM { RESERVED } else { range.kind };
        [part(0, start, range.kind), part(start, end, inside), part(end, u64::MAX, range.kind)]
    };
    ranges.flat_map(parts).filter(|part| part.bytes > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_firmware_needs_later_is_never_ram() {
        let kinds: Vec<u32> = (0..17).map(of_uefi).collect();
        assert_eq!(kinds, [2, 1, 1, 1, 1, 2, 2, 1, 5, 3, 4, 2, 2, 2, 7, 2, 2]);
        assert_eq!(of_uefi(0x8000_0000), RESERVED, "types of an operating system's own");
    }

    fn range(start: u64, end: u64, kind: u32) -> Range {
        Range { start, bytes: end - start, kind }
    }

    #[test]
    fn a_place_is_cut_out_of_ram_and_of_nothing_else() {
        let reserve = |ranges: &[Range], place| reserving(ranges.iter().copied(), place);
        let map = [range(0, 0x9_fc00, RAM), range(0x10_0000, 0x4000_0000, RAM)];
        let cut = [
            map[0],
            range(0x10_0000, 0x600_0000, RAM),
            range(0x600_0000, 0x620_0000, RESERVED),
            range(0x620_0000, 0x4000_0000, RAM),
        ];
        assert_eq!(reserve(&map, PageRange::new(0x6000, 0x200)), cut);
        let whole = [range(0x600_0000, 0x620_0000, RESERVED)];
        assert_eq!(
            reserve(&[range(0x600_0000, 0x620_0000, RAM)], PageRange::new(0x6000, 0x200)),
            whole
        );
        assert_eq!(reserve(&map, PageRange::default()), map, "nothing to be reserved");
        let kept = |ranges: &[Range]| ranges.iter().all(|range| range.kind == ACPI_NVS);
        let storage = [range(0x500_0000, 0x700_0000, ACPI_NVS)];
        assert!(kept(&reserve(&storage, PageRange::new(0x6000, 0x200))));
    }

    proptest! {
        #[test]
        fn every_byte_keeps_its_kind_or_is_reserved(
            ranges in prop::collection::vec((0u64..1 << 20, 0u64..1 << 18, 1u32..6), 0..6),
            first in 0u64..200,
            pages in 0u64..50,
            byte in 0u64..1 << 20,
        ) {
            let ranges = ranges.into_iter().map(|(start, bytes, kind)| Range { start, bytes, kind });
            let kinds = |ranges: &mut dyn Iterator<Item = Range>| -> Vec<u32> {
                let here = |range: &Range| byte.wrapping_sub(range.start) < range.bytes;
                ranges.filter(here).map(|range| range.kind).collect()
            };
            let place = PageRange::new(first, pages);
            let in_place = (byte >> 12).wrapping_sub(first) < pages;
            let reserved = |kind| if in_place && kind == RAM { RESERVED } else { kind };
            let before = kinds(&mut ranges.clone()).into_iter().map(reserved).collect::<Vec<_>>();
            prop_assert_eq!(kinds(&mut reserving(ranges, place).into_iter()), before);
        }
    }
}
