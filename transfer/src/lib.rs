//! The data's path.
//!
//! ```text
//! save:     memory map -> page set -> chunks -> target -> commit
//! restore:  target -> header -> checks -> tables -> chunks -> pages -> consume
//! compare:  target -> header -> tables -> chunks -> the same pages in memory
//! ```
//!
//! Everything here works on the traits [`memory::Memory`] and
//! [`BlockQueue`](dormouse_drivers::queue::BlockQueue), so that the host tests
//! run the very code that the writer kernel runs. Memory use is constant: a few
//! buffers, whatever the size of RAM.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod check;
pub mod choice;
pub mod compare;
pub mod error;
pub mod image;
pub mod measure;
pub mod memory;
pub mod partitions;
pub mod read_ahead;
pub mod restore;
pub mod save;
pub mod seed;
pub mod stream;
pub mod survey;
mod table_reader;
mod table_writer;

#[cfg(test)]
mod fakes;
#[cfg(test)]
mod power_cuts;
#[cfg(test)]
mod round_trip;
#[cfg(test)]
mod small_machine;
#[cfg(test)]
mod wrong_images;
