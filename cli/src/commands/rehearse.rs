//! `dormouse rehearse`: everything but the sleep, and a verdict.

use crate::error::Result;
use crate::exit::Exit;
use crate::output::Output;
use crate::trip::{Options, Purpose, Trip};
use clap::Args;
use std::path::PathBuf;

/// Do everything but sleep, and say whether it would have worked
///
/// Jumps into the writer, writes an image that cannot be woken, reads it back,
/// compares every page with memory, comes back, and puts the target back.
#[derive(Args, Debug)]
pub struct Rehearse {
    /// The disk or partition that would take the image
    #[arg(long, value_name = "DEVICE")]
    target: PathBuf,

    /// Write nothing: only jump, find the target, read a little, come back
    #[arg(long)]
    no_write: bool,

    #[command(flatten)]
    options: Options,
}

impl Rehearse {
    /// Runs the command.
    ///
    /// # Errors
    /// Those of [`Trip::run`].
    pub fn run(&self, output: Output) -> Result<Exit> {
        let purpose = Purpose::Rehearse { write: !self.no_write };
        Trip::new(purpose, &self.options).to(&self.target).run(output)
    }
}
