//! Disk images of whole appliances: a small file says what belongs on the disk,
//! and out comes a raw image that a machine starts from.
//!
//! The story: read the file ([`description`]), lay the partitions out ([`layout`]),
//! fill the boot partition ([`boot_partition`]), copy what else there is, make
//! the targets ready, and let the machine's firmware find the reader.

pub mod boot_partition;
mod bootloader;
pub mod description;
mod fault;
mod grub;
mod guid;
pub mod layout;
mod size;
#[cfg(test)]
mod tests;

pub use description::{Boot, Description};
pub use fault::{Fault, Why};
pub use layout::{Layout, Part};

use crate::error::{Error, Result};
use crate::target::empty;
use guid::Guids;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of a logical block. Disks with others need another image, and none of
/// the firmware that it was tried on has them.
pub const BLOCK: u64 = 512;

/// The reader, in both of its forms.
#[derive(Clone, Debug)]
pub struct Reader {
    /// `writer.elf`.
    pub elf: PathBuf,
    /// `writer.bzimage`.
    pub bzimage: PathBuf,
    /// The folder `bootloader-files`: the `bootloader` crate's loader, and what it
    /// starts.
    pub bootloader: PathBuf,
}

impl Reader {
    /// The reader in a folder, as it is built or installed.
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            elf: folder.join("writer.elf"),
            bzimage: folder.join("writer.bzimage"),
            bootloader: folder.join("bootloader-files"),
        }
    }
}

/// Builds the disk image `output`, which must not exist, from a description.
///
/// # Errors
/// [`Error::Appliance`] where the description cannot be followed, [`Error::Io`].
pub fn build(description: &Path, reader: &Reader, output: &Path) -> Result<Layout> {
    let wanted = Description::read(description)?;
    let guids = Guids::new(wanted.guid_seed.as_deref())?;
    let layout = Layout::new(&wanted, &guids, reader)?;
    let disk = File::options().read(true).write(true).create_new(true).open(output);
    let disk = disk.map_err(failed("make", output))?;
    let filled = fill(&disk, output, &wanted, &layout, &guids, reader);
    if filled.is_err() {
        // Half a disk image helps nobody; the error says more than this could.
        let _ = std::fs::remove_file(output);
    }
    filled.map(|()| layout)
}

fn fill(
    disk: &File,
    path: &Path,
    wanted: &Description,
    layout: &Layout,
    guids: &Guids,
    reader: &Reader,
) -> Result<()> {
    let writing = || failed("write", path);
    disk.set_len(layout.bytes).map_err(writing())?;
    layout.write_table(disk, guids).map_err(writing())?;
    boot_partition::write(disk, path, wanted, layout, guids, reader)?;
    for part in &layout.parts {
        if let Some(from) = &part.from {
            copy(from, disk, part).map_err(failed("copy", from))?;
        }
    }
    for (number, part) in layout.images().enumerate() {
        let page = empty::first_page(guids.bytes(&format!("image {number}")), BLOCK as u32, 0);
        disk.write_all_at(&page, part.start).map_err(writing())?;
    }
    match wanted.boot {
        Boot::Grub => grub::install(disk, path, layout)?,
        Boot::Bootloader => bootloader::install(disk, path, layout, guids, reader)?,
        Boot::Efi | Boot::Pvh => {}
    }
    disk.sync_all().map_err(writing())
}

/// Copies a file to its partition, holes left out.
fn copy(from: &Path, disk: &File, part: &Part) -> io::Result<()> {
    let mut file = File::open(from)?;
    let mut piece = vec![0; 1 << 20];
    let mut at = part.start;
    loop {
        let read = file.read(&mut piece)?;
        let Some(bytes) = piece.get(..read).filter(|bytes| !bytes.is_empty()) else {
            return Ok(());
        };
        // The layout took the file's length; it may have grown since.
        if at + read as u64 > part.start + part.bytes {
            return Err(io::Error::other("it grew meanwhile"));
        }
        if bytes.iter().any(|byte| *byte != 0) {
            disk.write_all_at(bytes, at)?;
        }
        at += read as u64;
    }
}

/// An error of doing something with a file.
fn failed(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
    move |source| Error::Io { doing, path: path.into(), source }
}
