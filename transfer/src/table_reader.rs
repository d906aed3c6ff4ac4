//! A table being read: pages in, entries out, one block ahead of its user.

use crate::error::Error;
use crate::memory::Buffer;
use crate::stream::{Owner, Stream};
use core::marker::PhantomData;
use dormouse_drivers::queue::{Direction, Segment};
use dormouse_handoff::checksum::Seed;
use dormouse_handoff::image::{Region, TableEntry, TableRegion, parse_page};
use dormouse_handoff::units::{PAGE_SIZE, PhysAddr};

const PAGE: usize = PAGE_SIZE as usize;

/// Reads a table in two halves of a buffer: while entries are taken from one,
/// the other is being filled.
pub struct TableReader<E> {
    buffer: Buffer,
    region: Region,
    used: TableRegion,
    seed: Seed,
    first_owner: u8,
    /// Pages that were asked for.
    requested: u64,
    /// The page that entries are taken from.
    page: u64,
    /// Entries taken from that page.
    taken: usize,
    /// Entries taken from all pages.
    total: u64,
    /// Whether `page` has been checked.
    checked: bool,
    entry: PhantomData<E>,
}

impl<E: TableEntry> TableReader<E> {
    /// The table that uses `used` of `region`, read by way of `buffer` (two
    /// pages or more, an even number), with the owners `first_owner` and the
    /// one after it.
    pub fn new(
        buffer: Buffer,
        region: Region,
        used: TableRegion,
        seed: Seed,
        first_owner: u8,
    ) -> Self {
        Self {
            buffer,
            region,
            used,
            seed,
            first_owner,
            requested: 0,
            page: 0,
            taken: 0,
            total: 0,
            checked: false,
            entry: PhantomData,
        }
    }

    /// The next entry; `None` after the last.
    pub fn next(&mut self, stream: &mut Stream<'_>) -> Result<Option<E>, Error> {
        loop {
            if self.page == self.used.pages {
                return if self.total == self.used.entries {
                    Ok(None)
                } else {
                    Err(Error::Inconsistent(
                        "a table has another number of entries than the header says",
                    ))
                };
            }
            self.request_ahead(stream)?;
            if !self.checked {
                stream.wait(self.owner(self.page))?;
            }
            let at = (self.page % self.slots()) as usize * PAGE;
            let page = &self.buffer.bytes()[at..at + PAGE];
            let entries = if self.checked {
                // The checksum was compared when the page came in.
                entries_of_checked::<E>(page)
            } else {
                parse_page::<E>(page, self.seed, self.page)?
            };
            self.checked = true;
            if let Some(entry) = entries.get(self.taken) {
                self.taken += 1;
                self.total += 1;
                return Ok(Some(*entry));
            }
            self.page += 1;
            self.taken = 0;
            self.checked = false;
        }
    }

    /// The buffer, for another use. The table must have been read to its end.
    pub fn into_buffer(self) -> Buffer {
        self.buffer
    }

    fn slots(&self) -> u64 {
        (self.buffer.bytes().len() / PAGE) as u64
    }

    fn half(&self) -> u64 {
        self.slots() / 2
    }

    fn owner(&self, page: u64) -> Owner {
        Owner(self.first_owner + (page / self.half() % 2) as u8)
    }

    /// Keeps the half that is in use and the one after it requested.
    fn request_ahead(&mut self, stream: &mut Stream<'_>) -> Result<(), Error> {
        let half = self.half();
        while self.requested < self.used.pages && self.requested / half <= self.page / half + 1 {
            let pages = half.min(self.used.pages - self.requested);
            let at = self.requested % self.slots() * PAGE_SIZE;
            let segment = Segment {
                address: PhysAddr(self.buffer.address().0 + at),
                bytes: (pages * PAGE_SIZE) as u32,
            };
            stream.start(
                Direction::Read,
                self.region.offset + self.requested * PAGE_SIZE,
                &[segment],
                self.owner(self.requested),
            )?;
            self.requested += pages;
        }
        Ok(())
    }
}

fn entries_of_checked<E: TableEntry>(page: &[u8]) -> &[E] {
    use dormouse_handoff::image::PageHead;
    use zerocopy::FromBytes;
    let Ok((head, body)) = PageHead::ref_from_prefix(page) else { return &[] };
    match <[E]>::ref_from_prefix_with_elems(body, head.entries as usize) {
        Ok((entries, _)) => entries,
        Err(_) => &[],
    }
}
