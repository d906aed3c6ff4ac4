//! `cargo xtask`: everything that is done with this project, one file a
//! command. Each prints the command lines that it runs, so that anyone can
//! repeat them by hand.

mod appliance;
mod bench;
mod bootloader_disk;
mod build;
mod debian;
mod error;
mod fuzz;
mod host;
mod kernel;
mod kiosk;
mod miri;
mod nightly;
mod paths;
mod progress;
mod property_tests;
mod qemu;
mod report;
mod shell;
mod test;
mod torture;
mod unsafe_list;
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
    Appliance(appliance::Appliance),
    Bench(bench::Bench),
    BootloaderDisk(bootloader_disk::BootloaderDisk),
    Build(build::Build),
    Fuzz(fuzz::Fuzz),
    Kernel(kernel::Kernel),
    Kiosk(kiosk::KioskCommand),
    Miri(miri::Miri),
    Qemu(qemu::Qemu),
    Report(report::Report),
    Test(test::Test),
    Torture(torture::Torture),
    Unsafe(unsafe_list::Unsafe),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Appliance(command) => command.run(),
        Command::Bench(command) => command.run(),
        Command::BootloaderDisk(command) => command.run(),
        Command::Build(command) => command.run(),
        Command::Fuzz(command) => command.run(),
        Command::Kernel(command) => command.run(),
        Command::Kiosk(command) => command.run(),
        Command::Miri(command) => command.run(),
        Command::Qemu(command) => command.run(),
        Command::Report(command) => command.run(),
        Command::Test(command) => command.run(),
        Command::Torture(command) => command.run(),
        Command::Unsafe(command) => command.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}
