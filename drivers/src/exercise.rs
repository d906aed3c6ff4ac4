//! A driver put through its paces on a real device.
//!
//! The tests of `conformance.rs` know what lies on a scripted device. Here nobody
//! sees behind it: what was written is read back. One extent is written, anything
//! may be read, and in the end the device is left with requests under way.

use crate::dma::DmaBuffer;
use crate::guard::Guarded;
use crate::platform::Platform;
use crate::queue::{
    BlockQueue, Completion, DeviceError, Direction, Geometry, Request, Segment, SubmitError,
};
use alloc::vec;
use core::fmt;
use dormouse_handoff::extents::Extent;
use dormouse_handoff::units::{Lba, PAGE_SIZE, PhysAddr};

const PAGE: u32 = PAGE_SIZE as u32;

/// Pages of memory that requests move.
const PAGES: u32 = 16;

/// Most requests that are told apart.
const MOST: u32 = 512;

/// What was seen of a device that passed.
#[derive(Debug, Default)]
pub struct Seen {
    /// Requests of different lengths.
    pub lengths: u32,
    /// Pieces of memory in one request.
    pub segments: u32,
    /// Requests in flight at once.
    pub depth: u32,
    /// Requests that came back before one that was submitted earlier.
    pub overtook: u32,
    /// Requests that were refused, as they should be.
    pub refused: u32,
    /// What the device answered for the last page of the extent, where it could
    /// not read it.
    pub unreadable: Option<DeviceError>,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lengths, segments, depth, overtook, refused, .. } = self;
        write!(
            f,
            "{lengths} lengths, {segments} pieces of memory, {depth} requests at once of which \
             {overtook} overtook another, {refused} refused"
        )?;
        match &self.unreadable {
            Some(error) => write!(f, ", and on after {error}"),
            None => Ok(()),
        }
    }
}

/// How a driver failed.
#[derive(Debug)]
pub enum Failure {
    /// The device did not do what it was asked.
    Device(DeviceError),
    /// A request was refused that is in order.
    Refused(SubmitError),
    /// What the driver got wrong.
    Wrong(&'static str),
    /// There is no memory for it, or no room on the device.
    NoRoom,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(error) => write!(f, "{error}"),
            Self::Refused(error) => write!(f, "{error}"),
            Self::Wrong(what) => write!(f, "{what}"),
            Self::NoRoom => write!(f, "no room for the exercise"),
        }
    }
}

impl From<DeviceError> for Failure {
    fn from(error: DeviceError) -> Self {
        Self::Device(error)
    }
}

/// Puts `device` through everything that a driver must do, in `area`, which
/// loses its contents. Only `area` is granted to it after this, and requests are
/// under way: the driver has to be dropped or shut down.
///
/// # Errors
/// The first thing that went wrong.
pub fn exercise(
    platform: &dyn Platform,
    device: &mut Guarded,
    area: Extent,
) -> Result<Seen, Failure> {
    let geometry = device.geometry();
    let page_blocks = u64::from(PAGE / geometry.block_size);
    if area.blocks < 2 * u64::from(PAGES) * page_blocks {
        return Err(Failure::NoRoom);
    }
    device.grant(&[area]);
    let bytes = (PAGES * PAGE) as usize;
    let memory = DmaBuffer::allocate(platform, bytes).map_err(|_| Failure::NoRoom)?;
    let mut bench = Bench { device, memory, geometry, area, page_blocks, seen: Seen::default() };
    bench.lengths()?;
    bench.pieces()?;
    bench.depth()?;
    bench.refusals()?;
    bench.ends()?;
    bench.error()?;
    bench.device.flush()?;
    bench.device.flush()?;
    bench.leave_busy()?;
    Ok(bench.seen)
}

struct Bench<'a> {
    device: &'a mut Guarded,
    memory: DmaBuffer,
    geometry: Geometry,
    area: Extent,
    page_blocks: u64,
    seen: Seen,
}

