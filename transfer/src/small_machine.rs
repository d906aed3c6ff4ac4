//! A machine small enough for thousands of restorations, for the tests that
//! attack an image.

use crate::choice;
use crate::error::Error;
use crate::fakes::{Disk, Recorder, SharedRam, plan};
use crate::image;
use crate::memory::Everything;
use crate::stream::Stream;
use crate::{restore, save};
use dormouse_handoff::image::{JumpBack, Kind};
use dormouse_handoff::plan::{Action, CheckedPlan, Plan};
use dormouse_handoff::units::{Lba, Pfn};
use zerocopy::IntoBytes;

/// Frames that the plan knows; buffers lie above.
pub const PAGES: u64 = 1024 + 160;
const WINDOW: u64 = 512;
/// The target's first block.
pub const START: u64 = 8;
/// The target's first byte.
pub const START_BYTE: usize = START as usize * 512;
pub const BLOCKS: u64 = START + ROOM;
/// Blocks that an image may take.
const ROOM: u64 = (PAGES + 640) * 8;
/// The first blocks of two places for snapshots, on a disk of
/// [`TWO_SLOTS_BLOCKS`].
pub const SLOTS: [u64; 2] = [START, START + ROOM];
pub const TWO_SLOTS_BLOCKS: u64 = START + 2 * ROOM;

/// Memory with nothing in it.
pub fn empty() -> SharedRam {
    SharedRam::new(PAGES as usize + 128)
}

/// Memory with contents that `salt` decides.
pub fn machine(salt: u64) -> SharedRam {
    let ram = empty();
    for frame in contents() {
        let mut page = [0; 4096];
        page[..8].copy_from_slice(&(frame.0 ^ salt).to_le_bytes());
        page[4088..].copy_from_slice(&(frame.0.rotate_left(9) ^ salt).to_le_bytes());
        ram.write(frame.address(), &page);
    }
    ram
}

/// The frames that are stored: few, so that a restoration is quick.
pub fn contents() -> impl Iterator<Item = Pfn> {
    let known =
        |frame: &u64| !(WINDOW..WINDOW + 512).contains(frame) && !(158..256).contains(frame);
    (1..PAGES).step_by(19).filter(known).map(Pfn)
}

/// Writes an image with this nonce.
pub fn hibernate(ram: &SharedRam, disk: &mut Disk, nonce: u8) -> Box<Plan> {
    let mut plan = plan(PAGES, WINDOW, START, disk);
    plan.nonce = [nonce; 16];
    write(ram, disk, plan)
}

/// Writes a reusable snapshot of this generation, which is its nonce as well.
pub fn snapshot(ram: &SharedRam, disk: &mut Disk, slot: usize, generation: u8) {
    let mut plan = plan(PAGES, WINDOW, SLOTS[slot], disk);
    plan.extents[0].blocks = ROOM;
    plan.nonce = [generation; 16];
    (plan.action, plan.image) = (Action::Return as u32, Kind::Reusable as u32);
    (plan.generation, plan.series) = (generation.into(), 7);
    write(ram, disk, plan);
}

fn write(ram: &SharedRam, disk: &mut Disk, mut plan: Box<Plan>) -> Box<Plan> {
    plan.seal();
    let checked = CheckedPlan::parse(plan.as_bytes()).unwrap();
    let mut stream = Stream::new(disk, checked.extents()).unwrap();
    let buffers = save::Buffers {
        runs: ram.buffer(PAGES, save::TABLE_BUFFER_PAGES),
        chunks: ram.buffer(PAGES + 16, save::TABLE_BUFFER_PAGES),
        scratch: ram.buffer(PAGES + 32, save::SCRATCH_BYTES / 4096),
    };
    let mut observer = Recorder::default();
    let jump_back = JumpBack::default();
    save::save(&mut stream, ram, &mut Everything, &checked, &jump_back, buffers, &mut observer)
        .unwrap();
    plan
}

/// Wakes whatever image is there, all the way to `Consumed`, unless `stops`
/// before that; whose it was.
pub fn wake(disk: &mut Disk, ram: &mut SharedRam, stops: bool) -> Result<u8, Error> {
    wake_at(START, disk, ram, stops)
}

/// Wakes one of the snapshots as the reader does: in order, until one wakes;
/// whose it was, and why those before it did not.
pub fn wake_in_order(
    disk: &mut Disk,
    ram: &mut SharedRam,
    stops: bool,
) -> (Option<u8>, Vec<Error>) {
    let mut scratch = ram.buffer(PAGES + 64, 16);
    let mut refused = Vec::new();
    let mut found = Vec::new();
    for start in SLOTS {
        match image::open(disk, Lba(start), &mut scratch) {
            Ok(opened) => found.push((start, opened.header)),
            Err(error) => refused.push(error),
        }
    }
    for (start, _) in choice::in_order(found, |(_, header)| header).expect("one series") {
        match wake_at(start, disk, ram, stops) {
            Ok(id) => return (Some(id), refused),
            Err(error) => refused.push(error),
        }
    }
    (None, refused)
}

fn wake_at(start: u64, disk: &mut Disk, ram: &mut SharedRam, stops: bool) -> Result<u8, Error> {
    let mut scratch = ram.buffer(PAGES + 64, 16);
    let opened = image::open(disk, Lba(start), &mut scratch)?;
    let plan = opened.plan()?;
    let mut stream = Stream::new(disk, plan.extents())?;
    let allowed = plan.attempts;
    let attempts =
        image::count_attempt(&mut stream, &mut scratch, &opened.header, allowed, |old| *old)?;
    let buffers = restore::Buffers {
        runs: ram.buffer(PAGES, restore::TABLE_BUFFER_PAGES),
        chunks: ram.buffer(PAGES + 16, restore::TABLE_BUFFER_PAGES),
    };
    let (header, own) = (&opened.header, plan.window());
    restore::restore(&mut stream, ram, &plan, header, own, buffers, &mut Recorder::default())?;
    if !stops {
        image::consume(&mut stream, &mut scratch, header, &attempts)?;
    }
    Ok(opened.header.id[0])
}

/// What lies on a disk before any image does.
pub fn blank() -> Vec<u8> {
    blank_blocks(BLOCKS)
}

/// The same of a disk with so many blocks.
pub fn blank_blocks(blocks: u64) -> Vec<u8> {
    (0..blocks as usize).flat_map(|i| [i as u8 ^ 0x3c; 512]).collect()
}
