//! Stamping: `writer.elf` moved to its window, with the plan inside.
//!
//! The kexec door passes no arguments and loads an ELF file where its program
//! headers say, so both travel in the file itself.

mod file;

pub use file::{StampError, WriterElf};
