//! Reading and writing a device past the page cache, a page at a time.
//!
//! The writer changes the device behind Linux' back, so nothing here may come
//! from a cache, and nothing may linger in one.

use crate::error::{Error, Result};
use crate::kept_page::FirstPage;
use dormouse_handoff::units::{Lba, PAGE_SIZE};
use rustix::fs::{OFlags, SeekFrom, fstat, fsync, major, minor, seek};
use rustix::ioctl::{NoArg, Opcode, Setter, ioctl};
use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A page in memory, aligned as direct I/O wants it.
#[repr(C, align(4096))]
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Page(pub [u8; PAGE_SIZE as usize]);

impl Page {
    /// A page of zeros.
    pub const fn zero() -> Self {
        Self([0; PAGE_SIZE as usize])
    }

    /// Whether every byte is zero.
    pub fn is_zero(&self) -> bool {
        let (words, _) = self.0.as_chunks::<8>();
        words.iter().fold(0, |any, word| any | u64::from_ne_bytes(*word)) == 0
    }
}

/// Fills `block` with block `at` of a disk of `bytes` bytes that is read in whole pages,
/// by `page`, which takes the byte that one begins at; whether the disk has it.
///
/// # Errors
/// Those of `page`.
pub fn read_block(
    at: Lba,
    block: &mut [u8],
    bytes: u64,
    page: impl FnOnce(u64) -> Result<Page>,
) -> Result<bool> {
    let Some(start) = at.0.checked_mul(block.len() as u64) else { return Ok(false) };
    let skipped = start % PAGE_SIZE;
    let first = start - skipped;
    if first.checked_add(PAGE_SIZE).is_none_or(|end| end > bytes) {
        return Ok(false);
    }
    block.copy_from_slice(&page(first)?.0[skipped as usize..][..block.len()]);
    Ok(true)
}

/// A block device opened for direct I/O, or a file that stands for one.
#[derive(Debug)]
pub struct Direct {
    file: File,
    path: PathBuf,
    is_device: bool,
}

impl Direct {
    /// Opens a device to read it; others may use it at the same time.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn reading(path: &Path) -> Result<Self> {
        Self::open(path, OpenOptions::new().read(true), OFlags::DIRECT)
    }

    /// Opens a device for ourselves alone: while it is open, nobody can mount
    /// it, swap to it or build another device on it.
    ///
    /// # Errors
    /// [`Error::Io`]; `EBUSY` where somebody uses the device.
    pub fn claiming(path: &Path) -> Result<Self> {
        let options = OFlags::DIRECT | OFlags::EXCL | OFlags::SYNC;
        Self::open(path, OpenOptions::new().read(true).write(true), options)
    }

    /// Opens a regular file that holds an image.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn file(path: &Path) -> Result<Self> {
        Self::open(path, OpenOptions::new().read(true).write(true), OFlags::SYNC)
    }

    fn open(path: &Path, options: &mut OpenOptions, flags: OFlags) -> Result<Self> {
        let failed = |source| Error::Io { doing: "open", path: path.to_owned(), source };
        let file = options.custom_flags(flags.bits() as i32).open(path).map_err(failed)?;
        let is_device = file.metadata().map_err(failed)?.file_type().is_block_device();
        Ok(Self { file, path: path.to_owned(), is_device })
    }

    /// The device's major and minor number; zeros for a file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn number(&self) -> Result<(u32, u32)> {
        let stat = fstat(&self.file).map_err(|e| self.error("look at", e.into()))?;
        Ok((major(stat.st_rdev), minor(stat.st_rdev)))
    }

    /// The page at byte `offset`, a multiple of [`PAGE_SIZE`].
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn read(&self, offset: u64) -> Result<Page> {
        let mut page = Page::zero();
        self.file.read_exact_at(&mut page.0, offset).map_err(|e| self.error("read", e))?;
        Ok(page)
    }

    /// Whether every byte from `range.start` to `range.end` is zero, both multiples
    /// of [`PAGE_SIZE`].
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn is_zero(&self, range: Range<u64>) -> Result<bool> {
        /// Bytes that are read at once: a request costs as much as many pages.
        const PIECE: u64 = 1 << 20;
        let pages = range.end.saturating_sub(range.start).min(PIECE).div_ceil(PAGE_SIZE);
        let mut pages = vec![Page::zero(); pages as usize];
        for offset in range.clone().step_by(PIECE as usize) {
            let count = (range.end - offset).min(PIECE).div_ceil(PAGE_SIZE) as usize;
            let piece = &mut pages[..count];
            let read = self.file.read_exact_at(piece.as_mut_bytes(), offset);
            read.map_err(|e| self.error("read", e))?;
            if !piece.iter().all(Page::is_zero) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes the first `bytes` bytes of a page, a whole number of blocks, and
    /// waits until they are durable.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, offset: u64, page: &Page, bytes: usize) -> Result<()> {
        self.write_durably(offset, &page.0[..bytes.min(page.0.len())])
    }

    fn write_durably(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, offset).map_err(|e| self.error("write", e))?;
        fsync(&self.file).map_err(|e| self.error("flush", e.into()))
    }

    /// Makes Linux forget what it has cached of the device; a file's cache is
    /// never stale.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn forget_cache(&self) -> Result<()> {
        if !self.is_device {
            return Ok(());
        }
        // BLKFLSBUF of include/uapi/linux/fs.h.
        const FLUSH_BUFFERS: Opcode = 0x1261;
        self.control::<FLUSH_BUFFERS>("drop the cache of")
    }

    /// Makes Linux look for partitions anew.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn look_for_partitions(&self) -> Result<()> {
        // BLKRRPART of include/uapi/linux/fs.h.
        const READ_PARTITIONS: Opcode = 0x125f;
        self.control::<READ_PARTITIONS>("look for partitions of")
    }

    /// Tells the device that nothing from byte `from` to its end is needed any
    /// more.
    ///
    /// # Errors
    /// [`Error::Io`]; `EOPNOTSUPP` where the device cannot be told.
    pub fn deallocate(&self, from: u64) -> Result<()> {
        // BLKDISCARD of include/uapi/linux/fs.h: start and length in bytes.
        const DISCARD: Opcode = 0x1277;
        let end =
            seek(&self.file, SeekFrom::End(0)).map_err(|e| self.error("measure", e.into()))?;
        let range = [from, end.saturating_sub(from)];
        // SAFETY: the request reads two numbers of 64 bits.
        let done = unsafe { ioctl(&self.file, Setter::<DISCARD, [u64; 2]>::new(range)) };
        done.map_err(|e| self.error("deallocate", e.into()))?;
        self.forget_cache()
    }

    fn control<const OPCODE: Opcode>(&self, doing: &'static str) -> Result<()> {
        // SAFETY: both requests made by this take no argument and touch no
        // memory of this process.
        let done = unsafe { ioctl(&self.file, NoArg::<OPCODE>::new()) };
        done.map_err(|e| self.error(doing, e.into()))
    }

    fn error(&self, doing: &'static str, source: std::io::Error) -> Error {
        Error::Io { doing, path: self.path.clone(), source }
    }
}

impl FirstPage for Direct {
    fn read(&self) -> Result<Page> {
        Self::read(self, 0)
    }

    fn write(&self, page: &Page, part: Range<usize>) -> Result<()> {
        self.write_durably(part.start as u64, &page.0[part])
    }

    fn forget_cache(&self) -> Result<()> {
        Self::forget_cache(self)
    }
}
