//! `dormouse`: puts a whole Linux to sleep on a disk.

use clap::{Parser, Subcommand};
use dormouse_cli::commands::appliance::Appliance;
use dormouse_cli::commands::check::Check;
use dormouse_cli::commands::diff::Diff;
use dormouse_cli::commands::discard::Discard;
use dormouse_cli::commands::extract::Extract;
use dormouse_cli::commands::inspect::Inspect;
use dormouse_cli::commands::prepare::Prepare;
use dormouse_cli::commands::rehearse::Rehearse;
use dormouse_cli::commands::sleep::{Hibernate, Sleep, Suspend};
use dormouse_cli::commands::snapshot::Snapshot;
use dormouse_cli::commands::status::Status;
use dormouse_cli::exit::HELP;
use dormouse_cli::output::Output;
use std::process::ExitCode;

/// Puts a whole Linux to sleep on a disk, and says what happened once it woke
#[derive(Parser, Debug)]
#[command(name = "dormouse", version, after_help = HELP)]
struct Dormouse {
    /// Print one JSON object instead of lines
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Check(Check),
    Prepare(Prepare),
    // Boxed for its size: the others are a path and a few flags.
    Hibernate(Box<Hibernate>),
    Sleep(Box<Sleep>),
    Suspend(Box<Suspend>),
    Snapshot(Box<Snapshot>),
    Rehearse(Box<Rehearse>),
    Status(Status),
    Inspect(Inspect),
    Extract(Extract),
    Diff(Diff),
    Discard(Discard),
    Appliance(Appliance),
}

fn main() -> ExitCode {
    let dormouse = Dormouse::parse();
    let output = Output::new(dormouse.json);
    let result = match dormouse.command {
        Command::Check(command) => command.run(output),
        Command::Prepare(command) => command.run(output),
        Command::Hibernate(command) => command.run(output),
        Command::Sleep(command) => command.run(output),
        Command::Suspend(command) => command.run(output),
        Command::Snapshot(command) => command.run(output),
        Command::Rehearse(command) => command.run(output),
        Command::Status(command) => command.run(output),
        Command::Inspect(command) => command.run(output),
        Command::Extract(command) => command.run(output),
        Command::Diff(command) => command.run(output),
        Command::Discard(command) => command.run(output),
        Command::Appliance(command) => command.run(output),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            output.error(&error);
            error.exit().into()
        }
    }
}
