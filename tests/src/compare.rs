//! An image against the memory it was made of, as QEMU saw it while the
//! writer stood still.
//!
//! Only the layouts are shared with the writer: what it did with them is read
//! here by other code.

use crate::error::Error;
use dormouse_handoff::checksum::Seed;
use dormouse_handoff::image::{
    Chunk, Codec, Header, Layout, Region, Run, RunKind, State, TableEntry, TableRegion, parse_page,
};
use dormouse_handoff::memory_map::MemoryRange;
use dormouse_handoff::plan::CheckedPlan;
use dormouse_handoff::units::{PAGE_SIZE, PageRange, Pfn};
use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// How many differing frames are named.
const NAMED: usize = 10;

/// Pages that are read at once.
const PIECE_PAGES: u64 = 1024;

/// An image on the host's disk.
pub struct ImageFile {
    file: File,
    path: PathBuf,
    /// Where the target begins in the file.
    start: u64,
}

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Pages whose stored bytes were compared.
    pub stored: u64,
    /// Pages that the image has as zero, and that were looked at.
    pub zero: u64,
    /// Pages that the image leaves out as free.
    pub free: u64,
    /// Pages that the image leaves out because they must not be touched.
    pub excluded: u64,
    /// Pages of the window.
    pub window: u64,
}

impl ImageFile {
    /// Opens the image on the target that begins at byte `start` of a disk
    /// image.
    pub fn open(path: &Path, start: u64) -> Result<Self, Error> {
        let file = File::open(path).map_err(Error::host(format!("opening {}", path.display())))?;
        Ok(Self { file, path: path.into(), start })
    }

    /// The image's header, which has to be in this state.
    pub fn header(&self, state: State) -> Result<Header, Error> {
        let bytes = self.read(0, PAGE_SIZE)?;
        let header = Header::parse(&bytes).map_err(|e| self.wrong(e))?;
        if header.state() != state {
            let words = format!("its state is {}, not {}", header.state().name(), state.name());
            return Err(self.wrong(words));
        }
        Ok(header)
    }

    /// Compares a valid image with `memory`, in which each byte lies at the
    /// offset of its physical address. An error unless all that the image
    /// keeps is right, checksums included, and all memory of the plan is
    /// accounted for.
    pub fn compare(&self, memory: &Path) -> Result<Comparison, Error> {
        let header = self.header(State::Valid)?;
        let layout = header.layout();
        let plan = self.plan(&header)?;
        let plan = CheckedPlan::parse(plan.bytes()).map_err(|e| self.wrong(e))?;
        let runs: Vec<Run> = self.table(&header, layout.runs, header.runs)?;
        let chunks: Vec<Chunk> = self.table(&header, layout.chunks, header.chunks)?;
        self.check_chunks(&header, &chunks)?;
        self.check_coverage(&runs, plan.memory())?;
        let memory_file =
            File::open(memory).map_err(Error::host(format!("opening {}", memory.display())))?;
        let mut comparer = Comparer {
            image: self,
            memory: memory_file,
            data: layout.data.offset,
            mailbox: plan.mailbox.iter().map(|page| Pfn::containing(*page)).collect(),
            found: Comparison::default(),
            differing: Vec::new(),
        };
        for run in &runs {
            comparer.take(run)?;
        }
        let Comparer { found, differing, .. } = comparer;
        if !differing.is_empty() {
            let named: Vec<String> =
                differing.iter().take(NAMED).map(|frame| format!("{:#x}", frame.0)).collect();
            let words = format!("{} pages differ: frames {}", differing.len(), named.join(", "));
            return Err(self.wrong(words));
        }
        Ok(found)
    }

    /// How many of these pages an image in this state stores.
    pub fn stored_in(&self, state: State, pages: PageRange) -> Result<u64, Error> {
        let (_plan, runs) = self.plan_and_runs(state)?;
        let stored = runs.iter().filter(|run| run.kind == RunKind::Stored as u32);
        Ok(stored.filter_map(|run| run.range().intersection(&pages)).map(|part| part.pages).sum())
    }

    /// The plan of an image in this state, and what became of the pages.
    pub(crate) fn plan_and_runs(&self, state: State) -> Result<(Words, Vec<Run>), Error> {
        let header = self.header(state)?;
        let runs = self.table(&header, header.layout().runs, header.runs)?;
        Ok((self.plan(&header)?, runs))
    }

    fn plan(&self, header: &Header) -> Result<Words, Error> {
        let bytes = self.read(Layout::PLAN, header.plan.length)?;
        let plan = header.plan.matches(header.seed(), &bytes);
        plan.map(Words::copy).ok_or_else(|| self.wrong("its plan's checksum does not match"))
    }

    fn table<E: TableEntry>(
        &self,
        header: &Header,
        region: Region,
        used: TableRegion,
    ) -> Result<Vec<E>, Error> {
        let mut entries = Vec::new();
        for sequence in 0..used.pages {
            let page = Words::copy(&self.read(region.offset + sequence * PAGE_SIZE, PAGE_SIZE)?);
            let page = parse_page::<E>(page.bytes(), header.seed(), sequence);
            entries.extend_from_slice(page.map_err(|e| self.wrong(e))?);
        }
        if entries.len() as u64 != used.entries {
            return Err(self.wrong("a table has another number of entries than the header says"));
        }
        Ok(entries)
    }

