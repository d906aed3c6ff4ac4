//! Virtual machines: how one is put together, started, watched and ended.

mod burst;
mod clock;
mod console;
mod dump;
mod layer;
mod machine;
mod monitor;
mod sampler;
mod screen;
mod setup;

pub use burst::limited;
pub use clock::host_tsc_khz;
pub use console::Console;
pub use dump::dump_memory;
pub use layer::{Fault, Layer};
pub use machine::{Ended, Machine, SERIAL_LOG};
pub use monitor::Monitor;
pub use sampler::{Sample, Sampler};
pub use screen::{Picture, watch_the_bar_grow};
pub use setup::{Boot, Chipset, Disk, DiskKind, Firmware, Format, Medium, Setup};
