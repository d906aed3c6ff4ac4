//! Reading what QEMU's blklogwrites wrote: the format of Linux'
//! dm-log-writes (Documentation/admin-guide/device-mapper/log-writes.rst).

use crate::error::Error;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// "This is a log of writes."
const MAGIC: u64 = 0x006a_7366_7773_6872;
const DISCARD: u64 = 1 << 2;

/// What a disk was told to do, in order.
pub struct WriteLog {
    path: PathBuf,
    file: File,
    /// All of it.
    pub entries: Vec<Entry>,
}

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Bytes were written.
    Write {
        /// Where on the disk, in bytes.
        at: u64,
        /// How many.
        bytes: u64,
        /// Where they are in the log.
        data: u64,
    },
    /// Everything so far was made durable.
    Flush,
    /// Bytes were given up.
    Discard,
}

impl Entry {
    /// Whether it writes to the byte `at`.
    pub fn writes_to(&self, at: u64) -> bool {
        matches!(self, Self::Write { at: from, bytes, .. } if (*from..from + bytes).contains(&at))
    }
}

impl WriteLog {
    /// Reads a log whose machine has ended.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let tried = || format!("reading the log of writes {}", path.display());
        let file = File::open(path).map_err(Error::host(tried()))?;
        let words = |at: u64| -> Result<[u64; 4], Error> {
            let mut bytes = [0; 32];
            file.read_exact_at(&mut bytes, at).map_err(Error::host(tried()))?;
            Ok(std::array::from_fn(|i| {
                u64::from_le_bytes(std::array::from_fn(|j| bytes[i * 8 + j]))
            }))
        };
        let [magic, _version, count, sector] = words(0)?;
        let sector = sector & 0xffff_ffff;
        if magic != MAGIC || !sector.is_power_of_two() {
            return Err(Error::verdict(format!("{} is no log of writes", path.display())));
        }
        let mut entries = Vec::new();
        let mut position = sector;
        for _ in 0..count {
            // The fourth word is the length of a mark, of which QEMU makes none.
            let [at, sectors, flags, _] = words(position)?;
            position += sector;
            let bytes = sectors * sector;
            entries.push(match flags {
                flags if flags & DISCARD != 0 => Entry::Discard,
                _ if sectors == 0 => Entry::Flush,
                _ => Entry::Write { at: at * sector, bytes, data: position },
            });
            if let Some(Entry::Write { .. }) = entries.last() {
                position += bytes;
            }
        }
        Ok(Self { path: path.into(), file, entries })
    }

    /// A write's bytes.
    pub fn data(&self, at: u64, bytes: u64) -> Result<Vec<u8>, Error> {
        let mut data = vec![0; bytes as usize];
        let tried = || format!("reading {}", self.path.display());
        self.file.read_exact_at(&mut data, at).map_err(Error::host(tried()))?;
        Ok(data)
    }

    /// Of the first `upto` commands: those up to the last flush, which nothing
    /// can undo, and the writes after it, of which a disk may have kept any.
    pub fn pending(&self, upto: usize) -> Range<usize> {
        let flush = self.entries[..upto].iter().rposition(|entry| *entry == Entry::Flush);
        flush.map_or(0, |flush| flush + 1)..upto
    }

    /// The commands that write to the byte `at`.
    pub fn writes_to(&self, at: u64) -> Vec<usize> {
        let numbered = self.entries.iter().enumerate();
        numbered.filter(|(_, entry)| entry.writes_to(at)).map(|(index, _)| index).collect()
    }
}
