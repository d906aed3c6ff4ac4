//! `dormouse snapshot`: writes an image and goes on at once.

use crate::commands::progress;
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::output::Output;
use crate::slots::{self, Place};
use crate::system::System;
use crate::target::writable;
use crate::trip::{Options, Purpose, Trip};
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;

/// Said before a reusable snapshot is made.
const RISK: &str = "every start will find memory as it is now: keys, session tickets, ids and \
                    leases that programs hold are the same each time. The clock and the kernel's \
                    random numbers are made fresh; the rest is for programs in \
                    /etc/dormouse/wake.d (docs/appliances.md)";

/// Write an image of this system, which goes on running
///
/// The image can be looked at (`dormouse inspect`), and is never woken. With
/// --reusable it is one that is woken at every start of the machine, for systems
/// that write to no disk.
#[derive(Args, Debug)]
pub struct Snapshot {
    /// The disk or partition that takes the image, and keeps it. With --reusable
    /// there may be two: the image goes to the one whose snapshot is not the
    /// newest, and is woken from then on
    #[arg(long, value_name = "DEVICE", required = true)]
    target: Vec<PathBuf>,

    /// Make an image that can be woken any number of times; refused while any
    /// block device is mounted for writing
    #[arg(long)]
    reusable: bool,

    /// Make no image: give the newer of two reusable snapshots up, so that the
    /// older is woken again
    #[arg(long, conflicts_with = "reusable")]
    rollback: bool,

    /// With --reusable: a block device that may be mounted for writing all the
    /// same; may be repeated
    #[arg(long, value_name = "DEVICE", requires = "reusable")]
    allow: Vec<PathBuf>,

    /// With --reusable: how many wake-ups in a row that do not get through are
    /// tried
    #[arg(long, value_name = "N", default_value_t = Trip::ATTEMPTS, value_parser = clap::value_parser!(u32).range(1..=100))]
    attempts: u32,

    #[command(flatten)]
    options: Options,
}

#[derive(Serialize)]
struct RolledBack<'a> {
    given_up: &'a PathBuf,
    woken_from_now_on: &'a PathBuf,
}

impl Snapshot {
    /// Runs the command.
    ///
    /// # Errors
    /// [`Error::Refused`] with each device that a reusable image forbids;
    /// those of [`slots::choose`], [`slots::roll_back`] and [`Trip::run`].
    pub fn run(&self, output: Output) -> Result<Exit> {
        let most = if self.reusable || self.rollback { 2 } else { 1 };
        if self.target.len() > most {
            return Err(Error::TooManyTargets(most));
        }
        match self {
            Self { rollback: true, .. } => self.roll_back(output),
            Self { reusable: true, .. } => self.make_reusable(output),
            Self { target, .. } => self.trip().to(&target[0]).run(output),
        }
    }

    fn trip(&self) -> Trip<'_> {
        let purpose = Purpose::Snapshot { reusable: self.reusable };
        Trip::new(purpose, &self.options).attempts(self.attempts)
    }

    fn places(&self) -> Result<Vec<Place>> {
        let system = System::this();
        self.target.iter().map(|path| Place::look(&system, path)).collect()
    }

    fn make_reusable(&self, output: Output) -> Result<Exit> {
        let written_to = writable::findings(&System::this(), &self.allow);
        if !written_to.is_empty() {
            return Err(Error::Refused(written_to));
        }
        let places = self.places()?;
        let (place, slot) = slots::choose(&places)?;
        let path = place.path.display();
        output.say(format!("generation {} goes to {path}", slot.generation.number));
        output.warn(RISK);
        // Again before the jump: hooks may mount something.
        self.trip().to(&place.path).into_slot(slot).writing_only_to(&self.allow).run(output)
    }

    fn roll_back(&self, output: Output) -> Result<Exit> {
        let places = self.places()?;
        let newest = places.iter().filter_map(|place| place.content.reusable());
        let bytes = newest.map(|header| header.data_length).max().unwrap_or(0);
        let bar = progress::bar(output, "checking the older one", bytes);
        let rolled_back = slots::roll_back(&places, |done| bar.set_position(done));
        bar.finish_and_clear();
        let (given_up, now) = rolled_back?;
        output.say(format!(
            "{}: {} is given up",
            given_up.path.display(),
            given_up.content.words()
        ));
        output.say(format!("{}: {} is woken now", now.path.display(), now.content.words()));
        let (given_up, woken_from_now_on) = (&given_up.path, &now.path);
        output.object(&RolledBack { given_up, woken_from_now_on });
        Ok(Exit::Done)
    }
}
