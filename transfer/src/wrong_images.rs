//! Images that are damaged, cut short, or put together from two: each is
//! refused by the real reader, with a message that names what was found wrong.

use crate::error::Error;
use crate::fakes::{Disk, Event, SharedRam};
use crate::small_machine::{BLOCKS, START_BYTE, blank, empty, hibernate, machine, wake};
use dormouse_attacks::{Attack, record};
use dormouse_handoff::image::{Header, Layout};
use dormouse_handoff::plan::Plan;
use std::ops::Range;

/// A disk that can be spoilt and put right again without copying all of it.
struct Spoilt {
    good: Vec<u8>,
    disk: Option<Disk>,
    ram: SharedRam,
}

impl Spoilt {
    fn new(good: Vec<u8>) -> Self {
        let ram = empty();
        let disk = Some(Disk::with_contents(&ram, good.clone()));
        Self { good, disk, ram }
    }

    /// What the reader says of the disk with `length` bytes at image offset
    /// `offset` changed.
    fn refusal(&mut self, offset: u64, length: usize, change: impl FnOnce(&mut [u8])) -> Error {
        let mut disk = self.disk.take().expect("it is always put back");
        let spoilt = START_BYTE + offset as usize..START_BYTE + offset as usize + length;
        change(&mut disk.bytes[spoilt.clone()]);
        let result = wake(&mut disk, &mut self.ram, true);
        let written = disk.events.drain(..).filter_map(|event| match event {
            Event::Write { lba, bytes } => {
                Some(lba as usize * 512..lba as usize * 512 + bytes.len())
            }
            Event::Flush => None,
        });
        let changed: Vec<_> = written.chain([spoilt]).collect();
        for range in changed {
            disk.bytes[range.clone()].copy_from_slice(&self.good[range]);
        }
        self.disk = Some(disk);
        match result {
            Err(error) => error,
            Ok(_) => panic!("woken in spite of damage at image offset {offset}"),
        }
    }
}

/// Where each part of an image lies, what is used of it, and the words by which
/// a refusal names it.
struct Part {
    used: Range<u64>,
    words: &'static [&'static str],
}

fn parts(header: &Header) -> [Part; 6] {
    let layout = header.layout();
    let part = |offset: u64, length: u64, words| Part { used: offset..offset + length, words };
    [
        part(0, 512, &["header", "no dormouse image", "the image has version"] as &[_]),
        part(Layout::JUMP_BACK, header.jump_back.length, &["jump-back state"]),
        part(Layout::PLAN, header.plan.length, &["plan"]),
        part(layout.runs.offset, header.runs.pages * 4096, &["table"]),
        part(layout.chunks.offset, header.chunks.pages * 4096, &["table"]),
        part(layout.data.offset, header.data_length, &["chunk "]),
    ]
}

fn assert_named(part: &Part, what: &str, error: &Error) {
    let text = error.to_string();
    assert!(part.words.iter().any(|words| text.contains(words)), "{what}: {text}");
}

fn image(salt: u64, nonce: u8) -> Vec<u8> {
    let ram = machine(salt);
    let mut disk = Disk::with_contents(&ram, blank());
    hibernate(&ram, &mut disk, nonce);
    disk.bytes
}

fn header_of(disk: &[u8]) -> Header {
    Header::parse(&disk[START_BYTE..]).unwrap()
}

fn tell(attack: &str, cases: u64) {
    record(Attack {
        promise: 3,
        attack: attack.into(),
        cases,
        command: "cargo test -p dormouse-transfer wrong_images".into(),
    });
}

