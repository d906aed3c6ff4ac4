//! NVM Express, by its base specification 2.0.
//!
//! ```text
//!            Controller::bring_up            Namespace::open
//!  found as it is ──> disabled ──> enabled ──> I/O queues ──> submit, ring, poll
//!                        ^            │                            │ flush
//!                        └── fatal ───┘ once                       v
//!                                              shut down (EN = 1, SHST = 10b, no DMA)
//! ```
//!
//! Whatever fails once queues exist ends in `Controller::stop`: no DMA, EN = 0.

mod controller;
mod namespace;
mod prp;
mod queue_pair;
mod quirks;
mod spec;
mod status;

#[cfg(any(test, feature = "model"))]
pub(crate) mod model;
#[cfg(test)]
mod tests;

use crate::controllers::{Driver, Found, Opened, Units};
use crate::last_resort::{self, Reset, Width};
use crate::pci::Endpoint;
use crate::place::Place;
use crate::platform::Platform;
use crate::queue::{Cause, DeviceError};
use crate::registers::{Mmio, Registers};
use alloc::boxed::Box;
use controller::Controller;
use dormouse_handoff::plan::{PciAddress, Transport};
use namespace::Namespace;
use spec::{Capabilities, register};

/// This driver, for the list of drivers.
pub(crate) const DRIVER: Driver = Driver {
    transport: Transport::Nvme,
    claims: |function| {
        // Mass storage, non-volatile memory, NVM Express I/O controller.
        let class = function.class;
        (class.base, class.sub, class.interface) == (0x01, 0x08, 0x02)
    },
    units,
    open,
};

/// A reset without the driver: EN = 0, and RDY follows (§3.1.3.5).
const RESET: Reset =
    Reset { register: register::CC, value: 0, answer: register::CSTS, busy: 1, width: Width::Word };

/// Doorbells that are used: two of the admin queues, two of the I/O queues.
const DOORBELLS: usize = 4;
/// The least that any controller has: registers, and a page of doorbells.
const LEAST_BYTES: usize = register::DOORBELLS + 4096;

fn units(platform: &'static dyn Platform, address: PciAddress) -> Found {
    let mut controller = bring_up(platform, address)?;
    let place = controller.place().clone();
    let namespaces =
        controller.active_namespaces().map_err(|cause| place.error("list namespaces", cause))?;
    if let [nsid] = namespaces[..] {
        return Ok(Units::One(nsid, Box::new(Namespace::open(controller, nsid)?)));
    }
    controller.shut_down(true).map_err(|cause| place.error("shut down", cause))?;
    Ok(Units::Closed(namespaces))
}

fn open(platform: &'static dyn Platform, address: PciAddress, nsid: u32) -> Opened {
    let controller = bring_up(platform, address)?;
    Ok(Box::new(Namespace::open(controller, nsid)?))
}

fn bring_up(
    platform: &'static dyn Platform,
    address: PciAddress,
) -> Result<Controller<Mmio>, DeviceError> {
    let (endpoint, registers) = map(platform, address)
        .map_err(|cause| Place::controller("nvme", address).error("map registers", cause))?;
    last_resort::arm(&registers, RESET);
    Controller::bring_up(platform, endpoint, registers)
}

fn map(platform: &'static dyn Platform, address: PciAddress) -> Result<(Endpoint, Mmio), Cause> {
    let endpoint = Endpoint::enable(platform, address)?;
    let registers = endpoint.map(0, 0, LEAST_BYTES)?;
    let stride = Capabilities(registers.read64(register::CAP)).doorbell_stride();
    let bytes = register::DOORBELLS + DOORBELLS * stride;
    if bytes <= LEAST_BYTES {
        return Ok((endpoint, registers));
    }
    let registers = endpoint.map(0, 0, bytes)?;
    Ok((endpoint, registers))
}
