//! A table being written: entries in, pages out, in constant memory.

use crate::error::Error;
use crate::memory::Buffer;
use crate::stream::{Owner, Stream};
use core::marker::PhantomData;
use dormouse_drivers::queue::{Direction, Segment};
use dormouse_handoff::checksum::Seed;
use dormouse_handoff::image::{ENTRY_BYTES, PageHead, Region, TableEntry, TableRegion, seal_page};
use dormouse_handoff::units::{PAGE_SIZE, PhysAddr};

const PAGE: usize = PAGE_SIZE as usize;

/// Writes a table page by page, as entries come in. While one page is on its
/// way to the device, the next is filled.
pub struct TableWriter<E> {
    buffer: Buffer,
    region: Region,
    seed: Seed,
    first_owner: u8,
    /// Entries in the page that is being filled.
    filled: usize,
    done: TableRegion,
    entry: PhantomData<E>,
}

impl<E: TableEntry> TableWriter<E> {
    /// Entries in a full page.
    const CAPACITY: usize = ENTRY_BYTES / size_of::<E>();

    /// A table that goes to `region`, by way of `buffer` (two pages or more),
    /// whose pages use the owners from `first_owner` on, one for each page.
    pub fn new(buffer: Buffer, region: Region, seed: Seed, first_owner: u8) -> Self {
        Self {
            buffer,
            region,
            seed,
            first_owner,
            filled: 0,
            done: TableRegion::default(),
            entry: PhantomData,
        }
    }

    /// Adds an entry.
    pub fn push(&mut self, stream: &mut Stream<'_>, entry: E) -> Result<(), Error> {
        let slot = self.slot();
        if self.filled == 0 {
            // The page that was sent from here earlier must have left.
            stream.wait(self.owner(slot))?;
        }
        let at = slot * PAGE + size_of::<PageHead>() + self.filled * size_of::<E>();
        self.buffer.bytes_mut()[at..at + size_of::<E>()].copy_from_slice(entry.as_bytes());
        self.filled += 1;
        self.done.entries += 1;
        if self.filled == Self::CAPACITY {
            self.send(stream)?;
        }
        Ok(())
    }

    /// Sends the last page; how much of the region is used, and the buffer. The
    /// caller waits for the stream before it commits.
    pub fn finish(mut self, stream: &mut Stream<'_>) -> Result<(TableRegion, Buffer), Error> {
        if self.filled > 0 {
            self.send(stream)?;
        }
        Ok((self.done, self.buffer))
    }

    fn slots(&self) -> usize {
        self.buffer.bytes().len() / PAGE
    }

    fn slot(&self) -> usize {
        self.done.pages as usize % self.slots()
    }

    fn owner(&self, slot: usize) -> Owner {
        Owner(self.first_owner + slot as u8)
    }

    fn send(&mut self, stream: &mut Stream<'_>) -> Result<(), Error> {
        let offset = self.done.pages * PAGE_SIZE;
        if offset >= self.region.length {
            return Err(Error::Inconsistent("more table entries than the layout has room for"));
        }
        let slot = self.slot();
        let (filled, sequence, seed) = (self.filled, self.done.pages, self.seed);
        let page = &mut self.buffer.bytes_mut()[slot * PAGE..(slot + 1) * PAGE];
        let used = size_of::<PageHead>() + filled * size_of::<E>();
        page[used..].fill(0);
        if let Ok(page) = page.try_into() {
            seal_page::<E>(page, seed, sequence, filled);
        }
        let segment = Segment {
            address: PhysAddr(self.buffer.address().0 + (slot * PAGE) as u64),
            bytes: PAGE as u32,
        };
        stream.start(
            Direction::Write,
            self.region.offset + offset,
            &[segment],
            self.owner(slot),
        )?;
        self.done.pages += 1;
        self.filled = 0;
        Ok(())
    }
}
