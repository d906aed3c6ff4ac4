//! The two contracts of dormouse.
//!
//! * The [`plan`] is what Linux hands to the writer: where memory is, where
//!   the image may go, what to do afterwards.
//! * The [`image`] is what the writer hands to the reader, across a power-off.
//! * The [`mailbox`] is what both leave for Linux to read after the return.
//!
//! All layouts are fixed, little-endian and versioned; every parser here takes
//! arbitrary bytes and answers with a typed view or an error, never a panic.
//! Nothing in this crate touches hardware.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

#[cfg(not(target_endian = "little"))]
compile_error!("the layouts are little-endian and are read in place");

pub mod checksum;
pub mod extents;
pub mod image;
pub mod mailbox;
pub mod memory_map;
pub mod partitions;
pub mod plan;
pub mod screen;
pub mod units;
