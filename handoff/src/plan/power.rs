//! What of ACPI the plan hands over.

use crate::units::PhysAddr;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A register as ACPI describes it (Generic Address Structure, ACPI 6.5 §5.2.3.2).
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Register {
    /// 0: system memory; 1: system I/O.
    pub space: u32,
    /// Width of an access in bits: 8, 16 or 32. 0: there is no such register.
    pub width: u32,
    /// Physical address or I/O port.
    pub address: u64,
}

impl Register {
    /// Whether there is such a register.
    pub const fn is_there(&self) -> bool {
        self.width != 0
    }

    /// The register of the same kind `bytes` further on.
    pub const fn after(&self, bytes: u64) -> Self {
        Self { address: self.address.saturating_add(bytes), ..*self }
    }
}

/// The most enable registers that are kept of a block of general-purpose
/// events.
pub const MAX_GPE_BYTES: usize = 32;

/// What powering off, resetting, suspending and ACPI's events take on this
/// machine (ACPI 6.5 §4.8, §7.4.2).
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct PowerFacts {
    /// PM1a control block.
    pub pm1a_control: Register,
    /// PM1b control block; width 0 where there is none.
    pub pm1b_control: Register,
    /// SLEEP_CONTROL_REG of hardware-reduced ACPI; width 0 elsewhere.
    pub sleep_control: Register,
    /// RESET_REG; width 0 where there is none.
    pub reset: Register,
    /// What to write to `reset`.
    pub reset_value: u32,
    /// SLP_TYPa of `\_S5`, 0 to 7; [`PowerFacts::UNKNOWN`] if not known.
    pub s5_type_a: u32,
    /// SLP_TYPb of `\_S5`, as `s5_type_a`.
    pub s5_type_b: u32,
    /// SLP_TYPa of `\_S3`; [`PowerFacts::UNKNOWN`] where there is no S3.
    pub s3_type_a: u32,
    /// SLP_TYPb of `\_S3`, as `s3_type_a`.
    pub s3_type_b: u32,
    /// I/O port of the SMI command register; 0: ACPI is always on.
    pub smi_command: u32,
    /// What to write there to switch ACPI on.
    pub acpi_enable: u32,
    /// Bytes from PM1 status to PM1 enable: half of PM1_EVT_LEN.
    pub pm1_enable_offset: u32,
    /// PM1a status; width 0 where there is none.
    pub pm1a_status: Register,
    /// PM1b status; width 0 where there is none.
    pub pm1b_status: Register,
    /// The first status register of GPE block 0; width 0 where there is none.
    pub gpe0_status: Register,
    /// The first status register of GPE block 1; width 0 where there is none.
    pub gpe1_status: Register,
    /// How many status registers block 0 has; as many enable registers follow.
    pub gpe0_bytes: u32,
    /// As `gpe0_bytes`, of block 1.
    pub gpe1_bytes: u32,
    /// Physical address of the FACS; 0 where there is none.
    pub facs: PhysAddr,
}

impl PowerFacts {
    /// "There is no such sleep type."
    pub const UNKNOWN: u32 = u32::MAX;
}
