//! Small and large machines, mostly empty and full.

use super::Bench;
use super::measured::Steps;
use super::report::Scale;
use crate::error::Error;
use crate::fill::Fill;
use crate::life::Life;
use crate::options::Options;
use crate::report::Said;
use crate::{checks, scenario};
use dormouse_handoff::image::State;

const SPARSE_MIB: [u64; 6] = [512, 1024, 2048, 4096, 8192, 16384];
const FULL_MIB: [u64; 4] = [512, 1024, 2048, 4096];

impl Bench<'_> {
    /// All sizes, as far as the host's memory goes.
    pub(super) fn scale(&self) -> Result<Vec<Scale>, Error> {
        let every = |step: usize| move |(i, mib): (usize, &u64)| (i % step == 0).then_some(*mib);
        let step = if self.quick { 2 } else { 1 };
        let sparse = SPARSE_MIB.iter().enumerate().filter_map(every(step)).map(|mib| (mib, false));
        let full = FULL_MIB.iter().enumerate().filter_map(every(step)).map(|mib| (mib, true));
        let mut all = Vec::new();
        for (memory_mib, full) in sparse.chain(full) {
            // A full machine's memory, and as much again as an image.
            let needed = if full { 2 * memory_mib } else { memory_mib / 8 + 1024 };
            if self.has_room("scale", memory_mib, needed)? {
                all.push(self.size(memory_mib, full)?);
            }
        }
        Ok(all)
    }

    fn size(&self, memory_mib: u64, full: bool) -> Result<Scale, Error> {
        let contents = if full { "full" } else { "mostly empty" };
        self.step(&format!("scale: {memory_mib} MiB, {contents}"));
        let options = Options { memory_mib, ..self.options() };
        let patterned = if full { options.memory() / 10 * 7 } else { 64 << 20 };
        let fill = Fill { patterned, sparse: 16 << 20, every: 16 };
        let mut life = Life::begin_bare(self.artefacts, "scale", options)?;
        let before = life.fill(&fill)?;
        let asleep = scenario::sleep(&mut life, &["--test-measure"])?;
        let header = scenario::image(&life)?.header(State::Valid)?;
        let steps = Steps::of(&life)?;
        let awake = life.wake(&asleep)?;
        let said = life.logged(|_| Said::parse(&awake.said))?;
        checks::all_good(&life.compare(&before)?).map_err(|e| life.with_log(e))?;
        life.finish()?;
        let took = header.statistics;
        let ms = |name| steps.last(name).map(|step| step.us as f64 / 1e3);
        Ok(Scale {
            memory_mib,
            full,
            stored_bytes: header.counts.stored * 4096,
            seconds: (took.first_data_us + took.data_us + took.finish_us) as f64 / 1e6,
            window_kib: header.counts.window * 4,
            walk_ms: ms("walk")?,
            zero_test_ms: ms("zero test")?,
            read_s: said.read.data_seconds,
        })
    }
}
