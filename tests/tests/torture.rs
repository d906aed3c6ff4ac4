//! The campaigns of `cargo xtask torture`, as often as every test run can
//! bear.

use dormouse_attacks::{Attack, record};
use dormouse_tests::qemu::DiskKind;
use dormouse_tests::torture::{Share, Torture};
use dormouse_tests::{Artefacts, Error, Failure, Progress};

struct Lines;

impl Progress for Lines {
    fn step(&self, words: &str) {
        eprintln!("{words}");
    }
}

/// Nothing yet; one machine at a time, as tests run side by side already.
const NONE: Torture = Torture {
    cuts: 0,
    faults: 0,
    flips: 0,
    disk: DiskKind::Nvme,
    seed: 1,
    share: Share::ALL,
    jobs: 1,
};

/// Runs a campaign.
fn run(torture: Torture) -> Result<(), Failure> {
    let report = torture.run(&Artefacts::from_environment()?, &Lines);
    if !report.good {
        return Err(Error::verdict(report.table()).into());
    }
    for (campaign, cases) in report.cases() {
        let attack = campaign.attack().into();
        let command = format!("cargo xtask torture --{} {cases}", campaign.option());
        record(Attack { promise: campaign.promise(), attack, cases, command });
    }
    Ok(())
}

#[test]
fn whenever_the_power_goes_there_is_one_image_or_none() -> Result<(), Failure> {
    run(Torture { cuts: Torture::USUAL_CUTS, ..NONE })
}

#[test]
fn whatever_a_device_does_the_old_system_goes_on() -> Result<(), Failure> {
    run(Torture { faults: Torture::USUAL_FAULTS, ..NONE })
}

#[test]
fn a_damaged_image_is_refused_in_words() -> Result<(), Failure> {
    run(Torture { flips: Torture::USUAL_FLIPS, ..NONE })
}
