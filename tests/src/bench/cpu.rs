//! What the processor does for each page, in instructions.

use super::Bench;
use super::measured::Steps;
use super::report::Cost;
use crate::error::Error;
use crate::fill::Fill;
use crate::life::Life;
use crate::options::Options;
use crate::scenario;

/// The steps that the writer's log tells apart. Waiting for a device takes
/// instructions as well, but not the same number twice: it is left out.
const STEPS: [&str; 4] = ["walk", "zero test", "checksum", "submission"];

/// Instructions in a microsecond of a machine that counts them.
const PER_US: f64 = 1000.0;

impl Bench<'_> {
    /// One hibernation on a machine whose clock is its instructions.
    pub(super) fn cpu(&self) -> Result<Vec<Cost>, Error> {
        self.step("cpu: a hibernation with instructions counted");
        let options =
            Options { memory_mib: 512, cpus: 1, count_instructions: true, ..self.options() };
        let fill = Fill { patterned: 64 << 20, sparse: 16 << 20, every: 16 };
        let mut life = Life::begin_bare(self.artefacts, "cpu", options)?;
        life.fill(&fill)?;
        scenario::sleep(&mut life, &["--test-measure"])?;
        let steps = Steps::of(&life)?;
        life.abandon()?;
        let cost = |name: &str| {
            let step = steps.last(name)?;
            let instructions = step.us as f64 * PER_US / step.pages.max(1) as f64;
            let (stage, pages) = (name.to_owned(), step.pages);
            Ok(Cost { stage, pages, instructions_per_page: instructions })
        };
        STEPS.into_iter().map(cost).collect()
    }
}
