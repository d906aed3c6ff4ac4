//! `dormouse appliance`: disk images of whole appliances.

use crate::appliance::{self, Layout, Reader};
use crate::error::Result;
use crate::exit::Exit;
use crate::output::Output;
use clap::{Args, Subcommand};
use serde::Serialize;
use std::path::PathBuf;

/// Make disk images of machines that are simply there after power-on
#[derive(Args, Debug)]
pub struct Appliance {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Build(Build),
}

/// Build a raw disk image from a description (docs/appliance-file.md)
#[derive(Args, Debug)]
pub struct Build {
    /// The description, in TOML
    pub description: PathBuf,

    /// The disk image; must not exist
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,

    /// The folder of writer.elf and writer.bzimage, and of bootloader-files for boot =
    /// "bootloader"
    #[arg(long, value_name = "FOLDER", default_value = "/usr/lib/dormouse")]
    pub reader: PathBuf,
}

#[derive(Serialize)]
struct Built<'a> {
    disk: &'a PathBuf,
    #[serde(flatten)]
    layout: &'a Layout,
}

impl Appliance {
    /// Runs the command.
    ///
    /// # Errors
    /// Those of [`appliance::build`].
    pub fn run(&self, output: Output) -> Result<Exit> {
        match &self.command {
            Command::Build(build) => build.run(output),
        }
    }
}

impl Build {
    /// Runs the command.
    ///
    /// # Errors
    /// Those of [`appliance::build`].
    pub fn run(&self, output: Output) -> Result<Exit> {
        let reader = Reader::in_folder(&self.reader);
        let layout = appliance::build(&self.description, &reader, &self.output)?;
        for part in &layout.parts {
            output.say(format!(
                "{:>2}  {:<12} {:>7} MiB from {:>6} MiB  {}",
                part.number,
                part.name,
                part.bytes.div_ceil(1 << 20),
                part.start >> 20,
                part.guid,
            ));
        }
        output.say(format!("{}: {} MiB", self.output.display(), layout.bytes >> 20));
        output.object(&Built { disk: &self.output, layout: &layout });
        Ok(Exit::Done)
    }
}
