//! Saving: from memory to a committed image.

use crate::error::Error;
use crate::image;
use crate::measure;
use crate::memory::{Buffer, Memory, PageSet, Verdict, decide, is_zero};
use crate::stream::{MAX_SEGMENTS, Owner, Stream};
use crate::table_writer::TableWriter;
use dormouse_drivers::queue::{Direction, Segment};
use dormouse_handoff::checksum;
use dormouse_handoff::image::{
    Attempts, CHUNK_PAGES, Chunk, Codec, Counts, Header, JumpBack, Layout, Run, RunKind,
};
use dormouse_handoff::mailbox::Statistics;
use dormouse_handoff::plan::{CheckedPlan, Flags, Stage};
use dormouse_handoff::units::{PAGE_SIZE, PageRange, Pfn, PhysAddr};
use zerocopy::IntoBytes;

/// Data requests share an owner: nobody asks which of them are done.
const DATA: Owner = Owner(0);
const RUN_OWNERS: u8 = 1;
const CHUNK_OWNERS: u8 = 9;

/// Pages of the buffer for each table: as many may be on their way at once.
pub const TABLE_BUFFER_PAGES: usize = 8;

/// Bytes of the buffer for everything else: the log is the longest part.
pub const SCRATCH_BYTES: usize = dormouse_handoff::image::MAX_LOG as usize;

/// The path's own memory for saving.
pub struct Buffers {
    /// [`TABLE_BUFFER_PAGES`] pages.
    pub runs: Buffer,
    /// [`TABLE_BUFFER_PAGES`] pages.
    pub chunks: Buffer,
    /// [`SCRATCH_BYTES`] bytes.
    pub scratch: Buffer,
}

/// What the path tells, and asks of, the program around it.
pub trait Observer {
    /// The next stage begins. An error ends the attempt (the user's abort, a
    /// test's fault).
    fn stage(&mut self, stage: Stage) -> Result<(), Error>;

    /// Of `total` pages, so many have been dealt with. An error ends the attempt.
    fn progress(&mut self, so_far: &Counts, total: u64) -> Result<(), Error>;

    /// The first data are on their way to or from the device. Called once, if
    /// there are any.
    fn under_way(&mut self) {}

    /// Microseconds since the program was entered.
    fn now_us(&self) -> u64;

    /// The log so far, for the image; at most [`SCRATCH_BYTES`] bytes of it are
    /// taken.
    fn log(&self) -> &[u8];
}

/// Microseconds that the rest of `total` pages takes, where it went from `before` to
/// `now` in `elapsed_us`; `None` where that tells nothing. `in_use`: how many pages
/// are in use, as far as is known; the others take next to no time.
pub fn left_us(
    before: &Counts,
    now: &Counts,
    total: u64,
    in_use: Option<u64>,
    elapsed_us: u64,
) -> Option<u64> {
    let rest = total.saturating_sub(now.total());
    let (done, to_do) = match in_use {
        Some(in_use) => {
            let to_do = rest.min(in_use.saturating_sub(now.in_use()));
            (now.in_use().saturating_sub(before.in_use()), to_do)
        }
        None => (now.total().saturating_sub(before.total()), rest),
    };
    to_do.saturating_mul(elapsed_us).checked_div(done)
}

