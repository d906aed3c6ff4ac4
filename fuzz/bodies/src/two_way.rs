//! A driver between arbitrary calls and arbitrary answers.
//!
//! The scripted controllers hold the driver to the specification: whatever they
//! answer, it must not reach memory that it does not own, ring a doorbell out
//! of range, issue a slot twice, or wait for ever.

use crate::bytes::Bytes;
use crate::devices::machine;
use dormouse_drivers::faults::Fault;
use dormouse_drivers::models::{Kind, ModelDisk};
use dormouse_drivers::queue::{BlockQueue, Direction, Request, Segment};
use dormouse_handoff::extents::Extent;
use dormouse_handoff::units::{Lba, PhysAddr};
use std::collections::BTreeSet;

/// Calls in one run.
const MOST_CALLS: usize = 256;
/// Blocks of the disk.
const BLOCKS: u64 = 2048;
/// Pages that requests use.
const PAGES: u64 = 64;

/// A driver answers a request at most once, and only one that it took.
#[derive(Default)]
struct Ledger {
    in_flight: BTreeSet<u32>,
    next: u32,
}

impl Ledger {
    fn settle(&mut self, device: &mut dyn BlockQueue) {
        // No more can be answered than were asked for.
        for _ in 0..=self.in_flight.len() {
            match device.poll() {
                Ok(Some(completion)) => {
                    assert!(self.in_flight.remove(&completion.tag), "answered twice or unasked");
                }
                Ok(None) | Err(_) => return,
            }
        }
        panic!("more answers than requests");
    }
}

fn fate(byte: u8) -> Option<Fault> {
    // Most commands go well, or a run is over at once.
    Fault::ALL.get(usize::from(byte)).copied()
}

fn two_way(kind: Kind, data: &[u8]) {
    let mut bytes = Bytes(data);
    let machine = machine();
    let disk = ModelDisk::new(kind, machine, vec![0x11; BLOCKS as usize * 512]);
    let count = usize::from(bytes.u8());
    disk.script(bytes.take(count).iter().map(|byte| fate(*byte)).collect());
    let memory = machine.pages(PAGES as usize);
    let opened = disk.open();
    if let Ok(mut device) = opened {
        device.grant(&[Extent { start: Lba(64), blocks: BLOCKS - 128 }]);
        let mut ledger = Ledger::default();
        for _ in 0..MOST_CALLS {
            if bytes.is_empty() {
                break;
            }
            call(&mut device, &disk, memory, &mut ledger, &mut bytes);
        }
        if bytes.u8() & 1 == 0 {
            let _ = device.shutdown();
            assert!(!disk.reaches_memory(), "after a shutdown");
        }
    }
    assert!(!disk.reaches_memory(), "after a drop");
    // What was not granted was not written, whatever was asked for.
    let contents = disk.contents();
    let end = contents.len() - 64 * 512;
    assert!(contents[..64 * 512].iter().chain(&contents[end..]).all(|byte| *byte == 0x11));
    // And a controller that is switched on anew is opened again.
    disk.repair();
    assert!(disk.open().is_ok(), "it cannot be opened again");
}

fn call(
    device: &mut dyn BlockQueue,
    disk: &ModelDisk,
    memory: PhysAddr,
    ledger: &mut Ledger,
    bytes: &mut Bytes<'_>,
) {
    match bytes.u8() % 16 {
        0..=5 => submit(device, memory, ledger, bytes),
        6 | 7 => device.ring(),
        8..=10 => ledger.settle(device),
        11 => {
            if device.flush().is_ok() {
                assert!(ledger.in_flight.is_empty() || !device.geometry().write_cache);
            }
        }
        12 => disk.advance(bytes.u64() % 40_000_000),
        13 => disk.forge(bytes.u64()),
        14 => disk.advance(11_000),
        _ => {
            if bytes.u8() == 0 {
                let _ = device.shutdown();
                ledger.in_flight.clear();
            }
        }
    }
}

fn submit(
    device: &mut dyn BlockQueue,
    memory: PhysAddr,
    ledger: &mut Ledger,
    bytes: &mut Bytes<'_>,
) {
    let how = bytes.u8();
    let direction = if how & 1 == 0 { Direction::Write } else { Direction::Read };
    let lba = match how >> 1 & 3 {
        0 => 64 + u64::from(bytes.u8()) * 7,
        1 => u64::from(bytes.u8()) * 9,
        2 => BLOCKS - u64::from(bytes.u8()),
        _ => bytes.u64(),
    };
    let segments: Vec<Segment> = (0..how >> 3)
        .map(|i| {
            let page = u64::from(bytes.u8()) % PAGES;
            let odd = if i == 0 { u64::from(bytes.u8()) / 32 * 512 } else { 0 };
            let most = ((PAGES - page) * 4096 - odd) as u32;
            let length = (u32::from(bytes.u8()) % 5 * 4096 + 4096 - odd as u32).min(most);
            Segment { address: PhysAddr(memory.0 + page * 4096 + odd), bytes: length }
        })
        .collect();
    let tag = ledger.next;
    if device.submit(&Request { direction, lba: Lba(lba), segments: &segments, tag }).is_ok() {
        ledger.in_flight.insert(tag);
        ledger.next += 1;
    }
}

pub fn nvme(data: &[u8]) {
    two_way(Kind::Nvme, data);
}

/// The first byte says whether commands are queued in the disk.
pub fn ahci(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    two_way(if first & 1 == 0 { Kind::Ahci } else { Kind::AhciPlain }, rest);
}

pub fn virtio_blk(data: &[u8]) {
    two_way(Kind::VirtioBlk, data);
}

/// All goes well; each fault somewhere; and all of them.
pub fn seeds() -> Vec<Vec<u8>> {
    let work = [
        [0, 0x08, 3, 0, 0].as_slice(),
        &[6, 8, 0, 0x09, 3, 0, 1, 0, 0x12, 5, 40, 2, 7, 9, 1],
        &[0, 0x08, 9, 4, 0, 2, 6, 14, 8, 11, 12, 0, 0, 0, 1, 0, 0, 0, 0, 8, 11, 13, 7],
    ]
    .concat();
    let with = |fates: &[u8]| [&[fates.len() as u8], fates, &work].concat();
    let mut seeds = vec![with(&[])];
    for fault in 0..Fault::ALL.len() as u8 {
        for at in [0, 5, 7] {
            let mut fates = vec![255; at];
            fates.push(fault);
            seeds.push(with(&fates));
        }
    }
    seeds.push(with(&[255, 255, 255, 255, 255, 2, 4, 0, 5, 2, 4, 0]));
    seeds
}
