//! One file a command.

pub mod check;
pub mod discard;
pub mod hibernate;
pub mod inspect;
pub mod prepare;
pub mod status;
