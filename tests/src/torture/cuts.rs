//! Power cuts: what a disk may hold after one, judged by a reader that has to
//! cope with it.
//!
//! A guest hibernates over an older image and wakes once, while QEMU keeps
//! each write and flush in a log. The power then goes after any of them, above
//! all around the changes of state; of the writes after the last flush the disk
//! keeps some, in some order, some of them in part. A share of the cuts is not
//! replayed but live: a machine is killed at some instant.

use super::replay::{self, Kept, Replay, SECTOR};
use super::sleeper::{BYSTANDER, Disks, Found, Sleeper};
use super::write_log::{Entry, WriteLog};
use super::{Case, Outcome, Torture, Work};
use crate::artefacts::Artefacts;
use crate::error::Error;
use crate::fill::Fill;
use crate::life::Life;
use crate::main_job::{BEFORE_WRITE, Progress};
use crate::options::Options;
use crate::qemu::{Layer, Machine};
use crate::scenario;
use dormouse_handoff::image::{Header, Layout, State};
use fastrand::Rng;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The target's number among the disks.
const TARGET: usize = 0;

/// Offset of the count of attempts, the other block that is rewritten.
const ATTEMPTS: u64 = Layout::ATTEMPTS;

/// Every how many refusals a Linux is booted beside the refused image.
const LINUX_EVERY: usize = 8;

/// Every how many wake-ups the woken guest ends well instead of by a cut.
const FINISH_EVERY: usize = 5;

/// A little of everything, and a small image: there will be many wake-ups.
const FILL: Fill = Fill { patterned: 32 << 20, sparse: 8 << 20, every: 16 };

/// Which of the logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Phase {
    Hibernation,
    WakeUp,
}

/// One cut.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Cut {
    /// After the log's first `upto` commands; of the unflushed ones `kept`.
    Replayed { phase: Phase, upto: usize, kept: Vec<Kept> },
    /// After `milliseconds` of this.
    Live { phase: Phase, milliseconds: u64 },
}

/// A recorded life.
struct Recording {
    sleeper: Sleeper,
    /// Both disks as they were when the log began.
    target: PathBuf,
    /// The second disk while the guest sleeps, and when the wake-up's log ends.
    second: [PathBuf; 2],
    logs: [WriteLog; 2],
}

impl Recording {
    fn log(&self, phase: Phase) -> &WriteLog {
        &self.logs[phase as usize]
    }
}

/// Cuts the power as often as is asked for.
pub fn run(
    artefacts: &Artefacts,
    options: Options,
    torture: &Torture,
    progress: &dyn Progress,
) -> Result<Work, Error> {
    let name = format!("torture-cuts-{}", options.disk);
    let mut life = Life::begin(artefacts, &name, options)?;
    let folder = life.folder.clone();
    let recorded = life.logged(|life| record(life, progress))?;
    let mut cuts = choose(&recorded, torture.cuts, &mut Rng::with_seed(torture.seed));
    cuts.retain(|(number, _)| torture.share.has(*number));
    let work = Work::over(cuts.len());
    work.count(
        "writes and flushes recorded",
        recorded.logs.iter().map(|log| log.entries.len()).sum(),
    );
    let distinct: HashSet<&Cut> = cuts.iter().map(|(_, cut)| cut).collect();
    work.count("different states", distinct.len());
    // In the order of the logs: each state is built on the one before.
    let mut ordered = cuts;
    ordered.sort_by_key(|(_, cut)| match cut {
        Cut::Replayed { phase, upto, kept } => {
            (*phase, recorded.log(*phase).pending(*upto).start, kept.len())
        }
        // Between the logs.
        Cut::Live { .. } => (Phase::WakeUp, 0, 0),
    });
    let shares = (0..torture.jobs).map(|job| {
        let mine = ordered.iter().skip(job).step_by(torture.jobs).cloned().collect::<Vec<_>>();
        (folder.join(format!("job-{job}")), mine)
    });
    let shares: Vec<_> = shares.collect();
    std::thread::scope(|scope| {
        let hands: Vec<_> = shares
            .iter()
            .map(|(folder, cuts)| {
                let (recorded, work) = (&recorded, &work);
                scope.spawn(move || judge_all(recorded, folder, cuts, work, progress))
            })
            .collect();
        hands.into_iter().try_for_each(|hand| {
            hand.join().unwrap_or_else(|_| Err(Error::verdict("a job of the campaign panicked")))
        })
    })?;
    for file in recorded.second.iter().chain([&recorded.target]) {
        std::fs::remove_file(file).map_err(Error::host(format!("{}", file.display())))?;
    }
    for name in ["hibernation.log", "wake-up.log"] {
        std::fs::remove_file(folder.join(name)).map_err(Error::host(name))?;
    }
    life.abandon()?;
    Ok(work)
}

