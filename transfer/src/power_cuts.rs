//! Power cuts: every state that a disk with a volatile cache can be left in,
//! each judged by the real reader.
//!
//! The disk may have lost, kept, torn or reordered any write since the last
//! flush. For each stretch between two flushes all subsets of its writes are
//! tried where there are few, and prefixes, single losses and single survivors
//! where there are many; each with the last write whole or torn at a sector.

use crate::error::Error;
use crate::fakes::{Disk, Event, Recorder, SharedRam, plan};
use crate::image;
use crate::memory::{Everything, Memory};
use crate::stream::Stream;
use crate::{restore, save};
use dormouse_handoff::image::{Header, HeaderError, JumpBack, State};
use dormouse_handoff::plan::{CheckedPlan, Plan};
use dormouse_handoff::units::{Lba, Pfn};
use zerocopy::IntoBytes;

/// A machine small enough for thousands of restorations.
const PAGES: u64 = 1024 + 160;
const WINDOW: u64 = 512;
const START: u64 = 8;
const BLOCKS: u64 = START + (PAGES + 640) * 8;

/// Stretches with at most this many writes are exhausted.
const EXHAUSTED: usize = 6;

fn machine(salt: u64) -> SharedRam {
    let ram = SharedRam::new(PAGES as usize + 128);
    // Few pages are stored, so that a restoration is quick; they differ by `salt`.
    for frame in (1..PAGES).step_by(29) {
        let mut page = [0; 4096];
        page[..8].copy_from_slice(&(frame ^ salt).to_le_bytes());
        page[4088..].copy_from_slice(&(frame.rotate_left(9) ^ salt).to_le_bytes());
        ram.write(Pfn(frame).address(), &page);
    }
    ram
}

