//! One file a command.

pub mod appliance;
pub mod check;
pub mod diff;
pub mod discard;
pub mod extract;
pub mod inspect;
pub mod prepare;
mod progress;
pub mod rehearse;
pub mod sleep;
pub mod snapshot;
pub mod status;
