//! Tables as firmware hands them over, whole and damaged.

use dormouse_handoff::plan::{PowerFacts, Register};
use dormouse_power::{PowerError, TableFault, facts, facts_by_search};
use proptest::prelude::*;

const DSDT: &[u8] = include_bytes!("fixtures/dsdt.aml");
const SSDT: &[u8] = include_bytes!("fixtures/ssdt.aml");
const BARE: &[u8] = include_bytes!("fixtures/bare.aml");

const IO: u32 = 1;

/// A FADT of so many bytes with these fields at these offsets (ACPI 6.5,
/// table 5.9).
fn fadt(length: usize, revision: u8, fields: &[(usize, &[u8])]) -> Vec<u8> {
    let mut table = vec![0; length];
    table[..4].copy_from_slice(b"FACP");
    table[4..8].copy_from_slice(&(length as u32).to_le_bytes());
    table[8] = revision;
    for (offset, bytes) in fields {
        table[*offset..*offset + bytes.len()].copy_from_slice(bytes);
    }
    with_checksum(table)
}

fn with_checksum(mut table: Vec<u8>) -> Vec<u8> {
    table[9] = 0;
    table[9] = table.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte));
    table
}

/// As QEMU's pc: ACPI 1.0, I/O ports only.
fn fadt_of_pc() -> Vec<u8> {
    fadt(
        116,
        1,
        &[
            (36, &0x3ffe_0000u32.to_le_bytes()),
            (48, &0xb2u32.to_le_bytes()),
            (52, &[0xf1]),
            (56, &0x600u32.to_le_bytes()),
            (64, &0x604u32.to_le_bytes()),
            (80, &0xafe0u32.to_le_bytes()),
            (88, &[4, 2, 0, 0, 4, 0]),
        ],
    )
}

/// As QEMU's q35: extended addresses and a reset register.
fn fadt_of_q35() -> Vec<u8> {
    fadt(
        244,
        3,
        &[
            (64, &0x604u32.to_le_bytes()),
            (89, &[2]),
            (112, &(1u32 << 10).to_le_bytes()),
            (116, &[1, 8, 0, 0, 0xf9, 0x0c, 0, 0, 0, 0, 0, 0]),
            (128, &[0x0f]),
            (172, &[1, 16, 0, 0, 0x04, 0x06, 0, 0, 0, 0, 0, 0]),
        ],
    )
}

/// As QEMU's microvm: hardware-reduced, registers in memory.
fn fadt_of_microvm() -> Vec<u8> {
    fadt(
        276,
        5,
        &[
            (112, &(1u32 << 20 | 1 << 10).to_le_bytes()),
            (116, &[0, 8, 0, 0, 0x02, 0x02, 0xa0, 0xfe, 0, 0, 0, 0]),
            (128, &[0x42]),
            (244, &[0, 8, 0, 0, 0x00, 0x02, 0xa0, 0xfe, 0, 0, 0, 0]),
        ],
    )
}

#[test]
fn conditions_are_followed_and_registers_read_as_zero() {
    let facts = facts(&fadt_of_pc(), &[DSDT]).unwrap();
    assert_eq!(facts.pm1a_control, Register { space: IO, width: 16, address: 0x604 });
    assert_eq!(facts.pm1b_control.width, 0);
    assert_eq!(facts.reset.width, 0);
    assert_eq!((facts.s5_type_a, facts.s5_type_b), (7, 6));
    assert_eq!((facts.s3_type_a, facts.s3_type_b), (5, 5));
}

#[test]
fn searching_finds_the_same() {
    assert_eq!(facts_by_search(&fadt_of_pc(), &[DSDT]), facts(&fadt_of_pc(), &[DSDT]));
    assert_eq!(
        facts_by_search(&fadt_of_q35(), &[BARE, SSDT]),
        facts(&fadt_of_q35(), &[BARE, SSDT])
    );
}

