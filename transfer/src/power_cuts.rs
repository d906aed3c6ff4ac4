//! Power cuts: every state that a disk with a volatile cache can be left in,
//! each judged by the real reader.
//!
//! The disk may have lost, kept, torn or reordered any write since the last
//! flush. Between two flushes no two writes share a block, so their order does
//! not matter, and the states are the subsets of the writes: all of them are
//! tried, with the last survivor whole and torn. A write that is alone between
//! two flushes is torn in every way: each subset of its sectors.

mod snapshots;

use crate::error::Error;
use crate::fakes::{Disk, Event, SharedRam};
use crate::memory::Memory;
use crate::small_machine::{START, START_BYTE, blank, contents, empty, hibernate, machine, wake};
use dormouse_attacks::{Attack, record};
use dormouse_cli::kept_page::{self, FirstPage};
use dormouse_cli::target::direct::Page;
use dormouse_handoff::image::{Header, HeaderError, Layout, State};
use std::cell::RefCell;
use std::ops::Range;
use zerocopy::IntoBytes;

/// Stretches with at most this many writes are exhausted.
const EXHAUSTED: usize = 15;
/// Writes of at most this many sectors that are alone are torn in every way.
const TORN_IN_EVERY_WAY: usize = 8;

/// The disk as `dormouse discard` sees it, which records what is done to it.
struct Target<'a> {
    bytes: RefCell<&'a mut Vec<u8>>,
    events: RefCell<Vec<Event>>,
}

impl FirstPage for Target<'_> {
    fn read(&self) -> dormouse_cli::error::Result<Page> {
        let mut page = Page::zero();
        page.0.copy_from_slice(&self.bytes.borrow()[START_BYTE..][..4096]);
        Ok(page)
    }

    fn write(&self, page: &Page, part: Range<usize>) -> dormouse_cli::error::Result<()> {
        let lba = START + part.start as u64 / 512;
        let write = Write { at: START_BYTE + part.start, bytes: &page.0[part] };
        write.apply(&mut self.bytes.borrow_mut());
        let event = Event::Write { lba, bytes: write.bytes.to_vec() };
        self.events.borrow_mut().extend([event, Event::Flush]);
        Ok(())
    }

    fn forget_cache(&self) -> dormouse_cli::error::Result<()> {
        Ok(())
    }
}

/// Discards the image as the CLI does; what was done to the disk.
fn discard(bytes: &mut Vec<u8>) -> Vec<Event> {
    let header = Header::parse(&bytes[START_BYTE..]).unwrap();
    let mut kept = Page::zero();
    kept.0.copy_from_slice(&bytes[START_BYTE + Layout::KEPT_PAGE as usize..][..4096]);
    let target = Target { bytes: RefCell::new(bytes), events: RefCell::default() };
    kept_page::put_back(&target, &header, &kept).unwrap();
    target.events.into_inner()
}

/// Discards whatever image there is. Where there is none the kept page must be
/// back already.
fn put_back(bytes: &mut Vec<u8>, changed: &mut Vec<Range<usize>>) {
    if Header::parse(&bytes[START_BYTE..]).is_ok() {
        discard(bytes);
        changed.push(START_BYTE..START_BYTE + 4096);
    }
}

#[derive(Clone, Copy)]
struct Write<'a> {
    at: usize,
    bytes: &'a [u8],
}

impl Write<'_> {
    fn range(&self) -> Range<usize> {
        self.at..self.at + self.bytes.len()
    }

    fn apply(&self, disk: &mut [u8]) {
        disk[self.range()].copy_from_slice(self.bytes);
    }

    fn apply_sectors(&self, disk: &mut [u8], is_kept: impl Fn(usize) -> bool) {
        for (i, sector) in self.bytes.chunks(512).enumerate().filter(|(i, _)| is_kept(*i)) {
            disk[self.at + i * 512..][..sector.len()].copy_from_slice(sector);
        }
    }
}

