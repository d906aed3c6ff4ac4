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
            Iommu::INTEL => registers.read32(0x1c) & (1 << 31) != 0,
            _ => registers.read32(0x18) & 1 != 0,
        };
        if enabled {
            return Err(translating);
        }
        log::info!("the IOMMU at {} does not translate", unit.base);
    }
    Ok(())
}
