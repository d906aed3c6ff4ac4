//! ACPI's methods around a sleep, as the accesses that they come to.

use super::{PlanError, Register};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Most accesses of one moment.
pub const MAX_STEPS: usize = 32;

/// A write to a register, or a wait.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Step {
    /// The register; width 0: this is a wait.
    pub register: Register,
    /// Bits that stay as they are: the register is read first where there are any.
    pub keep: u32,
    /// What is written beside them; of a wait, microseconds.
    pub set: u32,
}

/// What is done at one moment, in order.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Steps {
    /// How many of `steps` are used.
    pub count: u32,
    /// Zero.
    pub reserved: u32,
    /// They.
    pub steps: [Step; MAX_STEPS],
}

impl Default for Steps {
    fn default() -> Self {
        let steps = [Step::default(); MAX_STEPS];
        Self { count: 0, reserved: 0, steps }
    }
}

impl Steps {
    /// Those that are used.
    pub fn all(&self) -> &[Step] {
        self.steps.get(..self.count as usize).unwrap_or_default()
    }

    /// Whether the count can be right.
    pub(super) fn check(&self, name: &'static str) -> Result<(), PlanError> {
        match self.count as usize {
            0..=MAX_STEPS => Ok(()),
            _ => Err(PlanError::Field(name)),
        }
    }
}

/// What is done before and after a sleep.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Methods {
    /// Before the power goes off.
    pub before_off: Steps,
    /// Before a suspend to RAM.
    pub before_suspend: Steps,
    /// After it.
    pub after_wake: Steps,
}
