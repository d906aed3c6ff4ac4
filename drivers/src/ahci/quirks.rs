//! Controllers that cannot do what they say.
//!
//! The list is Linux's (drivers/ata/ahci.c), as far as data depend on it.

use super::spec::Capabilities;
use crate::pci::Function;

/// How a controller differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quirks {
    /// Capabilities that it names and has not.
    lacks: Capabilities,
    /// Most bytes in a command.
    pub max_bytes: u32,
}

impl Quirks {
    const NONE: Self = Self { lacks: Capabilities(0), max_bytes: u32::MAX };

    /// How this controller differs.
    pub fn of(function: &Function) -> Self {
        match (function.vendor, function.device) {
            // ATI SB600: reaches other memory than is meant above 4 GiB, and takes 255
            // blocks: 31 pages.
            (0x1002, 0x4380) => Self { lacks: Capabilities::WIDE, max_bytes: 31 << 12 },
            // VIA VT8251, Marvell 88SE6121 and 88SE6145: queued commands do not end.
            (0x1106, 0x3349 | 0x6287) | (0x11ab, 0x6121 | 0x6145) => {
                Self { lacks: Capabilities::QUEUES, ..Self::NONE }
            }
            _ => Self::NONE,
        }
    }

    /// What the controller can do, of what it says.
    pub fn believe(&self, said: Capabilities) -> Capabilities {
        Capabilities(said.0 & !self.lacks.0)
    }
}
