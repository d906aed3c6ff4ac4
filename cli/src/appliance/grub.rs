//! GRUB on a disk for a BIOS, as `grub-bios-setup` puts it there, without a
//! disk that is attached: its boot sector before the partition table, its core
//! in a partition of its own (GRUB util/setup.c).

use super::boot_partition::READER;
use super::fault::Fault;
use super::layout::{Layout, name};
use super::{BLOCK, failed};
use crate::error::{Error, Result};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

const MKIMAGE: &str = "grub-mkimage";
const BOOT_SECTOR: &str = "/usr/lib/grub/i386-pc/boot.img";

/// What the core is made of: enough to read a file from FAT in a GPT, and to
/// start it.
const MODULES: [&str; 6] = ["biosdisk", "part_gpt", "fat", "search_fs_file", "multiboot2", "boot"];

/// Bytes of the boot sector before the partition table.
const CODE: usize = 440;

/// Offsets in the boot sector (GRUB include/grub/i386/pc/boot.h).
const KERNEL_SECTOR: usize = 0x5c;
const DRIVE_CHECK: usize = 0x66;

/// Two instructions that do nothing: some BIOSes pass a wrong drive.
const NO_CHECK: [u8; 2] = [0x90, 0x90];

/// In the core's first block, the list of blocks that the rest is in.
const BLOCK_LIST: usize = 0x1f4;

/// Writes GRUB to the disk.
pub fn install(disk: &File, path: &Path, layout: &Layout) -> Result<()> {
    let Some(part) = layout.part(name::GRUB) else { return Ok(()) };
    let mut sector =
        fs::read(BOOT_SECTOR).map_err(|_| missing(BOOT_SECTOR, "grub-pc-bin", String::new()))?;
    let mut core = core()?;
    let first = part.start / BLOCK;
    let blocks = (core.len() as u64).div_ceil(BLOCK);
    if core.len() as u64 > part.bytes || core.len() < BLOCK as usize || sector.len() < CODE {
        return Err(missing(MKIMAGE, "grub-common", "its image has an unexpected size".into()));
    }
    sector.truncate(CODE);
    sector[KERNEL_SECTOR..][..8].copy_from_slice(&first.to_le_bytes());
    sector[DRIVE_CHECK..][..2].copy_from_slice(&NO_CHECK);
    core[BLOCK_LIST..][..8].copy_from_slice(&(first + 1).to_le_bytes());
    core[BLOCK_LIST + 8..][..2].copy_from_slice(&(blocks as u16 - 1).to_le_bytes());
    disk.write_all_at(&sector, 0).map_err(failed("write", path))?;
    disk.write_all_at(&core, part.start).map_err(failed("write", path))
}

/// GRUB's core, which finds the reader and starts it.
fn core() -> Result<Vec<u8>> {
    let script = format!("search.file {READER} root\nmultiboot2 {READER}\nboot\n");
    let folder = std::env::temp_dir().join(format!("dormouse-grub-{}", std::process::id()));
    fs::create_dir(&folder).map_err(failed("make", &folder))?;
    let made = make(&folder, &script);
    // What is left of it is nobody's loss.
    let _ = fs::remove_dir_all(&folder);
    made
}

fn make(folder: &Path, script: &str) -> Result<Vec<u8>> {
    let (early, image) = (folder.join("early.cfg"), folder.join("core.img"));
    fs::write(&early, script).map_err(failed("write", &early))?;
    let mut mkimage = Command::new(MKIMAGE);
    mkimage.args(["-O", "i386-pc", "-p", "/", "-c"]).arg(&early).arg("-o").arg(&image);
    match mkimage.args(MODULES).output() {
        Ok(ran) if ran.status.success() => {
            fs::read(&image).map_err(|source| Error::read(&image, source))
        }
        Ok(ran) => {
            let words = String::from_utf8_lossy(&ran.stderr).trim().to_owned();
            Err(missing(MKIMAGE, "grub-pc-bin", words))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(missing(MKIMAGE, "grub-common", String::new()))
        }
        Err(error) => Err(missing(MKIMAGE, "grub-common", error.to_string())),
    }
}

fn missing(program: &'static str, package: &'static str, words: String) -> Error {
    Error::Appliance(Fault::Tool { program, package, words })
}