/// Records a hibernation over an older image, and a wake-up.
fn record(life: &mut Life, progress: &dyn Progress) -> Result<Recording, Error> {
    progress.step("recording a hibernation and a wake-up");
    // So that a page is kept, and put back at the end.
    let name = life.target()?;
    scenario::said(&life.guest.run(&["mkswap", &name])?, 0, &[])?;
    let before = life.fill(&FILL)?;
    scenario::sleep_and_wake(life, &before)?;
    let attempt = life.hibernate(&["--test-wait", "before-write"])?;
    life.standstill(&attempt, BEFORE_WRITE)?;
    let folder = life.folder.clone();
    let file = |name: &str| folder.join(name);
    let [first, second_log] = [file("hibernation.log"), file("wake-up.log")];
    let (target, asleep_second, woken_second) =
        (file("target.raw"), file("second-asleep.raw"), file("second-woken.raw"));
    replay::copy(&life.target_disk(), &target)?;
    let machine = life.machine()?;
    machine.slip_in(TARGET, Layer::WriteLog(&first))?;
    machine.console.type_keys(" ")?;
    let asleep = life.fall_asleep(attempt)?;
    let hibernation = WriteLog::open(&first)?;
    let mut all = Replay::new(&target, &file("replayed.raw"))?;
    all.advance(&hibernation, hibernation.entries.len())?;
    if !replay::same(all.path(), &life.target_disk())? {
        return Err(Error::verdict("replaying the log does not give the disk that QEMU left"));
    }
    std::fs::remove_file(all.path()).map_err(Error::host("removing the replayed disk"))?;
    replay::copy(&life.second_disk(), &asleep_second)?;

    let sleeper = Sleeper::of(life, &asleep, &before, name)?;
    let mut reader = life.reader();
    reader.paused = true;
    let (mut machine, line) = Machine::start(&reader, &life.folder)?;
    machine.slip_in(TARGET, Layer::WriteLog(&second_log))?;
    machine.go()?;
    life.woken_on(machine, line, &asleep)?;
    scenario::well(life, &before)?;
    life.cut_power();
    replay::copy(&life.second_disk(), &woken_second)?;
    let logs = [hibernation, WriteLog::open(&second_log)?];
    Ok(Recording { sleeper, target, second: [asleep_second, woken_second], logs })
}

/// Chooses the cuts, with their numbers.
fn choose(recorded: &Recording, count: u32, rng: &mut Rng) -> Vec<(usize, Cut)> {
    let mut seen = HashSet::new();
    (0..count as usize)
        .map(|number| {
            // Where the small choices are used up, equal ones come again.
            let fresh = (0..50).find_map(|_| {
                let cut = choose_one(recorded, number, rng);
                seen.insert(cut.clone()).then_some(cut)
            });
            (number, fresh.unwrap_or_else(|| choose_one(recorded, number, rng)))
        })
        .collect()
}

fn choose_one(recorded: &Recording, number: usize, rng: &mut Rng) -> Cut {
    let replayed = |phase: Phase, upto: usize, rng: &mut Rng| {
        let kept = choose_kept(recorded.log(phase), upto, rng);
        Cut::Replayed { phase, upto, kept }
    };
    let anywhere = |phase: Phase, rng: &mut Rng| {
        let upto = rng.usize(0..=recorded.log(phase).entries.len());
        replayed(phase, upto, rng)
    };
    match number % 10 {
        0..6 => {
            let (phase, entry) = rng.choice(landmarks(recorded)).unwrap_or((Phase::WakeUp, 0));
            let last = recorded.log(phase).entries.len();
            replayed(phase, (entry + rng.usize(0..=2)).min(last), rng)
        }
        6 | 7 => anywhere(Phase::Hibernation, rng),
        8 => anywhere(Phase::WakeUp, rng),
        _ => {
            let phase =
                if (number / 10).is_multiple_of(2) { Phase::Hibernation } else { Phase::WakeUp };
            Cut::Live { phase, milliseconds: rng.u64(0..1800) }
        }
    }
}

/// The commands that change the image's state or count an attempt.
fn landmarks(recorded: &Recording) -> Vec<(Phase, usize)> {
    let of = |phase: Phase| {
        let log = recorded.log(phase);
        let entries = log.writes_to(0).into_iter().chain(log.writes_to(ATTEMPTS));
        entries.map(move |entry| (phase, entry)).collect::<Vec<_>>()
    };
    [of(Phase::Hibernation), of(Phase::WakeUp)].concat()
}

/// What the disk keeps of the writes that were not flushed.
fn choose_kept(log: &WriteLog, upto: usize, rng: &mut Rng) -> Vec<Kept> {
    let pending: Vec<usize> = log
        .pending(upto)
        .filter(|entry| matches!(log.entries[*entry], Entry::Write { .. }))
        .collect();
    let whole = |entry: &usize| Kept { entry: *entry, sectors: None };
    match rng.u32(0..5) {
        0 => Vec::new(),
        1 => pending.iter().map(whole).collect(),
        // All but the last, which is torn.
        2 => {
            let mut kept: Vec<Kept> = pending.iter().map(whole).collect();
            if let Some(last) = kept.last_mut() {
                last.sectors = torn(log, last.entry, rng);
            }
            kept
        }
        _ => {
            let mut kept: Vec<Kept> = pending.iter().filter(|_| rng.bool()).map(whole).collect();
            rng.shuffle(&mut kept);
            for one in &mut kept {
                if rng.u8(..) < 64 {
                    one.sectors = torn(log, one.entry, rng);
                }
            }
            kept
        }
    }
}