    fn check_chunks(&self, header: &Header, chunks: &[Chunk]) -> Result<(), Error> {
        let seed: Seed = header.seed();
        let data = header.layout().data.offset;
        let mut next = 0;
        for (index, chunk) in chunks.iter().enumerate() {
            let raw = u64::from(chunk.length) == u64::from(chunk.pages) * PAGE_SIZE;
            if chunk.codec != Codec::Raw as u32 || !raw || chunk.offset != next {
                return Err(self.wrong(format!("chunk {index} is not raw and in its place")));
            }
            next += u64::from(chunk.length);
            let bytes = self.read(data + chunk.offset, u64::from(chunk.length))?;
            if seed.of_pages(&bytes) != chunk.checksum {
                return Err(self.wrong(format!("chunk {index}: the checksum does not match")));
            }
        }
        if next != header.data_length || next != header.counts.stored * PAGE_SIZE {
            return Err(self.wrong("the chunks do not add up to the data"));
        }
        Ok(())
    }

    /// Every page of the plan's memory is in exactly one run.
    fn check_coverage(&self, runs: &[Run], memory: &[MemoryRange]) -> Result<(), Error> {
        let joined = |ranges: &mut dyn Iterator<Item = PageRange>| {
            let mut joined: Vec<PageRange> = Vec::new();
            for range in ranges {
                match joined.last_mut() {
                    Some(last) if last.end() == range.start => last.pages += range.pages,
                    _ => joined.push(range),
                }
            }
            joined
        };
        let described = joined(&mut runs.iter().map(Run::range));
        let planned = joined(&mut memory.iter().map(|entry| entry.range));
        if described == planned {
            Ok(())
        } else {
            Err(self.wrong(format!("its runs cover {described:?}, its plan {planned:?}")))
        }
    }

    fn read(&self, offset: u64, bytes: u64) -> Result<Vec<u8>, Error> {
        let mut buffer = vec![0; bytes as usize];
        self.file
            .read_exact_at(&mut buffer, self.start + offset)
            .map_err(Error::host(format!("reading {}", self.path.display())))?;
        Ok(buffer)
    }

    fn wrong(&self, what: impl std::fmt::Display) -> Error {
        Error::verdict(format!("the image in {}: {what}", self.path.display()))
    }
}

/// A comparison under way.
struct Comparer<'a> {
    image: &'a ImageFile,
    memory: File,
    /// Where the next stored page lies in the image.
    data: u64,
    /// Pages that the writer may write to.
    mailbox: BTreeSet<Pfn>,
    found: Comparison,
    differing: Vec<Pfn>,
}

impl Comparer<'_> {
    fn take(&mut self, run: &Run) -> Result<(), Error> {
        let pages = u64::from(run.pages);
        match RunKind::from_number(run.kind) {
            Some(RunKind::Stored) => {
                self.found.stored += pages;
                self.compare(run, true)
            }
            Some(RunKind::Zero) => {
                self.found.zero += pages;
                self.compare(run, false)
            }
            Some(RunKind::Free) => {
                self.found.free += pages;
                Ok(())
            }
            Some(RunKind::Excluded) => {
                self.found.excluded += pages;
                Ok(())
            }
            Some(RunKind::Window) => {
                self.found.window += pages;
                Ok(())
            }
            None => Err(self.image.wrong(format!("a run of the unknown kind {}", run.kind))),
        }
    }

    fn compare(&mut self, run: &Run, stored: bool) -> Result<(), Error> {
        let mut frame = run.start;
        while frame < run.range().end() {
            let pages = (run.range().end().0 - frame.0).min(PIECE_PAGES);
            let bytes = pages * PAGE_SIZE;
            let mut seen = vec![0; bytes as usize];
            self.memory
                .read_exact_at(&mut seen, frame.address().0)
                .map_err(Error::host("reading the memory dump"))?;
            let kept = if stored {
                let kept = self.image.read(self.data, bytes)?;
                self.data += bytes;
                kept
            } else {
                vec![0; bytes as usize]
            };
            let page = PAGE_SIZE as usize;
            for (at, (seen, kept)) in (frame.0..).zip(seen.chunks(page).zip(kept.chunks(page))) {
                if seen != kept && !self.mailbox.contains(&Pfn(at)) {
                    self.differing.push(Pfn(at));
                }
            }
            frame = Pfn(frame.0 + pages);
        }
        Ok(())
    }
}

/// Bytes that begin at a multiple of eight, as the layouts want them.
pub(crate) struct Words {
    words: Vec<u64>,
    length: usize,
}

impl Words {
    fn copy(bytes: &[u8]) -> Self {
        let mut words = vec![0u64; bytes.len().div_ceil(8)];
        zerocopy::IntoBytes::as_mut_bytes(&mut *words)[..bytes.len()].copy_from_slice(bytes);
        Self { words, length: bytes.len() }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &zerocopy::IntoBytes::as_bytes(&*self.words)[..self.length]
    }
}
