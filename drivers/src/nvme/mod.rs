//! NVM Express, by its base specification 2.0.

use crate::controllers::Driver;
use crate::platform::Platform;
use crate::queue::{BlockQueue, Cause, DeviceError};
use alloc::boxed::Box;
use alloc::vec::Vec;
use dormouse_handoff::plan::{PciAddress, Transport};

/// This driver, for the list of drivers.
pub(crate) const DRIVER: Driver = Driver {
    transport: Transport::Nvme,
    claims: |function| {
        let class = function.class;
        (class.base, class.sub, class.interface) == (0x01, 0x08, 0x02)
    },
    units,
    open,
};

fn units(_: &'static dyn Platform, address: PciAddress) -> Result<Vec<u32>, DeviceError> {
    Err(crate::place::Place::controller("nvme", address).error("open", Cause::Unsupported("yet")))
}

fn open(
    _: &'static dyn Platform,
    address: PciAddress,
    _: u32,
) -> Result<Box<dyn BlockQueue>, DeviceError> {
    Err(crate::place::Place::controller("nvme", address).error("open", Cause::Unsupported("yet")))
}
