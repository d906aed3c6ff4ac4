//! A trip into the writer and back, whatever it is for: there, what was asked,
//! and home again, at once, after a sleep, or from a cold start.
//!
//! The order matters: what is changed first is put back last, whatever fails
//! in between.

mod alarm;
mod options;
mod purpose;
mod report;

pub use alarm::WakeAfter;
pub use options::{ConsoleChoice, Options, TestPlan};
pub use purpose::Purpose;
pub use report::{Outcome, Report};

use alarm::Alarm;

use crate::clock::{self, Corrected};
use crate::counter::Moment;
use crate::door::Loaded;
use crate::entropy::{Seed, Worth};
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::foremost::Foremost;
use crate::guard::Guard;
use crate::hooks::{Ending, Occasion, Told};
use crate::kept_page::{self, Settled};
use crate::mailbox::{Mail, Mailbox};
use crate::old_kernel::{KernelPageFlags, OldKernel};
use crate::output::{Output, bytes};
use crate::planner::{self, Attempt, Circumstances, Wishes};
use crate::preflight::{Question, Ready, Survey, Verdict};
use crate::processors::Offline;
use crate::reloaded;
use crate::run_dir::{self, RunDir};
use crate::shrink;
use crate::signals::Uninterrupted;
use crate::slots::Slot;
use crate::stamp::WriterElf;
use crate::system::System;
use crate::target::content::page_to_keep;
use crate::target::direct::{Direct, Page};
use crate::target::swap::SwitchedOff;
use crate::target::{Content, Device, usage, writable};
use crate::window;
use dormouse_handoff::checksum::Nonce;
use dormouse_handoff::image::{Header, Kind};
use dormouse_handoff::mailbox as contract;
use dormouse_handoff::units::{PAGE_SIZE, Pfn, PhysAddr};
use rustix::process::{Signal, getpid, kill_process};
use rustix::rand::{GetRandomFlags, getrandom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// How often a plan is made anew because the mailbox moved meanwhile.
const MOVES: u32 = 3;

/// A trip, with all that was asked for.
#[derive(Debug)]
pub struct Trip<'a> {
    purpose: Purpose,
    options: &'a Options,
    /// The device for the image; `None` where no target is needed.
    target: Option<&'a Path>,
    attempts: u32,
    slot: Slot,
    wake_after: Option<WakeAfter>,
    /// Devices that this system may write to; `None`: all.
    written_to: Option<&'a [PathBuf]>,
}

impl<'a> Trip<'a> {
    /// How many wake-ups that do not get through are tried, if nothing is said.
    pub const ATTEMPTS: u32 = 3;

    /// A trip for `purpose`, without a target and without an alarm.
    pub fn new(purpose: Purpose, options: &'a Options) -> Self {
        let (attempts, slot) = (Self::ATTEMPTS, Slot::default());
        Self { purpose, options, target: None, attempts, slot, wake_after: None, written_to: None }
    }

    /// The same with an image on the device at `target`.
    #[must_use]
    pub fn to(self, target: &'a Path) -> Self {
        Self { target: Some(target), ..self }
    }

    /// The same with so many wake-ups that may be begun.
    #[must_use]
    pub fn attempts(self, attempts: u32) -> Self {
        Self { attempts, ..self }
    }

    /// The same with a generation of a snapshot, which may replace an older one.
    #[must_use]
    pub fn into_slot(self, slot: Slot) -> Self {
        Self { slot, ..self }
    }

    /// The same with the clock's alarm set.
    #[must_use]
    pub fn wake_after(self, wake_after: Option<WakeAfter>) -> Self {
        Self { wake_after, ..self }
    }

    /// The same, refused while this system may write to other devices than these.
    #[must_use]
    pub fn writing_only_to(self, devices: &'a [PathBuf]) -> Self {
        Self { written_to: Some(devices), ..self }
    }

