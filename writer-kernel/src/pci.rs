//! PCI's configuration space: in memory, where the machine says so, else by the
//! ports of mechanism #1.
//!
//! What ACPI says is not believed blindly: a region that shows other functions
//! than the ports do, or none at all, is not used.

use crate::arch::paging::AddressSpace;
use core::ptr::NonNull;
use dormouse_handoff::plan::{Ecam, MAX_ECAM, PciAddress};
use spin::RwLock;
use x86_64::instructions::port::Port;

const CONFIG_ADDRESS: u16 = 0xcf8;
const CONFIG_DATA: u16 = 0xcfc;

/// A region and where it is mapped.
#[derive(Clone, Copy)]
struct Region {
    ecam: Ecam,
    registers: NonNull<u8>,
}

// SAFETY: registers of devices, which are read and written as single words.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    fn register(&self, function: PciAddress, offset: u16) -> Option<*mut u32> {
        let at = self.ecam.offset_of(function, offset & !3)?;
        // SAFETY: all of the region is mapped.
        Some(unsafe { self.registers.add(at as usize) }.as_ptr().cast())
    }
}

/// The way to all configuration space that there is.
pub struct ConfigSpace {
    /// Only read while anything can fail, so that a failure does not wait for a
    /// lock that it holds.
    regions: RwLock<[Option<Region>; MAX_ECAM]>,
}

impl ConfigSpace {
    /// Mechanism #1 alone.
    pub const fn new() -> Self {
        Self { regions: RwLock::new([None; MAX_ECAM]) }
    }

    /// Takes to those of `regions` that can be mapped and show what is there.
    pub fn use_memory(&self, space: &mut AddressSpace, regions: &[Ecam]) {
        let mut usable = [None; MAX_ECAM];
        let there = regions.iter().filter(|region| region.is_usable());
        for (ecam, room) in there.zip(&mut usable) {
            match space.map_registers(ecam.range()) {
                Ok(registers) => *room = Some(Region { ecam: *ecam, registers }).filter(is_true),
                Err(error) => log::warn!("PCI: no room for its configuration space: {error}"),
            }
        }
        for Region { ecam, .. } in usable.iter().flatten() {
            log::info!(
                "PCI: configuration space of segment {}, buses {} to {}, in memory at {}",
                ecam.segment,
                ecam.first_bus,
                ecam.last_bus,
                ecam.range().start.address(),
            );
        }
        *self.regions.write() = usable;
    }

    /// Drops the regions that do not show any more what is there: after a suspend
    /// firmware may have forgotten them.
    pub fn look_again(&self) {
        let mut regions = *self.regions.read();
        for region in &mut regions {
            *region = region.filter(is_true);
        }
        *self.regions.write() = regions;
    }

    /// The number of the `index`th segment.
    pub fn segment(&self, index: usize) -> Option<u16> {
        let regions = self.regions.read();
        let segment = |region: &Option<Region>| region.map_or(0, |region| region.ecam.segment);
        let mut last = 0;
        for _ in 0..index {
            last = regions.iter().map(segment).filter(|segment| *segment > last).min()?;
        }
        Some(last)
    }

    /// Reads a register; all ones where there is none.
    pub fn read(&self, function: PciAddress, offset: u16) -> u32 {
        match self.register(function, offset) {
            // SAFETY: a register that may be read at any time.
            Some(register) => unsafe { register.read_volatile() },
            None => read_by_ports(function, offset),
        }
    }

    /// Writes a register.
    pub fn write(&self, function: PciAddress, offset: u16, value: u32) {
        match self.register(function, offset) {
            // SAFETY: the caller is the function's driver.
            Some(register) => unsafe { register.write_volatile(value) },
            None => write_by_ports(function, offset, value),
        }
    }

    fn register(&self, function: PciAddress, offset: u16) -> Option<*mut u32> {
        let regions = self.regions.read();
        regions.iter().flatten().find_map(|region| region.register(function, offset))
    }
}

/// Whether the first bus of a region shows the functions that the ports show,
/// where those answer, and any at all.
fn is_true(region: &Region) -> bool {
    let Ecam { segment, first_bus: bus, .. } = region.ecam;
    let mut found = false;
    let same = (0..32).all(|device| {
        let function = PciAddress { segment, bus, device, function: 0, reserved: [0; 3] };
        let Some(register) = region.register(function, 0) else { return false };
        // SAFETY: vendor and device may be read at any time.
        let in_memory = unsafe { register.read_volatile() };
        found |= in_memory != u32::MAX;
        [u32::MAX, in_memory].contains(&read_by_ports(function, 0))
    });
    if !same {
        log::warn!("PCI: the ports show other functions than memory does at {:?}", region.ecam);
    }
    same && found
}

fn read_by_ports(function: PciAddress, offset: u16) -> u32 {
    let Some(address) = config_address(function, offset) else { return u32::MAX };
    // SAFETY: PCI configuration mechanism #1 (PCI 3.0 §3.2.2.3.2); nobody else
    // uses it while this program runs.
    unsafe {
        Port::new(CONFIG_ADDRESS).write(address);
        Port::new(CONFIG_DATA).read()
    }
}

fn write_by_ports(function: PciAddress, offset: u16, value: u32) {
    let Some(address) = config_address(function, offset) else { return };
    // SAFETY: as in `read_by_ports`.
    unsafe {
        Port::new(CONFIG_ADDRESS).write(address);
        Port::new(CONFIG_DATA).write(value);
    }
}

/// What to write to CONFIG_ADDRESS; `None` for what mechanism #1 cannot reach:
/// other segments, and the extended configuration space.
fn config_address(function: PciAddress, offset: u16) -> Option<u32> {
    if function.segment != 0 || offset >= 256 || function.device > 31 || function.function > 7 {
        return None;
    }
    Some(
        1 << 31
            | u32::from(function.bus) << 16
            | u32::from(function.device) << 11
            | u32::from(function.function) << 8
            | u32::from(offset & 0xfc),
    )
}
