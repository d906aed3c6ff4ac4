//! `cargo xtask`: everything that is done with this project, one file a
//! command. Each prints the command lines that it runs, so that anyone can
//! repeat them by hand.

mod bench;
mod build;
mod error;
mod host;
mod kernel;
mod paths;
mod progress;
mod qemu;
mod shell;
mod test;
mod torture;
mod writer_file;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Builds, runs and tests dormouse.
#[derive(Parser)]
#[command(name = "cargo xtask", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Bench(bench::Bench),
    Build(build::Build),
    Kernel(kernel::Kernel),
    Qemu(qemu::Qemu),
    Test(test::Test),
    Torture(torture::Torture),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Bench(command) => command.run(),
        Command::Build(command) => command.run(),
        Command::Kernel(command) => command.run(),
        Command::Qemu(command) => command.run(),
        Command::Test(command) => command.run(),
        Command::Torture(command) => command.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}
