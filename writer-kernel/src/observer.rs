//! What the data's path tells on its way: stages, progress, the user's wish to
//! go back, and the faults that tests ask for.

use crate::arch::time;
use crate::console;
use crate::failure;
use crate::keys::{self, Keys};
use crate::monitor::{self, Wish};
use crate::screen;
use crate::seed;
use alloc::vec::Vec;
use core::fmt;
use dormouse_handoff::image::Counts;
use dormouse_handoff::plan::{Fault, Plan, Stage};
use dormouse_screen::Line;
use dormouse_transfer::error::Error;
use dormouse_transfer::save;

/// How often progress is told, in microseconds.
const INTERVAL_US: u64 = 500_000;

/// Tells the console, and plays the plan's fault.
pub struct Observer {
    fault: Option<(Stage, Fault)>,
    verb: &'static str,
    began_us: u64,
    next_us: u64,
    /// Pages in use, as far as is known.
    in_use: Option<u64>,
    /// When progress was told first, and what it was. Until then it is the device's
    /// queue that fills, in no time.
    first: Option<(u64, Counts)>,
    log: Vec<u8>,
    /// `None` where there is no going back.
    keys: Option<Keys>,
    /// The device has data to write or to read, or has had.
    under_way: bool,
}

impl Observer {
    /// The writer's: it can be asked to go back.
    pub fn of_writer(plan: &Plan) -> Self {
        Self { keys: Some(Keys::new()), ..Self::new(plan, "saved") }
    }

    /// That of the comparison in a rehearsal: it can be asked as well.
    pub fn of_comparison(plan: &Plan, counts: &Counts) -> Self {
        let in_use = Some(counts.in_use());
        Self { keys: Some(Keys::new()), in_use, ..Self::new(plan, "compared") }
    }

    /// The reader's, of an image of so many pages.
    pub fn of_reader(plan: &Plan, counts: &Counts) -> Self {
        Self { in_use: Some(counts.in_use()), ..Self::new(plan, "read") }
    }

    /// Reports "`verb` n of m MiB".
    fn new(plan: &Plan, verb: &'static str) -> Self {
        let fault = match plan.fault {
            1 => Some(Fault::Error),
            2 => Some(Fault::Panic),
            3 => Some(Fault::PageFault),
            _ => None,
        };
        let fault = Stage::from_number(plan.fault_stage).zip(fault);
        let began_us = time::now_us();
        let next_us = began_us + INTERVAL_US;
        let in_use = Some(u64::from(plan.pages_in_use)).filter(|&pages| pages > 0);
        let (log, keys, under_way) = (Vec::new(), None, false);
        Self { fault, verb, began_us, next_us, in_use, first: None, log, keys, under_way }
    }

    /// Shows how far it is: MiB of memory dealt with, left out or moved, and the
    /// time that the rest takes at the rate since it was shown first.
    fn show(&mut self, now: u64, so_far: &Counts, total: u64) {
        let elapsed_us = (now - self.began_us).max(1);
        let done = so_far.total();
        let mib_s = (done >> 8) * 1_000_000 / elapsed_us;
        let (from, before) = *self.first.get_or_insert((now, *so_far));
        let left = save::left_us(&before, so_far, total, self.in_use, now - from);
        let left = Left(left.filter(|_| now > from));
        let (verb, done_mib, total_mib) = (self.verb, done >> 8, total >> 8);
        let words = format_args!("{verb} {done_mib} of {total_mib} MiB, {mib_s} MiB/s{left}");
        if !monitor::is_open() {
            console::show_passing(words);
        }
        screen::progress(done, total, words);
    }

    fn heed_user(&mut self) -> Result<(), Error> {
        let asked = self.keys.as_mut().is_some_and(Keys::ask_to_go_back);
        if asked { Err(Error::Aborted) } else { Ok(()) }
    }

    fn play(&self, stage: Stage) -> Result<(), Error> {
        match self.fault {
            Some((at, fault)) if at == stage => match fault {
                Fault::Error => Err(Error::Inconsistent("an error that a test asked for")),
                Fault::Panic => panic!("a panic that a test asked for"),
                Fault::PageFault => {
                    // SAFETY: none: this is the fault. Nothing is mapped in the
                    // last page of the lower half.
                    unsafe { (0x7fff_ffff_f000 as *const u8).read_volatile() };
                    Ok(())
                }
            },
            _ => Ok(()),
        }
    }
}

impl save::Observer for Observer {
    fn stage(&mut self, stage: Stage) -> Result<(), Error> {
        failure::set_stage(stage);
        match stage {
            Stage::Write if self.keys.is_some() => {
                log::info!("writing; {}", keys::SERIAL_HINT);
                screen::say(Line::Hint, format_args!("{}", keys::HINT));
            }
            // The last moment at which nothing has been decided yet.
            Stage::Commit => {
                console::release();
                self.heed_user()?;
                if monitor::wish() == Some(Wish::Return) {
                    return Err(Error::ComeBack);
                }
                screen::say(Line::Hint, format_args!(""));
            }
            _ => {}
        }
        if stage == Stage::Commit {
            // What comes after is not in the image: the image must be written first.
            self.log = console::with_log(<[u8]>::to_vec);
        }
        self.play(stage)
    }

    fn progress(&mut self, so_far: &Counts, total: u64) -> Result<(), Error> {
        if self.under_way {
            console::send_some();
        }
        if self.keys.is_some() {
            monitor::progress(so_far.total(), total);
        }
        self.heed_user()?;
        if self.keys.is_none() {
            // A piece has come from the device, or the next one can be asked for.
            seed::note_time();
        }
        // The first picture takes time that the disk now has something to do in.
        screen::paint();
        let now = time::now_us();
        if now >= self.next_us {
            self.next_us = now + INTERVAL_US;
            self.show(now, so_far, total);
        }
        Ok(())
    }

    fn under_way(&mut self) {
        self.under_way = true;
    }

    fn now_us(&self) -> u64 {
        time::now_us()
    }

    fn log(&self) -> &[u8] {
        &self.log
    }
}

/// How long the rest takes, in microseconds, where that can be said.
struct Left(Option<u64>);

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |us| write!(f, ", {} s left", us / 1_000_000))
    }
}
