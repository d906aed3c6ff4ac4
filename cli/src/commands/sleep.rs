//! `dormouse hibernate`, `sleep` and `suspend`: sends the machine to sleep, and
//! says what happened once it runs again.

use crate::error::Result;
use crate::exit::Exit;
use crate::output::Output;
use crate::trip::{Options, Purpose, Trip, WakeAfter};
use clap::Args;
use std::path::PathBuf;

/// Send this machine to sleep on a disk
#[derive(Args, Debug)]
pub struct Hibernate {
    #[command(flatten)]
    on_disk: OnDisk,

    /// Reset the machine afterwards instead of powering it off
    #[arg(long)]
    reboot: bool,

    #[command(flatten)]
    alarm: AlarmOption,

    #[command(flatten)]
    options: Options,
}

/// Suspend this machine to RAM, with an image on a disk in case the power goes
#[derive(Args, Debug)]
pub struct Sleep {
    /// Write the image first, then suspend: woken, the machine goes on from RAM;
    /// started after a loss of power, it wakes from the disk
    #[arg(long, required = true)]
    both: bool,

    #[command(flatten)]
    on_disk: OnDisk,

    #[command(flatten)]
    alarm: AlarmOption,

    #[command(flatten)]
    options: Options,
}

/// Suspend this machine to RAM, without an image
#[derive(Args, Debug)]
pub struct Suspend {
    #[command(flatten)]
    alarm: AlarmOption,

    #[command(flatten)]
    options: Options,
}

#[derive(Args, Debug)]
struct OnDisk {
    /// The disk or partition that takes the image
    #[arg(long, value_name = "DEVICE")]
    target: PathBuf,

    /// How many wake-ups that do not get through are tried
    #[arg(long, value_name = "N", default_value_t = Trip::ATTEMPTS, value_parser = clap::value_parser!(u32).range(1..=100))]
    attempts: u32,
}

#[derive(Args, Debug)]
struct AlarmOption {
    /// Let the machine's clock wake it after this time: 8h, 90m, 1d12h
    #[arg(long, value_name = "TIME")]
    wake_after: Option<WakeAfter>,
}

impl Hibernate {
    /// Runs the command.
    ///
    /// # Errors
    /// Those of [`Trip::run`].
    pub fn run(&self, output: Output) -> Result<Exit> {
        let trip = Trip::new(Purpose::Hibernate { reboot: self.reboot }, &self.options)
            .to(&self.on_disk.target)
            .attempts(self.on_disk.attempts)
            .wake_after(self.alarm.wake_after);
        trip.run(output)
    }
}

impl Sleep {
    /// Runs the command.
    ///
    /// # Errors
    /// Those of [`Trip::run`].
    pub fn run(&self, output: Output) -> Result<Exit> {
        debug_assert!(self.both, "the command line asks for it");
        let trip = Trip::new(Purpose::Both, &self.options)
            .to(&self.on_disk.target)
            .attempts(self.on_disk.attempts)
            .wake_after(self.alarm.wake_after);
        trip.run(output)
    }
}

impl Suspend {
    /// Runs the command.
    ///
    /// # Errors
    /// Those of [`Trip::run`].
    pub fn run(&self, output: Output) -> Result<Exit> {
        Trip::new(Purpose::Suspend, &self.options).wake_after(self.alarm.wake_after).run(output)
    }
}
