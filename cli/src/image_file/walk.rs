//! Going through all of an image once, in the order of memory, with every
//! checksum verified and no more than a chunk of it in memory.

use super::table::Table;
use super::{ImageError, ImageFile, PlanBytes};
use crate::error::Result;
use crate::target::direct::Page;
use dormouse_handoff::image::{CHUNK_PAGES, Chunk, Codec, Counts, Run, RunKind};
use dormouse_handoff::memory_map::{self, MemoryRange};
use dormouse_handoff::units::{PAGE_SIZE, PageRange, Pfn};
use zerocopy::IntoBytes;

/// Frames of the old kernel's memory that are next to each other and met the
/// same fate.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// The frames.
    pub range: PageRange,
    /// Their fate.
    pub kind: RunKind,
    /// Their contents where `kind` is `Stored`, else empty.
    pub pages: &'a [Page],
}

/// A pass over an image. [`Walk::piece`] says what comes next,
/// [`Walk::advance`] goes on.
pub struct Walk<'a> {
    image: &'a ImageFile,
    plan: PlanBytes,
    runs: Table<'a, Run>,
    chunks: Table<'a, Chunk>,
    /// What is left of the run that was read last.
    run: PageRange,
    kind: RunKind,
    /// The stored pages of the chunk that was read last, and how many of them
    /// were gone past.
    chunk: Vec<Page>,
    past: usize,
    read: Read,
    counts: Counts,
}

/// How far the tables and the data were read.
#[derive(Clone, Copy, Debug, Default)]
struct Read {
    runs: usize,
    chunks: usize,
    data_bytes: u64,
    /// One past the last frame of the last run.
    frames: Pfn,
}

impl<'a> Walk<'a> {
    /// The pass from the first frame on, once all but tables and data was
    /// verified.
    ///
    /// # Errors
    /// [`Error::Image`](crate::error::Error::Image),
    /// [`Error::Io`](crate::error::Error::Io).
    pub fn new(image: &'a ImageFile) -> Result<Self> {
        let plan = image.plan()?;
        image.jump_back()?;
        image.kept_page()?;
        image.log()?;
        Ok(Self {
            image,
            plan,
            runs: image.runs(),
            chunks: image.chunks(),
            run: PageRange::default(),
            kind: RunKind::Stored,
            chunk: Vec::new(),
            past: 0,
            read: Read::default(),
            counts: Counts::default(),
        })
    }

    /// The next frames of the same fate: the rest of a run, or, where they are
    /// stored, of a chunk. `None` behind the last: then all of the image was
    /// verified.
    ///
    /// # Errors
    /// [`Error::Image`](crate::error::Error::Image) with the first damage,
    /// [`Error::Io`](crate::error::Error::Io).
    pub fn piece(&mut self) -> Result<Option<Piece<'_>>> {
        if self.run.pages == 0 && !self.next_run()? {
            return Ok(None);
        }
        let Self { run, kind, .. } = *self;
        if kind != RunKind::Stored {
            return Ok(Some(Piece { range: run, kind, pages: &[] }));
        }
        if self.past == self.chunk.len() {
            self.next_chunk()?;
        }
        let left = &self.chunk[self.past..];
        let count = run.pages.min(left.len() as u64);
        let range = PageRange { start: run.start, pages: count };
        Ok(Some(Piece { range, kind, pages: &left[..count as usize] }))
    }

    /// Goes past the first `pages` frames of the piece, of which it has to have
    /// so many.
    pub fn advance(&mut self, pages: u64) {
        self.run.start.0 += pages;
        self.run.pages -= pages;
        if self.kind == RunKind::Stored {
            self.past += pages as usize;
        }
    }

    /// Bytes of the data that were verified.
    pub fn data_bytes(&self) -> u64 {
        self.read.data_bytes
    }

    /// Chunks that were verified.
    pub fn chunks(&self) -> u64 {
        self.read.chunks as u64
    }

    /// Reads the next run; whether there is one.
    fn next_run(&mut self) -> Result<bool> {
        let Some(run) = self.runs.next().transpose()? else {
            self.check_end()?;
            return Ok(false);
        };
        let failed = || self.image.failed(ImageError::Run(self.read.runs));
        let kind = RunKind::from_number(run.kind).ok_or_else(failed)?;
        let range = run.range();
        let behind = range.pages != 0 && range.start >= self.read.frames;
        let plan = self.plan.checked().map_err(|e| self.image.failed(ImageError::Plan(e)))?;
        if !behind || !is_memory(range, plan.memory()) {
            return Err(failed());
        }
        *self.counts.of_mut(kind) += range.pages;
        self.read.runs += 1;
        self.read.frames = range.end();
        (self.run, self.kind) = (range, kind);
        Ok(true)
    }

    fn next_chunk(&mut self) -> Result<()> {
        // More stored pages than chunks have.
        let Some(chunk) = self.chunks.next().transpose()? else {
            return Err(self.image.failed(ImageError::Counts));
        };
        let index = self.read.chunks;
        let raw = chunk.codec == Codec::Raw as u32
            && u64::from(chunk.length) == u64::from(chunk.pages) * PAGE_SIZE;
        let fits = (1..=CHUNK_PAGES).contains(&chunk.pages.into());
        if !raw || !fits || chunk.offset != self.read.data_bytes {
            return Err(self.image.failed(ImageError::ChunkShape(index)));
        }
        let pages = self.image.chunk_bytes(&chunk)?;
        if self.image.header().seed().of_pages(pages.as_bytes()) != chunk.checksum {
            let offset = chunk.offset;
            return Err(self.image.failed(ImageError::Chunk { index, offset }));
        }
        self.read.chunks += 1;
        self.read.data_bytes += u64::from(chunk.length);
        (self.chunk, self.past) = (pages, 0);
        Ok(())
    }

    /// What all was must be what the header says, and nothing may be left.
    fn check_end(&mut self) -> Result<()> {
        let header = self.image.header();
        let used_up = self.past == self.chunk.len() && self.chunks.next().is_none();
        if used_up && self.counts == header.counts && self.read.data_bytes == header.data_length {
            Ok(())
        } else {
            Err(self.image.failed(ImageError::Counts))
        }
    }
}

/// Whether every frame of `range` is one that the image was to keep.
fn is_memory(range: PageRange, memory: &[MemoryRange]) -> bool {
    memory_map::first_missing(range, memory.iter().map(|entry| entry.range)).is_none()
}
