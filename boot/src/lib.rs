//! What the reader needs to start a Linux by itself, when it wakes none: the
//! files on a boot partition, a place for each in memory, and the boot
//! parameters that Linux wants to find.
//!
//! Nothing here touches hardware. A disk is whatever can read bytes at an offset
//! ([`Disk`]); memory is a list of ranges. The way goes straight through:
//! [`fat::Volume`] finds the files, [`bzimage::Kernel`] is what the kernel's
//! header asks for, [`place::Places`] chooses where everything goes,
//! [`params::Params`] fills in the pages that tell Linux.
//!
//! All bytes are foreign: a boot partition is written by other tools, and its
//! disk may be damaged.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod bytes;
pub mod bzimage;
pub mod command_line;
pub mod disk;
pub mod e820;
pub mod fat;
#[cfg(any(test, feature = "model"))]
pub mod models;
pub mod params;
pub mod place;

pub use disk::{Disk, Error};

/// The folder of a boot partition that has the files.
pub const FOLDER: &str = "DORMOUSE";

/// The kernel: a bzImage.
pub const KERNEL: &str = "KERNEL";

/// The initramfs.
pub const INITRD: &str = "INITRD";

/// The command line: a line of text.
pub const COMMAND_LINE: &str = "CMDLINE";
