//! The processor and the memory that this program runs in.

pub mod apic;
pub mod cpu;
pub mod exceptions;
pub mod paging;
pub mod runtime;
pub mod time;
pub mod window;