    /// Goes there and comes back.
    ///
    /// # Errors
    /// [`Error::Refused`] and [`Error::NoAlarm`] before anything is changed;
    /// otherwise whatever kept the machine from jumping. All that was changed
    /// has been put back.
    pub fn run(&self, output: Output) -> Result<Exit> {
        let began = Moment::now();
        let system = System::this();
        let question = Question {
            target: self.target.map(Path::to_owned),
            writer: self.options.writer.clone(),
            suspend: self.purpose.suspends(),
            sleeps: self.purpose.image() == Some(Kind::Once),
            replaces: self.slot.replaces,
        };
        // Locked while it looks: another one's sleep may change what there is to see.
        let run_dir = RunDir::lock();
        let ready = Survey::take(&system, &question).ready(&system)?;
        if self.wake_after.is_some() {
            Alarm::possible(&system)?;
        }
        let run_dir = run_dir?;
        let _uninterrupted = Uninterrupted::begin();

        let active_swap = ready.target.as_ref().and_then(|target| usage::active_swap(&target.uses));
        if let Some(swap) = active_swap.filter(|_| self.purpose.keeps_image()) {
            return Err(Error::NotFree {
                path: swap.path.clone().into(),
                reason: "it is swapped to, and a snapshot would stay in its place".to_owned(),
                advice: "choose another device, or `swapoff` it first".to_owned(),
            });
        }
        let mut guard = Guard::set();
        let swap = match active_swap {
            Some(swap) => {
                guard.note(SwitchedOff::undo(swap));
                output.say(format!("swapping off {}", swap.path));
                Some(SwitchedOff::new(swap.clone())?)
            }
            None => None,
        };
        let mut slept = self.sleep(&system, &ready, &run_dir, began, &mut guard, output);
        if let Some(swap) = swap {
            let path = swap.path().to_owned();
            match (swap.switch_on(), &mut slept) {
                (Ok(()), _) => output.say(format!("swapping to {path} again")),
                (Err(error), Ok(report)) => report.warnings.push(error.to_string()),
                (Err(error), Err(_)) => output.warn(error.to_string()),
            }
        }
        let failed = |error| Report::failed(self.purpose, self.target, error);
        let record = slept.as_ref().map_or_else(failed, Report::clone);
        if let Err(error) = run_dir.record(run_dir::LAST, &record) {
            output.warn(error.to_string());
        }
        let report = slept?;
        report.print(output);
        Ok(report.exit())
    }

