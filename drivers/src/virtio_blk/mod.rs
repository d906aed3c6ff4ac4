//! Virtio block devices, by version 1.2 of the specification.
//!
//! Over any [`Transport`] of `virtio-drivers`; the queue is our own, because a
//! request names physical memory, allocates nothing and has a deadline. The
//! device is not trusted: what the driver knows of its requests it keeps to
//! itself, and what a device answers is held against that.

mod device;
mod mmio;
mod mmio_places;
mod modern_pci;
mod negotiate;
mod queue;
mod shape;
mod slots;
mod spec;

#[cfg(any(test, feature = "model"))]
pub(crate) mod model;
#[cfg(test)]
mod tests;

use crate::controllers::{Driver, Found, Opened, Units};
use crate::pci::Endpoint;
use crate::place::Place;
use crate::platform::Platform;
use alloc::boxed::Box;
use device::VirtioBlk;
use dormouse_handoff::plan::{Address, PciAddress, Transport};
use dormouse_handoff::units::PhysAddr;
use mmio::VirtioMmio;
pub use mmio_places::{in_aml, on_command_line};
use modern_pci::ModernPci;
use virtio_drivers::transport::Transport as _;

/// This driver, for the list of drivers.
pub(crate) const DRIVER: Driver = Driver {
    transport: Transport::VirtioBlk,
    claims: |function| function.vendor == VENDOR && DEVICES.contains(&function.device),
    units,
    open,
};

/// Virtio 1.2, §4.1.2: the vendor, and the block device as one that also has
/// the legacy interface, or has not.
const VENDOR: u16 = 0x1af4;
const DEVICES: [u16; 2] = [0x1001, 0x1042];

/// The device is its own unit.
fn units(platform: &'static dyn Platform, address: PciAddress) -> Found {
    Ok(Units::One(0, open(platform, address, 0)?))
}

fn open(platform: &'static dyn Platform, address: PciAddress, _unit: u32) -> Opened {
    let place = Place::controller("virtio-blk", address);
    let endpoint =
        Endpoint::enable(platform, address).map_err(|cause| place.error("enable", cause))?;
    let device = ModernPci::find(platform, &endpoint)
        .map_err(|cause| place.error("enable", cause))
        .and_then(|transport| VirtioBlk::start(platform, place, Some(endpoint), transport));
    match device {
        Ok(device) => Ok(Box::new(device)),
        Err(error) => {
            endpoint.stop_dma();
            Err(error)
        }
    }
}

/// A device of virtio-mmio that was taken over.
pub(crate) struct Quiet {
    /// Whether somebody had it at work.
    pub was_live: bool,
    /// Whether it is a disk.
    pub is_disk: bool,
}

/// Resets the device whose registers are said to be at `start`, whatever kind it is:
/// there is no bus to switch its DMA off, and a network device goes on filling the
/// buffers of whoever had it before. `None` where there is none.
pub(crate) fn quiet_mmio(platform: &dyn Platform, start: PhysAddr) -> Option<Quiet> {
    let mut device = VirtioMmio::any(platform, start).ok()?;
    let was_live = !device.get_status().is_empty();
    if was_live && let Err(cause) = negotiate::reset(platform, &mut device) {
        let place = Place::controller("virtio-mmio", Address::Mmio(start));
        log::warn!("{}", place.error("reset", cause));
    }
    Some(Quiet { was_live, is_disk: device.is_disk() })
}

/// Resets the disk whose registers are at `start` and makes it ready. There is
/// no bus to switch its DMA off: a reset device reaches no memory.
pub(crate) fn open_mmio(platform: &'static dyn Platform, start: PhysAddr) -> Opened {
    let place = Place::controller("virtio-mmio", Address::Mmio(start));
    let transport =
        VirtioMmio::find(platform, start).map_err(|cause| place.error("enable", cause))?;
    Ok(Box::new(VirtioBlk::start(platform, place, None, transport)?))
}
