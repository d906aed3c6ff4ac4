//! Devices that fail: at the n-th command, by never answering, by vanishing.
//! Until the commit each is a return with a message that names device and
//! command; in the reader each is a refusal that leaves the image valid.

use super::{Case, Outcome, Torture, Work};
use crate::artefacts::Artefacts;
use crate::checks::Baseline;
use crate::error::Error;
use crate::fill::Fill;
use crate::life::{Asleep, Life};
use crate::main_job::{BEFORE_WRITE, Progress};
use crate::options::Options;
use crate::qemu::{Fault, Layer, Machine};
use crate::scenario;
use dormouse_guest::protocol::Ran;
use fastrand::Rng;
use std::time::Duration;

/// The target's number among the disks.
const TARGET: usize = 0;

/// Its device number on the PC's PCI bus, behind host bridge and ISA bridge.
const PCI_DEVICE: u32 = 2;

/// As messages name it.
const PLACE: &str = "0000:00:02.0";

const FILL: Fill = Fill { patterned: 32 << 20, sparse: 8 << 20, every: 16 };

/// Writes of a small hibernation, at least: faults are spread over that many.
const WRITES: u32 = 80;

/// Reads of a small wake-up, at least.
const READS: u32 = 80;

/// How long a device that does not answer may keep the writer.
const PATIENCE: Duration = Duration::from_secs(120);

/// The writer's line after which it only jumps.
const GOING_BACK: &str = "going back; nothing was lost";

/// What happens to the device while the writer works.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Fails(Fault),
    Stalls,
    PulledOut,
}

impl Kind {
    /// What is chosen for the case with this number.
    fn choose(number: u32, rng: &mut Rng) -> Self {
        match number % 4 {
            0 => Self::Fails(Fault::Write(rng.u32(1..8))),
            1 => Self::Fails(Fault::Flush(rng.u32(1..=4))),
            2 => Self::Fails(Fault::HeaderAfter(rng.u32(3..20))),
            _ => Self::Fails(Fault::Write(rng.u32(8..WRITES))),
        }
    }

    /// What the message has to name: the device, and the command.
    fn words(self) -> &'static [&'static str] {
        match self {
            Self::Fails(Fault::Flush(_)) => &[PLACE, "flush"],
            Self::Fails(_) | Self::Stalls => &[PLACE, "write"],
            // What is noticed first differs: registers that read as zeros
            // look like an AHCI port that has done its work.
            Self::PulledOut => &[],
        }
    }
}

/// Lets a device fail `count` times in the writer, stop answering and vanish
/// where there is the `patience`, and fail twice in the reader.
pub fn run(
    artefacts: &Artefacts,
    options: Options,
    count: u32,
    patience: bool,
    torture: &Torture,
    progress: &dyn Progress,
) -> Result<Work, Error> {
    let mut rng = Rng::with_seed(torture.seed);
    let mut kinds: Vec<Kind> = (0..count).map(|number| Kind::choose(number, &mut rng)).collect();
    if patience {
        kinds.extend([Kind::Stalls, Kind::PulledOut]);
    }
    let reads = [1, rng.u32(2..READS)];
    let mine = |number: usize| torture.share.has(number);
    let writes = kinds.len();
    let kinds: Vec<_> = kinds.into_iter().enumerate().filter(|(n, _)| mine(*n)).collect();
    let reads = reads.into_iter().enumerate().map(|(n, nth)| (writes + n, nth));
    let reads: Vec<_> = reads.filter(|(n, _)| mine(*n)).collect();
    let work = Work::over(kinds.len() + reads.len());
    let mut life = Life::begin(artefacts, &format!("torture-faults-{}", options.disk), options)?;
    let before = life.fill(&FILL)?;
    for (number, kind) in &kinds {
        let mut case = Case::new(*number, format!("{kind:?} while writing"));
        attack_writer(&mut life, &before, *kind, &work, &mut case)?;
        work.done(case, progress);
    }
    let mut asleep = scenario::sleep(&mut life, &[])?;
    for (number, nth) in reads {
        let mut case = Case::new(number, format!("read {nth} fails while waking"));
        asleep = attack_reader(&mut life, asleep, &before, nth, &mut case)?;
        work.done(case, progress);
    }
    scenario::wake(&mut life, &asleep, &before)?;
    work.count("slept and woke after all of them", 1);
    life.finish()?;
    Ok(work)
}