    /// Everything for which the target must be ours alone.
    fn sleep(
        &self,
        system: &System,
        ready: &Ready,
        run_dir: &RunDir,
        began: Moment,
        guard: &mut Guard,
        output: Output,
    ) -> Result<Report> {
        let device = ready.circumstances.device.as_ref();
        let claimed =
            device.map(|device| Claimed::new(system, device, self.slot.replaces)).transpose()?;
        let mut told = match self.options.no_hooks {
            true => None,
            false => Some(Told::before_sleep(system, self.occasion(), output)?),
        };

        let mut warnings = match self.target {
            Some(_) => self.shrink(system, output),
            None => Vec::new(),
        };
        let mut journey = Journey::new(claimed.as_ref(), began)?;
        // A writer that nobody unloads would be what a reboot by way of kexec starts.
        Loaded::undo(system).into_iter().for_each(|undo| guard.note(undo));
        let loaded = self.load(system, ready, run_dir, &mut journey)?;
        rustix::fs::sync();
        self.refuse_if_changed(system, &ready.circumstances.kernel)?;
        let alarm = self.wake_after.map(|after| Alarm::set(system, after)).transpose()?;
        let offline = Offline::where_needed(system, guard, output)?;
        if self.target.is_some() {
            shrink::empty_lists_of_processors(system);
        }
        if self.options.test_kill {
            let _ = kill_process(getpid(), Signal::KILL);
        }
        let ahead = clock::Ahead::before_sleep(system);
        let before = SystemTime::now();
        let first = Foremost::begin();
        let jumped = loaded.jump();
        let fresh = Fresh::make(system, &mut journey, ahead, &mut warnings);
        drop(first);
        drop(alarm);
        warnings.extend(offline.map(Offline::put_back).unwrap_or_default());
        let mail = journey.mailbox.read(&journey.nonce);
        let away = clock::between(before, SystemTime::now());
        if let Some(reloaded) = mail.as_ref().and_then(Mail::reloaded)
            && let Err(error) = reloaded::note(run_dir, reloaded)
        {
            warnings.push(format!("do not suspend this machine to RAM: {error}"));
        }
        let stays = self.purpose.keeps_image() && mail.as_ref().is_some_and(is_complete);
        if let Some(Claimed { disk, .. }) = claimed.as_ref().filter(|_| !stays) {
            match settle(disk, &journey.nonce, &journey.kept_page) {
                // Else nothing was written, and an older image's kept page may lie there.
                Ok(Some(_)) if self.options.wipe => {
                    if let Err(error) = disk.deallocate(PAGE_SIZE) {
                        warnings.push(format!("the image is not wiped: {error}"));
                    }
                }
                Ok(_) => {}
                Err(error) => warnings.push(format!("the target is not as it was: {error}")),
            }
        }
        drop(loaded);
        let mut report = Report::new(self.purpose, self.target, away, jumped, mail.as_ref());
        report.warnings = warnings;
        report.entropy = fresh.entropy;
        report.clock_corrected_seconds = fresh.clock_corrected_seconds;
        if report.outcome == Outcome::Woken {
            let in_s3 = reloaded::finding(system, &ready.circumstances.kernel.memory);
            report.no_suspend = (in_s3.verdict == Verdict::Refused).then(|| in_s3.reason());
        }
        if let Some(told) = &mut told {
            told.ended(Ending {
                outcome: report.outcome.name(),
                seconds: away.as_secs(),
                woken_before: report.woken_before,
                entropy_bits: report.entropy.as_ref().map_or(0, |worth| worth.bits),
            });
        }
        drop(told);
        Ok(report)
    }

    /// Looks once more at what hooks and others may have changed since all was looked
    /// at.
    fn refuse_if_changed(&self, system: &System, kernel: &OldKernel) -> Result<()> {
        kernel.has_the_same_memory(system)?;
        let written_to = self.written_to.map(|allowed| writable::findings(system, allowed));
        match written_to {
            Some(findings) if !findings.is_empty() => Err(Error::Refused(findings)),
            _ => Ok(()),
        }
    }

