//! What the test guest and the harness on the host share: the protocol between
//! them.
//!
//! The guest's program itself, `dormouse-guest`, is the first process of the
//! test guest. It mounts what a userland needs, starts workloads that can tell
//! later whether they survived, and serves the host over a serial port.
#![deny(unsafe_code)]

pub mod protocol;
pub mod records;
