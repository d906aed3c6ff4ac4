//! Finding functions.

use crate::platform::Platform;
use dormouse_handoff::plan::PciAddress;
use pci_types::{ConfigRegionAccess, HeaderType, PciHeader};

/// Class codes of a function (PCI Code and ID Assignment 1.11, §1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    /// Base class.
    pub base: u8,
    /// Sub-class.
    pub sub: u8,
    /// Programming interface.
    pub interface: u8,
}

impl Class {
    /// Whether it is any kind of bridge, the host's and the legacy bus's
    /// included.
    pub const fn is_bridge(&self) -> bool {
        self.base == 0x06
    }
}

/// A function that answered.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    /// Where it is.
    pub address: PciAddress,
    /// Vendor identifier.
    pub vendor: u16,
    /// Device identifier.
    pub device: u16,
    /// What it is.
    pub class: Class,
    /// Which layout the rest of its header has.
    pub header: HeaderType,
}

impl Function {
    /// Asks for the function at `address`.
    pub fn probe(platform: &dyn Platform, address: PciAddress) -> Option<Self> {
        let access = Access(platform);
        let header = PciHeader::new(foreign(address));
        let (vendor, device) = header.id(&access);
        // PCI Local Bus 3.0, §6.1: all ones is no function.
        if vendor == 0xffff {
            return None;
        }
        let (_, base, sub, interface) = header.revision_and_class(&access);
        Some(Self {
            address,
            vendor,
            device,
            class: Class { base, sub, interface },
            header: header.header_type(&access),
        })
    }
}

/// Every function of every segment, in order of address.
pub fn functions(platform: &dyn Platform) -> impl Iterator<Item = Function> {
    let segments = (0..).map_while(|index| platform.pci_segment(index));
    segments.flat_map(move |segment| {
        (0..=u8::MAX).flat_map(move |bus| functions_on(platform, segment, bus))
    })
}

/// Every function on one bus, in order of address.
pub(super) fn functions_on(
    platform: &dyn Platform,
    segment: u16,
    bus: u8,
) -> impl Iterator<Item = Function> {
    (0..32).flat_map(move |device| {
        let at = move |function| PciAddress { segment, bus, device, function, reserved: [0; 3] };
        let first = Function::probe(platform, at(0));
        let several = first.is_some()
            && PciHeader::new(foreign(at(0))).has_multiple_functions(Access(platform));
        let others = if several { 1..8 } else { 1..1 };
        first.into_iter().chain(others.filter_map(move |f| Function::probe(platform, at(f))))
    })
}

/// The platform's configuration space, as `pci_types` wants it.
pub(super) struct Access<'p>(pub &'p dyn Platform);

impl ConfigRegionAccess for Access<'_> {
    unsafe fn read(&self, address: pci_types::PciAddress, offset: u16) -> u32 {
        self.0.pci_read(own(address), offset)
    }

    unsafe fn write(&self, address: pci_types::PciAddress, offset: u16, value: u32) {
        self.0.pci_write(own(address), offset, value);
    }
}

/// An address as `pci_types` has it.
pub(super) fn foreign(address: PciAddress) -> pci_types::PciAddress {
    pci_types::PciAddress::new(address.segment, address.bus, address.device, address.function)
}

fn own(address: pci_types::PciAddress) -> PciAddress {
    PciAddress {
        segment: address.segment(),
        bus: address.bus(),
        device: address.device(),
        function: address.function(),
        reserved: [0; 3],
    }
}
