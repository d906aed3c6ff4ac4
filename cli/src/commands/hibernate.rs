//! `dormouse hibernate`: sends the machine to sleep, and says what happened
//! once it runs again.
//!
//! The order matters: what is changed first is put back last, whatever fails
//! in between.

mod options;
mod report;

pub use options::{ConsoleChoice, Hibernate, TestPlan};
pub use report::{Outcome, Report};

use crate::door::Loaded;
use crate::entropy;
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::hooks::Told;
use crate::kept_page;
use crate::mailbox::{Mail, Mailbox};
use crate::old_kernel::KernelPageFlags;
use crate::output::{Output, bytes};
use crate::planner::{self, Attempt, Circumstances, Wishes};
use crate::preflight::{Question, Ready, Survey};
use crate::run_dir::RunDir;
use crate::shrink;
use crate::signals::Uninterrupted;
use crate::stamp::WriterElf;
use crate::system::System;
use crate::target::content::page_to_keep;
use crate::target::direct::{Direct, Page};
use crate::target::swap::SwitchedOff;
use crate::target::{Content, usage};
use crate::window;
use dormouse_handoff::checksum::Nonce;
use dormouse_handoff::image::Header;
use dormouse_handoff::mailbox as contract;
use dormouse_handoff::units::PhysAddr;
use rustix::rand::{GetRandomFlags, getrandom};
use std::time::{Duration, SystemTime};

/// How often a plan is made anew because the mailbox moved meanwhile.
const MOVES: u32 = 3;

impl Hibernate {
    /// Runs the command.
    ///
    /// # Errors
    /// [`Error::Refused`] before anything is changed; otherwise whatever kept
    /// the machine from jumping. All that was changed has been put back.
    pub fn run(&self, output: Output) -> Result<Exit> {
        let system = System::this();
        let question = Question { target: Some(self.target.clone()), writer: self.writer.clone() };
        let ready = Survey::take(&system, &question).ready(&system)?;
        let run_dir = RunDir::lock()?;
        let _uninterrupted = Uninterrupted::begin();

        let swap = match usage::active_swap(&ready.target.uses) {
            Some(swap) => {
                output.say(format!("swapping off {}", swap.path));
                Some(SwitchedOff::new(swap.clone())?)
            }
            None => None,
        };
        let slept = self.sleep(&system, &ready, &run_dir, output);
        if let Some(swap) = swap {
            let path = swap.path().to_owned();
            match swap.switch_on() {
                Ok(()) => output.say(format!("swapping to {path} again")),
                Err(error) => output.warn(error.to_string()),
            }
        }
        let failed = |error| Report::failed(&self.target, error);
        let record = slept.as_ref().map_or_else(failed, Report::clone);
        if let Err(error) = run_dir.record(&record) {
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
        output: Output,
    ) -> Result<Report> {
        let disk = Direct::claiming(&self.target)?;
        // Swap may have been written to, and switched off, since it was looked at.
        let content = Content::of(&ready.circumstances.device, &disk)?;
        if !content.is_free() {
            return Err(Error::NotFree {
                path: self.target.clone(),
                reason: format!("{} on it", content.words()),
                advice: content.advice(&self.target),
            });
        }
        let first_page = disk.read(0)?;
        let kept_page = page_to_keep(&content, &disk)?;
        let told = match self.no_hooks {
            true => None,
            false => Some(Told::before_sleep(system, output)?),
        };

        let mut warnings = self.shrink(system, output);
        let mut journey = Journey::new(first_page, kept_page)?;
        let loaded = self.load(system, ready, run_dir, &mut journey)?;
        rustix::fs::sync();
        let before = SystemTime::now();
        let jumped = loaded.jump();
        let mail = journey.mailbox.read(&journey.nonce);
        if let Some(mail) = mail.as_ref().filter(|mail| was_woken(mail)) {
            // Before anything else: until then the machine's random numbers are
            // those that whoever has the image can foretell.
            if let Err(error) = entropy::reseed(&mail.head) {
                warnings.push(format!("the random numbers are not fresh: {error}"));
            }
        }
        let away = SystemTime::now().duration_since(before).unwrap_or(Duration::ZERO);
        if let Err(error) = settle(&disk, &journey) {
            warnings.push(format!("the target is not as it was: {error}"));
        }
        drop(loaded);
        drop(told);
        let mut report = Report::new(&self.target, away, jumped, mail.as_ref());
        report.warnings = warnings;
        Ok(report)
    }

    /// Makes the image smaller, if asked to; what did not work. The image is
    /// larger then, and that is all.
    fn shrink(&self, system: &System, output: Output) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.drop_caches
            && let Err(error) = shrink::drop_caches(system)
        {
            warnings.push(format!("caches are not dropped: {error}"));
        }
        let Some(wanted) = self.image_size else { return warnings };
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
        let wishes = self.wishes(system);
        for _ in 0..MOVES {
            let mailbox = journey.mailbox.addresses()?;
            let window = choose_window(system, circumstances, writer, &mailbox)?;
            let attempt = Attempt {
                nonce: journey.nonce,
                created: seconds_since_1970(),
                window,
                window_bytes: writer.window_bytes(),
                mailbox,
                first_page: journey.first_page.clone(),
                kept_page: journey.kept_page.clone(),
            };
            let stamped = self.stamp(circumstances, &wishes, &attempt, writer)?;
            let file = run_dir.write("writer.elf", &stamped)?;
            if let Some(copy) = &self.keep_stamped {
                std::fs::write(copy, &stamped).map_err(|source| Error::Io {
                    doing: "write",
                    path: copy.clone(),
                    source,
                })?;
            }
            let loaded = Loaded::new(system, &file, window, writer.window_bytes())?;
            if journey.mailbox.addresses()? == mailbox {
                return Ok(loaded);
            }
        }
        Err(Error::MailboxMoves(MOVES))
    }