/// Saves what the plan asks for, and commits. Returns the committed header.
///
/// After an error the image is not valid, and nothing but the plan's extents
/// has been written.
pub fn save(
    stream: &mut Stream<'_>,
    memory: &dyn Memory,
    pages: &mut dyn PageSet,
    plan: &CheckedPlan<'_>,
    jump_back: &JumpBack,
    mut buffers: Buffers,
    observer: &mut dyn Observer,
) -> Result<Header, Error> {
    observer.stage(Stage::Prepare)?;
    let mut header = image::begin(stream, plan, &mut buffers.scratch)?;

    observer.stage(Stage::Write)?;
    let mut statistics = Statistics { first_data_us: observer.now_us(), ..Default::default() };
    let layout = header.layout();
    let seed = header.seed();
    let mut writer = Writer {
        memory,
        runs: TableWriter::new(buffers.runs, layout.runs, seed, RUN_OWNERS),
        chunks: TableWriter::new(buffers.chunks, layout.chunks, seed, CHUNK_OWNERS),
        run: Run::default(),
        batch: Batch::new(seed.pages()),
        seed,
        data_offset: layout.data.offset,
        data_length: 0,
        counts: Counts::default(),
        walk_us: 0,
    };
    writer.write_pages(stream, pages, plan, observer)?;
    let finished = writer.finish(stream)?;
    header.runs = finished.runs;
    header.chunks = finished.chunks;
    header.data_length = finished.data_length;
    header.counts = finished.counts;
    stream.wait_all()?;
    statistics.data_us = observer.now_us() - statistics.first_data_us;
    statistics.walk_us = finished.walk_us;
    log::info!(
        "elision: {} pages asked for in {} us; {} free, {} untouchable",
        header.counts.total() - header.counts.window,
        statistics.walk_us,
        header.counts.free,
        header.counts.excluded,
    );
    if plan.flags().contains(Flags::MEASURE) {
        let spare = finished.spare;
        measure::saving(stream, memory, pages, plan, &header, spare, observer)?;
    }

    let data_done_us = observer.now_us();
    observer.stage(Stage::Commit)?;
    let scratch = &mut buffers.scratch;
    header.plan = image::write_section(stream, scratch, &header, Layout::PLAN, plan.bytes())?;
    let bytes = jump_back.as_bytes();
    header.jump_back = image::write_section(stream, scratch, &header, Layout::JUMP_BACK, bytes)?;
    image::write_attempts(stream, scratch, &Attempts::new(header.id, 0))?;
    let log = observer.log();
    let log = &log[..log.len().min(SCRATCH_BYTES)];
    header.log = image::write_section(stream, scratch, &header, Layout::LOG, log)?;
    stream.flush()?;

    statistics.finish_us = observer.now_us() - data_done_us;
    statistics.data_bytes = header.data_length;
    statistics.meta_bytes = (header.runs.pages + header.chunks.pages) * PAGE_SIZE
        + header.plan.length
        + header.jump_back.length
        + header.log.length
        + 2 * PAGE_SIZE;
    header.statistics = statistics;
    let scratch = &mut buffers.scratch;
    image::change_state(stream, scratch, &header, header.kind().committed()).inspect_err(|_| {
        // The header may have got there although the device said no: the old
        // kernel goes on now, so that image must never be woken. If this fails
        // too, the CLI does it after the return.
        let _ = image::undo(stream, scratch, &header);
    })
}

/// The chunk that is being put together.
struct Batch {
    segments: [Segment; MAX_SEGMENTS],
    count: usize,
    pages: u32,
    checksum: checksum::Pages,
}

impl Batch {
    fn new(checksum: checksum::Pages) -> Self {
        let none = Segment { address: PhysAddr(0), bytes: 0 };
        Self { segments: [none; MAX_SEGMENTS], count: 0, pages: 0, checksum }
    }

    fn push(&mut self, frame: Pfn, bytes: &[u8]) {
        self.checksum.push(bytes);
        self.pages += 1;
        let address = frame.address();
        if let Some(last) = self.segments[..self.count].last_mut()
            && last.address.0 + u64::from(last.bytes) == address.0
        {
            last.bytes += PAGE_SIZE as u32;
            return;
        }
        self.segments[self.count] = Segment { address, bytes: PAGE_SIZE as u32 };
        self.count += 1;
    }
}

struct Writer<'a> {
    memory: &'a dyn Memory,
    runs: TableWriter<Run>,
    chunks: TableWriter<Chunk>,
    /// The run that is being extended; `pages` is 0 before the first.
    run: Run,
    batch: Batch,
    seed: checksum::Seed,
    data_offset: u64,
    data_length: u64,
    counts: Counts,
    /// Microseconds spent in asking the page set.
    walk_us: u64,
}

struct Finished {
    runs: dormouse_handoff::image::TableRegion,
    chunks: dormouse_handoff::image::TableRegion,
    data_length: u64,
    counts: Counts,
    walk_us: u64,
    /// A buffer that is no longer needed.
    spare: Buffer,
}