/// Every state that `before` can be in after a cut somewhere in `events`. The
/// judge may change the disk; which parts, it answers.
fn states(
    before: &[u8],
    events: &[Event],
    mut judge: impl FnMut(&mut Vec<u8>) -> Vec<Range<usize>>,
) {
    let mut durable = before.to_vec();
    // As the durable state between two judgements.
    let mut disk = before.to_vec();
    let mut judge = |disk: &mut Vec<u8>, durable: &[u8], touched: &[Write<'_>]| {
        let changed = judge(disk);
        for range in touched.iter().map(Write::range).chain(changed) {
            disk[range.clone()].copy_from_slice(&durable[range]);
        }
    };
    for stretch in events.split_inclusive(|event| *event == Event::Flush) {
        let writes: Vec<Write<'_>> = stretch
            .iter()
            .filter_map(|event| match event {
                Event::Write { lba, bytes } => Some(Write { at: *lba as usize * 512, bytes }),
                Event::Flush => None,
            })
            .collect();
        assert_disjoint(&writes);
        for survivors in subsets(writes.len()) {
            let kept: Vec<_> = survivors.iter().map(|i| writes[*i]).collect();
            let apply_all = |disk: &mut Vec<u8>, writes: &[Write<'_>]| {
                writes.iter().for_each(|write| write.apply(disk));
            };
            if let Some((last, others)) = kept.split_last() {
                let sectors = last.bytes.len() / 512;
                for sectors_kept in tears(sectors, writes.len() == 1) {
                    apply_all(&mut disk, others);
                    last.apply_sectors(&mut disk, &sectors_kept);
                    judge(&mut disk, &durable, &kept);
                }
            }
            apply_all(&mut disk, &kept);
            judge(&mut disk, &durable, &kept);
        }
        writes.iter().for_each(|write| {
            write.apply(&mut durable);
            write.apply(&mut disk);
        });
    }
    judge(&mut disk, &durable, &[]);
}

fn assert_disjoint(writes: &[Write<'_>]) {
    let mut ranges: Vec<_> = writes.iter().map(Write::range).collect();
    ranges.sort_by_key(|range| range.start);
    for pair in ranges.windows(2) {
        assert!(pair[0].end <= pair[1].start, "two writes of one block without a flush between");
    }
}

/// Which writes of `n` got to the disk: all subsets of few, a choice of many.
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

/// Which sectors of a torn write got to the disk.
type Tear = Box<dyn Fn(usize) -> bool>;

fn tears(sectors: usize, alone: bool) -> Vec<Tear> {
    if alone && sectors <= TORN_IN_EVERY_WAY {
        let whole = (1u32 << sectors) - 1;
        return (1..whole)
            .map(|mask| Box::new(move |i: usize| mask & 1 << i != 0) as Tear)
            .collect();
    }
    let ends = [1, sectors / 2, sectors.saturating_sub(1)];
    let ends = ends.into_iter().filter(|end| (1..sectors).contains(end));
    ends.map(|end| Box::new(move |i: usize| i < end) as Tear).collect()
}

/// Judges states by waking what is there.
struct Judge<'a> {
    sessions: &'a [(u8, &'a SharedRam)],
    woken: SharedRam,
    cases: u64,
}

impl<'a> Judge<'a> {
    fn new(sessions: &'a [(u8, &'a SharedRam)]) -> Self {
        Self { sessions, woken: empty(), cases: 0 }
    }

    /// One complete image, or none that anybody would wake. Whose, and what
    /// waking it changed on the disk.
    fn verdict(&mut self, bytes: &mut Vec<u8>) -> (Option<u8>, Vec<Range<usize>>) {
        self.cases += 1;
        for frame in contents() {
            self.woken.write(frame.address(), &[0xee; 4096]);
        }
        let mut disk = Disk::with_contents(&self.woken, std::mem::take(bytes));
        let whose = self.wake_all(&mut disk);
        let writes = disk.events.iter().filter_map(|event| match event {
            Event::Write { lba, bytes } => Some((*lba as usize * 512, bytes.len())),
            Event::Flush => None,
        });
        let changed = writes.map(|(at, length)| at..at + length).collect();
        *bytes = disk.bytes;
        (whose, changed)
    }

    fn wake_all(&mut self, disk: &mut Disk) -> Option<u8> {
        let id = match wake(disk, &mut self.woken, false) {
            Ok(id) => id,
            Err(
                Error::NotValid(_)
                | Error::Header(HeaderError::None | HeaderError::Checksum)
                | Error::Attempts { .. },
            ) => return None,
            Err(error) => panic!("a valid header over an image that does not wake: {error}"),
        };
        let (_, ram) = self.sessions.iter().find(|(session, _)| *session == id).expect("whose?");
        for frame in contents() {
            assert!(self.woken.page(frame) == ram.page(frame), "frame {frame:?}");
        }
        // Woken once, it is never woken again.
        let again = wake(disk, &mut self.woken, false);
        assert!(matches!(again, Err(Error::NotValid(State::Consumed))));
        Some(id)
    }
}

