//! The end-to-end harness: real Linux guests in QEMU that are put to sleep and
//! woken, and judged by their own programs and by QEMU's own eyes.

mod artefacts;
pub mod checks;
pub mod disk;
mod error;
mod fill;
mod guest;
mod inbox;
mod initramfs;
mod life;
pub mod qemu;
mod socket;
pub mod swsusp;

pub use artefacts::Artefacts;
pub use error::Error;
pub use fill::{Fill, SECOND_DISK};
pub use guest::Guest;
pub use life::{Asleep, Attempt, Awake, Life, Options};
