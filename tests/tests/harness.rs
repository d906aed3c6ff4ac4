//! The harness itself: a guest that is judged well must be well.

use dormouse_tests::{Artefacts, Error, Fill, Life, Options, checks};

#[test]
fn a_guest_that_never_slept_passes_all_its_checks() -> Result<(), Error> {
    let artefacts = Artefacts::from_environment()?;
    let mut life = Life::begin(&artefacts, "never-slept", Options::default())?;
    let before = life.fill(&Fill::for_memory(life.options.memory()))?;
    checks::all_good(&life.compare(&before)?)?;
    life.finish().map(drop)
}
