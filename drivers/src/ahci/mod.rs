//! Serial ATA behind AHCI, by revision 1.3.1 of its specification.
//!
//! ```text
//!    Controller::take_over       Port::attach        Disk::start
//!  found as it is ──> all ports still ──> link up, ──> identified ──> submit, ring, poll
//!                       │       ^         device ready                     │ fault
//!                       └ reset ┘ if one                   ^── recover ────┘
//!                                 does not stop
//! ```
//!
//! One port of a controller is used at a time. Where disk and controller can,
//! requests are queued in the disk (NCQ), else in the controller.

mod ata;
mod commands;
mod controller;
mod disk;
mod flight;
mod identify;
mod port;
mod quirks;
mod spec;

#[cfg(any(test, feature = "model"))]
pub(crate) mod model;
#[cfg(test)]
mod tests;

use crate::controllers::{Driver, Found, Opened, Units};
use crate::dma::DmaBuffer;
use crate::last_resort::{self, Reset, Width};
use crate::pci::Endpoint;
use crate::place::Place;
use crate::platform::Platform;
use crate::queue::{Cause, DeviceError};
use crate::registers::{Mmio, Registers};
use alloc::boxed::Box;
use alloc::vec::Vec;
use controller::{Controller, register_bytes};
use disk::Disk;
use dormouse_handoff::plan::{PciAddress, Transport};
use spec::{ABAR, LIST_BYTES, RECEIVED_BYTES, host};

/// A reset without the driver (AHCI 1.3.1, §10.4.3).
const RESET: Reset = Reset {
    register: host::GHC,
    value: controller::RESET,
    answer: host::GHC,
    busy: 1,
    width: Width::Word,
};

/// This driver, for the list of drivers.
pub(crate) const DRIVER: Driver = Driver {
    transport: Transport::Ahci,
    claims: |function| {
        // Mass storage, Serial ATA, AHCI.
        let class = function.class;
        (class.base, class.sub, class.interface) == (0x01, 0x06, 0x01)
    },
    units,
    open,
};

fn units(platform: &'static dyn Platform, address: PciAddress) -> Found {
    let (endpoint, controller) = take_over(platform, address)?;
    match list_disks(platform, &endpoint, &controller) {
        Ok(disks) => {
            if let [port] = disks[..] {
                return Ok(Units::One(port, start(platform, address, endpoint, controller, port)?));
            }
            endpoint.stop_dma();
            Ok(Units::Closed(disks))
        }
        Err(cause) => {
            endpoint.stop_dma();
            Err(Place::controller("ahci", address).error("list disks", cause))
        }
    }
}

fn open(platform: &'static dyn Platform, address: PciAddress, port: u32) -> Opened {
    let (endpoint, controller) = take_over(platform, address)?;
    start(platform, address, endpoint, controller, port)
}

fn take_over(
    platform: &'static dyn Platform,
    address: PciAddress,
) -> Result<(Endpoint, Controller<Mmio>), DeviceError> {
    let place = Place::controller("ahci", address);
    let (endpoint, registers) =
        map(platform, address).map_err(|cause| place.error("map registers", cause))?;
    match Controller::take_over(platform, registers) {
        Ok(controller) => Ok((endpoint, controller)),
        Err(cause) => {
            endpoint.stop_dma();
            Err(place.error("take over", cause))
        }
    }
}

fn start(
    platform: &'static dyn Platform,
    address: PciAddress,
    endpoint: Endpoint,
    controller: Controller<Mmio>,
    port: u32,
) -> Opened {
    let place = Place::controller("ahci", address).unit("port", port);
    match Disk::start(platform, place, endpoint, controller, port) {
        Ok(disk) => Ok(Box::new(disk)),
        Err(error) => {
            endpoint.stop_dma();
            Err(error)
        }
    }
}

fn map(platform: &'static dyn Platform, address: PciAddress) -> Result<(Endpoint, Mmio), Cause> {
    let endpoint = Endpoint::enable(platform, address)?;
    let bytes = register_bytes(&endpoint.map(ABAR, 0, host::PORTS)?);
    let registers = endpoint.map(ABAR, 0, bytes)?;
    last_resort::arm(&registers, RESET);
    Ok((endpoint, registers))
}

/// The ports that have a disk. Leaves all of them stopped.
fn list_disks<R: Registers>(
    platform: &dyn Platform,
    endpoint: &Endpoint,
    controller: &Controller<R>,
) -> Result<Vec<u32>, Cause> {
    let memory =
        DmaBuffer::allocate(platform, LIST_BYTES + RECEIVED_BYTES).map_err(|_| Cause::Exhausted)?;
    let (list, received) = (memory.address(0), memory.address(LIST_BYTES));
    endpoint.start_dma();
    controller.power_up(platform);
    let mut disks = Vec::new();
    for number in controller.ports() {
        let port = controller.port(number);
        if !port.senses_device() {
            continue;
        }
        match port.attach(platform, list, received) {
            Ok(true) => disks.push(number),
            Ok(false) => {}
            Err(cause) => log::warn!("ahci port {number}: {cause}"),
        }
        port.stop(platform)?;
    }
    Ok(disks)
}
