//! What each step of the path takes by itself, for `cargo xtask bench`.
//!
//! With [`Flags::MEASURE`](dormouse_handoff::plan::Flags::MEASURE) the stored
//! pages are moved a second time, between the same places, with nothing done to
//! them: what the device can do through its driver. They are the same bytes, so
//! neither image nor memory changes.

use crate::error::Error;
use crate::memory::{Buffer, Memory, PageSet, Verdict, is_zero};
use crate::save::Observer;
use crate::stream::{MAX_SEGMENTS, Owner, Stream};
use crate::table_reader::TableReader;
use dormouse_drivers::queue::{Direction, Segment};
use dormouse_handoff::image::{CHUNK_PAGES, Header, Run, RunKind};
use dormouse_handoff::plan::CheckedPlan;
use dormouse_handoff::units::{PAGE_SIZE, PageRange, Pfn, PhysAddr};

const DATA: Owner = Owner(0);
const RUN_OWNERS: u8 = 1;

/// Before the device is measured, so that what it saved up or still does for
/// the pass before is over (a rate limit's burst, a cache).
const PAUSE_US: u64 = 300_000;

/// Chunks whose submission is timed: so few that no queue is full by then.
const SUBMISSIONS: u64 = 8;

/// Measures the steps of saving, and logs them.
///
/// All of the image that `header` describes but the header itself must have
/// been written.
pub fn saving(
    stream: &mut Stream<'_>,
    memory: &dyn Memory,
    pages: &mut dyn PageSet,
    plan: &CheckedPlan<'_>,
    header: &Header,
    buffer: Buffer,
    observer: &dyn Observer,
) -> Result<(), Error> {
    let buffer = device(stream, Direction::Write, header, buffer, observer)?;
    let from = observer.now_us();
    let walked = walk(pages, plan, |_| {});
    told("walk", walked, observer.now_us() - from);

    let mut zero = 0;
    let from = observer.now_us();
    let tested = walk(pages, plan, |part| {
        let frames = (part.start.0..part.end().0).map(Pfn);
        zero += frames.filter(|frame| is_zero(memory.page(*frame))).count() as u64;
    });
    told("zero test", tested, observer.now_us() - from);

    let mut checksum = header.seed().pages();
    let from = observer.now_us();
    stored(stream, header, buffer, |_, part| {
        for frame in part.start.0..part.end().0 {
            checksum.push(memory.page(Pfn(frame)));
        }
        Ok(())
    })?;
    told("checksum", header.counts.stored, observer.now_us() - from);
    log::info!("measured: {zero} pages of zeros, all pages together {:016x}", checksum.finish());
    Ok(())
}

/// Measures the device, from the image into its place in memory once more, and
/// logs it.
pub fn restoring(
    stream: &mut Stream<'_>,
    header: &Header,
    buffer: Buffer,
    observer: &dyn Observer,
) -> Result<(), Error> {
    device(stream, Direction::Read, header, buffer, observer).map(drop)
}

/// Moves every stored page at full depth; gives the buffer back.
fn device(
    stream: &mut Stream<'_>,
    direction: Direction,
    header: &Header,
    buffer: Buffer,
    observer: &dyn Observer,
) -> Result<Buffer, Error> {
    let pause = observer.now_us();
    while observer.now_us().wrapping_sub(pause) < PAUSE_US {
        if observer.now_us() == pause {
            // A clock that stands still has nothing to measure.
            break;
        }
        core::hint::spin_loop();
    }
    let offset = header.layout().data.offset;
    let mut chunk = Chunk::default();
    let mut submitting_us = 0;
    let from = observer.now_us();
    let buffer = stored(stream, header, buffer, |stream, part| {
        chunk.push(part);
        if u64::from(chunk.pages) == CHUNK_PAGES {
            let submitted = observer.now_us();
            chunk.send(stream, direction, offset)?;
            if chunk.sent <= SUBMISSIONS * CHUNK_PAGES {
                submitting_us += observer.now_us() - submitted;
            }
            stream.poll()?;
        }
        Ok(())
    })?;
    let timed = chunk.sent.min(SUBMISSIONS * CHUNK_PAGES);
    if chunk.pages > 0 {
        chunk.send(stream, direction, offset)?;
    }
    stream.wait_all()?;
    told("device", header.counts.stored, observer.now_us() - from);
    told("submission", timed, submitting_us);
    Ok(buffer)
}

/// One line for the harness, which looks for just this form.
fn told(step: &str, pages: u64, us: u64) {
    log::info!("measured {step}: {pages} pages in {us} us");
}

/// Calls `see` for the parts of memory whose contents count, a chunk at a time;
/// how many pages were looked at.
fn walk(pages: &mut dyn PageSet, plan: &CheckedPlan<'_>, mut see: impl FnMut(PageRange)) -> u64 {
    let window = plan.window();
    let mut looked_at = 0;
    for entry in plan.memory() {
        let mut frame = entry.range.start;
        while frame < entry.range.end() {
            let limit = (entry.range.end().0 - frame.0).min(CHUNK_PAGES);
            let (verdict, share) = pages.verdict(frame, limit);
            let part = PageRange { start: frame, pages: share.clamp(1, limit) };
            if verdict == Verdict::InUse && window.intersection(&part).is_none() {
                see(part);
            }
            looked_at += part.pages;
            frame = part.end();
        }
    }
    looked_at
}

/// Calls `each` for the stored pages in order, in parts that fit a chunk; gives
/// the buffer back.
fn stored(
    stream: &mut Stream<'_>,
    header: &Header,
    buffer: Buffer,
    mut each: impl FnMut(&mut Stream<'_>, PageRange) -> Result<(), Error>,
) -> Result<Buffer, Error> {
    let runs = header.layout().runs;
    let mut table = TableReader::<Run>::new(buffer, runs, header.runs, header.seed(), RUN_OWNERS);
    let mut room = CHUNK_PAGES;
    while let Some(run) = table.next(stream)? {
        if run.kind != RunKind::Stored as u32 {
            continue;
        }
        let mut rest = run.range();
        while rest.pages > 0 {
            let part = PageRange { start: rest.start, pages: rest.pages.min(room) };
            each(stream, part)?;
            rest = PageRange { start: part.end(), pages: rest.pages - part.pages };
            room -= part.pages;
            if room == 0 {
                room = CHUNK_PAGES;
            }
        }
    }
    Ok(table.into_buffer())
}

/// A chunk as the path puts it together, without its checksum.
struct Chunk {
    segments: [Segment; MAX_SEGMENTS],
    count: usize,
    pages: u32,
    /// Pages of all chunks that were sent.
    sent: u64,
}

impl Default for Chunk {
    fn default() -> Self {
        let none = Segment { address: PhysAddr(0), bytes: 0 };
        Self { segments: [none; MAX_SEGMENTS], count: 0, pages: 0, sent: 0 }
    }
}

impl Chunk {
    fn push(&mut self, part: PageRange) {
        let (address, bytes) = (part.start.address(), part.bytes() as u32);
        self.segments[self.count] = Segment { address, bytes };
        self.count += 1;
        self.pages += part.pages as u32;
    }

    fn send(
        &mut self,
        stream: &mut Stream<'_>,
        direction: Direction,
        data: u64,
    ) -> Result<(), Error> {
        let segments = &self.segments[..self.count];
        stream.start(direction, data + self.sent * PAGE_SIZE, segments, DATA)?;
        self.sent += u64::from(self.pages);
        (self.count, self.pages) = (0, 0);
        Ok(())
    }
}
