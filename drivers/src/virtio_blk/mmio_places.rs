//! Where registers of virtio-mmio are said to be: nothing can be enumerated, so
//! somebody has to tell.

use alloc::vec::Vec;
use dormouse_handoff::units::PhysAddr;

/// Most places that are taken from one source.
const MAX_PLACES: usize = 64;

/// The hardware id of such a device, as an AML string.
const HARDWARE_ID: &[u8] = b"LNRO0005\0";

/// How far behind a device's id its resources may stand, in bytes.
const REACH: usize = 256;

/// A 32-bit fixed memory range (ACPI 6.5 §6.4.3.4): tag, length, then access,
/// start and size.
const MEMORY32_FIXED: &[u8] = &[0x86, 9, 0];
const START: usize = 4;

/// The places that an AML table (DSDT or SSDT) tells of. No interpreter is at
/// work: the resources of such a device are constants behind its id.
pub fn in_aml(aml: &[u8]) -> Vec<PhysAddr> {
    let ids = aml.windows(HARDWARE_ID.len()).enumerate().filter(|(_, id)| *id == HARDWARE_ID);
    ids.filter_map(|(at, _)| {
        let behind = aml.get(at + HARDWARE_ID.len()..)?;
        let behind = &behind[..behind.len().min(REACH)];
        let tag = behind.windows(MEMORY32_FIXED.len()).position(|tag| tag == MEMORY32_FIXED)?;
        let start = behind.get(tag + START..tag + START + 4)?;
        Some(PhysAddr(u32::from_le_bytes(start.try_into().ok()?).into()))
    })
    .filter(|start| start.0 != 0)
    .take(MAX_PLACES)
    .collect()
}

/// The places that a command line tells of, in Linux's own words:
/// `virtio_mmio.device=<size>@<start>:<interrupt>[:<id>]` (Linux
/// Documentation/admin-guide/kernel-parameters.txt).
pub fn on_command_line(text: &str) -> Vec<PhysAddr> {
    text.split_ascii_whitespace()
        .filter_map(|word| word.strip_prefix("virtio_mmio.device="))
        .filter_map(|value| {
            let start = value.split_once('@')?.1.split(':').next()?;
            match start.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16).ok(),
                None => start.parse().ok(),
            }
        })
        .filter(|start| *start != 0)
        .take(MAX_PLACES)
        .map(PhysAddr)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn resources_behind_an_id_are_found() {
        // As QEMU 7.2 writes a device of its microvm.
        let device = b"\x5b\x82\x3bVR23\x08_HID\x0dLNRO0005\0\x08_UID\x0a\x17\
            \x08_CCA\x01\x08_CRS\x11\x1a\x0a\x17\x86\x09\x00\x01\x00\x2e\xb0\xfe\x00\x02\x00\x00\
            \x89\x06\x00\x03\x01\x2f\0\0\0\x79\0";
        assert_eq!(in_aml(device), [PhysAddr(0xfeb0_2e00)]);
        assert_eq!(in_aml(&device[..40]), []);
    }

    #[test]
    fn the_words_of_linux_are_understood() {
        let text = "a virtio_mmio.device=512@0xfeb00e00:12 virtio_mmio.device=4K@4096:3:1 b=c";
        assert_eq!(on_command_line(text), [PhysAddr(0xfeb0_0e00), PhysAddr(4096)]);
        assert_eq!(on_command_line("virtio_mmio.device=512 virtio_mmio.device=1@:2"), []);
    }

    proptest! {
        #[test]
        fn hostile_tables_are_survived(aml in proptest::collection::vec(any::<u8>(), 0..512)) {
            let with_id = [&aml[..], HARDWARE_ID, &aml].concat();
            prop_assert!(in_aml(&with_id).len() <= MAX_PLACES);
        }
    }
}
