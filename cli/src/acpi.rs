//! What the firmware's tables say, as Linux shows them in
//! `/sys/firmware/acpi/tables`.

use crate::linux::iomem::{self, MemoryMap};
use crate::signals::Uninterrupted;
use crate::system::System;
use dormouse_handoff::checksum;
use dormouse_handoff::plan::{Ecam, Iommu, MAX_ECAM, MAX_IOMMUS, PowerFacts};
use dormouse_handoff::units::PageRange;
use dormouse_power::PowerError;
use dormouse_power::methods::{self, Followed};
use std::sync::mpsc;
use std::time::Duration;

const TABLES: &str = "/sys/firmware/acpi/tables";

/// How long the interpreter may take over the tables.
const DEADLINE: Duration = Duration::from_secs(10);

/// How this machine is powered off and reset.
///
/// The interpreter runs aside: it may panic or not come to an end on tables
/// that break the specification, and then the bounded search has the last word.
///
/// # Errors
/// [`PowerError`].
pub fn power_facts(system: &System) -> Result<PowerFacts, PowerError> {
    let fadt = table(system, "FACP");
    let aml = aml_tables(system);

    let (sender, receiver) = mpsc::channel();
    let (fadt_aside, aml_aside) = (fadt.clone(), aml.clone());
    std::thread::spawn(move || {
        // This thread may outlive the deadline; a signal that it took would end the
        // program in the midst of a sleep.
        let _uninterrupted = Uninterrupted::begin();
        // Nobody listens any more once the deadline has passed.
        let _ = sender.send(dormouse_power::facts(&fadt_aside, &slices(&aml_aside)));
    });
    match receiver.recv_timeout(DEADLINE) {
        Ok(facts) => facts,
        Err(_) => dormouse_power::facts_by_search(&fadt, &slices(&aml)),
    }
}

/// Where PCI's configuration space lies in memory: where Linux uses it, which also
/// knows what AML says (`_CBA`), else as the MCFG table has it; all zero where
/// nobody says.
pub fn ecam(system: &System) -> [Ecam; MAX_ECAM] {
    let mut regions = [Ecam::default(); MAX_ECAM];
    let iomem = system.text("/proc/iomem").unwrap_or_default();
    if iomem::ecam(&iomem, &mut regions) == 0 {
        dormouse_power::ecam_regions(&table(system, "MCFG"), &mut regions);
    }
    regions
}

/// The machine's IOMMUs, of which the writer makes sure that none translates.
pub fn iommus(system: &System) -> [Iommu; MAX_IOMMUS] {
    let mut units = [Iommu::default(); MAX_IOMMUS];
    dormouse_power::iommus(&table(system, "DMAR"), &table(system, "IVRS"), &mut units);
    units
}

/// Checksum of the DSDT; 0 where it cannot be read.
pub fn dsdt_checksum(system: &System) -> u64 {
    match table(system, "DSDT") {
        bytes if bytes.is_empty() => 0,
        bytes => checksum::plain(&bytes),
    }
}

/// The FACS' hardware signature (ACPI 6.5 §5.2.10, offset 8); 0 where there is
/// none.
pub fn hardware_signature(system: &System) -> u32 {
    let facs = table(system, "FACS");
    facs.get(8..12).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
}

/// The physical address of the RSDP where the kernel tells it; 0: it has to be
/// searched for.
pub fn rsdp(system: &System) -> u64 {
    // struct boot_params, acpi_rsdp_addr (Linux Documentation/arch/x86/zero-page.rst).
    const BOOT_PARAMS_RSDP: std::ops::Range<usize> = 0x70..0x78;
    let params = system.bytes("/sys/kernel/boot_params/data").unwrap_or_default();
    let address = params.get(BOOT_PARAMS_RSDP).and_then(|b| b.try_into().ok());
    match address.map(u64::from_le_bytes) {
        Some(address) if address != 0 => address,
        _ => rsdp_of_efi(&system.text("/sys/firmware/efi/systab").unwrap_or_default()),
    }
}

fn rsdp_of_efi(systab: &str) -> u64 {
    let value = |key: &str| {
        let line = systab.lines().find_map(|line| line.strip_prefix(key))?;
        u64::from_str_radix(line.trim().trim_start_matches("0x"), 16).ok()
    };
    value("ACPI20=").or_else(|| value("ACPI=")).unwrap_or(0)
}

/// What is to be done of the methods around a sleep, in the order of
/// [`Moment::ALL`](dormouse_power::methods::Moment::ALL).
///
/// # Errors
/// [`PowerError`].
pub fn methods(system: &System, memory: &MemoryMap) -> Result<[Followed; 3], PowerError> {
    let (fadt, aml) = (table(system, "FACP"), aml_tables(system));
    let ram: Vec<PageRange> = memory.ram().collect();
    methods::follow(&fadt, &slices(&aml), &ram)
}

/// The DSDT, then the SSDTs.
fn aml_tables(system: &System) -> Vec<Vec<u8>> {
    let ssdts = system.names(TABLES).into_iter().filter(|name| name.starts_with("SSDT"));
    let names = std::iter::once("DSDT".to_owned()).chain(ssdts);
    names.map(|name| table(system, &name)).collect()
}

fn table(system: &System, name: &str) -> Vec<u8> {
    system.bytes(format!("{TABLES}/{name}")).unwrap_or_default()
}

fn slices(tables: &[Vec<u8>]) -> Vec<&[u8]> {
    tables.iter().map(Vec::as_slice).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newer_rsdp_is_taken() {
        assert_eq!(rsdp_of_efi("ACPI20=0x7fb7e014\nACPI=0x7fb7e000\n"), 0x7fb7_e014);
        assert_eq!(rsdp_of_efi("SMBIOS=0x1\nACPI=0x7fb7e000\n"), 0x7fb7_e000);
        assert_eq!(rsdp_of_efi(""), 0);
    }

    #[test]
    fn a_machine_without_tables_is_told() {
        let nothing = tempfile::tempdir().unwrap();
        let system = System::below(nothing.path());
        assert!(matches!(power_facts(&system), Err(PowerError::Table { .. })));
        assert_eq!((dsdt_checksum(&system), hardware_signature(&system), rsdp(&system)), (0, 0, 0));
    }
}
