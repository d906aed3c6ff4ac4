//! A failed hibernation is a return: whatever goes wrong before the commit,
//! the user has the running system again, and a message that says why.

use dormouse_tests::{Artefacts, Failure, Fill, Life, Options, scenario};

/// The writer's stages before the commit is done, and what can be made to
/// happen in each, with a word of the message that tells of it.
const STAGES: [&str; 5] = ["plan", "device", "prepare", "write", "commit"];
const FAULTS: [(&str, &str); 3] =
    [("error", "an error"), ("panic", "a panic"), ("page-fault", "page fault")];

#[test]
fn whatever_fails_at_whatever_stage_the_old_system_goes_on() -> Result<(), Failure> {
    let artefacts = Artefacts::from_environment()?;
    let mut life = Life::begin(&artefacts, "returns", Options::default())?;
    let before = life.fill(&Fill::light())?;
    for stage in STAGES {
        for (fault, word) in FAULTS {
            let asked = format!("{stage}:{fault}");
            let attempt = life.hibernate(&["--test-fault", &asked])?;
            let ran = life.return_from(&attempt)?;
            life.logged(|_| scenario::said(&ran, 1, &[stage, word]))?;
            scenario::well(&mut life, &before)?;
        }
    }
    // None of it was in vain: the next attempt is a real one.
    scenario::sleep_and_wake(&mut life, &before)?;
    life.finish()?;
    Ok(())
}

/// Plans that nobody should follow, and a word of the writer's answer.
const BAD_PLANS: [(&str, &str); 6] = [
    ("checksum=wrong", "checksum"),
    ("version=99", "version 99"),
    ("pci=0000:00:1f.7", "0000:00:1f.7"),
    ("serial=another", "serial number"),
    ("device-blocks=123456789", "capacity"),
    ("first-page=1", "first page"),
];

#[test]
fn a_plan_that_does_not_fit_is_not_followed() -> Result<(), Failure> {
    let artefacts = Artefacts::from_environment()?;
    let mut life = Life::begin(&artefacts, "bad-plans", Options::default())?;
    let before = life.fill(&Fill::light())?;
    for (change, word) in BAD_PLANS {
        let attempt = life.hibernate(&["--test-plan", change])?;
        let ran = life.return_from(&attempt)?;
        life.logged(|_| scenario::said(&ran, 1, &[word]))?;
        scenario::well(&mut life, &before)?;
    }
    life.finish()?;
    Ok(())
}
