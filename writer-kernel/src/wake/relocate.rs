//! Moving into the image's window.
//!
//! The copy runs at the same virtual address, so every pointer stays right;
//! only physical addresses change, and they are all computed from
//! `window_base`, which the entry code sets anew. Devices are quiet meanwhile;
//! memory for them and page tables are not copied, as none of it is used again.

use super::Error;
use crate::arch::paging::direct;
use crate::arch::window;
use crate::entry;
use crate::machine::MACHINE;
use dormouse_handoff::units::{PageRange, Pfn, PhysAddr};

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
    for part in window::lasting() {
        let at = |start: Pfn| direct(PhysAddr(start.address().0 + part.start));
        let bytes = (part.end - part.start) as usize;
        // SAFETY: both ranges are RAM in the direct map and share nothing; nobody
        // else knows the target range. What changes on the stack meanwhile is not
        // looked at again.
        unsafe { at(from.start).copy_to_nonoverlapping(at(to.start), bytes) };
    }
    // SAFETY: just copied, both identity-mapped.
    unsafe { entry::leave_to_copy(to.start.address()) }
}
