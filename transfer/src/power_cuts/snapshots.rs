//! Power cuts while a reusable snapshot is replaced by a newer one, woken, or
//! given up for the one before it: there is always one to wake, and it is one of
//! the two that it may be.

use super::{Write, states, tell};
use crate::error::Error;
use crate::fakes::{Disk, Event, SharedRam};
use crate::memory::Memory;
use crate::small_machine::{
    SLOTS, TWO_SLOTS_BLOCKS, blank_blocks, contents, empty, machine, snapshot, wake_in_order,
};
use dormouse_handoff::image::{Header, Layout, State};
use std::ops::Range;
use zerocopy::IntoBytes;

/// What lies on a disk with these generations, one after the other, each in its
/// place: odd ones in the first.
fn generations(all: &[u8]) -> Vec<u8> {
    all.iter().fold(blank_blocks(TWO_SLOTS_BLOCKS), |bytes, generation| {
        let ram = memory_of(*generation);
        let mut disk = Disk::with_contents(&ram, bytes);
        snapshot(&ram, &mut disk, slot_of(*generation), *generation);
        disk.bytes
    })
}

fn memory_of(generation: u8) -> SharedRam {
    machine(u64::from(generation) << 32)
}

fn slot_of(generation: u8) -> usize {
    usize::from(generation.is_multiple_of(2))
}

/// Wakes what is there as the reader would, into one machine for all.
struct Judge {
    woken: SharedRam,
    cases: u64,
}

impl Judge {
    fn new() -> Self {
        Self { woken: empty(), cases: 0 }
    }

    /// Which generation wakes, whole; what waking it changed on the disk.
    fn verdict(&mut self, bytes: &mut Vec<u8>) -> (u8, Vec<Range<usize>>) {
        self.cases += 1;
        for frame in contents() {
            self.woken.write(frame.address(), &[0xee; 4096]);
        }
        let mut disk = Disk::with_contents(&self.woken, std::mem::take(bytes));
        let (whose, refused) = wake_in_order(&mut disk, &mut self.woken, false);
        let generation = whose.unwrap_or_else(|| panic!("nothing to wake: {refused:?}"));
        // Those that are half there are never tried.
        let known = |error: &Error| matches!(error, Error::NotValid(_) | Error::Header(_));
        assert!(refused.iter().all(known), "{refused:?}");
        let ram = memory_of(generation);
        for frame in contents() {
            assert!(self.woken.page(frame) == ram.page(frame), "frame {frame:?}");
        }
        let writes = disk.events.iter().filter_map(|event| match event {
            Event::Write { lba, bytes } => Some((*lba as usize * 512, bytes.len())),
            Event::Flush => None,
        });
        let changed = writes.map(|(at, length)| at..at + length).collect();
        *bytes = disk.bytes;
        (generation, changed)
    }
}

/// Cuts the power everywhere in `events`; how often each of two generations
/// woke, the older first.
fn cut(before: &[u8], events: &[Event], [older, newer]: [u8; 2], judge: &mut Judge) -> [u64; 2] {
    let mut seen = [0; 2];
    states(before, events, |bytes| {
        let (generation, changed) = judge.verdict(bytes);
        assert!([older, newer].contains(&generation), "generation {generation}");
        seen[usize::from(generation == newer)] += 1;
        changed
    });
    seen
}

#[test]
fn a_cut_while_a_snapshot_is_updated_leaves_the_older_or_the_newer() {
    let mut judge = Judge::new();
    // Into an empty place, and over the one before the last.
    for newest in [2, 3] {
        let earlier: Vec<u8> = (1..newest).collect();
        let before = generations(&earlier);
        let ram = memory_of(newest);
        let mut disk = Disk::with_contents(&ram, before.clone());
        snapshot(&ram, &mut disk, slot_of(newest), newest);
        let seen = cut(&before, &disk.events, [newest - 1, newest], &mut judge);
        println!("woke the older, the newer: {seen:?}");
        assert!(seen.iter().all(|&n| n > 0), "{seen:?}");
    }
    tell("a reusable snapshot is updated", judge.cases, 10_000);
}

#[test]
fn a_cut_while_going_back_leaves_the_newer_or_the_older() {
    let before = generations(&[1, 2]);
    let at = SLOTS[slot_of(2)] as usize * 512;
    let header = Header::parse(&before[at..]).unwrap().with_state(State::Discarded);
    let mut bytes = before[at..at + 512].to_vec();
    bytes[..size_of::<Header>()].copy_from_slice(header.as_bytes());
    let events = [Event::Write { lba: SLOTS[slot_of(2)], bytes }, Event::Flush];
    let mut judge = Judge::new();
    let seen = cut(&before, &events, [1, 2], &mut judge);
    assert!(seen.iter().all(|&n| n > 0), "{seen:?}");
    tell("a reusable snapshot is rolled back", judge.cases, 3);
}

#[test]
fn a_cut_while_a_snapshot_is_woken_leaves_all_as_it_was() {
    let mut bytes = generations(&[1, 2]);
    let mut judge = Judge::new();
    for _ in 0..2 {
        let mut woken = empty();
        let mut disk = Disk::with_contents(&woken, bytes.clone());
        assert_eq!(wake_in_order(&mut disk, &mut woken, false).0, Some(2));
        assert_eq!(cut(&bytes, &disk.events, [1, 2], &mut judge)[0], 0, "the older woke");
        bytes = disk.bytes;
    }
    tell("a reusable snapshot is woken", judge.cases, 8);
}

#[test]
fn a_snapshot_that_never_gets_through_makes_way_for_the_one_before_it() {
    let mut bytes = generations(&[1, 2]);
    for attempt in 0..8 {
        let mut woken = empty();
        let mut disk = Disk::with_contents(&woken, bytes);
        // Each is cut off when all is read.
        let (whose, refused) = wake_in_order(&mut disk, &mut woken, true);
        bytes = disk.bytes;
        assert_eq!(whose, [Some(2), Some(1), None][(attempt / 3).min(2)], "{refused:?}");
        let worn_out = refused.iter().filter(|e| matches!(e, Error::Attempts { begun: 3 }));
        assert_eq!(worn_out.count(), attempt / 3);
    }
}

#[test]
fn a_damaged_snapshot_makes_way_for_the_one_before_it() {
    let mut bytes = generations(&[1, 2]);
    let image = SLOTS[slot_of(2)] as usize * 512;
    let header = Header::parse(&bytes[image..]).unwrap();
    for at in [header.layout().data.offset, Layout::PLAN + 100] {
        let write = Write { at: image + at as usize, bytes: &[0xa5; 512] };
        write.apply(&mut bytes);
        let mut woken = empty();
        let mut disk = Disk::with_contents(&woken, bytes);
        let (whose, refused) = wake_in_order(&mut disk, &mut woken, false);
        assert_eq!((whose, refused.len()), (Some(1), 1), "{refused:?}");
        bytes = disk.bytes;
    }
}