/// Some of a write's sectors.
fn torn(log: &WriteLog, entry: usize, rng: &mut Rng) -> Option<Vec<bool>> {
    match log.entries[entry] {
        Entry::Write { bytes, .. } => Some((0..bytes / SECTOR).map(|_| rng.bool()).collect()),
        _ => None,
    }
}

fn judge_all(
    recorded: &Recording,
    folder: &Path,
    cuts: &[(usize, Cut)],
    work: &Work,
    progress: &dyn Progress,
) -> Result<(), Error> {
    std::fs::create_dir_all(folder).map_err(Error::host(format!("{}", folder.display())))?;
    let mut disk = Replay::new(&recorded.target, &folder.join("target.raw"))?;
    let mut phase = Phase::Hibernation;
    for (number, cut) in cuts {
        let wanted = match cut {
            Cut::Replayed { phase, .. } => *phase,
            Cut::Live { .. } => Phase::WakeUp,
        };
        if phase != wanted {
            let log = recorded.log(Phase::Hibernation);
            disk.advance(log, log.entries.len())?;
            disk.next_log();
            phase = wanted;
        }
        let mut case = Case::new(*number, words(recorded, cut));
        match judge(recorded, folder, &mut disk, cut, work, &mut case) {
            Ok(()) => {}
            // The campaign goes on: the report tells of all that is wrong.
            Err(error) => case.fail(error),
        }
        disk.revert()?;
        work.done(case, progress);
    }
    for name in ["target.raw", "target.qcow2", "second.qcow2", "second.flat", BYSTANDER] {
        // Which of them there are depends on what was chosen.
        let _ = std::fs::remove_file(folder.join(name));
    }
    Ok(())
}

/// What the cut leaves, and whether the reader copes with it.
fn judge(
    recorded: &Recording,
    folder: &Path,
    disk: &mut Replay,
    cut: &Cut,
    work: &Work,
    case: &mut Case,
) -> Result<(), Error> {
    let [asleep, woken] = &recorded.second;
    let sleeper = &recorded.sleeper;
    let (found, disks) = match cut {
        Cut::Replayed { phase, upto, kept } => {
            let log = recorded.log(*phase);
            disk.advance(log, log.pending(*upto).start)?;
            disk.keep(log, kept)?;
            let mut page = vec![0; 4096];
            disk.read(0, &mut page)?;
            let valid = Header::parse(&page).is_ok_and(|header| header.state() == State::Valid);
            case.expected = Some(if valid { Outcome::Woke } else { Outcome::Refused });
            // Once the old kernel may have run again, the second disk moved on.
            let second = if *phase == Phase::WakeUp && !valid { woken } else { asleep };
            let disks = Disks::over(sleeper, folder, disk.path(), second)?;
            (sleeper.wake(&disks)?, disks)
        }
        Cut::Live { phase, milliseconds } => {
            let disks = Disks::over(sleeper, folder, disk.path(), asleep)?;
            let instant = Duration::from_millis(*milliseconds);
            let found = match phase {
                Phase::Hibernation => sleeper.cut_while_hibernating(&disks, instant)?,
                Phase::WakeUp => sleeper.wake_after_a_cut(&disks, instant)?,
            };
            (found, disks)
        }
    };
    match found {
        Found::Refused(words) => {
            case.found(Outcome::Refused, words);
            if work.count("refused", 1).is_multiple_of(LINUX_EVERY) {
                sleeper.boot_linux(&disks)?;
                work.count("Linux booted, its file system clean", 1);
            }
        }
        Found::Woke(machine) => {
            case.found(Outcome::Woke, "all that it had");
            if work.count("woke", 1).is_multiple_of(FINISH_EVERY) {
                machine.finish(&disks)?;
                work.count("woken, ended well, its file system clean", 1);
            } else {
                drop(machine);
            }
            match sleeper.wake(&disks)? {
                Found::Refused(_) => work.count("woken once and then refused", 1),
                Found::Woke(_) => return Err(Error::verdict("it woke twice")),
            };
        }
    }
    Ok(())
}

fn words(recorded: &Recording, cut: &Cut) -> String {
    let of = |phase: &Phase| match phase {
        Phase::Hibernation => "hibernation",
        Phase::WakeUp => "wake-up",
    };
    match cut {
        Cut::Replayed { phase, upto, kept } => {
            let log = recorded.log(*phase);
            let torn = kept.iter().filter(|kept| kept.sectors.is_some()).count();
            format!(
                "after {upto} of {} commands of the {}; of {} unflushed ones {} kept, {torn} torn",
                log.entries.len(),
                of(phase),
                log.pending(*upto).len(),
                kept.len(),
            )
        }
        Cut::Live { phase, milliseconds } => {
            format!("QEMU killed {milliseconds} ms into a {}", of(phase))
        }
    }
}
