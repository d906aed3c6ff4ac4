//! No block is written that was not granted.

use crate::queue::{
    BlockQueue, Completion, DeviceError, Direction, Geometry, Identity, Request, SubmitError,
};
use alloc::boxed::Box;
use alloc::vec::Vec;
use dormouse_handoff::extents::Extent;

/// A device of which anything may be read, but only granted blocks written.
///
/// Drivers are handed out wrapped in this, so that no bug of a caller, and no
/// damaged table, can reach a block outside the plan.
pub struct Guarded {
    device: Box<dyn BlockQueue>,
    granted: Vec<Extent>,
}

impl Guarded {
    /// Guards `device`; nothing is granted yet.
    pub fn new(device: Box<dyn BlockQueue>) -> Self {
        Self { device, granted: Vec::new() }
    }

    /// Allows writing to exactly these extents from now on.
    pub fn grant(&mut self, extents: &[Extent]) {
        self.granted.clear();
        self.granted.extend_from_slice(extents);
    }

    fn is_granted(&self, request: &Request<'_>) -> bool {
        let blocks = request.bytes().div_ceil(u64::from(self.device.geometry().block_size));
        self.granted.iter().any(|extent| extent.covers(request.lba, blocks))
    }
}

impl BlockQueue for Guarded {
    fn geometry(&self) -> Geometry {
        self.device.geometry()
    }

    fn identity(&self) -> &Identity {
        self.device.identity()
    }

    fn submit(&mut self, request: &Request<'_>) -> Result<(), SubmitError> {
        if request.direction == Direction::Write && !self.is_granted(request) {
            let block_size = u64::from(self.device.geometry().block_size);
            return Err(SubmitError::NotGranted {
                lba: request.lba,
                blocks: request.bytes().div_ceil(block_size),
            });
        }
        self.device.submit(request)
    }

    fn ring(&mut self) {
        self.device.ring();
    }

    fn poll(&mut self) -> Result<Option<Completion>, DeviceError> {
        self.device.poll()
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        self.device.flush()
    }

    fn shutdown(&mut self) -> Result<(), DeviceError> {
        self.device.shutdown()
    }
}
