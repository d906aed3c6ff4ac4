//! From a device's path to what the plan says about it, by way of sysfs (Linux
//! Documentation/ABI/stable/sysfs-block).

mod path;

use super::direct::Direct;
use crate::error::Error;
use crate::system::System;
use dormouse_handoff::extents::Extent;
use dormouse_handoff::plan::{self, Address, PciAddress, Transport};
use dormouse_handoff::units::{Lba, PAGE_SIZE};
use rustix::fs::{FileType, major, minor, stat};
use std::fmt;
use std::path::{Path, PathBuf};

/// Bytes in sysfs' sectors, whatever the device's own blocks are.
const SECTOR: u64 = 512;

/// A whole disk or a partition that the writer could write to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The path under which it was asked for.
    pub path: PathBuf,
    /// The kernel's name, for example `nvme0n1p2`.
    pub name: String,
    /// The kernel's name of the whole disk, for example `nvme0n1`.
    pub disk: String,
    /// Major and minor number.
    pub number: (u32, u32),
    /// Which driver the writer needs.
    pub transport: Transport,
    /// NVMe namespace, AHCI port from 0; 0 for virtio-blk.
    pub unit: u32,
    /// Where the controller is.
    pub address: Address,
    /// Bytes in a logical block.
    pub block_size: u32,
    /// Blocks of the whole disk.
    pub disk_blocks: u64,
    /// Serial number; empty where the device tells none.
    pub serial: String,
    /// The device's own blocks, a whole number of pages.
    pub extent: Extent,
}

/// What people call a transport.
pub fn transport_words(transport: Transport) -> &'static str {
    match transport {
        Transport::Nvme => "NVMe",
        Transport::VirtioBlk => "virtio-blk",
        Transport::VirtioMmio => "virtio-mmio",
        Transport::Ahci => "AHCI",
    }
}

/// Why a path is no target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceError {
    /// There is nothing at the path; what the kernel said.
    Missing(String),
    /// It is not a block device.
    NotABlockDevice,
    /// The kernel has no folder about it in sysfs.
    Unknown,
    /// A kind of device that the writer has no driver for.
    Kind(&'static str),
    /// A controller that the writer has no driver for; Linux' driver for it.
    Controller(String),
    /// It can only be read.
    ReadOnly,
    /// Its blocks have this many bytes, neither 512 nor 4096.
    BlockSize(u64),
    /// An attribute in sysfs is missing or makes no sense; its name.
    Attribute(&'static str),
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(why) => write!(f, "{why}"),
            Self::NotABlockDevice => write!(f, "it is not a block device"),
            Self::Unknown => write!(f, "the kernel has nothing in /sys about it"),
            Self::Kind(kind) => write!(f, "it is {kind}, which the writer has no driver for"),
            Self::Controller(driver) => write!(
                f,
                "its controller is driven by Linux' `{driver}`, which the writer has no driver for"
            ),
            Self::ReadOnly => write!(f, "it is read-only"),
            Self::BlockSize(size) => {
                write!(f, "its blocks have {size} bytes; only 512 and 4096 are possible")
            }
            Self::Attribute(name) => write!(f, "its attribute `{name}` is missing in /sys"),
        }
    }
}

impl DeviceError {
    /// What the user can do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Missing(_) | Self::NotABlockDevice => {
                "name a disk or partition, for example /dev/nvme0n1p3"
            }
            Self::ReadOnly => "choose a device that can be written to",
            _ => "choose a disk or partition on NVMe, AHCI or virtio-blk",
        }
    }
}

