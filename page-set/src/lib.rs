//! Elision of free pages: which frames of a Linux need storing.
//!
//! The old kernel keeps a `struct page` for every frame. The writer reads them
//! while nothing moves, so what they say is exact:
//!
//! ```text
//! VMCOREINFO note -> page tables -> mem_section -> struct page -> verdict
//! ```
//!
//! True on entry: the old kernel stands still, and the note is its own. Nothing
//! else is believed. Every address that is read has been found in the plan's
//! memory map and outside the window first, no loop is as long as a value in
//! the old kernel's memory says, and what looks inconsistent counts as in use:
//! damage there costs elision, never a fault or a wrong image.
//!
//! Memory use is constant, and nothing is ever written.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod linux_pages;
mod page_struct;
mod readable;
mod sections;
mod translate;
mod unsupported;
pub mod vmcoreinfo;

#[cfg(test)]
mod damage;
#[cfg(test)]
mod fake_kernel;
#[cfg(test)]
mod verdicts;

pub use linux_pages::LinuxPages;
pub use readable::{PhysRead, Readable};
pub use translate::{KernelSpace, Levels, LinearAddr, Tables};
pub use unsupported::Unsupported;
