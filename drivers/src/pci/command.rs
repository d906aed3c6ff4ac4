//! The command register.

use crate::platform::Platform;
use dormouse_handoff::plan::PciAddress;
use pci_types::CommandRegister;

/// Command in the low half, status in the high half (PCI Local Bus 3.0, §6.2.2).
const COMMAND: u16 = 0x04;

/// What is enabled.
pub fn read(platform: &dyn Platform, function: PciAddress) -> CommandRegister {
    CommandRegister::from_bits_retain(platform.pci_read(function, COMMAND) as u16)
}

/// Enables `bits`.
pub fn set(platform: &dyn Platform, function: PciAddress, bits: CommandRegister) {
    write(platform, function, read(platform, function) | bits);
}

/// Disables `bits`, and waits until what was on its way has arrived.
pub fn clear(platform: &dyn Platform, function: PciAddress, bits: CommandRegister) {
    write(platform, function, read(platform, function).difference(bits));
    // A read from the function pushes its posted writes before it (PCI Express
    // 5.0, §2.4.1).
    read(platform, function);
}

/// Replaces the register. Status bits are cleared by writing ones, so zeros go
/// there: they are the old kernel's to read.
pub fn write(platform: &dyn Platform, function: PciAddress, value: CommandRegister) {
    platform.pci_write(function, COMMAND, u32::from(value.bits()));
}
