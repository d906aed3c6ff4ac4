//! Restoring: from the image into memory.

use crate::error::Error;
use crate::memory::{Buffer, Memory};
use crate::save::Observer;
use crate::stream::{MAX_SEGMENTS, Owner, Stream};
use crate::table_reader::TableReader;
use alloc::vec::Vec;
use dormouse_drivers::queue::{Direction, Segment};
use dormouse_handoff::checksum::Seed;
use dormouse_handoff::image::{CHUNK_PAGES, Chunk, Codec, Counts, Header, Run, RunKind};
use dormouse_handoff::memory_map;
use dormouse_handoff::plan::{CheckedPlan, Flags};
use dormouse_handoff::units::{PAGE_SIZE, PageRange, Pfn, PhysAddr};

/// Chunks on their way from the device at once.
const SLOTS: usize = 16;
const RUN_OWNERS: u8 = SLOTS as u8;
pub(crate) const CHUNK_OWNERS: u8 = RUN_OWNERS + 2;

/// Pages of the buffer for each table; read in two halves.
pub const TABLE_BUFFER_PAGES: usize = 8;

/// The path's own memory for restoring.
pub struct Buffers {
    /// [`TABLE_BUFFER_PAGES`] pages.
    pub runs: Buffer,
    /// [`TABLE_BUFFER_PAGES`] pages.
    pub chunks: Buffer,
}

/// Reads every page into its place and checks it there.
///
/// After an error, memory holds part of the image; the image itself is as it
/// was. `own` is the reader's window, which no page may belong to.
pub fn restore(
    stream: &mut Stream<'_>,
    memory: &mut dyn Memory,
    plan: &CheckedPlan<'_>,
    header: &Header,
    own: PageRange,
    buffers: Buffers,
    observer: &mut dyn Observer,
) -> Result<(), Error> {
    let layout = header.layout();
    let seed = header.seed();
    let mut frames = Frames::new(buffers.runs, plan, header, own);
    let mut chunks =
        TableReader::<Chunk>::new(buffers.chunks, layout.chunks, header.chunks, seed, CHUNK_OWNERS);
    let mut slots = Slots::new(seed)?;
    let mut offset = 0;
    let mut index = 0;
    while let Some(chunk) = chunks.next(stream)? {
        check_place(&chunk, offset, header)?;
        let slot = slots.free(stream, memory)?;
        slot.begin(index, chunk);
        while slot.pages < chunk.pages {
            let wanted = chunk.pages - slot.pages;
            let part = frames.take(stream, memory, wanted)?;
            slot.push(part);
        }
        let (segments, owner) = (&slot.segments[..slot.count], slot.owner);
        stream.start(Direction::Read, layout.data.offset + offset, segments, owner)?;
        if index == 0 {
            observer.under_way();
        }
        offset += u64::from(chunk.length);
        index += 1;
        slots.check_done(stream, memory)?;
        observer.progress(&frames.counts, header.layout_pages)?;
    }
    slots.drain(stream, memory)?;
    frames.finish(stream, memory, header, offset)?;
    observer.progress(&header.counts, header.layout_pages)
}

/// Whether the chunk whose data begin at `offset` is as it must be there.
pub(crate) fn check_place(chunk: &Chunk, offset: u64, header: &Header) -> Result<(), Error> {
    if chunk.codec != Codec::Raw as u32
        || chunk.offset != offset
        || u64::from(chunk.pages) > CHUNK_PAGES
        || u64::from(chunk.length) != u64::from(chunk.pages) * PAGE_SIZE
        || chunk.pages == 0
        || offset + u64::from(chunk.length) > header.data_length
    {
        return Err(Error::Inconsistent("a chunk that is not where it should be"));
    }
    Ok(())
}

/// The stored frames in order, out of the run table. What is not stored is
/// dealt with in passing.
pub(crate) struct Frames<'a> {
    table: TableReader<Run>,
    plan: &'a CheckedPlan<'a>,
    own: PageRange,
    /// What is left of the stored run under way.
    run: PageRange,
    /// One past the last frame that was named: runs only ever go up.
    past: Pfn,
    counts: Counts,
}

impl<'a> Frames<'a> {
    /// The frames of the image's run table, which is read into `buffer`.
    pub(crate) fn new(
        buffer: Buffer,
        plan: &'a CheckedPlan<'a>,
        header: &Header,
        own: PageRange,
    ) -> Self {
        let region = header.layout().runs;
        Self {
            table: TableReader::new(buffer, region, header.runs, header.seed(), RUN_OWNERS),
            plan,
            own,
            run: PageRange::default(),
            past: Pfn(0),
            counts: Counts::default(),
        }
    }

    /// What has become of the pages so far.
    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// At most `wanted` of the next stored frames.
    pub(crate) fn take(
        &mut self,
        stream: &mut Stream<'_>,
        memory: &mut dyn Memory,
        wanted: u32,
    ) -> Result<PageRange, Error> {
        while self.run.pages == 0 {
            if !self.next_run(stream, memory)? {
                return Err(Error::Inconsistent("more data than stored frames"));
            }
        }
        let part =
            PageRange { start: self.run.start, pages: self.run.pages.min(u64::from(wanted)) };
        self.run = PageRange { start: part.end(), pages: self.run.pages - part.pages };
        Ok(part)
    }