impl Bench<'_> {
    /// Requests of one block, of a page and a block, of the most there can be.
    fn lengths(&mut self) -> Result<(), Failure> {
        let block = self.geometry.block_size;
        let most = self.geometry.max_bytes.min(PAGES * PAGE);
        let lengths = [block, 2 * block, 3 * block, PAGE, PAGE + block, 9 * PAGE - block, most];
        for bytes in lengths.into_iter().filter(|bytes| *bytes <= most) {
            let place = self.area.start.0 + 3;
            let segment = [self.segment(0, bytes)];
            self.fill(0, bytes, bytes);
            self.perform(Direction::Write, place, &segment)?;
            self.memory.clear();
            self.perform(Direction::Read, place, &segment)?;
            self.compare(0, bytes, bytes)?;
            self.seen.lengths += 1;
        }
        Ok(())
    }

    /// One request of pages from here and there, the first not from its start.
    fn pieces(&mut self) -> Result<(), Failure> {
        let Geometry { block_size: block, max_bytes, max_segments, .. } = self.geometry;
        let count = max_segments.min(max_bytes / PAGE).min(PAGES);
        let mut segments = [Segment { address: PhysAddr(0), bytes: 0 }; PAGES as usize];
        let segments = &mut segments[..count as usize];
        for (at, segment) in segments.iter_mut().enumerate() {
            *segment = self.segment((count - 1 - at as u32) * PAGE, PAGE);
        }
        if block < PAGE && count > 1 {
            segments[0].address.0 += u64::from(block);
            segments[0].bytes -= block;
        }
        (0..count).for_each(|page| self.fill(page * PAGE, PAGE, page));
        self.perform(Direction::Write, self.area.start.0, segments)?;
        self.memory.clear();
        self.perform(Direction::Read, self.area.start.0, segments)?;
        (0..count - 1).try_for_each(|page| self.compare(page * PAGE, PAGE, page))?;
        self.seen.segments = count;
        Ok(())
    }

    /// As many requests at once as the device takes, in whatever order it likes.
    fn depth(&mut self) -> Result<(), Failure> {
        let room = (self.area.blocks / self.page_blocks) as u32;
        let count = self.geometry.depth.min(room).min(MOST);
        (0..PAGES).for_each(|page| self.fill(page * PAGE, PAGE, page));
        self.submit_pages(Direction::Write, 0..count)?;
        if count == self.geometry.depth {
            let page = [self.segment(0, PAGE)];
            let full = self.device.submit(&request(Direction::Write, self.area.start.0, &page, 0));
            self.refused(matches!(full, Err(SubmitError::Full)), "more at once than promised")?;
        }
        self.seen.overtook = self.collect(0..count)?;
        self.seen.depth = count;
        // Each page of memory went to several places: all of them are looked at.
        let at_once = PAGES.min(self.geometry.depth);
        let mut first = 0;
        while first < count {
            let pages = first..count.min(first + at_once);
            self.memory.clear();
            self.submit_pages(Direction::Read, pages.clone())?;
            self.collect(pages.clone())?;
            for page in pages.clone() {
                self.compare(page % PAGES * PAGE, PAGE, page % PAGES)?;
            }
            first = pages.end;
        }
        Ok(())
    }

    /// Requests that break a rule, and blocks that were not granted.
    fn refusals(&mut self) -> Result<(), Failure> {
        let Geometry { block_size: block, max_bytes, max_segments, blocks, .. } = self.geometry;
        let start = self.area.start.0;
        let page = self.segment(0, PAGE);
        let one = [self.segment(0, block)];
        let too_many = vec![page; max_segments as usize + 1];
        let broken: [(u64, &[Segment]); 6] = [
            (start, &[]),
            (start, &too_many),
            (start, &[Segment { bytes: max_bytes + block, ..page }]),
            (start, &[Segment { bytes: block - 4, ..page }]),
            (start, &[Segment { address: PhysAddr(page.address.0 + 2), bytes: block }]),
            (blocks, &one),
        ];
        for (lba, segments) in broken {
            let answer = self.device.submit(&request(Direction::Read, lba, segments, 0));
            let invalid = matches!(answer, Err(SubmitError::Invalid(_)));
            self.refused(invalid, "a request that breaks a rule was taken")?;
        }
        for lba in [start.wrapping_sub(1), start + self.area.blocks, u64::MAX] {
            let answer = self.device.submit(&request(Direction::Write, lba, &one, 0));
            let kept_out = matches!(answer, Err(SubmitError::NotGranted { .. }));
            self.refused(kept_out, "a block outside of what was granted was taken")?;
        }
        self.device.ring();
        match self.device.poll()? {
            None => Ok(()),
            Some(_) => Err(Failure::Wrong("a refused request was carried out")),
        }
    }

    /// The device's first and last block.
    fn ends(&mut self) -> Result<(), Failure> {
        let one = [self.segment(0, self.geometry.block_size)];
        self.perform(Direction::Read, 0, &one)?;
        self.perform(Direction::Read, self.geometry.blocks - 1, &one)
    }

    /// A page that a test may have made unreadable: whatever the device answers,
    /// it goes on.
    fn error(&mut self) -> Result<(), Failure> {
        let page = [self.segment(0, PAGE)];
        let last = self.area.start.0 + self.area.blocks - self.page_blocks;
        let completion = self.answer(Direction::Read, last, &page)?;
        self.seen.unreadable = completion.result.err();
        self.fill(0, PAGE, 77);
        self.perform(Direction::Write, self.area.start.0, &page)?;
        self.memory.clear();
        self.perform(Direction::Read, self.area.start.0, &page)?;
        self.compare(0, PAGE, 77)
    }

    /// Leaves as many reads under way as there can be.
    fn leave_busy(&mut self) -> Result<(), Failure> {
        self.submit_pages(Direction::Read, 0..self.seen.depth)
    }

    /// Submits a page each to or from the places with these numbers.
    fn submit_pages(
        &mut self,
        direction: Direction,
        places: core::ops::Range<u32>,
    ) -> Result<(), Failure> {
        for place in places {
            let lba = self.area.start.0 + u64::from(place) * self.page_blocks;
            let page = [self.segment(place % PAGES * PAGE, PAGE)];
            let taken = self.device.submit(&request(direction, lba, &page, place));
            taken.map_err(Failure::Refused)?;
        }
        self.device.ring();
        Ok(())
    }

    /// Waits for the requests with these tags, each of which comes back once; how
    /// many came before one with a lower tag.
    fn collect(&mut self, tags: core::ops::Range<u32>) -> Result<u32, Failure> {
        let mut seen = [false; MOST as usize];
        let (mut overtook, mut next) = (0, tags.start);
        for _ in tags.clone() {
            let completion = self.next()?;
            completion.result?;
            let tag = completion.tag;
            let known = tags.contains(&tag) && !core::mem::replace(&mut seen[tag as usize], true);
            if !known {
                return Err(Failure::Wrong("a request came back twice, or one of nobody's"));
            }
            overtook += u32::from(tag > next);
            while tags.contains(&next) && seen[next as usize] {
                next += 1;
            }
        }
        Ok(overtook)
    }

    /// One request from beginning to end.
    fn perform(
        &mut self,
        direction: Direction,
        lba: u64,
        segments: &[Segment],
    ) -> Result<(), Failure> {
        Ok(self.answer(direction, lba, segments)?.result?)
    }

    fn answer(
        &mut self,
        direction: Direction,
        lba: u64,
        segments: &[Segment],
    ) -> Result<Completion, Failure> {
        const TAG: u32 = 4242;
        let taken = self.device.submit(&request(direction, lba, segments, TAG));
        taken.map_err(Failure::Refused)?;
        self.device.ring();
        match self.next()? {
            completion if completion.tag == TAG => Ok(completion),
            _ => Err(Failure::Wrong("the answer to another request")),
        }
    }

    fn next(&mut self) -> Result<Completion, Failure> {
        loop {
            // The driver has the deadline.
            if let Some(completion) = self.device.poll()? {
                return Ok(completion);
            }
            core::hint::spin_loop();
        }
    }

    fn refused(&mut self, refused: bool, otherwise: &'static str) -> Result<(), Failure> {
        self.seen.refused += 1;
        if refused { Ok(()) } else { Err(Failure::Wrong(otherwise)) }
    }

    fn segment(&self, offset: u32, bytes: u32) -> Segment {
        Segment { address: self.memory.address(offset as usize), bytes }
    }

    fn fill(&mut self, offset: u32, bytes: u32, seed: u32) {
        for at in (0..bytes).step_by(8) {
            self.memory.write((offset + at) as usize, word(seed, at));
        }
    }

    fn compare(&self, offset: u32, bytes: u32, seed: u32) -> Result<(), Failure> {
        let differs = |at: &u32| self.memory.read::<u64>((offset + at) as usize) != word(seed, *at);
        match (0..bytes).step_by(8).find(differs) {
            None => Ok(()),
            Some(_) => Err(Failure::Wrong("blocks were not read back as they were written")),
        }
    }
}

fn request(direction: Direction, lba: u64, segments: &[Segment], tag: u32) -> Request<'_> {
    Request { direction, lba: Lba(lba), segments, tag }
}

/// A word of the pattern with this seed: none is like its neighbours, and none is
/// zero.
fn word(seed: u32, at: u32) -> u64 {
    (u64::from(seed) << 32 | u64::from(at) | 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
