//! `dormouse snapshot`: writes an image and goes on at once.

use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::output::Output;
use crate::system::System;
use crate::target::writable;
use crate::trip::{Options, Purpose, Trip};
use clap::Args;
use std::path::PathBuf;

/// Write an image of this system, which goes on running
///
/// The image can be looked at (`dormouse inspect`), and is never woken. With
/// --reusable it is one that is woken at every start of the machine, for systems
/// that write to no disk.
#[derive(Args, Debug)]
pub struct Snapshot {
    /// The disk or partition that takes the image, and keeps it
    #[arg(long, value_name = "DEVICE")]
    target: PathBuf,

    /// Make an image that can be woken any number of times; refused while any
    /// block device is mounted for writing
    #[arg(long)]
    reusable: bool,

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

impl Snapshot {
    /// Runs the command.
    ///
    /// # Errors
    /// [`Error::Refused`] with each device that a reusable image forbids;
    /// those of [`Trip::run`].
    pub fn run(&self, output: Output) -> Result<Exit> {
        if self.reusable {
            let written_to = writable::findings(&System::this(), &self.allow);
            if !written_to.is_empty() {
                return Err(Error::Refused(written_to));
            }
        }
        let trip = Trip::new(Purpose::Snapshot { reusable: self.reusable }, &self.options)
            .to(&self.target)
            .attempts(self.attempts);
        trip.run(output)
    }
}