impl Writer<'_> {
    /// Walks all memory of the plan, in order.
    fn write_pages(
        &mut self,
        stream: &mut Stream<'_>,
        pages: &mut dyn PageSet,
        plan: &CheckedPlan<'_>,
        observer: &mut dyn Observer,
    ) -> Result<(), Error> {
        let window = plan.window();
        let store_zero = plan.flags().contains(Flags::STORE_ZERO_PAGES);
        let total = plan.memory_pages();
        let mut under_way = false;
        for entry in plan.memory() {
            let mut frame = entry.range.start;
            while frame < entry.range.end() {
                let left = PageRange { start: frame, pages: entry.range.end().0 - frame.0 };
                let taken = match window.intersection(&left) {
                    Some(inside) if inside.start == frame => {
                        self.elide(stream, inside, RunKind::Window)?;
                        inside.pages
                    }
                    // At most a chunk at a time, so that progress is told.
                    next => {
                        let end = next.map_or(left.end(), |inside| inside.start);
                        let limit = (end.0 - frame.0).min(CHUNK_PAGES);
                        let asked_us = observer.now_us();
                        let (verdict, pages) = decide(pages, plan.flags(), entry, frame, limit);
                        self.walk_us += observer.now_us().saturating_sub(asked_us);
                        let part = PageRange { start: frame, pages };
                        match verdict {
                            Verdict::Excluded => self.elide(stream, part, RunKind::Excluded)?,
                            Verdict::Free => self.elide(stream, part, RunKind::Free)?,
                            Verdict::InUse => self.store(stream, part, store_zero)?,
                        }
                        part.pages
                    }
                };
                frame = Pfn(frame.0 + taken);
                stream.poll()?;
                if !under_way && self.data_length > 0 {
                    under_way = true;
                    observer.under_way();
                }
                observer.progress(&self.counts, total)?;
            }
        }
        Ok(())
    }

    /// Stores the pages of `range`, but for those of zeros.
    fn store(
        &mut self,
        stream: &mut Stream<'_>,
        range: PageRange,
        store_zero: bool,
    ) -> Result<(), Error> {
        for frame in (range.start.0..range.end().0).map(Pfn) {
            let page = self.memory.page(frame);
            if !store_zero && is_zero(page) {
                self.extend(stream, frame, 1, RunKind::Zero)?;
                self.counts.zero += 1;
                continue;
            }
            self.extend(stream, frame, 1, RunKind::Stored)?;
            self.counts.stored += 1;
            self.batch.push(frame, page);
            if u64::from(self.batch.pages) == CHUNK_PAGES {
                self.send(stream)?;
            }
        }
        Ok(())
    }

    fn elide(
        &mut self,
        stream: &mut Stream<'_>,
        range: PageRange,
        kind: RunKind,
    ) -> Result<(), Error> {
        let count = match kind {
            RunKind::Free => &mut self.counts.free,
            RunKind::Window => &mut self.counts.window,
            _ => &mut self.counts.excluded,
        };
        *count += range.pages;
        self.extend(stream, range.start, range.pages as u32, kind)
    }

    /// Adds frames to the run under way, or begins the next one.
    fn extend(
        &mut self,
        stream: &mut Stream<'_>,
        start: Pfn,
        pages: u32,
        kind: RunKind,
    ) -> Result<(), Error> {
        let kind = kind as u32;
        let run = &mut self.run;
        if run.kind == kind
            && run.range().end() == start
            && let Some(sum) = run.pages.checked_add(pages)
        {
            run.pages = sum;
            return Ok(());
        }
        let finished = core::mem::replace(run, Run { start, pages, kind });
        if finished.pages > 0 {
            self.runs.push(stream, finished)?;
        }
        Ok(())
    }

    /// Sends the chunk that has been put together.
    fn send(&mut self, stream: &mut Stream<'_>) -> Result<(), Error> {
        let batch = core::mem::replace(&mut self.batch, Batch::new(self.seed.pages()));
        let bytes = u64::from(batch.pages) * PAGE_SIZE;
        stream.start(
            Direction::Write,
            self.data_offset + self.data_length,
            &batch.segments[..batch.count],
            DATA,
        )?;
        let chunk = Chunk {
            offset: self.data_length,
            checksum: batch.checksum.finish(),
            length: bytes as u32,
            pages: batch.pages,
            codec: Codec::Raw as u32,
            reserved: 0,
        };
        self.data_length += bytes;
        self.chunks.push(stream, chunk)
    }

    fn finish(mut self, stream: &mut Stream<'_>) -> Result<Finished, Error> {
        if self.batch.pages > 0 {
            self.send(stream)?;
        }
        if self.run.pages > 0 {
            let last = self.run;
            self.runs.push(stream, last)?;
        }
        let (runs, spare) = self.runs.finish(stream)?;
        let (chunks, _) = self.chunks.finish(stream)?;
        Ok(Finished {
            runs,
            chunks,
            data_length: self.data_length,
            counts: self.counts,
            walk_us: self.walk_us,
            spare,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_pages_take_no_time() {
        let before = Counts { stored: 100, free: 50, ..Counts::default() };
        let now = Counts { stored: 190, zero: 10, free: 100, ..Counts::default() };
        let left = |in_use| left_us(&before, &now, 1000, in_use, 500);
        assert_eq!(left(None), Some(700 * 500 / 150));
        assert_eq!(left(Some(400)), Some(200 * 500 / 100));
        // More than there are pages left, and fewer than were found already.
        assert_eq!(left(Some(5000)), Some(700 * 500 / 100));
        assert_eq!(left(Some(50)), Some(0));
        assert_eq!(left_us(&now, &now, 1000, Some(400), 500), None);
    }
}
