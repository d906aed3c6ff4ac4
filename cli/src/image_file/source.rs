//! A device or file, or a part of one, read in whole pages.

use super::ImageError;
use crate::error::{Error, Result};
use crate::target::direct::{Direct, Page};
use dormouse_handoff::units::PAGE_SIZE;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use zerocopy::IntoBytes;

/// Bytes of a device or file.
#[derive(Clone, Debug)]
pub struct Source {
    file: Rc<File>,
    path: PathBuf,
    range: Range<u64>,
}

impl Source {
    /// All of a device or file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |source| Error::Io { doing: "open", path: path.to_owned(), source };
        let mut file = File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.file_type().is_block_device() {
            // The writer wrote behind Linux' back. Whoever may not drop the
            // cache reads what was there before, at worst: no image.
            let _ = Direct::reading(path).and_then(|device| device.forget_cache());
        }
        let bytes = file.seek(SeekFrom::End(0)).map_err(failed)?;
        Ok(Self { file: Rc::new(file), path: path.to_owned(), range: 0..bytes })
    }

    /// The part from byte `start` on; nothing where there is no such byte.
    pub fn from(&self, start: u64) -> Self {
        let start = self.range.start.saturating_add(start).min(self.range.end);
        Self { range: start..self.range.end, ..self.clone() }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where in the device or file it begins.
    pub fn start(&self) -> u64 {
        self.range.start
    }

    /// How many bytes there are.
    pub fn bytes(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// `count` pages from byte `offset`.
    ///
    /// # Errors
    /// [`Error::Image`] where they are not all there, [`Error::Io`].
    pub fn pages(&self, offset: u64, count: u64) -> Result<Vec<Page>> {
        let start = self.range.start.saturating_add(offset);
        let end = count.checked_mul(PAGE_SIZE).and_then(|bytes| start.checked_add(bytes));
        if end.is_none_or(|end| end > self.range.end) {
            let fault = ImageError::Truncated { offset: self.range.end };
            return Err(Error::Image { path: self.path.clone(), fault });
        }
        let mut pages = vec![Page::zero(); count as usize];
        self.file
            .read_exact_at(pages.as_mut_slice().as_mut_bytes(), start)
            .map_err(|source| Error::read(&self.path, source))?;
        Ok(pages)
    }
}
