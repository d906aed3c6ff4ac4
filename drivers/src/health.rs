//! What a device is good for, once it was made ready.

use crate::place::Place;
use crate::queue::{Cause, DeviceError};

/// From live on it only goes down.
#[derive(Debug)]
pub enum Health {
    /// It takes requests.
    Live,
    /// It is of no use any more, for this reason; it may still reach memory.
    Failed(DeviceError),
    /// The driver has stopped it: it reaches no memory.
    Stopped,
}

impl Health {
    /// Whether the device takes requests; if not, why `operation` cannot be.
    pub fn check(&self, place: &Place, operation: &'static str) -> Result<(), DeviceError> {
        match self {
            Self::Live => Ok(()),
            Self::Failed(error) => Err(error.clone()),
            Self::Stopped => {
                Err(place.error(operation, Cause::Dead("the driver has shut it down")))
            }
        }
    }

    /// Gives the device up because of `error`, which is handed back.
    pub fn fail(&mut self, error: DeviceError) -> DeviceError {
        *self = Self::Failed(error.clone());
        error
    }
}
