//! FAT32, as far as finding files by their short names and telling where their
//! bytes lie (Microsoft "FAT: General Overview of On-Disk Format" 1.03).
//!
//! What makes this small, and why it may be so: nothing is written; the names
//! looked for all fit into eight letters and three, so long names are skipped;
//! a file is not read here but becomes a list of [`Run`]s, which whoever has the
//! disk reads in as large pieces as it likes. Every chain is followed no further
//! than the file's or folder's size allows, so a loop in it ends as an error.

mod boot_sector;
mod chain;
mod folder;
#[cfg(test)]
mod tests;

use crate::disk::{Disk, Error};
use alloc::vec::Vec;
use boot_sector::Shape;

/// What is wrong with a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// It is FAT12 or FAT16.
    NotFat32,
    /// A number in the boot sector makes no sense; which.
    BootSector(&'static str),
    /// It ends past its disk.
    PastEnd,
    /// A chain of clusters leads out of the file system, or ends too early.
    Chain {
        /// The cluster after which it is broken.
        after: u32,
    },
    /// A folder is longer than any that is looked at.
    LongFolder,
    /// A file is in more pieces than are followed.
    Fragmented {
        /// Most pieces that are.
        most: usize,
    },
    /// What should be a file is a folder, or the other way round.
    OfOtherKind,
    /// A file is empty.
    Empty,
}

impl core::fmt::Display for Damage {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NotFat32 => write!(
                f,
                "the file system is FAT12 or FAT16, and only FAT32 is read: make it with \
                 `mkfs.fat -F 32`"
            ),
            Self::BootSector(what) => {
                write!(f, "the FAT file system's boot sector is damaged: {what}")
            }
            Self::PastEnd => write!(f, "the FAT file system is larger than its disk"),
            Self::Chain { after } => {
                write!(f, "the FAT file system is damaged: broken after cluster {after}")
            }
            Self::LongFolder => write!(f, "a folder of the FAT file system is too long"),
            Self::Fragmented { most } => write!(
                f,
                "a file is in more than {most} pieces: copy it anew, to a boot partition with \
                 more room"
            ),
            Self::OfOtherKind => write!(f, "a file is a folder, or a folder is a file"),
            Self::Empty => write!(f, "a file is empty"),
        }
    }
}

/// A file's bytes on the disk: `[offset, offset + bytes)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first byte, counted from the disk's start.
    pub offset: u64,
    /// How many.
    pub bytes: u64,
}

/// A file that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File {
    /// Its length.
    pub bytes: u32,
    first_cluster: u32,
}

/// A FAT32 file system.
#[derive(Clone, Copy, Debug)]
pub struct Volume {
    shape: Shape,
}

impl Volume {
    /// The most pieces that a file may be in.
    pub const MOST_RUNS: usize = 1024;

    /// The file system that begins at `start` (in bytes); `None` where there is
    /// none of any FAT.
    pub fn open<D: Disk>(disk: &mut D, start: u64) -> Result<Option<Self>, Error<D::Error>> {
        let mut sector = [0; 512];
        match start.checked_add(sector.len() as u64) {
            Some(end) if end <= disk.bytes() => {}
            _ => return Ok(None),
        }
        disk.read(start, &mut sector).map_err(Error::Disk)?;
        let shape = Shape::parse(&sector, start, disk.bytes())?;
        Ok(shape.map(|shape| Self { shape }))
    }

    /// A file in a folder of the root, both by their short names in capitals.
    pub fn find<D: Disk>(
        &self,
        disk: &mut D,
        folder: &str,
        name: &str,
    ) -> Result<Option<File>, Error<D::Error>> {
        let root = self.shape.root_cluster;
        let Some(entry) = folder::find(&self.shape, disk, root, folder)? else { return Ok(None) };
        if !entry.is_folder {
            return Err(Damage::OfOtherKind.into());
        }
        let Some(entry) = folder::find(&self.shape, disk, entry.first_cluster, name)? else {
            return Ok(None);
        };
        if entry.is_folder {
            return Err(Damage::OfOtherKind.into());
        }
        if entry.bytes == 0 {
            return Err(Damage::Empty.into());
        }
        Ok(Some(File { bytes: entry.bytes, first_cluster: entry.first_cluster }))
    }

    /// Where the file's bytes lie, in order; the last run ends with the file.
    pub fn runs<D: Disk>(&self, disk: &mut D, file: &File) -> Result<Vec<Run>, Error<D::Error>> {
        chain::runs(&self.shape, disk, file)
    }

    /// Fills `into` with the file's first bytes; how many there are.
    pub fn read<D: Disk>(
        &self,
        disk: &mut D,
        runs: &[Run],
        into: &mut [u8],
    ) -> Result<usize, Error<D::Error>> {
        let mut done = 0;
        for run in runs {
            let rest = into.get_mut(done..).unwrap_or_default();
            let take = rest.len().min(usize::try_from(run.bytes).unwrap_or(usize::MAX));
            let (piece, _) = rest.split_at_mut(take);
            if !piece.is_empty() {
                disk.read(run.offset, piece).map_err(Error::Disk)?;
            }
            done += take;
        }
        Ok(done)
    }
}
