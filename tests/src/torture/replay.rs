//! A disk as a power cut may leave it: what was flushed, and some of the rest.

use super::write_log::{Entry, WriteLog};
use crate::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Bytes that a disk writes whole or not at all.
pub const SECTOR: u64 = 512;

/// A write that was not flushed when the power went, and what the disk kept
/// of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Kept {
    /// The command's place in the log.
    pub entry: usize,
    /// Its sectors that were written; `None`: all of them.
    pub sectors: Option<Vec<bool>>,
}

/// A disk image that goes through a log, forwards.
pub struct Replay {
    path: PathBuf,
    file: File,
    /// Commands that were carried out.
    position: usize,
    undo: Vec<(u64, Vec<u8>)>,
}

impl Replay {
    /// Begins with a copy of the disk image `from`.
    pub fn new(from: &Path, to: &Path) -> Result<Self, Error> {
        copy(from, to)?;
        let file = File::options().read(true).write(true).open(to);
        let file = file.map_err(Error::host(format!("opening {}", to.display())))?;
        Ok(Self { path: to.into(), file, position: 0, undo: Vec::new() })
    }

    /// The disk image.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Carries out the log's commands up to number `upto`.
    pub fn advance(&mut self, log: &WriteLog, upto: usize) -> Result<(), Error> {
        for entry in log.entries.get(self.position..upto).unwrap_or_default() {
            if let Entry::Write { at, bytes, data } = *entry {
                self.write(at, &log.data(data, bytes)?)?;
            }
        }
        self.position = self.position.max(upto);
        Ok(())
    }

    /// Begins the next log, whose commands come after all of the last one's.
    pub fn next_log(&mut self) {
        self.position = 0;
    }

    /// Adds what a disk kept of the writes since; [`Replay::revert`] takes it
    /// away again.
    pub fn keep(&mut self, log: &WriteLog, kept: &[Kept]) -> Result<(), Error> {
        for Kept { entry, sectors } in kept {
            let Some(Entry::Write { at, bytes, data }) = log.entries.get(*entry).cloned() else {
                continue;
            };
            let data = log.data(data, bytes)?;
            let mut before = vec![0; data.len()];
            self.read(at, &mut before)?;
            let mut after = before.clone();
            for (index, sector) in data.chunks(SECTOR as usize).enumerate() {
                let written = sectors.as_ref().is_none_or(|kept| kept.get(index) == Some(&true));
                if written {
                    let from = index * SECTOR as usize;
                    after[from..from + sector.len()].copy_from_slice(sector);
                }
            }
            self.undo.push((at, before));
            self.write(at, &after)?;
        }
        Ok(())
    }

    /// Changes bytes until [`Replay::revert`].
    pub fn change(&mut self, at: u64, change: impl FnOnce(&mut [u8])) -> Result<(), Error> {
        let mut bytes = vec![0; SECTOR as usize];
        self.read(at, &mut bytes)?;
        self.undo.push((at, bytes.clone()));
        change(&mut bytes);
        self.write(at, &bytes)
    }

    /// Takes back what was kept or changed.
    pub fn revert(&mut self) -> Result<(), Error> {
        while let Some((at, bytes)) = self.undo.pop() {
            self.write(at, &bytes)?;
        }
        Ok(())
    }

    /// Reads from the image.
    pub fn read(&self, at: u64, bytes: &mut [u8]) -> Result<(), Error> {
        let tried = || format!("reading {}", self.path.display());
        self.file.read_exact_at(bytes, at).map_err(Error::host(tried()))
    }

    fn write(&self, at: u64, bytes: &[u8]) -> Result<(), Error> {
        let tried = || format!("writing {}", self.path.display());
        self.file.write_all_at(bytes, at).map_err(Error::host(tried()))
    }
}

/// Copies a disk image, holes as holes.
pub fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    run(Command::new("cp").arg("--sparse=always").arg(from).arg(to))
}

/// Makes an overlay over a disk image; the image must stay as it is while the
/// overlay is used.
pub fn overlay(over: &Path, file: &Path) -> Result<(), Error> {
    let create = ["create", "-q", "-f", "qcow2", "-F", "raw", "-b"];
    run(Command::new("qemu-img").args(create).arg(over).arg(file))
}

/// The same, of a disk that ends after `bytes` bytes.
pub fn short_overlay(over: &Path, file: &Path, bytes: u64) -> Result<(), Error> {
    let create = ["create", "-q", "-f", "qcow2", "-F", "raw", "-b"];
    run(Command::new("qemu-img").args(create).arg(over).arg(file).arg(bytes.to_string()))
}

/// The sector of a disk image that begins at byte `at`.
pub fn sector(disk: &Path, at: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; SECTOR as usize];
    let read = File::open(disk).and_then(|file| file.read_exact_at(&mut bytes, at));
    read.map_err(Error::host(format!("reading {}", disk.display())))?;
    Ok(bytes)
}

/// Makes a disk image of an overlay.
pub fn flatten(overlay: &Path, file: &Path) -> Result<(), Error> {
    run(Command::new("qemu-img").args(["convert", "-O", "raw"]).arg(overlay).arg(file))
}

/// Whether two disk images hold the same bytes.
pub fn same(one: &Path, other: &Path) -> Result<bool, Error> {
    let mut command = Command::new("cmp");
    let status = command.arg("-s").arg(one).arg(other).status().map_err(Error::host("cmp"))?;
    Ok(status.success())
}

fn run(command: &mut Command) -> Result<(), Error> {
    crate::host_program::run(command).map(drop)
}
