//! Looking without writing: what an image would hold, and how fast the target
//! reads.

use crate::error::Error;
use crate::memory::{Memory, PageSet, Verdict, decide, is_zero};
use crate::read_ahead::{ReadAhead, Staging};
use crate::save::Observer;
use crate::stream::Stream;
use dormouse_handoff::image::{CHUNK_PAGES, Counts};
use dormouse_handoff::plan::CheckedPlan;
use dormouse_handoff::units::{PAGE_SIZE, PageRange, Pfn};

/// What would become of each page, were the image written now.
pub fn count(
    memory: &dyn Memory,
    pages: &mut dyn PageSet,
    plan: &CheckedPlan<'_>,
    observer: &mut dyn Observer,
) -> Result<Counts, Error> {
    let window = plan.window();
    let total = plan.memory_pages();
    let mut counts = Counts::default();
    for entry in plan.memory() {
        let mut frame = entry.range.start;
        while frame < entry.range.end() {
            let left = PageRange { start: frame, pages: entry.range.end().0 - frame.0 };
            let inside = window.intersection(&left);
            let taken = match inside {
                Some(inside) if inside.start == frame => {
                    counts.window += inside.pages;
                    inside.pages
                }
                next => {
                    let end = next.map_or(left.end(), |inside| inside.start);
                    let limit = (end.0 - frame.0).min(CHUNK_PAGES);
                    let (verdict, share) = decide(pages, plan.flags(), entry, frame, limit);
                    match verdict {
                        Verdict::Excluded => counts.excluded += share,
                        Verdict::Free => counts.free += share,
                        Verdict::InUse => {
                            let frames = (frame.0..frame.0 + share).map(Pfn);
                            let zero = frames.filter(|at| is_zero(memory.page(*at))).count() as u64;
                            counts.zero += zero;
                            counts.stored += share - zero;
                        }
                    }
                    share
                }
            };
            frame = Pfn(frame.0 + taken);
            observer.progress(&counts, total)?;
        }
    }
    Ok(counts)
}

/// Reads the first `bytes` bytes of the target, or all of it; how many it were.
pub fn read(stream: &mut Stream<'_>, staging: Staging, bytes: u64) -> Result<u64, Error> {
    let bytes = bytes.min(stream.capacity()) / PAGE_SIZE * PAGE_SIZE;
    let mut data = ReadAhead::new(staging, 0, bytes)?;
    for _ in 0..bytes / PAGE_SIZE {
        data.next_page(stream)?;
    }
    Ok(bytes)
}
