//! What ranges of memory are, in the terms of the E820 map (ACPI 6.5, table 15.1).

/// Usable, or to be used when it is known what for.
pub const RAM: u32 = 1;
/// Not to be touched.
pub const RESERVED: u32 = 2;
/// ACPI's tables: RAM, once they were read.
pub const ACPI_TABLES: u32 = 3;
/// Firmware's storage across sleep states.
pub const ACPI_NVS: u32 = 4;
/// RAM with errors.
pub const UNUSABLE: u32 = 5;
/// Memory that keeps what is in it.
pub const PERSISTENT: u32 = 7;

/// The type of a range of UEFI's map (UEFI 2.10, 7.2) once boot services are left:
/// what Linux's own stub makes of it (`setup_e820` in
/// drivers/firmware/efi/libstub/x86-stub.c; ACPI 6.5, table 15.6).
pub const fn of_uefi(kind: u32) -> u32 {
    match kind {
        // A loader's code and data, those of the boot services, free memory.
        1..=4 | 7 => RAM,
        8 => UNUSABLE,
        9 => ACPI_TABLES,
        10 => ACPI_NVS,
        14 => PERSISTENT,
        // Runtime services, registers, what will be invented.
        _ => RESERVED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_firmware_needs_later_is_never_ram() {
        let kinds: Vec<u32> = (0..17).map(of_uefi).collect();
        assert_eq!(kinds, [2, 1, 1, 1, 1, 2, 2, 1, 5, 3, 4, 2, 2, 2, 7, 2, 2]);
        assert_eq!(of_uefi(0x8000_0000), RESERVED, "types of an operating system's own");
    }
}
