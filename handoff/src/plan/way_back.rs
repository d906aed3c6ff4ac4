//! What a return with a message takes.

use super::{Plan, WAY_BACK_OFFSET};
use crate::checksum::{self, Nonce};
use crate::mailbox;
use crate::units::PhysAddr;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What the writer needs to return with a message even where the plan itself is
/// unreadable. The CLI stamps it beside the plan, with a checksum of its own.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct WayBack {
    /// [`WayBack::MAGIC`].
    pub magic: [u8; 8],
    /// Checksum (seed 0) of all bytes that follow this field.
    pub checksum: u64,
    /// As [`Plan::nonce`].
    pub nonce: Nonce,
    /// As [`Plan::gdt`].
    pub gdt: u64,
    /// As [`Plan::mailbox`].
    pub mailbox: [PhysAddr; mailbox::PAGES],
    /// As [`Plan::console_port`].
    pub console_port: u32,
    /// As [`Plan::console_baud`].
    pub console_baud: u32,
}

impl WayBack {
    /// "This is the way back."
    pub const MAGIC: [u8; 8] = *b"DORMBACK";

    /// The way back that goes with `plan`, sealed.
    pub fn of(plan: &Plan) -> Self {
        let mut way = Self {
            magic: Self::MAGIC,
            checksum: 0,
            nonce: plan.nonce,
            gdt: plan.gdt,
            mailbox: plan.mailbox,
            console_port: plan.console_port,
            console_baud: plan.console_baud,
        };
        way.checksum = checksum::plain(&way.as_bytes()[16..]);
        way
    }

    /// Reads the way back from the bytes of a `.plan` section; `None` where
    /// none was stamped or it is damaged.
    pub fn parse(section: &[u8]) -> Option<Self> {
        let (way, _) = Self::read_from_prefix(section.get(WAY_BACK_OFFSET..)?).ok()?;
        let intact =
            way.magic == Self::MAGIC && way.checksum == checksum::plain(&way.as_bytes()[16..]);
        intact.then_some(way)
    }
}
