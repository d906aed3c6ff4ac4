//! Moving into the image's window.
//!
//! The copy runs at the same virtual address, so every pointer stays right;
//! only physical addresses change, and they are all computed from
//! `window_base`, which the entry code sets anew. Devices are quiet meanwhile.

use super::Error;
use crate::arch::paging::direct;
use crate::arch::window;
use crate::entry;
use crate::machine::MACHINE;
use dormouse_handoff::units::PageRange;

/// Copies this program to the window `to`, and goes on there.
///
/// `to` is as large as our own window, all RAM, and mapped; either the two are
/// the same or they share nothing, as both are aligned to their size.
pub fn go(to: PageRange) -> Result<core::convert::Infallible, Error> {
    let from = window::range();
    if from.intersection(&to).is_some() {
        return Err(Error::Unfit("the image's window and the reader's overlap"));
    }
    MACHINE
        .with_space(|space| {
            space.map_ram(from)?;
            space.map_identity(to)
        })
        .unwrap_or(Ok(()))?;
    // SAFETY: both ranges are RAM in the direct map and share nothing; nobody
    // else knows the target range. What changes on the stack meanwhile is not
    // looked at again.
    unsafe {
        direct(from.start.address())
            .copy_to_nonoverlapping(direct(to.start.address()), window::bytes() as usize);
    }
    // SAFETY: just copied, both identity-mapped.
    unsafe { entry::leave_to_copy(to.start.address()) }
}