    /// Deals with all runs after the last stored one, and makes sure that `data`
    /// bytes of data and all runs together are the whole image.
    pub(crate) fn finish(
        &mut self,
        stream: &mut Stream<'_>,
        memory: &mut dyn Memory,
        header: &Header,
        data: u64,
    ) -> Result<(), Error> {
        while self.run.pages == 0 {
            if self.next_run(stream, memory)? {
                continue;
            }
            if data != header.data_length || self.counts != header.counts {
                return Err(Error::Inconsistent("the tables do not add up to the header's counts"));
            }
            if self.counts.total() != header.layout_pages {
                return Err(Error::Inconsistent("the tables do not cover the memory map"));
            }
            return Ok(());
        }
        Err(Error::Inconsistent("more stored frames than data"))
    }

    fn next_run(
        &mut self,
        stream: &mut Stream<'_>,
        memory: &mut dyn Memory,
    ) -> Result<bool, Error> {
        let Some(run) = self.table.next(stream)? else { return Ok(false) };
        let range = run.range();
        let kind = RunKind::from_number(run.kind)
            .ok_or(Error::Inconsistent("a run of an unknown kind"))?;
        if range.pages == 0 || range.start < self.past || range.end().0 > PageRange::MAX_PFN {
            return Err(Error::Inconsistent("runs that are empty or out of order"));
        }
        self.past = range.end();
        let known = self.plan.memory().iter().map(|entry| entry.range);
        if memory_map::first_missing(range, known).is_some() {
            return Err(Error::Inconsistent("a run outside the memory map"));
        }
        if kind != RunKind::Window && range.intersection(&self.own).is_some() {
            return Err(Error::Window);
        }
        match kind {
            RunKind::Stored => {
                self.counts.stored += range.pages;
                self.run = range;
            }
            RunKind::Zero => {
                self.counts.zero += range.pages;
                for frame in range.start.0..range.end().0 {
                    memory.clear(Pfn(frame));
                }
            }
            RunKind::Free => {
                self.counts.free += range.pages;
                if self.plan.flags().contains(Flags::SCRIBBLE_FREE_PAGES) {
                    for frame in range.start.0..range.end().0 {
                        memory.scribble(Pfn(frame));
                    }
                }
            }
            RunKind::Excluded => self.counts.excluded += range.pages,
            RunKind::Window => self.counts.window += range.pages,
        }
        Ok(true)
    }
}

/// A chunk on its way into memory.
struct Slot {
    owner: Owner,
    busy: bool,
    index: u64,
    chunk: Chunk,
    segments: [Segment; MAX_SEGMENTS],
    count: usize,
    pages: u32,
}

impl Slot {
    fn begin(&mut self, index: u64, chunk: Chunk) {
        self.busy = true;
        self.index = index;
        self.chunk = chunk;
        self.count = 0;
        self.pages = 0;
    }

    fn push(&mut self, frames: PageRange) {
        let address = frames.start.address();
        let bytes = frames.bytes() as u32;
        self.pages += frames.pages as u32;
        self.segments[self.count] = Segment { address, bytes };
        self.count += 1;
    }

    /// Compares what came in with the chunk's checksum.
    fn check(&mut self, seed: Seed, memory: &dyn Memory) -> Result<(), Error> {
        let mut checksum = seed.pages();
        for segment in &self.segments[..self.count] {
            let first = Pfn::containing(segment.address).0;
            for frame in first..first + u64::from(segment.bytes) / PAGE_SIZE {
                checksum.push(memory.page(Pfn(frame)));
            }
        }
        self.busy = false;
        if checksum.finish() == self.chunk.checksum {
            return Ok(());
        }
        let first = self.segments[0];
        Err(Error::Chunk {
            index: self.index,
            frames: PageRange {
                start: Pfn::containing(first.address),
                pages: u64::from(first.bytes) / PAGE_SIZE,
            },
        })
    }
}

struct Slots {
    slots: Vec<Slot>,
    /// The slot that was begun longest ago.
    oldest: usize,
    seed: Seed,
}

impl Slots {
    fn new(seed: Seed) -> Result<Self, Error> {
        let mut slots = Vec::new();
        slots.try_reserve_exact(SLOTS).map_err(|_| Error::NoBuffers)?;
        for owner in 0..SLOTS as u8 {
            slots.push(Slot {
                owner: Owner(owner),
                busy: false,
                index: 0,
                chunk: Chunk::default(),
                segments: [Segment { address: PhysAddr(0), bytes: 0 }; MAX_SEGMENTS],
                count: 0,
                pages: 0,
            });
        }
        Ok(Self { slots, oldest: 0, seed })
    }

    /// The next slot in turn, after its chunk has come in and been checked.
    fn free(&mut self, stream: &mut Stream<'_>, memory: &dyn Memory) -> Result<&mut Slot, Error> {
        let slot = &mut self.slots[self.oldest];
        self.oldest = (self.oldest + 1) % SLOTS;
        if slot.busy {
            stream.wait(slot.owner)?;
            slot.check(self.seed, memory)?;
        }
        Ok(slot)
    }

    /// Checks one chunk that has come in meanwhile, while the others are on
    /// their way. One at a time, so that the device never waits for us long.
    fn check_done(&mut self, stream: &mut Stream<'_>, memory: &dyn Memory) -> Result<(), Error> {
        stream.poll()?;
        for i in 0..SLOTS {
            let slot = &mut self.slots[(self.oldest + i) % SLOTS];
            if slot.busy && stream.is_idle(slot.owner) {
                return slot.check(self.seed, memory);
            }
        }
        Ok(())
    }

    fn drain(&mut self, stream: &mut Stream<'_>, memory: &dyn Memory) -> Result<(), Error> {
        for _ in 0..SLOTS {
            self.free(stream, memory)?;
        }
        Ok(())
    }
}