fn tell(what: &str, cases: u64, least: u64) {
    assert!(cases >= least, "only {cases} states");
    record(Attack {
        promise: 2,
        attack: format!("the power is cut while {what}, on a disk with a volatile cache"),
        cases,
        command: "cargo test -p dormouse-transfer power_cuts".into(),
    });
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
    let sessions = [(1, &old), (2, &new)];
    let mut judge = Judge::new(&sessions);
    states(&before, &disk.events, |bytes| {
        let header = Header::parse(&bytes[START_BYTE..]);
        let (whose, changed) = judge.verdict(bytes);
        // Once the new header is there, the older image is gone for good.
        began |= header.is_ok_and(|header| header.id[0] == 2);
        assert!(!(began && header.is_ok_and(|header| header.id[0] == 2) && whose == Some(1)));
        seen[whose.map_or(0, usize::from)] += 1;
        changed
    });
    println!("states without an image, with the older, with the new: {seen:?}");
    assert!(began && seen.iter().all(|&n| n > 0), "{seen:?}");
    tell("an image is written over an older one", judge.cases, 10_000);
}

#[test]
fn a_cut_while_hibernating_onto_swap_leaves_one_image_or_the_swap_header() {
    let ram = machine(0);
    let before = blank();
    let kept = before[START_BYTE..][..4096].to_vec();
    let mut disk = Disk::with_contents(&ram, before.clone());
    hibernate(&ram, &mut disk, 1);
    let sessions = [(1, &ram)];
    let mut judge = Judge::new(&sessions);
    states(&before, &disk.events, |bytes| {
        let (_, mut changed) = judge.verdict(bytes);
        put_back(bytes, &mut changed);
        assert!(bytes[START_BYTE..][..4096] == kept, "the swap header is lost");
        changed
    });
    tell("an image is written onto swap", judge.cases, 10_000);
}

#[test]
fn a_cut_while_waking_leaves_the_image_whole_or_used_up() {
    let ram = machine(0);
    let mut disk = Disk::with_contents(&ram, blank());
    hibernate(&ram, &mut disk, 1);
    let mut before = disk.bytes;
    let sessions = [(1, &ram)];
    let mut judge = Judge::new(&sessions);
    let mut seen = [0; 2];
    // The first wake-up, and those after one or two that were cut off.
    for _ in 0..3 {
        let mut woken = empty();
        let mut disk = Disk::with_contents(&woken, before.clone());
        wake(&mut disk, &mut woken, false).unwrap();
        states(&before, &disk.events, |bytes| {
            let (whose, changed) = judge.verdict(bytes);
            seen[usize::from(whose.is_some())] += 1;
            changed
        });
        let mut disk = Disk::with_contents(&woken, before);
        wake(&mut disk, &mut woken, true).unwrap();
        before = disk.bytes;
    }
    assert!(seen.iter().all(|&n| n > 0), "{seen:?}");
    tell("an image is woken", judge.cases, 15);
}

#[test]
fn a_cut_while_discarding_leaves_the_image_whole_or_none_and_the_kept_page_safe() {
    let ram = machine(0);
    let mut disk = Disk::with_contents(&ram, blank());
    let kept = disk.bytes[START_BYTE..][..4096].to_vec();
    hibernate(&ram, &mut disk, 1);
    let valid = disk.bytes;
    let mut woken = empty();
    let mut disk = Disk::with_contents(&woken, valid.clone());
    wake(&mut disk, &mut woken, false).unwrap();
    let consumed = disk.bytes;
    let mut writing = valid.clone();
    let header = Header::parse(&writing[START_BYTE..]).unwrap().with_state(State::Writing);
    writing[START_BYTE..][..512].copy_from_slice(header.as_bytes());

    let sessions = [(1, &ram)];
    let mut judge = Judge::new(&sessions);
    for (before, can_wake) in [(valid, true), (writing, false), (consumed, false)] {
        let mut seen = [0; 2];
        let events = discard(&mut before.clone());
        states(&before, &events, |bytes| {
            let (whose, mut changed) = judge.verdict(bytes);
            seen[usize::from(whose.is_some())] += 1;
            put_back(bytes, &mut changed);
            assert!(bytes[START_BYTE..][..4096] == kept, "the kept page is lost");
            changed
        });
        assert_eq!(seen.map(|n| n > 0), [true, can_wake], "{seen:?}");
    }
    tell("an image is discarded", judge.cases, 350);
}