fn hibernate(ram: &SharedRam, disk: &mut Disk, nonce: u8) -> Box<Plan> {
    let mut plan = plan(PAGES, WINDOW, START, disk);
    plan.nonce = [nonce; 16];
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

/// Wakes whatever image is there, all the way to `Consumed`; whose it was.
fn wake(disk: &mut Disk, ram: &mut SharedRam) -> Result<u8, Error> {
    let mut scratch = ram.buffer(PAGES + 64, 16);
    let opened = image::open(disk, Lba(START), &mut scratch)?;
    let plan = opened.plan()?;
    let mut stream = Stream::new(disk, plan.extents())?;
    image::count_attempt(&mut stream, &mut scratch, &opened.header, plan.attempts)?;
    let buffers = restore::Buffers {
        runs: ram.buffer(PAGES, restore::TABLE_BUFFER_PAGES),
        chunks: ram.buffer(PAGES + 16, restore::TABLE_BUFFER_PAGES),
    };
    let (header, own) = (&opened.header, plan.window());
    restore::restore(&mut stream, ram, &plan, header, own, buffers, &mut Recorder::default())?;
    image::change_state(&mut stream, &mut scratch, header, State::Consumed)?;
    Ok(opened.header.id[0])
}

/// Every state that `before` can be in after a cut somewhere in `events`.
fn states(before: &[u8], events: &[Event], mut judge: impl FnMut(Vec<u8>)) {
    let mut durable = before.to_vec();
    for stretch in events.split_inclusive(|event| *event == Event::Flush) {
        let writes: Vec<(u64, &[u8])> = stretch
            .iter()
            .filter_map(|event| match event {
                Event::Write { lba, bytes } => Some((*lba, &bytes[..])),
                Event::Flush => None,
            })
            .collect();
        for survivors in subsets(writes.len()) {
            let mut disk = durable.clone();
            for &i in &survivors {
                apply(&mut disk, writes[i]);
            }
            // The last one that got there, torn at each of a few sectors.
            if let Some(&last) = survivors.last() {
                let (lba, bytes) = writes[last];
                let sectors = bytes.len() / 512;
                for kept in [0, 1, sectors / 2, sectors.saturating_sub(1)] {
                    let mut torn = durable.clone();
                    for &i in &survivors[..survivors.len() - 1] {
                        apply(&mut torn, writes[i]);
                    }
                    apply(&mut torn, (lba, &bytes[..kept * 512]));
                    judge(torn);
                }
            }
            judge(disk);
        }
        for write in writes {
            apply(&mut durable, write);
        }
    }
    judge(durable);
}

fn apply(disk: &mut [u8], (lba, bytes): (u64, &[u8])) {
    let at = lba as usize * 512;
    disk[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Which of `n` writes got to the disk: all subsets of few, a choice of many.
fn subsets(n: usize) -> Vec<Vec<usize>> {
    if n <= EXHAUSTED {
        return (0..1u32 << n)
            .map(|mask| (0..n).filter(|i| mask & 1 << i != 0).collect())
            .collect();
    }
    let prefixes = (0..=n).map(|length| (0..length).collect());
    let losses = (0..n).map(|lost| (0..n).filter(|&i| i != lost).collect());
    let lone = (0..n).map(|i| vec![i]);
    let alternate = (0..2).map(|odd| (0..n).filter(|i| i % 2 == odd).collect());
    prefixes.chain(losses).chain(lone).chain(alternate).collect()
}

fn blank() -> Vec<u8> {
    (0..BLOCKS as usize * 512).map(|i| (i / 512) as u8 ^ 0x3c).collect()
}

/// One complete image, or none that anybody would wake. Returns whose.
fn verdict(bytes: Vec<u8>, sessions: &[(u8, &SharedRam)]) -> Option<u8> {
    let mut woken = SharedRam::new(PAGES as usize + 128);
    let mut disk = Disk::with_contents(&woken, bytes);
    let id = match wake(&mut disk, &mut woken) {
        Ok(id) => id,
        Err(
            Error::NotValid(_)
            | Error::Header(HeaderError::None | HeaderError::Checksum)
            | Error::Attempts { .. },
        ) => return None,
        Err(error) => panic!("a valid header over an image that does not wake: {error}"),
    };
    let (_, ram) = sessions.iter().find(|(session, _)| *session == id).expect("whose image?");
    for frame in (1..PAGES).step_by(29).map(Pfn) {
        let inside = (WINDOW..WINDOW + 512).contains(&frame.0) || (158..256).contains(&frame.0);
        assert!(inside || woken.page(frame) == ram.page(frame), "frame {frame:?}");
    }
    // Woken once, it is never woken again.
    assert!(matches!(wake(&mut disk, &mut woken), Err(Error::NotValid(State::Consumed))));
    Some(id)
}

#[test]
fn a_cut_while_hibernating_over_an_older_image_leaves_one_image_or_none() {
    let (old, new) = (machine(0), machine(0xabcd_0000));
    let mut disk = Disk::with_contents(&old, blank());
    hibernate(&old, &mut disk, 1);
    let before = disk.bytes;
    let mut disk = Disk::with_contents(&new, before.clone());
    hibernate(&new, &mut disk, 2);

    let mut seen = [0; 3];
    let mut began = false;
    states(&before, &disk.events, |bytes| {
        // Once the new header is there, the older image is gone for good.
        let header = Header::parse(&bytes[START as usize * 512..]);
        let whose = verdict(bytes, &[(1, &old), (2, &new)]);
        began |= header.is_ok_and(|header| header.id[0] == 2);
        match whose {
            None => seen[0] += 1,
            Some(1) => seen[1] += 1,
            Some(_) => seen[2] += 1,
        }
    });
    println!(
        "{} states: none {}, older {}, new {}",
        seen.iter().sum::<i32>(),
        seen[0],
        seen[1],
        seen[2]
    );
    assert!(began && seen.iter().all(|&n| n > 0), "{seen:?}");
}

#[test]
fn a_cut_while_waking_leaves_the_image_whole_or_used_up() {
    let ram = machine(0);
    let mut disk = Disk::with_contents(&ram, blank());
    hibernate(&ram, &mut disk, 1);
    let before = disk.bytes;
    let mut woken = SharedRam::new(PAGES as usize + 128);
    let mut disk = Disk::with_contents(&woken, before.clone());
    wake(&mut disk, &mut woken).unwrap();
    let mut seen = [0; 2];
    states(&before, &disk.events, |bytes| {
        seen[usize::from(verdict(bytes, &[(1, &ram)]).is_some())] += 1;
    });
    assert!(seen.iter().all(|&n| n > 0), "{seen:?}");
}
