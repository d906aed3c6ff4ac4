//! The end-to-end harness: real Linux guests in QEMU that are put to sleep and
//! woken, and judged by their own programs and by QEMU's own eyes.

pub mod action;
mod appliance;
mod artefacts;
pub mod bench;
pub mod checks;
pub mod compare;
pub mod disk;
pub mod entry;
mod error;
mod fill;
mod guest;
pub mod host_program;
mod inbox;
mod initramfs;
pub mod judge;
pub mod kdump;
pub mod kiosk;
mod life;
mod main_job;
mod options;
pub mod qemu;
pub mod report;
pub mod scenario;
mod socket;
pub mod swsusp;
pub mod torture;
mod untouched;

pub use action::Action;
pub use appliance::Appliance;
pub use artefacts::Artefacts;
pub use entry::Entry;
pub use error::{Error, Failure};
pub use fill::{Fill, SECOND_DISK};
pub use guest::Guest;
pub use life::{Asleep, Attempt, Awake, Life};
pub use main_job::{BEFORE_POWER, BEFORE_WRITE, MainJob, Progress};
pub use options::Options;