impl Device {
    /// The device at `path`.
    ///
    /// # Errors
    /// [`DeviceError`]: why the writer could not write to it.
    pub fn at(system: &System, path: &Path) -> Result<Self, DeviceError> {
        let stat = stat(path).map_err(|e| DeviceError::Missing(e.to_string()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::BlockDevice {
            return Err(DeviceError::NotABlockDevice);
        }
        Self::numbered(system, path, (major(stat.st_rdev), minor(stat.st_rdev)))
    }

    /// The device with these major and minor numbers.
    ///
    /// # Errors
    /// As [`Device::at`].
    pub fn numbered(system: &System, path: &Path, number: (u32, u32)) -> Result<Self, DeviceError> {
        let link = format!("/sys/dev/block/{}:{}", number.0, number.1);
        let folder = system.resolve(link).ok_or(DeviceError::Unknown)?;
        let is_partition = system.exists(folder.join("partition"));
        let disk_folder =
            if is_partition { folder.parent().ok_or(DeviceError::Unknown)? } else { &folder };
        let place = path::Place::find(system, disk_folder)?;

        if system.number(folder.join("ro")) == Some(1) {
            return Err(DeviceError::ReadOnly);
        }
        let block_size = number_of(system, disk_folder, "queue/logical_block_size")?;
        if block_size != 512 && block_size != 4096 {
            return Err(DeviceError::BlockSize(block_size));
        }
        let blocks = |sectors: u64| sectors / (block_size / SECTOR);
        let start = if is_partition { number_of(system, &folder, "start")? } else { 0 };
        let size = number_of(system, &folder, "size")?;
        if !start.is_multiple_of(block_size / SECTOR) {
            return Err(DeviceError::Attribute("start"));
        }
        let page_blocks = PAGE_SIZE / block_size;
        Ok(Self {
            path: path.to_owned(),
            name: name_of(&folder),
            disk: name_of(disk_folder),
            number,
            transport: place.transport,
            unit: place.unit,
            address: place.address,
            block_size: block_size as u32,
            disk_blocks: blocks(number_of(system, disk_folder, "size")?),
            serial: place.serial,
            extent: Extent {
                start: Lba(blocks(start)),
                blocks: blocks(size) / page_blocks * page_blocks,
            },
        })
    }

    /// Opens it for ourselves alone, as [`Direct::claiming`]; and makes sure that it is
    /// still what was looked at: its path may lead elsewhere by now, and its partition
    /// have been moved.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::NotFree`] where it has changed.
    pub fn claim(&self, system: &System) -> Result<Direct, Error> {
        let disk = Direct::claiming(&self.path)?;
        if !self.is_still_at(system, disk.number()?) {
            return Err(Error::NotFree {
                path: self.path.clone(),
                reason: "it is not the device any more that it was a moment ago".to_owned(),
                advice: "look where the path leads, and at the partition table; then try again"
                    .to_owned(),
            });
        }
        Ok(disk)
    }

    fn is_still_at(&self, system: &System, number: (u32, u32)) -> bool {
        Self::numbered(system, &self.path, number).is_ok_and(|now| now == *self)
    }

    /// Whether it is a partition of its disk.
    pub fn is_partition(&self) -> bool {
        self.name != self.disk
    }

    /// Bytes that an image may use.
    pub fn bytes(&self) -> u64 {
        self.extent.blocks.saturating_mul(u64::from(self.block_size))
    }

    /// What the plan says about the device. The checksum and the kept page are
    /// still to be filled in.
    pub fn plan_target(&self) -> plan::Target {
        let mut target = plan::Target {
            transport: self.transport as u32,
            unit: self.unit,
            pci: match self.address {
                Address::Pci(pci) => pci,
                Address::Mmio(_) => PciAddress::default(),
            },
            mmio: match self.address {
                Address::Pci(_) => 0,
                // Above 4 GiB there is none: `path` has seen to it.
                Address::Mmio(start) => start.0 as u32,
            },
            block_size: self.block_size,
            device_blocks: self.disk_blocks,
            serial: [0; 40],
            first_page_checksum: 0,
            kept_page: [0; PAGE_SIZE as usize],
        };
        plan::set_text(&mut target.serial, &self.serial);
        target
    }
}

fn name_of(folder: &Path) -> String {
    folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn number_of(system: &System, folder: &Path, name: &'static str) -> Result<u64, DeviceError> {
    system.number(folder.join(name)).ok_or(DeviceError::Attribute(name))
}

#[cfg(test)]
mod tests;