/// One hibernation on a device that fails. An error only where the guest
/// cannot be used any more.
fn attack_writer(
    life: &mut Life,
    before: &Baseline,
    kind: Kind,
    work: &Work,
    case: &mut Case,
) -> Result<(), Error> {
    let attempt = life.hibernate(&["--test-wait", "before-write"])?;
    life.standstill(&attempt, BEFORE_WRITE)?;
    let machine = life.machine()?;
    match kind {
        Kind::Fails(fault) => machine.slip_in(TARGET, Layer::Fails(fault))?,
        Kind::Stalls => machine.slip_in(TARGET, Layer::Stalls)?,
        Kind::PulledOut => machine.pull_out(PCI_DEVICE)?,
    }
    machine.console.type_keys(" ")?;
    if let Kind::Stalls = kind {
        machine.console.wait_for(GOING_BACK, PATIENCE)?;
        machine.take_out(TARGET)?;
    }
    match life.end_of(attempt)? {
        Ok(said) => {
            if let Kind::Fails(_) = kind {
                life.machine()?.take_out(TARGET)?;
            }
            judge_return(life, before, kind, &said, case);
            work.count("returned, and the guest was what it had been", usize::from(case.good));
            Ok(())
        }
        // The fault lay behind the last command, or an AHCI disk could not
        // tell which of its queued commands had failed, and all were repeated.
        Err(asleep) => {
            case.expected = None;
            case.found(Outcome::Slept, "the fault was not reached, or the command repeated");
            work.count("slept all the same", 1);
            scenario::wake(life, &asleep, before)
        }
    }
}

fn judge_return(life: &mut Life, before: &Baseline, kind: Kind, said: &Ran, case: &mut Case) {
    case.expected = Some(Outcome::Returned);
    let judged = scenario::said(said, 1, kind.words()).and_then(|()| scenario::well(life, before));
    case.found(Outcome::Returned, message(said));
    if let Err(error) = judged {
        case.fail(error);
    }
}

/// The line that tells why.
fn message(said: &Ran) -> String {
    let value: serde_json::Value = serde_json::from_str(&said.stdout).unwrap_or_default();
    value["message"].as_str().unwrap_or(&said.stdout).to_owned()
}

/// One wake-up from a device that fails.
fn attack_reader(
    life: &mut Life,
    asleep: Asleep,
    before: &Baseline,
    nth: u32,
    case: &mut Case,
) -> Result<Asleep, Error> {
    let mut reader = life.reader();
    reader.paused = true;
    let (mut machine, line) = Machine::start(&reader, &life.folder)?;
    machine.slip_in(TARGET, Layer::Fails(Fault::Read(nth)))?;
    machine.go()?;
    match life.woken_on(machine, line, &asleep) {
        Ok(_) => {
            // It would hit Linux, later.
            life.machine()?.take_out(TARGET)?;
            case.found(Outcome::Woke, "the fault was not reached, or did not come again");
            scenario::well(life, before)?;
            scenario::sleep(life, &[])
        }
        Err(error) if matches!(error.reason(), Error::Ended { .. }) => {
            let log = life.serial_log()?;
            let words = log.lines().rfind(|line| line.contains(PLACE) && line.contains("read"));
            case.expected = Some(Outcome::Refused);
            case.found(Outcome::Refused, words.unwrap_or_default());
            case.good &= words.is_some_and(|words| words.contains("block"));
            scenario::image(life)?.header(dormouse_handoff::image::State::Valid)?;
            Ok(asleep)
        }
        Err(error) => Err(error),
    }
}
