//! The disk: a GPT and its partitions (UEFI 2.10 §5.3).

use super::description::{Boot, Description};
use super::guid::Guids;
use super::{BLOCK, Reader, bootloader};
use crate::error::Result;
use gpt::GptConfig;
use gpt::mbr::ProtectiveMBR;
use gpt::partition::Partition;
use gpt::partition_types::{self, Type};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use uuid::Uuid;

/// Partitions begin and end at multiples of this, as partitioning programs have
/// them; the first one begins after one.
const GRAIN: u64 = 1 << 20;

/// Where GRUB's own partition begins, in blocks: after the table.
const GRUB_START: u64 = 64;

/// Where what is there for the `bootloader` crate ends: its second stage has less than
/// one [`GRAIN`], what that loads less than three, the reader's two among them.
const LOADER_END: u64 = 5 * GRAIN;

/// A partition.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    /// Its number: that of `/dev/sda1` is 1.
    pub number: u32,
    /// Its name in the table.
    pub name: String,
    /// Its GUID, as Linux takes it in `PARTUUID=`.
    pub guid: Uuid,
    /// Its first byte.
    pub start: u64,
    /// How many it has.
    pub bytes: u64,
    /// What is copied there.
    #[serde(skip)]
    pub from: Option<PathBuf>,
    #[serde(skip)]
    kind: Type,
}

/// A disk.
#[derive(Clone, Debug, Serialize)]
pub struct Layout {
    /// Bytes of all of it.
    pub bytes: u64,
    /// Its partitions, by their numbers.
    pub parts: Vec<Part>,
}

/// Names of partitions.
pub mod name {
    /// The boot partition.
    pub const BOOT: &str = "boot";
    /// A target, or how the names of several begin.
    pub const IMAGE: &str = "image";
    /// The root file system.
    pub const ROOT: &str = "root";
    /// What else there is.
    pub const DATA: &str = "data";
    /// GRUB's core.
    pub const GRUB: &str = "grub";
    /// The second stage of the `bootloader` crate's loader on a BIOS.
    pub const LOADER: &str = "loader";
    /// What that loads.
    pub const LOADER_FILES: &str = "loader-files";
}

impl Layout {
    /// Lays out what is wanted: the boot partition, the targets, the root file
    /// system, the data, a BIOS's loader last, though it lies first.
    pub fn new(wanted: &Description, guids: &Guids, reader: &Reader) -> Result<Self> {
        let mut parts: Vec<Part> = Vec::new();
        let for_bios = match wanted.boot {
            Boot::Grub => vec![(name::GRUB, partition_types::BIOS, GRUB_START * BLOCK..GRAIN)],
            Boot::Bootloader => {
                let stage = bootloader::second_stage(reader)?.len() as u64;
                vec![
                    (name::LOADER, partition_types::BIOS, GRAIN..GRAIN + stage),
                    (name::LOADER_FILES, BASIC, 2 * GRAIN..LOADER_END),
                ]
            }
            Boot::Efi | Boot::Pvh => Vec::new(),
        };
        let mut past = for_bios.last().map_or(GRAIN, |(.., place)| place.end);
        let mut add = |name: String, kind: Type, bytes: u64, from: Option<PathBuf>| {
            let bytes = bytes.next_multiple_of(GRAIN);
            let number = parts.len() as u32 + 1;
            let guid = guids.guid(&name);
            parts.push(Part { number, name, guid, start: past, bytes, from, kind });
            past += bytes;
        };
        let boot = if wanted.boot.by_uefi() { partition_types::EFI } else { BASIC };
        add(name::BOOT.into(), boot, wanted.boot_bytes, None);
        for number in 0..wanted.images {
            let name = match wanted.images {
                1 => name::IMAGE.into(),
                _ => format!("{}-{}", name::IMAGE, (b'a' + number as u8) as char),
            };
            add(name, TARGET, wanted.image_bytes, None);
        }
        for (name, part) in [(name::ROOT, &wanted.root), (name::DATA, &wanted.data)] {
            if let Some(part) = part {
                add(name.into(), partition_types::LINUX_FS, part.bytes, part.from.clone());
            }
        }
        for (name, kind, place) in for_bios {
            parts.push(Part {
                number: parts.len() as u32 + 1,
                name: name.into(),
                guid: guids.guid(name),
                start: place.start,
                bytes: place.end - place.start,
                from: None,
                kind,
            });
        }
        Ok(Self { bytes: past + GRAIN, parts })
    }

    /// The partition with this name.
    pub fn part(&self, name: &str) -> Option<&Part> {
        self.parts.iter().find(|part| part.name == name)
    }

    /// The targets.
    pub fn images(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(|part| part.name.starts_with(name::IMAGE))
    }

    /// Writes the table, both copies, and a protective MBR.
    pub fn write_table(&self, disk: &File, guids: &Guids) -> io::Result<()> {
        let blocks = u32::try_from(self.bytes / BLOCK - 1).unwrap_or(u32::MAX);
        let mut device = disk.try_clone()?;
        ProtectiveMBR::with_lb_size(blocks)
            .overwrite_lba0(&mut device)
            .map_err(io::Error::other)?;
        let mut table = GptConfig::new()
            .writable(true)
            .create_from_device(device, Some(guids.guid("disk")))
            .map_err(io::Error::other)?;
        let partition = |part: &Part| Partition {
            part_type_guid: part.kind.clone(),
            part_guid: part.guid,
            first_lba: part.start / BLOCK,
            last_lba: (part.start + part.bytes) / BLOCK - 1,
            flags: 0,
            name: part.name.clone(),
        };
        let parts: BTreeMap<u32, Partition> =
            self.parts.iter().map(|part| (part.number, partition(part))).collect();
        table.update_partitions(parts).map_err(io::Error::other)?;
        table.write().map_err(io::Error::other).map(drop)
    }
}

/// "Microsoft basic data", what every system takes a FAT partition for.
const BASIC: Type = partition_types::BASIC;

/// A target is none of the kinds that others write to by themselves.
const TARGET: Type = Type {
    guid: Uuid::from_u128(0x646f_726d_6f75_8573_a561_7267_6574_0001),
    os: partition_types::OperatingSystem::Linux,
};
