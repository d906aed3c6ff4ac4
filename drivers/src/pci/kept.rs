//! What a function loses in a suspend to RAM, and needs to be reached again.
//!
//! Firmware does not bring it back: it leaves that to the operating system's
//! drivers (ACPI 6.5 §16.1.3.3). The old kernel does so on its return; this is
//! for the moment before, when the image has to become consumed.

use super::{Function, functions};
use crate::platform::Platform;
use alloc::vec::Vec;
use dormouse_handoff::plan::PciAddress;
use pci_types::HeaderType;

/// Registers of an endpoint's header that are kept (PCI Local Bus 3.0, §6.1):
/// base addresses, and last what is enabled. The low half of that word; the
/// upper one is status, which is cleared by writing ones.
const ENDPOINT: [(u16, u32); 7] =
    [(0x10, ALL), (0x14, ALL), (0x18, ALL), (0x1c, ALL), (0x20, ALL), (0x24, ALL), (0x04, LOW)];

/// Registers of a bridge's header that are kept (PCI-to-PCI Bridge 1.2, §3.2):
/// bus numbers first, so that what is below can be reached.
const BRIDGE: [(u16, u32); 10] = [
    (0x18, ALL),
    (0x10, ALL),
    (0x14, ALL),
    (0x1c, LOW),
    (0x20, ALL),
    (0x24, ALL),
    (0x28, ALL),
    (0x2c, ALL),
    (0x30, ALL),
    (0x04, LOW),
];

const ALL: u32 = u32::MAX;
const LOW: u32 = 0xffff;

/// The headers of a function and of every bridge, those nearest to the
/// processor first.
pub struct KeptHeaders {
    words: Vec<(PciAddress, u16, u32)>,
}

impl KeptHeaders {
    /// Keeps the header of the function at `address` and those of all bridges.
    pub fn of(platform: &dyn Platform, address: PciAddress) -> Self {
        let mut words = Vec::new();
        let mut keep = |function: PciAddress, registers: &[(u16, u32)]| {
            for &(offset, mask) in registers {
                words.push((function, offset, platform.pci_read(function, offset) & mask));
            }
        };
        let is_bridge = |function: &Function| function.header == HeaderType::PciPciBridge;
        for bridge in functions(platform).filter(is_bridge) {
            keep(bridge.address, &BRIDGE);
        }
        keep(address, &ENDPOINT);
        Self { words }
    }

    /// Puts all of them back.
    pub fn put_back(&self, platform: &dyn Platform) {
        for &(function, offset, value) in &self.words {
            platform.pci_write(function, offset, value);
        }
    }
}
