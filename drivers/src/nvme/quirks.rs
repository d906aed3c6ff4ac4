//! Controllers that need to be treated differently.
//!
//! The list is Linux's (drivers/nvme/host/pci.c), as far as it concerns a
//! driver with one queue and no power management. Not carried: the 48-bit
//! limit of DMA addresses of 1d0f:*, whose machines have no memory above it.

use crate::pci::Function;

/// How a controller differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quirks {
    /// Time to leave the controller alone after it was disabled, before its
    /// status is read again, in milliseconds.
    pub settle_after_disable_ms: u64,
    /// Entries of the I/O queues, whatever the controller says.
    pub queue_entries: Option<u32>,
    /// Size of a submission queue entry as a power of two, in bytes.
    pub sq_entry_shift: u32,
    /// Command identifiers must stay below the number of entries.
    pub plain_identifiers: bool,
    /// Most bytes in a command that the controller handles well.
    pub max_bytes: u32,
}

impl Quirks {
    const NONE: Self = Self {
        settle_after_disable_ms: 0,
        queue_entries: None,
        sq_entry_shift: 6,
        plain_identifiers: false,
        max_bytes: u32::MAX,
    };

    /// How this controller differs.
    pub fn of(function: &Function) -> Self {
        match (function.vendor, function.device) {
            // HGST, Memblaze, Seagate.
            (0x1c58, 0x0003 | 0x0023) | (0x1c5f, 0x0540) | (0x1bb1, 0x0100) => {
                Self { settle_after_disable_ms: 2300, ..Self::NONE }
            }
            // Samsung PM1725: says that it has queues of a single entry.
            (0x144d, 0xa821 | 0xa822) => {
                Self { settle_after_disable_ms: 2300, queue_entries: Some(64), ..Self::NONE }
            }
            // Apple.
            (0x106b, 0x2001) => Self { queue_entries: Some(2), ..Self::NONE },
            (0x106b, 0x2005) => Self { sq_entry_shift: 7, plain_identifiers: true, ..Self::NONE },
            // Intel P3xxx: commands that cross a 128 KiB stripe are slow.
            (0x8086, 0x0953 | 0x0a53 | 0x0a54 | 0x0a55) => {
                Self { max_bytes: 128 << 10, ..Self::NONE }
            }
            _ => Self::NONE,
        }
    }
}
