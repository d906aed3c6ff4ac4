//! Finds block devices by the serial number that the machine gave them.

use crate::error::Error;
use std::path::Path;

/// The path of the device with this serial number.
pub fn find(serial: &str) -> Result<String, Error> {
    const BLOCK: &str = "/sys/block";
    let entries = std::fs::read_dir(BLOCK).map_err(Error::refused(BLOCK))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names
        .filter(|name| serial_of(&Path::new(BLOCK).join(name)).as_deref() == Some(serial))
        .map(|name| format!("/dev/{name}"))
        .next()
        .ok_or_else(|| Error::NoSuch { wanted: format!("disk with serial {serial}") })
}

/// What a device says of itself, each kind in its own place.
fn serial_of(device: &Path) -> Option<String> {
    let text = |name: &str| std::fs::read_to_string(device.join(name)).ok();
    // virtio-blk; NVMe.
    if let Some(text) = text("serial").or_else(|| text("device/serial")) {
        return Some(text.trim().into());
    }
    // ATA and SCSI: vital product data page 0x80, whose text follows a head
    // of four bytes (SPC-4 §7.8.15).
    let page = std::fs::read(device.join("device/vpd_pg80")).ok()?;
    Some(String::from_utf8_lossy(page.get(4..)?).trim().into())
}
