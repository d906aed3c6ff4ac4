//! Which device an error is about.

use crate::queue::{Cause, DeviceError};
use alloc::format;
use alloc::string::String;
use dormouse_handoff::plan::Address;
use dormouse_handoff::units::Lba;

/// A device's name in messages; makes its errors.
#[derive(Clone, Debug)]
pub struct Place(String);

impl Place {
    /// A controller: `nvme 0000:00:04.0`.
    pub fn controller(driver: &str, address: impl Into<Address>) -> Self {
        Self(format!("{driver} {}", address.into()))
    }

    /// One of its units: `nvme 0000:00:04.0 namespace 1`.
    pub fn unit(&self, kind: &str, unit: u32) -> Self {
        Self(format!("{} {kind} {unit}", self.0))
    }

    /// What went wrong in `operation`.
    pub fn error(&self, operation: &'static str, cause: Cause) -> DeviceError {
        DeviceError { device: self.0.clone(), operation, lba: None, cause }
    }

    /// What went wrong in `operation` on the blocks from `lba`.
    pub fn error_at(&self, operation: &'static str, lba: Lba, cause: Cause) -> DeviceError {
        DeviceError { lba: Some(lba), ..self.error(operation, cause) }
    }
}

impl core::fmt::Display for Place {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.0)
    }
}
