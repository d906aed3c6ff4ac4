//! Rehearsing: the image is read back and compared, or only looked for.

use crate::arch::{time, window};
use crate::finish::Done;
use crate::machine::MACHINE;
use crate::observer::Observer;
use crate::ram::{self, Ram};
use crate::save::{Error, open_target, with_page_set};
use dormouse_drivers::exercise;
use dormouse_drivers::guard::Guarded;
use dormouse_drivers::platform::{Exhausted, Platform};
use dormouse_handoff::extents::Extent;
use dormouse_handoff::image::{Counts, Kind, State};
use dormouse_handoff::mailbox::Statistics;
use dormouse_handoff::plan::{CheckedPlan, Stage};
use dormouse_handoff::units::{Lba, PAGE_SIZE};
use dormouse_transfer::compare::compare;
use dormouse_transfer::read_ahead::{PIECE_BYTES, Staging};
use dormouse_transfer::save::{Observer as _, SCRATCH_BYTES};
use dormouse_transfer::stream::Stream;
use dormouse_transfer::{image, restore, survey};

/// Puts the target's driver through its paces, leaves the device in the middle of
/// its work, opens it anew and reads a page.
pub fn exercise(mut device: Guarded, plan: &CheckedPlan<'_>) -> Result<(Guarded, Done), Error> {
    /// What Linux may look at stays as it is.
    const SKIPPED: u64 = 2 << 20;
    const BYTES: u64 = 2 << 20;
    let extent = plan.extents().extents()[0];
    let blocks = |bytes: u64| bytes / u64::from(plan.target.block_size);
    let area = Extent { start: Lba(extent.start.0 + blocks(SKIPPED)), blocks: blocks(BYTES) };
    if extent.blocks < blocks(SKIPPED + BYTES) {
        return Err(Error::Exercise(exercise::Failure::NoRoom));
    }
    let seen = exercise::exercise(&MACHINE, &mut device, area).map_err(Error::Exercise)?;
    log::info!("exercise: {seen}");
    drop(device);
    // SAFETY: the only driver is gone, its device quiet, and nobody has a buffer.
    unsafe { MACHINE.dma_release_all() };
    let mut device = open_target(plan)?;
    let first_data_us = time::now_us();
    Stream::new(&mut device, plan.extents())?.read(
        0,
        &mut ram::buffer(PAGE_SIZE as usize)?,
        PAGE_SIZE as usize,
    )?;
    let data_us = time::now_us() - first_data_us;
    log::info!("exercise: reset while it was busy, opened anew and read");
    let read =
        Statistics { first_data_us, data_us, data_bytes: PAGE_SIZE, ..Statistics::default() };
    Ok((device, Done { read, ..Done::default() }))
}

/// Reads the image back as the reader would, and compares it with memory.
pub fn compare_with_memory(
    device: &mut Guarded,
    ram: &Ram,
    plan: &CheckedPlan<'_>,
    counts: &Counts,
) -> Result<Statistics, Error> {
    let observer = &mut Observer::of_comparison(plan, counts);
    observer.stage(Stage::Compare)?;
    let start = plan.extents().extents()[0].start;
    let state = plan.image().map_or(State::Valid, Kind::committed);
    let mut scratch = ram::buffer(SCRATCH_BYTES)?;
    let opened = image::open_in(device, start, &mut scratch, state)?;
    let first_data_us = time::now_us();
    let buffers = restore::Buffers {
        runs: ram::buffer(restore::TABLE_BUFFER_PAGES << 12)?,
        chunks: ram::buffer(restore::TABLE_BUFFER_PAGES << 12)?,
    };
    let staging = staging()?;
    let header = &opened.header;
    let read_plan = opened.plan()?;
    let mut stream = Stream::new(device, read_plan.extents())?;
    let own = window::range();
    compare(&mut stream, ram, &read_plan, header, own, buffers, staging, observer)?;
    let data_us = time::now_us() - first_data_us;
    log::info!(
        "{} MiB read back in {} ms: the same as in memory",
        header.data_length >> 20,
        data_us / 1000
    );
    Ok(Statistics {
        first_data_us,
        data_us,
        finish_us: 0,
        data_bytes: header.data_length,
        meta_bytes: (header.runs.pages + header.chunks.pages) * PAGE_SIZE,
        walk_us: 0,
    })
}

/// Counts what would be stored, and reads a little of the target.
pub fn look_around(
    device: &mut Guarded,
    ram: &Ram,
    plan: &CheckedPlan<'_>,
    observer: &mut Observer,
) -> Result<Done, Error> {
    const READ_BYTES: u64 = 64 << 20;
    let counts = with_page_set(plan, ram, |pages| Ok(survey::count(ram, pages, plan, observer)?))?;
    let mut stream = Stream::new(device, plan.extents())?;
    let first_data_us = time::now_us();
    let data_bytes = survey::read(&mut stream, staging()?, READ_BYTES)?;
    let data_us = time::now_us() - first_data_us;
    log::info!(
        "{} MiB would be stored; {} MiB of the target read in {} ms; nothing was written",
        counts.stored >> 8,
        data_bytes >> 20,
        data_us / 1000
    );
    let read = Statistics { first_data_us, data_us, data_bytes, ..Statistics::default() };
    Ok(Done { header: None, read, counts })
}

fn staging() -> Result<Staging, Exhausted> {
    let piece = || ram::buffer(PIECE_BYTES);
    Ok([piece()?, piece()?, piece()?, piece()?])
}
