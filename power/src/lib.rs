//! What powering a machine off and resetting it takes, read from its ACPI
//! tables: the FADT for the registers, the DSDT and SSDTs for the sleep types.
//!
//! The CLI calls it with the tables that Linux shows in
//! `/sys/firmware/acpi/tables`, the reader with those it finds in memory. No
//! control method is ever run, and nothing is read from or written to hardware:
//! sleep types are constant packages (ACPI 6.5 §7.4.2).
//!
//! Beside that, tables that are not about power: [`ecam_regions`] reads where PCI's
//! configuration space lies, [`iommus`] who may translate what devices ask for.
//!
//! There are two ways to the packages. [`facts`] lets an interpreter load the
//! tables, which understands packages behind conditions, and falls back to the
//! other way: [`facts_by_search`] looks for the bytes of a constant package,
//! which is bounded and cannot panic whatever the tables hold.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod fadt;
#[cfg(feature = "interpreter")]
mod interpreter;
mod iommu;
mod mcfg;
pub mod methods;
mod search;
mod table;

pub use iommu::iommus;
pub use mcfg::ecam_regions;
pub use table::{PowerError, TableFault};

use dormouse_handoff::plan::PowerFacts;

/// SLP_TYPa and SLP_TYPb of one sleep state, each 0 to 7 (ACPI 6.5 §4.8.3.2.1).
type SleepTypes = (u8, u8);

/// A place to look sleep types up in.
trait SleepStates {
    /// The types of `\_S<state>`, where the tables have it as a constant.
    fn types(&self, state: u8) -> Option<SleepTypes>;
}

/// The power facts of a machine with this FADT and these AML tables (the DSDT
/// first, then the SSDTs), each whole and with its header.
///
/// Where the interpreter cannot load a table, or finds no `\_S5`, the packages
/// are searched for as in [`facts_by_search`].
///
/// # Errors
/// Every table must have its own signature, length and checksum; the tables
/// must name at least one way to power off.
///
/// # Panics
/// The interpreter may panic, or not come to an end, on tables with a right
/// checksum that break the specification. Call [`facts_by_search`] where that
/// must not happen.
#[cfg(feature = "interpreter")]
pub fn facts(fadt: &[u8], aml_tables: &[&[u8]]) -> Result<PowerFacts, PowerError> {
    let tables = table::Checked::all(fadt, aml_tables)?;
    match interpreter::Loaded::from(&tables) {
        Some(loaded) if loaded.types(5).is_some() => fadt::assemble(&tables, &loaded),
        _ => fadt::assemble(&tables, &search::Search(&tables)),
    }
}

/// As `facts`, without the interpreter: bounded, and never a panic.
///
/// Sleep types that stand behind a condition are taken as if it held.
///
/// # Errors
/// As `facts`.
pub fn facts_by_search(fadt: &[u8], aml_tables: &[&[u8]]) -> Result<PowerFacts, PowerError> {
    let tables = table::Checked::all(fadt, aml_tables)?;
    fadt::assemble(&tables, &search::Search(&tables))
}
