//! Where the image goes, and through what.

use crate::units::{PAGE_SIZE, PhysAddr};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Which driver the target needs.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// NVM Express over PCI.
    Nvme = 1,
    /// virtio-blk over PCI.
    VirtioBlk = 2,
    /// SATA behind an AHCI host bus adapter.
    Ahci = 3,
    /// virtio-blk whose registers lie in memory: virtio-mmio, version 1 or 2.
    VirtioMmio = 4,
}

/// Where a device sits on PCI.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct PciAddress {
    /// Segment group ("domain").
    pub segment: u16,
    /// Bus number.
    pub bus: u8,
    /// Device number, 0 to 31.
    pub device: u8,
    /// Function number, 0 to 7.
    pub function: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

impl core::fmt::Display for PciAddress {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:04x}:{:02x}:{:02x}.{}", self.segment, self.bus, self.device, self.function)
    }
}

/// Where a controller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// On PCI.
    Pci(PciAddress),
    /// On no bus: its registers lie at this physical address.
    Mmio(PhysAddr),
}

impl core::fmt::Display for Address {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Pci(address) => write!(f, "{address}"),
            Self::Mmio(address) => write!(f, "{address}"),
        }
    }
}

impl From<PciAddress> for Address {
    fn from(address: PciAddress) -> Self {
        Self::Pci(address)
    }
}

impl Target {
    /// Where the controller is.
    pub fn address(&self) -> Address {
        match self.transport == Transport::VirtioMmio as u32 {
            true => Address::Mmio(PhysAddr(self.mmio.into())),
            false => Address::Pci(self.pci),
        }
    }
}

/// The device that the image goes to, and how to be sure that it is this one.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Target {
    /// A [`Transport`] as its number.
    pub transport: u32,
    /// NVMe namespace, AHCI port; 0 for virtio-blk.
    pub unit: u32,
    /// The controller's place on PCI; zero for virtio-mmio.
    pub pci: PciAddress,
    /// Bytes in a logical block: 512 or 4096.
    pub block_size: u32,
    /// Physical address of the registers of virtio-mmio, which lie below 4 GiB;
    /// 0 for all others.
    pub mmio: u32,
    /// Blocks of the whole device or namespace.
    pub device_blocks: u64,
    /// Serial number as the device tells it (ASCII, trimmed, filled with zero
    /// bytes); all zero where it tells none.
    pub serial: [u8; 40],
    /// Checksum (seed 0) of the target's first page as Linux read it last: the
    /// writer finds the same or does not write.
    pub first_page_checksum: u64,
    /// The page to put back at the target's start once the image is used up:
    /// the swap header where the target is a swap partition.
    pub kept_page: [u8; PAGE_SIZE as usize],
}
