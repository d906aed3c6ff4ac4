//! The campaigns of `cargo xtask torture`, as often as every test run can
//! bear.

use dormouse_attacks::{Attack, record};
use dormouse_tests::qemu::DiskKind;
use dormouse_tests::torture::Torture;
use dormouse_tests::{Artefacts, Error, Failure, Progress};

struct Lines;

impl Progress for Lines {
    fn step(&self, words: &str) {
        eprintln!("{words}");
    }
}

/// Nothing yet; one machine at a time, as tests run side by side already.
const NONE: Torture =
    Torture { cuts: 0, faults: 0, flips: 0, disk: DiskKind::Nvme, seed: 1, jobs: 1 };

/// Runs a campaign that attacks the promise with this number.
fn run(promise: u8, attack: &str, option: &str, torture: Torture) -> Result<(), Failure> {
    let report = torture.run(&Artefacts::from_environment()?, &Lines);
    if !report.good {
        return Err(Error::verdict(report.table()).into());
    }
    let cases = report.campaigns.iter().map(|one| one.cases as u64).sum();
    let command = format!("cargo xtask torture --{option} {cases}");
    record(Attack { promise, attack: attack.into(), cases, command });
    Ok(())
}

#[test]
fn whenever_the_power_goes_there_is_one_image_or_none() -> Result<(), Failure> {
    let attack = "the power is cut in QEMU, while hibernating and while waking";
    run(2, attack, "cuts", Torture { cuts: Torture::USUAL_CUTS, ..NONE })
}

#[test]
fn whatever_a_device_does_the_old_system_goes_on() -> Result<(), Failure> {
    let attack = "a device of QEMU fails at the n-th command, under each driver";
    run(1, attack, "faults", Torture { faults: Torture::USUAL_FAULTS, ..NONE })
}

#[test]
fn a_damaged_image_is_refused_in_words() -> Result<(), Failure> {
    let attack = "an image is damaged, and a reader in QEMU has to refuse it";
    run(3, attack, "flips", Torture { flips: Torture::USUAL_FLIPS, ..NONE })
}
