//! The memory of a machine as QEMU sees it.

use super::Chipset;
use super::Monitor;
use crate::error::Error;
use serde_json::json;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom};
use std::path::Path;

const FOUR_GIB: u64 = 4 << 30;

/// Writes all RAM to `file`, each byte at the offset of its physical address;
/// where there is no RAM, the file has a hole.
///
/// The guest should stand still meanwhile.
pub fn dump_memory(
    monitor: &mut Monitor,
    chipset: Chipset,
    memory: u64,
    file: &Path,
) -> Result<(), Error> {
    let tried = || format!("dumping memory to {}", file.display());
    let low = chipset.low_memory(memory);
    save(monitor, 0, low, file)?;
    if low == memory {
        return Ok(());
    }
    let high = file.with_extension("high");
    save(monitor, FOUR_GIB, memory - low, &high)?;
    let mut dump = File::options().write(true).open(file).map_err(Error::host(tried()))?;
    dump.seek(SeekFrom::Start(FOUR_GIB)).map_err(Error::host(tried()))?;
    let mut part = File::open(&high).map_err(Error::host(tried()))?;
    std::io::copy(&mut part, &mut dump).map_err(Error::host(tried()))?;
    fs::remove_file(&high).map_err(Error::host(tried()))
}

fn save(monitor: &mut Monitor, start: u64, bytes: u64, file: &Path) -> Result<(), Error> {
    let arguments = json!({ "val": start, "size": bytes, "filename": file });
    monitor.command("pmemsave", arguments).map(drop)
}
