//! Whether an IOMMU stands between devices and physical memory.
//!
//! All drivers here name memory by its physical address. Linux turns DMA
//! translation off before the jump, and firmware before it starts a loader; where
//! either did not, a device would read or write other memory than was meant,
//! and nobody would notice until the wake-up. So this is asked before the first
//! request, never changed.

use crate::platform::Platform;
use crate::registers::{Mmio, Registers};
use core::fmt;
use dormouse_handoff::plan::Iommu;
use dormouse_handoff::units::PhysAddr;

/// Whose IOMMU: what [`Iommu::kind`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Intel VT-d: a remapping unit of the DMAR table.
    Intel = 1,
    /// AMD-Vi: an IVHD block of the IVRS table.
    Amd = 2,
}

/// Bytes of a unit's registers that are looked at.
const REGISTER_BYTES: usize = 0x20;

/// A unit that translates, so that no request may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translating {
    /// Physical address of its registers.
    pub base: PhysAddr,
}

impl fmt::Display for Translating {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the IOMMU at {} translates DMA addresses, so that devices would reach other memory \
             than is meant: boot with intel_iommu=off or amd_iommu=off, or turn DMA protection off \
             in the firmware's setup",
            self.base
        )
    }
}

/// The units that an ACPI DMAR table names (Intel VT-d specification 4.1,
/// §8.1), up to `units`' length; how many.
///
/// `table` is the whole table, header and all; what is cut short is left out.
pub fn intel_units(table: &[u8], units: &mut [Iommu]) -> usize {
    const FIRST_STRUCTURE: usize = 48;
    const DRHD: u16 = 0;
    structures(table, FIRST_STRUCTURE)
        .filter(|(kind, body)| *kind == DRHD && body.len() >= 16)
        .filter_map(|(_, body)| base(body))
        .zip(units)
        .map(|(base, unit)| *unit = Iommu { base, kind: Kind::Intel as u32, reserved: 0 })
        .count()
}

/// The units that an ACPI IVRS table names (AMD I/O Virtualization Technology
/// specification 3.08, §5.2), as [`intel_units`].
pub fn amd_units(table: &[u8], units: &mut [Iommu]) -> usize {
    const FIRST_STRUCTURE: usize = 48;
    let mut found = 0;
    for (kind, body) in structures(table, FIRST_STRUCTURE) {
        // An IVHD's type is one byte; the flags follow in the same word. Newer
        // types repeat the units of older ones.
        let is_ivhd = matches!(kind & 0xff, 0x10 | 0x11 | 0x40);
        let Some(base) = base(body).filter(|_| is_ivhd) else { continue };
        let known = units[..found].iter().any(|unit| unit.base == base);
        if !known && found < units.len() {
            units[found] = Iommu { base, kind: Kind::Amd as u32, reserved: 0 };
            found += 1;
        }
    }
    found
}

/// Makes sure that none of `units` translates.
///
/// # Errors
/// The first unit that does, or whose registers cannot be mapped.
pub fn check(platform: &dyn Platform, units: &[Iommu]) -> Result<(), Translating> {
    for unit in units.iter().filter(|unit| unit.base.0 != 0) {
        let translating = Translating { base: unit.base };
        let registers = Mmio::map(platform, unit.base, REGISTER_BYTES).map_err(|_| translating)?;
        // Global Status, bit 31: translation enabled (VT-d §11.4.4.2); Control,
        // bit 0: IommuEn (AMD §3.4.12).
        let enabled = match unit.kind {
            kind if kind == Kind::Intel as u32 => registers.read32(0x1c) & (1 << 31) != 0,
            _ => registers.read32(0x18) & 1 != 0,
        };
        if enabled {
            return Err(translating);
        }
    }
    Ok(())
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
