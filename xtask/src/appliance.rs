//! `cargo xtask appliance`: `dormouse appliance build` with what this checkout
//! built.

use crate::error::Error;
use crate::{build, host, paths, shell};
use std::path::PathBuf;
use std::process::Command;

/// Build the disk image of an appliance (docs/appliance-file.md)
#[derive(clap::Args)]
pub struct Appliance {
    /// The description, in TOML
    description: PathBuf,
    /// The disk image; must not exist
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
}

impl Appliance {
    pub fn run(self) -> Result<(), Error> {
        host::ensure(host::FOR_APPLIANCES)?;
        build::all()?;
        let mut command = Command::new(paths::target().join("guest/dormouse"));
        command.args(["appliance", "build"]).arg(self.description).arg("-o").arg(self.output);
        shell::run(command.arg("--reader").arg(paths::target()))
    }
}