#[test]
fn sleep_states_may_stand_in_an_ssdt() {
    let facts = facts(&fadt_of_q35(), &[BARE, SSDT]).unwrap();
    assert_eq!((facts.s5_type_a, facts.s5_type_b), (1, 0));
    assert_eq!(facts.s3_type_a, PowerFacts::UNKNOWN);
    assert_eq!(facts.reset, Register { space: IO, width: 8, address: 0xcf9 });
    assert_eq!(facts.reset_value, 0x0f);
}

#[test]
fn events_and_the_waking_vector_are_found() {
    let facts = facts(&fadt_of_pc(), &[DSDT]).unwrap();
    assert_eq!((facts.smi_command, facts.acpi_enable), (0xb2, 0xf1));
    assert_eq!(facts.pm1a_status, Register { space: IO, width: 16, address: 0x600 });
    assert_eq!(facts.pm1_enable_offset, 2);
    assert_eq!(facts.pm1b_status.width, 0);
    assert_eq!(facts.gpe0_status, Register { space: IO, width: 8, address: 0xafe0 });
    assert_eq!((facts.gpe0_bytes, facts.gpe1_bytes), (2, 0));
    assert_eq!(facts.facs.0, 0x3ffe_0000);
}

#[test]
fn hardware_reduced_machines_have_a_sleep_control_register() {
    let facts = facts(&fadt_of_microvm(), &[BARE, SSDT]).unwrap();
    assert_eq!(facts.pm1a_control.width, 0);
    assert_eq!(facts.sleep_control, Register { space: 0, width: 8, address: 0xfea0_0200 });
    assert_eq!(facts.reset, Register { space: 0, width: 8, address: 0xfea0_0202 });
}

#[test]
fn a_machine_that_cannot_power_off_is_told() {
    assert_eq!(facts(&fadt_of_pc(), &[BARE]), Err(PowerError::NoPowerOff));
    assert_eq!(facts(&fadt(116, 1, &[]), &[DSDT]), Err(PowerError::NoPowerOff));
    assert_eq!(facts(&fadt_of_pc(), &[]), Err(PowerError::NoDsdt));
}

#[test]
fn every_damaged_byte_is_noticed() {
    for at in 0..DSDT.len() {
        let mut damaged = DSDT.to_vec();
        damaged[at] ^= 0x10;
        let result = facts(&fadt_of_pc(), &[&damaged]);
        assert!(matches!(result, Err(PowerError::Table { .. })), "byte {at}: {result:?}");
    }
}

#[test]
fn every_truncation_is_noticed() {
    let fadt = fadt_of_q35();
    for length in 0..fadt.len() {
        let fault = TableFault::Truncated;
        let expected = Err(PowerError::Table { signature: *b"FACP", fault });
        assert_eq!(facts(&fadt[..length], &[DSDT]), expected);
    }
}

#[test]
fn the_tables_must_be_what_they_are_taken_for() {
    let swapped = facts(DSDT, &[&fadt_of_pc()]);
    let fault = TableFault::Signature;
    assert_eq!(swapped, Err(PowerError::Table { signature: *b"FACP", fault }));
}

proptest! {
    /// The damage that a checksum cannot show: the search must survive it.
    #[test]
    fn searching_survives_any_bytes(
        body in proptest::collection::vec(prop_oneof![
            Just(0x08u8), Just(0x12), Just(b'_'), Just(b'S'), Just(b'5'), any::<u8>()
        ], 0..200),
    ) {
        let mut table = b"DSDT".to_vec();
        table.extend_from_slice(&(36 + body.len() as u32).to_le_bytes());
        table.resize(36, 0);
        table.extend_from_slice(b"\x08_S5_\x12");
        table.extend_from_slice(&body);
        let length = table.len() as u32;
        table[4..8].copy_from_slice(&length.to_le_bytes());
        let _ = facts_by_search(&fadt_of_pc(), &[&with_checksum(table)]);
    }

    #[test]
    fn any_fadt_is_an_answer_or_an_error(
        body in proptest::collection::vec(any::<u8>(), 0..300),
        revision in 0u8..8,
    ) {
        let mut table = fadt(36 + body.len(), revision, &[]);
        table[36..].copy_from_slice(&body);
        let _ = facts_by_search(&with_checksum(table), &[DSDT]);
    }
}
