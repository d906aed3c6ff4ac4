//! Polled block drivers behind one trait.
//!
//! A driver finds its controller in whatever state Linux or firmware left it,
//! resets it, moves blocks between the device and scatter lists of physical
//! memory with many requests in flight, flushes, and leaves the controller
//! quiet. It knows no image and no plan; the [`guard`] between it and its user
//! refuses to write any block that was not granted.
//!
//! Everything a driver needs of its surroundings is in [`platform`].
#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod guard;
pub mod platform;
pub mod queue;
