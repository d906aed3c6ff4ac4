//! From a lower power state to D0.

use super::{CapabilityId, capabilities, command};
use crate::platform::Platform;
use crate::queue::Cause;
use crate::wait::{settle, wait_until};
use dormouse_handoff::plan::PciAddress;
use pci_types::CommandRegister;

/// Control and status, from the capability's start; the state is in its two
/// low bits (PCI Power Management 1.2, §3.2.4).
const CONTROL: u16 = 4;
const STATE: u32 = 0b11;
/// Time from D3hot to D0 (PCI Power Management 1.2, §5.6.1), in microseconds.
const RECOVERY_US: u64 = 10_000;
/// Time that a function may take to answer after a reset (PCI Express 5.0,
/// §6.6.1), in milliseconds.
const READY_LIMIT_MS: u64 = 1000;

/// The part of the header that a function may lose while it wakes: base
/// addresses, and of a bridge its bus numbers and windows.
const HEADER: core::ops::Range<u16> = 0x10..0x40;
const HEADER_WORDS: usize = (HEADER.end - HEADER.start) as usize / 4;

/// Brings a function to D0 with its header as it was. One that has no power
/// management is there already.
pub fn wake(platform: &dyn Platform, function: PciAddress) -> Result<(), Cause> {
    let Some((_, capability)) =
        capabilities(platform, function).find(|(id, _)| *id == CapabilityId::POWER_MANAGEMENT)
    else {
        return Ok(());
    };
    let control = capability + CONTROL;
    let state = platform.pci_read(function, control);
    if state & STATE == 0 {
        return Ok(());
    }
    let before = command::read(platform, function);
    // A sleeping function has no work left that it could go on with, and some
    // refuse to wake without bus mastering.
    command::set(platform, function, CommandRegister::BUS_MASTER_ENABLE);
    let offset = |i: usize| HEADER.start + 4 * i as u16;
    let header: [u32; HEADER_WORDS] =
        core::array::from_fn(|i| platform.pci_read(function, offset(i)));
    platform.pci_write(function, control, state & !STATE);
    settle(platform, RECOVERY_US);
    wait_until(platform, READY_LIMIT_MS, || {
        let state = platform.pci_read(function, control);
        state != u32::MAX && state & STATE == 0
    })
    .map_err(|_| Cause::Timeout(READY_LIMIT_MS))?;
    // Waking resets many functions (PCI Power Management 1.2, §5.4.1).
    for (i, word) in header.into_iter().enumerate() {
        platform.pci_write(function, offset(i), word);
    }
    command::write(platform, function, before);
    Ok(())
}
