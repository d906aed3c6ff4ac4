//! Comparing: the image, read back as the reader reads it, with memory as it
//! stands. Nothing of memory is changed.
//!
//! The pages cannot be read into their places, where they still are, and the
//! window has no room for a whole chunk: so they pass through a small buffer,
//! a few pieces of which are on their way at once.

use crate::error::Error;
use crate::memory::{Memory, PageBytes, is_zero};
use crate::read_ahead::{ReadAhead, Staging};
use crate::restore::{self, Buffers, Frames, check_place};
use crate::save::Observer;
use crate::stream::Stream;
use crate::table_reader::TableReader;
use dormouse_handoff::image::{Chunk, Header};
use dormouse_handoff::plan::CheckedPlan;
use dormouse_handoff::units::{PageRange, Pfn};

/// Reads the whole image and compares each page with its place in memory: the
/// stored ones with their bytes on the disk, and what is a page of zeros there.
///
/// # Errors
/// [`Error::Differs`] with the first page that is not the same; what
/// [`restore`](crate::restore::restore) finds wrong with an image.
#[allow(clippy::too_many_arguments)] // Those of `restore`, and the buffers.
pub fn compare(
    stream: &mut Stream<'_>,
    memory: &dyn Memory,
    plan: &CheckedPlan<'_>,
    header: &Header,
    own: PageRange,
    buffers: Buffers,
    staging: Staging,
    observer: &mut dyn Observer,
) -> Result<(), Error> {
    let layout = header.layout();
    let seed = header.seed();
    let mut frames = Frames::new(buffers.runs, plan, header, own);
    let owners = restore::CHUNK_OWNERS;
    let (runs, chunks) = (layout.chunks, header.chunks);
    let mut chunks = TableReader::<Chunk>::new(buffers.chunks, runs, chunks, seed, owners);
    let mut data = ReadAhead::new(staging, layout.data.offset, header.data_length)?;
    let mut against = Against { memory, differs: None };
    let mut index = 0;
    let mut offset = 0;
    while let Some(chunk) = chunks.next(stream)? {
        check_place(&chunk, offset, header)?;
        let mut checksum = seed.pages();
        let mut first = None;
        let mut left = chunk.pages;
        while left > 0 {
            let part = frames.take(stream, &mut against, left)?;
            first.get_or_insert(part);
            for frame in (part.start.0..part.end().0).map(Pfn) {
                let page = data.next_page(stream)?;
                checksum.push(page);
                if !same(page, memory.page(frame)) {
                    against.note(frame);
                }
            }
            left -= part.pages as u32;
            against.result()?;
        }
        if checksum.finish() != chunk.checksum {
            return Err(Error::Chunk { index, frames: first.unwrap_or_default() });
        }
        offset += u64::from(chunk.length);
        index += 1;
        observer.progress(frames.counts(), header.layout_pages)?;
    }
    frames.finish(stream, &mut against, header, offset)?;
    against.result()?;
    observer.progress(&header.counts, header.layout_pages)
}

/// Whether two pages are the same, word by word: `==` on bytes is what takes
/// longest of all where the processor is emulated.
fn same(a: &PageBytes, b: &PageBytes) -> bool {
    let (a, _) = a.as_chunks::<8>();
    let (b, _) = b.as_chunks::<8>();
    let differing = |a: &[u8; 8], b: &[u8; 8]| u64::from_ne_bytes(*a) ^ u64::from_ne_bytes(*b);
    a.iter().zip(b).fold(0, |all, (a, b)| all | differing(a, b)) == 0
}

/// Memory that is asked for zeros where it would be cleared.
struct Against<'a> {
    memory: &'a dyn Memory,
    differs: Option<Pfn>,
}

impl Against<'_> {
    fn note(&mut self, frame: Pfn) {
        self.differs.get_or_insert(frame);
    }

    fn result(&self) -> Result<(), Error> {
        self.differs.map_or(Ok(()), |frame| Err(Error::Differs { frame }))
    }
}

impl Memory for Against<'_> {
    fn page(&self, frame: Pfn) -> &PageBytes {
        self.memory.page(frame)
    }

    fn clear(&mut self, frame: Pfn) {
        if !is_zero(self.page(frame)) {
            self.note(frame);
        }
    }

    fn scribble(&mut self, _frame: Pfn) {}
}
