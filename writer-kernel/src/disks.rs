//! Every disk of the machine, one after the other.

use crate::machine::{DmaMark, MACHINE};
use dormouse_drivers::guard::Guarded;
use dormouse_drivers::queue::{BlockQueue, Cause, DeviceError};
use dormouse_drivers::{Controller, Units, open, units};

/// A disk, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The controller.
    pub controller: Controller,
    /// Its unit.
    pub unit: u32,
}

impl core::fmt::Display for Disk {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Controller { transport, address } = self.controller;
        write!(f, "{transport:?} {address} unit {}", self.unit)
    }
}

/// What becomes of a disk that was looked at.
pub enum Then {
    /// It is shut down.
    Close,
    /// It stays open, if it can.
    Keep,
}

/// Opens every disk, shows it to `look`, and shuts it down again; but for the first
/// that is to be kept, which is the answer, still open.
///
/// What memory the drivers take is given back after each disk, as a machine may have
/// any number: where there is none left for the next one, the one that was kept is
/// shut down as well. One whose controller has others is never kept, as opening those
/// resets it.
///
/// # Safety
///
/// No driver is alive, and memory for devices that is in use stays so.
pub unsafe fn visit<E: core::fmt::Display>(
    controllers: &[Controller],
    mut look: impl FnMut(Disk, &mut Guarded) -> Result<Then, E>,
) -> Option<(Disk, Guarded)> {
    let mut visit = Visit { kept: None, free: MACHINE.dma_mark() };
    for &controller in controllers {
        let units = match visit.with_room(|| units(&MACHINE, controller)) {
            Ok(Units::One(unit, mut device)) => {
                let disk = Disk { controller, unit };
                match shown(disk, look(disk, &mut device)) {
                    Then::Keep if visit.kept.is_none() => visit.keep(disk, device),
                    _ => visit.close(disk, device),
                }
                continue;
            }
            Ok(Units::Closed(units)) => units,
            Err(error) => {
                log::warn!("{error}");
                continue;
            }
        };
        for unit in units {
            let disk = Disk { controller, unit };
            match visit.with_room(|| open(&MACHINE, controller, unit)) {
                Ok(mut device) => {
                    shown(disk, look(disk, &mut device));
                    visit.close(disk, device);
                }
                Err(error) => log::warn!("{error}"),
            }
        }
    }
    visit.kept.map(|(disk, device, _)| (disk, device))
}

/// Shuts a disk down, and says what went wrong with that.
pub fn close(disk: Disk, mut device: Guarded) {
    if let Err(error) = device.shutdown() {
        log::warn!("{disk}: {error}");
    }
}

/// What becomes of a disk: one that makes trouble is shut down.
fn shown<E: core::fmt::Display>(disk: Disk, looked: Result<Then, E>) -> Then {
    looked.unwrap_or_else(|error| {
        log::warn!("{disk}: {error}");
        Then::Close
    })
}

struct Visit {
    /// The disk that stays open, and what was in use before it.
    kept: Option<(Disk, Guarded, DmaMark)>,
    /// What is in use, the disk that stays open included.
    free: DmaMark,
}

impl Visit {
    /// Opens something, if need be without the disk that was kept.
    fn with_room<T>(
        &mut self,
        open: impl Fn() -> Result<T, DeviceError>,
    ) -> Result<T, DeviceError> {
        let mut opened = open();
        if let Err(DeviceError { cause: Cause::Exhausted, .. }) = opened
            && let Some((disk, device, before)) = self.kept.take()
        {
            self.free = before;
            self.close(disk, device);
            opened = open();
        }
        if opened.is_err() {
            self.release();
        }
        opened
    }

    fn keep(&mut self, disk: Disk, device: Guarded) {
        self.kept = Some((disk, device, self.free));
        self.free = MACHINE.dma_mark();
    }

    fn close(&mut self, disk: Disk, device: Guarded) {
        close(disk, device);
        self.release();
    }

    fn release(&mut self) {
        // SAFETY: what was opened since is gone again, and whoever looked at it
        // kept nothing of it: by `visit`'s contract nobody else takes memory.
        unsafe { MACHINE.dma_release_to(self.free) };
    }
}
