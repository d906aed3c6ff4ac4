//! `dormouse-guest`: the test guest's userland in one static program.
//!
//! As process 1 it sets the guest up and serves the host (in a crash kernel it
//! writes the dump instead); as
//! `dormouse-guest work DESCRIPTION` it is one of the workloads.

mod agent;
mod direct_io;
mod disks;
mod dump;
mod error;
mod init;
mod kernel_log;
mod mapping;
mod pattern;
mod serial;
mod system;
mod workloads;

use error::Error;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let result = match arguments.get(1..).unwrap_or_default() {
        [role, description] if role == "work" => workloads::live(description),
        _ if std::process::id() == 1 => init::run(),
        _ => Err(Error::NoSuch { wanted: format!("role {arguments:?} outside a guest") }),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("dormouse-guest: {e}");
            ExitCode::FAILURE
        }
    }
}
