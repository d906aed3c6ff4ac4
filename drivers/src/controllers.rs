//! From a controller to its driver: the one list of drivers.

use crate::guard::Guarded;
use crate::pci::{self, Function, functions};
use crate::platform::Platform;
use crate::queue::{BlockQueue, Cause, DeviceError};
use crate::{ahci, last_resort, nvme, place::Place, virtio_blk};
use alloc::boxed::Box;
use alloc::vec::Vec;
use dormouse_handoff::plan::{Address, PciAddress, Transport};
use dormouse_handoff::units::PhysAddr;

/// Every driver of a controller on PCI. Adding one is a line here and a module beside it.
const DRIVERS: &[Driver] = &[
    nvme::DRIVER, //
    virtio_blk::DRIVER,
    ahci::DRIVER,
];

/// What opening a unit comes to.
pub(crate) type Opened = Result<Box<dyn BlockQueue>, DeviceError>;

/// The units of a controller that hold blocks: NVMe namespaces, AHCI ports with a
/// disk; 0 alone for virtio-blk.
pub enum Units<D> {
    /// One alone, and it is ready: to open it costs no second reset.
    One(u32, D),
    /// None, or several. The controller is left as [`BlockQueue::shutdown`] would.
    Closed(Vec<u32>),
}

/// What looking for units comes to.
pub(crate) type Found = Result<Units<Box<dyn BlockQueue>>, DeviceError>;

/// What a driver's module offers.
pub(crate) struct Driver {
    /// How plan and image name it.
    pub transport: Transport,
    /// Whether a function is one of its controllers.
    pub claims: fn(&Function) -> bool,
    /// Resets the controller and looks for its units.
    pub units: fn(&'static dyn Platform, PciAddress) -> Found,
    /// Resets the controller and makes one unit ready.
    pub open: fn(&'static dyn Platform, PciAddress, u32) -> Opened,
}

/// A controller that one of the drivers claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Controller {
    /// Which driver's it is.
    pub transport: Transport,
    /// Where it is.
    pub address: Address,
}

/// Takes the machine over from whoever had it before: no device reaches memory any
/// more that is on PCI or at one of `mmio`, where registers of virtio-mmio are said to
/// be. How many were still allowed to, and every controller that a driver claims, in
/// order of address; then those of `mmio` that have a disk.
///
/// One walk for both: each asks all of PCI's buses, which takes milliseconds.
pub fn take_over(platform: &'static dyn Platform, mmio: &[PhysAddr]) -> (usize, Vec<Controller>) {
    let mut quieted = 0;
    let mut found = Vec::new();
    for function in functions(platform) {
        quieted += usize::from(pci::quiet(platform, &function));
        if let Some(driver) = DRIVERS.iter().find(|driver| (driver.claims)(&function)) {
            let address = Address::Pci(function.address);
            found.push(Controller { transport: driver.transport, address });
        }
    }
    for &start in mmio {
        let Some(device) = virtio_blk::quiet_mmio(platform, start) else { continue };
        quieted += usize::from(device.was_live);
        if device.is_disk {
            let address = Address::Mmio(start);
            found.push(Controller { transport: Transport::VirtioMmio, address });
        }
    }
    (quieted, found)
}

/// The controller's units, the only one of them ready for use. Nothing may be
/// written until the guard around it is granted extents.
///
/// The controller is reset for this; no other driver of it may be alive.
pub fn units(
    platform: &'static dyn Platform,
    controller: Controller,
) -> Result<Units<Guarded>, DeviceError> {
    let units = match controller.address {
        Address::Pci(address) => {
            (driver_of(platform, controller.transport, address)?.units)(platform, address)?
        }
        Address::Mmio(start) => Units::One(0, virtio_blk::open_mmio(platform, start)?),
    };
    Ok(match units {
        Units::One(unit, device) => Units::One(unit, Guarded::new(device)),
        Units::Closed(units) => Units::Closed(units),
    })
}

/// Resets the controller and makes one of its units ready. Nothing may be
/// written until the guard around it is granted extents.
pub fn open(
    platform: &'static dyn Platform,
    controller: Controller,
    unit: u32,
) -> Result<Guarded, DeviceError> {
    let device = match controller.address {
        Address::Pci(address) => {
            (driver_of(platform, controller.transport, address)?.open)(platform, address, unit)
        }
        Address::Mmio(start) => virtio_blk::open_mmio(platform, start),
    };
    device.map(Guarded::new)
}

/// Makes sure that no device reaches memory any more, whatever drivers are in
/// the middle of: bus mastering off on PCI, and the device in use reset. How many
/// devices on PCI were still allowed to.
pub fn quiet_all(platform: &dyn Platform) -> usize {
    let quieted = pci::quiet_all(platform);
    if !last_resort::reset(platform) {
        log::warn!("the device in use does not reset");
    }
    quieted
}

/// The driver that the controller is said to need, if what is found at its
/// address agrees.
fn driver_of(
    platform: &dyn Platform,
    transport: Transport,
    address: PciAddress,
) -> Result<&'static Driver, DeviceError> {
    let error = |cause| Err(Place::controller("pci", address).error("find driver", cause));
    let Some(driver) = DRIVERS.iter().find(|driver| driver.transport == transport) else {
        return error(Cause::Unsupported("there is no driver for this kind of controller"));
    };
    match Function::probe(platform, address) {
        Some(function) if (driver.claims)(&function) => Ok(driver),
        Some(_) => error(Cause::Unsupported("this PCI function is no controller of that kind")),
        None => error(Cause::Dead("nothing answers at this PCI address")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::FakeMachine;
    use crate::registers::{Mmio, Registers};

    const STATUS: usize = 0x70;
    const AT_WORK: u32 = 0xf;

    #[test]
    fn no_device_of_virtio_mmio_is_left_at_work_whatever_kind_it_is() {
        let machine = FakeMachine::new();
        let device = |start, kind| {
            let registers = Mmio::of_memory(0x200);
            for (offset, value) in [(0, u32::from_le_bytes(*b"virt")), (4, 2), (8, kind)] {
                registers.write32(offset, value);
            }
            registers.write32(STATUS, AT_WORK);
            machine.add_mmio(PhysAddr(start), &registers);
            registers
        };
        let [network, disk, nobody] =
            [(0x1000, 1), (0x2000, 2), (0x3000, 0)].map(|(start, kind)| device(start, kind));
        let something_else = device(0x4000, 1);
        something_else.write32(0, 0);
        let places = [0x1000, 0x2000, 0x3000, 0x4000, 0x5000].map(PhysAddr);

        let (quieted, found) = take_over(machine, &places);
        assert_eq!(quieted, 2);
        let address = Address::Mmio(PhysAddr(0x2000));
        assert_eq!(found, [Controller { transport: Transport::VirtioMmio, address }]);
        assert_eq!([&network, &disk].map(|device| device.read32(STATUS)), [0, 0]);
        let others = [&nobody, &something_else].map(|device| device.read32(STATUS));
        assert_eq!(others, [AT_WORK; 2], "what is no device was written");
        assert_eq!(take_over(machine, &places).0, 0, "they are quiet now");
    }
}