    /// Makes the image smaller, if asked to; what did not work. The image is
    /// larger then, and that is all.
    fn shrink(&self, system: &System, output: Output) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.options.drop_caches
            && let Err(error) = shrink::drop_caches(system)
        {
            warnings.push(format!("caches are not dropped: {error}"));
        }
        let Some(wanted) = self.options.image_size else { return warnings };
        match shrink::shrink_to(system, wanted) {
            Ok(in_use) if in_use <= wanted => {
                output.say(format!("{} of memory are in use", bytes(in_use)));
            }
            Ok(in_use) => warnings.push(format!(
                "{} of memory are in use, and cannot be given up down to {}",
                bytes(in_use),
                bytes(wanted)
            )),
            Err(error) => warnings.push(format!("memory in use is not made less: {error}")),
        }
        warnings
    }

    /// Plans, stamps and loads until plan and mailbox agree.
    fn load(
        &self,
        system: &System,
        ready: &Ready,
        run_dir: &RunDir,
        journey: &mut Journey,
    ) -> Result<Loaded> {
        let Ready { circumstances, writer, .. } = ready;
        let wishes = self.options.wishes(system, self.purpose, self.attempts, self.slot.generation);
        for _ in 0..MOVES {
            let mailbox = journey.mailbox.addresses()?;
            let window = self.choose_window(system, circumstances, writer, &mailbox)?;
            let attempt = Attempt {
                nonce: journey.nonce,
                created: seconds_since_1970(),
                window,
                window_bytes: writer.window_bytes(),
                mailbox,
                first_page: journey.first_page.clone(),
                kept_page: journey.kept_page.clone(),
                tsc_khz: journey.began.khz_since(),
                pages_in_use: shrink::pages_in_use(system),
            };
            let stamped = self.stamp(circumstances, &wishes, &attempt, writer)?;
            let file = run_dir.write("writer.elf", &stamped)?;
            let loaded = Loaded::new(system, &file, window, writer.window_bytes())?;
            if journey.mailbox.addresses()? == mailbox {
                return Ok(loaded);
            }
        }
        Err(Error::MailboxMoves(MOVES))
    }

    fn choose_window(
        &self,
        system: &System,
        circumstances: &Circumstances,
        writer: &WriterElf,
        mailbox: &[PhysAddr],
    ) -> Result<PhysAddr> {
        let loaded = writer.loaded();
        let mut taken: Vec<Pfn> = mailbox.iter().map(|address| Pfn::containing(*address)).collect();
        if self.options.test_move {
            taken.push(loaded.start);
        }
        let mut flags = KernelPageFlags::open(system)?;
        window::choose(&circumstances.kernel.memory, &taken, loaded, &mut flags)
            .ok_or(Error::NoWindow { bytes: writer.window_bytes() })
    }

    fn stamp(
        &self,
        circumstances: &Circumstances,
        wishes: &Wishes,
        attempt: &Attempt,
        writer: &WriterElf,
    ) -> Result<Vec<u8>> {
        let mut plan = planner::plan(circumstances, wishes, attempt).map_err(Error::Plan)?;
        for change in &self.options.test_plan {
            change.apply(&mut plan);
        }
        let failed = |fault| Error::Writer { path: self.options.writer.clone(), fault };
        if let Some(copy) = &self.options.keep_stamped {
            let bytes = writer.stamped_with_symbols(&plan).map_err(failed)?;
            let failed = |source| Error::Io { doing: "write", path: copy.clone(), source };
            std::fs::write(copy, bytes).map_err(failed)?;
        }
        writer.stamped(&plan).map_err(failed)
    }

    fn occasion(&self) -> Occasion {
        Occasion {
            sleep: self.purpose.systemd_name(),
            action: self.purpose.name(),
            kind: self.purpose.image().map_or("none", Kind::name),
            generation: self.slot.generation.number,
        }
    }
}

/// What keeps a woken system from believing that it is the same moment.
#[derive(Default)]
struct Fresh {
    entropy: Option<Worth>,
    clock_corrected_seconds: Option<i64>,
}

impl Fresh {
    /// Feeds the kernel's random numbers and puts its clock right, where the
    /// machine was asleep: before anything else, for until then its random
    /// numbers are those that whoever has the image can foretell.
    fn make(
        system: &System,
        journey: &mut Journey,
        ahead: clock::Ahead,
        warnings: &mut Vec<String>,
    ) -> Self {
        let nonce = journey.nonce;
        let mut fresh = Self::default();
        if !journey.mailbox.outcome(&nonce).is_some_and(was_asleep) {
            return fresh;
        }
        match journey.mailbox.take_seed(&nonce).map(Seed::feed) {
            Some(Ok(worth)) => {
                warnings.extend(worth.complaint());
                fresh.entropy = Some(worth);
            }
            Some(Err(error)) => warnings.push(format!("the random numbers are not fresh: {error}")),
            None => {}
        }
        match ahead.restore(system) {
            Ok(Corrected::Right) => {}
            Ok(Corrected::By(seconds)) => fresh.clock_corrected_seconds = Some(seconds),
            Ok(Corrected::Unknown) => warnings.push(
                "this machine has no clock that tells how long it slept: if nothing else sets \
                 the time, it is as before the sleep"
                    .to_owned(),
            ),
            Err(error) => warnings.push(format!("the clock is not put right: {error}")),
        }
        fresh
    }
}

