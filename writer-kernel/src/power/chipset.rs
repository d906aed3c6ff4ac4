//! What firmware is to bring back after a suspend to RAM, and some does not.
//!
//! SeaBIOS leaves the port base of ACPI's registers unset on QEMU's q35: after
//! Linux's own suspend there, neither power button nor power-off work any more.

use super::platform;
use crate::machine::MACHINE;
use dormouse_drivers::pci::Function;
use dormouse_drivers::platform::Platform;
use dormouse_handoff::plan::{PciAddress, PowerFacts};

/// Intel's bridge to the legacy bus, from the ICH on (I/O Controller Hub 9
/// data sheet, 13.1): its place, and vendor.
const BRIDGE: PciAddress =
    PciAddress { segment: 0, bus: 0, device: 31, function: 0, reserved: [0; 3] };
const INTEL: u16 = 0x8086;

/// PMBASE and ACPI_CNTL (13.1.13, 13.1.14).
const REGISTERS: [u16; 2] = [0x40, 0x44];

/// The port base of ACPI's registers, on chipsets of which it is known where
/// that is set.
pub struct PortBase(Option<[u32; 2]>);

impl PortBase {
    /// As it is now.
    pub fn now() -> Self {
        let bridge = Function::probe(&MACHINE, BRIDGE);
        let known = bridge.is_some_and(|found| {
            found.vendor == INTEL && (found.class.base, found.class.sub) == (6, 1)
        });
        Self(known.then(|| REGISTERS.map(|offset| MACHINE.pci_read(BRIDGE, offset))))
    }

    /// Sets it again where ACPI's registers do not answer any more.
    pub fn put_back(&self, facts: &PowerFacts) {
        let Some(values) = self.0.filter(|_| !platform::answers(facts)) else { return };
        log::warn!("firmware did not bring ACPI's registers back: done in its place");
        for (offset, value) in REGISTERS.into_iter().zip(values) {
            MACHINE.pci_write(BRIDGE, offset, value);
        }
    }
}
