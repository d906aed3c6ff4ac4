//! The list of capabilities.

use crate::platform::Platform;
use dormouse_handoff::plan::PciAddress;

/// Status in the high half: bit 4 says that there is a list.
const STATUS: u16 = 0x04;
const HAS_CAPABILITIES: u32 = 1 << 20;
/// The offset of the list's first entry, in the low byte.
const POINTER: u16 = 0x34;
/// More entries than fit between the header and the end of the conventional
/// configuration space; a longer list is a loop.
const MOST: usize = (256 - 64) / 4;

/// Which capability an entry describes (PCI Code and ID Assignment 1.11, §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapabilityId(pub u8);

impl CapabilityId {
    /// Power management.
    pub const POWER_MANAGEMENT: Self = Self(0x01);
    /// Message signalled interrupts.
    pub const MSI: Self = Self(0x05);
    /// Specific to the vendor; virtio describes its structures by it.
    pub const VENDOR: Self = Self(0x09);
    /// Message signalled interrupts in a table.
    pub const MSI_X: Self = Self(0x11);
}

/// The function's capabilities as (identifier, offset), in the list's order.
///
/// A list that leaves its space or goes round in a circle ends there.
pub fn capabilities(
    platform: &dyn Platform,
    function: PciAddress,
) -> impl Iterator<Item = (CapabilityId, u16)> {
    let has_list = platform.pci_read(function, STATUS) & HAS_CAPABILITIES != 0;
    let mut next = if has_list { platform.pci_read(function, POINTER) as u8 } else { 0 };
    core::iter::from_fn(move || {
        // The two low bits are reserved (PCI Local Bus 3.0, §6.7).
        let offset = u16::from(next & !0b11);
        if offset < 0x40 {
            return None;
        }
        let entry = platform.pci_read(function, offset);
        next = (entry >> 8) as u8;
        Some((CapabilityId(entry as u8), offset))
    })
    .take(MOST)
}
