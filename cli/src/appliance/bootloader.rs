//! The loader of the `bootloader` crate (0.11) on a disk: its UEFI half is a file
//! on the boot partition; its BIOS half is put here.
//!
//! That half knows no GPT and no FAT32. Its boot sector loads the second stage from
//! the MBR's first entry; the second stage takes the MBR's next entry for a FAT12 or
//! FAT16 with everything else in its root folder. So both have partitions of the GPT,
//! and the MBR is a hybrid one: it names these two as well, and says of all before and
//! behind them that it is the GPT's.

use super::boot_partition::{copy, format};
use super::fault::Fault;
use super::guid::Guids;
use super::layout::{Layout, Part, name};
use super::{BLOCK, Reader, failed};
use crate::error::{Error, Result};
use fatfs::{Dir, FatType, FormatVolumeOptions};
use gpt::mbr::PartRecord;
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The UEFI application.
pub const UEFI: &str = "bootloader";

/// What either half starts, under the name that it looks for.
const STUB: &str = "kernel-x86_64";

/// What that is given, under the name that either half looks for.
const READER: &str = "ramdisk";

/// What a BIOS starts, and what that loads.
const BOOT_SECTOR: &str = "boot-sector";
const SECOND_STAGE: &str = "boot-stage-2";

/// What the second stage loads beside the other two, under the names that it looks
/// for.
const MORE_STAGES: [&str; 2] = ["boot-stage-3", "boot-stage-4"];

/// Where a boot sector has its partition table: four entries.
const ENTRIES: Range<usize> = 446..510;

/// Kinds of partitions of an MBR: the second stage, as the crate has it, FAT12, and
/// what a GPT describes (UEFI 2.10 §5.2.3).
const SECOND_STAGE_KIND: u8 = 0x20;
const FAT12_KIND: u8 = 0x01;
const GPT_KIND: u8 = 0xee;

/// What marks the entry of an MBR that is started from.
const ACTIVE: u8 = 0x80;

/// How a boot sector ends.
const SIGNATURE: [u8; 2] = [0x55, 0xaa];

/// Where a file of the loader lies.
pub fn file(reader: &Reader, name: &str) -> Result<PathBuf> {
    let file = reader.bootloader.join(name);
    if file.exists() { Ok(file) } else { Err(Error::Appliance(Fault::NoBootloader(file))) }
}

fn read(reader: &Reader, name: &str) -> Result<Vec<u8>> {
    let file = file(reader, name)?;
    fs::read(&file).map_err(|source| Error::read(&file, source))
}

fn odd(reader: &Reader, name: &str) -> Error {
    Error::Appliance(Fault::OddBootloader(reader.bootloader.join(name)))
}

/// Copies what either half starts to the root folder that it looks in.
pub fn copy_what_it_starts<T: Read + Write + Seek>(
    reader: &Reader,
    root: &Dir<'_, T>,
) -> Result<()> {
    copy(&file(reader, STUB)?, root, STUB)?;
    copy(&reader.bzimage, root, READER)
}

/// The second stage, in whole blocks: less than a MiB, as a BIOS can load no more.
pub fn second_stage(reader: &Reader) -> Result<Vec<u8>> {
    let mut stage = read(reader, SECOND_STAGE)?;
    stage.resize(stage.len().next_multiple_of(BLOCK as usize), 0);
    if stage.is_empty() || stage.len() >= 1 << 20 {
        return Err(odd(reader, SECOND_STAGE));
    }
    Ok(stage)
}

/// Writes the BIOS half to the disk.
pub fn install(
    disk: &File,
    path: &Path,
    layout: &Layout,
    guids: &Guids,
    reader: &Reader,
) -> Result<()> {
    let (Some(stage), Some(files)) = (layout.part(name::LOADER), layout.part(name::LOADER_FILES))
    else {
        return Ok(());
    };
    let place = |part: &Part| part.start..part.start + part.bytes;
    let mut sector = read(reader, BOOT_SECTOR)?;
    if sector.len() != BLOCK as usize || !sector.ends_with(&SIGNATURE) {
        return Err(odd(reader, BOOT_SECTOR));
    }
    let entries = [
        entry(ACTIVE, SECOND_STAGE_KIND, place(stage)),
        entry(0, FAT12_KIND, place(files)),
        entry(0, GPT_KIND, BLOCK..stage.start),
        entry(0, GPT_KIND, place(files).end..layout.bytes),
    ];
    sector[ENTRIES].copy_from_slice(&entries.concat());
    disk.write_all_at(&sector, 0).map_err(failed("write", path))?;
    disk.write_all_at(&second_stage(reader)?, stage.start).map_err(failed("write", path))?;
    write_files(disk, path, files, guids, reader)
}

/// Makes the file system that the second stage reads, in its partition.
fn write_files(
    disk: &File,
    path: &Path,
    part: &Part,
    guids: &Guids,
    reader: &Reader,
) -> Result<()> {
    let options = FormatVolumeOptions::new().fat_type(FatType::Fat12);
    let system = format(disk, path, part, guids, options)?;
    for stage in MORE_STAGES {
        copy(&file(reader, stage)?, &system.root_dir(), stage)?;
    }
    copy_what_it_starts(reader, &system.root_dir())?;
    system.unmount().map_err(failed("write", path))?;
    // The second stage does without its signature. The reader does not: it would call
    // this one a boot partition of the wrong kind.
    let at = part.start + BLOCK - SIGNATURE.len() as u64;
    disk.write_all_at(&[0; SIGNATURE.len()], at).map_err(failed("write", path))
}

/// An entry of an MBR for these bytes of the disk.
fn entry(boot_indicator: u8, os_type: u8, place: Range<u64>) -> [u8; 16] {
    let blocks = |bytes: u64| u32::try_from(bytes / BLOCK).unwrap_or(u32::MAX);
    let (lb_start, lb_size) = (blocks(place.start), blocks(place.end - place.start));
    PartRecord { boot_indicator, os_type, lb_start, lb_size, ..PartRecord::zero() }.to_bytes()
}
