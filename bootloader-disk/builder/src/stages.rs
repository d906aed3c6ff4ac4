//! What a BIOS needs of the loader, as files: the crate only makes whole disks of
//! it.

use fatfs::{FileSystem, FsOptions};
use std::io::{self, Cursor, Read};
use std::path::Path;
use std::{error, fs};

/// Bytes of a block, and of a boot sector.
const BLOCK: usize = 512;

/// Where a boot sector has its partition table, and the bytes of an entry there.
const ENTRIES: usize = 446;
const ENTRY: usize = 16;

/// What the crate names the two stages in its file system.
const IN_FILE_SYSTEM: [&str; 2] = ["boot-stage-3", "boot-stage-4"];

/// Writes the boot sector, without partitions, and the stages of the BIOS disk
/// `disk` into `folder`.
pub fn write(disk: &Path, folder: &Path) -> Result<(), Box<dyn error::Error>> {
    let disk = fs::read(disk)?;
    let mut sector = disk.get(..BLOCK).ok_or("the disk has no boot sector")?.to_vec();
    let [stage_2, files] = [0, 1].map(|number| partition(&disk, number));
    sector[ENTRIES..ENTRIES + 4 * ENTRY].fill(0);
    fs::write(folder.join("boot-sector"), sector)?;
    fs::write(folder.join("boot-stage-2"), stage_2?)?;
    let system = FileSystem::new(Cursor::new(files?.to_vec()), FsOptions::new())?;
    for name in IN_FILE_SYSTEM {
        let mut bytes = Vec::new();
        system.root_dir().open_file(name)?.read_to_end(&mut bytes)?;
        fs::write(folder.join(name), bytes)?;
    }
    Ok(())
}

/// The bytes of a partition of the MBR, counted from 0. The last block of the second
/// stage need not be whole.
fn partition(disk: &[u8], number: usize) -> io::Result<&[u8]> {
    let entry = &disk[ENTRIES + number * ENTRY..][..ENTRY];
    let field = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| entry[at + byte])) as usize;
    let (start, bytes) = (field(8) * BLOCK, field(12) * BLOCK);
    disk.get(start..start + bytes).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}
