//! Looking for images on every disk.

use super::Error;
use crate::disks::{self, Disk, Then};
use alloc::vec::Vec;
use dormouse_drivers::guard::Guarded;
use dormouse_handoff::image::{Header, HeaderError};
use dormouse_handoff::units::{Lba, PhysAddr};
use dormouse_transfer::memory::Buffer;
use dormouse_transfer::{choice, error, image, partitions};

/// A valid image, and where it lies.
#[derive(Clone, Debug)]
pub struct Found {
    /// The disk.
    pub disk: Disk,
    /// The image's first block.
    pub start: Lba,
    /// What it says of itself.
    pub header: Header,
}

/// What was found, at least one, in the order in which it is to be tried; and a disk
/// that is still open, most often that of the first.
type AllFound = (Vec<Found>, Option<(Disk, Guarded)>);

/// The valid images on all disks. Says of every other what is wrong with it.
///
/// `mmio` is where disks without a bus are said to be.
///
/// # Safety
///
/// No driver is alive, and of the memory for devices none but `scratch` is in use.
pub unsafe fn images(mmio: &[PhysAddr], scratch: &mut Buffer) -> Result<AllFound, Error> {
    let mut found = Vec::new();
    let mut refused = None;
    let look = |disk, device: &mut Guarded| look(disk, device, scratch, &mut found, &mut refused);
    // SAFETY: as the caller promises.
    let open = unsafe { disks::visit(mmio, look) };
    let found = choice::in_order(found, |one| &one.header)
        .map_err(|choice::Several(number)| Error::Several(number))?;
    match (found.is_empty(), refused) {
        (false, _) => Ok((found, open)),
        (true, Some(error)) => Err(error.into()),
        (true, None) => Err(Error::NoImage),
    }
}

/// Looks at one disk. `refused` is the last image that is not valid.
fn look(
    disk: Disk,
    device: &mut Guarded,
    scratch: &mut Buffer,
    found: &mut Vec<Found>,
    refused: &mut Option<error::Error>,
) -> Result<Then, error::Error> {
    let mut then = Then::Close;
    for start in partitions::possible_starts(device, scratch)? {
        match image::open(device, start, scratch) {
            Ok(opened) => {
                found.push(Found { disk, start, header: opened.header });
                then = Then::Keep;
            }
            Err(error::Error::Header(HeaderError::None)) => {}
            Err(error) => {
                log::info!("{disk} block {start}: {error}");
                *refused = Some(error);
            }
        }
    }
    Ok(then)
}
