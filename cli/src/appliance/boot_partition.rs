//! The boot partition: a FAT32 file system with the files that firmware, loader
//! and reader look for (docs/boot-partition.md).

use super::bootloader;
use super::description::{Boot, Description};
use super::guid::Guids;
use super::layout::{Layout, Part, name};
use super::{Reader, failed};
use crate::error::{Error, Result};
use fatfs::{Dir, FatType, FileSystem, FormatVolumeOptions, FsOptions};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Where UEFI firmware looks for what it starts (UEFI 2.10 §3.5.1.1).
const UEFI: [&str; 3] = ["EFI", "BOOT", "BOOTX64.EFI"];

/// Where GRUB finds the reader.
pub const READER: &str = "/dormouse/writer.elf";

/// Makes the file system and fills it.
pub fn write(
    disk: &File,
    path: &Path,
    wanted: &Description,
    layout: &Layout,
    guids: &Guids,
    reader: &Reader,
) -> Result<()> {
    let Some(part) = layout.part(name::BOOT) else { return Ok(()) };
    let options = FormatVolumeOptions::new()
        .fat_type(FatType::Fat32)
        .bytes_per_cluster(cluster(part.bytes))
        .volume_label(*b"DORMOUSE   ");
    let system = format(disk, path, part, guids, options)?;
    let folder = system.root_dir().create_dir("dormouse").map_err(failed("write", path))?;
    copy(&wanted.kernel, &folder, "kernel")?;
    if let Some(initrd) = &wanted.initrd {
        copy(initrd, &folder, "initrd")?;
    }
    let line = command_line(wanted, layout)? + "\n";
    let written = folder.create_file("cmdline").and_then(|mut f| f.write_all(line.as_bytes()));
    written.map_err(failed("write", path))?;
    let for_uefi = |application: &Path| {
        let [efi, boot, file] = UEFI;
        let made = system.root_dir().create_dir(efi).and_then(|efi| efi.create_dir(boot));
        copy(application, &made.map_err(failed("write", path))?, file)
    };
    match wanted.boot {
        Boot::Efi => for_uefi(&reader.bzimage)?,
        Boot::Bootloader => {
            for_uefi(&bootloader::file(reader, bootloader::UEFI)?)?;
            bootloader::copy_what_it_starts(reader, &system.root_dir())?;
        }
        Boot::Grub => copy(&reader.elf, &folder, "writer.elf")?,
        Boot::Pvh => {}
    }
    drop(folder);
    system.unmount().map_err(failed("write", path))
}

/// Makes the file system of a partition, as `options` say and with a serial number of its
/// own.
pub(super) fn format<'a>(
    disk: &'a File,
    path: &Path,
    part: &Part,
    guids: &Guids,
    options: FormatVolumeOptions,
) -> Result<FileSystem<Window<'a>>> {
    let window = || Window { disk, start: part.start, bytes: part.bytes, at: 0 };
    let id = guids.bytes(&part.name);
    let options = options.volume_id(u32::from_le_bytes([id[0], id[1], id[2], id[3]]));
    fatfs::format_volume(window(), options).map_err(failed("write", path))?;
    FileSystem::new(window(), FsOptions::new()).map_err(failed("write", path))
}

/// Bytes of a cluster: files in pieces as large as may be, and enough clusters
/// that everybody takes it for FAT32, which are 65525 at least.
fn cluster(bytes: u64) -> u32 {
    let most = (bytes / 66_000).max(512);
    let largest = 1 << most.ilog2();
    largest.min(32 << 10)
}

/// The command line: names in braces become partitions.
fn command_line(wanted: &Description, layout: &Layout) -> Result<String> {
    let mut line = String::new();
    let mut rest = wanted.command_line.as_str();
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) =
            after.split_once('}').ok_or_else(|| wanted.unknown_placeholder(after))?;
        let part = [name::IMAGE, name::ROOT, name::DATA].contains(&name);
        let part = layout.part(name).filter(|_| part);
        let part = part.ok_or_else(|| wanted.unknown_placeholder(name))?;
        line += &format!("{before}PARTUUID={}", part.guid);
        rest = after;
    }
    line += rest;
    if wanted.initrd.is_none() {
        line += " noinitrd";
    }
    Ok(line)
}

/// Copies a file into a folder.
pub(super) fn copy<T: Read + Write + Seek>(
    from: &Path,
    folder: &Dir<'_, T>,
    name: &str,
) -> Result<()> {
    let mut bytes = File::open(from).map_err(|source| Error::read(from, source))?;
    let copied = folder.create_file(name).and_then(|mut file| io::copy(&mut bytes, &mut file));
    copied.map(drop).map_err(failed("copy", from))
}

/// A part of the disk as a file of its own.
pub(super) struct Window<'a> {
    disk: &'a File,
    start: u64,
    bytes: u64,
    at: u64,
}

impl Window<'_> {
    fn room(&self, wanted: usize) -> usize {
        wanted.min(usize::try_from(self.bytes.saturating_sub(self.at)).unwrap_or(usize::MAX))
    }
}

impl Read for Window<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let room = self.room(into.len());
        let read = self.disk.read_at(&mut into[..room], self.start + self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Write for Window<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.room(bytes.len());
        let written = self.disk.write_at(&bytes[..room], self.start + self.at)?;
        self.at += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Window<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.bytes.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}
