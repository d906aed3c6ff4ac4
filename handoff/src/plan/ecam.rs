//! Where PCI's configuration space lies in memory.

use super::PciAddress;
use crate::units::{PageRange, Pfn, PhysAddr};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// How many regions a plan names: large servers have one for each segment.
pub const MAX_ECAM: usize = 16;

/// Bytes of a bus in such a region (PCI Express Base 5.0 §7.2.2): 32 devices of
/// 8 functions of 4096 bytes.
const BUS_BYTES: u64 = 1 << 20;

/// Physical addresses have no more bits.
const MAX_ADDRESS: u64 = 1 << 52;

/// Configuration space of some buses in memory (ECAM).
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Ecam {
    /// Physical address of bus 0 of the segment, whether or not that bus is
    /// among them; 0: there is no region.
    pub base: PhysAddr,
    /// The segment group.
    pub segment: u16,
    /// The first bus.
    pub first_bus: u8,
    /// The last bus.
    pub last_bus: u8,
    /// Zero.
    pub reserved: u32,
}

impl Ecam {
    /// Whether there is such a region, and it makes sense.
    pub fn is_usable(&self) -> bool {
        self.base.0 != 0
            && self.base.0.is_multiple_of(BUS_BYTES)
            && self.first_bus <= self.last_bus
            && self.base.0 < MAX_ADDRESS - 256 * BUS_BYTES
    }

    /// Its memory. It must be usable.
    pub fn range(&self) -> PageRange {
        let start = PhysAddr(self.base.0 + u64::from(self.first_bus) * BUS_BYTES);
        let buses = u64::from(self.last_bus.saturating_sub(self.first_bus)) + 1;
        PageRange { start: Pfn::containing(start), pages: buses * (BUS_BYTES >> 12) }
    }

    /// Where in that memory a register is; `None` if it is not in it.
    pub fn offset_of(&self, function: PciAddress, offset: u16) -> Option<u64> {
        let inside = function.segment == self.segment
            && (self.first_bus..=self.last_bus).contains(&function.bus)
            && function.device < 32
            && function.function < 8
            && offset < 4096;
        inside.then(|| {
            u64::from(function.bus - self.first_bus) << 20
                | u64::from(function.device) << 15
                | u64::from(function.function) << 12
                | u64::from(offset)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGION: Ecam = Ecam {
        base: PhysAddr(0xb000_0000),
        segment: 3,
        first_bus: 0x10,
        last_bus: 0x1f,
        reserved: 0,
    };

    fn at(segment: u16, bus: u8, device: u8, function: u8) -> PciAddress {
        PciAddress { segment, bus, device, function, reserved: [0; 3] }
    }

    #[test]
    fn a_region_holds_its_own_buses_and_no_others() {
        assert!(REGION.is_usable());
        assert_eq!(REGION.range(), PageRange::new(0xb_1000, 16 << 8));
        assert_eq!(REGION.offset_of(at(3, 0x10, 0, 0), 0), Some(0));
        assert_eq!(REGION.offset_of(at(3, 0x1f, 31, 7), 0xffc), Some((16 << 20) - 4));
        for outside in [at(0, 0x10, 0, 0), at(3, 0xf, 0, 0), at(3, 0x20, 0, 0)] {
            assert_eq!(REGION.offset_of(outside, 0), None);
        }
        for nothing in [at(3, 0x10, 32, 0), at(3, 0x10, 0, 8)] {
            assert_eq!(REGION.offset_of(nothing, 0), None);
        }
        assert_eq!(REGION.offset_of(at(3, 0x10, 0, 0), 4096), None);
    }

    #[test]
    fn what_makes_no_sense_is_no_region() {
        for wrong in [
            Ecam { base: PhysAddr(0), ..REGION },
            Ecam { base: PhysAddr(0xb000_1000), ..REGION },
            Ecam { base: PhysAddr(MAX_ADDRESS - BUS_BYTES), ..REGION },
            Ecam { first_bus: 0x20, ..REGION },
        ] {
            assert!(!wrong.is_usable(), "{wrong:?}");
        }
    }
}
