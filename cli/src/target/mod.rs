//! The target: which device it is, what lies on it, who uses it.

pub mod asleep;
pub mod content;
pub mod device;
pub mod direct;
pub mod empty;
pub mod place;
pub mod swap;
pub mod usage;
pub mod writable;

pub use content::Content;
pub use device::{Device, DeviceError};
