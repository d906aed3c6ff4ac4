//! Methods around a sleep, followed down to the accesses that they come to.

use dormouse_handoff::plan::{Register, Step};
use dormouse_handoff::units::PageRange;
use dormouse_power::methods::{Followed, Obstacle, follow};
use proptest::prelude::*;

/// One without methods.
const DSDT: &[u8] = include_bytes!("fixtures/bare.aml");
const METHODS: &[u8] = include_bytes!("fixtures/methods.aml");
const REFUSED: &[u8] = include_bytes!("fixtures/refused.aml");

/// 1 GiB of the system's own memory.
const MEMORY: [PageRange; 1] = [PageRange::new(0x100, 0x3ff00)];

fn fadt() -> Vec<u8> {
    let mut table = vec![0; 116];
    table[..4].copy_from_slice(b"FACP");
    table[4] = 116;
    with_checksum(table)
}

fn with_checksum(mut table: Vec<u8>) -> Vec<u8> {
    table[9] = 0;
    table[9] = table.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte));
    table
}

fn followed(aml: &[&[u8]]) -> [Followed; 3] {
    follow(&fadt(), aml, &MEMORY).expect("the tables are whole")
}

fn port(keep: u32, set: u32) -> Step {
    Step { register: Register { space: 1, width: 8, address: 0x5555 }, keep, set }
}

fn steps(followed: &Followed) -> &[Step] {
    match followed {
        Followed::Steps(steps) => steps.all(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn simple_methods_come_to_accesses_with_their_argument() {
    let [off, suspend, wake] = followed(&[DSDT, METHODS]);
    let a_millisecond = Step { register: Register::default(), keep: 0, set: 1000 };
    assert_eq!(steps(&off), [port(0, 0x15), a_millisecond]);
    assert_eq!(steps(&suspend), [port(0, 0x23)]);
    assert_eq!(steps(&wake), [port(0xf0, 0x03), port(0, 0x33)]);
}

#[test]
fn a_machine_without_methods_needs_none() {
    assert_eq!(followed(&[DSDT]), [Followed::None, Followed::None, Followed::None]);
}

#[test]
fn what_cannot_be_followed_is_not_run_and_told() {
    let [off, suspend, wake] = followed(&[DSDT, REFUSED]);
    assert_eq!(off, Followed::Not("_PTS", Obstacle::Space(3)));
    assert_eq!(suspend, Followed::Not("_PTS", Obstacle::Register(0x20_0000)));
    assert_eq!(wake, Followed::Not("_WAK", Obstacle::Unknown));
    // Elsewhere the same memory is a register.
    let elsewhere = follow(&fadt(), &[DSDT, REFUSED], &[]).expect("the tables are whole");
    let register = Register { space: 0, width: 32, address: 0x20_0000 };
    assert_eq!(steps(&elsewhere[1]), [Step { register, keep: 0, set: 3 }]);
}

#[test]
fn a_method_that_two_tables_have_is_not_run() {
    let [off, ..] = followed(&[DSDT, METHODS, REFUSED]);
    assert_eq!(off, Followed::Not("_PTS", Obstacle::Name(*b"_PTS")));
}

proptest! {
    #[test]
    fn damaged_methods_are_refused_or_followed_and_nothing_else(
        changes in prop::collection::vec((36_usize..METHODS.len(), any::<u8>()), 1..6),
    ) {
        let mut damaged = METHODS.to_vec();
        for (at, value) in changes {
            damaged[at] = value;
        }
        let damaged = with_checksum(damaged);
        for followed in followed(&[DSDT, &damaged]) {
            if let Followed::Steps(steps) = followed {
                for step in steps.all() {
                    let Register { space, width, address } = step.register;
                    let bytes = u64::from(width / 8);
                    prop_assert!(space == 1 && address + bytes <= 1 << 16 || space == 0);
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_no_panic(body in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut table = b"SSDT\0\0\0\0\x02\0DORM  RANDOM  ".to_vec();
        table.resize(36, 0);
        table.extend(body);
        let length = (table.len() as u32).to_le_bytes();
        table[4..8].copy_from_slice(&length);
        followed(&[DSDT, &with_checksum(table)]);
    }
}
