//! Looking for images on every disk.

use super::Error;
use crate::disks::{self, Disk, Then};
use alloc::vec::Vec;
use dormouse_drivers::Controller;
use dormouse_drivers::guard::Guarded;
use dormouse_handoff::image::{Header, HeaderError};
use dormouse_handoff::units::Lba;
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

/// What was found, at least one, in the order in which it is to be tried; and the
/// first one's disk, if it is still open.
type AllFound = (Vec<Found>, Option<Guarded>);

/// The valid images on all disks. Says of every other what is wrong with it.
///
/// # Safety
///
/// No driver is alive, and of the memory for devices none but `scratch` is in use.
pub unsafe fn images(controllers: &[Controller], scratch: &mut Buffer) -> Result<AllFound, Error> {
    let mut found = Vec::new();
    let mut refused = None;
    let look = |disk, device: &mut Guarded| look(disk, device, scratch, &mut found, &mut refused);
    // SAFETY: as the caller promises.
    let kept = unsafe { disks::visit(controllers, look) };
    let found = choice::in_order(found, |one| &one.header)
        .map_err(|choice::Several(number)| Error::Several(number));
    let open = kept.and_then(|(disk, device)| {
        let first = found.as_ref().ok().and_then(|found| found.first());
        if first.is_some_and(|first| first.disk == disk) {
            return Some(device);
        }
        disks::close(disk, device);
        None
    });
    match (found?, refused) {
        (found, Some(error)) if found.is_empty() => Err(error.into()),
        (found, None) if found.is_empty() => Err(Error::NoImage),
        (found, _) => Ok((found, open)),
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
