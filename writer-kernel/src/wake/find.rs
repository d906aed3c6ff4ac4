//! Looking for images on every disk.

use super::Error;
use crate::machine::MACHINE;
use crate::ram;
use alloc::vec::Vec;
use dormouse_drivers::platform::Platform;
use dormouse_drivers::queue::BlockQueue;
use dormouse_drivers::{Controller, find_controllers, open, units};
use dormouse_handoff::image::{Header, HeaderError};
use dormouse_handoff::units::{Lba, PhysAddr};
use dormouse_transfer::save::SCRATCH_BYTES;
use dormouse_transfer::{choice, error, image, partitions};

/// A valid image, and where it lies.
#[derive(Clone, Debug)]
pub struct Found {
    /// The controller.
    pub controller: Controller,
    /// Its unit.
    pub unit: u32,
    /// The image's first block.
    pub start: Lba,
    /// What it says of itself.
    pub header: Header,
}

/// The valid images on all disks, at least one, in the order in which they are
/// to be tried. Says of every other what is wrong with it.
///
/// `mmio` is where disks without a bus are said to be. What memory the drivers
/// take is given back after each disk, as a machine may have any number.
///
/// # Safety
///
/// No driver is alive, and no memory for devices is in use.
pub unsafe fn images(mmio: &[PhysAddr]) -> Result<Vec<Found>, Error> {
    let mut found = Vec::new();
    let mut refused = None;
    for controller in find_controllers(&MACHINE, mmio) {
        // SAFETY: as the caller promises; no driver lives longer than its turn.
        unsafe { MACHINE.dma_release_all() };
        let units = match units(&MACHINE, controller) {
            Ok(units) => units,
            Err(error) => {
                log::warn!("{error}");
                continue;
            }
        };
        for unit in units {
            // SAFETY: as above.
            unsafe { MACHINE.dma_release_all() };
            match look(controller, unit, &mut found) {
                Ok(None) => {}
                Ok(error) => refused = error,
                Err(error) => {
                    log::warn!("{:?} {}: {error}", controller.transport, controller.address)
                }
            }
        }
    }
    let found = choice::in_order(found, |one| &one.header)
        .map_err(|choice::Several(number)| Error::Several(number))?;
    match (found.is_empty(), refused) {
        (false, _) => Ok(found),
        (true, Some(error)) => Err(error.into()),
        (true, None) => Err(Error::NoImage),
    }
}

/// Looks at one disk; the last refusal, if there was any.
fn look(
    controller: Controller,
    unit: u32,
    found: &mut Vec<Found>,
) -> Result<Option<error::Error>, Error> {
    let scratch = &mut ram::buffer(SCRATCH_BYTES)?;
    let mut device = open(&MACHINE, controller, unit)?;
    let mut refused = None;
    for start in partitions::possible_starts(&mut device, scratch)? {
        match image::open(&mut device, start, scratch) {
            Ok(opened) => {
                found.push(Found { controller, unit, start, header: opened.header });
            }
            Err(error::Error::Header(HeaderError::None)) => {}
            Err(error) => {
                log::info!(
                    "{:?} {} unit {unit} block {start}: {error}",
                    controller.transport,
                    controller.address,
                );
                refused = Some(error);
            }
        }
    }
    device.shutdown()?;
    Ok(refused)
}
