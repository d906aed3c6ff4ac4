//! A function brought to life for its driver, and put to rest.

use super::function::{Access, Function, foreign, functions_on};
use super::{CapabilityId, capabilities, command, power};
use crate::platform::Platform;
use crate::queue::Cause;
use crate::registers::Mmio;
use dormouse_handoff::plan::PciAddress;
use dormouse_handoff::units::PhysAddr;
use pci_types::{CommandRegister, HeaderType, PciHeader, PciPciBridgeHeader};

/// The first of six base address registers (PCI Local Bus 3.0, §6.2.5).
const BAR0: u16 = 0x10;
const BARS: usize = 6;

/// MSI's enable bit in the first word of its capability, and MSI-X's.
const MSI_ENABLE: u32 = 1 << 16;
const MSI_X_ENABLE: u32 = 1 << 31;

/// A function that is awake and decodes its memory.
///
/// It can reach no memory until [`Endpoint::start_dma`]: a controller found
/// running could otherwise go on where its last driver left it.
#[derive(Clone, Copy)]
pub struct Endpoint {
    platform: &'static dyn Platform,
    function: Function,
}

impl Endpoint {
    /// Brings the function at `address` to life: the bridges above it pass
    /// its accesses on, it is in D0, decodes memory and sends no interrupts.
    pub fn enable(platform: &'static dyn Platform, address: PciAddress) -> Result<Self, Cause> {
        open_bridges_to(platform, address)?;
        let function = Function::probe(platform, address)
            .ok_or(Cause::Dead("nothing answers at this PCI address"))?;
        if function.header != HeaderType::Endpoint {
            return Err(Cause::Unsupported("this PCI function is a bridge"));
        }
        let endpoint = Self { platform, function };
        power::wake(platform, address)?;
        endpoint.silence_interrupts();
        command::set(
            platform,
            address,
            CommandRegister::MEMORY_ENABLE | CommandRegister::INTERRUPT_DISABLE,
        );
        Ok(endpoint)
    }

    /// What is known of the function.
    pub fn function(&self) -> &Function {
        &self.function
    }

    /// The physical address in base address register `index`, 0 to 5, with
    /// the upper half from the next one where it has 64 bits.
    pub fn bar(&self, index: usize) -> Result<PhysAddr, Cause> {
        let low = self.bar_word(index).ok_or(Cause::Protocol("there is no such BAR"))?;
        let high = match low & 0b111 {
            0b000 => 0,
            0b100 => self
                .bar_word(index + 1)
                .ok_or(Cause::Protocol("a 64-bit BAR without an upper half"))?,
            _ => return Err(Cause::Protocol("a BAR that is not memory")),
        };
        match u64::from(high) << 32 | u64::from(low & !0xf) {
            0 => Err(Cause::Unsupported("nobody gave this BAR an address")),
            address => Ok(PhysAddr(address)),
        }
    }

    /// Maps `bytes` bytes from `offset` of base address register `index`.
    pub fn map(&self, index: usize, offset: usize, bytes: usize) -> Result<Mmio, Cause> {
        let base = self.bar(index)?;
        // A BAR is aligned to its size, so the address bounds what it can be;
        // sizing it exactly would mean to move it about.
        let largest = 1u64 << base.0.trailing_zeros();
        if offset.checked_add(bytes).is_none_or(|end| end as u64 > largest) {
            return Err(Cause::Protocol("registers that are not inside their BAR"));
        }
        let start = PhysAddr(base.0 + offset as u64);
        Mmio::map(self.platform, start, bytes).map_err(|_| Cause::Exhausted)
    }

    /// Lets the function reach memory.
    pub fn start_dma(&self) {
        command::set(self.platform, self.function.address, CommandRegister::BUS_MASTER_ENABLE);
    }

    /// Takes memory away from the function: what it was writing has arrived
    /// when this returns, and nothing follows.
    pub fn stop_dma(&self) {
        command::clear(self.platform, self.function.address, CommandRegister::BUS_MASTER_ENABLE);
    }

    fn bar_word(&self, index: usize) -> Option<u32> {
        (index < BARS)
            .then(|| self.platform.pci_read(self.function.address, BAR0 + 4 * index as u16))
    }

    fn capability(&self, id: CapabilityId) -> Option<u16> {
        capabilities(self.platform, self.function.address)
            .find(|(found, _)| *found == id)
            .map(|(_, offset)| offset)
    }

    /// A polled device has nothing to say to an interrupt controller that the
    /// old kernel will find again.
    fn silence_interrupts(&self) {
        for (id, enable) in [(CapabilityId::MSI, MSI_ENABLE), (CapabilityId::MSI_X, MSI_X_ENABLE)] {
            if let Some(offset) = self.capability(id) {
                let word = self.platform.pci_read(self.function.address, offset);
                if word & enable != 0 {
                    self.platform.pci_write(self.function.address, offset, word & !enable);
                }
            }
        }
    }
}

/// Wakes every bridge on the way to `address` and makes it pass on memory
/// accesses in both directions, from the top down.
///
/// A bridge is on the way if the bus is among those behind it. Buses behind a
/// bridge have higher numbers than the one it is on, so ascending order is top
/// down, and it ends.
fn open_bridges_to(platform: &dyn Platform, address: PciAddress) -> Result<(), Cause> {
    let access = Access(platform);
    for bus in 0..address.bus {
        for function in functions_on(platform, address.segment, bus) {
            let header = PciHeader::new(foreign(function.address));
            let Some(bridge) = PciPciBridgeHeader::from_header(header, &access) else {
                continue;
            };
            let behind =
                bridge.secondary_bus_number(&access)..=bridge.subordinate_bus_number(&access);
            if behind.contains(&address.bus) {
                power::wake(platform, function.address)?;
                command::set(
                    platform,
                    function.address,
                    CommandRegister::MEMORY_ENABLE | CommandRegister::BUS_MASTER_ENABLE,
                );
            }
        }
    }
    Ok(())
}
