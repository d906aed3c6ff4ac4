//! PCI: which functions there are, and bringing one of them to life.
//!
//! Numbers read from configuration space are never used to decide where to
//! look next: the scan asks every bus, so hostile bridge numbers cannot lead
//! it astray, and a machine with several root buses needs no special case.

mod capability;
mod command;
mod endpoint;
mod function;
mod kept;
mod power;

pub use capability::{CapabilityId, capabilities};
pub use endpoint::Endpoint;
pub use function::{Class, Function, functions};
pub use kept::KeptHeaders;

use crate::platform::Platform;
use pci_types::{CommandRegister, HeaderType};

/// Turns bus mastering off on every function that has it on, bridges left out.
///
/// Firmware leaves live bus masters behind: one that still writes into memory
/// while pages are put back would corrupt them unseen. Of a bridge it is the
/// way for others, and a bridge writes nothing by itself. Returns how many
/// functions were quieted.
pub fn quiet_all(platform: &dyn Platform) -> usize {
    functions(platform).filter(|function| quiet(platform, function)).count()
}

/// The same for one function: whether it was quieted.
pub fn quiet(platform: &dyn Platform, function: &Function) -> bool {
    let is_bridge = function.header != HeaderType::Endpoint || function.class.is_bridge();
    let live =
        command::read(platform, function.address).contains(CommandRegister::BUS_MASTER_ENABLE);
    let quieted = live && !is_bridge;
    if quieted {
        command::clear(platform, function.address, CommandRegister::BUS_MASTER_ENABLE);
    }
    quieted
}

#[cfg(test)]
mod tests;
