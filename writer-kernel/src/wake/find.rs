//! Looking for the image on every disk.

use super::Error;
use crate::machine::MACHINE;
use alloc::vec::Vec;
use dormouse_drivers::queue::BlockQueue;
use dormouse_drivers::{Controller, find_controllers, open, units};
use dormouse_handoff::image::{HeaderError, Kind};
use dormouse_handoff::units::{Lba, PhysAddr};
use dormouse_transfer::memory::Buffer;
use dormouse_transfer::{error, image, partitions};

/// Where a valid image lies.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// The controller.
    pub controller: Controller,
    /// Its unit.
    pub unit: u32,
    /// The image's first block.
    pub start: Lba,
    /// How often it may be resumed.
    pub kind: Kind,
}

/// The one valid image on all disks; a sleeping system goes before reusable
/// images, as it is what the machine did last. Says of every other what is wrong
/// with it.
///
/// `mmio` is where disks without a bus are said to be.
pub fn the_one(mmio: &[PhysAddr], scratch: &mut Buffer) -> Result<Found, Error> {
    let mut found = Vec::new();
    let mut refused = None;
    for controller in find_controllers(&MACHINE, mmio) {
        let units = match units(&MACHINE, controller) {
            Ok(units) => units,
            Err(error) => {
                log::warn!("{error}");
                continue;
            }
        };
        for unit in units {
            match look(controller, unit, scratch, &mut found) {
                Ok(None) => {}
                Ok(error) => refused = error,
                Err(error) => {
                    log::warn!("{:?} {}: {error}", controller.transport, controller.address)
                }
            }
        }
    }
    if found.iter().any(|one| one.kind == Kind::Once) {
        found.retain(|one| one.kind == Kind::Once);
    }
    match (found[..].first(), found.len(), refused) {
        (Some(one), 1, _) => Ok(*one),
        (Some(_), several, _) => Err(Error::Several(several)),
        (None, _, Some(error)) => Err(error.into()),
        (None, _, None) => Err(Error::NoImage),
    }
}

/// Looks at one disk; the last refusal, if there was any.
fn look(
    controller: Controller,
    unit: u32,
    scratch: &mut Buffer,
    found: &mut Vec<Found>,
) -> Result<Option<error::Error>, Error> {
    let mut device = open(&MACHINE, controller, unit)?;
    let mut refused = None;
    for start in partitions::possible_starts(&mut device, scratch)? {
        match image::open(&mut device, start, scratch) {
            Ok(opened) => {
                found.push(Found { controller, unit, start, kind: opened.header.kind() });
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
