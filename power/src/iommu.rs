//! The machine's IOMMUs: the DMAR and IVRS tables.

use dormouse_handoff::plan::Iommu;
use dormouse_handoff::units::PhysAddr;

/// The units that the tables name, up to `units`' length: those of `dmar`, where
/// there is one, else those of `ivrs`; each whole, or empty where there is none.
/// How many.
pub fn iommus(dmar: &[u8], ivrs: &[u8], units: &mut [Iommu]) -> usize {
    match dmar {
        [] => amd_units(ivrs, units),
        dmar => intel_units(dmar, units),
    }
}

/// The units that an ACPI DMAR table names (Intel VT-d specification 4.1,
/// §8.1), up to `units`' length; how many.
///
/// `table` is the whole table, header and all; what is cut short is left out.
fn intel_units(table: &[u8], units: &mut [Iommu]) -> usize {
    const FIRST_STRUCTURE: usize = 48;
    const DRHD: u16 = 0;
    structures(table, FIRST_STRUCTURE)
        .filter(|(kind, body)| *kind == DRHD && body.len() >= 16)
        .filter_map(|(_, body)| base(body))
        .zip(units)
        .map(|(base, unit)| *unit = Iommu { base, kind: Iommu::INTEL, reserved: 0 })
        .count()
}

/// The units that an ACPI IVRS table names (AMD I/O Virtualization Technology
/// specification 3.08, §5.2), as [`intel_units`].
fn amd_units(table: &[u8], units: &mut [Iommu]) -> usize {
    const FIRST_STRUCTURE: usize = 48;
    let mut found = 0;
    for (kind, body) in structures(table, FIRST_STRUCTURE) {
        // An IVHD's type is one byte; the flags follow in the same word. Newer
        // types repeat the units of older ones.
        let is_ivhd = matches!(kind & 0xff, 0x10 | 0x11 | 0x40);
        let Some(base) = base(body).filter(|_| is_ivhd) else { continue };
        let known = units[..found].iter().any(|unit| unit.base == base);
        if !known && found < units.len() {
            units[found] = Iommu { base, kind: Iommu::AMD, reserved: 0 };
            found += 1;
        }
    }
    found
}

/// The structures from byte `at` of a table on: each begins with its type and
/// its length, two bytes each.
fn structures(table: &[u8], at: usize) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = table.get(at..).unwrap_or(&[]);
    core::iter::from_fn(move || {
        let (head, _) = rest.split_at_checked(4)?;
        let kind = u16::from_le_bytes([head[0], head[1]]);
        let length = usize::from(u16::from_le_bytes([head[2], head[3]]));
        let (body, after) = rest.split_at_checked(length).filter(|_| length >= 4)?;
        rest = after;
        Some((kind, body))
    })
}

/// The register base, which both tables keep at byte 8 of a structure.
fn base(body: &[u8]) -> Option<PhysAddr> {
    let bytes = body.get(8..16)?.try_into().ok()?;
    Some(PhysAddr(u64::from_le_bytes(bytes))).filter(|base| base.0 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(structures: &[&[u8]]) -> Vec<u8> {
        let mut table = vec![0; 48];
        structures.iter().for_each(|s| table.extend_from_slice(s));
        table
    }

    fn structure(kind: u16, base: u64) -> Vec<u8> {
        let mut s = vec![0; 24];
        s[..2].copy_from_slice(&kind.to_le_bytes());
        s[2] = 24;
        s[8..16].copy_from_slice(&base.to_le_bytes());
        s
    }

    #[test]
    fn remapping_units_are_found_among_other_structures() {
        let bytes = table(&[&structure(1, 5), &structure(0, 0xfed9_0000), &structure(0, 7)]);
        let mut units = [Iommu::default(); 4];
        assert_eq!(intel_units(&bytes, &mut units), 2);
        assert_eq!(units[0].base, PhysAddr(0xfed9_0000));
        assert_eq!(intel_units(&bytes, &mut units[..1]), 1);
    }

    #[test]
    fn a_unit_that_two_ivhd_types_name_counts_once() {
        let bytes = table(&[&structure(0xb010, 0xfeb8_0000), &structure(0x0011, 0xfeb8_0000)]);
        let mut units = [Iommu::default(); 4];
        assert_eq!(amd_units(&bytes, &mut units), 1);
    }

    proptest! {
        #[test]
        fn no_bytes_make_them_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut units = [Iommu::default(); 3];
            prop_assert!(intel_units(&bytes, &mut units) <= 3);
            prop_assert!(amd_units(&bytes, &mut units) <= 3);
        }
    }
}
