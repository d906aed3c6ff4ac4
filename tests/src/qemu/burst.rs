//! A limit for a machine's first disk that holds for the whole of a reading.
//!
//! QEMU lets a disk that was idle take at once what its limit allows in a tenth of a second
//! (util/throttle.c): of a reading of 150 MB that is much, or all. No setting makes it less.
//! So a second drive, which no device of the guest has, shares the limit and takes as much
//! once the reading has begun. What the disk took meanwhile it has to wait for afterwards.

use super::Machine;
use super::machine::FIRST_DISK;
use super::setup::{Setup, escaped};
use crate::error::Error;
use serde_json::json;
use std::fs::File;
use std::path::Path;

/// The drive that takes the burst.
const DRIVE: &str = "burst";

/// The share of a second whose bytes are let through at once.
const BURST: u64 = 10;

/// The same machine with its first disk limited to so many bytes a second. `folder` gets
/// a file with nothing in it.
pub fn limited(setup: &Setup, limit: u64, folder: &Path) -> Result<Setup, Error> {
    let file = folder.join(DRIVE).with_extension("img");
    let made = File::create(&file).and_then(|made| made.set_len(limit / BURST));
    made.map_err(Error::host(format!("making {}", file.display())))?;
    let mut setup = setup.clone();
    if let Some(disk) = setup.disks.first_mut() {
        disk.limit = Some(limit);
    }
    let drive = format!(
        "driver=raw,id={DRIVE},if=none,discard=unmap,file.driver=file,file.filename={},\
         throttling.bps-total={limit},throttling.group={FIRST_DISK}",
        escaped(&file)
    );
    setup.more.extend(["-drive".into(), drive]);
    Ok(setup)
}

impl Machine {
    /// Takes what the first disk of a [`limited`] machine may at once, now that it is busy.
    pub fn spend_burst(&mut self, limit: u64) -> Result<(), Error> {
        const COMMAND: &str = "human-monitor-command";
        // Zeros to where there are none but zeros: a request without data.
        let line = format!("qemu-io {DRIVE} \"write -q -z -u 0 {}\"", limit / BURST);
        let answer = self.monitor.command(COMMAND, json!({ "command-line": line }))?;
        match answer.as_str() {
            Some("") => Ok(()),
            _ => Err(Error::Monitor { command: COMMAND.into(), answer: answer.to_string() }),
        }
    }
}
