//! A table of the image, read a page at a time.

use super::{ImageError, ImageFile};
use crate::error::Result;
use dormouse_handoff::image::{Region, TableEntry, TableRegion, parse_page};
use dormouse_handoff::units::PAGE_SIZE;
use std::collections::VecDeque;
use zerocopy::IntoBytes;

/// The entries of one table in order, each out of a page whose checksum holds.
pub struct Table<'a, E> {
    image: &'a ImageFile,
    region: Region,
    used: TableRegion,
    /// What is left of the page that was read last.
    page: VecDeque<E>,
    /// Pages, and entries in them, that were read.
    read: TableRegion,
}

impl<'a, E: TableEntry> Table<'a, E> {
    pub(super) fn new(image: &'a ImageFile, region: Region, used: TableRegion) -> Self {
        Self { image, region, used, page: VecDeque::new(), read: TableRegion::default() }
    }

    fn read_page(&mut self) -> Result<()> {
        let sequence = self.read.pages;
        let offset = self.region.offset + sequence * PAGE_SIZE;
        let page = self.image.pages(Region { offset, length: PAGE_SIZE })?;
        let entries = parse_page::<E>(page.as_bytes(), self.image.header.seed(), sequence)
            .map_err(|e| self.image.failed(ImageError::Table(E::TABLE, e)))?;
        self.read.pages += 1;
        self.read.entries += entries.len() as u64;
        self.page = entries.iter().copied().collect();
        Ok(())
    }

    /// The next entry; `None` behind the last.
    fn take(&mut self) -> Result<Option<E>> {
        loop {
            if let Some(entry) = self.page.pop_front() {
                return Ok(Some(entry));
            }
            if self.read.pages < self.used.pages {
                self.read_page()?;
            } else if self.read == self.used {
                return Ok(None);
            } else {
                return Err(self.image.failed(ImageError::Entries(E::TABLE)));
            }
        }
    }
}

/// [`Error::Io`](crate::error::Error::Io) or
/// [`Error::Image`](crate::error::Error::Image) where the table is damaged.
impl<E: TableEntry> Iterator for Table<'_, E> {
    type Item = Result<E>;

    fn next(&mut self) -> Option<Result<E>> {
        self.take().transpose()
    }
}
