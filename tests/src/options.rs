//! What a guest of the scenarios is like.

use crate::appliance::Appliance;
use crate::disk::{self, Table};
use crate::entry::Entry;
use crate::qemu::{Chipset, DiskKind, Firmware};
use std::path::PathBuf;

/// What a guest is like.
#[derive(Clone, Debug)]
pub struct Options {
    /// How the target is attached.
    pub disk: DiskKind,
    /// Bytes in a logical block of the target.
    pub block_size: u32,
    /// Bytes of the target; `None`: what the image may come to need.
    pub target_bytes: Option<u64>,
    /// What names the partition that the image goes to; `None`: it goes to the whole
    /// disk.
    pub partition: Option<Table>,
    /// How the disk is attached that nobody touches; `None`: as the target, so
    /// that which of them Linux names first is a matter of chance.
    pub bystander: Option<DiskKind>,
    /// What the machine runs first.
    pub firmware: Firmware,
    /// Who starts the reader.
    pub entry: Entry,
    /// Whether Linux comes up by way of the reader too, which finds it on a boot
    /// partition, on a disk of its own.
    pub by_reader: bool,
    /// Whether the target's disk is that of an appliance, which Linux comes up
    /// from.
    pub appliance: Option<Appliance>,
    /// QEMU's machine type.
    pub chipset: Chipset,
    /// Memory, in MiB.
    pub memory_mib: u64,
    /// Processors.
    pub cpus: u32,
    /// QEMU's processor model.
    pub cpu: String,
    /// A kernel other than the artefacts'.
    pub kernel: Option<PathBuf>,
    /// More for the kernel's command line.
    pub command_line: String,
    /// More arguments for QEMU.
    pub qemu: Vec<String>,
    /// Whether the disks outlive a guest that ends well.
    pub keep_disks: bool,
    /// A folder for the target's disk other than that of the logs, as one in
    /// memory, where the host's disk has no say in how fast it is.
    pub target_folder: Option<PathBuf>,
    /// Whether the target's disk has all its blocks from the start, as a real one,
    /// and not each once it is written to.
    pub allocated: bool,
    /// Bytes a second that the target's disk lets through; `None`: all.
    pub limit: Option<u64>,
    /// Whether to look all the time at what the target's disk has moved.
    pub sampled: bool,
    /// Whether the machine's clock is its instructions: one a nanosecond.
    pub count_instructions: bool,
    /// More files in the guest: where, and the host's file.
    pub files: Vec<(PathBuf, PathBuf)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            disk: DiskKind::Nvme,
            block_size: 512,
            target_bytes: None,
            partition: None,
            bystander: None,
            firmware: Firmware::SeaBios,
            entry: Entry::Pvh,
            by_reader: false,
            appliance: None,
            chipset: Chipset::Pc,
            memory_mib: 1024,
            cpus: 2,
            cpu: "max".into(),
            kernel: None,
            command_line: String::new(),
            qemu: Vec::new(),
            keep_disks: false,
            target_folder: None,
            allocated: false,
            limit: None,
            sampled: false,
            count_instructions: false,
            files: Vec::new(),
        }
    }
}

impl Options {
    /// Memory, in bytes.
    pub fn memory(&self) -> u64 {
        self.memory_mib << 20
    }

    /// Where the target begins on its disk, in bytes.
    pub fn target_start(&self) -> u64 {
        match self.appliance {
            Some(appliance) => appliance.image_start(),
            None if self.partition.is_some() => disk::PARTITION_START,
            None => 0,
        }
    }

    /// How Linux names the target in the guest.
    pub fn target_name(&self) -> String {
        let (disk, separator) = match self.disk {
            DiskKind::Nvme => ("/dev/nvme0n1", "p"),
            DiskKind::VirtioBlk => ("/dev/vda", ""),
            DiskKind::Ahci => ("/dev/sda", ""),
        };
        match self.partition {
            Some(table) => format!("{disk}{separator}{}", table.number()),
            None => disk.to_owned(),
        }
    }
}