#[test]
fn whatever_bit_is_flipped_the_part_is_named() {
    let good = image(0, 1);
    let header = header_of(&good);
    let mut spoilt = Spoilt::new(good);
    let mut cases = 0;
    for (i, part) in parts(&header).iter().enumerate() {
        // Every bit of header, state and tables, one of each byte of the plan,
        // and a sample of the data that ends with its last byte.
        let step = match i {
            0 | 1 | 3 | 4 => 1,
            2 => 8 + 1,
            _ => 8 * 61 + 1,
        };
        let bits = (part.used.end - part.used.start) * 8;
        for bit in (0..bits).step_by(step).chain(bits - 8..bits) {
            let offset = part.used.start + bit / 8;
            let error = spoilt.refusal(offset, 1, |bytes| bytes[0] ^= 1 << (bit % 8));
            assert_named(part, &format!("bit {} at {offset}", bit % 8), &error);
            cases += 1;
        }
    }
    assert!(cases > 70_000, "only {cases} flips");
    tell("one bit of header, plan, jump-back state, tables or data is flipped", cases);
}

#[test]
fn an_image_whose_end_is_missing_is_refused() {
    let good = image(0, 1);
    let header = header_of(&good);
    let end = parts(&header)[5].used.end;
    // The tail reads as zeros.
    let mut cases = 0;
    let mut spoilt = Spoilt::new(good.clone());
    for offset in (0..end).step_by(4096).chain([end - 512]) {
        // A page that nobody wrote to may well be zeros.
        if good[START_BYTE + offset as usize..START_BYTE + end as usize].iter().all(|b| *b == 0) {
            continue;
        }
        let length = (end - offset) as usize;
        spoilt.refusal(offset, length, |bytes| bytes.fill(0));
        cases += 1;
    }
    // The disk is shorter than it was.
    for blocks in (START_BYTE as u64 / 512 + 512..BLOCKS).step_by(997) {
        let ram = empty();
        let mut disk = Disk::with_contents(&ram, good[..blocks as usize * 512].to_vec());
        let error = wake(&mut disk, &mut ram.clone(), true).unwrap_err();
        assert!(error.to_string().contains("another place or device"), "{blocks}: {error}");
        assert_eq!(disk.events, [], "something was written");
        cases += 1;
    }
    tell("the end of an image is zeros, or the disk is shorter", cases);
}

#[test]
fn parts_of_an_older_image_under_a_newer_header_are_refused() {
    // The same memory, so that only the generation differs; and another.
    let mut cases = 0;
    for salt in [0, 0xabcd_0000] {
        let (old, new) = (image(salt, 1), image(0, 2));
        let header = header_of(&new);
        let mut spoilt = Spoilt::new(new.clone());
        for part in parts(&header) {
            for offset in part.used.clone().step_by(512) {
                let block = START_BYTE + offset as usize..START_BYTE + offset as usize + 512;
                if old[block.clone()] == new[block.clone()] {
                    continue;
                }
                let stale = old[block].to_vec();
                let error = spoilt.refusal(offset, 512, |bytes| bytes.copy_from_slice(&stale));
                if part.used.start == 0 {
                    // A whole header of the older image: everything else is not its own.
                    assert!(error.to_string().contains("does not match"), "{error}");
                } else {
                    assert_named(&part, &format!("stale block at {offset}"), &error);
                }
                cases += 1;
            }
        }
    }
    assert!(cases > 60, "only {cases} blocks");
    tell("one block is that of another generation", cases);
}

/// Sealed by somebody who knows how, but not this image's.
#[test]
fn a_plan_of_another_image_is_refused_even_when_it_is_whole() {
    let (other, mut mixed) = (image(0, 1), image(0, 2));
    let section =
        START_BYTE + Layout::PLAN as usize..START_BYTE + Layout::PLAN as usize + size_of::<Plan>();
    mixed[section.clone()].copy_from_slice(&other[section.clone()]);
    let mut header = header_of(&mixed);
    header.plan = dormouse_handoff::image::Section::of(header.seed(), &mixed[section]);
    header.seal();
    mixed[START_BYTE..][..512].copy_from_slice(zerocopy::IntoBytes::as_bytes(&header));
    let ram = empty();
    let error = wake(&mut Disk::with_contents(&ram, mixed), &mut ram.clone(), true).unwrap_err();
    assert!(error.to_string().contains("of different images"), "{error}");
}
