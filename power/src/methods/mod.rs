//! The control methods around a sleep, `\_PTS`, `\_GTS` and `\_WAK`, as lists of
//! register accesses.
//!
//! Nobody runs AML while the old kernel stands still. But most of these methods
//! write constants, or their argument, to ports and to firmware's own memory. Such a
//! method is followed here, in Linux, with its argument put in, down to the
//! accesses that it makes; those go into the plan. A method that does anything
//! else — reads a register to decide by it, calls the embedded controller, waits
//! for something, keeps a value in a name — is not run at all, and the reason is
//! told: half a method would be worse than none.

mod follow;
mod namespace;
mod stream;

use crate::table::{Checked, PowerError};
use alloc::boxed::Box;
use alloc::vec::Vec;
use dormouse_handoff::plan::{MAX_STEPS, Step, Steps};
use dormouse_handoff::units::PageRange;
use namespace::Namespace;

/// Why a method is not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// It accesses registers in this space (ACPI 6.5 table 5.171).
    Space(u8),
    /// It decides by, or computes with, what only the machine knows.
    Unknown,
    /// It uses an operation that is not followed.
    Operation(u16),
    /// A name that cannot be found or is not what it is used as.
    Name([u8; 4]),
    /// It needs the lock that it shares with firmware.
    Lock,
    /// A register that cannot be accessed, or lies in the system's own memory.
    Register(u64),
    /// It does more than is kept: too many accesses, calls or waits.
    Long,
    /// Its bytes make no sense.
    Damaged,
}

impl core::fmt::Display for Obstacle {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Space(3) => write!(f, "it calls the embedded controller"),
            Self::Space(2) => write!(f, "it accesses PCI's configuration"),
            Self::Space(space) => write!(f, "it accesses address space {space}"),
            Self::Unknown => write!(f, "it decides by what only the machine knows"),
            Self::Operation(code) => write!(f, "operation {code:#x} is not followed"),
            Self::Name(name) => write!(f, "{} is not followed", name.escape_ascii()),
            Self::Lock => write!(f, "it needs the lock that it shares with the firmware"),
            Self::Register(at) => write!(f, "{at:#x} is no register that it may access"),
            Self::Long => write!(f, "it does more than is kept"),
            Self::Damaged => write!(f, "its bytes make no sense"),
        }
    }
}

/// What is to be done of the methods of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    /// The tables have no such method.
    None,
    /// All of it.
    Steps(Box<Steps>),
    /// Nothing, as this method cannot be followed.
    Not(&'static str, Obstacle),
}

/// When methods are run, each with the sleep state as its argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before power-off.
    Off,
    /// Before a suspend to RAM.
    Suspend,
    /// After it.
    Wake,
}

impl Moment {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Off, Self::Suspend, Self::Wake];

    const fn methods(self) -> &'static [&'static str] {
        match self {
            Self::Off | Self::Suspend => &["_PTS", "_GTS"],
            Self::Wake => &["_WAK"],
        }
    }

    const fn state(self) -> u64 {
        match self {
            Self::Off => 5,
            Self::Suspend | Self::Wake => 3,
        }
    }
}

/// Follows the methods of each moment, in the order of [`Moment::ALL`]. `memory` is
/// the system's own, which no method may write to.
///
/// # Errors
/// As for power facts: the tables must be whole.
pub fn follow(
    fadt: &[u8],
    aml_tables: &[&[u8]],
    memory: &[PageRange],
) -> Result<[Followed; 3], PowerError> {
    let tables = Checked::all(fadt, aml_tables)?;
    let bodies: Vec<&[u8]> = tables.aml.iter().map(|table| table.body()).collect();
    let namespace = Namespace::of(&bodies);
    Ok(Moment::ALL.map(|moment| followed(&namespace, moment, memory)))
}

fn followed(namespace: &Namespace<'_>, moment: Moment, memory: &[PageRange]) -> Followed {
    let mut steps: Vec<Step> = Vec::new();
    let mut any = false;
    for name in moment.methods() {
        match follow::method(namespace, name, moment.state(), memory) {
            Ok(None) => {}
            Ok(Some(more)) => {
                any = true;
                steps.extend(more);
            }
            Err(obstacle) => return Followed::Not(name, obstacle),
        }
    }
    let mut kept = Steps::default();
    let Some(room) = kept.steps.get_mut(..steps.len()) else {
        return Followed::Not(moment.methods()[0], Obstacle::Long);
    };
    room.copy_from_slice(&steps);
    kept.count = steps.len() as u32;
    if any { Followed::Steps(Box::new(kept)) } else { Followed::None }
}

const _: () = assert!(MAX_STEPS <= u16::MAX as usize);
