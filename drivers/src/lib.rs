//! Polled block drivers behind one trait.
//!
//! A driver finds its controller in whatever state Linux or firmware left it,
//! resets it, moves blocks between the device and scatter lists of physical
//! memory with many requests in flight, flushes, and leaves the controller
//! quiet. It knows no image and no plan; the [`guard`] between it and its user
//! refuses to write any block that was not granted.
//!
//! [`open`] is the way in. Everything a driver needs of its surroundings is in
//! [`platform`].
#![cfg_attr(not(any(test, feature = "model")), no_std)]
// Not every test that has the models uses all of them.
#![cfg_attr(all(feature = "model", not(test)), allow(dead_code))]

extern crate alloc;

mod ahci;
#[cfg(test)]
mod conformance;
mod controllers;
pub mod dma;
pub mod exercise;
#[cfg(any(test, feature = "model"))]
pub mod fakes;
#[cfg(any(test, feature = "model"))]
pub mod faults;
pub mod guard;
mod health;
mod in_flight;
pub mod iommu;
mod last_resort;
#[cfg(any(test, feature = "model"))]
pub mod models;
mod nvme;
pub mod pci;
pub mod place;
pub mod platform;
pub mod queue;
pub mod registers;
pub mod scatter;
mod virtio_blk;
pub mod wait;

pub use controllers::{Controller, Units, open, quiet_all, take_over, units};
pub use virtio_blk::{in_aml as mmio_in_aml, on_command_line as mmio_on_command_line};