    fn stamp(
        &self,
        circumstances: &Circumstances,
        wishes: &Wishes,
        attempt: &Attempt,
        writer: &WriterElf,
    ) -> Result<Vec<u8>> {
        let mut plan = planner::plan(circumstances, wishes, attempt).map_err(Error::Plan)?;
        for change in &self.test_plan {
            change.apply(&mut plan);
        }
        writer.stamped(&plan).map_err(|fault| Error::Writer { path: self.writer.clone(), fault })
    }
}

/// What belongs to one attempt and lives as long as it.
struct Journey {
    nonce: Nonce,
    mailbox: Mailbox,
    first_page: Page,
    kept_page: Page,
}

impl Journey {
    fn new(first_page: Page, kept_page: Page) -> Result<Self> {
        let mut nonce = Nonce::default();
        getrandom(&mut nonce, GetRandomFlags::empty()).map_err(|e| Error::call("getrandom", e))?;
        let mut mailbox = Mailbox::new()?;
        mailbox.prepare(&nonce);
        Ok(Self { nonce, mailbox, first_page, kept_page })
    }
}

fn was_woken(mail: &Mail) -> bool {
    mail.head.outcome == contract::Outcome::Woken as u32
}

fn choose_window(
    system: &System,
    circumstances: &Circumstances,
    writer: &WriterElf,
    mailbox: &[PhysAddr],
) -> Result<PhysAddr> {
    use dormouse_handoff::units::Pfn;
    let taken: Vec<Pfn> = mailbox.iter().map(|address| Pfn::containing(*address)).collect();
    let bytes = writer.window_bytes();
    let mut flags = KernelPageFlags::open(system)?;
    window::choose(&circumstances.kernel.memory, &taken, bytes, &mut flags)
        .ok_or(Error::NoWindow { bytes })
}

/// Leaves the target as it was, if an image of this attempt lies there.
///
/// After a wake-up it is consumed; after a return it was never finished, or was
/// finished without the machine going down: then it must not be resumed either,
/// for the system it holds goes on running.
fn settle(disk: &Direct, journey: &Journey) -> Result<()> {
    disk.forget_cache()?;
    match Header::parse(&disk.read(0)?.0) {
        Ok(header) if header.id == journey.nonce => {
            kept_page::put_back(disk, &header, &journey.kept_page).map(|_| ())
        }
        _ => Ok(()),
    }
}

fn seconds_since_1970() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
