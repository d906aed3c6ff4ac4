//! Where the reader looks for images among the disks and partitions that Linux knows: it
//! reads partition tables by itself, and not all that Linux does.

use super::device::Device;
use super::direct::{Direct, read_block};
use crate::error::{Error, Result};
use crate::system::System;
use dormouse_handoff::partitions;
use dormouse_handoff::units::Lba;
use std::path::{Path, PathBuf};

/// Whether the disk's tables, read as the reader reads them, have a partition that
/// begins where `device` does; a whole disk is always looked at.
///
/// # Errors
/// [`Error::Io`].
pub fn is_looked_at(system: &System, device: &Device) -> Result<bool> {
    if !device.is_partition() {
        return Ok(true);
    }
    let disk = Direct::reading(&system.path(node(&device.disk)))?;
    begins_one(&disk, device)
}

/// The paths of all disks and partitions.
pub fn nodes(system: &System) -> impl Iterator<Item = PathBuf> {
    system.names("/sys/class/block").into_iter().map(|name| node(&name))
}

/// The path that udev gives a device that the kernel calls `name` (Linux
/// drivers/base/core.c, device_get_devnode).
fn node(name: &str) -> PathBuf {
    Path::new("/dev").join(name.replace('!', "/"))
}

fn begins_one(disk: &Direct, device: &Device) -> Result<bool> {
    let block_size = u64::from(device.block_size);
    let bytes = device.disk_blocks.saturating_mul(block_size);
    let read = |at: Lba, block: &mut [u8]| read_block(at, block, bytes, |page| disk.read(page));
    let mut is_there = false;
    let found = |start| is_there |= start == device.extent.start;
    partitions::starts::<Error>(block_size as usize, read, found)?;
    Ok(is_there)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dormouse_handoff::extents::Extent;
    use dormouse_handoff::plan::{PciAddress, Transport};
    use std::io::Write;

    /// A disk whose table has one partition, at block 40.
    fn disk() -> Direct {
        let mut bytes = vec![0; 64 << 10];
        bytes[446 + 4] = 0x82;
        bytes[446 + 8] = 40;
        bytes[446 + 12] = 8;
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&bytes).unwrap();
        Direct::file(file.path()).unwrap()
    }

    fn partition(start: u64) -> Device {
        Device {
            path: "/dev/sda1".into(),
            name: "sda1".into(),
            disk: "sda".into(),
            number: (8, 1),
            transport: Transport::Ahci,
            unit: 0,
            address: PciAddress::default().into(),
            block_size: 512,
            disk_blocks: 128,
            serial: String::new(),
            extent: Extent { start: Lba(start), blocks: 8 },
        }
    }

    #[test]
    fn a_partition_that_linux_alone_knows_is_not_looked_at() {
        assert!(begins_one(&disk(), &partition(40)).unwrap());
        assert!(!begins_one(&disk(), &partition(48)).unwrap());
        let whole = Device { name: "sda".into(), ..partition(0) };
        assert!(is_looked_at(&System::below("/nonexistent"), &whole).unwrap());
    }
}
