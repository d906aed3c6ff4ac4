//! Media that firmware boots: what a loader needs, in the forms that other tools
//! make.

use super::{blank, host_program};
use crate::error::Error;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

/// Bytes of a disk with a FAT partition.
const FAT_DISK_BYTES: u64 = 64 << 20;

/// Where its partition begins, in bytes.
const PARTITION: u64 = 1 << 20;

const BLOCK: u64 = 512;

/// Makes a CD that both a BIOS and UEFI firmware boot into GRUB, with these
/// commands and files.
pub fn grub(file: &Path, commands: &str, files: &[(&str, &Path)]) -> Result<(), Error> {
    let root = file.with_extension("files");
    let menu = root.join("boot/grub");
    let tried = || format!("making {}", root.display());
    fs::create_dir_all(&menu).map_err(Error::host(tried()))?;
    let configuration = format!("terminal_output console\n{commands}\nboot\n");
    fs::write(menu.join("grub.cfg"), configuration).map_err(Error::host(tried()))?;
    for (name, from) in files {
        fs::copy(from, root.join(name)).map_err(Error::host(tried()))?;
    }
    host_program::run(Command::new("grub-mkrescue").arg("-o").arg(file).arg(&root))?;
    fs::remove_dir_all(&root).map_err(Error::host(tried()))
}

/// Makes a disk with one partition, a FAT16 file system with these files: U-Boot
/// takes minutes for a kernel in the small clusters of a FAT32 of this size.
pub fn fat(file: &Path, files: &[(&str, &Path)]) -> Result<(), Error> {
    fat_of(&[], file, files)
}

/// The same with FAT32.
pub fn fat32(file: &Path, files: &[(&str, &Path)]) -> Result<(), Error> {
    fat_of(&["-F"], file, files)
}

fn fat_of(kind: &[&str], file: &Path, files: &[(&str, &Path)]) -> Result<(), Error> {
    blank(file, FAT_DISK_BYTES)?;
    let written = fs::File::options().write(true).open(file);
    let written = written.and_then(|disk| disk.write_all_at(&mbr(), 0));
    written.map_err(Error::host(format!("partitioning {}", file.display())))?;
    let image = format!("{}@@{PARTITION}", file.display());
    let blocks = ((FAT_DISK_BYTES - PARTITION) / BLOCK).to_string();
    host_program::run(
        Command::new("mformat").args(kind).args(["-i", &image, "-T", &blocks, "::"]),
    )?;
    let mut made = BTreeSet::new();
    for (name, from) in files {
        let mut folder = String::from("::");
        for part in Path::new(name).parent().into_iter().flat_map(Path::iter) {
            folder = format!("{folder}/{}", part.display());
            if made.insert(folder.clone()) {
                host_program::run(Command::new("mmd").args(["-i", &image, &folder]))?;
            }
        }
        let to = format!("::/{name}");
        host_program::run(Command::new("mcopy").args(["-i", &image]).arg(from).arg(&to))?;
    }
    Ok(())
}

/// Makes a script that U-Boot runs.
pub fn u_boot_script(file: &Path, commands: &str) -> Result<(), Error> {
    let text = file.with_extension("txt");
    fs::write(&text, commands).map_err(Error::host(format!("writing {}", text.display())))?;
    let mut mkimage = Command::new("mkimage");
    host_program::run(mkimage.args(["-A", "x86", "-T", "script", "-d"]).arg(text).arg(file))
        .map(drop)
}

/// A master boot record with one active EFI system partition (UEFI 2.10, 5.2.1).
fn mbr() -> [u8; BLOCK as usize] {
    const ENTRY: usize = 446;
    const ACTIVE: u8 = 0x80;
    const EFI_SYSTEM: u8 = 0xef;
    let mut mbr = [0; BLOCK as usize];
    mbr[ENTRY] = ACTIVE;
    mbr[ENTRY + 4] = EFI_SYSTEM;
    let start = (PARTITION / BLOCK) as u32;
    let blocks = ((FAT_DISK_BYTES - PARTITION) / BLOCK) as u32;
    mbr[ENTRY + 8..ENTRY + 12].copy_from_slice(&start.to_le_bytes());
    mbr[ENTRY + 12..ENTRY + 16].copy_from_slice(&blocks.to_le_bytes());
    mbr[510..].copy_from_slice(&[0x55, 0xaa]);
    mbr
}
