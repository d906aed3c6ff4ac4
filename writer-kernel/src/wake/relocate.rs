//! Moving into the image's window.
//!
//! The copy runs at the same virtual address, so every pointer stays right; only
//! physical addresses change, and they are all computed from `window_base`, which
//! the entry code sets anew.
//!
//! The memory that devices use stays where it is: a controller knows its queues by
//! their physical addresses, and would have to be reset to learn others. So devices
//! stay open, and what belongs in that place waits in the image's window, which
//! nothing belongs to, until the disk is done with ([`come_back`]).

use super::Error;
use crate::arch::paging::{MapError, direct};
use crate::arch::window;
use crate::entry;
use crate::machine::MACHINE;
use core::ops::Range;
use dormouse_handoff::units::{PageRange, Pfn, PhysAddr};
use dormouse_transfer::restore::Aside;

/// Copies this program to the window `to`, but for what devices use, and goes on
/// there.
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
    window::leave_apart();
    let apart = window::apart_offset();
    // SAFETY: both ranges are RAM in the direct map and share nothing; nobody
    // else knows the target range, but for that part of it where memory that devices
    // use may have stayed, which is left out. What changes on the stack meanwhile is
    // not looked at again.
    unsafe {
        copy(from.start.address(), to.start.address(), 0..apart.start);
        copy(from.start.address(), to.start.address(), apart.end..window::bytes());
    }
    // SAFETY: just copied, both identity-mapped.
    unsafe { entry::leave_to_copy(to.start.address()) }
}

/// What is read into this window, while devices use the place where it belongs.
pub fn aside() -> Aside {
    Aside { taken: window::apart(), instead: place_here() }
}

/// Puts what was read into this window to where it belongs.
///
/// # Safety
///
/// No device is in use, nor is any memory for devices from here on.
pub unsafe fn come_back() -> Result<(), MapError> {
    let to = window::apart();
    let from = PageRange { start: place_here(), pages: to.pages };
    if from == to {
        return Ok(());
    }
    MACHINE
        .with_space(|space| {
            space.map_ram(from)?;
            space.map_ram(to)
        })
        .unwrap_or(Ok(()))?;
    // SAFETY: RAM in the direct map; no part of this program is in either.
    unsafe { copy(from.start.address(), to.start.address(), 0..to.bytes()) };
    Ok(())
}

/// Where the part that stays behind would be in this window.
fn place_here() -> Pfn {
    Pfn::containing(PhysAddr(window::start().0 + window::apart_offset().start))
}

/// # Safety
///
/// So many bytes behind both are RAM in the direct map, and share nothing.
unsafe fn copy(from: PhysAddr, to: PhysAddr, bytes: Range<u64>) {
    let at = |start: PhysAddr| direct(PhysAddr(start.0 + bytes.start));
    // SAFETY: as the caller promises.
    unsafe { at(from).copy_to_nonoverlapping(at(to), (bytes.end - bytes.start) as usize) };
}