/// The target, ours alone.
struct Claimed {
    disk: Direct,
    first_page: Page,
    kept_page: Page,
}

impl Claimed {
    fn new(system: &System, device: &Device, replaces: Option<Nonce>) -> Result<Self> {
        let disk = device.claim(system)?;
        // Swap may have been written to, and switched off, since it was looked at.
        let content = Content::of(device, &disk)?;
        if !content.is_free_for(replaces) {
            return Err(Error::NotFree {
                path: device.path.clone(),
                reason: format!("{} on it", content.words()),
                advice: content.advice(&device.path),
            });
        }
        let first_page = disk.read(0)?;
        let kept_page = page_to_keep(&content, &disk)?;
        Ok(Self { disk, first_page, kept_page })
    }
}

/// What belongs to one attempt and lives as long as it.
struct Journey {
    nonce: Nonce,
    mailbox: Mailbox,
    first_page: Page,
    kept_page: Page,
    began: Moment,
}

impl Journey {
    fn new(claimed: Option<&Claimed>, began: Moment) -> Result<Self> {
        let mut nonce = Nonce::default();
        getrandom(&mut nonce, GetRandomFlags::empty()).map_err(|e| Error::call("getrandom", e))?;
        let mut mailbox = Mailbox::new()?;
        mailbox.prepare(&nonce);
        let page = |page: fn(&Claimed) -> &Page| claimed.map_or(Page::zero(), |c| page(c).clone());
        let (first_page, kept_page) = (page(|c| &c.first_page), page(|c| &c.kept_page));
        Ok(Self { nonce, mailbox, first_page, kept_page, began })
    }
}

fn was_asleep(outcome: contract::Outcome) -> bool {
    matches!(outcome, contract::Outcome::Woken | contract::Outcome::WokenFromRam)
}

/// Whether the image of a snapshot is whole: just written, or woken from.
fn is_complete(mail: &Mail) -> bool {
    use contract::Outcome;
    let outcome = Outcome::from_number(mail.head.outcome);
    matches!(outcome, Some(Outcome::Done | Outcome::Woken))
}

/// Leaves the target as it was, if an image of this attempt lies there; `None` where
/// none does.
///
/// After a wake-up it is consumed; after a return it was never finished, or was
/// finished without the machine going down: then it must not be resumed either,
/// for the system it holds goes on running.
fn settle(disk: &Direct, nonce: &Nonce, kept_page: &Page) -> Result<Option<Settled>> {
    disk.forget_cache()?;
    match Header::parse(&disk.read(0)?.0) {
        Ok(header) if header.id == *nonce => {
            kept_page::put_back(disk, &header, kept_page).map(Some)
        }
        _ => Ok(None),
    }
}

fn seconds_since_1970() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image_file::fake::{file, image};
    use dormouse_handoff::image::State;

    /// What `--wipe` goes by: what another attempt left is not this one's to wipe.
    #[test]
    fn only_an_image_of_this_attempt_is_settled() {
        let file = file(&image(State::Consumed));
        let before = std::fs::read(file.path()).unwrap();
        let id = Header::parse(&before).unwrap().id;
        let disk = Direct::file(file.path()).unwrap();
        let kept = Page([7; PAGE_SIZE as usize]);
        assert_eq!(settle(&disk, &[0; 16], &kept).unwrap(), None);
        assert_eq!(std::fs::read(file.path()).unwrap(), before);
        assert_eq!(settle(&disk, &id, &kept).unwrap(), Some(Settled::PutBack));
        assert_eq!(std::fs::read(file.path()).unwrap()[..4096], kept.0);
    }
}
